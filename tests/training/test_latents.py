"""A latent cache of Stable Video Diffusion: the same losses as from pixels, and what is refused."""

import csv
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from egowm.backbones import SVD
from egowm.backbones.frame_codec import FrameCodec
from egowm.clip import Clip
from egowm.commands import main as cli
from egowm.data import Rooms, Window
from egowm.pretraining.prior import VideoPrior
from egowm.training.latents import writer as caching
from egowm.training.latents.callback import Opened
from egowm.training.latents.shards import damage, save_shard
from egowm.training.latents.writer import LatentWriter
from egowm.world_model import WorldModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]
WINDOW = Window(context=1, horizon=3, height=16, width=16)


def rooms(tmp_path: Path, window: Window = WINDOW, **options) -> Rooms:
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 1, "num_frames": 8}
    return Rooms(str(tmp_path / "rooms"), window, batch_size=4, **counts | options)


@pytest.fixture
def backbone(tiny_prior) -> SVD:
    found = SVD(str(tiny_prior))
    found.load()
    return found


def batch(data: Rooms) -> Clip:
    return next(iter(data.train_dataloader()))


def losses(root: Path, name: str) -> list[float]:
    [path] = root.glob("lightning_logs/version_*/metrics.csv")
    with path.open() as lines:
        return [float(row[name]) for row in csv.DictReader(lines) if row[name]]


def test_fit_from_cache_is_fit_from_pixels(recipe, tmp_path, capsys, monkeypatch):
    """With noise on the context and dropped images; four steps and two validations."""
    run = [
        "fit",
        "-c",
        str(recipe),
        "--trainer.max_steps",
        "4",
        "--trainer.val_check_interval",
        "2",
    ]
    assert cli.main([*run, "--trainer.default_root_dir", str(tmp_path / "pixels")]) == 0
    capsys.readouterr()
    folder = tmp_path / "latents"
    make = ["data", "cache", "-c", str(recipe), "--output", str(folder)]
    assert cli.main([*make, "--dtype", "float32"]) == 0
    said = capsys.readouterr().out
    # 3 episodes of 8 frames; 4x8x8 latents, an embedding of 64 and 3x16x16 pixels
    assert (
        "3 episodes, 24 frames; bytes a frame: 2048 (latents 1024, image 256, pixels 768)" in said
    )
    assert "0.0295 GB per hour of video at 4 Hz, 4.92e-05 GB in all, in 1 shard" in said
    assert f"egowm fit -c {recipe} --cache {folder}" in said
    root = tmp_path / "cached"
    options = ["--trainer.default_root_dir", str(root), "--cache", str(folder)]
    encoded = []
    plain = FrameCodec.latents
    monkeypatch.setattr(
        FrameCodec, "latents", lambda self, x: encoded.append(len(x)) or plain(self, x)
    )
    assert cli.main([*run, *options]) == 0
    # Only noisy contexts: of 4 training batches of 2 clips, and of the 2 validation clips in each
    # of 2 validations, where the guard asks for 4 kinds of actions at 3 noise levels more.
    assert sum(encoded) == 4 * 2 + 2 * 2 * (1 + 4 * 3)
    for name in ("train/loss", "val/loss", "guard/true", "guard/shuffled"):
        expected = losses(tmp_path / "pixels", name)
        assert len(expected) == (4 if name == "train/loss" else 2)
        assert losses(root, name) == pytest.approx(expected, rel=1e-4)
    assert len(set(losses(root, "train/loss"))) == 4


@pytest.mark.long
@pytest.mark.parametrize("noise_mean", [-3.0, None])
def test_clips_and_losses_of_float16(tmp_path, tiny_prior, spec, noise_mean):
    """Strides and longer windows come from the same rows; pixels only where noise is added."""
    model = WorldModel(SVD(str(tiny_prior), noise_mean=noise_mean), spec=spec, drop_image=0.5)
    model.configure_model()
    cache = LatentWriter(model.backbone, rooms(tmp_path)).write(tmp_path / "latents")
    assert ("pixels" in cache.index["tensors"]) == (noise_mean is not None)
    for window in (WINDOW, Window(context=2, horizon=2, stride=2, height=16, width=16)):
        data = rooms(tmp_path, window)
        expected = batch(data)
        data.cache = Opened(tmp_path / "latents", model.backbone)
        found = batch(data)
        assert found.name == expected.name
        assert torch.equal(found.actions, expected.actions)
        assert found.encodings.latents.shape == (4, 1 + window.horizon, 4, 8, 8)
        if noise_mean is None:
            assert found.frames.shape == (4, 0, 3, 16, 16)
        else:
            k = window.context
            assert torch.equal(found.frames, expected.frames[:, k - 1 : k])
        for level in (None, 0.1, 20.0):
            pair = [
                model.loss(clip, torch.Generator().manual_seed(5), level)[0].item()
                for clip in (expected, found)
            ]
            assert pair[1] == pytest.approx(pair[0], rel=2e-3)
            assert pair[1] != pair[0]
    clip = next(iter(data.test_dataloader()))
    assert clip.frames.shape[1] == 4
    assert not clip.is_cached


