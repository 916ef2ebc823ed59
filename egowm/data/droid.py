"""DROID episodes with their end-effector's pose, laid out as Ctrl-World's subset.

`annotation/{train,val}/<id>.json` holds `states` (T, 7): x, y, z in metres, roll, pitch, yaw in
radians (the robot base's frame) and the gripper (0 open, 1 closed), one row a video frame;
`video_length`; `videos` (a path for each of three cameras, the third on the wrist); `texts`. DROID
is CC BY 4.0 (Khazatsky et al. 2024).
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.data.episode import Episode, read_all
from egowm.data.module import ClipData, Window
from egowm.data.splits import Splits
from egowm.paths import inside
from egowm.video import read_frames

NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
CAMERAS = ("left", "right", "wrist")
ANGLES = slice(3, 6)


class Droid(ClipData):
    """A 7-D arm: actions are differences of pose and gripper from a frame to the next.

    Angles are unwrapped over an episode, whose first roll lies in [0, 2 pi): a gripper that points
    down has a roll of about pi, where its sign jumps. camera: "wrist" moves with the actions.
    rate_hz: of the videos (DROID's 15 Hz, every third frame). val_share: of the training episodes,
    by name; the folder `val` is the test split. skip_corrupt: leave out episodes that cannot be
    read, with a warning. normaliser: how every dimension is brought to about [-1, 1].

    Raises FileNotFoundError for missing folders, ValueError naming the file that is wrong.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        camera: Literal["left", "right", "wrist"] = "wrist",
        rate_hz: float = 5.0,
        val_share: float = 0.02,
        skip_corrupt: bool = False,
        normaliser: NormaliserName = "min-max",
    ) -> None:
        super().__init__(root, window, batch_size, num_workers, seed)
        self.meaning = ActionSpec(
            NAMES,
            ("m", "m", "m", "rad", "rad", "rad", "closed share"),
            frame="robot base",
            kind="difference",
            rate_hz=rate_hz,
            normalisers=(normaliser,) * len(NAMES),
        )
        self.state_meaning = replace(self.meaning, kind="command")
        self.camera, self.skip_corrupt = camera, skip_corrupt
        self.splits = Splits("Droid", None, None, val_share, 0.0)

    def episodes(self, split: str) -> list[Episode]:
        root = Path(self.root).expanduser()
        folder = root / "annotation" / ("val" if split == "test" else "train")
        files = {f"{folder.name}_{file.stem}": file for file in sorted(folder.glob("*.json"))}
        if not files:
            raise FileNotFoundError(
                f"Droid: looked for {folder}/*.json and found none; pass --data.root PATH, the "
                f"folder that holds annotation and videos."
            )
        names = list(files) if split == "test" else self.splits.of(split, files, root)
        return read_all(
            f"Droid: reading {split} annotations",
            names,
            lambda name: read_episode(root, name, files[name], CAMERAS.index(self.camera)),
            self.skip_corrupt,
        )


def read_episode(root: Path, name: str, file: Path, camera: int) -> Episode:
    """The labels of one episode, its frames behind a reader; ValueError names what is wrong."""
    try:
        found: Any = json.loads(file.read_text())
        told, videos = int(found["video_length"]), found["videos"]
        states = np.asarray(found["states"], np.float64)
        video = inside(root, videos[camera]["video_path"], str(file))
        texts = found.get("texts") or [""]
    except (KeyError, TypeError, IndexError, json.JSONDecodeError, RecursionError) as error:
        raise _bad(file, f"expected JSON with states, video_length, videos ({error!r})") from error
    if states.ndim != 2 or states.shape[1] != len(NAMES) or len(states) < 2:
        raise _bad(file, f"states: expected (T, {len(NAMES)}), T at least 2, got {states.shape}")
    if len(bad := np.argwhere(~np.isfinite(states))):
        raise _bad(file, f"states: row {bad[0][0]}, {NAMES[bad[0][1]]}, is not a finite number")
    if told != len(states):
        raise _bad(file, f"{len(states)} states, video_length says {told}")
    if not video.is_file():
        raise _bad(video, "the video is missing")
    states[:, ANGLES] = np.unwrap(states[:, ANGLES], axis=0)
    states[:, 3] += 2 * np.pi * (states[0, 3] < 0)
    actions = np.diff(states, axis=0).astype(np.float32)
    read = partial(read_video, video)
    return Episode(name, told, read, actions, states.astype(np.float32), str(texts[0]), video=video)


def read_video(video: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)` of one camera of an episode."""
    return read_frames(video, indices)


def _bad(file: Path, what: str) -> ValueError:
    return ValueError(
        f"{file}: {what}. Copy the episode again, or leave it out with skip_corrupt: true."
    )
