"""ROS 1 and ROS 2 bags of wheeled robots: pictures and odometry, read by `rosbags`."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.checks import counted
from egowm.data.convert.drive import Drive
from egowm.limits import ordinary, read_yaml_text
from egowm.paths import inside
from egowm.video import encode_image

ODOMETRY = ("nav_msgs/msg/Odometry", "nav_msgs/Odometry")
COMPRESSED = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/CompressedImage")
RAW = ("sensor_msgs/msg/Image", "sensor_msgs/Image")
CHANNELS = {  # bytes a pixel, and which of them are red, green and blue
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}


class RosbagsMissing(ImportError):
    """ROS bags need the package rosbags, which is an optional extra."""


class BagError(ValueError):
    """A bag that cannot be read, or of which nobody said what to read."""


def read_bag(path: Path, images: str | None, odometry: str | None) -> Drive:
    """One bag as one drive; topics may be left out where the bag has one of each kind.

    Times are those at which messages were recorded, in seconds, as NWM's preprocessing takes them.
    """
    try:
        import rosbags.highlevel  # noqa: F401
    except ImportError as error:
        raise RosbagsMissing(
            f"{path}: bags are read by rosbags, which is not installed: "
            f"pip install 'egowm[rosbags]'."
        ) from error
    _check_names(path)
    with _opened(path) as reader:
        shown = _picture_times(reader, _pictures(path, reader, images))
        poses = _topic(path, reader, odometry, ODOMETRY, "--odometry")
        driven = [(t, _pose(message)) for t, message in _messages(reader, poses)]
    if len(shown) < 2 or len(driven) < 2:
        found = f"{counted(len(shown), 'picture')} and {counted(len(driven), 'pose')}"
        raise BagError(f"{path}: {found} are too few.")
    driven.sort(key=lambda item: item[0])
    places = np.argsort(shown, kind="stable")  # where in the bag the pictures are, by their times
    start = min(shown)
    return Drive(
        path.stem,
        np.array([shown[k] - start for k in places]) / 1e9,
        partial(read_pictures, path, images, places),
        np.array([t - start for t, _ in driven]) / 1e9,
        np.array([pose for _, pose in driven]),
    )


def read_pictures(
    path: Path, images: str | None, places: np.ndarray, numbers: Collection[int]
) -> Iterator[tuple[int, bytes]]:
    """Encoded pictures with their numbers, as they come in the bag, of which picture k is the
    `places[k]`-th."""
    wanted = {int(places[k]): k for k in numbers}
    with _opened(path) as reader:
        messages = reader.messages(connections=_pictures(path, reader, images))
        for place, (connection, _, raw) in enumerate(messages):
            if place in wanted:
                yield wanted[place], _encoded(reader.deserialize(raw, connection.msgtype))


def _check_names(path: Path) -> None:
    """The metadata of a ROS 2 bag names ordinary files of its own folder, and is plain YAML."""
    import yaml

    file = path / "metadata.yaml"
    if not path.is_dir():
        return
    try:
        about = yaml.safe_load(read_yaml_text(file))["rosbag2_bagfile_information"]
        names = list(about["relative_file_paths"])
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, yaml.YAMLError) as error:
        raise BagError(f"{file}: expected what ROS 2 writes ({error}).") from error
    for name in names:
        part = inside(path, name, str(file))
        if part.exists():
            ordinary(part)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The bag's reader; whatever fails in it names the bag."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)  # for bags of ROS 2 that do not bring their types
    try:
        with AnyReader([path], default_typestore=store) as reader:
            yield reader
    except BagError:
        raise
    except Exception as error:  # a damaged bag fails in sqlite, in struct, in an assertion ...
        what = str(error) or type(error).__name__
        raise BagError(f"{path}: not a readable bag ({what}); record or copy it again.") from error


def _pictures(path: Path, reader: Any, images: str | None) -> Any:
    return _topic(path, reader, images, (*COMPRESSED, *RAW), "--images")


def _picture_times(reader: Any, connections: Any) -> list[int]:
    """Nanoseconds of all pictures, as they come; of the first it is seen whether it can be read."""
    times: list[int] = []
    for connection, nanoseconds, raw in reader.messages(connections=connections):
        if not times:
            _encoded(reader.deserialize(raw, connection.msgtype))
        times.append(nanoseconds)
    return times


def _topic(path: Path, reader: Any, name: str | None, kinds: tuple[str, ...], option: str) -> Any:
    """The connections of the topic that was named, or of the only one of these kinds."""
    fitting = [c for c in reader.connections if c.msgtype in kinds and name in (None, c.topic)]
    topics = sorted({connection.topic for connection in fitting})
    if len(topics) != 1:
        known = ", ".join(topics or sorted(f"{c.topic} ({c.msgtype})" for c in reader.connections))
        raise BagError(f"{path}: name one topic with {option}; the bag has {known}.")
    return fitting


def _messages(reader: Any, connections: Any) -> Any:
    for connection, nanoseconds, raw in reader.messages(connections=connections):
        yield nanoseconds, reader.deserialize(raw, connection.msgtype)


def _encoded(message: Any) -> bytes:
    """A picture message as an encoded picture."""
    if not hasattr(message, "encoding"):
        return bytes(message.data)
    if message.encoding not in CHANNELS:
        known = ", ".join(CHANNELS)
        raise BagError(f"pictures of encoding {message.encoding!r}; known: {known}.")
    depth, channels = CHANNELS[message.encoding]
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : message.width * depth].reshape(message.height, message.width, depth)
    return encode_image(np.ascontiguousarray(pixels[..., channels]))


def _pose(message: Any) -> tuple[float, float, float]:
    """x, y in metres and yaw in radians of an odometry message."""
    position, q = message.pose.pose.position, message.pose.pose.orientation
    yaw = np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y**2 + q.z**2))
    return float(position.x), float(position.y), float(yaw)
