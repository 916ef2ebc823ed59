"""Right calls of the score, of simulated worlds and of going to a picture."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egowm.evaluation import Oracle, Task, act_out, derangement, make_task, read_run, write_report
from egowm.scs import SCS, score_folders, scs, video_scs
from egowm.scs.bootstrap import interval, two_level
from egowm.scs.clips import find_clips, find_videos
from egowm.scs.compare import compare_runs
from egowm.scs.masks import write_palette
from egowm.scs.score import overlap, summarise
from egowm.scs.trackers import load_tracker
from egowm.worlds import Camera, Room
from egowm.worlds.recording import follow, record, seed_of, structures
from tests.wrong_calls.call import Call


def masks(shift: int = 0) -> np.ndarray:
    """(T+1, O, H, W) of two structures."""
    found = np.zeros((3, 2, 8, 8), bool)
    found[:, 0, :4] = True
    found[:, 1, 4:, :4] = True
    return np.roll(found, shift, -1)


def calls(folder: Path) -> Iterator[Call]:
    yield from _scores()
    yield from _folders(folder)
    yield from _rooms()
    yield from _tasks(folder)


def _scores() -> Iterator[Call]:
    lost = np.zeros((3, 2), bool)
    right = {"pred_masks": masks(1), "target_masks": masks(), "min_area": 0.001, "lost": lost}
    nothing = ("lost: None", "lost: zeros")
    yield Call("scs", scs, {**right, "empty": "davis"}, _percent, nothing)
    yield Call("overlap", overlap, right, fine=nothing)
    tensors = {"pred_masks": torch.from_numpy(masks(1)), "target_masks": torch.from_numpy(masks())}
    yield Call("scs of tensors", scs, dict(tensors), _percent)

    def updated(min_area: Any = 0.001, **given: Any) -> Any:
        metric = SCS(min_area)
        metric.update(**given)
        return metric.compute()["scs"]

    more = {"lost": torch.from_numpy(lost), "clip": 3}
    yield Call("SCS.update", updated, {**tensors, **more}, _percent, (*nothing, "clip: None"))
    yield Call("SCS", partial(updated, **tensors), {"min_area": 0.001}, passes=True)
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[:, :4] = 200, 20, 20
    video = {"preds": np.roll(frames, 1, 2), "target": frames, "masks": masks()[0]}
    followed = {**video, "tracker": "copy", "min_area": 0.001}
    yield Call("video_scs", video_scs, followed, _percent, ("preds: zeros", "target: zeros"))
    one = overlap(masks(1), masks())
    videos = {"overlaps": [one, one], "clips": [0, 1]}
    yield Call("summarise", lambda **given: summarise(**given).scs, videos, fine=("clips: None",),
               passes=True)  # fmt: skip
    values, groups = np.linspace(0, 1, 12), [str(k) for k in range(12)]
    settings = {"groups": groups, "level": 0.95, "resamples": 50, "seed": 0}
    fine = ("groups: None", "* NaN", "* list of texts")
    yield Call("interval", interval, {"values": values, **settings}, fine=fine)
    runs = np.stack([values, values + 0.1, values + 0.2])
    yield Call("two_level", two_level, {"a": runs, "b": runs + 1, **settings}, fine=fine)
    yield Call("load_tracker", load_tracker, {"name": "flow", "weights": None})


def _percent(right: dict[str, Any], made: Any) -> bool:
    return 0 <= float(made) <= 100


def _folders(folder: Path) -> Iterator[Call]:
    """Masks on disk, of one clip."""
    for video, shift in (("gt", 0), ("pred", 2)):
        for number in range(3):
            shown = np.zeros((16, 16), np.uint8)
            shown[:, 4 + shift * number : 10 + shift * number] = 1
            write_palette(folder / video / "clip" / f"{number:05d}.png", shown)
    right: dict[str, Any] = {
        "pred": str(folder / "pred"), "gt": str(folder / "gt"), "annotations": None,
        "tracker": "masks", "ceiling_codec": None, "ceiling_tracker": False,
        "trajectories": {"clip": "one"}, "first": None, "cache": None, "reanchor": None,
        "min_area": 0.001, "progress": False,
    }  # fmt: skip
    fine = ("trajectories: None", "trajectories: a mapping", "first: *text", "cache: *text")
    yield Call("score_folders", lambda **given: score_folders(**given).scs, right, _percent, fine)
    yield Call("find_clips", find_clips, {"root": str(folder / "gt"), "suffixes": (".mp4",)})
    videos = {"root": str(folder / "gt"), "role": "GT", "first": None}
    yield Call("find_videos", find_videos, videos)
    yield Call("compare_runs", compare_runs, {"a": [folder / "a.json"], "b": [folder / "b.json"]})


def _rooms() -> Iterator[Call]:
    room, camera = Room(7), Camera(0.0, 0.0, 0.6, 0.0)
    yield Call("Room", Room, {"seed": 7, "style": "robot", "papers": ""})
    view = {"camera": camera, "height": 8, "width": 8, "fov_degrees": 90.0}
    yield Call("Room.render", room.render, view, _as_large)
    rays = {"origin": np.array([0.0, 0.0, 0.6]), "rays": np.array([[1.0, 0.0, 0.0]])}
    yield Call("Room.cast", room.cast, rays, lambda right, made: len(made[0]) == len(right["rays"]))
    yield Call("seed_of", seed_of, {"split": "val", "index": 3})
    run = {"seed": 7, "style": "robot", "num_frames": 2, "height": 8, "width": 8}
    yield Call("record", record, run, lambda right, made: len(made.frames) == right["num_frames"])
    path = {"seed": 7, "start": np.zeros(3), "actions": np.full((2, 3), 0.1)}
    yield Call("follow", follow, {**path, "height": 8, "width": 8},
               lambda right, made: len(made[0]) == len(right["actions"]) + 1)  # fmt: skip
    yield Call("structures", structures, {"ids": np.full((8, 8), 3, np.uint8)})


def _as_large(right: dict[str, Any], made: Any) -> bool:
    return made.rgb.shape == (right["height"], right["width"], 3)


def _tasks(folder: Path) -> Iterator[Call]:
    task = Task(7, (0.0, 0.0, 0.0), (0.5, 0.0, 0.0))
    wanted = {"index": 0, "split": "test", "distance": 2.0, "visible": True}
    yield Call("make_task", make_task, wanted)
    yield Call("Task", Task, {"seed": 7, "start": (0.0, 0.0, 0.0), "goal": (0.5, 0.0, 0.0)})
    acted = {"task": task, "agent": Oracle(), "max_steps": 1, "size": (8, 8)}
    yield Call(
        "act_out", act_out, acted, lambda right, made: len(made.frames) == right["max_steps"] + 1
    )
    yield Call("derangement", derangement, {"count": 5},
               lambda right, made: len(made) == right["count"])  # fmt: skip
    yield Call("read_run", read_run, {"path": folder})
    yield Call("write_report", write_report, {"run": folder, "max_clips": 3})
