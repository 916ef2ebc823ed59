"""TUM RGB-D sequences: poses interpolated at the pictures' times, steps in the camera's frame."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from egowm.actions.poses import product, quaternion, rotated
from egowm.data import TumRgbd, Window

RATE, START = 10.0, 1_305_031_235.0
WINDOW = Window(context=2, horizon=2, stride=1, height=12, width=16)
STEP = np.array([0.02, -0.01, 0.05, 0.01, -0.03, 0.02])  # of a tenth of a second


def path(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses of a camera that moves by STEP a tenth of a second, as a screw: where and how."""
    where, turn = np.zeros(3), quaternion(np.array([0.4, -0.2, 1.0]))
    axis, slide = STEP[3:] / 100, STEP[:3] / 100
    found, clock = [], 0
    for time in np.round(times * 1000).astype(int):  # in steps of 1 ms
        for _ in range(time - clock):
            where, turn = where + rotated(turn, slide), product(turn, quaternion(axis))
        clock = time
        found.append((where, turn))
    return np.stack([p for p, _ in found]), np.stack([q for _, q in found])


def write_sequence(
    root: Path, frames: int = 20, listing: bool = True, measured: np.ndarray | None = None
) -> Path:
    (root / "rgb").mkdir(parents=True)
    times = np.arange(frames) / RATE + 0.0123
    lines = ["# color images", "# timestamp filename"]
    for k, time in enumerate(times):
        name = f"rgb/{START + time:.6f}.png"
        Image.new("RGB", (16, 12), (10 * k,) * 3).save(root / name)
        lines.append(f"{START + time:.6f} {name}")
    if listing:
        (root / "rgb.txt").write_text("\n".join(lines) + "\n")
    measured = np.arange(0, frames / RATE + 0.1, 0.01) if measured is None else measured
    rows = ["# ground truth trajectory", "# timestamp tx ty tz qx qy qz qw"]
    for time, p, q in zip(measured, *path(measured), strict=True):
        numbers = " ".join(f"{value:.9f}" for value in (*p, *q[1:], q[0]))
        rows.append(f"{START + time:.4f} {numbers}")
    (root / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    return root


def all_of(root: Path) -> TumRgbd:
    return TumRgbd(str(root), WINDOW, val_share=0, test_share=0)


@pytest.mark.parametrize("listing", [True, False])
def test_every_step_is_the_cameras_motion_between_its_frames(tmp_path, listing):
    data = all_of(write_sequence(tmp_path / "desk", listing=listing))
    (episode,) = data.split("train")
    assert episode.name == "desk_00000"
    assert episode.read(range(20))[:, 0, 0, 0].tolist() == [10 * k for k in range(20)]
    # a screw of 100 small steps slides along a curve that is a little shorter
    np.testing.assert_allclose(episode.actions, np.tile(STEP, (19, 1)), atol=2e-3)
    np.testing.assert_allclose(episode.actions - episode.actions[:1], 0, atol=1e-5)
    np.testing.assert_allclose(episode.actions[:, 3:], np.tile(STEP[3:], (19, 1)), atol=1e-5)
    assert (data.meaning.kind, data.meaning.rate_hz) == ("se3", 10.0)
    np.testing.assert_allclose(np.diff(episode.times), 0.1, atol=1e-5)


def test_frames_without_a_pose_are_cut_out(tmp_path):
    measured = np.arange(0, 2.1, 0.01)
    measured = measured[(measured < 0.65) | (measured > 0.95)]
    data = all_of(write_sequence(tmp_path / "desk", measured=measured))
    spans = [(e.name, e.num_frames) for e in data.split("train")]
    assert spans == [("desk_00000", 7), ("desk_00010", 10)]


def test_a_gap_between_pictures_cuts(tmp_path):
    root = write_sequence(tmp_path / "desk")
    for file in sorted((root / "rgb").glob("*.png"))[8:10]:
        file.unlink()
    (root / "rgb.txt").unlink()
    assert [e.num_frames for e in all_of(root).split("train")] == [8, 10]


def test_splits_follow_in_time_for_each_sequence(tmp_path):
    for name in ("desk", "room"):
        write_sequence(tmp_path / name)
    data = TumRgbd(str(tmp_path), WINDOW, val_share=0.2, test_share=0.3)
    found = {s: [(e.name, e.num_frames) for e in data.split(s)] for s in ("train", "val", "test")}
    assert found == {
        "train": [("desk_00000", 10), ("room_00000", 10)],
        "val": [("desk_00010", 4), ("room_00010", 4)],
        "test": [("desk_00014", 6), ("room_00014", 6)],
    }


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("groundtruth.txt", "1305031235.5 0 0 0 0 0 0", "expected 8, got 7 values"),
        ("groundtruth.txt", "1305031235.5 0 0 0 0 0 0 nan", "expected a finite number, got 'nan'"),
        ("groundtruth.txt", "1305031235.5 0 0 0 0 0 0 2", "expected a unit quaternion, got norm 2"),
        ("rgb.txt", "1305031235.5 ../../secret.png", "climb out"),
        ("rgb.txt", "1305031235.5 /etc/secret.png", "absolute"),
        ("rgb.txt", "yesterday rgb/0.png", "expected a finite number, got 'yesterday'"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, file, line, words):
    root = write_sequence(tmp_path / "desk")
    with (root / file).open("a") as out:
        out.write(line + "\n")
    with pytest.raises(ValueError, match=words):
        all_of(root).split("train")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"groundtruth\.txt"):
        all_of(tmp_path).split("train")


@pytest.mark.real_data
def test_the_excerpts_poses_are_the_benchmarks_own(shared_data):
    root = shared_data / "tum_fr1_rpy_excerpt"
    (episode,) = all_of(root).split("train")
    assert episode.num_frames == 64
    rows = [r.split() for r in (root / "associated.txt").read_text().splitlines() if r[0] != "#"]
    nearest = np.array([[float(x) for x in row[5:]] for row in rows])
    where, turn = nearest[:, :3], nearest[:, [6, 3, 4, 5]]
    back = turn * [1, -1, -1, -1]
    moved = rotated(back[:-1], np.diff(where, axis=0))
    assert np.abs(episode.actions[:, :3] - moved).max() < 0.01  # a pose is at most 3.6 ms older


def test_the_gap_that_was_refused_is_named(tmp_path, caplog):
    """Poses every 0.01 s, but none between 0.65 and 0.95 s, where three pictures lie."""
    measured = np.arange(0, 2.1, 0.01)
    measured = measured[(measured < 0.65) | (measured > 0.95)]
    data = all_of(write_sequence(tmp_path / "desk", measured=measured))
    data.split("train")
    data.split("test")
    told = "desk: 3 pictures without a pose: 3 between poses 0.31 to 0.31 s apart, where max_gap_s"
    assert caplog.text.count(told) == 1
    sparse = write_sequence(tmp_path / "slow", measured=np.arange(0, 2.2, 0.2))
    with pytest.raises(
        ValueError, match=r"0\.2 to 0\.2 s apart, .* \(set max_gap_s: 0\.202.*No pict"
    ):
        all_of(sparse).split("train")
    mended = TumRgbd(str(sparse), WINDOW, val_share=0, test_share=0, max_gap_s=0.202)
    assert mended.split("train")[0].num_frames == 20
