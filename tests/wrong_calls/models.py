"""Right calls of world models, of what they are given, and of their parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from egowm import ActionSpec, Clip, Sampling, Student, WorldModel
from egowm.actions import compose, integrate
from egowm.actions.contrast import changed
from egowm.conditioning import ActionEmbedding, inject, takes_actions
from egowm.conditioning.alignment import align
from egowm.conditioning.injection import enter_tokens
from egowm.pixels import from_model, psnr, to_model, to_uint8, to_unit
from egowm.sampling import as_frames
from tests.backbones.test_own_backbone import Pooled
from tests.wrong_calls.call import Call

NAMES, UNITS, HIGH = ("dx", "dy", "dyaw"), ("m", "m", "rad"), (0.3, 0.1, 0.1)
LOW = tuple(-value for value in HIGH)
SPEC = ActionSpec(NAMES, UNITS, "body", "difference", 4.0, LOW, HIGH)
ONE_STEP = Sampling(steps=1)
UNUSED = tuple(
    f"clip: {part}: *"
    for part in ("past_actions", "later_states", "text", "name", "source", "enc*")
)
NO_SEED = ("generator: None",)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def batch(count: int = 2, horizon: int = 4) -> Clip:
    """Clips of one context frame, as a loader collates them."""
    return Clip(
        frames=(drawn(count, 1 + horizon, 3, 8, 8) * 255).byte(),
        actions=drawn(count, horizon, 3) * 0.1,
        past_actions=torch.zeros(count, 0, 3),
        state=drawn(count, 3) * 0.1,
        text=[""] * count,
        source=["rooms"] * count,
        name=["one"] * count,
    )


class Models:
    """A model that embeds actions, and one that embeds a state and has a null action."""

    def __init__(self) -> None:
        self.plain = WorldModel(Pooled("."), steps=1, chunk=4, spec=SPEC)
        self.bodily = WorldModel(
            Pooled("."), steps=1, chunk=4, spec=SPEC, state_spec=SPEC, drop_action=0.5
        )
        for model in (self.plain, self.bodily):
            model.configure_model()
            model.requires_grad_(False).eval()


def calls(models: Models, folder: Path) -> Iterator[Call]:
    yield from _imagining(models)
    yield from _world_models(models, folder)
    yield from _settings()
    yield from _specs(folder)
    yield from _conditioning()
    yield from _pixels()


def _imagining(models: Models) -> Iterator[Call]:
    context, actions = drawn(1, 1, 3, 8, 8), drawn(2, 6, 3) * 0.1
    seeded = torch.Generator().manual_seed(0)
    right = {"context": context, "actions": actions, "how": ONE_STEP, "generator": seeded}
    more: dict[str, Any] = {"state": drawn(2, 3) * 0.1, "text": "", "source": None}
    none = ("state: *", "source: *", "text: *", *NO_SEED)
    yield Call("WorldModel.rollout", models.plain.rollout, {**right, "text": ""}, _frames, NO_SEED)
    yield Call(
        "WorldModel.rollout with a state",
        models.bodily.rollout,
        {**right, **more},
        _frames,
        NO_SEED,
    )
    yield Call(
        "WorldModel.rollout of a picture",
        models.plain.rollout,
        {**right, "context": np.zeros((8, 8, 3), np.uint8), "actions": np.zeros((6, 3))},
        _frames,
        NO_SEED,
    )
    yield Call(
        "WorldModel.stream",
        lambda **given: list(models.plain.stream(**given)),
        {**right, "source": None},
        fine=none,
    )
    yield Call(
        "WorldModel.session",
        lambda **given: models.plain.session(**given).step(actions[0, :4]),
        {"context": context, "how": ONE_STEP, "source": None, "generator": seeded, "block": 4},
        fine=("source: *", "block: None", *NO_SEED),
    )
    yield Call(
        "WorldModel.rollout_of",
        models.plain.rollout_of,
        {"clip": batch(), "actions": actions[:, :4], "how": ONE_STEP, "generator": seeded},
        fine=(*NO_SEED, *UNUSED, "actions: None", "clip: actions: *", "clip: state: *"),
    )
    yield Call(
        "WorldModel.loss",
        models.bodily.loss,
        {"clip": batch(), "generator": seeded, "level": 1.0},
        lambda right, made: made[0].shape == (),
        fine=(*NO_SEED, *UNUSED, "level: None"),
    )


def _frames(right: dict[str, Any], made: Any) -> bool:
    """One video for each sequence of actions, a frame for each action, of the context's size."""
    actions, context = torch.as_tensor(right["actions"]), right["context"]
    count = 1 if actions.ndim == 2 else len(actions)
    size = context.shape[:2] if context.ndim == 3 else context.shape[-2:]
    in_range = bool(made.frames.min() >= 0) and bool(made.frames.max() <= 1)
    return made.frames.shape == (count, actions.shape[-2], 3, *size) and in_range


