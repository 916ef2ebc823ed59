"""Episodes written by `LeRobotWriter` and read back by `LeRobot`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from egowm.data import LeRobot, LeRobotWriter, Window
from egowm.data.inspect.check import check
from egowm.data.lerobot_stats import QUANTILES, PictureStats, column_stats, joined
from egowm.data.parquet import PyarrowMissing, read_columns
from egowm.video import VideoError, count_frames
from tests.data.test_one_x_writer import PSNR, pictures, too_few, worst

HEAD, WRIST = "observation.images.head", "observation.images.wrist"
NAMES = {
    "action.left_arm": ["shoulder", "elbow"],
    "action.base": ["vx", "wz"],
    "observation.state.arm": ["shoulder", "elbow", "wrist"],
    "observation.state.hand": ["closed"],
}
LENGTHS = (62, 70, 64, 61)
FPS = 30
WINDOW = Window(context=1, horizon=2, stride=6, height=32, width=48)


def columns(episode: int, count: int | None = None) -> dict[str, np.ndarray]:
    drawn, count = np.random.default_rng(episode), count or LENGTHS[episode]
    return {
        key: np.cumsum(drawn.normal(size=(count, len(names))) * 0.01, 0).astype(np.float32)
        for key, names in NAMES.items()
    }


def cameras(episode: int, count: int | None = None) -> dict[str, Any]:
    count = count or LENGTHS[episode]
    head = pictures(count, 90 * episode)
    return {HEAD: iter(head) if episode == 1 else head, WRIST: pictures(count, 7, 16, 16)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes in four tables of two chunks, and the head's videos in more than one file."""
    root = tmp_path_factory.mktemp("humanoid") / "lerobot"
    sizes = {"data_files_size_in_mb": 0.005, "video_files_size_in_mb": 0.014}
    with LeRobotWriter(root, NAMES, FPS, robot_type="g1", chunks_size=2, **sizes) as writer:
        for k in range(len(LENGTHS)):
            writer.add(columns(k), cameras(k), f"task {k % 2}")
        assert not root.exists()
    return root


def opened(root: Path, **options: Any) -> LeRobot:
    whole: dict[str, Any] = {"val_share": 0, "test_share": 0, "camera": HEAD}
    whole |= {"action": "action.*", "state": "observation.state.*"}
    return LeRobot(str(root), WINDOW, **whole | options)


def test_the_layout_of_the_format(root: Path) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 30, "g1")
    totals = [info[f"total_{name}"] for name in ("episodes", "frames", "tasks")]
    assert totals == [4, sum(LENGTHS), 2]
    assert info["splits"] == {"train": "0:4"}
    assert info["features"]["action.base"] == {
        "dtype": "float32", "shape": [2], "names": ["vx", "wz"]
    }  # fmt: skip
    assert info["features"][HEAD]["shape"] == [32, 48, 3]
    assert info["features"][HEAD]["info"]["video.fps"] == 30
    tables = sorted(str(path.relative_to(root / "data")) for path in root.glob("data/*/*"))
    assert tables == [f"chunk-00{k // 2}/file-00{k % 2}.parquet" for k in range(4)]
    videos = sorted(root.glob(f"videos/{HEAD}/*/*.mp4"))
    assert [count_frames(video) for video in videos] == [62 + 70, 64 + 61]
    assert len(list(root.glob(f"videos/{WRIST}/*/*.mp4"))) == 1
    table = parquet.read_table(root / "data/chunk-000/file-001.parquet")
    assert table["index"].to_pylist() == list(range(62, 132))
    assert str(table.schema.field("action.base").type).startswith("fixed_size_list<")
    assert str(table.schema.field("observation.state.hand").type) == "float"


