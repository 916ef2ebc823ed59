"""Features in which a goal is compared: an encoder's patches, layers of any network, structures."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from egowm.checks import check_shape, checked
from egowm.encoder import Encoder, patch_distance, standardised
from egowm.pixels import to_uint8
from egowm.planning.costs import Features, check_goal, last_frame
from egowm.sampling import Decode, Rollout

if TYPE_CHECKING:
    from egowm.scs.trackers.base import Tracker


@checked
def encoder(goal: Tensor, folder: Path | str | Encoder, size: int | None = None) -> Features:
    """1 minus the mean cosine between patches of the last frame and of the goal, as DINO-WM plans
    with DINOv2 (arXiv 2411.04983).

    Args:
        goal: (3, H, W) in [0, 1].
        folder: A vision transformer in transformers' format, such as DINOv2, I-JEPA or what
            `egowm export` writes of `egowm.encoders`; nothing is downloaded. An `Encoder` that is
            loaded already is not loaded again for every goal.
        size: Frames are resized to it, a multiple of the patch size; None takes the folder's. An
            `Encoder` has its own.

    Raises:
        FileNotFoundError: A file that is missing.
        ValueError: A size beside an `Encoder`.
    """
    if isinstance(folder, Encoder) and size is not None:
        raise ValueError("Expected no size beside an Encoder, which has its own: give its folder.")
    network = folder if isinstance(folder, Encoder) else Encoder.from_pretrained(folder, size)

    def patches(frames: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, h, w, D)."""
        return network.to(frames.device).encode(frames).patches

    return Features(goal, patches, patch_distance)


def __getattr__(name: str) -> Any:
    if name == "dino":  # of before other encoders could be given
        warnings.warn("features.dino is now features.encoder.", FutureWarning, stacklevel=2)
        return encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@checked
def perceptual(goal: Tensor, network: nn.Module, layers: Sequence[str]) -> Features:
    """Distance in a network's layers as LPIPS measures it (Zhang et al. 2018, arXiv 1801.03924),
    every channel weighing the same.

    network: takes (N, 3, H, W) standardised by ImageNet's mean and deviation. layers: names of its
    modules whose outputs (N, C, h, w) are compared, normalised along C.
    """
    modules = dict(network.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown or not layers:
        raise ValueError(f"Expected names of the network's modules, got {unknown or 'none'}.")
    network.requires_grad_(False).eval()

    def activations(frames: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, F): squared differences of these sum up to the distance."""
        found: list[Tensor] = []

        def keep(module: nn.Module, args: Any, output: Tensor) -> None:
            unit = output / (output.square().sum(1, keepdim=True) + 1e-10).sqrt()
            positions = output.shape[-2] * output.shape[-1]
            found.append(unit.flatten(1) / positions**0.5)

        handles = [modules[name].register_forward_hook(keep) for name in layers]
        try:
            network(standardised(frames))
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat(found, 1)

    return Features(goal, activations, lambda made, wanted: (made - wanted).square().sum(1))


@checked
class Structure:
    """1 - SCS / 100 of the last frame: how far the goal's structures are from where they should be.

    goal: (3, H, W) in [0, 1] with masks (O, H, W), bool. tracker: finds them in the imagined frame,
    `egowm.scs.trackers`. Nothing of it has a gradient.
    """

    needs: Decode = "last"

    def __init__(self, goal: Tensor, masks: np.ndarray, tracker: "Tracker") -> None:
        check_shape("goal", goal, "3 H W")
        if masks.ndim != 3 or masks.shape[1:] != goal.shape[1:] or not masks.any((1, 2)).all():
            raise ValueError(
                f"Expected masks (O, {goal.shape[1]}, {goal.shape[2]}) that are not empty, got "
                f"{masks.shape}."
            )
        self.goal, self.masks, self.tracker = goal, masks.astype(bool), tracker

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        from egowm.scs.score import clip_score, overlap

        last = last_frame(rollout).detach()
        check_goal(self.goal, last)
        (wanted,), target = to_uint8(self.goal[None]), np.stack([self.masks, self.masks])
        costs = []
        for frame in to_uint8(last):
            found = self.tracker.track(np.stack([wanted, frame]), self.masks).masks
            costs.append(1 - clip_score(overlap(found, target).iou("left_out")) / 100)
        return last.new_tensor(costs)
