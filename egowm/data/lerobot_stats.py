"""Statistics of columns and pictures as LeRobot keeps them, of each episode and of all."""

from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Stats = dict[str, Any]
_LEVELS = np.arange(256) / 255


def column_stats(values: np.ndarray) -> Stats:
    """Smallest, largest, mean, standard deviation, count and quantiles of a column (N,) or (N, D),
    each a list of D numbers.

    >>> stats = column_stats(np.array([[0.0, 1.0], [2.0, 1.0]]))
    >>> stats["mean"], stats["std"], stats["count"]
    ([1.0, 1.0], [1.0, 0.0], [2])
    """
    rows = values.reshape(len(values), -1).astype(np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found |= dict(zip(QUANTILES, np.quantile(rows, list(QUANTILES.values()), axis=0), strict=True))
    return {name: numbers.tolist() for name, numbers in found.items()} | {"count": [len(rows)]}


class PictureStats:
    """The same of a video's channels, in [0, 1] and of shape (3, 1, 1), from a hundred frames or
    more.

    Args:
        count: Frames that the video has.
    """

    def __init__(self, count: int) -> None:
        self._every, self._seen, self._used = max(1, count // 100), 0, 0
        self._levels = np.zeros((3, 256), np.int64)

    def add(self, frame: np.ndarray) -> None:
        """Take the next frame (H, W, 3) into account."""
        if self._seen % self._every == 0:
            for channel, levels in zip(frame.reshape(-1, 3).T, self._levels, strict=True):
                levels += np.bincount(channel, minlength=256)
            self._used += 1
        self._seen += 1

    def stats(self) -> Stats:
        """What was found; count is the number of frames used."""
        total = self._levels[0].sum()
        shares = self._levels / total
        mean = shares @ _LEVELS
        found = {"mean": mean, "std": np.sqrt(np.maximum(shares @ _LEVELS**2 - mean**2, 0))}
        below = np.cumsum(self._levels, 1)
        ranks = {"min": 1, "max": total}
        ranks |= {name: max(1, np.ceil(q * total)) for name, q in QUANTILES.items()}
        for name, rank in ranks.items():
            found[name] = np.array([_LEVELS[np.searchsorted(row, rank)] for row in below])
        shaped = {name: numbers.reshape(3, 1, 1).tolist() for name, numbers in found.items()}
        return shaped | {"count": [self._used]}


def joined(one: Stats, other: Stats) -> Stats:
    """The statistics of two parts together; their quantiles by LeRobot's rule, the mean of both
    weighted by counts.

    >>> joined(column_stats(np.zeros(1)), column_stats(np.full(3, 4.0)))["mean"]
    [3.0]
    """
    first, second = ({key: np.array(part[key]) for key in part} for part in (one, other))
    share = second["count"][0] / (first["count"][0] + second["count"][0])
    apart = (second["mean"] - first["mean"]) ** 2 * share * (1 - share)
    between = {key: first[key] * (1 - share) + second[key] * share for key in ("mean", *QUANTILES)}
    spread = np.sqrt(first["std"] ** 2 * (1 - share) + second["std"] ** 2 * share + apart)
    found = between | {"std": spread, "count": first["count"] + second["count"]}
    found["min"] = np.minimum(first["min"], second["min"])
    found["max"] = np.maximum(first["max"], second["max"])
    return {key: found[key].tolist() for key in one}
