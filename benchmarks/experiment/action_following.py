"""Whether imagined robots do what they are told: motion between frames against the actions.

Frames of unseen rooms are aligned to renderings of their room; optical flow measures the same
without truth. First on true frames, whose motion is known: true ones, the same through the VAE and
blurred, and told another clip's actions. Then a copy of the first frame, the simulator, and models.

Expected before measuring: true frames within 0.02 m and 0.5 degrees, also through the VAE; frames
that are told other actions, and a copy, off by the size of those actions; models in between, their
turns followed better than their metres, and those from the prior better than from scratch.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.experiment.room_clips import RoomClips, unseen_clips
from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.tables import following
from egowm.evaluation.action_following import ActionFollowing, follow_in_room, summarise
from egowm.evaluation.flow_motion import Ground, Pinhole, follow_by_flow
from egowm.shipped import default_model
from egowm.world_model import WorldModel
from egowm.worlds.motion import ROBOT_HEIGHT

EXPORTS = "benchmarks/exports/"
MODELS = ("rooms", f"{EXPORTS}from-the-prior-long", f"{EXPORTS}from-scratch-long")
BLUR = 2.0  # pixels, of the blurred row
Videos = Sequence[np.ndarray]  # (T, H, W, 3) uint8, one per clip


def rows(clips: RoomClips, keep: Path | None) -> Iterator[tuple[str, str, Callable[[], Videos]]]:
    """Name, the actions that the frames are told, and how the frames are made."""
    count = len(clips.clips)
    yield "truth", "true", lambda: [frames[1:] for frames in clips.truth]
    yield "truth, told another clip's", "shuffled", lambda: [f[1:] for f in clips.truth]
    yield "truth, blurred", "true", lambda: blurred(clips)
    yield "simulator", "shuffled", lambda: clips.simulated("shuffled")
    yield "copy of the first frame", "true", clips.copied
    model = WorldModel.from_pretrained(MODELS[0])
    yield "truth through the VAE", "true", kept(keep, "vae", partial(clips.coded, model), count)
    for path in MODELS:
        model, name = WorldModel.from_pretrained(path), Path(path).name
        for kind in ("true", "shuffled"):
            made = partial(clips.imagined, model, kind)
            yield name, kind, kept(keep, f"{name}-{kind}", made, count)


def blurred(clips: RoomClips) -> Videos:
    """True frames as a blurred model would show them."""
    import cv2

    size, deviation = (0, 0), BLUR
    return [
        np.stack([cv2.GaussianBlur(frame, size, deviation) for frame in frames[1:]])
        for frames in clips.truth
    ]


def kept(
    folder: Path | None, name: str, make: Callable[[], Videos], count: int
) -> Callable[[], Videos]:
    """Frames that an earlier measurement has left in a folder, of `count` clips or more."""
    if folder is None:
        return make

    def made() -> Videos:
        file = folder / f"{name}.npy"
        if not file.is_file() or len(np.load(file, mmap_mode="r")) < count:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(file, np.stack(make()))
        return list(np.load(file, mmap_mode="r"))

    return made


def measured(clips: RoomClips, told: str, videos: Videos, flow: bool) -> list[ActionFollowing]:
    """Each clip's frames, after its context frame, against the actions they are told."""
    actions, spec = clips.told(told).numpy().astype(float), clips.data.meaning
    found = []
    for k, clip in enumerate(tqdm(clips.clips, told, leave=False, file=sys.stderr)):
        frames = np.concatenate([clips.truth[k][:1], videos[k]])
        if flow:
            camera = Pinhole.of_view(frames.shape[1], frames.shape[2], 90.0)
            ground = Ground(ROBOT_HEIGHT)
            found.append(follow_by_flow(frames, actions[k], spec, camera, ground=ground))
            continue
        room, start = clips.data.place(clip.name)
        found.append(follow_in_room(frames, actions[k], spec, room, start))
    return found


def summary(found: Sequence[ActionFollowing]) -> list[Record]:
    """Horizon by horizon, for JSON: an error that is not known, or infinite, is None."""
    return [
        {
            name: _plain(value) if isinstance(value, np.ndarray) else value
            for name, value in part._asdict().items()
        }
        for part in summarise(found)
    ]


def followed(clips: RoomClips, told: str, videos: Videos) -> Record:
    """Over all frames, by alignment."""
    return summary(measured(clips, told, videos, flow=False))[-1]


def _plain(values: np.ndarray) -> Any:
    plain = np.round(values, 4).astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def options(add: Callable[..., Any]) -> None:
    add("--clips", type=positive, default=64, help="the first so many of 64")
    add("--keep", type=Path, metavar="DIR", help="keeps imagined frames, or takes them from there")


def run(arguments: argparse.Namespace) -> Record:
    """The whole record: provenance, settings, and for each row its summaries."""
    record = provenance(arguments.seed, arguments.device, weights=[default_model(), *MODELS[1:]])
    record["command"] = record["command"].partition(" --keep")[0]  # which changes no figure
    clips = unseen_clips()
    clips.keep(range(min(arguments.clips, len(clips.clips))))
    record["settings"] = picked(arguments, "clips") | {"frames": clips.horizon, "blur": BLUR}
    record["rows"] = []
    for name, told, make in rows(clips, arguments.keep):
        videos = make()
        for method in ("alignment", "flow"):
            found = measured(clips, told, videos, method == "flow")
            about = {"name": name, "told": told, "method": method}
            record["rows"].append(about | {"horizons": summary(found)})
    return record


main = benchmark(__file__, __doc__, "action-following.json", options, run, following.following)
if __name__ == "__main__":
    sys.exit(main())
