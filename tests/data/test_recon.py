import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.data import recon
from egowm.data.module import Window
from egowm.data.recon import Recon, read_episode, se2_steps
from egowm.video import VideoError

Write = Callable[..., None]
WINDOW = Window(context=2, horizon=3, stride=2, height=12, width=16)


def line(n: int, step: float = 0.25) -> np.ndarray:
    """Poses straight ahead along x."""
    poses = np.zeros((n, 3))
    poses[:, 0] = step * np.arange(n)
    return poses


@pytest.fixture
def make(write_recon: Write) -> Callable[..., Path]:
    def make(root: Path, count: int, n: int = 12) -> Path:
        root.mkdir(exist_ok=True)
        for k in range(count):
            write_recon(root / f"jackal_{k:03d}.hdf5", line(n))
        return root

    return make


def names(data: Recon, split: str) -> set[str]:
    return {e.name for e in data.episodes(split)}


def test_steps_in_closed_form() -> None:
    # Facing +y: moving along +y is forward, along -x is to the left.
    position = np.array([[1.0, 1.0], [1.0, 3.0], [0.0, 3.0]])
    steps = se2_steps(position, np.array([np.pi / 2, np.pi / 2, np.pi / 2]))
    np.testing.assert_allclose(steps, [[2, 0, 0], [0, 1, 0]], atol=1e-6)
    assert steps.dtype == np.float32


def test_the_turn_wraps_across_pi() -> None:
    yaw = np.radians([170.0, -170.0, 175.0, 365.0])
    turn = se2_steps(np.zeros((4, 2)), yaw)[:, 2]
    np.testing.assert_allclose(np.degrees(turn), [20, -15, -170], atol=1e-4)


def test_a_circle_is_one_repeated_step() -> None:
    """On a circle of radius r turned by a each step the chord is 2 r sin(a/2), at angle a/2."""
    r, a = 3.0, 0.7
    angle = a * np.arange(20)
    position = r * np.stack([np.sin(angle), 1 - np.cos(angle)], -1) + [5.0, -2.0]
    yaw = np.arctan2(np.sin(angle), np.cos(angle))
    chord = 2 * r * np.sin(a / 2)
    step = [chord * np.cos(a / 2), chord * np.sin(a / 2), a]
    np.testing.assert_allclose(se2_steps(position, yaw), np.tile(step, (19, 1)), atol=1e-5)


def test_steps_far_from_the_origin_keep_their_digits() -> None:
    """Positions are differenced in float64: UTM coordinates would cost 0.5 m in float32."""
    position = np.array([[560_000.0, 4_190_000.0], [560_000.125, 4_190_000.0]])
    assert se2_steps(position, np.zeros(2))[0, 0] == 0.125


@pytest.mark.parametrize("storage", ["void", "bytes", "uint8"])
@pytest.mark.parametrize("columns", [2, 3])
def test_an_action_takes_its_frame_to_the_next(
    tmp_path: Path, storage: str, columns: int, write_recon: Write
) -> None:
    """Frame k is grey 3 k and lies at x = k (k-1) / 2, so action k is k."""
    k = np.arange(30)
    poses = np.stack([k * (k - 1) / 2, 0.0 * k, 0.0 * k], -1)
    write_recon(tmp_path / "a.hdf5", poses, storage=storage, columns=columns)
    data = Recon(str(tmp_path), WINDOW, test_share=0, val_share=0)
    (episode,) = data.episodes("train")
    np.testing.assert_allclose(episode.actions[:, 0], np.arange(29))
    assert (episode.read([4, 0, 29])[:, 0, 0, 0] == [12, 0, 87]).all()
    clip = data.windows("train", tiled=False)[5]
    assert clip.name == "a_00005"
    assert (clip.frames[:, 0, 0, 0].numpy() == [15, 21, 27, 33, 39]).all()
    assert clip.past_actions[:, 0].tolist() == [5 + 6]
    assert clip.actions[:, 0].tolist() == [7 + 8, 9 + 10, 11 + 12]


