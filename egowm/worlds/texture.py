"""Band-limited surface texture: position-hashed value noise in a few octaves.

An octave fades out where its wavelength falls under two pixels, so a texture never aliases: it
turns into the plain colour of the surface in the distance. `Papers` puts pictures in its place.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from egowm.video import read_image

# (cycles per metre, amplitude as a share of the luminance)
OCTAVES = ((0.7, 0.16), (1.7, 0.12), (4.1, 0.09), (9.7, 0.06))
_SIZE = 64  # the lattice repeats after 64 cells
_LATTICE = np.random.default_rng(20).uniform(-1.0, 1.0, (_SIZE, _SIZE)).astype(np.float32)


def value_noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth noise in [-1, 1] at lattice coordinates `u`, `v` of any equal shape."""
    u0, v0 = np.floor(u), np.floor(v)
    fu, fv = u - u0, v - v0
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    i, j = u0.astype(np.int32) % _SIZE, v0.astype(np.int32) % _SIZE
    flat = _LATTICE.reshape(-1)
    row, below = i * _SIZE, (i + 1) % _SIZE * _SIZE
    right = (j + 1) % _SIZE
    top = flat[row + j] * (1 - fv) + flat[row + right] * fv
    bottom = flat[below + j] * (1 - fv) + flat[below + right] * fv
    return top * (1 - fu) + bottom * fu


def luminance(
    points: np.ndarray, normals: np.ndarray, ids: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """Factor around 1 for the surface luminance.

    points: (P, 3) metres, relative to the structure they lie on.
    normals: (P, 3) unit. ids: (P,) structure, shifts the pattern.
    footprint: (P,) width of a pixel on the surface, metres.
    Returns (P,) float32.
    """
    u, v = surface(points, normals)
    shift = (ids * 7.31).astype(np.float32)
    factor = np.ones(len(u), np.float32)
    for cycles, amplitude in OCTAVES:
        pixels = 1.0 / (cycles * np.maximum(footprint, 1e-6))  # pixels per wavelength
        fade = np.clip(pixels / 2 - 1, 0, 1)
        factor += amplitude * fade * value_noise(u * cycles + shift, v * cycles + 1.7 * shift)
    return factor


def surface(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (P,) on the surface, metres: across and up (on floor and ceiling: x and y)."""
    axis = np.abs(normals).argmax(1)
    u = np.where(axis == 0, points[:, 1], points[:, 0]).astype(np.float32)
    v = np.where(axis == 2, points[:, 1], points[:, 2]).astype(np.float32)
    return u, v


class Papers:
    """Wallpaper made of pictures: structure k carries picture k mod n, 2 m high, repeated.

    Only its luminance, so that every structure keeps its own hue. The picture is read from a
    pyramid, at the level whose texel is as wide as a pixel on the surface, so it does not alias.
    """

    HEIGHT = 2.0  # metres, of one picture
    _TEXELS = 256  # along the height of the finest level
    _CONTRAST = 0.22  # standard deviation of the luminance, as a share of it

    def __init__(self, pictures: "list[np.ndarray]") -> None:
        """pictures: (H, W) float luminances."""
        self.pyramids = [self._pyramid(picture) for picture in pictures]

    def luminance(
        self, points: np.ndarray, normals: np.ndarray, ids: np.ndarray, footprint: np.ndarray
    ) -> np.ndarray:
        """Factor around 1 for the surface luminance, (P,) float32; as `luminance` above."""
        u, v = surface(points, normals)
        texel = self.HEIGHT / self._TEXELS
        wanted = np.log2(np.maximum(footprint / texel, 1)).round().astype(int)
        factor = np.empty(len(u), np.float32)
        for number, pyramid in enumerate(self.pyramids):
            level = wanted.clip(max=len(pyramid) - 1)
            for k, image in enumerate(pyramid):
                here = (ids % len(self.pyramids) == number) & (level == k)
                size = texel * 2**k
                row = np.floor(-v[here] / size).astype(int) % image.shape[0]
                column = np.floor(u[here] / size).astype(int) % image.shape[1]
                factor[here] = image[row, column]
        return factor

    def _pyramid(self, picture: np.ndarray) -> list[np.ndarray]:
        """Levels from the finest down, each half as large, as factors around 1."""
        import cv2

        width = max(8, round(self._TEXELS * picture.shape[1] / picture.shape[0] / 8) * 8)
        image = cv2.resize(
            picture.astype(np.float32), (width, self._TEXELS), interpolation=cv2.INTER_AREA
        )
        image = 1 + self._CONTRAST * (image - image.mean()) / max(float(image.std()), 1e-6)
        levels = [image.clip(0.4, 1.6)]
        while min(levels[-1].shape) > 8:
            height, width = levels[-1].shape
            half = levels[-1][: height // 2 * 2, : width // 2 * 2]
            levels.append(half.reshape(height // 2, 2, width // 2, 2).mean((1, 3)))
        return levels


@lru_cache(maxsize=4)
def load_papers(folder: str) -> Papers:
    """The pictures (png, jpg) of a folder, in the order of their names.

    Raises FileNotFoundError where there is none, VideoError for one that is damaged.
    """
    import cv2

    paths = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in (".png", ".jpg"))
    if not paths:
        raise FileNotFoundError(
            f"Expected pictures (png or jpg) for the walls in {folder}, found none."
        )
    grey = [cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY) for path in paths]
    return Papers([picture.astype(np.float32) for picture in grey])
