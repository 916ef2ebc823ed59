"""DROID episodes with their end-effector's pose, laid out as Ctrl-World's subset.

`annotation/{train,val}/<id>.json` holds `states` (T, 7): x, y, z in metres, roll, pitch, yaw in
radians (the robot base's frame) and the gripper (0 open, 1 closed), one row a video frame;
`video_length`; `videos` (a path for each of three cameras, the third on the wrist); `texts`. DROID
is CC BY 4.0 (Khazatsky et al. 2024).
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.checks import counted
from egowm.data.episode import Episode, read_all
from egowm.data.module import Window
from egowm.data.public_recordings import missing
from egowm.data.recordings import NamedRecordings
from egowm.data.text import bad, text_of
from egowm.paths import inside
from egowm.readable import readable
from egowm.video import read_frames

NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
UNITS = ("m", "m", "m", "rad", "rad", "rad", "closed share")
MEANING = ActionSpec(NAMES, UNITS, frame="robot base", kind="difference", rate_hz=5.0)
CAMERAS = ("left", "right", "wrist")
ANGLES = slice(3, 6)


class Droid(NamedRecordings):
    """A 7-D arm; actions are differences of pose and gripper from a frame to the next.

    Angles are unwrapped over an episode, whose first roll lies in [0, 2 pi): a gripper that points
    down has a roll of about pi, where its sign jumps. The folder `val` is the test split.

    >>> Droid("droid", Window(stride=5)).clip_meaning.rate_hz
    1.0

    Args:
        root: Folder that holds `annotation` and `videos`.
        camera: Which of the three cameras; "wrist" moves with the actions.
        rate_hz: Rate of the videos (DROID's 15 Hz, every third frame).
        normaliser: How each dimension is scaled to about [-1, 1].

    Raises:
        FileNotFoundError: Missing folders.
        ValueError: An episode that is wrong; the message names its file.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        camera: Literal["left", "right", "wrist"] = "wrist",
        rate_hz: float = 5.0,
        normaliser: NormaliserName = "min-max",
        **rest: Any,
    ) -> None:
        super().__init__(
            root, window, train_names=None, test_names=None, test_share=0, latency_frames=0, **rest
        )
        normalisers = (normaliser,) * len(NAMES)
        self.meaning = replace(MEANING, rate_hz=rate_hz, normalisers=normalisers)
        self.state_meaning = replace(self.meaning, kind="command")
        self.camera = CAMERAS.index(camera)

    def episodes(self, split: str) -> list[Episode]:
        root, camera = self.folder, self.camera
        folder = root / "annotation" / ("val" if split == "test" else "train")
        files = {f"{folder.name}_{file.stem}": file for file in sorted(folder.glob("*.json"))}
        if not files:
            raise missing(
                "Droid",
                root,
                f"looked for {folder}/*.json and found none; pass --data.root PATH, the folder "
                f"that holds annotation and videos.",
            )
        names = list(files) if split == "test" else self.splits.of(split, files, root)
        return read_all(
            f"Droid: reading {split} annotations",
            names,
            lambda name: read_episode(root, name, files[name], camera),
            self.leave_out,
        )


def read_episode(root: Path, name: str, file: Path, camera: int) -> Episode:
    """The labels of one episode, its frames behind a reader; ValueError names what is wrong."""
    with readable(file, "JSON with states, video_length, videos"):
        row: Any = json.loads(text_of(file))
        length, videos = int(row["video_length"]), row["videos"]
        states = np.asarray(row["states"], np.float64)
        video = inside(root, videos[camera]["video_path"], str(file))
        text = str((row.get("texts") or [""])[0])
    if states.ndim != 2 or states.shape[1] != len(NAMES) or len(states) < 2:
        raise bad(file, f"states: expected (T, {len(NAMES)}), T at least 2, got {states.shape}")
    if len(wrong := np.argwhere(~(np.abs(states) < 1e30))):  # so that float32 holds differences
        raise bad(file, f"states: row {wrong[0][0]}, {NAMES[wrong[0][1]]}, is not a finite number")
    if length != len(states):
        raise bad(file, f"{counted(len(states), 'state')}, video_length says {length}")
    if not video.is_file():
        raise bad(video, "the video is missing")
    states[:, ANGLES] = np.unwrap(states[:, ANGLES], axis=0)
    states[:, 3] += 2 * np.pi * (states[0, 3] < 0)
    actions = np.diff(states, axis=0).astype(np.float32)
    read = partial(read_frames, video)
    states = states.astype(np.float32)
    return Episode(name, length, read, actions, states, text, video=video)