def test_the_index_of_episodes(root: Path) -> None:
    file = root / "meta/episodes/chunk-000/file-000.parquet"
    rows = parquet.read_table(file).to_pylist()
    ends = np.cumsum(LENGTHS).tolist()
    assert [row["dataset_to_index"] for row in rows] == ends
    assert [row["dataset_from_index"] for row in rows] == [0, *ends[:-1]]
    places = [(row["data/chunk_index"], row["data/file_index"]) for row in rows]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {row["meta/episodes/file_index"] for row in rows} == {0}
    for row, length in zip(rows, LENGTHS, strict=True):
        begin, end = (row[f"videos/{HEAD}/{word}_timestamp"] for word in ("from", "to"))
        assert end - begin == pytest.approx(length / FPS)
        assert row["tasks"] == [f"task {row['episode_index'] % 2}"]
    base = columns(2)["action.base"]
    np.testing.assert_allclose(rows[2]["stats/action.base/mean"], base.mean(0), rtol=1e-5)
    assert np.shape(rows[2][f"stats/{HEAD}/q50"]) == (3, 1, 1)
    tasks = parquet.read_table(root / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["task 0", "task 1"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_of_all_episodes(root: Path) -> None:
    stats = json.loads((root / "meta/stats.json").read_text())
    arms = np.concatenate([columns(k)["action.left_arm"] for k in range(4)]).astype(float)
    found = stats["action.left_arm"]
    assert found["count"] == [sum(LENGTHS)]
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(found[name], getattr(arms, name)(0), rtol=1e-9)
    seen = np.concatenate([pictures(n, 90 * k) for k, n in enumerate(LENGTHS)]) / 255
    np.testing.assert_allclose(np.ravel(stats[HEAD]["mean"]), seen.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(np.ravel(stats[HEAD]["std"]), seen.std((0, 1, 2)), rtol=1e-9)


def test_pictures_have_the_quantiles_of_their_pixels() -> None:
    frames, stats = pictures(6), PictureStats(6)
    for frame in frames:
        stats.add(frame)
    flat = frames.reshape(-1, 3) / 255
    for name, q in QUANTILES.items():
        expected = np.quantile(flat, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(np.ravel(stats.stats()[name]), expected)
    assert stats.stats()["count"] == [6]
    one, other = column_stats(np.zeros(2)), column_stats(np.ones(6))
    assert joined(one, other)["q50"] == [0.75]


def test_rows_and_frames_come_back(root: Path) -> None:
    episodes = opened(root).split("train")
    assert [episode.num_frames for episode in episodes] == list(LENGTHS)
    for k, episode in enumerate(episodes):
        rows = columns(k)
        actions = np.concatenate([rows["action.left_arm"], rows["action.base"]], 1)
        np.testing.assert_array_equal(episode.actions, actions[:-1])
        states = [rows["observation.state.arm"], rows["observation.state.hand"]]
        np.testing.assert_array_equal(episode.states, np.concatenate(states, 1))
        np.testing.assert_allclose(episode.times, np.arange(LENGTHS[k]) / FPS, atol=1e-6)
        assert episode.text == f"task {k % 2}"
        read = episode.read(range(LENGTHS[k]))
        assert worst(read, pictures(LENGTHS[k], 90 * k)) > PSNR
    assert opened(root).meaning.names == ("shoulder", "elbow", "vx", "wz")
    (first, *_) = opened(root, camera=WRIST).split("train")
    assert worst(first.read([0, 61]), pictures(62, 7, 16, 16)[[0, 61]]) > 35


def test_windows_take_every_sixth_frame_of_one_episode(root: Path) -> None:
    clips = opened(root).windows("train", tiled=False)
    assert len(clips) == sum(length - 12 for length in LENGTHS)
    clip = clips[LENGTHS[0] - 12 + 3]  # of the second episode, from its frame 3
    assert clip.name == "episode_000001_00003"
    true = pictures(LENGTHS[1], 90)[[3, 9, 15]].transpose(0, 3, 1, 2)
    assert worst(clip.frames.numpy(), true) > PSNR
    base = columns(1)["action.base"]
    expected = [base[3:9].mean(0), base[9:15].mean(0)]  # commands are averaged
    np.testing.assert_allclose(clip.actions[:, 2:], expected, rtol=1e-5)


def test_check_finds_no_error(root: Path) -> None:
    findings = check(opened(root), 1, progress=False)
    assert [finding for finding in findings if finding.level == "error"] == []


def test_whole_numbers_and_bools_keep_their_type(tmp_path: Path) -> None:
    names = {"action": ["a", "b"], "next.done": ["next.done"]}
    rows = {"action": np.arange(8).reshape(4, 2), "next.done": np.arange(4) == 3}
    with LeRobotWriter(tmp_path / "x", names, 12.5) as writer:
        writer.add(rows, {"front": pictures(4)})
        with pytest.raises(ValueError, match="action of int64, as in the first episode, got float"):
            writer.add(rows | {"action": rows["action"] / 2}, {"front": pictures(4)})
    read = read_columns(tmp_path / "x/data/chunk-000/file-000.parquet", ["action", "next.done"])
    np.testing.assert_array_equal(read["action"], rows["action"])
    assert read["next.done"].tolist() == [False, False, False, True]
    assert json.loads((tmp_path / "x/meta/info.json").read_text())["fps"] == 12.5


def test_many_episodes_fill_several_index_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("egowm.data.lerobot_writer.ROWS", 2)
    names = {"action": ["a"]}
    with LeRobotWriter(tmp_path / "x", names, 10, data_files_size_in_mb=0.005) as writer:
        for k in range(5):
            writer.add({"action": np.full(3, k, np.float32)}, {"front": pictures(3)})
    files = sorted((tmp_path / "x/meta/episodes/chunk-000").iterdir())
    rows = [parquet.read_table(file).to_pylist() for file in files]
    assert [len(found) for found in rows] == [2, 2, 1]
    assert [found[-1]["meta/episodes/file_index"] for found in rows] == [0, 1, 2]
    data = LeRobot(str(tmp_path / "x"), state="", val_share=0, test_share=0)
    assert [episode.actions[0, 0] for episode in data.split("train")] == [0, 1, 2, 3, 4]


WRONG = {
    "a column less": (lambda c, f: c.pop("action.base"), "Expected the columns action.left_arm, a"),
    "another length": (
        lambda c, f: c.update({"action.base": c["action.base"][:4]}),
        "one number of rows: .*action.base has 4",
    ),
    "no row": (
        lambda c, f: c.update({k: v[:0] for k, v in c.items()}),
        r"action.left_arm \(N, 2\), got \(0, 2\)",
    ),
    "a dimension more": (
        lambda c, f: c.update({"action.base": np.zeros((5, 3), np.float32)}),
        r"action.base \(N, 2\), got \(5, 3\)",
    ),
    "NaN": (
        lambda c, f: c["action.base"].__setitem__((3, 1), np.nan),
        "finite numbers of action.base, got nan in row 3, wz",
    ),
    "a list": (lambda c, f: c.update({"action.base": [1.0]}), "Expected action.base as an array"),
    "half": (
        lambda c, f: c.update({"action.base": c["action.base"].astype(np.float16)}),
        "float32, float64, int64, int32, bool, got float16",
    ),
    "a frame less": (lambda c, f: f.update({WRIST: f[WRIST][:4]}), f"{WRIST}: expected 5 frames"),
    "a camera less": (lambda c, f: f.pop(WRIST), f"cameras {HEAD}, {WRIST}, got {HEAD}"),
    "a camera's size": (lambda c, f: f.update({WRIST: f[HEAD]}), "one size"),
    "an odd side": (lambda c, f: f.update({HEAD: f[HEAD][:, 1:]}), "even height and width"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_episode_is_refused_and_nothing_is_lost(change, words: str, tmp_path: Path) -> None:
    rows, frames = columns(0, 5), cameras(0, 5)
    change(rows, frames)
    with LeRobotWriter(tmp_path / "x", NAMES, FPS) as writer:
        writer.add(columns(0, 6), cameras(0, 6))
        with pytest.raises(ValueError, match=words):
            writer.add(rows, frames)
        writer.add(columns(0, 4), cameras(0, 4))
    assert [episode.num_frames for episode in opened(tmp_path / "x").split("train")] == [6, 4]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({}, "at least one feature"),
        ({"a/b": ["x"]}, "a name of letters"),
        ({"..": ["x"]}, "a name of letters"),
        ({"timestamp": ["x"]}, "none of timestamp"),
        ({"action": []}, r"different names of the dimensions of action.* got \[\]"),
        ({"action": ["x", "x"]}, "different names"),
        ({"action": "xy"}, "different names"),
    ],
)
def test_wrong_names_are_refused(names, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        LeRobotWriter(tmp_path / "x", names, FPS)


def test_what_breaks_off_leaves_no_folder(tmp_path: Path) -> None:
    def write(*episodes: dict[str, Any]) -> None:
        with LeRobotWriter(tmp_path / "x", NAMES, FPS) as writer:
            for frames in episodes:
                writer.add(columns(0, 5), frames)

    with pytest.raises(VideoError, match=f"expected 5 frames of {HEAD}, .* got 3"):
        write(cameras(0, 5), cameras(0, 5) | {HEAD: too_few()})
    with pytest.raises(VideoError, match="got more"):
        write(cameras(0, 5) | {HEAD: iter(pictures(6))})
    with pytest.raises(ValueError, match="no episode was added"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(PyarrowMissing, match=r"pip install 'egowm\[lerobot\]'"):
        LeRobotWriter(tmp_path / "x", NAMES, FPS)
    assert list(tmp_path.iterdir()) == []