def test_meaning_and_measured_range(tmp_path: Path, make: Callable[..., Path]) -> None:
    data = Recon(str(make(tmp_path / "r", 2)), WINDOW, test_share=0, val_share=0)
    spec = data.spec
    assert (spec.names, spec.units) == (("dx", "dy", "dyaw"), ("m", "m", "rad"))
    assert (spec.frame, spec.kind, spec.rate_hz) == ("body", "se2", 2.0)
    np.testing.assert_allclose(spec.high, [0.5, 0, 0], atol=1e-7)


def test_the_other_camera(tmp_path: Path, write_recon: Write) -> None:
    def ramp(k: int) -> np.ndarray:
        return np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None] * 10, (12, 16, 3))

    write_recon(tmp_path / "a.hdf5", line(3), picture=ramp)
    left, right = (
        read_episode(tmp_path / "a.hdf5", camera).read([1])[0, 6, :, 0].astype(int)
        for camera in ("rgb_left", "rgb_right")
    )
    np.testing.assert_allclose(left, right[::-1], atol=3)
    assert left[-1] - left[0] > 140


def test_the_reader_travels_to_a_worker(tmp_path: Path, write_recon: Write) -> None:
    write_recon(tmp_path / "a.hdf5", line(5))
    read = pickle.loads(pickle.dumps(read_episode(tmp_path / "a.hdf5", "rgb_left").read))
    assert (read([2])[0] == 6).all()
    with h5py.File(tmp_path / "a.hdf5", "r+"):  # refused where a reader had left the file open
        pass


def test_splits_are_disjoint_complete_and_stay(tmp_path: Path, make: Callable[..., Path]) -> None:
    root = make(tmp_path / "r", 60, n=2)
    data = Recon(str(root), test_share=0.3, val_share=0.2)
    train, val, test = (names(data, s) for s in ("train", "val", "test"))
    assert len(train) + len(val) + len(test) == len(train | val | test) == 60
    assert 8 <= len(test) <= 28
    assert 2 <= len(val) <= 18
    (root / "jackal_000.hdf5").unlink()  # the split of the others must not move
    assert names(Recon(str(root), test_share=0.3, val_share=0.2), "test") == test - {"jackal_000"}
    wider = names(Recon(str(root), test_share=0.3, val_share=0.5), "test")
    assert wider == test - {"jackal_000"}


def test_published_split_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[..., Path]
) -> None:
    root = make(tmp_path / "r", 6, n=2)
    (tmp_path / "train.txt").write_text("jackal_000\njackal_001\n\njackal_002\n")
    (tmp_path / "test.txt").write_text("jackal_003\njackal_900\n")
    files = {"train_names": str(tmp_path / "train.txt"), "test_names": str(tmp_path / "test.txt")}
    data = Recon(str(root), val_share=0, **files)
    with caplog.at_level(logging.WARNING):
        assert names(data, "train") == {"jackal_000", "jackal_001", "jackal_002"}
    assert "lacks 1 of 5 listed episodes" in caplog.text
    assert "jackal_900" in caplog.text
    assert names(data, "test") == {"jackal_003"}
    assert names(data, "val") == set()
    halves = Recon(str(root), val_share=0.5, **files)
    assert names(halves, "val") | names(halves, "train") == names(data, "train")


def test_bad_split_options(tmp_path: Path, make: Callable[..., Path]) -> None:
    root = str(make(tmp_path / "r", 1, n=2))
    (tmp_path / "a.txt").write_text("jackal_000\n")
    with pytest.raises(ValueError, match="both train_names and test_names"):
        Recon(root, train_names="a.txt")
    with pytest.raises(ValueError, match="test_share is a share from 0 up to 1, got 20"):
        Recon(root, test_share=20)
    both = str(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="episode jackal_000 is in both"):
        Recon(root, train_names=both, test_names=both).episodes("train")
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.txt"):
        Recon(root, train_names=both, test_names=str(tmp_path / "b.txt")).episodes("train")


