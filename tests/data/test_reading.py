"""A batch's frames: the same as clip by clip, each file forwards, each frame once, no copy."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from egowm.actions import ActionSpec
from egowm.data import ClipData, Episode, Mixture, Window
from egowm.data import reading as reading_module
from egowm.data.reading import collate

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (2, 90, 12, 16, 3), np.uint8)


class Noise(ClipData):
    """Two episodes of 90 frames of noise; `asked` lists the frames of each read."""

    meaning = ActionSpec(("step",), ("1",), frame="joint", kind="command", rate_hz=6.0)
    asked: list[tuple[int, list[int]]]

    def episodes(self, split: str) -> list[Episode]:
        self.asked = []
        steps = np.arange(89, dtype=np.float32)[:, None]
        return [Episode(f"{split}_{k}", 90, self.reader(k), steps) for k in range(2)]

    def reader(self, number: int):
        def read(indices):
            self.asked.append((number, list(indices)))
            return FRAMES[number, list(indices)]

        return read


def starts(*places: tuple[int, int], span: int) -> list[int]:
    """Numbers of the windows that begin at these frames of these episodes."""
    return [number * (90 - span + 1) + start for number, start in places]


@pytest.mark.parametrize("stride", [1, 3])
def test_a_batch_is_its_clips(stride):
    window = Window(2, 3, stride, 6, 20)  # shrinks one way, grows the other
    data = Noise("", window)
    clips = data.windows("train", tiled=False)
    chosen = starts((1, 40), (0, 7), (1, 2), (0, 5), (0, 7), (1, 3), span=window.span)
    batch = collate(clips.__getitems__(chosen))
    alone = default_collate([clips[k] for k in chosen])
    pairs = [
        *zip(batch[:-1], alone[:-1], strict=True),
        *zip(batch.encodings, alone[-1], strict=True),
    ]
    for mine, other in pairs:
        assert torch.equal(mine, other) if torch.is_tensor(mine) else list(mine) == list(other)
    assert batch.frames.shape == (6, 5, 3, 6, 20)
    firsts = [name[6:] for name in batch.name]
    assert firsts == ["1_00040", "0_00007", "1_00002", "0_00005", "0_00007", "1_00003"]


def test_each_frame_is_read_once_and_forwards():
    data = Noise("", Window(1, 3, 2, 12, 16))
    clips = data.windows("train", tiled=False)
    clips.__getitems__(starts((1, 50), (0, 11), (1, 4), (0, 8), (0, 60), (1, 6), span=7))
    assert data.asked == [
        (0, [8, 10, 11, 12, 13, 14, 15, 17]),
        (0, [60, 62, 64, 66]),
        (1, [4, 6, 8, 10, 12]),
        (1, [50, 52, 54, 56]),
    ]


def test_what_is_read_at_once_is_bounded(monkeypatch):
    monkeypatch.setattr(reading_module, "MOST", 6)
    data = Noise("", Window(1, 3, 1, 12, 16))
    chosen = starts(*((0, k) for k in range(8)), span=4)
    clips = data.windows("train", tiled=False).__getitems__(chosen)
    assert [len(frames) for _, frames in data.asked] == [6, 6, 5]
    for start, clip in enumerate(clips):
        shown = clip.frames.numpy().transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(shown, FRAMES[0, start : start + 4])


def test_a_batch_is_put_together_without_a_copy():
    clips = Noise("", Window(1, 3, 1, 12, 16)).windows("train", tiled=False)
    read = clips.__getitems__([3, 100, 50])
    batch = collate(read)
    assert batch.frames.data_ptr() == read[0].frames.data_ptr()
    assert torch.equal(batch.frames, default_collate(read).frames)
    assert torch.equal(batch.frames[1:], collate(read[1:]).frames)
    for others in ([read[1], read[0]], [read[0], read[2]], [clips[3], clips[100]]):
        apart = collate(others)
        assert torch.equal(apart.frames, torch.stack([clip.frames for clip in others]))
        assert apart.frames.data_ptr() not in {clip.frames.data_ptr() for clip in others}


@pytest.mark.parametrize("mixed", [False, True])
def test_workers_read_into_memory_that_is_shared(mixed):
    data = Noise("", Window(1, 3, 1, 12, 16), batch_size=4)
    if mixed:
        data = Mixture({"a": data}, data.window, batch_size=4)
    clips = data.windows("train", tiled=False)
    order = [[170, 3, 4, 90], [20, 21, 22, 100]]
    loader = DataLoader(clips, batch_sampler=order, num_workers=1, collate_fn=collate)
    for batch, numbers in zip(loader, order, strict=True):
        assert batch.frames.is_shared()
        assert torch.equal(batch.frames, torch.stack([clips[k].frames for k in numbers]))
        assert list(batch.name) == [clips[k].name for k in numbers]


def test_a_mixed_batch_of_two_sources_is_read_too():
    window = Window(1, 3, 1, 12, 16)
    sources = {name: Noise("", window) for name in ("a", "b")}
    clips = Mixture(sources, window).windows("train", tiled=False)
    read = clips.__getitems__([175, 2, 173])
    assert [clip.name for clip in read] == ["b_train_0_00001", "a_train_0_00002", "a_train_1_00086"]
    np.testing.assert_array_equal(read[2].frames[:, 0], FRAMES[1, 86:90, ..., 0])
