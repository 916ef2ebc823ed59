"""The tables of walking: how soon frames come, memory over minutes, strange pictures."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import MISSING, source, table
from egowm.checks import counted

BUSY = 2.5  # processes at once, above which a machine of two cores was not its own
WAYS = {
    "stock": "diffusers' pipeline, called for one frame after the other",
    "session": "`model.session`, action by action",
    "session, compiled": "the same, `torch.compile` on the blocks",
    "stream": "`model.stream`, all actions known",
    "stream, latents_only": 'the same, chain "latents_only": decoding beside denoising',
    "rollout": "`model.rollout`, one call: all frames at its end",
}


def streaming(results: Path) -> str:
    """Time to the first frame, and frames a second, on a CPU and on a GPU."""
    records = {"CPU": read(results / "streaming.json"), "GPU": read(results / "streaming-gpu.json")}
    head = ("device", "frames by", "first frame, ms", "frames a second")
    ratio = "times the pipeline's speed, median (min to max)"
    lines = []
    for device, record in records.items():
        found = [row["name"] for row in record["rows"]] if record else []
        lines += [(device, WAYS[name], *_cells(record, name)) for name in WAYS if name in found]
        lines += [] if found else [(device, MISSING, "", "", "")]
    notes = [_note(device, record) for device, record in records.items() if record]
    return "\n\n".join([table((*head, ratio), lines), *notes])


def _cells(record: Record | None, name: str) -> tuple[str, str, str]:
    for row in record["rows"] if record else ():
        if row["name"] == name:
            ends = f"({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
            ratio = "1" if name == "stock" else f"{row['ratio_median']:.2f} {ends}"
            return f"{1000 * row['first_frame_s']:.0f}", f"{row['frames_a_second']:.1f}", ratio
    return MISSING, MISSING, MISSING


def _note(device: str, record: Record) -> str:
    s = record["settings"]
    return (
        f"{device}: {source(record)}{_beside(record)}. {s['frames']} frames, one after the other, "
        f"with {counted(s['steps'], 'sampling step')} each, `{s['prior']}`, float32; "
        f"{s['rounds']} rounds in turns."
    )


def _beside(record: Record) -> str:
    """What else the machine did; ratios were taken in turns, so they count even then."""
    load = record["load_average"]
    words = f", **beside other work** (load {load[0]:g} to {load[-1]:g}), which slows every rate"
    return words if max(load) > BUSY else ""


def walking(results: Path) -> str:
    """Memory of the server while it is walked in."""
    record = read(results / "walking.json")
    if record is None:
        return MISSING
    rows = [row for row in record["rows"] if row["minutes"] >= 1] or record["rows"]
    rates = sorted(row["frames_a_second"] for row in rows if row["frames_a_second"])
    lines = [(f"{row['minutes']:.1f}", f"{row['megabytes']:.0f}") for row in _some(rows)]
    minutes, most = rows[-1]["minutes"], max(row["megabytes"] for row in rows)
    said = (
        f"{record['frames']} frames in {minutes:.1f} minutes, {len(record['rows'])} walks, "
        f"{rates[len(rates) // 2]:.1f} frames a second in the median walk; at most {most:.0f} MB; "
        f"SIGTERM ended it with status {record['status']}. A frame took "
        f"{record['core_seconds_a_frame']:.2f} s of one core, with all else that the server does. "
        f"{source(record)}{_beside(record)}."
    )
    return "\n\n".join([table(("minutes", "memory, MB"), lines), said])


def domain(results: Path) -> str:
    """Which pictures are called unlike those of the rooms."""
    record = read(results / "domain.json")
    if record is None:
        return MISSING
    lines = [
        (row["name"], str(row["pictures"]), str(row["unlike"]), f"{row['median']:.1f}")
        for row in record["rows"]
    ]
    head = ("pictures", "number", "called unlike", "median distance, in limits")
    about = f"The limit is measured on {record['settings']['rooms']} rooms of the training set."
    return f"{table(head, lines)}\n\n{about} {source(record)}."


def _some(rows: list[Record]) -> list[Record]:
    """At most eight rows, evenly spread, with the first and the last."""
    count = min(8, len(rows))
    return [rows[round(k * (len(rows) - 1) / max(1, count - 1))] for k in range(count)]
