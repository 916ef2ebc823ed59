"""Training that starts from the weights of an export, of the same robot or of another."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from egowm.actions import ActionSpec
from egowm.export import EXPECTED, RECORD, WEIGHTS, check_format, find
from egowm.exported_weights import read_weights
from egowm.limits import load_json
from egowm.metadata import ExportRecord, Specs, check_base, specs_of
from egowm.network.finite import check_finite
from egowm.readable import undamaged
from egowm.typed_json import read_json

log = logging.getLogger(__name__)


def start_from(model: Any, folder: Path) -> None:
    """Give a `WorldModel` that is not trained yet the weights of an export.

    The network takes them all. The embedding of actions takes them where actions mean the same
    there (names, units, frame, kind, rate), and so do their ranges, which it was trained with; else
    it starts anew, with the ranges of the data. So does that of the state. Where the data mix
    several sources, or the export's did, each source keeps the ranges of the data.

    Args:
        model: Its base is loaded, its embeddings are made, and all of its network is trained.
        folder: Of the export, or the name of a shipped model.

    Raises:
        FileNotFoundError: No export there.
        ValueError: An export of another family or of another base, a pipeline, or damaged weights.
    """
    folder = find(folder)
    record = _record(folder)
    _check(model, folder, record)
    with undamaged(folder / WEIGHTS):
        weights = read_weights(folder / WEIGHTS, record.get("weights_sha256"))
    check_finite(weights, str(folder / WEIGHTS), "Start from another export.")
    with undamaged(folder / WEIGHTS):
        network = {k: v for k, v in weights.items() if k.startswith("network.")}
        own = {k.removeprefix("network."): v for k, v in network.items()}
        model.backbone.network.load_state_dict(own)
        before = model.spec, model.state_spec
        with undamaged(folder / RECORD):
            taken = _embeddings(model, record, specs_of(record))
        for name in taken:
            _take(model, name, weights)
    known = ", ".join(["network", *taken])
    anew = [name for name in _own(model) if name not in taken]
    more = f"; anew: {', '.join(anew)}" if anew else ""
    more += "; with its ranges, not the data's" if before != (model.spec, model.state_spec) else ""
    log.info("Training starts from %s: %s%s.", folder, known, more)
    theirs, mine = record["backbone_arguments"].get("predicts", "frames"), model.backbone.predicts
    if theirs != mine:
        log.warning(
            "The network of %s predicts %s, this model's predicts %s, which takes thousands of "
            "steps to learn anew: set --model.backbone.predicts %s to go on as there.",
            folder,
            theirs,
            mine,
            theirs,
        )


def _record(folder: Path) -> ExportRecord:
    path = folder / RECORD
    check_format(path)
    if "latent" in load_json(path, EXPECTED):
        raise ValueError(
            f"start: {folder} is an export of a latent model, which holds no video network: give "
            f"one of a world model."
        )
    record: ExportRecord = read_json(path, ExportRecord, EXPECTED)
    return record


def _check(model: Any, folder: Path, record: ExportRecord) -> None:
    """Refuse weights that mean something else to this model."""
    backbone = model.backbone
    if "pipeline" in record:
        raise ValueError(
            f"start: {folder} is a pipeline, which holds its network: give it as "
            f"--model.backbone.pretrained, and leave start out."
        )
    if model.part.how != "full":
        raise ValueError(
            f"start: the frozen weights would be in no checkpoint: expected --model.train full, "
            f"got {model.part.how}. For a LoRA make a pipeline (`egowm export --as diffusers`) "
            f"of an export whose network draws frames, and give it as --model.backbone.pretrained."
        )
    if backbone.random:
        raise ValueError(
            f"start: the weights come from {folder}: leave --model.backbone.random "
            f"{list(backbone.random)} out."
        )
    kind = f"{type(backbone).__module__}.{type(backbone).__qualname__}"
    if record["backbone"] != kind:
        raise ValueError(
            f"start: {folder} is an export of {record['backbone']}, this model has {kind}: give "
            f"an export of the same family."
        )
    mend = "Give its base as --model.backbone.pretrained."
    check_base(backbone, record["base_sha256"], f"start: {folder} belongs to", mend)


def _embeddings(model: Any, record: ExportRecord, theirs: Specs) -> list[str]:
    """The embeddings that mean the same here and there; the model takes the ranges of those."""
    if record["features"] != model.features:
        return []
    taken = []
    if model.alignment == record.get("alignment", "concatenate") and _same(model.spec, theirs.spec):
        taken.append("action_embedding")
        if not model.specs and not theirs.specs:
            model.spec = theirs.spec
        if model.drop_action and record.get("drop_action"):
            taken.append("null_embedding")
    if _same(model.state_spec, theirs.state_spec):
        taken.append("state_embedding")
        model.state_spec = theirs.state_spec
    return taken


def _take(model: Any, name: str, weights: Mapping[str, Tensor]) -> None:
    """An embedding's weights, all of them."""
    part = {key: value for key, value in weights.items() if key.startswith(name)}
    left = model.load_state_dict(part, strict=False)
    missing = [key for key in left.missing_keys if key.startswith(name)]
    if missing or left.unexpected_keys:
        raise ValueError(f"Missing key(s) {missing}, unexpected key(s) {left.unexpected_keys}")


def _same(mine: ActionSpec | None, theirs: ActionSpec | None) -> bool:
    if mine is None or theirs is None:
        return False
    try:
        mine.compare(theirs)
    except ValueError:
        return False
    return True


def _own(model: Any) -> list[str]:
    names = ("action_embedding", "null_embedding", "state_embedding")
    return [name for name in names if hasattr(model, name)]
