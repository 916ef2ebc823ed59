"""The card of a repository on the hub: an export's README below the fields that the hub reads."""

import re
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from egowm.checks import counted
from egowm.limits import read_bytes
from egowm.typed_json import read_json

EVAL = "eval.json"
_EXPECTED = "what `egowm eval` writes as eval.json (evaluate again)"
_TEXT = 1 << 20  # bytes of a README; more is none


class Kind(NamedTuple):
    """A kind of export. file: which every one of them has. task, library: the hub's words."""

    file: str
    task: str
    library: str


KINDS = (
    Kind("model_index.json", "image-to-video", "diffusers"),
    Kind("world_model.json", "image-to-video", "egowm"),
    Kind("policy.json", "robotics", "egowm"),
    Kind("preprocessor_config.json", "image-feature-extraction", "transformers"),
    Kind("config.json", "image-feature-extraction", "egowm"),
)


class _Spec(TypedDict):
    names: list[str]
    units: list[str]
    frame: str
    kind: str
    rate_hz: float
    low: NotRequired[list[float]]
    high: NotRequired[list[float]]


class _Record(TypedDict):
    spec: NotRequired[_Spec]


class _Protocol(TypedDict):
    name: str
    horizon: int


class _Column(TypedDict):
    key: str
    label: str
    digits: int


class _Cell(TypedDict):
    value: float | None
    ci95: NotRequired[tuple[float, float] | None]


class _Row(TypedDict):
    label: str
    role: str
    cells: dict[str, _Cell]


class _Evaluation(TypedDict):
    protocol: _Protocol
    columns: list[_Column]
    rows: list[_Row]
    clips: list[str]
    about: NotRequired[dict[str, Any]]


def kind_of(folder: Path) -> Kind:
    """The kind of an export. Raises FileNotFoundError for a folder of something else."""
    found = next((kind for kind in KINDS if (folder / kind.file).is_file()), None)
    if found is None or not any(folder.rglob("*.safetensors")):
        raise FileNotFoundError(
            f"Expected an export in {folder} (*.safetensors beside one of "
            f"{', '.join(kind.file for kind in KINDS)}), found none: give a folder that "
            f"`egowm export` or save_pretrained wrote."
        )
    return found


def read_evaluation(path: Path) -> _Evaluation:
    """What `egowm eval` found, of a run's folder or its eval.json.

    Raises FileNotFoundError for a missing file, RecordError for another, ValueError for one without
    a model's row.
    """
    file = path / EVAL if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: give a run of `egowm eval`, or its {EVAL}.")
    found: _Evaluation = read_json(file, _Evaluation, _EXPECTED)
    if not any(row["role"] == "model" for row in found["rows"]):
        raise ValueError(f"{file}: expected the row of a model, got references alone.")
    return found


def card(
    folder: Path,
    repo_id: str,
    text: str,
    base: str | None,
    licence: str | None,
    evaluation: Path | None,
) -> str:
    """The README of a repository.

    Args:
        folder: An export.
        repo_id: OWNER/NAME, where it will be.
        text: The export's README, as it is to be read there.
        base: Id of what it was trained from; None names none.
        licence: One of the hub's names for licences, such as "apache-2.0"; None tells none.
        evaluation: A run of `egowm eval`, whose values become the card's; None tells none.
    """
    from huggingface_hub import ModelCard, ModelCardData

    kind = kind_of(folder)
    found = None if evaluation is None else read_evaluation(evaluation)
    fields: dict[str, Any] = {
        "license": licence,
        "base_model": base,
        "base_model_relation": "finetune" if base else None,
        "library_name": kind.library,
        "pipeline_tag": kind.task,
        "tags": ["egowm", "world-model" if kind.task == "image-to-video" else "robotics"],
    }
    if spec := _spec(folder / kind.file if kind.file != KINDS[0].file else folder / KINDS[1].file):
        fields["egowm"] = {"actions": spec}
    if found is not None:
        fields |= {"model_name": repo_id.partition("/")[2], "eval_results": _results(found)}
        text = f"{text.rstrip()}\n\n{_table(found)}"
    top = ModelCardData(**fields).to_yaml()
    return str(ModelCard(f"---\n{top}\n---\n\n{text}"))


def at_hub(text: str, repo_id: str) -> str:
    """A README whose examples load the repository in place of a folder."""

    def call(found: re.Match[str]) -> str:
        asked = "" if found[1].endswith("Pipeline") else ', revision="main", download=True'
        return f'{found[1]}.from_pretrained("{repo_id}"{asked})'

    told = re.sub(r'\b(\w+)\.from_pretrained\("[^"\n]*"\)', call, text)
    note = (
        "\nThe commit's hash in place of `main` pins the weights; once downloaded, they are found "
        "without `download`.\n"
    )
    return told if told == text else told.rstrip() + "\n" + note


def readme(folder: Path) -> str:
    """The text of an export's README; its name where it has none."""
    file = folder / "README.md"
    if not file.is_file() or file.stat().st_size > _TEXT:
        return f"# {folder.name}\n"
    return read_bytes(file).decode("utf-8", errors="replace")


def _spec(file: Path) -> dict[str, Any]:
    """What actions mean, of a file that says so."""
    if not file.is_file():
        return {}
    record: _Record = read_json(file, _Record, "an export's record (copy the export again)")
    spec = record.get("spec")
    return dict(spec) if spec else {}


def _results(found: _Evaluation) -> list[Any]:
    """The first model's values, those under its own actions."""
    from huggingface_hub import EvalResult

    row = next(row for row in found["rows"] if row["role"] == "model")
    data, protocol = _data(found), found["protocol"]
    frames = counted(protocol["horizon"], "frame")
    return [
        EvalResult(
            task_type="image-to-video",
            task_name=f"rollouts of {frames}, protocol {protocol['name']}",
            dataset_type=data,
            dataset_name=f"{data}, {counted(len(found['clips']), 'test clip')}",
            metric_type=column["key"],
            metric_name=column["label"],
            metric_value=value,
        )
        for column in found["columns"]
        if (value := row["cells"].get(column["key"], {"value": None})["value"]) is not None
    ]


def _data(found: _Evaluation) -> str:
    """The recipe whose data it was measured on."""
    recipe = found.get("about", {}).get("recipe")
    name = recipe.get("name") if isinstance(recipe, dict) else None
    return Path(name).stem if isinstance(name, str) and name else "recordings"


def _table(found: _Evaluation) -> str:
    """All rows, as Markdown."""
    shown = [
        column
        for column in found["columns"]
        if any(row["cells"].get(column["key"], {"value": None})["value"] is not None
               for row in found["rows"])
    ]  # fmt: skip
    head = " | ".join(["", *(column["label"] for column in shown)])
    lines = [f"|{head} |", f"|{'---|' * (len(shown) + 1)}"]
    for row in found["rows"]:
        cells = [_number(row["cells"].get(c["key"]), c["digits"]) for c in shown]
        lines.append(f"| {row['label']} | {' | '.join(cells)} |")
    clips = counted(len(found["clips"]), "test clip")
    frames = counted(found["protocol"]["horizon"], "frame")
    about = f"`egowm eval`, {clips} of {_data(found)}, {frames} each [95%]:"
    return "\n".join(["## Results", "", about, "", *lines, ""])


def _number(cell: _Cell | None, digits: int) -> str:
    if cell is None or cell["value"] is None:
        return ""
    ends = cell.get("ci95")
    between = f" [{ends[0]:.{digits}f} to {ends[1]:.{digits}f}]" if ends else ""
    return f"{cell['value']:.{digits}f}{between}"
