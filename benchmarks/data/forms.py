"""The same made-up episodes in every form that egowm reads, and in those that others read.

A textured wall slides past a camera that turns; frame k of an episode is the same picture in every
form, up to the form's own compression.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import h5py
import numpy as np

from egowm.data import (
    NWM,
    ClipData,
    DonkeyTub,
    Droid,
    LeRobot,
    OneX,
    Recon,
    TumRgbd,
    VideoCSV,
    Window,
)
from egowm.video import write_mp4

RATE_HZ = 10
QUALITY = 95  # of JPEG


class Recording(NamedTuple):
    """One episode: frames (N, S, S, 3) and poses (N, 3), x, y in metres and yaw in radians."""

    name: str
    frames: np.ndarray
    poses: np.ndarray


def recordings(count: int, length: int, size: int, seed: int) -> list[Recording]:
    """`count` episodes of `length` frames."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        coarse = rng.integers(0, 256, (size // 16, 3 * size // 16, 3), dtype=np.uint8)
        wall = cv2.resize(coarse, (3 * size, size), interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 2, wall.shape)
        wall = np.clip(wall + grain, 0, 255).astype(np.uint8)
        turn = np.cumsum(rng.uniform(0.01, 0.04, length))
        offsets = (turn * size / 2).astype(int)
        frames = np.stack([np.roll(wall, -k, axis=1)[:, :size] for k in offsets])
        poses = np.stack([0.1 * np.arange(length), np.zeros(length), turn], 1)
        found.append(Recording(f"run_{number:03d}", frames, poses))
    return found


def nwm(root: Path, made: list[Recording]) -> None:
    for name, frames, poses in made:
        folder = root / name
        folder.mkdir(parents=True)
        labels = {"position": poses[:, :2], "yaw": poses[:, 2]}
        (folder / "traj_data.pkl").write_bytes(pickle.dumps(labels))
        for k, frame in enumerate(frames):
            (folder / f"{k}.jpg").write_bytes(jpeg(frame))


def recon(root: Path, made: list[Recording]) -> None:
    root.mkdir(parents=True)
    for name, frames, poses in made:
        encoded = [jpeg(frame) for frame in frames]
        with h5py.File(root / f"{name}.hdf5", "w") as out:
            out["jackal/position"] = np.pad(poses[:, :2], ((0, 0), (0, 1)))
            out["jackal/yaw"] = poses[:, 2]
            out["images/rgb_left"] = np.array(encoded, f"V{max(map(len, encoded))}")


