"""Files made to read others' files or to fill the memory are refused by name."""

import json
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.data import DonkeyTub, Droid, LeRobot, OneX, Recon, VideoCSV, Window, csv_table
from egowm.data.lerobot_index import read_entries, read_info
from egowm.paths import inside
from egowm.video import VideoError, read_image

WINDOW = Window(height=12, width=16)
POSES = np.stack([0.2 * np.arange(6), np.zeros(6), 0.03 * np.arange(6)], 1)


def external_link(file: Path) -> None:
    with h5py.File(file.with_name("secret.h5"), "w") as out:
        out["yaw"] = np.zeros(6)
    with h5py.File(file, "a") as out:
        del out["jackal/yaw"]
        out["jackal/yaw"] = h5py.ExternalLink("secret.h5", "yaw")


def soft_link_to_an_external_one(file: Path) -> None:
    external_link(file)
    with h5py.File(file, "a") as out:
        out["aside"] = h5py.ExternalLink("secret.h5", "yaw")
        del out["jackal/yaw"]
        out["jackal/yaw"] = h5py.SoftLink("/aside")


def external_storage(file: Path) -> None:
    file.with_name("secret.bin").write_bytes(bytes(48))
    with h5py.File(file, "a") as out:
        del out["jackal/yaw"]
        store = [(str(file.with_name("secret.bin")), 0, 48)]
        out.create_dataset("jackal/yaw", (6,), "f8", external=store)


def huge_shape(file: Path) -> None:
    with h5py.File(file, "a") as out:
        del out["jackal/yaw"]
        out.create_dataset("jackal/yaw", (10**12,), "f8", chunks=(10**6,), compression="gzip")


def a_group(file: Path) -> None:
    with h5py.File(file, "a") as out:
        del out["jackal/yaw"]
        out.create_group("jackal/yaw")


def words(file: Path) -> None:
    with h5py.File(file, "a") as out:
        del out["jackal/yaw"]
        out["jackal/yaw"] = np.array([b"north"] * 6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (external_link, "links to another file"),
        (soft_link_to_an_external_one, "links to another file"),
        (external_storage, "keeps its values in another file"),
        (huge_shape, "claims 128,000,000,000,000 bytes"),
        (a_group, "expected a dataset"),
        (words, "cannot be read"),
    ],
)
def test_hdf5_that_points_elsewhere_or_claims_too_much(write_recon, tmp_path, change, expected):
    file = tmp_path / "recon" / "episode.hdf5"
    file.parent.mkdir()
    write_recon(file, POSES)
    change(file)
    with pytest.raises(ValueError, match=rf"episode\.hdf5: jackal/yaw: .*{expected}"):
        Recon(str(file.parent), WINDOW, val_share=0, test_share=0).episodes("train")


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/etc/passwd", "a\\..\\b", "C:/a", "", " ", "a\0b", 7, None, "a" * 5000],
)
def test_names_that_leave_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="list: expected the name of a file inside"):
        inside(tmp_path, name, "list")


def test_names_that_stay(tmp_path):
    assert inside(tmp_path, "videos/a b..c.mp4", "list") == tmp_path / "videos" / "a b..c.mp4"


def test_a_tub_that_climbs_out(tmp_path):
    (tmp_path / "manifest.json").write_text('{"paths": ["../catalog_0.catalog"]}\n')
    with pytest.raises(ValueError, match="climb out"):
        DonkeyTub(str(tmp_path), WINDOW).split("train")


