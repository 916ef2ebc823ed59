"""Names that files bring: whichever of them leaves its folder is refused before it is a path."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from egowm.actions import ActionSpec
from egowm.commands import main as cli
from egowm.data import Clip, DonkeyTub, Droid, LeRobot, Mixture, Packed, Rooms, TumRgbd, Window
from egowm.data.convert.ros_bag import read_bag
from egowm.data.packed import INDEX, key_of
from egowm.evaluation.evaluate import annotator
from egowm.evaluation.report.run_page import write_report
from egowm.evaluation.run_folder import read_run
from egowm.evaluation.run_writer import new_run
from egowm.scs.annotation.annotate import Structures, freeze
from egowm.scs.annotation.annotations import find_anchors, find_annotations
from egowm.video import write_frames

WINDOW = Window(height=12, width=16)
EVIL = ["../../../outside", "a/../../outside", "ABSOLUTE", "C:\\outside", "..", "."]
SPEC = ActionSpec(("x",), ("m",), "body", "command", 4.0, (-1.0,), (1.0,))


def a_pack(root: Path, name: str) -> None:
    """The index is whole: its key is that of what it holds."""
    index = {
        "version": 1, "source": "theirs", "size": [12, 16], "meaning": SPEC.record(),
        "state_meaning": None, "published": None, "sha256": {}, "latency_frames": 0,
        "episodes": [{"name": name, "split": "test", "num_frames": 2, "states": False,
                      "times": False, "text": ""}],
    }  # fmt: skip
    for label, shape in (("actions", (1, 1)), ("states", (0, 0)), ("times", (0,))):
        np.save(root / f"{label}.npy", np.zeros(shape, np.float32))
        data = (root / f"{label}.npy").read_bytes()
        index["sha256"][label] = hashlib.sha256(data).hexdigest()
    key = key_of(json.loads(json.dumps(index)))
    (root / INDEX).write_text(json.dumps(index | {"key": key}))
    (root / f"frames-{key}").mkdir()
    np.save(root / f"frames-{key}/00000.npy", np.zeros((2, 3, 12, 16), np.uint8))
    Packed(str(root), WINDOW).split("test")


def a_run(root: Path, name: str) -> None:
    (root / "clips.json").write_text(json.dumps({"fps": 4, "clips": {name: {"actions": [[0]]}}}))
    write_report(root)


def a_row_of_a_run(root: Path, name: str) -> None:
    found = {"fps": 4, "variants": {name: "mine"}, "clips": {"a": {"actions": [[0]]}}}
    (root / "clips.json").write_text(json.dumps(found))
    write_report(root)


def lerobot(root: Path, camera: str = "front", **changes: str) -> None:
    features = {camera: {"dtype": "video"}, "action": {}, "observation.state": {}}
    info = {
        "codebase_version": "v2.1", "fps": 10, "features": features,
        "data_path": "data/a.parquet", "video_path": "videos/a.mp4",
    }  # fmt: skip
    (root / "meta").mkdir()
    (root / "meta/info.json").write_text(json.dumps(info | changes))
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 3}\n')
    LeRobot(str(root), WINDOW, camera=None if camera != "front" else camera).split("train")


def a_table_of_lerobot(root: Path, name: str) -> None:
    lerobot(root, data_path=name)


def a_video_of_lerobot(root: Path, name: str) -> None:
    lerobot(root, video_path=name)


def a_camera_of_lerobot(root: Path, name: str) -> None:
    lerobot(root, camera=name)


def a_video_of_droid(root: Path, name: str) -> None:
    found = {"video_length": 2, "states": [[0] * 7] * 2, "videos": [{"video_path": name}] * 3}
    (root / "annotation/train").mkdir(parents=True)
    (root / "annotation/train/0.json").write_text(json.dumps(found))
    Droid(str(root), WINDOW, val_share=0).split("train")


def tub(root: Path, catalog: str = "a.catalog", picture: str = "0.jpg") -> None:
    (root / "images").mkdir()
    (root / "manifest.json").write_text(json.dumps({"paths": [catalog]}) + "\n")
    rows = [{"_index": k, "cam/image_array": picture, "user/angle": 0, "user/throttle": 0}
            for k in range(3)]  # fmt: skip
    (root / "a.catalog").write_text("\n".join(map(json.dumps, rows)))
    (episode,) = DonkeyTub(str(root), WINDOW, val_share=0, test_share=0).split("train")
    episode.read([0])


def a_catalog_of_a_tub(root: Path, name: str) -> None:
    tub(root, catalog=name)


def a_picture_of_a_tub(root: Path, name: str) -> None:
    tub(root, picture=name)


def a_picture_of_tum(root: Path, name: str) -> None:
    (root / "rgb.txt").write_text("".join(f"{k} {name}\n" for k in range(3)))
    (root / "groundtruth.txt").write_text("".join(f"{k} 0 0 0 0 0 0 1\n" for k in range(3)))
    TumRgbd(str(root), WINDOW).split("train")


def a_file_of_a_bag(root: Path, name: str) -> None:
    about = {"rosbag2_bagfile_information": {"relative_file_paths": [name]}}
    (root / "metadata.yaml").write_text(yaml.safe_dump(about))
    read_bag(root, None, None)


def a_source_of_a_recipe(root: Path, name: str) -> None:
    Mixture({name: Rooms(str(root), WINDOW)})


def a_clip_that_is_annotated(root: Path, name: str) -> None:
    freeze([Structures(name, (1,), np.ones((1, 8, 8), bool), ("",))], root / "out", {})


def annotations_of_a_clip(root: Path, name: str) -> None:
    find_annotations(root, [name])


def anchors_of_a_clip(root: Path, name: str) -> None:
    find_anchors(root, {name: 4})


def a_drawing_of_a_clip(root: Path, name: str) -> None:
    drawn = annotator(Rooms(str(root), WINDOW), str(root))
    assert drawn is not None
    drawn(name)


def a_room(root: Path, name: str) -> None:
    Rooms(str(root), WINDOW).annotation(f"{name}_0")


def clip(name: str) -> Clip:
    frames, actions = torch.zeros(1, 3, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 2, 1)
    return Clip(frames, actions, torch.zeros(1, 0, 1), torch.zeros(1, 0), [""], ["mine"], [name])


def a_true_clip_that_is_written(root: Path, name: str) -> None:
    with new_run(root / "run", SPEC, "mine", "mine", {"pred": "mine"}) as writer:
        writer.truth(clip(name), 0)


def a_prediction_that_is_written(root: Path, name: str) -> None:
    with new_run(root / "run", SPEC, "mine", "mine", {"pred": "mine"}) as writer:
        writer.prediction("pred", clip(name), 0, torch.zeros(2, 3, 8, 8))


def structures_that_are_written(root: Path, name: str) -> None:
    with new_run(root / "run", SPEC, "mine", "mine", {"pred": "mine"}) as writer:
        writer.annotation(name, np.ones((8, 8), np.uint8))


KINDS: list[Callable[[Path, str], None]] = [
    a_pack,
    a_run,
    a_row_of_a_run,
    a_table_of_lerobot,
    a_video_of_lerobot,
    a_camera_of_lerobot,
    a_video_of_droid,
    a_catalog_of_a_tub,
    a_picture_of_a_tub,
    a_picture_of_tum,
    a_file_of_a_bag,
    a_source_of_a_recipe,
    a_clip_that_is_annotated,
    annotations_of_a_clip,
    anchors_of_a_clip,
    a_drawing_of_a_clip,
    a_room,
    a_true_clip_that_is_written,
    a_prediction_that_is_written,
    structures_that_are_written,
]
# A suffix makes files that lie inside of "." and "..".
WITH_SUFFIX = {a_clip_that_is_annotated, annotations_of_a_clip,
               a_drawing_of_a_clip, structures_that_are_written}  # fmt: skip


CASES = [(k, name) for k in KINDS for name in EVIL if k not in WITH_SUFFIX or name.strip(".")]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{k.__name__} {n}" for k, n in CASES])
def test_a_name_that_leaves_its_folder(kind, name, tmp_path):
    root, outside = tmp_path / "a/b/c/d", tmp_path / "outside"
    root.mkdir(parents=True)
    name = str(outside) if name == "ABSOLUTE" else name
    with pytest.raises(ValueError, match="expected the name of a file inside") as caught:
        kind(root, name)
    assert "\n" not in (cli.explain(caught.value) or "\n")
    assert {p.name for p in tmp_path.iterdir()} == {"a"}
    assert [p.name for p in root.parent.iterdir()] == ["d"]
    assert not list(root.rglob("*outside*"))


@pytest.mark.parametrize(
    "name", ["kitchen/left 1", "2024-05-01_10:30:00", "room..1", ".hidden", "Zürich <1>"]
)
def test_a_name_that_stays(name, tmp_path):
    """Clips in folders of their own, times with colons: as they were."""
    a_pack(tmp_path, name)
    with new_run(tmp_path / "run", SPEC, "mine", "mine", {"pred": "mine"}) as writer:
        writer.truth(clip(name), 0)
        writer.prediction("pred", clip(name), 0, torch.zeros(2, 3, 8, 8))
        writer.annotation(name, np.ones((8, 8), np.uint8))
        writer.finish()
    found = read_run(tmp_path / "run")
    assert found.clips == [name]
    assert found.videos(name)["pred"].shape == (3, 8, 8, 3)
    assert found.annotation(name) is not None


def test_videos_of_a_run_are_not_written_through_a_link(tmp_path):
    (tmp_path / "theirs").mkdir()
    run = tmp_path / "run"
    for folder in ("gt", "pred"):
        write_frames(run / folder / "a", np.zeros((2, 16, 16, 3), np.uint8))
    (run / "clips.json").write_text(json.dumps({"fps": 4, "clips": {"a": {"actions": [[0]]}}}))
    (run / "videos").symlink_to("../theirs")
    with pytest.raises(FileExistsError, match=r"videos is a link to \.\./theirs"):
        write_report(run)
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
def test_predicting_from_anothers_pack(recipe, tmp_path, capsys):
    assert cli.main(["fit", "-c", str(recipe)]) == 0
    root = tmp_path / "pack"
    assert cli.main(["data", "pack", str(recipe), str(root)]) == 0
    index = json.loads((root / INDEX).read_text())
    frames = root / f"frames-{index['key']}"
    command = [
        "predict",
        "-c",
        str(recipe),
        "--data",
        "egowm.data.Packed",
        "--data.root",
        str(root),
    ]
    command += ["--ckpt_path", str(tmp_path / "run/checkpoints/last.ckpt")]
    for name, status in (("../../../x", 2), (str(tmp_path / "x"), 2), ("hall/1", 0)):
        for row in index["episodes"]:
            row["name"] = name if row["split"] == "test" else row["name"]
        index["key"] = key_of(index)
        frames = frames.rename(root / f"frames-{index['key']}")
        (root / INDEX).write_text(json.dumps(index))
        capsys.readouterr()
        assert cli.main(command) == status
        assert ("pack.json: expected the name" in capsys.readouterr().err) == (status == 2)
        assert (tmp_path / "run/predictions").exists() == (status == 0)
        assert not list(tmp_path.glob("x*"))
    assert Image.open(tmp_path / "run/predictions/pred/hall/1_00000/00003.png").size == (16, 16)
