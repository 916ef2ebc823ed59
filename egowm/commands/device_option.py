"""The option by which a command is told where its networks run."""

import argparse
from typing import TYPE_CHECKING

from egowm.commands.parser import Parser

if TYPE_CHECKING:
    import torch


def add_device(parser: Parser, what: str) -> None:
    """Add --device, where `what` says whose it is."""
    parser.add_argument(
        "--device",
        default="auto",
        help=f"device {what}: auto (default), cpu, cuda, cuda:1 ...",
    )


def chosen_device(arguments: argparse.Namespace) -> "torch.device":
    """The device that was named; auto takes a GPU where there is one."""
    import torch

    name, has_gpu = arguments.device, torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_gpu else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"--device: expected a device such as cpu or cuda, got {name!r}."
        ) from error
    if device.type == "cuda" and not has_gpu:
        raise ValueError(f"--device {name}: torch finds no GPU here. Leave it out, or give cpu.")
    return device