def videos(root: Path, made: list[Recording]) -> None:
    root.mkdir(parents=True)
    for name, frames, poses in made:
        write_mp4(root / f"{name}.mp4", frames, RATE_HZ)
        rows = [f"{k / RATE_HZ},{x},{y},{yaw}" for k, (x, y, yaw) in enumerate(poses)]
        head = "time [s],x [m],y [m],yaw [rad]"
        (root / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")


def lerobot(root: Path, made: list[Recording]) -> None:
    """Codebase 2.1: a table and a video for each episode."""
    import pyarrow as pa
    from pyarrow import parquet

    video = {"dtype": "video", "shape": [*made[0].frames.shape[1:]], "names": None}
    vector = {"dtype": "float32", "shape": [3], "names": ["x", "y", "yaw"]}
    info = {
        "codebase_version": "v2.1",
        "fps": RATE_HZ,
        "chunks_size": 100_000,
        "data_path": "data/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {"front": video, "action": vector, "observation.state": vector},
    }
    for folder in ("meta", "data", "videos/front"):
        (root / folder).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    lines = []
    for number, (_, frames, poses) in enumerate(made):
        name, rows = f"episode_{number:06d}", poses.astype(np.float32).tolist()
        columns = {
            "episode_index": [number] * len(rows),
            "timestamp": np.arange(len(rows), dtype=np.float32) / RATE_HZ,
            "action": rows,
            "observation.state": rows,
        }
        parquet.write_table(pa.table(columns), root / "data" / f"{name}.parquet")
        write_mp4(root / "videos/front" / f"{name}.mp4", frames, RATE_HZ)
        lines.append(json.dumps({"episode_index": number, "length": len(rows), "tasks": []}))
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")


def one_x(root: Path, made: list[Recording]) -> None:
    """One shard of one segment for each episode."""
    base = root / "train_v2.0_raw"
    for folder in ("videos", "robot_states", "segment_indices", "metadata"):
        (base / folder).mkdir(parents=True)
    for number, (_, frames, poses) in enumerate(made):
        write_mp4(base / f"videos/video_{number}.mp4", frames, 30)
        states = np.repeat(poses, 9, axis=1)[:, :25].astype(np.float32)
        states.tofile(base / f"robot_states/states_{number}.bin")
        np.zeros(len(poses), np.int32).tofile(base / f"segment_indices/segment_idx_{number}.bin")
        told = json.dumps({"shard_num_frames": len(poses)})
        (base / f"metadata/metadata_{number}.json").write_text(told)


def tub(root: Path, made: list[Recording]) -> None:
    """One tub; every episode is a session of it."""
    (root / "images").mkdir(parents=True)
    lines: list[str] = []
    for name, frames, poses in made:
        for frame, pose in zip(frames, poses, strict=True):
            index = len(lines)
            picture = f"{index}_cam_image_array_.jpg"
            (root / "images" / picture).write_bytes(jpeg(frame))
            record = {"_index": index, "_session_id": name, "_timestamp_ms": 50 * index}
            record |= {"cam/image_array": picture, "user/mode": "user"}
            record |= {"user/angle": float(np.tanh(pose[2])), "user/throttle": 0.5}
            lines.append(json.dumps(record))
    (root / "catalog_0.catalog").write_text("\n".join(lines) + "\n")
    (root / "manifest.json").write_text(json.dumps({"paths": ["catalog_0.catalog"]}) + "\n")


def tum(root: Path, made: list[Recording]) -> None:
    for name, frames, poses in made:
        (root / name / "rgb").mkdir(parents=True)
        rows = []
        for k, (frame, (x, y, yaw)) in enumerate(zip(frames, poses, strict=True)):
            time = f"{100 + k / RATE_HZ:.3f}"
            turn = f"0 {np.sin(yaw / 2):.6f} 0 {np.cos(yaw / 2):.6f}"
            rows.append(f"{time} {y:.4f} 0 {x:.4f} {turn}")
            cv2.imwrite(str(root / name / "rgb" / f"{time}.png"), frame[..., ::-1])
        # a pose before the first picture and one after the last
        ends = [f"{100 + t:.3f} {row.split(' ', 1)[1]}" for t, row in ((-0.05, rows[0]),)]
        last = f"{100 + len(rows) / RATE_HZ:.3f} {rows[-1].split(' ', 1)[1]}"
        (root / name / "groundtruth.txt").write_text("\n".join([*ends, *rows, last]) + "\n")


def droid(root: Path, made: list[Recording]) -> None:
    for folder in ("annotation/train", "videos"):
        (root / folder).mkdir(parents=True)
    for name, frames, poses in made:
        write_mp4(root / f"videos/{name}.mp4", frames, 5)
        states = np.repeat(poses, 3, axis=1)[:, :7].tolist()
        told = {"video_length": len(states), "states": states}
        told["videos"] = [{"video_path": f"videos/{name}.mp4"}] * 3
        (root / f"annotation/train/{name}.json").write_text(json.dumps(told))


def jpeg(frame: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


class Form(NamedTuple):
    """A format: what its files are, who writes them, and how they are opened at a window."""

    files: str
    write: Callable[[Path, list[Recording]], None]
    open: Callable[[str, Window], ClipData]


WHOLE: dict[str, Any] = {"val_share": 0.0, "test_share": 0.0}
FORMS = {
    "NWM": Form("JPEG", nwm, lambda root, window: NWM(root, window, **WHOLE)),
    "Recon": Form("JPEG in HDF5", recon, lambda root, window: Recon(root, window, **WHOLE)),
    "DonkeyTub": Form("JPEG", tub, lambda root, window: DonkeyTub(root, window, **WHOLE)),
    "TumRgbd": Form("PNG", tum, lambda root, window: TumRgbd(root, window, max_gap_s=0.2, **WHOLE)),
    "VideoCSV": Form(
        "mp4", videos, lambda root, window: VideoCSV(root, window, kind="pose", **WHOLE)
    ),
    "LeRobot": Form("mp4", lerobot, lambda root, window: LeRobot(root, window, **WHOLE)),
    "OneX": Form("mp4", one_x, lambda root, window: OneX(root, window, val_share=0.0)),
    "Droid": Form("mp4", droid, lambda root, window: Droid(root, window, val_share=0.0)),
}
