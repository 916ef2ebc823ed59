"""Predictions of simulated rooms with known errors, and the exact masks of what they show."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from egowm.scs.masks import write_palette
from egowm.video import write_frames
from egowm.worlds import texture
from egowm.worlds.motion import ROBOT_HEIGHT, find_start, step
from egowm.worlds.recording import record, seed_of, structures
from egowm.worlds.rooms import FIRST_STRUCTURE, Camera, Room

NUM_FRAMES = 16  # besides frame 0
RIGID = ("turn x0.5", "speed x0.5", "turn reversed", "frozen", "frozen half-way")
CASES = ("truth", *RIGID, "furniture vanishes", "cross-fade", "blur", "noise")
OTHER_ROOM = "other room"  # nothing is right but frame 0
NOISE = 10.0  # grey levels, standard deviation
_WALLS = 4
_FIRST_THING = FIRST_STRUCTURE + _WALLS
_SPREAD = 3.0  # contrast of the slow world's texture, in that of the rooms


class Scene(NamedTuple):
    """A room, a run through it and the structures that are scored."""

    room: Room
    start: tuple[float, float, float]  # x, y, yaw; metres, radians
    actions: np.ndarray  # (T, 3) body frame
    size: int  # pixels
    scored: list[int]  # ids of structures, as in a `View`


class Video(NamedTuple):
    """What a prediction shows, and where the structures are in it."""

    frames: np.ndarray  # (T+1, H, W, 3) uint8
    ids: np.ndarray  # (T+1, H, W) uint8


def rooms(index: int, size: int = 64) -> Scene:
    """The test room of this index as the data set `rooms` has it: robot motion, clutter, walls."""
    seed = seed_of("test", index)
    run = record(seed, num_frames=NUM_FRAMES + 1)
    x, y, _, yaw = run.cameras[0, :4]
    room, start = Room(seed), (float(x), float(y), float(yaw))
    first = _look(room, start, size)[1]
    return Scene(room, start, run.realised, size, structures(first))


def slow(index: int, size: int = 224) -> Scene:
    """The world that optical flow is good at: textured, slow, hardly occluded.

    Two or more boxes and cylinders that stand free of each other and of the picture's border in
    the first and the last frame; the hall is empty but for them. 4 to 8 cm and at most 1 degree a
    frame, three times the texture's contrast. The first room that allows it is taken, from seed
    1000 x index on.
    """
    for seed in range(seed_of("test", 1000 * (index + 1)), seed_of("test", 1000 * (index + 2))):
        rng = np.random.default_rng([seed, 11])
        room = Room(seed)
        room.luminance = _contrast
        start = find_start(room, rng)
        turn = np.radians(rng.uniform(0.4, 1.0)) * rng.choice([-1, 1])
        actions = np.tile([rng.uniform(0.04, 0.08), 0.0, turn], (NUM_FRAMES, 1))
        poses = _poses(start, actions)
        ends = [_look(room, poses[k], 112)[1] for k in (0, -1)]
        chosen = _free(ends)
        if len(chosen) >= 2:
            things = range(_FIRST_THING, room.model.ngeom)
            _hide(room, [k for k in things if k not in chosen])
            return Scene(room, start, actions, size, chosen)
    raise ValueError(f"No room of 1000 has two things that stand free (index {index}).")


def predict(case: str, scene: Scene, other: Scene) -> Video:
    """The scene as a model with this error would show it; `other` is what it fades to."""
    if case == "frozen":
        return _repeat(_drive(scene, scene.actions[:0]), NUM_FRAMES)
    if case == "frozen half-way":
        half = NUM_FRAMES // 2
        return _repeat(_drive(scene, scene.actions[:half]), NUM_FRAMES - half)
    if case == "furniture vanishes":
        return _vanish(scene)
    if case == OTHER_ROOM:
        return _elsewhere(scene, other)
    factors = {"turn x0.5": (1, 1, 0.5), "speed x0.5": (0.5, 0.5, 1), "turn reversed": (1, 1, -1)}
    video = _drive(scene, scene.actions * np.array(factors.get(case, (1, 1, 1))))
    frames, ids = video.frames.copy(), video.ids.copy()
    if case == "blur":
        sigma = scene.size / 64
        frames[1:] = [cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames[1:]]
    elif case == "noise":
        drawn = np.random.default_rng(len(scene.scored)).normal(0, NOISE, frames[1:].shape)
        frames[1:] = np.clip(frames[1:] + drawn, 0, 255).round()
    elif case == "cross-fade":
        share = (np.arange(NUM_FRAMES + 1) / NUM_FRAMES)[:, None, None, None]
        shown = _drive(other, other.actions).frames
        frames = ((1 - share) * frames + share * shown).round().astype(np.uint8)
        ids[share[:, 0, 0, 0] > 0.5] = 0  # less than half of the picture is this room
    elif case not in factors and case != "truth":
        cases = (*CASES, OTHER_ROOM)
        raise ValueError(f"Expected a case of {', '.join(cases)}, got {case!r}.")
    return Video(frames, ids)


def write_video(folder: Path, video: Video, scored: Sequence[int]) -> np.ndarray:
    """Frames, and the masks of the scored structures in `masks/`; those of frame 0, (H, W)."""
    write_frames(folder, video.frames)
    labels = np.zeros(video.ids.shape, np.uint8)
    for number, value in enumerate(scored, 1):
        labels[video.ids == value] = number
    for t, frame in enumerate(labels):
        write_palette(folder / "masks" / f"{t:05d}.png", frame)
    return np.asarray(labels[0])


def _drive(scene: Scene, actions: np.ndarray) -> Video:
    views = [_look(scene.room, pose, scene.size) for pose in _poses(scene.start, actions)]
    return Video(np.stack([v[0] for v in views]), np.stack([v[1] for v in views]))


def _vanish(scene: Scene) -> Video:
    """Every second piece of furniture that is scored is gone in the second half."""
    things = [k for k in scene.scored if k >= _FIRST_THING][::2]
    before = _drive(scene, scene.actions)
    _hide(scene.room, things)
    after = _drive(scene, scene.actions)
    _hide(scene.room, things, alpha=1.0)
    half = NUM_FRAMES // 2 + 1
    return Video(
        *(np.concatenate([a[:half], b[half:]]) for a, b in zip(before, after, strict=True))
    )


def _elsewhere(scene: Scene, other: Scene) -> Video:
    """After frame 0, the other room, which has none of the structures."""
    first, shown = _drive(scene, scene.actions[:0]), _drive(other, other.actions)
    frames = np.concatenate([first.frames, shown.frames[1:]])
    return Video(frames, np.concatenate([first.ids, np.zeros_like(shown.ids[1:])]))


def _repeat(video: Video, times: int) -> Video:
    return Video(*(np.concatenate([part, np.repeat(part[-1:], times, 0)]) for part in video))


def _poses(
    start: tuple[float, float, float], actions: np.ndarray
) -> list[tuple[float, float, float]]:
    poses = [start]
    for action in actions:
        poses.append(step(*poses[-1], action))
    return poses


def _look(room: Room, pose: tuple[float, float, float], size: int) -> tuple[np.ndarray, np.ndarray]:
    view = room.render(Camera(pose[0], pose[1], ROBOT_HEIGHT, pose[2]), size, size)
    return view.rgb, view.ids


def _hide(room: Room, ids: Sequence[int], alpha: float = 0.0) -> None:
    """Rays pass through geoms without opacity."""
    room.model.geom_rgba[list(ids), 3] = alpha


def _free(ends: Sequence[np.ndarray]) -> list[int]:
    """Things of 1% and more whose boxes touch neither the border nor each other at both ends."""
    chosen: list[int] = []
    for value in [k for k in structures(ends[0]) if k >= _FIRST_THING]:
        boxes = [_box(ids == value) for ids in ends]
        if any(box is None for box in boxes):
            continue
        others = [[_box(ids == k) for ids in ends] for k in chosen]
        pairs = [pair for other in others for pair in zip(boxes, other, strict=True)]
        if all(a and b and (a[1] + 2 < b[0] or b[1] + 2 < a[0]) for a, b in pairs):
            chosen.append(value)
    return chosen


def _box(mask: np.ndarray) -> tuple[int, int] | None:
    """First and last column, None where it is empty or touches the border."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    last = len(mask) - 1
    if not len(rows) or rows[0] == 0 or rows[-1] == last or columns[0] == 0 or columns[-1] == last:
        return None
    return int(columns[0]), int(columns[-1])


def _contrast(
    points: np.ndarray, normals: np.ndarray, ids: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """The rooms' texture, stronger."""
    factor = texture.luminance(points, normals, ids, footprint)
    return np.asarray(np.clip(1 + _SPREAD * (factor - 1), 0.2, 1.8))
