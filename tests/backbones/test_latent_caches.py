"""Latent caches of every family: one row for each window, and the loss that pixels give."""

import numpy as np
import pytest
import torch

from egowm.actions import ActionSpec
from egowm.data.episode import Episode
from egowm.data.mixture import Mixture
from egowm.data.module import ClipData, Window
from egowm.training.latents.callback import Opened
from egowm.training.latents.writer import LatentWriter

NAMES = ("dx", "dy", "dyaw")


class Noise(ClipData):
    """Episodes of random frames: `root` seeds them, and says how many frames each has."""

    meaning = ActionSpec(NAMES, ("m", "m", "rad"), frame="body", kind="se2", rate_hz=4.0)

    def episodes(self, split: str) -> list[Episode]:
        return [] if split == "test" else [self._episode(split, k) for k in range(2)]

    def _episode(self, split: str, number: int) -> Episode:
        length = int(self.root)
        draw = np.random.default_rng([length, number, len(split)])
        frames = draw.integers(0, 256, (length, 40, 40, 3), np.uint8)
        actions = draw.uniform(-0.1, 0.1, (length - 1, 3)).astype(np.float32)
        read = lambda indices: frames[list(indices)]  # noqa: E731 - stays in this process
        text = ("turn left", "")[number] if split == "train" else ""
        return Episode(f"{split}{number}", length, read, actions, text=text)


def clips(data: ClipData) -> list:
    """The first batch of training, and all of validation."""
    return [next(iter(data.train_dataloader())), *data.val_dataloader()]


@pytest.fixture
def told(model):
    """A backbone that knows the text of the episodes without an encoder."""
    if model.backbone.codec.texts:
        known = model.backbone.codec.texts([""], torch.device("cpu"))
        model.backbone.codec.texts.remember("turn left", known[0][0] + 0.5, known[1][0])
    return model.backbone


@pytest.mark.long
def test_the_loss_is_that_of_pixels(family, model, told, tmp_path):
    """With generators (validation: Predict2 and LTX draw the context) and without."""
    if not told.codec.frame_wise:
        assert told.codec.needs_pixels is False
    height, width = family.size
    data = Noise("22", Window(1, family.horizon, 1, height, width), batch_size=2)
    cache = LatentWriter(told, data, "float32").write(tmp_path / "latents", batch_size=3)
    span = data.window.span
    rows = {row["name"]: row["rows"] for row in cache.index["episodes"]}
    tiled = 22 if told.codec.frame_wise else 22 // span
    every = 22 if told.codec.frame_wise else 22 - span + 1
    assert rows == {"train0": every, "train1": every, "val0": tiled, "val1": tiled}
    pixels = clips(data)
    if told.codec.texts:
        told.codec.texts.held.clear()  # the cache brings them
    data.cache = Opened(tmp_path / "latents", told)
    cached = clips(data)
    assert len(cached) == len(pixels) >= 2
    for clip, other in zip(cached, pixels, strict=True):
        assert clip.name == other.name
        assert clip.text == other.text
        for generator in (False, True):
            found = []
            for one in (other, clip):
                torch.manual_seed(7)
                drawn = torch.Generator().manual_seed(7) if generator else None
                found.append(model.loss(one, drawn)[0].item())
            assert found[1] == pytest.approx(found[0], rel=1e-4)
            assert found[0] > 1e-3


@pytest.mark.parametrize("family", ["svd", "predict2"], indirect=True)
def test_no_encoder_comes_to_the_card_for_what_is_known(family, model, told, tmp_path, monkeypatch):
    """Unless the context's pixels are encoded anew."""
    visits, ready = [], told.codec.ready
    monkeypatch.setattr(told.codec, "ready", lambda: visits.append(1) or ready())
    data = Noise("22", Window(1, family.horizon, 1, *family.size), batch_size=2)
    model.loss(clips(data)[0])
    assert visits == [1]
    LatentWriter(told, data).write(tmp_path / "latents")
    data.cache = Opened(tmp_path / "latents", told)
    clip = clips(data)[0]
    visits.clear()
    model.loss(clip)
    assert visits == [1] * told.codec.needs_pixels


@pytest.mark.parametrize("family", ["wan2.2"], indirect=True)
def test_missing_windows_are_named(model, family, told, tmp_path):
    size, folder = family.size, tmp_path / "latents"
    LatentWriter(told, Noise("22", Window(1, 8, 1, *size))).write(folder)

    def refused(data: ClipData, words: str) -> None:
        data.cache = Opened(folder, told)
        with pytest.raises(ValueError, match=words):
            data.train_dataloader()

    refused(Noise("22", Window(1, 4, 1, *size)), r"window \[1, 8, 1\], the recipe has \[1, 4, 1\]")
    refused(Noise("23", Window(1, 8, 1, *size)), "expected episode Noise train0 of 23 frames")
    both = {"here": Noise("22", Window(1, 8, 1, *size))}
    refused(Mixture(both, Window(1, 8, 1, *size)), "expected episode here train0")
    data = Noise("22", Window(1, 8, 1, *size))
    data.cache = Opened(folder, told)
    data.windows = lambda name, tiled: type(data).windows(data, "val", False)
    with pytest.raises(ValueError, match=r"the window at frame 1 of episode val0 is not in the"):
        data.train_dataloader()


@pytest.mark.parametrize("family", ["predict2"], indirect=True)
def test_a_mixture_is_cached_source_by_source(model, family, told, tmp_path):
    window = Window(1, 8, 1, *family.size)
    sources = {"one": Noise("20", window), "two": Noise("22", window)}
    data = Mixture(sources, window, batch_size=2)
    cache = LatentWriter(told, data).write(tmp_path / "latents")
    assert {(row["source"], row["name"]) for row in cache.index["episodes"]} == {
        (source, f"{split}{k}")
        for source in sources
        for split in ("train", "val")
        for k in range(2)
    }
    pixels = clips(data)
    data.cache = Opened(tmp_path / "latents", told)
    for clip, other in zip(clips(data), pixels, strict=True):
        assert clip.name == other.name
        expected = told.codec.latents(other.scaled(1)[0])
        torch.testing.assert_close(clip.encodings.latents.float(), expected, rtol=1e-3, atol=1e-3)
