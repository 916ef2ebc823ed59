"""Where a pipeline's weights lie, and which they are."""

import hashlib
import shutil
from pathlib import Path
from shlex import quote

import pytest

from egowm.backbones.base import are_weights, locate, weights_sha256


def test_locate_a_missing_folder(tmp_path):
    for name in (str(tmp_path / "none"), "./none", "~/none"):
        with pytest.raises(FileNotFoundError, match=r"--model\.backbone\.pretrained PATH_OR_ID"):
            locate(name)


@pytest.mark.parametrize("name", ["nobody/no-such-model", "nobody/a model"])
def test_locate_what_is_not_cached(name):
    """Offline: one line that says what to do."""
    with pytest.raises(FileNotFoundError) as caught:
        locate(name)
    line = str(caught.value)
    assert line.startswith(f"{name} is neither a folder nor in the local hub cache.")
    assert f"hf download {quote(name)} --local-dir PATH, and pass --model.backbone." in line
    assert f"If it is a folder, write {quote('./' + name)}." in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "name", ["a/folder/that/lacks", "weights/svd", "svd", r"C:\models\svd", r"a\b/svd"]
)
def test_locate_what_is_no_id(name, tmp_path, monkeypatch):
    """A path, or a name in a folder that is there: no command downloads it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        locate(name)
    line = str(caught.value)
    assert line.startswith(f"{name} is neither a folder nor in the local hub cache. Give the ")
    assert "./NAME" in line
    assert "hf download" not in line


def test_locate_downloads_only_a_pinned_revision():
    with pytest.raises(ValueError, match="needs a pinned revision"):
        locate("nobody/no-such-model", download=True)
    with pytest.raises(ConnectionError, match="was not downloaded"):  # offline
        locate("nobody/no-such-model", revision="0" * 40, download=True)


def test_locate_finds_folders(tiny_prior, tmp_path, monkeypatch):
    assert locate(str(tiny_prior)) == tiny_prior
    monkeypatch.chdir(tmp_path)
    shipped = locate("./priors/rooms-svd")  # where recipes were copied without their priors
    assert (shipped / "model_index.json").is_file()
    (tmp_path / "mine").mkdir()
    assert locate("mine") == Path("mine")


def test_hash_covers_names_and_contents(tiny_prior, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_prior, folder)
    same = weights_sha256(tiny_prior)
    assert weights_sha256(folder) == same
    (folder / "model_index.json").write_text("{}")
    assert weights_sha256(folder) == same
    weights = folder / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert weights_sha256(folder) != same


def test_hash_covers_what_is_read(tiny_prior, tmp_path):
    """A variant beside plain weights and the original in one piece are not; a variant alone is."""
    folder = tmp_path / "base"
    shutil.copytree(tiny_prior, folder)
    same, weights = weights_sha256(tiny_prior), folder / "vae/diffusion_pytorch_model.safetensors"
    shutil.copy(weights, folder / "svd_xt.safetensors")
    shutil.copy(weights, folder / "vae/diffusion_pytorch_model.fp16.safetensors")
    assert weights_sha256(folder) == same
    weights.unlink()
    assert weights_sha256(folder) != same
    assert weights_sha256(tiny_prior / "vae") != weights_sha256(tiny_prior / "unet")


def test_older_records_hold_the_hash_of_all_files(tiny_prior, tmp_path):
    """Of a variant that is not read, too: checkpoints and exports on such a base go on loading."""
    folder = tmp_path / "base"
    shutil.copytree(tiny_prior, folder)
    weights = folder / "vae/diffusion_pytorch_model.safetensors"
    shutil.copy(weights, folder / "vae/diffusion_pytorch_model.fp16.safetensors")
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    assert digest.hexdigest() != weights_sha256(folder)
    assert are_weights(digest.hexdigest(), folder)
    assert are_weights(weights_sha256(folder), folder)
    assert not are_weights("0" * 64, folder)