def test_a_prior_whose_image_encoder_trains(tmp_path, tiny_prior):
    """The encoder is asked itself, so its answers are not kept and pixels are."""
    model = VideoPrior(SVD(str(tiny_prior), noise_mean=None), drop_image=0.0)
    model.configure_model()
    cache = LatentWriter(model.backbone, rooms(tmp_path), "float32").write(tmp_path / "latents")
    assert set(cache.index["tensors"]) == {"latents", "pixels"}
    data = rooms(tmp_path)
    pixels = batch(data)
    data.cache = Opened(tmp_path / "latents", model.backbone)
    found = []
    for clip in (pixels, batch(data)):
        torch.manual_seed(3)
        loss = model.loss(clip)[0]
        loss.backward()
        found.append((loss.item(), model.backbone.image_encoder.visual_projection.weight.grad))
        model.zero_grad()
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert found[0][1].abs().max() > 0
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-6)
    model.next_frame = 0.5
    with pytest.raises(ValueError, match=r"set --model.next_frame 0"):
        model.loss(batch(data))


@pytest.mark.long
def test_shards_over_processes_and_going_on(tmp_path, backbone, monkeypatch, caplog):
    """Two processes write their own shards; what is missing, torn or foreign is written anew."""
    data, folder = rooms(tmp_path), tmp_path / "latents"
    whole = LatentWriter(backbone, data).write(tmp_path / "whole")
    monkeypatch.setattr(caching, "SHARD", 5 * 1408)  # 5 frames of 24
    first = LatentWriter(backbone, data)
    assert (first.bytes_per_row, first.size) == (1408, 5)
    cache = first.write(folder, (2, 2))
    assert [cache.damaged(k) is None for k in range(5)] == [False, True, False, True, False]
    with pytest.raises(ValueError, match=r"00000.safetensors: is missing \(3 of 5 shards\)"):
        cache.check_whole()
    LatentWriter(backbone, data).write(folder, (1, 2))
    cache.check_whole()
    rows = [3, 4, 5, 9, 10, 11, 23, 0]  # neighbours, across shards, and not
    for name in ("latents", "image", "pixels"):
        assert torch.equal(cache.rows(name, rows), whole.rows(name, rows))
    before = {k: cache.shard(k).read_bytes() for k in range(5)}
    held = {k: {name: x.clone() for name, x in load_file(cache.shard(k)).items()} for k in range(5)}

    cache.shard(0).write_bytes(before[0][:-100])
    shutil.copy(whole.shard(0), cache.shard(1))
    cache.shard(2).write_bytes(before[2][:-1] + bytes([before[2][-1] ^ 1]))
    cache.shard(3).unlink()
    told = [cache.damaged(k) for k in range(5)]
    assert ["torn" in told[0].what, told[1].what] == [True, "belongs to another cache"]
    assert [told[2], told[3].what, told[4]] == [None, "is missing", None]
    assert cache.damaged(2, thorough=True).what == "was changed after it was written"
    untouched = cache.shard(4).stat().st_mtime_ns
    with caplog.at_level(logging.WARNING):
        LatentWriter(backbone, data).write(folder, thorough=True)
    assert caplog.text.count("writing it anew") == 3
    for k, tensors in held.items():
        again = load_file(cache.shard(k))
        assert again.keys() == tensors.keys()
        assert all(torch.equal(again[name], value) for name, value in tensors.items())
    assert cache.shard(4).stat().st_mtime_ns == untouched


def test_the_same_bytes_again(tmp_path, backbone, monkeypatch):
    """Another run writes the same files, so that copies of a cache can be compared by checksum."""
    monkeypatch.setattr(caching, "SHARD", 5 * 1408)  # 5 frames of 24
    found = []
    for name in ("one", "other"):
        LatentWriter(backbone, rooms(tmp_path)).write(tmp_path / name)
        paths = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        found.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in paths})
    assert len(found[0]) == 6  # the index and 5 shards
    assert found[0] == found[1]


