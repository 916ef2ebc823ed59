"""Structures followed by the tokens of a trained MooG."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from egowm.scs.trackers.base import MIN_KNOWN, Tracker, Tracks, check_input

if TYPE_CHECKING:
    from egowm.network.off_grid import OffGrid

SEED = 0  # of the noise that the tokens begin as
SHOWN = 2  # times that frame 0 is shown before the tokens are taken to be settled
ASIDE, STEPS = 1 / 8, 4  # share of a side that frame 0 is moved to see what the tokens know
STILL = 0.9  # IoU of a mask with itself moved; above it, moving shows nothing


class MooGTracker(Tracker):
    """Follows structures by the tokens of MooG (van Steenkiste, Zoran et al. 2024).

    Each pixel looks at the tokens that it is decoded from. A token belongs to a structure by the
    share of the attention that it gets in frame 0 from inside its mask; later, a pixel is the
    structure's as far as the tokens that it looks at are. Evidence is the largest such share among
    the pixels of a frame, over its mean inside the mask in frame 0, at most 1.

    Tokens that are bound to places and not to what is there would leave every mask where it is, in
    the truth as in the prediction, which scores 100. So `knows` moves frame 0 itself to the left
    and to the right, and sees whether the masks go with it.

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
            "aside": ASIDE,
            "known_below": MIN_KNOWN,
        }

    def knows(self, frame: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """How far each structure (O,) goes with frame 0 when that is moved aside in small steps: 0
        where its mask stays, 1 where it arrives, at most its IoU with its own mask before."""
        found = []
        for way in (-1, 1):
            steps = np.linspace(0, way * ASIDE * frame.shape[1], STEPS + 1).round().astype(int)
            moving = np.stack([_moved(frame, step) for step in steps])
            tracks = self.rendered(moving, masks, every=STEPS).masks
            there = np.stack([_moved(mask, steps[-1], empty=True) for mask in masks])
            inside = _moved(np.ones(masks.shape[1:], bool), steps[-1], empty=True)
            found.append(gone_along(masks & inside, there, tracks[-1] & inside))
            at_first = iou(tracks[0], masks)
        return np.minimum(np.mean(found, 0), at_first)

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """Masks (T+1, O, H, W) and evidence (T+1, O); frame 0 is the annotation itself."""
        check_input(frames, masks)
        found, evidence = self.rendered(frames, masks)
        return Tracks(np.concatenate([masks[None], found[1:]]), evidence)

    def rendered(self, frames: np.ndarray, masks: np.ndarray, every: int = 1) -> Tracks:
        """As `track`, with the masks that the tokens give in frame 0, too; of every so many frames
        alone."""
        import cv2

        size, (height, width) = self.network.size, frames.shape[1:3]
        small = [cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames]
        shrunk = np.stack([
            cv2.resize(m.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
            for m in masks
        ])  # fmt: skip
        shares, least, evidence = carry(
            self.looks(np.stack(small), every), shrunk.reshape(len(masks), -1)
        )
        pictures = shares.reshape(*shares.shape[:2], size, size)
        wide = [np.stack([cv2.resize(p, (width, height)) for p in each]) for each in pictures]
        return Tracks(np.stack([labelled(shown, least) for shown in wide]), evidence)

    def looks(self, frames: np.ndarray, every: int = 1) -> np.ndarray:
        """How much each pixel looks at each token once its frame was seen, (T+1, P, K) float32.

        frames: (T+1, size, size, 3) uint8. every: so many frames, of which one is told.
        """
        import torch

        pictures = torch.from_numpy(frames).movedim(-1, 1).float() / 255
        shown = torch.cat([pictures[:1]] * SHOWN + [pictures[1:]])
        with torch.no_grad():
            start = self.network.start(1, torch.Generator().manual_seed(SEED))
            tokens = self.network.unroll(shown[None], start).corrected[0, SHOWN - 1 :: every]
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


def gone_along(before: np.ndarray, there: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How far masks (O, H, W) went from where they were to where they belong, (O,) in [0, 1]: the
    IoU of `found` with `there`, less that of `before`, over the most that this can be. 1 where both
    lie over each other so far that it cannot be told."""
    still, reached = iou(before, there), iou(found, there)
    share = (reached - still) / np.maximum(1 - still, 1 - STILL)
    told: np.ndarray = np.where(still > STILL, 1.0, np.clip(share, 0, 1))
    return told


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of masks (O, H, W), (O,); 0 where both are empty."""
    either = (a | b).sum((1, 2))
    share: np.ndarray = (a & b).sum((1, 2)) / np.maximum(either, 1)
    return share


def _moved(picture: np.ndarray, columns: int, empty: bool = False) -> np.ndarray:
    """A picture (H, W, ...) moved to the right; what comes in is its edge, or nothing."""
    source = np.arange(picture.shape[1]) - columns
    moved = picture[:, source.clip(0, picture.shape[1] - 1)]
    if empty:
        moved[:, (source < 0) | (source >= picture.shape[1])] = 0
    return moved
