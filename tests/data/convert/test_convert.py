"""Rover logs and ROS bags as NWM folders, `stats` and `show`."""

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.commands import main as cli
from egowm.data import NWM, Window
from egowm.data.convert import ros_bag
from egowm.data.convert.drive import Drive, Rules, poses_at, segments
from egowm.data.convert.rover import read_rover
from egowm.video import read_image, write_image

WINDOW = Window(height=32, width=32)


def write_rover(root: Path, n: int = 40, **changes) -> Path:
    """Pictures at 20 Hz that show 5 k; the rover drives a circle of 4 m, 2 m/s."""
    (root / "IMG").mkdir(parents=True)
    lines = ["Path;SteerAngle;Throttle;Brake;Speed;X_Position;Y_Position;Pitch;Yaw;Roll"]
    for k in range(n):
        name = f"robocam_2017_05_02_11_16_{21 + k // 20:02d}_{50 * (k % 20):03d}.jpg"
        write_image(root / "IMG" / name, np.full((12, 32, 3), 5 * k, np.uint8))
        turn = 0.025 * k
        row = {"path": f"C:\\rover\\IMG\\{name}", "x": 4 * np.sin(turn), "y": 4 - 4 * np.cos(turn)}
        row |= {"yaw": np.rad2deg(turn) % 360}
        row |= {key: change(k, row[key]) for key, change in changes.items()}
        lines.append(f"{row['path']};0;1;0;2;{row['x']};{row['y']};0;{row['yaw']};0")
    (root / "robot_log.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_rover_log_becomes_a_folder_that_is_read(tmp_path, capsys):
    write_rover(tmp_path / "log")
    output = tmp_path / "nwm"
    assert cli.main(["data", "convert", str(tmp_path / "log"), str(output), "--shortest", "4"]) == 0
    assert capsys.readouterr().out == f"{output / 'rover_0'}: 8 frames\n"
    (episode,) = NWM(str(output), WINDOW, val_share=0, test_share=0).split("train")
    assert episode.read([0]).shape == (1, 12, 16, 3)  # 32x12 cropped to 4:3
    shown = episode.read(range(8))[:, 0, 0, 0].astype(int)
    assert np.abs(shown - 25 * np.arange(8)).max() <= 2  # every fifth of 20 Hz
    np.testing.assert_allclose(episode.times, np.arange(8) / 4, atol=1e-6)
    turn = 0.125
    expected = [4 * np.sin(turn), 4 - 4 * np.cos(turn), turn]
    np.testing.assert_allclose(episode.actions, np.tile(expected, (7, 1)), atol=1e-5)


def test_a_yaw_of_another_axis_is_turned(tmp_path):
    write_rover(tmp_path / "log", yaw=lambda k, degrees: degrees - 90)
    command = ["data", "convert", str(tmp_path / "log"), str(tmp_path / "nwm"), "--shortest", "4"]
    assert cli.main(command) == 2  # it seems to drive sideways, so no stretch is left
    assert cli.main([*command, "--yaw_offset", "90"]) == 0
    (episode,) = NWM(str(tmp_path / "nwm"), WINDOW, val_share=0, test_share=0).split("train")
    expected = [4 * np.sin(0.125), 4 - 4 * np.cos(0.125), 0.125]
    np.testing.assert_allclose(episode.actions, np.tile(expected, (7, 1)), atol=1e-5)


def test_segment_rules_cut_where_it_stands_turns_back_or_jumps():
    times = np.arange(60) / 10
    speed = np.ones(60)
    speed[15:20], speed[40:45] = 0.0, -1.0
    x = np.concatenate([[0], np.cumsum(speed[:-1]) / 10])
    times[50:] += 5
    poses = np.stack([x, 0 * x, 0 * x], 1)
    drive = Drive("made up", times, lambda numbers: iter(()), times, poses)
    spans = [(p[0], p[-1]) for p in segments(drive, Rules(rate_hz=0, shortest=3))]
    assert spans == [(0, 15), (20, 40), (45, 49), (50, 59)]
    kept = [(p[0], p[-1]) for p in segments(drive, Rules(rate_hz=0, keep_backward=True))]
    assert kept == [(0, 49), (50, 59)]
    long = [(p[0], p[-1]) for p in segments(drive, Rules(rate_hz=0, shortest=12))]
    assert long == [(0, 15), (20, 40)]


@pytest.mark.parametrize(
    ("hole", "rules", "expected"),
    [
        (0.95, {}, [(0, 20), (30, 59)]),
        (0.25, {}, [(0, 59)]),
        (0.45, {}, [(0, 20), (25, 59)]),
        (0.45, {"max_pose_gap_s": 0.5}, [(0, 59)]),
        (0.25, {"max_pose_gap_s": 0.1}, [(0, 20), (23, 59)]),
    ],
)
def test_a_hole_of_the_odometry_cuts(hole, rules, expected):
    pictures, measured = np.arange(60) / 10, np.arange(0, 6, 0.05)
    measured = measured[(measured <= 2.0) | (measured >= 2.0 + hole)]
    poses = np.stack([measured, 0 * measured, 0 * measured], 1)
    drive = Drive("made up", pictures, lambda numbers: iter(()), measured, poses)
    found = segments(drive, Rules(rate_hz=0, shortest=3, **rules))
    assert [(part[0], part[-1]) for part in found] == expected


def test_poses_are_interpolated_through_pi():
    yaw = np.array([3.0, -3.0])
    poses = np.stack([yaw, yaw, yaw], 1)
    none = lambda numbers: iter(())  # noqa: E731
    drive = Drive("made up", np.zeros(0), none, np.array([0.0, 1.0]), poses)
    found = poses_at(drive, np.array([0.5]))[0]
    assert found[0] == 0
    assert np.cos(found[2]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": lambda k, old: "..\\..\\secret.jpg"}, "expected a picture named by its time"),
        ({"x": lambda k, old: "nan" if k == 3 else old}, "row 3: expected finite numbers"),
        ({"yaw": lambda k, old: "east"}, "row 0: expected numbers"),
    ],
)
def test_a_wrong_log_is_named(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        read_rover(write_rover(tmp_path / "log", **changes))


def test_what_cannot_be_converted(tmp_path, capsys):
    assert cli.main(["data", "convert", str(tmp_path / "no"), str(tmp_path / "out")]) == 2
    assert "expected a folder with robot_log.csv" in capsys.readouterr().err
    write_rover(tmp_path / "log")
    assert cli.main(["data", "convert", str(tmp_path / "log"), str(tmp_path / "log")]) == 2
    words = "holds robot_log.csv, which `egowm data convert` did not write"
    assert words in capsys.readouterr().err
    command = ["data", "convert", str(tmp_path / "log"), str(tmp_path / "out")]
    assert cli.main([*command, "--shortest", "99"]) == 2
    assert "no stretch of 99 frames is left" in capsys.readouterr().err


def test_a_bag_without_rosbags_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbags", None)
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(ros_bag.RosbagsMissing, match=r"pip install 'egowm\[rosbags\]'"):
        ros_bag.read_bag(tmp_path / "drive.bag", None, None)


def test_messages_of_bags():
    pixels = np.arange(2 * 8, dtype=np.uint8).reshape(2, 8)  # 2 pixels and padding
    raw = SimpleNamespace(encoding="bgr8", height=2, width=2, step=8, data=pixels.reshape(-1))
    from egowm.video import decode_image

    frame = decode_image(ros_bag._encoded(raw))
    assert frame[0].tolist() == [[2, 1, 0], [5, 4, 3]]
    with pytest.raises(ValueError, match="encoding 'bayer'"):
        ros_bag._encoded(SimpleNamespace(encoding="bayer"))
    where = SimpleNamespace(x=1.0, y=2.0)
    half = SimpleNamespace(w=np.cos(0.4), x=0.0, y=0.0, z=np.sin(0.4))
    pose = SimpleNamespace(position=where, orientation=half)
    message = SimpleNamespace(pose=SimpleNamespace(pose=pose))
    assert ros_bag._pose(message) == pytest.approx((1.0, 2.0, 0.8))


@pytest.fixture
def folder(tmp_path, write_nwm) -> Path:
    for k in range(3):
        poses = np.stack([0.2 * np.arange(12) * (k + 1), np.zeros(12), 0.03 * np.arange(12)], 1)
        write_nwm(tmp_path / "nwm" / f"run_{k}", poses)
    return tmp_path / "nwm"


@pytest.fixture
def write_nwm():
    def write(root: Path, poses: np.ndarray) -> None:
        root.mkdir(parents=True)
        labels = {"position": poses[:, :2], "yaw": poses[:, 2]}
        (root / "traj_data.pkl").write_bytes(pickle.dumps(labels))
        for k in range(len(poses)):
            write_image(root / f"{k}.jpg", np.full((12, 16, 3), 3 * k, np.uint8))

    return write


def test_stats_write_an_action_spec(folder, tmp_path, capsys):
    assert cli.main(["data", "stats", str(folder), "-o", str(tmp_path / "spec.json")]) == 0
    assert "3 dimensions at 4 Hz, dx, dy, dyaw" in capsys.readouterr().out
    assert ActionSpec.load(tmp_path / "spec.json") == NWM(str(folder)).spec
    assert cli.main(["data", "stats", str(folder), "--normaliser", "mean-std"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["normalisers"] == ["mean-std"] * 3


def test_show_draws_frames_with_their_actions(folder, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    command = ["data", "show", str(folder), "-o", str(sheet), "--frames", "3", "--episodes", "2"]
    assert cli.main(command) == 0
    *conventions, last = capsys.readouterr().out.splitlines()
    assert last == str(sheet)
    assert "dx [m]: + forward, - back" in conventions
    picture = read_image(sheet)
    assert picture.shape[1] == 3 * (160 + 2)
    assert picture.shape[0] > 120
    assert cli.main([*command, "--stride", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