def test_a_tub_whose_pictures_lie_elsewhere(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    root = tmp_path / "tub"
    (root / "images").mkdir(parents=True)
    (root / "manifest.json").write_text('{"paths": ["catalog_0.catalog"]}\n')
    records = [
        {"_index": k, "cam/image_array": "../../secret.jpg", "user/angle": 0, "user/throttle": 0}
        for k in range(3)
    ]
    (root / "catalog_0.catalog").write_text("\n".join(map(json.dumps, records)))
    (episode,) = DonkeyTub(str(root), WINDOW, val_share=0, test_share=0).split("train")
    with pytest.raises(ValueError, match="climb out"):
        episode.read([0])


NESTED = "[" * 100_000  # more than Python's parser can follow


def nested_tub(root: Path) -> None:
    (root / "manifest.json").write_text(NESTED)
    DonkeyTub(str(root), WINDOW).split("train")


def nested_info(root: Path) -> None:
    (root / "meta").mkdir()
    (root / "meta/info.json").write_text(NESTED)
    LeRobot(str(root), WINDOW).split("train")


def nested_episodes(root: Path) -> None:
    lerobot(root)
    (root / "meta/episodes.jsonl").write_text(NESTED)
    list(read_entries(root, read_info(root), "front"))


def nested_shard(root: Path) -> None:
    base = root / "train_v2.0_raw"
    for folder in ("robot_states", "segment_indices", "metadata", "videos"):
        (base / folder).mkdir(parents=True)
    (base / "robot_states/states_0.bin").write_bytes(bytes(100))
    (base / "segment_indices/segment_idx_0.bin").write_bytes(bytes(4))
    (base / "metadata/metadata_0.json").write_text(NESTED)
    (base / "videos/video_0.mp4").touch()
    OneX(str(root), WINDOW).split("train")


def nested_annotation(root: Path) -> None:
    (root / "annotation/train").mkdir(parents=True)
    (root / "annotation/train/0.json").write_text(NESTED)
    Droid(str(root), WINDOW).split("train")


@pytest.mark.parametrize(
    "read", [nested_tub, nested_info, nested_episodes, nested_shard, nested_annotation]
)
def test_json_nested_without_end(tmp_path, read):
    with pytest.raises(ValueError, match=r"\.jsonl?: .*(not JSON|expected).*recursion"):
        read(tmp_path)


def lerobot(root: Path, **changes: str) -> None:
    """A LeRobot 2.1 index of one episode."""
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "features": {},
        "data_path": "data/{episode_index:06d}.parquet",
        "video_path": "videos/{episode_index:06d}.mp4",
    }
    (root / "meta").mkdir()
    (root / "meta/info.json").write_text(json.dumps(info | changes))
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 3}\n')


@pytest.mark.parametrize(
    "template",
    [
        "{episode_index.__class__}",
        "{episode_index!r}",
        "{0}",
        "{episode_index:>1000000000}",
        "{secret}",
    ],
)
def test_path_templates_that_are_programs(tmp_path, template):
    lerobot(tmp_path, data_path=template)
    with pytest.raises(ValueError, match=r"data_path: (expected a path with fields|unknown field)"):
        list(read_entries(tmp_path, read_info(tmp_path), "front"))


def test_a_picture_that_claims_to_be_huge(tmp_path):
    """A PNG of a hundred bytes that would take 30 GB."""
    size = struct.pack(">II", 100_000, 100_000)
    header = b"IHDR" + size + bytes([8, 2, 0, 0, 0])
    data = zlib.compress(bytes(64))
    chunks = [header, b"IDAT" + data, b"IEND"]
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(VideoError, match=r"bomb\.png: claims 10,000,000,000 pixels"):
        read_image(tmp_path / "bomb.png")


def test_a_table_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "BYTES", 100)
    (tmp_path / "run.csv").write_text("time,turn\n" + "0,1\n" * 50)
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=r"run\.csv: 210 bytes are too many for a table"):
        VideoCSV(str(tmp_path), WINDOW, val_share=0, test_share=0, rate_hz=4).split("train")


def test_a_recipe_with_tags_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "evil.yaml"
    recipe.write_text("model: !!python/object/apply:os.system ['touch evil']\n")
    assert cli.main(["fit", "-c", str(recipe)]) == 2
    assert "python/object/apply" in capsys.readouterr().err
    assert not Path("evil").exists()
