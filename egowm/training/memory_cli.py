"""`egowm memory`: what a recipe needs on a card, before any weight is loaded, and what fits."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from egowm.actions import ActionSpec
from egowm.training.memory import Memory, traced
from egowm.world_model import WorldModel

GB = 1e9
CARDS = (24, 40, 80, 141)  # GB
USABLE = 0.92  # of a card: the rest is the driver's, and lost between blocks of memory
LADDER = (  # what gives up least comes first
    ("full", False),
    ("full", True),
    ("temporal", False),
    ("temporal", True),
    ("lora", False),
    ("lora", True),
    ("conditioning", True),
)


class Rung(NamedTuple):
    """One way of training, and what it takes."""

    train: str
    checkpointing: bool
    memory: Memory

    @property
    def name(self) -> str:
        """As options are written."""
        return f"{self.train}, checkpointing" if self.checkpointing else self.train


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm memory -c RECIPE [--data.batch_size N] [--trainer.precision P]`."""
    parser = argparse.ArgumentParser(prog="egowm memory", description=__doc__)
    parser.add_argument("-c", "--config", required=True, type=Path, help="a recipe")
    parser.add_argument("--data.batch_size", dest="batch_size", type=int, help="in its place")
    parser.add_argument("--trainer.precision", dest="precision", help="in its place")
    parser.add_argument(
        "--model.backbone.pretrained", dest="pretrained", help="a folder; its configurations do"
    )
    args = parser.parse_args(argv)
    recipe = _read(args.config, args.pretrained)
    precision = str(args.precision or recipe["trainer"].get("precision", "32-true"))
    data = _data(args.config)
    batch_size = args.batch_size or data.batch_size
    rungs = list(climb(recipe["model"], data, batch_size, precision))
    w = data.window
    frames = f"{w.context} + {w.horizon} frames of {w.height}x{w.width}"
    print(f"{args.config}: {frames}, batch {batch_size}, {precision}; GB of {GB:.0e} bytes\n")
    print("\n".join([*table(rungs), "", *choices(rungs, _asked(recipe["model"]))]))
    return 0


def climb(model: dict[str, Any], data: Any, batch_size: int, precision: str) -> Iterator[Rung]:
    """Each rung that the recipe's backbone has, traced."""
    spec = _unit(data.clip_meaning)
    states = _unit(data.state_meaning) if data.state_meaning is not None else None
    for train, checkpointing in LADDER:
        arguments = model.get("init_args", {})
        arguments = arguments | {"train": train, "gradient_checkpointing": checkpointing}
        built = _model(model | {"init_args": arguments})
        if train != "full" and built.backbone.random:
            continue  # random weights are trained whole
        if train == "temporal" and not built.backbone.temporal_layers:
            continue
        built.spec, built.state_spec = spec, states
        yield Rung(train, checkpointing, traced(built, data.window, batch_size, precision))


def table(rungs: Sequence[Rung]) -> list[str]:
    """Lines of a table in GB."""
    head = ("train", "trained", "weights", "gradients", "optimizer", "activations", "peak")
    rows: list[tuple[str, ...]] = [head]
    for rung in rungs:
        m = rung.memory
        sizes = (m.weights, m.gradients, m.optimizer, m.activations, m.peak)
        cells = (f"{size / GB:.2f}" for size in sizes)
        rows.append((rung.name, f"{m.parameters / 1e6:.1f} M", *cells))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    return [
        row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def choices(rungs: Sequence[Rung], asked: tuple[str, bool]) -> list[str]:
    """For each card the first rung that fits, and the options that choose it."""
    lines = []
    for card in CARDS:
        fitting = [rung for rung in rungs if rung.memory.peak <= USABLE * card * GB]
        if not fitting:
            lines.append(f"{card:>4} GB: nothing fits; smaller frames, a smaller batch or horizon")
            continue
        rung = fitting[0]
        options = f"--model.train {rung.train}"
        if rung.checkpointing:
            options += " --model.gradient_checkpointing true"
        kept = " (as the recipe is)" if (rung.train, rung.checkpointing) == asked else ""
        lines.append(f"{card:>4} GB: {rung.name}, {rung.memory.peak / GB:.2f} GB: {options}{kept}")
    return lines


def _read(path: Path, pretrained: str | None) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"No recipe at {path}: `egowm recipes` lists those that exist.")
    recipe: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    if not isinstance(recipe.get("model"), dict) or "WorldModel" not in recipe["model"].get(
        "class_path", ""
    ):
        raise ValueError(f"{path}: expected a recipe whose model is a WorldModel.")
    if pretrained is not None:
        recipe["model"]["init_args"]["backbone"]["init_args"]["pretrained"] = pretrained
    return recipe | {"trainer": recipe.get("trainer") or {}}


def _data(recipe: Path) -> Any:
    from egowm.evaluation.evaluate import load_data

    return load_data(recipe)


def _model(section: dict[str, Any]) -> WorldModel:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(WorldModel, "model")
    model: WorldModel = parser.instantiate(parser.parse_object({"model": section})).model
    return model


def _asked(model: dict[str, Any]) -> tuple[str, bool]:
    arguments = model.get("init_args", {})
    return arguments.get("train", "full"), arguments.get("gradient_checkpointing", False)


def _unit(meaning: ActionSpec) -> ActionSpec:
    """With some range: it changes no size."""
    ones = (1.0,) * meaning.width
    return replace(meaning, low=tuple(-x for x in ones), high=ones)
