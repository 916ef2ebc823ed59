"""What `egowm export` does."""

import logging
from argparse import Namespace
from pathlib import Path

import torch

from egowm.action_module import ActionModule
from egowm.export import EXPORT
from egowm.files import check_folder
from egowm.recipe import build_model, open_recipe
from egowm.training.average import averaged_weights
from egowm.training.checkpoints import read_checkpoint
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)


def load_checkpoint(
    recipe: Path, checkpoint: Path, averaged: bool = True, pretrained: str | None = None
) -> WorldModel | ActionModule:
    """The recipe's model with the checkpoint's trained weights and ActionSpec.

    Args:
        recipe: Of the training.
        checkpoint: One of its files.
        averaged: Take the weights' moving average (`WeightAverage`), where the checkpoint holds
            one.
        pretrained: The base, where the training had another than the recipe's.
    """
    opened = open_recipe(recipe)
    section = opened.world_model(pretrained) if pretrained else opened.section("model")
    model: WorldModel | ActionModule = build_model(section)
    if not hasattr(model, "save_pretrained"):
        raise ValueError(
            f"{recipe}: expected a world model or a policy, got "
            f"{type(model).__name__}, which has no export."
        )
    state = read_checkpoint(checkpoint)
    model.on_load_checkpoint(state)
    model.configure_model()
    weights = state["state_dict"]
    if averaged and (average := averaged_weights(state)):
        log.info("Taking the moving average of the weights, which was validated.")
        weights = average
    model.load_state_dict(weights, strict=False)
    return model.eval()


def run(args: Namespace) -> int:
    """Write the export that the options ask for."""
    check_folder(args.output, EXPORT, args.force)
    model = load_checkpoint(args.config, args.ckpt_path, not args.newest, args.pretrained)
    model.save_pretrained(args.output, torch.float16 if args.half else None)
    print(f"{args.output}: an export of {args.ckpt_path}")
    return 0
