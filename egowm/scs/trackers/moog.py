"""Structures followed by the tokens of a trained MooG."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from egowm.scs.trackers.base import Tracker, Tracks, check_input

if TYPE_CHECKING:
    from egowm.network.off_grid import OffGrid

SEED = 0  # of the noise that the tokens begin as
SHOWN = 2  # times that frame 0 is shown before the tokens are taken to be settled


class MooGTracker(Tracker):
    """Follows structures by the tokens of MooG (van Steenkiste, Zoran et al. 2024).

    Each pixel looks at the tokens that it is decoded from. A token belongs to a structure by the
    share of the attention that it gets in frame 0 from inside its mask; later, a pixel is the
    structure's as far as the tokens that it looks at are. Evidence is the largest such share among
    the pixels of a frame, over its mean inside the mask in frame 0, at most 1.

    weights: the folder of a trained MooG, as `egowm export` writes it. min_evidence: a structure at
    whose tokens no pixel looks that much is not in the frame.
    """

    name = "moog"
    warning = (
        "moog follows structures only as far as its tokens bind to them: compare its masks of real "
        "video with another tracker's before you believe its scores."
    )

    def __init__(self, weights: str | Path | None = None, min_evidence: float = 0.5) -> None:
        if weights is None:
            raise ValueError(
                "--tracker moog needs --tracker_weights, the folder of a trained MooG "
                "(egowm export -c recipes/rooms_moog.yaml)."
            )
        from egowm.checksums import sum_of
        from egowm.off_grid import WEIGHTS, load

        self.network: OffGrid = load(Path(weights))
        self.sha256 = sum_of(Path(weights) / WEIGHTS)
        self.min_evidence = min_evidence

    def options(self) -> dict[str, float | int | str]:
        """sha256 of the weights, and how they are used."""
        return {
            "weights": self.sha256,
            "min_evidence": self.min_evidence,
            "seed": SEED,
            "shown": SHOWN,
        }

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """Masks (T+1, O, H, W) and evidence (T+1, O); frame 0 is the annotation itself."""
        import cv2

        check_input(frames, masks)
        size, (height, width) = self.network.size, frames.shape[1:3]
        small = [cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames]
        shrunk = np.stack([
            cv2.resize(m.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
            for m in masks
        ])  # fmt: skip
        shares, least, evidence = carry(self.looks(np.stack(small)), shrunk.reshape(len(masks), -1))
        pictures = shares.reshape(*shares.shape[:2], size, size)
        found = [masks]
        for picture in pictures[1:]:
            wide = np.stack([cv2.resize(p, (width, height)) for p in picture])
            found.append(labelled(wide, least))
        return Tracks(np.stack(found), evidence)

    def looks(self, frames: np.ndarray) -> np.ndarray:
        """How much each pixel looks at each token once its frame was seen, (T+1, P, K) float32.

        frames: (T+1, size, size, 3) uint8.
        """
        import torch

        pictures = torch.from_numpy(frames).movedim(-1, 1).float() / 255
        shown = torch.cat([pictures[:1]] * SHOWN + [pictures[1:]])
        with torch.no_grad():
            start = self.network.start(1, torch.Generator().manual_seed(SEED))
            tokens = self.network.unroll(shown[None], start).corrected[0, SHOWN - 1 :]
            found = [self.network.looks(each[None])[0] for each in tokens]
        return torch.stack(found).numpy()


def carry(looks: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much of each structure the tokens have that each pixel looks at.

    looks: (T+1, P, K), rows of sum 1, how much each pixel looks at each token. masks: (O, P) in
    [0, 1], in frame 0. Gives shares (T+1, O, P) in [0, 1]; the share (O,) above which a pixel is
    the structure's, half-way between the means inside and outside its mask in frame 0; and
    evidence (T+1, O), 0 for a structure whose pixels look at its tokens no more than others do.
    """
    first = looks[0]
    owned = masks @ first / np.maximum(first.sum(0), 1e-12)  # (O, K)
    shares = np.stack([owned @ frame.T for frame in looks])
    area, rest = masks.sum(1), (1 - masks).sum(1)
    inside = (shares[0] * masks).sum(1) / np.maximum(area, 1e-12)
    outside = (shares[0] * (1 - masks)).sum(1) / np.maximum(rest, 1e-12)
    told = np.minimum(shares.max(2) / np.maximum(inside, 1e-12), 1) * (inside > outside)
    return shares, (inside + outside) / 2, told.astype(np.float32)


def labelled(shares: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Masks (O, H, W) of shares (O, H, W): the pixels above a structure's least share (O,), each
    to the structure that it exceeds the most."""
    over = shares / np.maximum(least, 1e-12)[:, None, None]
    best = over.argmax(0)
    found: np.ndarray = (over > 1) & (best == np.arange(len(shares))[:, None, None])
    return found
