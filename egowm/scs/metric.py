"""The Structural Consistency Score as a torchmetrics metric."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from egowm.checks import check_between, checked
from egowm.scs.score import MIN_AREA, Overlap, Summary, overlap, summarise

_EXACT = 2**24  # whole numbers below it are exact in float32


@checked
class SCS(Metric):
    """Accumulates clips; `compute` gives a dict of scalars, for instance for `self.log_dict`.

    `compute` gives `scs`, `scs_davis`, `scs_visible` and `scs_at_2` ... `scs_at_16`, each 0..100,
    NaN if undefined.

    Args:
        min_area: Share of the frame, 0 to 1, below which a mask counts as empty.

    >>> metric = SCS()
    >>> masks = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    >>> metric.update(masks, masks)
    >>> metric.compute()["scs"]
    tensor(100.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: list[Tensor]

    def __init__(self, min_area: float = MIN_AREA) -> None:
        super().__init__()
        check_between("min_area", min_area, 0.0, 1.0)
        self.min_area = min_area
        # One 1-D state: a list of 2-D tensors crashes the gather if a rank has seen no clip, and
        # so does another dtype than float32 (exact for counts below 2^24).
        self.add_state("counts", default=[], dist_reduce_fx="cat")

    def update(
        self,
        pred_masks: Tensor | np.ndarray,
        target_masks: Tensor | np.ndarray,
        lost: Tensor | np.ndarray | None = None,
        clip: int | Tensor | None = None,
    ) -> None:
        """Add one clip; clips may differ in T, O and size.

        Args:
            pred_masks: (T+1, O, H, W) bool with the shared frame first, tensor or array.
            target_masks: The truth's, of the same shape.
            lost: (T+1, O) bool, where the prediction's track has no evidence; nowhere by default.
            clip: Its number in the data set (`dataset_idx`). Over several processes a sampler
                repeats clips to make shares equal, and a number that comes again is counted once;
                without numbers every update counts.
        """
        self.add(overlap(pred_masks, target_masks, min_area=self.min_area, lost=lost), clip)

    def add(self, found: Overlap, clip: int | Tensor | None = None) -> None:
        """Add one clip by its counts of pixels.

        Args:
            found: What `egowm.scs.score.overlap` gives.
            clip: As in `update`.
        """
        if isinstance(clip, Tensor) and clip.ndim:
            raise ValueError(f"Expected the clip's number, got a tensor of {tuple(clip.shape)}.")
        if clip is not None and not 0 <= clip < _EXACT:
            raise ValueError(f"Expected the clip's number in [0, {_EXACT}), got {clip}.")
        packed = _pack(found, -1 if clip is None else int(clip))
        self.counts.append(torch.from_numpy(packed.astype(np.float32)).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The headline, its variants and its horizons over all clips, float32 scalars."""
        found = self._summary()
        values = {"scs": found.scs, "scs_davis": found.scs_davis, "scs_visible": found.scs_visible}
        values.update({f"scs_at_{k}": value for k, value in found.scs_at.items()})
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the values, or those of several `compute`; needs matplotlib.

        Args:
            val: What `compute` gave, or a list of that; None computes.
            ax: Axes of matplotlib; None makes some.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)

    def _summary(self) -> Summary:
        seen = len(self.counts) > 0
        return summarise(_unpack(dim_zero_cat(self.counts).cpu().numpy()) if seen else [])


def _pack(found: Overlap, clip: int) -> np.ndarray:
    """One clip as a flat vector: its number (-1: none), O, T, pixels per frame, then the counts."""
    parts = (found.intersection, found.pred, found.target, found.lost, found.covered)
    header = np.array([clip, *found.pred.shape, found.num_pixels])
    return np.concatenate([header, *(part.ravel() for part in parts)])


def _unpack(flat: np.ndarray) -> list[Overlap]:
    """The clips of all processes; of equal numbers the first."""
    values, clips, seen, at = flat.astype(np.int64), [], set(), 0
    while at < len(values):
        clip, num_objects, num_frames, num_pixels = map(int, values[at : at + 4])
        size = num_objects * num_frames
        end = at + 4 + 4 * size
        tables = values[at + 4 : end].reshape(4, num_objects, num_frames)
        covered = values[end : end + num_frames]
        if clip < 0 or clip not in seen:
            parts = (tables[0], tables[1], tables[2], tables[3] > 0, covered, num_pixels)
            clips.append(Overlap(*parts))
        seen.add(clip)
        at = end + num_frames
    return clips
