import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.data import NWM, Recon, Window
from egowm.data.nwm import read_trajectory
from egowm.data.splits import Split
from egowm.video import VideoError

Write = Callable[..., None]
WINDOW = Window(context=2, horizon=3, stride=2, height=12, width=16)


def line(n: int, step: float = 0.25) -> np.ndarray:
    """Poses straight ahead along x."""
    poses = np.zeros((n, 3))
    poses[:, 0] = step * np.arange(n)
    return poses


def names(data: NWM, split: str) -> set[str]:
    return {e.name for e in data.episodes(split)}


@pytest.mark.parametrize("yaw_columns", [0, 1])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_an_action_takes_its_frame_to_the_next(
    tmp_path: Path, yaw_columns: int, protocol: int, write_trajectory: Write
) -> None:
    """Frame k is grey 3 k and lies at x = k (k-1) / 2, so action k is k; 10.jpg follows 9.jpg."""
    k = np.arange(30)
    poses = np.stack([k * (k - 1) / 2, 0.0 * k, 0.0 * k], -1)
    write_trajectory(tmp_path / "a", poses, yaw_columns=yaw_columns, protocol=protocol)
    data = NWM(str(tmp_path), WINDOW, test_share=0, val_share=0)
    (episode,) = data.episodes("train")
    np.testing.assert_allclose(episode.actions[:, 0], np.arange(29))
    assert (episode.read([4, 0, 29])[:, 0, 0, 0] == [12, 0, 87]).all()
    clip = data.windows("train", tiled=False)[5]
    assert clip.name == "a_00005"
    assert (clip.frames[:, 0, 0, 0].numpy() == [15, 21, 27, 33, 39]).all()
    assert clip.past_actions[:, 0].tolist() == [5 + 6]
    assert clip.actions[:, 0].tolist() == [7 + 8, 9 + 10, 11 + 12]


def test_steps_are_in_the_body_frame(tmp_path: Path, write_trajectory: Write) -> None:
    """Facing +y: moving along +y is forward, along -x is to the left; turns wrap across pi."""
    poses = np.array([[1, 1, np.pi / 2], [1, 3, np.pi / 2], [0, 3, -np.pi + 0.2]])
    write_trajectory(tmp_path / "a", poses)
    steps = read_trajectory(tmp_path / "a").actions
    np.testing.assert_allclose(steps, [[2, 0, 0], [0, 1, np.pi / 2 + 0.2]], atol=1e-6)


def test_the_reader_travels_to_a_worker(tmp_path: Path, write_trajectory: Write) -> None:
    write_trajectory(tmp_path / "a", line(5))
    read = pickle.loads(pickle.dumps(read_trajectory(tmp_path / "a").read))
    assert (read([2])[0] == 6).all()


def test_meaning_and_ranges(tmp_path: Path, write_trajectory: Write) -> None:
    """Measured, of a published data set, or of a spacing of one's own."""
    write_trajectory(tmp_path / "r" / "a", line(12))
    options = {"test_share": 0.0, "val_share": 0.0}
    measured = NWM(str(tmp_path / "r"), Window(), **options).spec
    assert (measured.names, measured.units) == (("dx", "dy", "dyaw"), ("m", "m", "rad"))
    assert (measured.frame, measured.kind, measured.rate_hz) == ("body", "se2", 4.0)
    np.testing.assert_allclose(measured.high, [0.25, 0, 0], atol=1e-7)
    for choice, spacing in (
        ({"normaliser": "recon"}, 0.25),
        ({"normaliser": "scand"}, 0.38),
        ({"normaliser": "tartandrive"}, 0.72),
        ({"normaliser": "sacson"}, 0.255),
        ({"spacing": 0.5}, 0.5),
    ):
        spec = NWM("nowhere", **choice).spec  # without reading the data
        np.testing.assert_allclose(spec.low, [-2.5 * spacing, -4 * spacing, -1])
        np.testing.assert_allclose(spec.high, [5 * spacing, 4 * spacing, 1])
        steps = torch.tensor([[0.0, 0, 0], [5 * spacing, spacing, 0.2], [-2.5 * spacing, 0, -0.2]])
        expected = torch.tensor([[-1 / 3, 0, 0], [1, 0.25, 0.2], [-1, 0, -0.2]])
        torch.testing.assert_close(spec.normalise(steps), expected, rtol=0, atol=1e-6)
    assert Recon("nowhere", normaliser="recon").spec == NWM("nowhere", normaliser="recon").spec


@pytest.mark.parametrize(
    "options", [{"spacing": 0.0}, {"spacing": 0.3, "normaliser": "recon"}, {"normaliser": "mars"}]
)
def test_bad_normalisers(options: dict) -> None:
    with pytest.raises(ValueError, match=r"got spacing|Expected a normaliser data, recon"):
        NWM("nowhere", **options)


