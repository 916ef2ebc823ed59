"""Targets: the commands of `egowm-scs`, and what they read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from egowm.commands.scs.main import main
from egowm.scs.run_lengths import encode
from egowm.video import read_frames, write_mp4
from tests.fuzz.place import Place, Target, command
from tests.scs.conftest import World, moving

SCORED = ("--json", "OUT/scs.json", "--csv", "OUT/scs.csv", "--report", "OUT/scs.html")
PAIR = ("IN/pred", "IN/gt")
DRAWN = ("--annotations", "IN/annotations")
TRUTH = ("KEPT/scs/pred", "KEPT/scs/gt", "--annotations", "KEPT/scs/annotations")


def world(place: Place, masks: bool = False) -> World:
    found = World(place.inputs, num_clips=2, num_frames=3)
    if masks:
        found.write_masks(place.inputs / "masks")
    return found


def kept(place: Place) -> Path:
    """Clips with their scores, annotations and masks."""
    root = place.kept / "scs"
    if not root.exists():
        root.mkdir()
        World(root, num_clips=2, num_frames=3).write_masks(root / "masks")
        words = [str(root / "pred"), str(root / "gt"), "--annotations", str(root / "annotations")]
        assert main(["score", *words, "--tracker", "flow", "--json", str(root / "scs.json")]) == 0
    return root


def copied(*names: str) -> Callable[[Place], None]:
    """Files and folders of `kept` as the input."""

    def make(place: Place) -> None:
        for name in names:
            source, target = kept(place) / name, place.inputs / name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    return make


def make_videos(place: Place) -> None:
    root = kept(place)
    shutil.copytree(root / "annotations", place.inputs / "annotations")
    for half in ("pred", "gt"):
        (place.inputs / half).mkdir()
        for clip in sorted((root / half).iterdir()):
            write_mp4(place.inputs / half / f"{clip.name}.mp4", read_frames(clip), 4)


def make_npz(place: Place) -> None:
    for half in ("pred", "gt"):
        words = [str(kept(place) / half), "--annotations", str(kept(place) / "annotations")]
        words += ["--tracker", "copy", "--output", str(place.inputs / half)]
        assert main(["track", *words]) == 0


def make_run_lengths(place: Place) -> None:
    """JSON of every clip, as YouTube-VIS keeps tracks."""
    for half in ("pred", "gt"):
        (place.inputs / half).mkdir()
        labels = moving((1, 2, 0), 3)
        rows = [
            {"id": k, "segmentations": [encode(frame == k) for frame in labels]} for k in (1, 2, 3)
        ]
        told = json.dumps({"annotations": rows})
        (place.inputs / half / "clip.json").write_text(told)


def make_cache(place: Place) -> None:
    root = kept(place)
    words = [str(root / "pred"), str(root / "gt"), "--annotations", str(root / "annotations")]
    cache = ["--cache", str(place.inputs / "cache")]
    assert main(["score", *words, "--tracker", "flow", *cache]) == 0


def make_trajectories(place: Place) -> None:
    kept(place)
    (place.inputs / "t.json").write_text(json.dumps({"clip0": "a", "clip1": "b"}))


def make_comparison(place: Place) -> None:
    for name in ("a.json", "b.json"):
        shutil.copy(kept(place) / "scs.json", place.inputs / name)


def twelve(place: Place) -> Path:
    """As many clips as a gate needs, and two."""
    root = place.kept / "twelve"
    if not root.exists():
        root.mkdir()
        World(root, num_clips=12, num_frames=3)
    return root


def make_baseline(place: Place) -> None:
    root = twelve(place)
    words = [str(root / "pred"), str(root / "gt"), "--annotations", str(root / "annotations")]
    baseline = str(place.inputs / "baseline.json")
    assert main(["score", *words, "--tracker", "copy", "--json", baseline]) == 0


def make_prompts(place: Place) -> None:
    tiny_sam2(place)
    entry = {"id": 1, "label": "wall", "points": [[8, 8]], "point_labels": [1]}
    boxed = {"id": 2, "label": "", "box": [4, 18, 14, 28]}
    told = {"size": [64, 64], "clips": {f"clip{k}": [entry, boxed] for k in range(2)}}
    (place.inputs / "prompts.json").write_text(json.dumps(told))
    kept(place)


def tiny_sam2(place: Place) -> Path:
    from egowm.scs.trackers.sam2.weights import Weights, write_folder, write_meta
    from tests.scs.trackers.sam2.conftest import tiny_model

    root = place.kept / "sam2"
    if not root.exists():
        model = tiny_model()
        weights = Weights(model.config, dict(model.state_dict()))
        write_folder(weights, root / "folder")
        write_meta(weights, root / "tiny.pt")
    return root


def score(*words: str) -> Callable[[Place], int]:
    return command(main, "score", *words, *SCORED)


TARGETS = {
    "scs score": Target(world, score(*PAIR, *DRAWN, "--tracker", "copy")),
    "scs score, mp4": Target(make_videos, score(*PAIR, *DRAWN, "--tracker", "copy")),
    "scs score, palette masks": Target(
        lambda place: world(place, masks=True),
        score("IN/masks/pred", "IN/masks/gt", "--tracker", "masks"),
    ),
    "scs score, npz masks": Target(make_npz, score(*PAIR, "--tracker", "masks")),
    "scs score, run lengths": Target(make_run_lengths, score(*PAIR, "--tracker", "masks")),
    "scs score, cache": Target(
        make_cache,
        score(*TRUTH, "--tracker", "flow",
              "--cache", "IN/cache"),
        mends="^cache",
    ),
    "scs score, trajectories": Target(
        make_trajectories,
        score(*TRUTH, "--tracker", "copy",
              "--trajectories", "IN/t.json"),
    ),
    "scs score, gate": Target(
        make_baseline,
        command(main, "score", "KEPT/twelve/pred", "KEPT/twelve/gt", "--tracker", "copy",
            "--annotations", "KEPT/twelve/annotations", "--gate", "IN/baseline.json"),
    ),
    "scs compare": Target(
        make_comparison, command(main, "compare", "IN/a.json", "IN/b.json", "--json", "OUT/c.json")
    ),
    "scs report": Target(
        copied("scs.json"),
        command(main, "report", *TRUTH, "--tracker", "flow",
            "--scores", "IN/scs.json", "--output", "OUT/page.html"),
    ),
    "scs annotate": Target(
        copied("annotations", "gt"),
        command(main, "annotate", "IN/gt", "--masks", "IN/annotations", "--output", "OUT/drawn"),
    ),
    "scs annotate, prompts": Target(
        make_prompts,
        command(main, "annotate", "KEPT/scs/gt", "--prompts", "IN/prompts.json",
            "--tracker", "sam2", "--tracker_weights", "KEPT/sam2/folder", "--output", "OUT/drawn"),
    ),
    "scs track": Target(
        copied("annotations", "gt"),
        command(main, "track", "IN/gt", *DRAWN, "--tracker", "flow", "--output", "OUT/tracks"),
    ),
    "scs export": Target(
        lambda place: world(place, masks=True),
        command(main, "export", "IN/masks/pred", "IN/masks/gt", "--davis", "OUT/davis"),
    ),
    "scs convert-sam2, folder": Target(
        lambda place: shutil.copytree(tiny_sam2(place) / "folder", place.inputs / "folder"),
        command(main, "convert-sam2", "IN/folder", "OUT/tiny.pt"),
    ),
    "scs convert-sam2, .pt": Target(
        lambda place: shutil.copy(tiny_sam2(place) / "tiny.pt", place.inputs),
        command(main, "convert-sam2", "IN/tiny.pt", "OUT/folder"),
    ),
}  # fmt: skip
