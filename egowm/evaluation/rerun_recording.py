"""Scenes for rerun's viewer: in an .rrd file, or in the viewer itself.

A scene's entities: `SCENE/VIDEO` a picture for each frame (PNG, nothing is lost),
`SCENE/VIDEO/structures` the ids of its structures, `SCENE/actions/NAME` and other numbers over
time, `SCENE/paths/NAME` a way in the plane with `SCENE/paths/NAME/at` where it is at each frame,
`SCENE/text`. Two timelines: `frame`, and `time` in seconds.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from egowm.evaluation.scenes import Scene
from egowm.files import whole
from egowm.video import encode_image

APPLICATION = "egowm"


def write_rrd(scenes: Iterable[Scene], path: Path) -> int:
    """Write scenes to a file, whole or not at all; how many there are.

    rerun gives the bytes, which memory holds until all are there, and does not write them: a file
    that cannot grow makes it wait for ever.
    """
    import rerun

    stream = rerun.RecordingStream(APPLICATION)
    encoded = stream.binary_stream()
    with whole(path) as temporary:
        count = _log_all(stream, scenes)
        temporary.write_bytes(encoded.read() or b"")
    return count


def show(scenes: Iterable[Scene]) -> int:
    """Open rerun's viewer, and fill it; how many scenes there are."""
    import rerun

    stream = rerun.RecordingStream(APPLICATION)
    stream.spawn()
    count = _log_all(stream, scenes)
    stream.flush()
    return count


def _log_all(stream: Any, scenes: Iterable[Scene]) -> int:
    count = 0
    for scene in tqdm(scenes, "recording", unit="scene", disable=None):
        log_scene(stream, scene)
        count += 1
    return count


def log_scene(stream: Any, scene: Scene) -> None:
    """Log all of a scene to a stream of rerun."""
    import rerun

    name = scene.name.strip("/")
    if scene.text:
        stream.log(f"{name}/text", rerun.TextDocument(scene.text), static=True)
    for kind, way in scene.paths.items():
        stream.log(f"{name}/paths/{kind}", rerun.LineStrips2D([_drawn(way)]), static=True)
    for k in range(_length(scene)):
        stream.set_time("frame", sequence=k)
        stream.set_time("time", duration=k / scene.rate_hz)
        for video, frames in scene.videos.items():
            if k < len(frames):
                picture = rerun.EncodedImage(
                    contents=encode_image(frames[k]), media_type="image/png"
                )
                stream.log(f"{name}/{video}", picture)
        for video, ids in scene.masks.items():
            if k < len(ids):
                stream.log(f"{name}/{video}/structures", rerun.SegmentationImage(ids[k]))
        for kind, values in scene.series.items():
            if k < len(values) and np.isfinite(values[k]):
                stream.log(f"{name}/{kind}", rerun.Scalars(float(values[k])))
        for kind, way in scene.paths.items():
            if k < len(way) and len(way) > 1:
                stream.log(f"{name}/paths/{kind}/at", rerun.Points2D([_drawn(way)[k]]))


def _drawn(way: np.ndarray) -> np.ndarray:
    """(T, 2) as the viewer draws it, y downwards: ahead is up, left is left."""
    return np.stack([-way[:, 1], -way[:, 0]], 1)


def _length(scene: Scene) -> int:
    held = (*scene.videos.values(), *scene.masks.values(), *scene.series.values())
    return max(map(len, (*held, *scene.paths.values())), default=0)
