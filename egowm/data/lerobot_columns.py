"""What may be written as the columns and cameras of a LeRobot data set, and their description."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egowm.checks import ArgumentError, check_shape
from egowm.video import VideoError
from egowm.video_encoder import VideoFile, check_frames

DTYPES = ("float32", "float64", "int64", "int32", "bool")
OWN = {"timestamp": "float32"} | dict.fromkeys(
    ("frame_index", "episode_index", "index", "task_index"), "int64"
)  # columns that every data set has
_KEY = re.compile(r"\w[\w.-]*")


def check_key(key: str) -> None:
    """Refuse the name of a column or camera that is no name of a folder, or the format's own."""
    if not _KEY.fullmatch(key) or key in OWN:
        raise ArgumentError(
            f"Expected a name of letters, digits, '_', '-' and '.', none of {', '.join(OWN)}, got "
            f"{key!r}."
        )


def checked_names(features: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The names of each column's dimensions, all of them given, and different."""
    if not features:
        raise ArgumentError("Expected at least one feature, such as {'action': ['vx', 'wz']}.")
    for key, names in features.items():
        check_key(key)
        texts = not isinstance(names, str) and all(isinstance(name, str) for name in names)
        if not (texts and names and len(set(names)) == len(names)):
            raise ArgumentError(
                f"Expected different names of the dimensions of {key}, such as ['vx', 'wz'], got "
                f"{names!r}."
            )
    return {key: list(names) for key, names in features.items()}


def checked_columns(
    columns: Mapping[str, Any], features: Mapping[str, Sequence[str]], dtypes: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The rows (N, D) of each feature in the order of the features, of one length.

    dtypes: those of the episodes before.
    """
    if columns.keys() != features.keys():
        raise ArgumentError(
            f"Expected the columns {', '.join(features)}, got {', '.join(columns) or 'none'}."
        )
    rows = {
        key: _rows(key, columns[key], names, dtypes.get(key)) for key, names in features.items()
    }
    if len({len(values) for values in rows.values()}) > 1:
        told = ", ".join(f"{key} has {len(values)}" for key, values in rows.items())
        raise ArgumentError(f"Expected columns of one number of rows: {told}.")
    return rows


def _rows(key: str, values: Any, names: Sequence[str], dtype: str | None) -> np.ndarray:
    width = len(names)
    if not isinstance(values, np.ndarray) or str(values.dtype) not in DTYPES:
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise ArgumentError(f"Expected {key} as an array of {', '.join(DTYPES)}, got {kind}.")
    if values.ndim == 1 and width == 1:
        values = values[:, None]
    check_shape(key, values, "N D", D=width)
    if dtype not in (None, str(values.dtype)):
        raise ArgumentError(
            f"Expected {key} of {dtype}, as in the first episode, got {values.dtype}."
        )
    if len(wrong := np.argwhere(~np.isfinite(values))):
        row, column = wrong[0]
        found = f"{values[row, column]} in row {row}, {names[column]}"
        raise ArgumentError(f"Expected finite numbers of {key}, got {found}.")
    return values


def check_cameras(
    frames: Mapping[str, Any], count: int, features: Mapping[str, Any], known: Mapping[str, Any]
) -> None:
    """Refuse frames of other cameras, sizes and lengths. known: shapes (H, W, 3) of the episodes
    before."""
    if not frames or (known and frames.keys() != known.keys()):
        expected = f"the cameras {', '.join(known)}" if known else "at least one camera"
        raise ArgumentError(f"Expected frames of {expected}, got {', '.join(frames) or 'none'}.")
    for camera, pictures in frames.items():
        check_key(camera)
        if camera in features:
            raise ArgumentError(f"Expected another name for the camera {camera}, a column.")
        try:
            check_frames(pictures, count, tuple(known.get(camera, ())))
        except VideoError as error:
            raise VideoError(f"{camera}: {error}") from error


def described(
    rows: Mapping[str, np.ndarray],
    features: Mapping[str, Sequence[str]],
    videos: Mapping[str, VideoFile],
    fps: float,
) -> dict[str, Any]:
    """The features of `meta/info.json`."""
    found: dict[str, Any] = {
        key: {"dtype": str(values.dtype), "shape": [values.shape[1]], "names": features[key]}
        for key, values in rows.items()
    }
    for camera, video in videos.items():
        shape = video.shape
        about: dict[str, Any] = {
            "height": shape[0],
            "width": shape[1],
            "channels": shape[2],
            "fps": fps,
        }
        about |= {"codec": video.codec, "pix_fmt": "yuv420p"}
        info = {f"video.{key}": value for key, value in about.items()}
        info |= {"is_depth_map": False, "has_audio": False}
        names = ["height", "width", "channels"]
        found[camera] = {"dtype": "video", "shape": list(shape), "names": names, "info": info}
    return found | {key: {"dtype": d, "shape": [1], "names": None} for key, d in OWN.items()}
