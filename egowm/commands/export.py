"""`egowm export`: a training checkpoint and its recipe become an export that planners load."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from egowm.commands.parser import Parser
from egowm.export import EXPORT, save
from egowm.files import check_folder
from egowm.recipe import build, open_recipe
from egowm.training.average import averaged_weights
from egowm.training.checkpoints import read_checkpoint
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)


def load_checkpoint(recipe: Path, checkpoint: Path, averaged: bool = True) -> WorldModel:
    """The recipe's model with the checkpoint's trained weights and ActionSpec.

    averaged: take the weights' moving average (`WeightAverage`), where the checkpoint holds one.
    """
    model = build(open_recipe(recipe).section("model"), WorldModel)
    state = read_checkpoint(checkpoint)
    model.on_load_checkpoint(state)
    model.configure_model()
    weights = state["state_dict"]
    if averaged and (average := averaged_weights(state)):
        log.info("Taking the moving average of the weights, which was validated.")
        weights = average
    model.load_state_dict(weights, strict=False)
    return model.eval()


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm export -c RECIPE --ckpt_path FILE --output FOLDER`."""
    parser = Parser(
        prog="egowm export",
        description=__doc__,
        example="egowm export -c my_robot.yaml --ckpt_path runs/my_robot/checkpoints/last.ckpt "
        "--output exports/my_robot",
    )
    parser.add_argument("-c", "--config", required=True, type=Path, help="the training's recipe")
    parser.add_argument("--ckpt_path", required=True, type=Path, help="usually .../last.ckpt")
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--half", action="store_true", help="round the weights to float16")
    parser.add_argument(
        "--newest", action="store_true", help="the newest weights, also where an average was kept"
    )
    parser.add_argument("--force", action="store_true", help="replace an export that is there")
    args = parser.parse_args(argv)
    check_folder(args.output, EXPORT, args.force)
    model = load_checkpoint(args.config, args.ckpt_path, averaged=not args.newest)
    save(model, args.output, torch.float16 if args.half else None)
    print(f"{args.output}: an export of {args.ckpt_path}")
    return 0
