"""The page's section of metrics: a table of every row, and how each metric runs over the frames."""

from collections.abc import Iterator

from markupsafe import Markup

from egowm.checks import counted
from egowm.evaluation.record import ColumnRecord, EvalRecord, RowRecord
from egowm.evaluation.report.line_chart import value_chart
from egowm.evaluation.report.page import draw_grid, draw_list, joined, prefixed
from egowm.evaluation.run_writer import CODEC
from egowm.evaluation.table import SPEED, filled, interval_text, shown, speed, with_interval

_COLOURS = ("var(--pred)", "#c2571a", "#3f8f5b", "#8a4fa3", "#b08900", "#4b9fb5")
_REFERENCES = ("#8b8b8b", "#bcb6a8", "#5a5a5a")
_SPEED = (
    "Seconds of a rollout divided by its frames, the median over batches",
    "Peak memory of the rollouts: what torch held on a GPU; on a CPU all of the process",
)


def draw_metrics(record: EvalRecord | None, of: str = "") -> Markup:
    """The section; empty where a run was not evaluated. of: the run, below that of the page."""
    if record is None:
        return Markup("")
    lacks = [(c["label"], f"not measured: {c['lacks']}") for c in record["columns"] if c["lacks"]]
    return Markup(
        '<section aria-label="{of}Metrics"><div class="heading"><h2>Metrics</h2><p>{brief}</p>'
        '</div><div class="scroll" tabindex="0" role="region" aria-label="{of}Table of metrics">'
        "{table}</div>"
        "<h3>{reads}</h3>"
        '<div class="scroll" tabindex="0" role="region" aria-label="{of}Metrics by frame">'
        '{by_frame}</div><div class="charts">{charts}</div>{legend}{lacks}</section>'
    ).format(
        of=prefixed(of),
        brief=_brief(record),
        table=_table(record),
        reads=f"{record['rows'][0]['label']}, {interval_text(record)}",
        by_frame=_by_frame(record),
        charts=joined(_charts(record)),
        legend=_legend(record),
        lacks=draw_list("notes", lacks),
    )


def _brief(record: EvalRecord) -> str:
    protocol, seeds = record["protocol"], counted(len(record["seeds"]), "seed")
    over = f"means over frames 1 to {protocol['horizon']}"
    if protocol["name"] != "egowm":
        over = f"means over {', '.join(record['reads'].values())}"
    several = f", {seeds}, the spread over them after ±" if len(record["seeds"]) > 1 else ""
    return (
        f"protocol {protocol['name']}, {over} of {counted(len(record['clips']), 'clip')}{several}; "
        f"rolled out "
        f"on {record['device']}; fingerprint {record['fingerprint'][:12]}"
    )


def _table(record: EvalRecord) -> Markup:
    columns = [(c["label"], c["meaning"]) for c in filled(record)]
    columns += zip(SPEED, _SPEED, strict=True)
    rows = (
        ((row["label"], "", row["role"]), [*_cells(row, record), *speed(row)])
        for row in record["rows"]
    )
    return draw_grid([("Video", ""), *columns], rows)


def _cells(row: RowRecord, record: EvalRecord) -> Iterator[str]:
    for column in filled(record):
        cell = row["cells"].get(column["key"])
        if cell is None:
            yield ""
            continue
        text = with_interval(cell["value"], cell.get("ci95"), column["digits"])
        spread = cell.get("spread")
        yield text if spread is None else f"{text} ±{shown(spread, column['digits'])}"


def _by_frame(record: EvalRecord) -> Markup:
    """The first row at every k."""
    cells, before = record["rows"][0]["cells"], record["protocol"]["name"] == "egowm"
    columns = [(f"{'to' if before else 'at'} {label}", "") for label in record["reads"].values()]
    rows = []
    for column in filled(record):
        if cell := cells.get(column["key"]):
            ends = cell.get("ci95_at") or {}
            values = [
                with_interval(cell["at"].get(k), ends.get(k), column["digits"])
                for k in record["reads"]
            ]
            rows.append(((column["label"], column["meaning"], ""), values))
    return draw_grid([("Metric", ""), *columns], rows)


def _charts(record: EvalRecord) -> Iterator[Markup]:
    """One for each metric, a line for each row but the ceiling, which would flatten the others."""
    colours, last = _colours(record), record["protocol"]["horizon"]
    for column in filled(record):
        curves = {
            row["label"]: (None, *frames)
            for row in _drawn(record)
            if (cell := row["cells"].get(column["key"]))
            and len(frames := cell.get("frames") or []) == last
        }
        if curves:
            chart = value_chart(curves, colours, last, f"{column['label']} by frame")
            yield Markup('<div class="plot"><h4>{}</h4>{}</div>').format(_title(column), chart)


def _title(column: ColumnRecord) -> str:
    best = "higher is better" if column["higher_is_better"] else "0 is best"
    return f"{column['label']} by frame, {best}"


def _colours(record: EvalRecord) -> dict[str, str]:
    """The colour of each row's line by its label."""
    found: dict[str, str] = {}
    for role, colours in (("model", _COLOURS), ("reference", _REFERENCES)):
        labels = [row["label"] for row in _drawn(record) if row["role"] == role]
        found |= {label: colours[k % len(colours)] for k, label in enumerate(labels)}
    return found


def _drawn(record: EvalRecord) -> list[RowRecord]:
    """The rows that charts show."""
    return [row for row in record["rows"] if row["folder"] != CODEC]


def _legend(record: EvalRecord) -> Markup:
    item = Markup('<li><i style="background:{}"></i>{}</li>')
    items = joined(item.format(colour, label) for label, colour in _colours(record).items())
    return Markup('<ul class="legend">{}</ul>').format(items)