def test_splits_are_those_of_recon(
    tmp_path: Path, write_trajectory: Write, write_recon: Write
) -> None:
    """One rule for both layouts of the same recordings; published lists come before it."""
    (tmp_path / "raw").mkdir()
    for number in range(20):
        write_trajectory(tmp_path / "nwm" / f"jackal_{number}", line(2))
        write_recon(tmp_path / "raw" / f"jackal_{number}.hdf5", line(2))
    shares = {"test_share": 0.4, "val_share": 0.3}
    folders, files = NWM(str(tmp_path / "nwm"), **shares), Recon(str(tmp_path / "raw"), **shares)
    for split in ("train", "val", "test"):
        assert names(folders, split) == {e.name for e in files.episodes(split)}
        assert names(folders, split)
    (tmp_path / "train.txt").write_text("jackal_3\njackal_4\n")
    (tmp_path / "test.txt").write_text("jackal_5\n")
    lists = [str(tmp_path / name) for name in ("train.txt", "test.txt")]
    listed = NWM(str(tmp_path / "nwm"), train_names=lists[0], test_names=lists[1], val_share=0)
    assert names(listed, "train") == {"jackal_3", "jackal_4"}
    assert names(listed, "test") == {"jackal_5"}


def test_missing_episodes_of_a_list_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "test.txt").write_text("c\n")
    splits = Split("X", str(tmp_path / "train.txt"), str(tmp_path / "test.txt"), 0.0, 0.0)
    with caplog.at_level(logging.WARNING):
        assert splits.of("train", ["a"], tmp_path) == ["a"]
        assert splits.of("test", ["a"], tmp_path) == []
    assert caplog.text.count("lacks 2 of 3 listed episodes") == 1


def test_missing_and_empty_roots(tmp_path: Path, write_trajectory: Write) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; pass --data.root"):
        NWM(str(tmp_path / "nowhere")).episodes("train")
    with pytest.raises(FileNotFoundError, match=r"looked for .*traj_data.pkl and found none\.$"):
        NWM(str(tmp_path)).episodes("train")
    write_trajectory(tmp_path / "scand" / "a", line(2))
    with pytest.raises(FileNotFoundError, match=r"There are some in .*scand"):
        NWM(str(tmp_path)).episodes("train")


def spoil(folder: Path, how: str) -> str:
    """Spoil a trajectory of 12 frames; returns what an error must say."""
    file = folder / "traj_data.pkl"
    labels = pickle.loads(file.read_bytes())
    if how == "gap":
        (folder / "7.jpg").unlink()
        return r"bad: 7\.jpg is missing, 11 frames up to 11"
    if how == "padded":
        (folder / "7.jpg").rename(folder / "007.jpg")
        return r"expected frames 0\.jpg, 1\.jpg \.\.\., got 007\.jpg"
    if how == "no frames":
        for path in folder.glob("*.jpg"):
            path.unlink()
        return r"0\.jpg is missing, 0 frames"
    if how == "one frame more":
        (folder / "12.jpg").write_bytes((folder / "11.jpg").read_bytes())
        return r"traj_data\.pkl: position: 12 values for 13 frames"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-40])
        return r"traj_data\.pkl: cannot be read"
    changed, message = {
        "short yaw": (labels | {"yaw": labels["yaw"][:-1]}, "yaw: 11 values for 12 frames"),
        "flat": (labels | {"position": labels["position"][:, 0]}, r"expected \(T, 2\), got \(12,"),
        "wide yaw": (labels | {"yaw": np.zeros((12, 2))}, r"yaw: expected \(T,\) or \(T, 1\)"),
        "nan": (labels | {"yaw": np.full(12, np.nan)}, "yaw: expected finite numbers"),
        "words": (labels | {"yaw": ["north"] * 12}, "yaw: not numbers"),
        "no yaw": ({"position": labels["position"]}, "a dictionary with yaw, got position"),
        "a list": ([1, 2], "a dictionary with position, got list"),
    }[how]
    file.write_bytes(pickle.dumps(changed))
    return message


@pytest.mark.parametrize(
    "how",
    [
        "gap",
        "padded",
        "no frames",
        "one frame more",
        "cut",
        "short yaw",
        "flat",
        "nan",
        "a list",
        "wide yaw",
        "words",
        "no yaw",
    ],
)
def test_corrupt_trajectories_name_file_and_numbers(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture, write_trajectory: Write
) -> None:
    write_trajectory(tmp_path / "good", line(12))
    write_trajectory(tmp_path / "bad", line(12))
    message = spoil(tmp_path / "bad", how)
    with pytest.raises(ValueError, match=f"bad.*{message.removeprefix('bad')}.*skip_corrupt: true"):
        NWM(str(tmp_path), test_share=0, val_share=0).episodes("train")
    skipping = NWM(str(tmp_path), test_share=0, val_share=0, skip_corrupt=True)
    with caplog.at_level(logging.WARNING):
        assert names(skipping, "train") == {"good"}
    assert "left out: " in caplog.text


def test_a_corrupt_frame_is_named_when_read(tmp_path: Path, write_trajectory: Write) -> None:
    write_trajectory(tmp_path / "a", line(4))
    (tmp_path / "a" / "2.jpg").write_bytes(b"\0" * 20)
    episode = read_trajectory(tmp_path / "a")
    assert episode.read([1, 3]).shape == (2, 12, 16, 3)
    with pytest.raises(VideoError, match=r"a/2\.jpg: not a readable picture"):
        episode.read([1, 2])
