"""Texts: each is embedded once, and what a folder without an encoder knows."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from egowm.backbones.texts import EMPTY, Texts

CPU = torch.device("cpu")


def lengths(texts: list[str]) -> tuple[Tensor, Tensor]:
    """The embedding of a text is its length, of as many tokens as it has letters."""
    sizes = torch.tensor([len(text) for text in texts])
    mask = torch.arange(8) < sizes[:, None]
    return (sizes[:, None, None] * torch.ones(1, 8, 2)).half(), mask.long()


@pytest.fixture
def asked() -> list[list[str]]:
    return []


@pytest.fixture
def texts(tmp_path, asked) -> Texts:
    """Of a folder with an encoder; `asked` lists what it was called with."""
    (tmp_path / "text_encoder").mkdir()

    def embed(folder: Path, new: list[str]) -> tuple[Tensor, Tensor]:
        assert folder == tmp_path
        assert not torch.is_grad_enabled()
        asked.append(new)
        return lengths(new)

    return Texts(tmp_path, embed)


def test_each_text_is_embedded_once(texts, asked):
    embedding, mask = texts(["left", "go", "left", ""], CPU)
    assert embedding.shape == (4, 8, 2)
    assert embedding[:, 0, 0].tolist() == [4.0, 2.0, 4.0, 0.0]
    assert mask.sum(1).tolist() == [4.0, 2.0, 4.0, 0.0]
    assert embedding.dtype == mask.dtype == torch.float32
    assert asked == [["left", "go", ""]]
    found = texts(["", "right", "go"], CPU)[0]
    assert found[:, 0, 0].tolist() == [0.0, 5.0, 2.0]
    assert asked == [["left", "go", ""], ["right"]]
    texts(["left"], CPU)
    assert len(asked) == 2


def test_the_encoder_is_never_on_the_card(tmp_path):
    """What it says goes to the card, it itself does not; and it leaves when it has spoken."""
    import weakref

    (tmp_path / "text_encoder").mkdir()
    seen = []

    def embed(folder: Path, new: list[str]) -> tuple[Tensor, Tensor]:
        encoder = torch.nn.Embedding(4, 2)
        seen.append((encoder.weight.device.type, weakref.ref(encoder)))
        return encoder(torch.zeros(len(new), 3, dtype=torch.long)), torch.ones(len(new), 3)

    texts = Texts(tmp_path, embed)
    embedding, mask = texts(["left", ""], torch.device("meta"))
    assert (embedding.device.type, mask.device.type) == ("meta", "meta")
    [(device, encoder)] = seen
    assert device == "cpu"
    assert encoder() is None
    assert {e.device.type for pair in texts.held.values() for e in pair} == {"cpu"}


def write_empty(folder: Path) -> None:
    save_file({"embedding": torch.full((3, 2), 7.0), "mask": torch.ones(3)}, folder / EMPTY)


def test_a_folder_may_bring_the_empty_text(tmp_path):
    write_empty(tmp_path)
    texts = Texts(tmp_path, lambda folder, new: pytest.fail("there is no encoder"))
    embedding, mask = texts(["", ""], CPU)
    assert torch.equal(embedding, torch.full((2, 3, 2), 7.0))
    assert torch.equal(mask, torch.ones(2, 3))
    (tmp_path / EMPTY).unlink()
    assert torch.equal(texts([""], CPU)[0], embedding[:1])  # it was read once


def test_the_file_goes_before_the_encoder(texts, asked, tmp_path):
    write_empty(tmp_path)
    assert texts([""], CPU)[0].unique().tolist() == [7.0]
    assert asked == []


def test_what_is_remembered_goes_before_the_file(tmp_path):
    """An export brings the embedding that it was trained with."""
    write_empty(tmp_path)
    texts = Texts(tmp_path, lengths)
    texts.remember("", torch.full((3, 2), 4, dtype=torch.float16), torch.ones(3).bool())
    texts.remember("turn", torch.full((3, 2), 9.0), torch.ones(3))
    embedding, mask = texts(["turn", ""], CPU)
    assert embedding[:, 0, 0].tolist() == [9.0, 4.0]
    assert embedding.dtype == mask.dtype == torch.float32


@pytest.mark.parametrize(("given", "named"), [(["", "go"], "'go'"), ([""], "''")])
def test_a_text_that_nobody_can_embed_is_refused(given, named, tmp_path):
    if named == "'go'":
        write_empty(tmp_path)
    texts = Texts(tmp_path, lengths)
    words = f"{tmp_path} has no text encoder and knows no text {named}: leave text out, or add"
    with pytest.raises(ValueError) as caught:
        texts(given, CPU)
    assert str(caught.value).startswith(words)
