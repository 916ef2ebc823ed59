"""Whether a picture is like those that a model learned from: its layout, colours and edges.

The features say nothing of what is seen. They tell a wall under a lamp from a painting, so a model
of rooms is not trusted with the painting; pictures that they cannot tell apart may still differ.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypedDict

import numpy as np

from egowm.dynamics import Dynamics
from egowm.evaluation.simulator import Simulator
from egowm.shipped import share_folder
from egowm.typed_json import faults
from egowm.video import resize

SIDE = 32  # pixels that a picture is looked at in
LEAST = 40  # pictures that a domain is measured on
HELD_OUT = 0.99  # share of the domain's own pictures, left out in turns, that are within it
_GRID = 4


class Record(TypedDict):
    """The fields of a domain in JSON."""

    mean: list[float]
    whitening: list[list[float]]
    limit: float
    about: str


@dataclass(frozen=True)
class Domain:
    """Where the pictures of a model lie among all pictures.

    Args:
        mean: (F,) of their features.
        whitening: (F, F), which makes their features uncorrelated and of deviation 1.
        limit: Distance that all but one in a hundred keep.
        about: What they show, in words.
    """

    mean: np.ndarray
    whitening: np.ndarray
    limit: float
    about: str

    @classmethod
    def of(cls, pictures: Sequence[np.ndarray], about: str) -> "Domain":
        """The domain of pictures (H, W, 3) uint8.

        The limit is measured on fifths of them that are left out in turns. Raises ValueError for
        fewer than 40.
        """
        if len(pictures) < LEAST:
            raise ValueError(
                f"Expected at least {LEAST} pictures like those that the model learned from, got "
                f"{len(pictures)}."
            )
        found = np.stack([features(picture) for picture in pictures])
        parts = np.arange(len(found)) % 5
        far = np.concatenate(
            [_distances(found[parts == k], *_fitted(found[parts != k])) for k in range(5)]
        )
        return cls(*_fitted(found), float(np.quantile(far, HELD_OUT)), about)

    @classmethod
    def of_rooms(cls) -> "Domain":
        """That of the embedded rooms, measured on 500 rooms of the training set."""
        text = files(__package__).joinpath("rooms_domain.json").read_text("utf-8")
        record = json.loads(text)
        assert not list(faults(record, Record))
        mean, whitening = np.array(record["mean"]), np.array(record["whitening"])
        return cls(mean, whitening, record["limit"], record["about"])

    def record(self) -> Record:
        """What `of_rooms` reads."""
        return {
            "mean": self.mean.round(5).tolist(),
            "whitening": self.whitening.round(5).tolist(),
            "limit": round(self.limit, 3),
            "about": self.about,
        }

    def distance(self, picture: np.ndarray) -> float:
        """How far a picture (H, W, 3) uint8 lies from them, in their own deviations."""
        return float(_distances(features(picture)[None], self.mean, self.whitening)[0])

    def unlike(self, picture: np.ndarray) -> str | None:
        """A sentence where a picture lies outside; None within."""
        far = self.distance(picture) / self.limit
        if far <= 1:
            return None
        return (
            f"This picture is unlike those that the model learned from ({self.about}): "
            f"{far:.1f} times as far as they differ from each other. It will repaint what it "
            f"sees as what it knows."
        )


def features(picture: np.ndarray) -> np.ndarray:
    """Of a picture (H, W, 3) uint8: brightness by place, edges at three scales, and colourfulness
    from top to bottom (F,)."""
    small = resize(picture[None], SIDE, SIDE)[0].astype(np.float64) / 255
    light = small.mean(-1)
    saturation = np.ptp(small, axis=-1) / np.maximum(small.max(-1), 0.05)
    cell = SIDE // _GRID
    places = light.reshape(_GRID, cell, _GRID, cell).mean((1, 3)).ravel()
    edges = [value for factor in (1, 2, 4) for value in _edges(_smaller(light, factor))]
    bands = [band.mean() for band in np.array_split(saturation, 3)]
    spread = [light.std(), saturation.std(), (saturation < 0.15).mean()]
    return np.concatenate([places, np.log(np.array(edges) + 1e-3), bands, spread])


def _smaller(light: np.ndarray, factor: int) -> np.ndarray:
    side = len(light) // factor
    return light.reshape(side, factor, side, factor).mean((1, 3))


def _edges(light: np.ndarray) -> tuple[float, float]:
    """Mean differences of neighbours, across and down."""
    return float(np.abs(np.diff(light, axis=1)).mean()), float(
        np.abs(np.diff(light, axis=0)).mean()
    )


def _fitted(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and whitening of features (n, F); small deviations are not believed below a tenth."""
    mean, scale = found.mean(0), found.std(0) + 1e-3
    correlation = np.cov((found - mean) / scale, rowvar=False)
    values, vectors = np.linalg.eigh(correlation)
    white = vectors / np.sqrt(np.maximum(values, 0.05))
    return mean, (white @ vectors.T) / scale


def _distances(found: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    return np.linalg.norm((found - mean) @ whitening.T, axis=1)


def domain_of(model: Dynamics) -> Domain | None:
    """That of the embedded rooms for models that stand on a shipped base and drive as its robot;
    None where what a model learned from is not known."""
    spec, base = model.spec, model.base
    wheels = Simulator.spec
    assert wheels is not None
    if spec is None or (spec.names, spec.units, spec.kind) != (wheels.names, wheels.units, "se2"):
        return None
    shipped = {str(path.resolve()) for path in share_folder("priors").iterdir()}
    return Domain.of_rooms() if str(Path(base).resolve()) in shipped else None
