"""What `egowm export` does."""

import logging
from argparse import Namespace
from pathlib import Path
from typing import Any, Protocol

import torch

from egowm.files import FolderKind, check_folder
from egowm.pipeline_folder import PIPELINE
from egowm.recipe import build_model, open_recipe
from egowm.training.average import averaged_weights
from egowm.training.checkpoints import read_checkpoint
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)


class Exporting(Protocol):
    """The members of a LightningModule that `egowm export` uses.

    export_kind: the folder that `save_pretrained` writes.
    """

    export_kind: FolderKind

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None: ...

    def configure_model(self) -> None: ...

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> Any: ...

    def eval(self) -> Any: ...

    def save_pretrained(self, folder: Path, dtype: torch.dtype | None = None) -> None: ...


def open_model(recipe: Path, pretrained: str | None = None) -> Exporting:
    """The recipe's model, without weights.

    Args:
        recipe: Of the training.
        pretrained: The base, where the training had another than the recipe's.
    """
    opened = open_recipe(recipe)
    section = opened.world_model(pretrained) if pretrained else opened.section("model")
    model: Exporting = build_model(section)
    if not hasattr(model, "export_kind"):
        raise ValueError(
            f"{recipe}: expected a world model, a policy or an encoder, got {type(model).__name__}."
        )
    return model


def take_checkpoint(model: Exporting, checkpoint: Path, averaged: bool = True) -> None:
    """Give a model a checkpoint's trained weights and what its actions mean.

    Args:
        model: The recipe's.
        checkpoint: One of the training's files.
        averaged: Take the weights' moving average (`WeightAverage`), where the checkpoint holds
            one.
    """
    state = read_checkpoint(checkpoint)
    model.on_load_checkpoint(state)
    model.configure_model()
    weights = state["state_dict"]
    if averaged and (average := averaged_weights(state)):
        log.info("Taking the moving average of the weights, which was validated.")
        weights = weights | average
    model.load_state_dict(weights, strict=False)
    model.eval()


def run(args: Namespace) -> int:
    """Write the export that the options ask for."""
    model = open_model(args.config, args.pretrained)
    save, kind = model.save_pretrained, model.export_kind
    if args.layout == "diffusers":
        if not isinstance(model, WorldModel):
            raise ValueError(
                f"--as diffusers: expected a world model on a pipeline of diffusers, got "
                f"{type(model).__name__}: leave --as out."
            )
        save, kind = model.save_pipeline, PIPELINE
    check_folder(args.output, kind, args.force)
    take_checkpoint(model, args.ckpt_path, not args.newest)
    save(args.output, torch.float16 if args.half else None)
    print(f"{args.output}: an export of {args.ckpt_path}")
    return 0
