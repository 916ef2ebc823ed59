"""Wrappers of a codec: each does one thing differently, and a memo computes each result once."""

import pytest
import torch
from torch import Tensor

from egowm.backbones.codec import Codec
from egowm.backbones.codec_wrappers import Cached, Memo, Remembered, Wrapped
from egowm.clip import Encodings

BUILT_ON_OTHERS = {"encode", "encoders", "frozen", "num_latents"}


def pictures(*levels: int) -> Tensor:
    """(N, 3, 2, 2) of these 8-bit levels, in [-1, 1]."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, 2, 2) / 127.5 - 1


class Encoder:
    """Twice the level, (N, 1, 2, 2); counts."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, batch: Tensor) -> Tensor:
        level = ((batch[:, :1] + 1) * 127.5).round()
        self.seen.append(level[:, 0, 0, 0].int().tolist())
        return 2 * level


def answers(memo: Memo, encoder: Encoder, *levels: int) -> list[int]:
    found = memo(pictures(*levels), encoder)
    assert found.shape == (len(levels), 1, 2, 2)
    return found[:, 0, 0, 0].int().tolist()


def test_each_picture_is_encoded_once():
    memo, encoder = Memo(10), Encoder()
    assert answers(memo, encoder, 5, 9, 5, 255) == [10, 18, 10, 510]
    assert [sorted(batch) for batch in encoder.seen] == [[5, 9, 255]]
    assert answers(memo, encoder, 255, 0, 9) == [510, 0, 18]
    assert encoder.seen[1:] == [[0]]
    assert answers(memo, encoder, 0, 5) == [0, 10]
    assert len(encoder.seen) == 2


def test_what_else_counts_is_told_apart():
    memo, encoder = Memo(4), Encoder()
    for number in (1, 2, 1):
        memo(pictures(5), encoder, number)
    assert encoder.seen == [[5], [5]]


def test_the_oldest_leave_first():
    memo, encoder = Memo(2), Encoder()
    for level in (1, 2, 3):
        answers(memo, encoder, level)
    answers(memo, encoder, 3, 2)
    assert encoder.seen == [[1], [2], [3]]
    answers(memo, encoder, 1)
    assert encoder.seen[3:] == [[1]]
    assert len(memo.held) == 2


def test_a_batch_that_does_not_fit_is_answered_all_the_same():
    memo, encoder = Memo(2), Encoder()
    assert answers(memo, encoder, 1, 2, 3, 4, 1) == [2, 4, 6, 8, 2]
    assert len(memo.held) == 2
    assert answers(memo, encoder, 4, 1, 3) == [8, 2, 6]


def test_levels_of_8_bits_are_told_apart():
    """And what is closer is the same picture: frames come from files."""
    memo, encoder = Memo(500), Encoder()
    assert answers(memo, encoder, *range(256)) == [2 * level for level in range(256)]
    assert sum(map(len, encoder.seen)) == 256
    memo(pictures(7) + 1e-3, encoder)
    assert len(encoder.seen) == 1


def test_a_place_within_the_picture_counts():
    memo, batch = Memo(4), pictures(0, 0).clone()
    batch[0, 0, 0, 0], batch[1, 0, 0, 1] = 1.0, 1.0
    assert torch.equal(memo(batch, lambda x: x), batch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_result_keeps_its_dtype(dtype):
    """On the first call and on the second."""
    memo, batch = Memo(4), pictures(3, 4).to(dtype)
    first, second = (memo(batch, lambda x: 2 * x) for _ in range(2))
    assert first.dtype == second.dtype == dtype
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", sorted({n for n in vars(Codec) if n[0] != "_"} - BUILT_ON_OTHERS))
def test_a_wrapper_passes_every_method_on(name):
    """A method that a wrapper lacked would be that of the base class, not of the codec inside."""
    assert name in vars(Wrapped)


class Levels(Codec):
    """Latents are the mean of a frame's pixels, (B, t, 1, 1, 1), of every second frame."""

    def __init__(self) -> None:
        super().__init__("levels")
        self.temporal_stride, self.calls = 2, 0

    def latents(self, frames: Tensor) -> Tensor:
        self.calls += 1
        return frames[:, ::2].mean((2, 3, 4), keepdim=True)

    def scale(self, latents: Tensor) -> Tensor:
        return 10 * latents

    def decode(self, latents: Tensor) -> Tensor:
        return latents.repeat_interleave(2, 1)


def video(*levels: int) -> Tensor:
    return pictures(*levels)[None]


def test_wrapped_latents_are_scaled_by_the_codec_inside():
    codec = Levels()
    plain = codec.encode(video(0, 0, 255))
    assert plain.flatten().tolist() == pytest.approx([-10, 10])
    remembered = Remembered(codec, 2)
    for _ in range(3):
        assert torch.equal(remembered.encode(video(0, 0, 255)), plain)
    assert codec.calls == 2
    held = Encodings(latents=torch.tensor([-1.0, 1.0])[None, :, None, None, None].half())
    cached = Cached(remembered, held)
    unseen = torch.full((1, 3, 3, 2, 2), torch.nan)
    assert torch.equal(cached.encode(unseen), plain)
    (first,) = cached.context(unseen[:, :1], 3)
    assert first.flatten().tolist() == [-1.0]
    assert (codec.calls, cached.family, cached.temporal_stride) == (2, "levels", 2)
    assert cached.fresh is codec


def test_a_memo_keeps_the_type_of_the_pictures():
    """What autocast made in bfloat16 is met again where there is no autocast."""
    memo = Memo(10)
    made = memo(pictures(5, 9), lambda batch: batch[:, :1].bfloat16())
    assert made.dtype == torch.float32
    assert memo(pictures(9), lambda batch: batch[:, :1]).dtype == torch.float32
