"""The metadata of weights, in checkpoints and in exports: what their actions mean, which part was
trained, and on which base."""

from collections.abc import Mapping
from typing import Any, NamedTuple, NotRequired, Protocol, TypedDict

from egowm.actions.spec import ActionSpec, SpecRecord
from egowm.backbones.base import Backbone
from egowm.network.trained_part import TrainedPart

# Attributes without which the weights mean something else; older checkpoints lack them.
_COMPARED = ("features", "alignment")
_SAME_AVERAGES = {"paged_adamw_8bit": "adamw_8bit"}  # an optimizer's, under the other's name


class Described(Protocol):
    """The members of a `WorldModel` that checkpoints and exports write down."""

    backbone: Backbone
    part: TrainedPart
    spec: ActionSpec | None
    state_spec: ActionSpec | None
    specs: dict[str, ActionSpec]
    chunk: int
    steps: int
    features: Any
    alignment: Any
    drop_action: float
    optimizer: Any

    def configure_model(self) -> None: ...

    def spec_of(self, source: str | None) -> ActionSpec: ...

    def state_dict(self) -> dict[str, Any]: ...


def describe(model: Described) -> dict[str, Any]:
    """Plain values that JSON holds, no pickled classes; the frozen parts by their hash."""
    return {
        "spec": model.spec_of(None).record(),
        "specs": {name: spec.record() for name, spec in model.specs.items()},
        "state_spec": model.state_spec.record() if model.state_spec else None,
        "chunk": model.chunk,
        "steps": model.steps,
        "trained": model.part.record,
        "features": model.features,
        "alignment": model.alignment,
        "drop_action": model.drop_action,
        "null_embedding": model.drop_action > 0,
        "optimizer": model.optimizer,
        "base_sha256": model.backbone.base_sha256,
    }


class ExportRecord(TypedDict):
    """What an export says of itself, and needs; older ones say less."""

    backbone: str
    backbone_arguments: dict[str, Any]
    base_sha256: str | None
    weights_sha256: NotRequired[str]
    spec: SpecRecord
    specs: NotRequired[dict[str, SpecRecord]]
    state_spec: NotRequired[SpecRecord | None]
    features: str
    alignment: NotRequired[str]
    drop_action: NotRequired[float]
    chunk: int
    steps: int
    pipeline: NotRequired[bool]


class Specs(NamedTuple):
    """What actions mean, in all and by source, and what the states mean where there are any."""

    spec: ActionSpec
    state_spec: ActionSpec | None
    specs: dict[str, ActionSpec]


def specs_of(saved: Mapping[str, Any]) -> Specs:
    """Those that `describe` wrote; older files lack some."""
    state = saved.get("state_spec")
    read = ActionSpec.of_record
    sources = {name: read(fields) for name, fields in saved.get("specs", {}).items()}
    return Specs(read(saved["spec"]), read(state) if state else None, sources)


def check_base(backbone: Backbone, expected: str | None, words: str, mend: str) -> None:
    """Refuse a base whose weights have another sha256 than the one that the metadata names.

    Args:
        backbone: Loaded.
        expected: None in old files, which do not say.
        words: Begin the message: what stands on the base.
        mend: End it: what to do.
    """
    if expected is not None and not backbone.stands_on(expected):
        own = backbone.base_sha256
        raise ValueError(
            f"{words} another base than {backbone.folder}: expected weights with sha256 "
            f"{str(expected)[:12]}..., found {own[:12]}.... {mend}"
        )


def apply(model: Described, saved: dict[str, Any], fitting: bool) -> None:
    """Take specs and chunk from a checkpoint, and load the model's base.

    Args:
        model: built by the recipe.
        saved: the record of the checkpoint.
        fitting: whether training goes on with the optimizer's averages that the checkpoint holds.

    Raises ValueError, naming the difference, where the model was built in another way, means
    something else by its actions or states, or stands on another base.
    """
    model.part.compare(saved.get("trained"))
    for name in _COMPARED:
        if saved.get(name, getattr(model, name)) != getattr(model, name):
            raise ValueError(
                f"The checkpoint was trained with {name} {saved[name]}, this model is set to "
                f"{getattr(model, name)}: give the recipe it was trained with (config.yaml "
                f"in the run's lightning_logs/version_N), or --model.{name} {saved[name]}."
            )
    predicts = model.backbone.predicts
    if saved.get("predicts", predicts) != predicts:
        raise ValueError(
            f"The network of the checkpoint predicts {saved['predicts']}, this model's {predicts}: "
            f"give the recipe it was trained with (config.yaml in the run's "
            f"lightning_logs/version_N), or --model.backbone.predicts {saved['predicts']}."
        )
    if saved.get("null_embedding", model.drop_action > 0) != (model.drop_action > 0):
        raise ValueError(
            f"The checkpoint has {'a' if saved['null_embedding'] else 'no'} null embedding, this "
            f"model is set to drop_action {model.drop_action:g}: give --model.drop_action "
            f"{'0.1' if saved['null_embedding'] else '0'}."
        )
    if fitting:
        _compare_optimizers(saved.get("optimizer", "adamw"), model.optimizer)
    spec, state_spec, specs = specs_of(saved)
    if model.spec is not None:
        spec.compare(model.spec)
        _compare_states(state_spec, model.state_spec)
    model.spec, model.state_spec, model.specs = spec, state_spec, specs
    model.chunk = saved["chunk"]
    model.configure_model()
    check_base(
        model.backbone,
        saved.get("base_sha256"),
        "The checkpoint stands on",
        "Give the base it was trained on with --model.backbone.pretrained.",
    )


def _compare_optimizers(theirs: str, own: str) -> None:
    if _SAME_AVERAGES.get(theirs, theirs) != _SAME_AVERAGES.get(own, own):
        raise ValueError(
            f"The checkpoint's optimizer is {theirs}, this run's is {own}, and neither can take up "
            f"the other's averages: give --model.optimizer {theirs}."
        )


def _compare_states(saved: ActionSpec | None, own: ActionSpec | None) -> None:
    if (saved is None) != (own is None):
        with_states, without = ("checkpoint", "data") if own is None else ("data", "checkpoint")
        raise ValueError(
            f"The {with_states} has states of the body and the {without} has none: train anew, or "
            f"give data like those it was trained on."
        )
    if saved is not None and own is not None:
        try:
            saved.compare(own)
        except ValueError as error:
            raise ValueError(f"States of the body: {error}") from error