def test_its_own_split_is_said_not_to_compare_once(
    tmp_path: Path, make: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = str(make(tmp_path / "recon", 3))
    (tmp_path / "train.txt").write_text("jackal_000")
    (tmp_path / "test.txt").write_text("jackal_001")
    lists = {key: str(tmp_path / f"{key[:-6]}.txt") for key in ("train_names", "test_names")}
    recon._tell_own_split.cache_clear()
    with caplog.at_level(logging.INFO, "egowm"):
        Recon(root, **lists).split("test")
        assert "compares" not in caplog.text
        for data in (Recon(root), Recon(root)):
            data.split("train"), data.split("val")
    (said,) = [record for record in caplog.records if "compares" in record.getMessage()]
    assert said.levelno == logging.INFO
    assert "--data.train_names FILE --data.test_names FILE" in said.getMessage()


def test_a_command_says_that_its_own_split_does_not_compare(
    tmp_path: Path,
    make: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On stderr, once, at the level that commands show."""
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's, with which a command adds none
    recon._tell_own_split.cache_clear()
    cli.main(["data", "check", str(make(tmp_path / "recon_release", 3)), "--workers", "1"])
    assert capsys.readouterr().err.count("no number on it compares with a published one") == 1


def test_missing_and_empty_roots(tmp_path: Path, make: Callable[..., Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; pass --data.root"):
        Recon(str(tmp_path / "nowhere")).episodes("train")
    with pytest.raises(FileNotFoundError, match=r"looked for .*\*\.hdf5 and found none\. RECON: "):
        Recon(str(tmp_path)).episodes("train")
    make(tmp_path / "recon_release", 1, n=2)
    with pytest.raises(FileNotFoundError, match=r"There are some in .*recon_release"):
        Recon(str(tmp_path)).episodes("train")


def spoil(file: Path, how: str) -> str:
    """Spoil a recording; returns the key an error must name."""
    if how == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        return "the file"
    key = {"no yaw": "jackal/yaw", "no frames": "images/rgb_left"}.get(how, "jackal/position")
    with h5py.File(file, "r+") as out:
        value = None if how.startswith("no ") else np.asarray(out[key])
        del out[key]
        if how == "nan":
            value[3, 1] = np.nan
        if value is not None:
            out[key] = {"short": value[:-1], "flat": value[:, 0]}.get(how, value)
    return key


@pytest.mark.parametrize("how", ["cut", "no yaw", "no frames", "nan", "short", "flat"])
def test_corrupt_labels_name_file_and_key(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture, make: Callable[..., Path]
) -> None:
    root = make(tmp_path / "r", 2)
    key = spoil(root / "jackal_001.hdf5", how)
    data = Recon(str(root), test_share=0, val_share=0)
    with pytest.raises(ValueError, match=f"jackal_001.hdf5: {key}: .*skip_corrupt: true"):
        data.episodes("train")
    skipping = Recon(str(root), test_share=0, val_share=0, skip_corrupt=True)
    with caplog.at_level(logging.WARNING):
        assert names(skipping, "train") == {"jackal_000"}
    assert "left out: " in caplog.text
    assert "jackal_001.hdf5" in caplog.text


def test_a_corrupt_frame_is_named_when_read(tmp_path: Path, write_recon: Write) -> None:
    file = tmp_path / "a.hdf5"
    write_recon(file, line(4))
    with h5py.File(file, "r+") as out:
        width = out["images/rgb_left"].dtype.itemsize
        out["images/rgb_left"][2] = np.void(b"\0" * width)
    episode = read_episode(file, "rgb_left")
    assert episode.read([1, 3]).shape == (2, 12, 16, 3)
    with pytest.raises(VideoError, match=r"a\.hdf5: images/rgb_left: entry 2: not a readable"):
        episode.read([1, 2])
