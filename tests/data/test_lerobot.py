"""LeRobot data sets of 2.0, 2.1 and 3.0, laid out as LeRobot writes them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from egowm.actions import integrate
from egowm.data import LeRobot, LeRobotWriter, Window
from egowm.data.parquet import PyarrowMissing, read_columns
from egowm.video import VideoError, write_mp4
from tests.h264 import write_h264

CAMERA = "observation.images.front"
LENGTHS = (12, 9, 15)
WINDOW = Window(context=2, horizon=2, stride=2, height=32, width=32)
FPS = 10


def bars(numbers: np.ndarray) -> np.ndarray:
    """Frames that show numbers as 8 black or white bars (grey levels drift in mp4)."""
    bits = np.unpackbits(numbers.astype(np.uint8)[:, None], axis=1).repeat(4, 1) * 255
    return np.ascontiguousarray(np.broadcast_to(bits[:, None, :, None], (len(bits), 32, 32, 3)))


def shown(frames: np.ndarray) -> list[int]:
    """The numbers back, of frames (n, H, W, 3) of any size."""
    wide = frames[:, frames.shape[1] // 2, :, 0].reshape(len(frames), 8, -1).mean(-1) > 127
    return np.packbits(wide, axis=1)[:, 0].tolist()


def table_of(episode: int, first: int) -> dict[str, list[Any]]:
    """At frame t the action is (t + episode, 10 t) and the state (t, t t / 2)."""
    k = np.arange(LENGTHS[episode])
    return {
        "action": [[float(t + episode), 10.0 * t] for t in k],
        "observation.state": [[float(t), 0.5 * t * t] for t in k],
        "timestamp": (k / FPS).astype(np.float32).tolist(),
        "frame_index": k.tolist(),
        "episode_index": [episode] * len(k),
        "index": (first + k).tolist(),
        "task_index": [0] * len(k),
    }


@pytest.fixture
def write_table():
    """Writes a table as LeRobot does."""
    return lambda file, table: parquet.write_table(pyarrow.table(table), file)


def write_info(root: Path, version: str, **changes: Any) -> None:
    info = {
        "codebase_version": version,
        "robot_type": "arm",
        "fps": FPS,
        "total_episodes": len(LENGTHS),
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": (
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        ),
        "features": {
            "action": {"dtype": "float32", "shape": [2], "names": ["lift", "grip"]},
            "observation.state": {
                "dtype": "float32",
                "shape": [2],
                "names": {"motors": ["a", "b"]},
            },
            CAMERA: {"dtype": "video", "shape": [32, 32, 3], "names": ["height", "width", "c"]},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        },
        "of_a_later_version": {"unknown": True},
    }  # fmt: skip
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta/info.json").write_text(json.dumps(info | changes))


def write_v2(root: Path, write, version: str = "v2.1") -> Path:
    write_info(root, version)
    data, videos = root / "data/chunk-000", root / "videos/chunk-000" / CAMERA
    data.mkdir(parents=True)
    videos.mkdir(parents=True)
    lines = []
    for number, length in enumerate(LENGTHS):
        write(data / f"episode_{number:06d}.parquet", table_of(number, sum(LENGTHS[:number])))
        write_mp4(videos / f"episode_{number:06d}.mp4", bars(50 * number + np.arange(length)), FPS)
        row = {"episode_index": number, "tasks": [f"task {number}", "valid"], "length": length}
        lines.append(json.dumps(row))
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    return root


def write_v3(root: Path) -> Path:
    """Episodes 0 and 1 share a table, 2 has its own; all share a video."""
    names = {"action": ["lift", "grip"], "observation.state": ["a", "b"]}
    with LeRobotWriter(root / "v3", names, FPS, data_files_size_in_mb=0.0015) as writer:
        for number, length in enumerate(LENGTHS):
            table = table_of(number, 0)
            frames = bars(50 * number + np.arange(length))
            rows = {key: np.array(table[key]) for key in names}
            writer.add(rows, {CAMERA: frames}, f"task {number}")
    assert len(list(root.glob("v3/data/*/*"))) == 2
    return root / "v3"


def write_version(root: Path, write, version: str) -> Path:
    return write_v3(root) if version == "v3.0" else write_v2(root, write, version)


def all_of(root: Path, **options: Any) -> LeRobot:
    return LeRobot(str(root), WINDOW, val_share=0, test_share=0, **options)


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])
def test_frames_actions_states_and_times_belong_together(tmp_path, write_table, version):
    data = all_of(write_version(tmp_path, write_table, version))
    episodes = data.split("train")
    assert [e.name for e in episodes] == [f"episode_{k:06d}" for k in range(3)]
    for number, episode in enumerate(episodes):
        k = np.arange(LENGTHS[number])
        assert shown(episode.read(range(len(k)))) == (50 * number + k).tolist()
        np.testing.assert_array_equal(episode.actions, np.stack([k + number, 10 * k], 1)[:-1])
        np.testing.assert_array_equal(episode.states, np.stack([k, k * k / 2], 1))
        np.testing.assert_allclose(episode.times, k / FPS, atol=1e-6)
        assert episode.text == f"task {number}"
        assert (episode.video is None) == (version == "v3.0")
    clip = data.windows("train", tiled=True)[1]  # frames 0, 2, 4, 6 of the second episode
    assert clip.name == "episode_000001_00000"
    assert shown(clip.frames.permute(0, 2, 3, 1).numpy()) == [50, 52, 54, 56]
    assert clip.past_actions.tolist() == [[1.5, 5.0]]  # the mean of two commands
    assert clip.actions.tolist() == [[3.5, 25.0], [5.5, 45.0]]
    assert clip.state.tolist() == [2.0, 2.0]


def test_what_actions_mean_comes_from_the_file(tmp_path, write_table):
    data = all_of(write_v2(tmp_path, write_table), units=["m", "share"])
    assert (data.spec.names, data.spec.units) == (("lift", "grip"), ("m", "share"))
    assert (data.spec.kind, data.spec.rate_hz) == ("command", 5.0)
    assert data.state_spec is not None
    assert data.state_spec.names == ("a", "b")
    assert (data.spec.low, data.spec.high) == ((0.5, 5.0), (14.5, 125.0))


def test_differences_of_the_state_as_actions(tmp_path, write_table):
    import torch

    data = all_of(write_v2(tmp_path, write_table), actions="state", dimensions=["b"])
    assert (data.meaning.names, data.meaning.kind) == (("b",), "difference")
    episode = data.split("train")[2]
    np.testing.assert_allclose(episode.actions[:, 0], np.arange(14) + 0.5)
    states = torch.from_numpy(episode.states)
    spec, state_spec = data.meaning, data.state_meaning
    later = integrate(states[:1], torch.from_numpy(episode.actions[None]), spec, state_spec, 1)
    torch.testing.assert_close(later[0], states[:-1])


def test_latency_and_dimensions(tmp_path, write_table):
    data = all_of(write_v2(tmp_path, write_table), latency_frames=3, dimensions=["grip"], state="")
    assert data.state_meaning is None
    episode = data.split("train")[0]
    assert shown(episode.read(range(9))) == list(range(3, 12))
    assert episode.actions[:, 0].tolist() == [10.0 * t for t in range(8)]
    with pytest.raises(ValueError, match=r"no dimension 'twist'; it has lift, grip"):
        all_of(tmp_path, dimensions=["twist"]).split("train")
    with pytest.raises(ValueError, match="come from poses or states"):
        all_of(tmp_path, actions="state", latency_frames=1).split("train")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codebase_version": "v1.6"}, r"version v2\.0, v2\.1, v3\.0, got 'v1\.6'"),
        ({"fps": 0}, "expected fps above 0"),
        ({"features": 7}, "expected fps above 0 and a mapping for each feature"),
        ({"features": {"action": 7}}, "expected fps above 0 and a mapping for each feature"),
        ({"video_path": "../../{video_key}.mp4"}, "inside .*climb out"),
        ({"data_path": "/etc/passwd"}, "absolute"),
        ({"data_path": "data/{episode_index.__class__}"}, "expected a path with fields"),
        ({"data_path": "data/{episode_index:0999999999d}"}, "expected a path with fields"),
        ({"data_path": "data/{secret}.parquet"}, "unknown field 'secret'"),
        ({"chunks_size": 0}, "expected episode_index and length"),
    ],
)  # fmt: skip
def test_metadata_that_lies_is_refused(tmp_path, write_table, change, words):
    root = write_v2(tmp_path, write_table)
    write_info(root, "v2.1", **change)
    with pytest.raises(ValueError, match=words):
        all_of(root).split("train")


def test_a_camera_must_be_chosen_where_there_are_two(tmp_path, write_table):
    root = write_v2(tmp_path, write_table)
    features = json.loads((root / "meta/info.json").read_text())["features"]
    write_info(root, "v2.1", features=features | {"side": {"dtype": "video"}})
    assert len(all_of(root).split("train")) == 3  # only one of them has files
    (root / "videos/chunk-000/side").mkdir()
    with pytest.raises(ValueError, match=f"set camera to one of {CAMERA}, side"):
        all_of(root).split("train")
    with pytest.raises(ValueError, match="no camera 'back'"):
        all_of(root, camera="back").split("train")
    assert len(all_of(root, camera=CAMERA).split("train")) == 3


def broken_rows(table):
    return {key: rows[:-2] for key, rows in table.items()}


def between_frames(table):
    return table | {"timestamp": [t + 0.03 for t in table["timestamp"]]}


def too_wide(table):
    return table | {"action": [[*row, 0.0] for row in table["action"]]}


def not_finite(table):
    table["action"][4][1] = float("nan")
    return table


def no_state(table):
    table["observation.state"][-1][0] = float("nan")  # which is the context of no clip
    return table


def jittering(table):
    return table | {"timestamp": [t + 0.004 * (-1) ** k for k, t in enumerate(table["timestamp"])]}


def no_time(table):
    table["timestamp"][3] = float("nan")
    return table


def twice(table):
    table["timestamp"][3] = table["timestamp"][2]
    return table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (broken_rows, r"episode_000001: 7 rows, the episode's length is 9"),
        (between_frames, r"row 0 at 0\.03000 s lies between two frames at 10 fps"),
        (too_wide, r"action: info\.json names 2 dimensions, the table has 3"),
        (not_finite, "action 4, dimension 1 is not a finite number"),
        (no_state, "state 8, dimension 0 is not a finite number"),
        (
            jittering,
            r"row 0 .* lies between two frames .* 4 ms .*set tolerance_s above",
        ),
        (twice, "two rows name one frame"),
        (no_time, "episode_000001: a row's timestamp is not a finite number"),
    ],
)
def test_a_wrong_table_is_named_or_skipped(tmp_path, write_table, change, words, caplog):
    root = write_v2(tmp_path, write_table)
    write_table(root / "data/chunk-000/episode_000001.parquet", change(table_of(1, 12)))
    with pytest.raises(ValueError, match=words):
        all_of(root).split("train")
    assert len(all_of(root, skip_corrupt=True).split("train")) == 2
    assert "left out" in caplog.text


def test_a_clock_that_jitters_within_the_tolerance(tmp_path, write_table):
    root = write_v2(tmp_path, write_table)
    write_table(root / "data/chunk-000/episode_000001.parquet", jittering(table_of(1, 12)))
    episode = all_of(root, tolerance_s=0.01).split("train")[1]
    assert shown(episode.read(range(9))) == list(range(50, 59))


@pytest.mark.parametrize("left_out", [[3, 4], [5]])
def test_a_video_that_leaves_frames_out_is_read_by_its_times(tmp_path, write_table, left_out):
    root = write_v2(tmp_path, write_table)
    ticks = np.delete(np.arange(LENGTHS[0] + len(left_out)), left_out)
    video = root / "videos/chunk-000" / CAMERA / "episode_000000.mp4"
    write_h264(video, bars(ticks), FPS, ticks=ticks)
    file = root / "data/chunk-000/episode_000000.parquet"
    write_table(file, table_of(0, 0) | {"timestamp": (ticks / FPS).astype(np.float32).tolist()})
    parts = [e for e in all_of(root).split("train") if e.name.startswith("episode_000000")]
    assert [shown(e.read(range(e.num_frames))) for e in parts] == (
        [ticks[:3].tolist(), ticks[3:].tolist()] if len(left_out) > 1 else [ticks.tolist()]
    )
    write_table(file, table_of(0, 0))  # rows at frames that the video does not have
    whole = next(e for e in all_of(root).split("train") if e.name == "episode_000000")
    with pytest.raises(VideoError, match=rf"episode_000000.mp4: row {left_out[0]} is at"):
        whole.read(range(whole.num_frames))


def split_actions(root: Path, write, names: list[str]) -> None:
    """The two dimensions of the action as features of their own, beside one of text."""
    info = json.loads((root / "meta/info.json").read_text())
    one = {"dtype": "float32", "shape": [1]}
    info["features"] |= {
        "action.arm": one | {"names": names[:1]},
        "action.note": {"dtype": "string", "shape": [1]},
        "action.hand": one | {"names": names[1:]},
    }
    del info["features"]["action"]
    (root / "meta/info.json").write_text(json.dumps(info))
    for number in range(3):
        table = table_of(number, sum(LENGTHS[:number]))
        table["action.arm"], table["action.hand"] = (
            [row[k : k + 1] for row in table["action"]] for k in range(2)
        )
        del table["action"]
        write(root / f"data/chunk-000/episode_{number:06d}.parquet", table)


@pytest.mark.parametrize(
    ("action", "names", "expected"),
    [
        ("action.*", ["lift", "grip"], ["lift", "grip"]),
        (["action.hand", "action.arm"], ["lift", "grip"], ["grip", "lift"]),
        (["action.arm", "action.*"], ["lift", "grip"], ["lift", "grip"]),
        ("action.hand", ["lift", "grip"], ["grip"]),
        ("action.*", ["pos", "pos"], ["action.arm.pos", "action.hand.pos"]),
    ],
)
def test_actions_split_into_features_are_joined(tmp_path, write_table, action, names, expected):
    root = write_v2(tmp_path, write_table)
    split_actions(root, write_table, names)
    data = all_of(root, action=action)
    assert data.meaning.names == tuple(expected)
    k = np.arange(11)
    columns = {"lift": k, "grip": 10 * k, "action.arm.pos": k, "action.hand.pos": 10 * k}
    wanted = np.stack([columns[name] for name in expected], 1)
    np.testing.assert_allclose(data.split("train")[0].actions, wanted)
    kept = all_of(root, action=action, state="", dimensions=expected[-1:])
    assert kept.split("train")[0].actions.shape == (11, 1)
    with pytest.raises(
        ValueError, match=r"no feature 'action'; .* For all of its parts .*action\.\*"
    ):
        all_of(root).split("train")
    with pytest.raises(ValueError, match=r"no feature is called gas\.\*; info\.json has"):
        all_of(root, action="gas.*").split("train")


@pytest.mark.parametrize("ask", [lambda data: data.meaning, lambda data: data.split("train")])
def test_all_faults_of_the_options_are_said_at_once(tmp_path, write_table, ask):
    root = write_v2(tmp_path, write_table)
    options = {"action": "gas", "state": "pose", "camera": "rear", "units": ["m"]}
    with pytest.raises(ValueError, match="3 options do not fit") as caught:
        ask(all_of(root, **options))
    for words in ("no feature 'gas'", "no feature 'pose'", "no camera 'rear'"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_of_the_files_are_said_at_once(tmp_path, write_table):
    root = write_v2(tmp_path, write_table)
    table, video = (
        next(root.rglob(f"episode_00000{k}.*{end}")) for k, end in ((0, "et"), (2, "4"))
    )
    write_table(table, table_of(0, 0) | {"timestamp": [0.5] * LENGTHS[0]})
    video.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match="2 recordings cannot be read") as caught:
        all_of(root).split("train")
    for words in ("two rows name one frame", "episode_000002.mp4 is a pointer of Git LFS"):
        assert words in str(caught.value)
    (left,) = all_of(root, skip_corrupt=True).split("train")
    assert left.name == "episode_000001"


def test_all_faults_of_one_episode_are_said_at_once(tmp_path, write_table):
    root = write_v2(tmp_path, write_table)
    table, video = (next(root.rglob(f"episode_000001.*{end}")) for end in ("et", "4"))
    write_table(table, too_wide(broken_rows(table_of(1, 12))))
    video.unlink()
    with pytest.raises(ValueError, match="episode_000001: 3 faults: ") as caught:
        all_of(root).split("train")
    for words in ("1.mp4 is missing", "the table has 3", "7 rows, the episode's length is 9"):
        assert words in str(caught.value)
    assert str(caught.value).count("leave it out") == 1
    assert "\n" not in str(caught.value)


def test_all_faults_of_the_index_are_said_at_once(tmp_path, write_table):
    root = write_v2(tmp_path, write_table)
    file = root / "meta/episodes.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    changed = [{"length": 3}, rows[1], {**rows[2], "tasks": 7}, rows[1], {"episode_index": "x"}]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in changed))
    with pytest.raises(ValueError, match="4 faults of the index") as caught:
        all_of(root).split("train")
    for words in ("line 1: ", "line 3: expected the tasks", "000001 is listed twice", "line 5: "):
        assert words in str(caught.value)
    write_info(root, "v1.6", fps=0)
    with pytest.raises(ValueError, match=r"fps above 0 .*got fps 0.* \| expected codebase_version"):
        all_of(root).split("train")


def test_a_fault_of_every_line_is_said_once(tmp_path, write_table):
    root = write_v2(tmp_path, write_table)
    write_info(root, "v2.1", video_path="../{video_key}.mp4")
    with pytest.raises(ValueError, match="climb out") as caught:
        all_of(root).split("train")
    assert "faults" not in str(caught.value)


def delete(root: Path, version: str, number: int) -> None:
    """Take an episode out of the index, as scripts do; tables and videos of others stay."""
    if version == "v3.0":
        file = root / "meta/episodes/chunk-000/file-000.parquet"
        table = parquet.read_table(file)
        keep = [index != number for index in table["episode_index"].to_pylist()]
        parquet.write_table(table.filter(pyarrow.array(keep)), file)
        return
    file = root / "meta/episodes.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for k, line in enumerate(lines) if k != number))
    for path in root.rglob(f"episode_{number:06d}.*"):
        path.unlink()


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_deleted_episode_leaves_the_others_as_they_were(tmp_path, write_table, version, number):
    root = write_version(tmp_path, write_table, version)
    delete(root, version, number)
    episodes = {int(e.name[-6:]): e for e in all_of(root).split("train")}
    assert sorted(episodes) == [k for k in range(3) if k != number]
    for number, episode in episodes.items():
        k = np.arange(LENGTHS[number])
        assert shown(episode.read(range(len(k)))) == (50 * number + k).tolist()
        np.testing.assert_array_equal(episode.actions, np.stack([k + number, 10 * k], 1)[:-1])


def test_several_chunks_of_the_older_layout(tmp_path, write_table):
    """Two episodes a chunk: the third lies in the second one."""
    root = write_v2(tmp_path, write_table)
    write_info(root, "v2.1", chunks_size=2)
    for path in list(root.rglob("episode_000002.*")):
        moved = Path(str(path).replace("chunk-000", "chunk-001"))
        moved.parent.mkdir(parents=True)
        path.rename(moved)
    episodes = all_of(root).split("train")
    assert [shown(e.read([0, 1])) for e in episodes] == [[50 * k, 50 * k + 1] for k in range(3)]


@pytest.mark.parametrize("kind", ["parquet", "mp4"])
def test_an_episode_that_was_not_downloaded_is_left_out(tmp_path, write_table, kind, caplog):
    root = write_v2(tmp_path, write_table)
    (file,) = root.rglob(f"episode_000001.{kind}")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"episode_000001\.{kind} is missing"):
        all_of(root).split("train")
    names = [episode.name for episode in all_of(root, skip_corrupt=True).split("train")]
    assert names == ["episode_000000", "episode_000002"]
    assert f"episode_000001.{kind} is missing" in caplog.text


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"looked for .*meta/info\.json"):
        all_of(tmp_path).split("train")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(PyarrowMissing, match=r"pip install 'egowm\[lerobot\]'"):
        read_columns(tmp_path / "episode.parquet", ["action"])


def test_parquet_files_that_are_none(tmp_path):
    file = tmp_path / "episode.parquet"
    with pytest.raises(FileNotFoundError, match="is missing"):
        read_columns(file, ["action"])
    file.write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        read_columns(file, ["action"])


@pytest.mark.real_data
def test_the_humanoids_data(shared_data):
    data = LeRobot(str(shared_data / "gr1_humanoid_sim"), WINDOW, val_share=0, test_share=0)
    episodes = data.split("train")
    assert [e.num_frames for e in episodes] == [416, 470, 470, 412, 328]
    assert data.meaning.names[22] == "motor_22"
    for episode in episodes:
        assert episode.times[0] == pytest.approx(0.05, abs=1e-4)  # not at 0, as the format says
        last = episode.num_frames - 1
        assert episode.read([0, last]).shape == (2, 256, 256, 3)
        followed = np.corrcoef(episode.actions[:, 22], episode.states[1:, 22])[0, 1]
        assert followed > 0.95


@pytest.mark.parametrize("name", ["action", "observation.state", "observation.images.note"])
def test_columns_of_any_name_count_towards_the_limit(tmp_path, monkeypatch, name):
    import pyarrow
    from pyarrow.parquet import write_table

    file = tmp_path / "episode.parquet"
    write_table(pyarrow.table({name: [[1.0, 2.0]] * 1000, "other": ["x"] * 1000}), file)
    assert read_columns(file, [name])[name].shape == (1000, 2)
    monkeypatch.setenv("EGOWM_MAX_BYTES", "15000")
    with pytest.raises(ValueError, match=r"claims 16,\d{3} bytes of columns"):
        read_columns(file, [name])