def test_the_same_bytes_with_texts(tmp_path):
    """Three values beside the tensors have six orders."""
    tensors = {"embedding": torch.arange(6.0).reshape(2, 3), "mask": torch.ones(2, 3)}
    file, found = tmp_path / "texts.safetensors", set()
    for _ in range(20):
        save_shard(tensors, file, "key", texts='["", "links \u00e4"]')
        found.add(file.read_bytes())
    [data] = found
    header = int.from_bytes(data[:8], "little")
    assert (header % 8, len(data)) == (0, 8 + header + 2 * 6 * 4)
    assert damage(file, "key", thorough=True) is None
    with safe_open(file, "pt") as stream:
        assert stream.metadata()["texts"] == '["", "links \u00e4"]'
        assert torch.equal(stream.get_tensor("embedding"), tensors["embedding"])


def refused(recipe: Path, folder: Path, capsys, *options: str) -> str:
    """What `egowm fit` from a cache says before it stops."""
    assert cli.main(["fit", "-c", str(recipe), "--cache", str(folder), *options]) == 2
    said = capsys.readouterr().err
    assert "egowm data cache -c RECIPE" in said
    assert said.count("\negowm: ") + said.startswith("egowm: ") == 1
    return said


@pytest.mark.long
def test_what_does_not_fit_is_refused(recipe, tmp_path, tiny_prior, capsys):
    folder = tmp_path / "latents"
    assert "No latent cache in" in refused(recipe, folder, capsys)
    make = ["data", "cache", "-c", str(recipe), "--output", str(folder)]
    assert cli.main(make) == 0
    said = refused(recipe, folder, capsys, "--data.window.height", "32")
    assert "made with size [16, 16], the recipe has [32, 16]" in said
    said = refused(recipe, folder, capsys, "--data.episodes_train", "3")
    assert "of 8 frames, the cache has none of that name" in said
    said = refused(recipe, folder, capsys, "--data.disturbances.exposure", "0.5")
    assert "has other pictures than the cache was made of" in said

    other = shutil.copytree(tiny_prior, tmp_path / "prior")
    weights = load_file(other / "vae/diffusion_pytorch_model.safetensors")
    weights = {name: value * 1.01 for name, value in weights.items()}
    save_file(weights, other / "vae/diffusion_pytorch_model.safetensors")
    named = ["--model.backbone.pretrained", str(other)]
    assert "made with another vae: expected" in refused(recipe, folder, capsys, *named)
    assert cli.main([*make, *named]) == 2
    assert "holds another cache, which differs in made_by" in capsys.readouterr().err

    index = json.loads((folder / "cache.json").read_text())
    (folder / "cache.json").write_text(json.dumps(index | {"rows_per_shard": 7}))
    assert "was changed after it was written" in refused(recipe, folder, capsys)
    (folder / "cache.json").write_text(json.dumps(index | {"version": 0}))
    assert "expected a cache of version 1, got 0" in refused(recipe, folder, capsys)
    (folder / "cache.json").write_text(json.dumps(index))
    shard = folder / f"shards-{index['key']}/00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "is torn" in refused(recipe, folder, capsys)
    assert cli.main(make) == 0
    assert damage(shard, index["key"]) is None

    text = yaml.safe_load(recipe.read_text())
    text["model"]["init_args"]["backbone"]["init_args"]["noise_mean"] = None
    recipe.write_text(yaml.safe_dump(text))
    bare = tmp_path / "bare"
    assert cli.main([*make[:-1], str(bare)]) == 0
    said = refused(recipe, bare, capsys, "--model.backbone.noise_mean", "-3")
    assert "holds no pixels of the context" in said


def test_options_and_full_disks(recipe, tmp_path, backbone, capsys, monkeypatch):
    make = ["data", "cache", "-c", str(recipe), "--output", str(tmp_path / "latents")]
    for options, words in (
        (["--shard", "3/2"], "--shard: expected i/n such as 1/4"),
        (["--device", "abacus"], "expected a device such as cpu or cuda"),
        (["--batch_size", "0"], "expected a batch_size of at least 1"),
    ):
        assert cli.main([*make, *options]) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(ValueError, match=r"0.0 GB are needed and 0.0 GB are free"):
        LatentWriter(backbone, rooms(tmp_path)).write(tmp_path / "latents")
    monkeypatch.undo()
    plain = backbone.codec.latents
    monkeypatch.setattr(backbone.codec, "latents", lambda x: plain(x) * 1e9)
    with pytest.raises(ValueError, match=r"latents that torch.float16 cannot hold: choose --dtype"):
        LatentWriter(backbone, rooms(tmp_path))
