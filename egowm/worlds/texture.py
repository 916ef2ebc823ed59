"""Band-limited surface texture: position-hashed value noise in a few octaves.

An octave fades out where its wavelength falls under two pixels, so a texture never aliases: it
turns into the plain colour of the surface in the distance.
"""

import numpy as np

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
    axis = np.abs(normals).argmax(1)
    u = np.where(axis == 0, points[:, 1], points[:, 0]).astype(np.float32)
    v = np.where(axis == 2, points[:, 1], points[:, 2]).astype(np.float32)
    shift = (ids * 7.31).astype(np.float32)
    factor = np.ones(len(u), np.float32)
    for cycles, amplitude in OCTAVES:
        pixels = 1.0 / (cycles * np.maximum(footprint, 1e-6))  # pixels per wavelength
        fade = np.clip(pixels / 2 - 1, 0, 1)
        factor += amplitude * fade * value_noise(u * cycles + shift, v * cycles + 1.7 * shift)
    return factor