def _world_models(models: Models, folder: Path) -> Iterator[Call]:
    backbone = models.plain.backbone
    right: dict[str, Any] = {
        "backbone": backbone, "features": "fourier", "zero_init": True, "alignment": "concatenate",
        "learning_rate": 1e-4, "warmup": 20, "drop_image": 0.1, "steps": 5, "chunk": 4,
        "spec": SPEC, "state_spec": SPEC, "train": "full", "lora_rank": 4,
        "lora_targets": ("to_q",), "optimizer": "adamw", "compile": "inductor", "huber": 0.1,
    }  # fmt: skip
    fine = ("spec: None", "state_spec: None", "compile: None", "huber: None")
    yield Call("WorldModel", WorldModel, right, fine=fine)
    learning: dict[str, Any] = {
        "backbone": backbone, "teacher": "rooms", "guidance": 1.5, "guide_on": "action",
        "regression": False, "teacher_steps": 3, "stages": 4, "huber": 0.03, "visited": 0.5,
        "learning_rate": 1e-4, "warmup": 20, "steps": 2, "chunk": 4, "spec": SPEC,
        "state_spec": SPEC, "train": "full", "lora_rank": 4, "lora_targets": ("to_q",),
        "optimizer": "adamw", "compile": "inductor",
    }  # fmt: skip
    also = ("guide_on: None", "teacher_steps: None")
    yield Call("Student", Student, learning, fine=(*fine, *also))
    yield Call("WorldModel.embed", models.bodily.embed, _embedded(), _one_vector_each,
               ("drop: None", "state: None"), passes=True)  # fmt: skip
    yield Call("WorldModel.spec_of", models.plain.spec_of, {"source": None})
    yield Call("WorldModel.from_pretrained", WorldModel.from_pretrained, {"folder": str(folder)})
    yield Call("WorldModel.save_pretrained", models.plain.save_pretrained, {"folder": ""})
    yield Call("WorldModel.save_pipeline", models.plain.save_pipeline, {"folder": ""})
    yield Call("WorldModel.push_to_hub", models.plain.push_to_hub, {"repo_id": "lab/robot@1"})


def _embedded() -> dict[str, Any]:
    return {"actions": drawn(2, 4, 3), "state": drawn(2, 3), "drop": torch.tensor([True, False])}


def _one_vector_each(right: dict[str, Any], made: Any) -> bool:
    return made.ndim == 3 and made.shape[:2] == right["actions"].shape[:2]


def _settings() -> Iterator[Call]:
    right: dict[str, Any] = {
        "steps": 4, "guidance": 1.5, "guide_on": "action", "chain": "latents", "decode": "last",
        "decode_window": 2, "dtype": torch.float32, "micro_batch": 2, "strict": False,
        "gradient": False,
    }  # fmt: skip
    fine = tuple(f"{name}: None" for name in ("steps", "guide_on", "chain", "*_window", "micro_*"))
    fine = (*fine, "guide_on: empty list")
    yield Call("Sampling", Sampling, right, fine=fine)


