"""Files made to read others' files or to fill the memory are refused by name."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from egowm.data import DonkeyTub, Recon, Window
from egowm.data.paths import inside

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
        (huge_shape, "too large for the labels"),
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
