"""Small recordings in the raw layouts of the formats."""

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from egowm.data import OneXWriter


def jpeg(picture: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def grey(k: int) -> np.ndarray:
    """A picture whose every value is 3 k."""
    return np.full((12, 16, 3), 3 * k, np.uint8)


@pytest.fixture
def write_recon() -> Callable[..., None]:
    return _write_recon


def _write_recon(
    file: Path,
    poses: np.ndarray,
    picture: Callable[[int], np.ndarray] = grey,
    storage: str = "void",
    columns: int = 3,
) -> None:
    """A RECON file: poses (T, 3) are x, y, yaw; frame k is `picture(k)`, mirrored on the right.

    storage: how the JPEG strings are kept, "void", "bytes" or "uint8" (ragged).
    """
    position = np.zeros((len(poses), columns))
    position[:, :2] = poses[:, :2]
    with h5py.File(file, "w") as out:
        out["jackal/position"] = position
        out["jackal/yaw"] = poses[:, 2].astype(np.float64)
        out["commands/linear_velocity"] = np.zeros(len(poses))
        for camera, step in (("rgb_left", 1), ("rgb_right", -1)):
            encoded = [jpeg(picture(k)[:, ::step]) for k in range(len(poses))]
            _write_encoded(out, f"images/{camera}", encoded, storage)


def _write_encoded(out: h5py.File, key: str, encoded: list[bytes], storage: str) -> None:
    if storage == "uint8":
        data = out.create_dataset(key, (len(encoded),), h5py.vlen_dtype(np.uint8))
        for k, item in enumerate(encoded):
            data[k] = np.frombuffer(item, np.uint8)
        return
    width = max(map(len, encoded))
    out[key] = np.array(encoded, f"V{width}" if storage == "void" else f"S{width}")


@pytest.fixture
def write_trajectory() -> Callable[..., None]:
    return _write_trajectory


def _write_trajectory(
    folder: Path,
    poses: np.ndarray,
    picture: Callable[[int], np.ndarray] = grey,
    yaw_columns: int = 0,
    protocol: int | None = None,
) -> None:
    """A folder as NWM's preprocessing writes it: poses (T, 3) are x, y, yaw; frame k is
    `picture(k)`. yaw_columns: 0 for yaw (T,), 1 for (T, 1)."""
    folder.mkdir(parents=True)
    yaw = poses[:, 2] if not yaw_columns else poses[:, 2:]
    with (folder / "traj_data.pkl").open("wb") as out:
        pickle.dump({"position": poses[:, :2], "yaw": yaw}, out, protocol)
    for k in range(len(poses)):
        (folder / f"{k}.jpg").write_bytes(jpeg(picture(k)))


@pytest.fixture
def write_one_x() -> Callable[..., list[np.ndarray]]:
    return _write_one_x


def _write_one_x(
    root: Path, shards: list[list[int]], val: int = 0, size: int = 32
) -> list[np.ndarray]:
    """1X's raw release with training shards of segments of these lengths, and a segment of `val`
    frames for validation; returns the states (N, 25) of each shard.

    Frame k of a shard shows k as 8 black or white bars (grey levels drift in mp4). Dimension d of
    state k is (d + 1) k (k-1) / 2, so its difference k is (d + 1) k.
    """
    k = np.arange(max([val, *map(sum, shards)]), dtype=np.float32)
    states = ((k * (k - 1) / 2)[:, None] * np.arange(1, 26)).astype(np.float32)
    bars = np.unpackbits(k.astype(np.uint8)[:, None], axis=1).repeat(size // 8, 1) * 255
    frames = np.broadcast_to(bars[:, None, :, None], (len(k), size, size, 3))
    with OneXWriter(root, frames_per_shard=max(map(sum, shards))) as writer:
        for lengths in shards:
            for end, length in zip(np.cumsum(lengths), lengths, strict=True):
                writer.add(frames[end - length : end], states[end - length : end])
        if val:
            writer.add(frames[:val], states[:val], split="val")
    return [states[: sum(lengths)] for lengths in shards]
