"""Recorded times set the rate, and cut a recording where it has holes."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from egowm.data import NWM, ClipData, LeRobot, VideoCSV, Window
from egowm.data.inspect.check import check
from egowm.data.times import breaks, rate_of
from egowm.video import write_frames
from tests.h264 import write_h264

WINDOW = Window(horizon=2, height=32, width=32)
WHOLE = {"val_share": 0, "test_share": 0}
COUNT = 16


def grey(numbers: np.ndarray) -> np.ndarray:
    return np.broadcast_to(10 * numbers[:, None, None, None], (len(numbers), 32, 32, 3)).astype(
        "u1"
    )


def shown(frames: np.ndarray) -> list[int]:
    return np.round(frames.mean((1, 2, 3)) / 10).astype(int).tolist()


def write_csv(root: Path, times: np.ndarray, **options) -> ClipData:
    """At row k the command is k."""
    write_frames(root / "run", grey(np.arange(len(times))))
    rows = [f"{time:.6f},{k}" for k, time in enumerate(times)]
    (root / "run.csv").write_text("\n".join(["time [s],turn", *rows]))
    return VideoCSV(str(root), WINDOW, **WHOLE, **options)


def write_nwm(root: Path, times: np.ndarray, **options) -> ClipData:
    """The step from frame k is k metres."""
    k = np.arange(len(times))
    write_frames(root / "pictures", grey(k))
    (root / "nwm/run").mkdir(parents=True)
    for n in k:
        (root / f"pictures/{n:05d}.png").rename(root / f"nwm/run/{n}.jpg")
    x = np.concatenate([[0], np.cumsum(k)])[:-1]
    labels = {"position": np.stack([x, 0 * x], 1), "yaw": 0.0 * x, "time": times}
    (root / "nwm/run/traj_data.pkl").write_bytes(pickle.dumps(labels))
    return NWM(str(root / "nwm"), WINDOW, **WHOLE, **options)


def write_lerobot(root: Path, times: np.ndarray, **options) -> ClipData:
    """At row k the command is k."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    step = float(np.median(np.diff(times)))
    one = {"dtype": "float32", "shape": [1], "names": ["turn"]}
    features = {"front": {"dtype": "video", "shape": [32, 32, 3]}, "action": one}
    info = {"codebase_version": "v2.1", "fps": round(1 / step), "features": features}
    info["data_path"] = "data/{episode_index:03d}.parquet"
    info["video_path"] = "videos/{video_key}/{episode_index:03d}.mp4"
    for name in ("meta", "data", "videos/front"):
        (root / name).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    row = {"episode_index": 0, "length": len(times), "tasks": ["turn"]}
    (root / "meta/episodes.jsonl").write_text(json.dumps(row))
    ticks = np.round(times / step).astype(int)
    write_h264(root / "videos/front/000.mp4", grey(np.arange(len(times))), 1 / step, ticks=ticks)
    values = [[float(k)] for k in range(len(times))]
    columns = {"episode_index": [0] * len(times), "timestamp": times, "action": values}
    parquet.write_table(pa.table(columns), root / "data/000.parquet")
    return LeRobot(str(root), WINDOW, state="", **WHOLE, **options)


WRITERS: dict[str, Callable[..., ClipData]] = {
    "VideoCSV": write_csv,
    "NWM": write_nwm,
    "LeRobot": write_lerobot,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("holes", "options", "expected"),
    [
        ({}, {}, [(0, 16)]),
        ({6: 2}, {}, [(0, 16)]),  # one frame too few is a jitter
        ({6: 3}, {}, [(0, 6), (6, 16)]),
        ({6: 30, 11: 4}, {}, [(0, 6), (6, 11), (11, 16)]),
        ({15: 9}, {}, [(0, 15)]),  # one frame leads nowhere
        ({6: 30}, {"max_gap_s": 9.0}, [(0, 16)]),
        ({6: 2}, {"max_gap_s": 0.3}, [(0, 6), (6, 16)]),
    ],
)
def test_a_hole_of_the_times_cuts(tmp_path, name, holes, options, expected):
    steps = np.ones(COUNT)
    steps[0], steps[list(holes)] = 0, list(holes.values())
    data = WRITERS[name](tmp_path, np.cumsum(steps) / 4, **options)
    episodes = data.split("train")
    whole = "episode_000000" if name == "LeRobot" else "run"
    cut = len(episodes) > 1 or expected != [(0, COUNT)]
    assert [e.name for e in episodes] == [
        f"{whole}_{first:05d}" if cut else whole for first, _ in expected
    ]
    for episode, (first, end) in zip(episodes, expected, strict=True):
        assert episode.num_frames == end - first
        assert shown(episode.read(range(episode.num_frames))) == list(range(first, end))
        np.testing.assert_allclose(episode.actions[:, 0], np.arange(first, end - 1))
        np.testing.assert_allclose(np.diff(episode.times), steps[first + 1 : end] / 4, atol=1e-6)
    gaps = [f for f in check(data, 1, progress=False) if f.kind == "gap"]
    assert len(gaps) == (any(step > 2.5 for step in holes.values()))
    assert all(("episodes end there" in gap.text) == cut for gap in gaps)


@pytest.mark.parametrize("name", WRITERS)
def test_a_gap_is_above_0(tmp_path, name):
    with pytest.raises(ValueError, match="max_gap_s is seconds above 0, got 0"):
        WRITERS[name](tmp_path, np.arange(4) / 4, max_gap_s=0.0)


@pytest.mark.parametrize("hz", [1, 4, 10, 29.97, 30, 59.94, 120])
@pytest.mark.parametrize("clock", ["exact", "milliseconds", "jitter", "a hole", "one twice"])
def test_the_rate_of_times(hz, clock):
    times = np.arange(300) / hz
    if clock == "milliseconds":
        times = times.round(3)
    elif clock == "jitter":
        times += np.random.default_rng(0).normal(0, 0.1 / hz, 300)
    elif clock == "a hole":
        times[150:] += 60
    elif clock == "one twice":
        times[150] = times[149]
    assert rate_of(times) == pytest.approx(hz, rel=5e-3)
    assert breaks(times, None).tolist() == ([150] if clock == "a hole" else [])


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.0, 1.0], [3.0, 2.0, 1.0]])
def test_times_that_tell_no_rate(times):
    assert rate_of(np.array(times)) is None
    assert breaks(np.array(times), None).tolist() == []


@pytest.mark.parametrize(("hz", "expected"), [(4, 4.0), (4.1, 4.0), (10, 10.0), (2, 2.0)])
def test_times_set_the_rate_of_an_nwm_folder(tmp_path, hz, expected):
    data = write_nwm(tmp_path, np.arange(COUNT) / hz)
    assert data.meaning.rate_hz == expected
    assert NWM(data.root, rate_hz=5.0).meaning.rate_hz == 5.0


def test_a_video_that_leaves_frames_out_beside_rows_that_do_not(tmp_path):
    data = write_csv(tmp_path, np.arange(COUNT) / 10)
    for picture in (tmp_path / "run").iterdir():
        picture.unlink()
    (tmp_path / "run").rmdir()
    ticks = np.arange(COUNT) + 5 * (np.arange(COUNT) > 7)
    write_h264(tmp_path / "run.mp4", grey(np.arange(COUNT)), 10, ticks=ticks)
    (gap,) = [f for f in check(data, 1, progress=False) if f.kind == "gap"]
    assert "run.mp4: 1 hole of the video, the first of 0.60 s after frame 7" in gap.text
