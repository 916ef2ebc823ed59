"""Where bfloat16 is computed at speed, and what trains in its place where it is not."""

import logging

import torch

log = logging.getLogger(__name__)
MIXED, FULL = ("bf16-mixed", "bf16"), "32-true"


def computes_in_bfloat16(device: str) -> bool:
    """Whether networks run in bfloat16 on this kind of device at least as fast as in float32.

    A processor without such instructions takes 10 to 20 times as long for a convolution.
    """
    if device != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def trainer_precision(asked: object, accelerator: str) -> object:
    """The precision a trainer gets: float32 in place of bf16-mixed where a CPU has no bfloat16.

    Weights, their updates and checkpoints are float32 under both, so a run may change machines.

    Args:
        asked: As the trainer names it; null is float32.
        accelerator: As the trainer names it; "auto" is the CPU where there is nothing else.
    """
    on_cpu = accelerator == "cpu" or (
        accelerator == "auto" and not torch.accelerator.is_available()
    )
    if asked not in MIXED or not on_cpu or computes_in_bfloat16("cpu"):
        return asked
    log.info(
        "This processor does not compute in bfloat16: training in float32, which is many times "
        "faster here."
    )
    return FULL
