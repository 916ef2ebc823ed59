"""What there is to look at over time: of a run, a plan, a rollout, or of recordings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from egowm.data.module import ClipData
from egowm.evaluation.report.path_drawing import is_planar, planar_poses
from egowm.evaluation.run_folder import TRUTH, Actions, RunFolder, read_run
from egowm.limits import load_json
from egowm.scs.masks import read_masks
from egowm.scs.trackers import Tracker

RATE_HZ = 4.0  # of folders that do not say theirs: the rooms'


@dataclass(frozen=True)
class Scene:
    """One clip, room or recording.

    videos: by name, (T, H, W, 3) uint8. masks: by name of the video, ids (T, H, W) uint8, or those
    of frame 0 alone (1, H, W). series: by name, (T,) float64; value k leads to frame k, NaN where
    there is none. paths: by name, (T, 2) metres in the plane.
    """

    name: str
    rate_hz: float
    videos: Mapping[str, np.ndarray]
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    series: Mapping[str, np.ndarray] = field(default_factory=dict)
    paths: Mapping[str, np.ndarray] = field(default_factory=dict)
    text: str = ""


def of_run(folder: Path, most: int, tracker: Tracker | None = None) -> Iterator[Scene]:
    """The clips of `egowm eval` or `egowm predict`: truth, imagination, structures, actions, paths.

    tracker: follows the structures of frame 0, which else are shown there alone.
    """
    run = read_run(folder)
    for clip in run.clips[:most]:
        videos = run.videos(clip)
        series = dict(_named("actions", run.actions[clip], run.meaning.names))
        paths = _planned(run, TRUTH, run.actions[clip])
        for variant, told in (run.told.get(clip) or {}).items():
            actions = np.asarray(told["actions"], np.float64)
            series |= _named(f"told/{variant}", actions, run.meaning.names)
            paths |= _planned(run, variant, actions)
        yield Scene(clip, run.fps, videos, _structures(run, clip, videos, tracker), series, paths)


def _planned(run: RunFolder, name: str, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Where actions (dx, dy, dyaw) in the body's frame lead; nothing of others."""
    if not is_planar(run.meaning):
        return {}
    return {name: planar_poses(actions, run.meaning)[:, :2]}


def _structures(
    run: RunFolder, clip: str, videos: Mapping[str, np.ndarray], tracker: Tracker | None
) -> dict[str, np.ndarray]:
    drawn = run.annotation(clip)
    if drawn is None:
        return {}
    if tracker is None:
        return {TRUTH: drawn[0][None]}
    found = read_masks(run.path / "annotations" / f"{clip}.png")
    names, numbers = list(videos), np.array(found.ids, np.uint8)
    films = [videos[name] for name in names]
    tracks = tracker.track_many(films, [found.masks[0]] * len(films))
    return {n: _ids(t.masks, numbers) for n, t in zip(names, tracks, strict=True)}


def _ids(masks: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Masks (T, O, H, W) as ids (T, H, W); of two that overlap the later one."""
    out = np.zeros((len(masks), *masks.shape[2:]), np.uint8)
    for k, number in enumerate(numbers):
        out[masks[:, k]] = number
    return out


def of_plan(folder: Path, most: int) -> Iterator[Scene]:
    """The rooms, or the pictures, of `egowm plan`: its films, by whose files scenes are named, and
    the way that was driven."""
    from egowm.video import read_frames

    found: Any = load_json(folder / "plan.json", "what `egowm plan` writes")
    for number, row in enumerate((found if isinstance(found, list) else [found])[:most]):
        name = "plan" if "picture" in row else f"room_{number}"
        film = folder / f"{name}.mp4"
        videos = {"film": read_frames(film)} if film.is_file() else {}
        poses = np.asarray(row.get("poses") or np.zeros((0, 3)), np.float64)
        paths = {"driven": poses[:, :2]} if len(poses) else {}
        if "goal" in row and isinstance(row["goal"], list):
            paths["goal"] = np.array([row["goal"][:2]])
        yield Scene(
            name, RATE_HZ, videos, paths=paths,
            text=json.dumps({k: v for k, v in row.items() if k != "poses"}),
        )  # fmt: skip


def of_rollout(folder: Path, most: int) -> Iterator[Scene]:
    """The videos of `egowm rollout`, one for each sequence of actions."""
    from egowm.video import read_frames

    places = sorted(folder.glob("frames*"))[:most]
    videos = {place.name: read_frames(place) for place in places}
    yield Scene("rollout", RATE_HZ, videos)


def of_data(data: ClipData, split: str, most: int, frames: int) -> Iterator[Scene]:
    """The first episodes of recordings, at most so many frames of each."""
    meaning = data.meaning
    for episode in data.split(split)[:most]:
        count = min(frames, episode.num_frames)
        series = _named("actions", episode.actions[: count - 1], meaning.names)
        paths = {}
        told = Actions(tuple(meaning.names), tuple(meaning.units), meaning.frame)
        if is_planar(told):
            paths["driven"] = planar_poses(episode.actions[: count - 1], told)[:, :2]
        if episode.states.size and data.state_meaning is not None:
            states = episode.states[:count].astype(np.float64)
            names = data.state_meaning.names
            series |= {f"states/{n}": states[:, k] for k, n in enumerate(names)}
        video = {TRUTH: episode.read(range(count))}
        yield Scene(episode.name, meaning.rate_hz, video, {}, series, paths, episode.text)


def _named(kind: str, actions: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Actions (T-1, A) by name, each with the frame that it leads to; frame 0 has none."""
    led = np.concatenate([np.full((1, len(names)), np.nan), actions])
    return {f"{kind}/{name}": led[:, k] for k, name in enumerate(names)}
