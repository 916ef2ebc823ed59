"""What `egowm memory` does: ways of training, and the first that fits on each GPU."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from egowm.actions import ActionSpec
from egowm.backbones.base import locate
from egowm.checks import counted
from egowm.commands.base_faults import naming
from egowm.network.optimizer import Optimizer
from egowm.recipe import build, open_recipe
from egowm.training.memory import Memory, traced
from egowm.training.published import published, sizes_of
from egowm.world_model import WorldModel

GB = 1e9
GPUS = (24, 40, 80, 141)  # GB
USABLE = 0.92  # of a GPU: the rest is the driver's, and lost between blocks of memory


class Way(NamedTuple):
    """One way of training, by the options that choose it."""

    train: str = "full"
    checkpointing: bool = False
    optimizer: Optimizer = "adamw"
    offload: bool = False
    vae_batch: int = 0

    @property
    def name(self) -> str:
        """In words."""
        return ", ".join(
            [
                self.train,
                *(["checkpointing"] if self.checkpointing else []),
                *([self.optimizer] if self.optimizer != "adamw" else []),
                *(["offload"] if self.offload else []),
                *([f"VAE by {self.vae_batch}"] if self.vae_batch else []),
            ]
        )

    @property
    def options(self) -> str:
        """As they are written on a command line."""
        given = [f"--model.train {self.train}"]
        if self.checkpointing:
            given.append("--model.gradient_checkpointing true")
        if self.optimizer != "adamw":
            given.append(f"--model.optimizer {self.optimizer}")
        if self.offload:
            given.append("--model.offload true")
        if self.vae_batch:
            given.append(f"--model.backbone.vae_batch {self.vae_batch}")
        return " ".join(given)


LADDER = (  # what gives up least comes first
    Way(),
    Way(checkpointing=True),
    Way(checkpointing=True, offload=True, vae_batch=1),
    Way(checkpointing=True, optimizer="adamw_8bit"),
    Way(checkpointing=True, optimizer="adamw_8bit", offload=True, vae_batch=1),
    Way(checkpointing=True, optimizer="paged_adamw_8bit", offload=True, vae_batch=1),
    Way("temporal"),
    Way("temporal", True),
    Way("temporal", True, "adamw_8bit", True, 1),
    Way("lora"),
    Way("lora", True),
    Way("lora", True, "adamw", True, 1),
    Way("conditioning", True),
    Way("conditioning", True, "adamw", True, 1),
)


class Rung(NamedTuple):
    """A way of training, and what it takes."""

    way: Way
    memory: Memory


def run(args: Namespace) -> int:
    """Print the table of ways to train, and what fits on which GPU."""
    recipe = open_recipe(args.config)
    model = recipe.world_model(args.pretrained)
    if "WorldModel" not in model["class_path"]:
        raise ValueError(f"{args.config}: expected a WorldModel, got {model['class_path']}.")
    precision = str(args.precision or recipe.trainer.get("precision", "32-true"))
    data = recipe.data(args.root)
    batch_size = args.batch_size or data.batch_size
    base = model["init_args"]["backbone"]["init_args"].get("pretrained", "")
    with _sizes_at_hand(model) as note, naming(str(base)):
        rungs = list(climb(model, data, batch_size, precision))
    w = data.window
    frames = f"{w.context} + {counted(w.horizon, 'frame')} of {w.height}x{w.width}"
    print(f"{args.config}: {frames}, batch {batch_size}, {precision}; GB of {GB:.0e} bytes{note}\n")
    print("\n".join([*table(rungs), "", *choices(rungs, asked(model))]))
    return 0


@contextmanager
def _sizes_at_hand(model: dict[str, Any]) -> Iterator[str]:
    """The block in which the model's base is one whose sizes can be read; a note on whose they are.

    A published base that is not on this machine is replaced by its configurations.
    """
    backbone = model["init_args"]["backbone"]["init_args"]
    name = backbone.get("pretrained", "")
    try:
        locate(name, backbone.get("revision"))
    except FileNotFoundError:
        if name not in published():
            raise
    else:
        yield ""
        return
    with sizes_of(name) as folder:
        backbone["pretrained"] = str(folder)
        yield f"\nSizes as published: {name} is not on this machine."


def climb(model: dict[str, Any], data: Any, batch_size: int, precision: str) -> Iterator[Rung]:
    """The recipe's own way where it is no rung, then each rung that its backbone has."""
    spec = _unit(data.clip_meaning)
    states = _unit(data.state_meaning) if data.state_meaning is not None else None

    @cache
    def trace(train: str, checkpointing: bool, vae_batch: int) -> Memory:
        arguments = {"train": train, "gradient_checkpointing": checkpointing}
        built = _model(_with(model, arguments, vae_batch))
        built.spec, built.state_spec = spec, states
        return traced(built, data.window, batch_size, precision)

    own, bare = asked(model), _model(model).backbone
    ways = LADDER if own in LADDER else (own, *LADDER)
    for way in ways:
        if way.train != "full" and bare.random:
            continue  # random weights are trained whole
        if way.train == "temporal" and not bare.temporal_layers:
            continue
        if way.vae_batch and not hasattr(bare, "vae_batch"):
            continue
        memory = trace(way.train, way.checkpointing, own.vae_batch)
        if way.vae_batch != own.vae_batch:  # how a VAE encodes is the same in every way of training
            least = "full" if bare.random else "conditioning"
            encoding = trace(least, True, way.vae_batch).encoding
            memory = replace(memory, encoding=encoding)
        yield Rung(way, replace(memory, kind=way.optimizer, offload=way.offload))