def _specs(folder: Path) -> Iterator[Call]:
    right: dict[str, Any] = {
        "names": NAMES, "units": UNITS, "frame": "body", "kind": "se2", "rate_hz": 4.0,
        "low": LOW, "high": HIGH, "normalisers": ("min-max", "none", "none"),
    }  # fmt: skip
    actions, rows = drawn(2, 4, 3), drawn(20, 3).numpy()
    yield Call("ActionSpec", ActionSpec, right, _same_width)
    yield Call("ActionSpec.fitted", SPEC.fitted, {"actions": [rows, rows]}, _same_width)
    yield Call(
        "ActionSpec.normalise", SPEC.normalise, {"actions": actions}, _same_shape, passes=True
    )
    yield Call(
        "ActionSpec.denormalise", SPEC.denormalise, {"actions": actions}, _same_shape, passes=True
    )
    yield Call("ActionSpec.check", SPEC.check, {"actions": actions, "strict": False})
    yield Call("ActionSpec.compare", SPEC.compare, {"other": SPEC})
    yield Call("ActionSpec.load", ActionSpec.load, {"path": str(folder / "none.json")})
    yield Call("ActionSpec.save", SPEC.save, {"path": folder / "none" / "spec.json"})
    yield Call(
        "integrate",
        integrate,
        {"state": drawn(2, 3), "actions": actions, "spec": SPEC, "state_spec": SPEC, "chunk": 2},
        lambda right, made: made.shape[1] == -(-right["actions"].shape[1] // right["chunk"]),
        passes=True,
    )
    yield Call(
        "compose",
        compose,
        {"actions": rows, "stride": 2, "kind": "se2"},
        lambda right, made: made.shape == (len(right["actions"]) // right["stride"], 3),
        passes=True,
    )
    yield Call(
        "changed",
        changed,
        {"actions": actions, "shuffled": actions, "kind": "shuffled", "meaning": SPEC},
        _same_shape,
        passes=True,
    )


def _same_shape(right: dict[str, Any], made: Any) -> bool:
    return made.shape == right["actions"].shape


def _same_width(right: dict[str, Any], made: Any) -> bool:
    """One number of every kind for each dimension, in the order that makes a range."""
    ends = zip(made.low, made.high, strict=True)
    return len(made.names) == len(made.units) and all(low <= high for low, high in ends)


def _conditioning() -> Iterator[Call]:
    layer = nn.Linear(8, 8)
    yield Call(
        "ActionEmbedding",
        ActionEmbedding,
        {"width": 3, "embedding_dim": 8, "features": "fourier", "zero_init": True},
    )
    embed = ActionEmbedding(3, 8).requires_grad_(False)
    yield Call("ActionEmbedding()", embed, {"values": drawn(2, 4, 3)}, passes=True)

    def injected(network: Any, embedding: Any) -> Tensor:
        with inject(network, embedding):
            made: Tensor = network(torch.ones(2, 4, 8))
        return made

    network = takes_actions(nn.Linear(8, 8).requires_grad_(False), _site)
    yield Call("inject", injected, {"network": network, "embedding": drawn(2, 4, 8)}, _of_eights,
               passes=True)  # fmt: skip
    yield Call(
        "takes_actions", takes_actions, {"network": layer, "site": _site}, fine=("site: that *",)
    )
    actions = {"actions": drawn(2, 4, 3), "stride": 2, "how": "sum"}
    yield Call("align", align, actions, _halved, passes=True)


def _of_eights(right: dict[str, Any], made: Any) -> bool:
    return made.shape == (2, 4, 8)


def _halved(right: dict[str, Any], made: Any) -> bool:
    count, horizon = right["actions"].shape[:2]
    return made.shape[:2] == (count, horizon // right["stride"])


def _site(network: nn.Module, embedding: Tensor) -> list[Any]:
    return enter_tokens(network, embedding)


def _pixels() -> Iterator[Call]:
    video = (drawn(4, 3, 8, 8) * 255).byte()
    frames = video.permute(0, 2, 3, 1).numpy()
    yield Call(
        "psnr", psnr, {"pred": frames, "target": frames[::-1].copy(), "peak": 255.0, "limit": 60.0}
    )
    yield Call("to_model", to_model, {"frames": video})
    yield Call("to_unit", to_unit, {"frames": video})
    yield Call("from_model", from_model, {"frames": drawn(4, 3, 8, 8)}, passes=True)
    yield Call("to_uint8", to_uint8, {"frames": drawn(4, 3, 8, 8)}, passes=True)
    yield Call("as_frames", as_frames, {"context": drawn(1, 1, 3, 8, 8)}, passes=True)
    clip = batch()
    given = {"frames": clip.frames, "actions": clip.actions, "num_context": 1}
    looks = tuple(f"actions: {wrong}" for wrong in ("of complex*", "on meta", "sparse"))
    yield Call(
        "Clip.scaled",
        lambda num_context, **parts: clip._replace(**parts).scaled(num_context),
        given,
        lambda right, made: made[1].shape[1] == right["num_context"],
        looks,  # only their shape is looked at
        passes=True,
    )
    yield Call("Clip.one", clip.one, {"number": 1})
