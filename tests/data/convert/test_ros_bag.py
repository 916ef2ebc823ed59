"""ROS bags written by rosbags' own writers become NWM folders, to the frame and the pose."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.data import NWM, Window
from egowm.data.convert.ros_bag import read_bag

pytest.importorskip("rosbags")

WINDOW = Window(height=12, width=16)
START = 1_700_000_000_000_000_000  # ns
IMAGES, ODOMETRY = "/camera/image", "/odom"


def picture(k: int) -> np.ndarray:
    """Blue falls, green stays, red rises: a swap of channels shows."""
    return np.broadcast_to(np.array([4 * k, 100, 240 - 4 * k], np.uint8), (12, 16, 3)).copy()


def pose(seconds: float) -> tuple[float, float, float]:
    """A circle of 2 m at 1 m/s."""
    turn = seconds / 2
    return 2 * np.sin(turn), 2 - 2 * np.cos(turn), turn


def write_bag(
    path: Path, kind: str, raw: str = "", extra: bool = False, seconds: int = 3, scale: int = 1
) -> Path:
    """Pictures at 20 Hz and odometry at 50 Hz. kind: "ros1", "sqlite3" or "mcap"; raw: an encoding,
    "" for JPEG; extra: a second camera; scale: pictures are so many times 12x16."""
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
    types = store.types
    if kind == "ros1":
        from rosbags.rosbag1 import Writer

        writer, encode = Writer(path), store.serialize_ros1
    else:
        from rosbags.rosbag2 import StoragePlugin
        from rosbags.rosbag2 import Writer as Writer2

        plugin = StoragePlugin.SQLITE3 if kind == "sqlite3" else StoragePlugin.MCAP
        writer = Writer2(path, version=9, storage_plugin=plugin)
        encode = store.serialize_cdr
    image = "sensor_msgs/msg/Image" if raw else "sensor_msgs/msg/CompressedImage"

    def header(nanoseconds: int):
        stamp = types["builtin_interfaces/msg/Time"](
            sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9
        )
        about = {"seq": 0} if kind == "ros1" else {}
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id="", **about)

    def shown(k: int, when: int):
        return types[image](
            header=header(when), **image_fields(picture(k).repeat(scale, 0).repeat(scale, 1), raw)
        )

    def driven(x: float, y: float, yaw: float, when: int):
        point = types["geometry_msgs/msg/Point"](x=x, y=y, z=0.0)
        half = {"z": float(np.sin(yaw / 2)), "w": float(np.cos(yaw / 2))}
        turn = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, **half)
        where = types["geometry_msgs/msg/Pose"](position=point, orientation=turn)
        none = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        speed = types["geometry_msgs/msg/Twist"](linear=none, angular=none)
        unknown = np.zeros(36)
        return types["nav_msgs/msg/Odometry"](
            header=header(when),
            child_frame_id="base",
            pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=where, covariance=unknown),
            twist=types["geometry_msgs/msg/TwistWithCovariance"](twist=speed, covariance=unknown),
        )

    with writer:
        cameras = [IMAGES, *(["/rear/image"] if extra else [])]
        connections = {c: writer.add_connection(c, image, typestore=store) for c in cameras}
        odometry = writer.add_connection(ODOMETRY, "nav_msgs/msg/Odometry", typestore=store)
        for k in range(50 * seconds + 1):
            when = START + 20_000_000 * k
            message = driven(*map(float, pose(k / 50)), when)
            writer.write(odometry, when, encode(message, "nav_msgs/msg/Odometry"))
        for k in range(20 * seconds):
            when = START + 50_000_000 * k
            for connection in connections.values():
                writer.write(connection, when, encode(shown(k, when), image))
    return path


def image_fields(frame: np.ndarray, raw: str) -> dict:
    if not raw:
        import cv2

        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        data = cv2.imencode(".jpg", frame[..., ::-1], quality)[1].reshape(-1)
        return {"format": "jpeg", "data": data}
    pixels = {
        "rgb8": frame,
        "bgr8": frame[..., ::-1],
        "rgba8": np.dstack([frame, frame[..., :1]]),
        "mono8": frame[..., :1],
    }[raw]
    padded = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, 3)))  # rows may be longer
    height, width = frame.shape[:2]
    about = {"height": height, "width": width, "encoding": raw, "is_bigendian": 0}
    return about | {"step": padded.shape[1], "data": padded.reshape(-1)}


@pytest.mark.parametrize(
    ("kind", "raw"),
    [("ros1", ""), ("ros1", "bgr8"), ("sqlite3", ""), ("sqlite3", "rgba8"), ("mcap", "rgb8")],
)
def test_a_bag_becomes_a_folder_that_is_read(tmp_path, capsys, kind, raw):
    path = write_bag(tmp_path / ("drive.bag" if kind == "ros1" else "drive"), kind, raw)
    output = tmp_path / "nwm"
    assert cli.main(["data", "convert", str(path), str(output)]) == 0
    assert capsys.readouterr().out == f"{output / 'drive_0'}: 12 frames\n"
    (episode,) = NWM(str(output), WINDOW, val_share=0, test_share=0).split("train")
    # pictures 0, 5, 10 ... of 20 Hz: 4 Hz
    expected = np.stack([picture(5 * k)[0, 0] for k in range(12)]).astype(int)
    shown = episode.read(range(12))[:, 6, 8].astype(int)
    assert np.abs(shown - expected).max() <= 6
    np.testing.assert_allclose(episode.times, np.arange(12) / 4, atol=1e-6)
    turn = 0.125
    step = [2 * np.sin(turn), 2 - 2 * np.cos(turn), turn]
    # poses at 50 Hz, on a chord of 0.02 s between
    np.testing.assert_allclose(episode.actions, np.tile(step, (11, 1)), atol=2e-4)


def test_every_picture_and_its_time(tmp_path):
    drive = read_bag(write_bag(tmp_path / "drive", "mcap", "mono8"), None, None)
    assert (len(drive.times), len(drive.pose_times)) == (60, 151)
    np.testing.assert_allclose(drive.times, np.arange(60) / 20, atol=1e-9)
    np.testing.assert_allclose(drive.pose_times, np.arange(151) / 50, atol=1e-9)
    np.testing.assert_allclose(drive.poses, [pose(k / 50) for k in range(151)], atol=1e-12)


@pytest.mark.parametrize("kind", ["ros1", "sqlite3", "mcap"])
def test_pictures_are_not_all_in_memory(tmp_path, kind):
    path = tmp_path / ("drive.bag" if kind == "ros1" else "drive")
    write_bag(path, kind, "rgb8", scale=20)  # 60 pictures of 230,400 bytes
    read_bag(path, None, None)  # imports
    tracemalloc.start()
    try:
        drive = read_bag(path, None, None)
        numbers = [k for k, _ in drive.pictures(range(59, -1, -2))]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert numbers == list(range(1, 60, 2))
    assert peak < 5e6


def test_two_cameras_are_a_choice(tmp_path, capsys):
    path = write_bag(tmp_path / "drive.bag", "ros1", extra=True)
    command = ["data", "convert", str(path), str(tmp_path / "nwm")]
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    assert "name one topic with --images; the bag has /camera/image, /rear/image" in told
    assert cli.main([*command, "--images", IMAGES, "--odometry", ODOMETRY]) == 0
    assert cli.main([*command[:3], str(tmp_path / "b"), "--images", "/lidar"]) == 2
    assert "the bag has /camera/image (sensor_msgs/msg/CompressedImage)" in capsys.readouterr().err


def cut(path: Path) -> None:
    file = path if path.is_file() else next(f for f in path.iterdir() if f.suffix != ".yaml")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def code(path: Path) -> None:
    (path / "metadata.yaml").write_text("!!python/object/apply:os.system ['touch evil']\n")


def climbing(path: Path) -> None:
    """Its metadata names a file of another folder, which is there."""
    file = next(f for f in path.iterdir() if f.suffix != ".yaml")
    file.rename(path.parent / file.name)
    text = (path / "metadata.yaml").read_text()
    assert file.name in text
    (path / "metadata.yaml").write_text(text.replace(file.name, f"../{file.name}"))


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("ros1", cut, r"drive.bag: not a readable bag"),
        ("sqlite3", cut, r"drive: not a readable bag"),
        ("mcap", cut, r"drive: not a readable bag"),
        ("sqlite3", code, r"metadata.yaml: expected what ROS 2 writes"),
        ("sqlite3", climbing, r"climb out with '..'"),
    ],
)
def test_a_damaged_or_hostile_bag_is_one_line(tmp_path, capsys, monkeypatch, kind, change, words):
    monkeypatch.chdir(tmp_path)
    path = write_bag(tmp_path / ("drive.bag" if kind == "ros1" else "drive"), kind, seconds=1)
    change(path)
    assert cli.main(["data", "convert", str(path), str(tmp_path / "nwm")]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("egowm: ")]
    assert words in line
    assert not Path("evil").exists()
