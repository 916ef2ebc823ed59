"""Structures told by hue: exact in simulated rooms, true or generated, and without memory."""

import numpy as np

from egowm.scs.trackers.base import Tracker, Tracks, check_input

_BINS = 3600  # of hue, a tenth of a degree each
SUPPORT = 4  # of the 9 pixels around and including one, that must share its object


class PaletteTracker(Tracker):
    """Labels every pixel by hue; each object's own hue is read from its mask in frame 0.

    For worlds in which every structure has a hue of its own. tolerance: degrees of hue around it;
    the nearest object wins. min_saturation: greyer pixels belong to nothing, nor do those with less
    than half of the object's own saturation in frame 0: where a blurred edge mixes an object with
    grey, half is where the edge was. A mixture of two hues may have the hue of a third object: a
    pixel that fewer than 4 of the 9 pixels around it agree with takes what most of them are.
    (On clean frames this costs 0.8 points of IoU, on frames blurred by a Gaussian of 0.8 pixels it
    brings 9 points of SCS.)
    """

    name = "palette"
    memory = False

    def __init__(self, tolerance: float = 10.0, min_saturation: float = 0.2) -> None:
        if not (0 < tolerance <= 180 and 0 <= min_saturation <= 1):
            raise ValueError(
                f"Expected tolerance in (0, 180] and min_saturation in [0, 1], "
                f"got {tolerance} and {min_saturation}."
            )
        self.tolerance = tolerance
        self.min_saturation = min_saturation

    def options(self) -> dict[str, float | int | str]:
        """Both thresholds."""
        return {"tolerance": self.tolerance, "min_saturation": self.min_saturation}

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """Masks by hue, always with evidence 1: each frame is read on its own.

        Raises ValueError if an object is grey in frame 0, or two have nearly the same hue.
        """
        check_input(frames, masks)
        hue, saturation = _hue_saturation(frames)
        coloured = saturation >= self.min_saturation
        table = self._table(self._hues(hue[0], coloured[0], masks))
        labels = table[np.minimum((hue * (_BINS / 360)).astype(np.int32), _BINS - 1)]
        half = [np.median(saturation[0][mask & coloured[0]]) / 2 for mask in masks]
        least = np.maximum([*half, 0], self.min_saturation)  # labels -1 read the last one
        labels[saturation < least[labels]] = -1
        labels = np.stack([self.settled(frame, len(masks)) for frame in labels])
        found = labels[:, None] == np.arange(len(masks))[:, None, None]
        return Tracks(found, np.ones(found.shape[:2], np.float32))

    def settled(self, labels: np.ndarray, count: int) -> np.ndarray:
        """Labels (H, W), -1 or below `count`, where those without support follow the majority."""
        import cv2

        kinds = np.arange(-1, count)
        votes = (labels[..., None] == kinds).astype(np.float32)
        around = cv2.boxFilter(votes, -1, (3, 3), normalize=False, borderType=cv2.BORDER_REPLICATE)
        around = around.reshape(votes.shape)
        own = np.take_along_axis(around, labels[..., None].astype(np.int64) + 1, -1)[..., 0]
        return np.where(own >= SUPPORT, labels, kinds[around.argmax(-1)])

    def _hues(self, hue: np.ndarray, coloured: np.ndarray, masks: np.ndarray) -> np.ndarray:
        for number, mask in enumerate(masks, 1):
            share = coloured[mask].mean()
            if share < 0.5:
                raise ValueError(
                    f"Object {number} (counted from 1) has no hue to follow: {share:.0%} of its "
                    f"pixels in frame 0 have a saturation of {self.min_saturation} or more. "
                    f"Use another tracker, or remove it from the annotation."
                )
        hues = np.array([_circular_median(hue[mask & coloured]) for mask in masks])
        distance = _distance(hues[:, None], hues)
        distance[np.tril_indices(len(hues))] = np.inf
        first, second = np.unravel_index(distance.argmin(), distance.shape)
        if distance[first, second] < self.tolerance:
            raise ValueError(
                f"Objects {first + 1} and {second + 1} (counted from 1) have nearly the same hue, "
                f"{hues[first]:.0f} and {hues[second]:.0f} degrees: closer than the tolerance of "
                f"{self.tolerance:g}. Hue cannot tell them apart; use another tracker."
            )
        return hues

    def _table(self, hues: np.ndarray) -> np.ndarray:
        """The object of each hue bin, (bins,) int16; -1 for none."""
        distance = _distance((np.arange(_BINS)[:, None] + 0.5) * (360 / _BINS), hues)
        near = distance.min(axis=1) <= self.tolerance
        return np.where(near, distance.argmin(axis=1), -1).astype(np.int16)


def _hue_saturation(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hue in degrees and saturation in [0, 1], each (T+1, H, W) float32."""
    import cv2

    tall = frames.reshape(-1, frames.shape[2], 3).astype(np.float32) / 255
    hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV).reshape(frames.shape)
    return hsv[..., 0], hsv[..., 1]


def _distance(a: np.ndarray, b: "np.ndarray | float") -> np.ndarray:
    """Angle between hues, 0 to 180 degrees."""
    return np.abs((a - b + 180) % 360 - 180)


def _circular_median(hues: np.ndarray) -> float:
    """The hue with the least summed angle to all others: to a degree, then by the median there."""
    counts = np.bincount(hues.astype(int) % 360, minlength=360)
    degrees = np.arange(360.0)
    centre = float((_distance(degrees[:, None], degrees) @ counts).argmin()) + 0.5
    return float((centre + np.median((hues - centre + 180) % 360 - 180)) % 360)