def table(rungs: Sequence[Rung]) -> list[str]:
    """Lines of a table in GB."""
    head = (
        "train",
        "trained",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "encoding",
        "peak",
    )
    rows: list[tuple[str, ...]] = [head]
    for rung in rungs:
        m = rung.memory
        sizes = (m.resident, m.gradients, m.optimizer, m.activations, m.encoding, m.peak)
        cells = (f"{size / GB:.2f}" for size in sizes)
        rows.append((rung.way.name, f"{m.parameters / 1e6:.1f} M", *cells))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    return [
        row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def choices(rungs: Sequence[Rung], own: Way) -> list[str]:
    """For each GPU the first rung that fits, and the options that choose it."""
    lines = []
    for size in GPUS:
        fitting = [rung for rung in rungs if rung.memory.peak <= USABLE * size * GB]
        if not fitting:
            lines.append(f"{size:>4} GB: nothing fits; smaller frames, a smaller batch or horizon")
            continue
        way, memory = fitting[0]
        kept = " (as the recipe is)" if way == own else ""
        lines.append(f"{size:>4} GB: {way.name}, {memory.peak / GB:.2f} GB: {way.options}{kept}")
    return lines


def asked(model: dict[str, Any]) -> Way:
    """How a recipe's model is trained."""
    arguments = model["init_args"]
    of_backbone = arguments["backbone"]["init_args"]
    return Way(
        arguments.get("train", "full"),
        arguments.get("gradient_checkpointing", False),
        arguments.get("optimizer", "adamw"),
        arguments.get("offload", False),
        of_backbone.get("vae_batch", 0),
    )


def _model(section: dict[str, Any]) -> WorldModel:
    model: WorldModel = build(section, WorldModel)
    return model


def _with(model: dict[str, Any], changes: dict[str, Any], vae_batch: int) -> dict[str, Any]:
    """A recipe's model with other arguments, not compiled, and without weights to start from."""
    without = dict.fromkeys({"start"} & model["init_args"].keys())
    arguments = model["init_args"] | changes | without | {"compile": None}
    if vae_batch != asked(model).vae_batch:
        backbone = arguments["backbone"]
        inner = backbone["init_args"] | {"vae_batch": vae_batch}
        arguments["backbone"] = backbone | {"init_args": inner}
    return model | {"init_args": arguments}


def _unit(meaning: ActionSpec) -> ActionSpec:
    """With some range: it changes no size."""
    ones = (1.0,) * meaning.width
    return replace(meaning, low=tuple(-x for x in ones), high=ones)
