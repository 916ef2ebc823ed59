"""The tracker by MooG's tokens: a moving square, by tokens that are assigned by hand."""

import numpy as np
import pytest
import torch

from egowm.network.off_grid import OffGrid
from egowm.off_grid import save
from egowm.scs.trackers import load_tracker
from egowm.scs.trackers.moog import MooGTracker, _moved, carry, gone_along, iou, labelled

SIZE = 16


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    network = OffGrid(
        SIZE, "off_grid", 3, 8, (1, 1, 1), (1, 1, 1), 4, 8, (4,), (2,), (2, 2), "paper"
    )
    save(network, tmp_path / "moog")
    return tmp_path / "moog"


def square(num_frames=4) -> np.ndarray:
    """Masks (T+1, 2, H, W): a square that moves 3 columns a frame, and one that stands."""
    masks = np.zeros((num_frames, 2, SIZE, SIZE), bool)
    for t in range(num_frames):
        masks[t, 0, 4:8, 3 * t : 3 * t + 4] = True
        masks[t, 1, 10:15, 2:7] = True
    return masks


def by_hand(masks: np.ndarray, sharp: float) -> np.ndarray:
    """Looks (T+1, P, 3): token 0 goes with the first square, 1 with the second, 2 with the rest."""
    rest = ~masks.any(1, keepdims=True)
    owner = np.concatenate([masks, rest], 1).reshape(len(masks), 3, -1)
    return (sharp * owner + (1 - sharp) / 3).swapaxes(1, 2).astype(np.float32)


@pytest.mark.parametrize("sharp", [1.0, 0.4])
def test_masks_go_where_their_tokens_look(folder, sharp, monkeypatch):
    masks = square()
    tracker = MooGTracker(folder)
    monkeypatch.setattr(tracker, "looks", lambda frames, every: by_hand(masks, sharp))
    frames = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    found = tracker.track(frames, masks[0])
    np.testing.assert_array_equal(found.masks, masks)
    np.testing.assert_allclose(found.evidence, 1)


def test_shares_of_a_structure_by_hand():
    """Three pixels, two tokens. The mask is the first pixel: token 0 gets 0.9 of its attention
    there and 0.2 + 0.1 elsewhere, token 1 0.1 there and 0.8 + 0.9 elsewhere."""
    looks = np.array([[[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1], [0.2, 0.8]]])
    shares, least, evidence = carry(looks, np.array([[1.0, 0.0, 0.0]]))
    owned = np.array([0.9 / 1.2, 0.1 / 1.8])
    np.testing.assert_allclose(shares[:, 0], looks @ owned)
    inside, outside = shares[0, 0, 0], shares[0, 0, 1:].mean()
    np.testing.assert_allclose(least, [(inside + outside) / 2])
    np.testing.assert_allclose(evidence, [[1], [1]])
    assert labelled(shares[1][:, None], least).tolist() == [[[False, True, False]]]


def test_a_structure_that_leaves_loses_its_evidence(folder):
    looks = by_hand(square(2), 1.0)
    looks[1, :, 2] += looks[1, :, 0]
    looks[1, :, 0] = 0  # nobody looks at the token of the first square
    _, _, evidence = carry(looks, square(1)[0].reshape(2, -1).astype(np.float32))
    np.testing.assert_allclose(evidence, [[1, 1], [0, 1]], atol=1e-6)
    assert MooGTracker(folder).min_evidence > 0


def test_tokens_that_tell_nothing_apart_give_no_evidence():
    looks = np.full((2, 4, 2), 0.5)
    _, _, evidence = carry(looks, np.array([[1.0, 1.0, 0.0, 0.0]]))
    assert evidence.tolist() == [[0], [0]]


def test_pixels_of_two_structures_go_to_the_stronger():
    shares = np.array([[[0.6, 0.3]], [[0.4, 0.35]]])
    found = labelled(shares, np.array([0.5, 0.1]))
    assert found.tolist() == [[[False, False]], [[True, True]]]


def test_looks_are_those_of_the_network_after_each_frame(folder):
    tracker = load_tracker("moog", weights=folder)
    frames = np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3), dtype=np.uint8)
    looks = tracker.looks(frames)
    assert looks.shape == (3, SIZE * SIZE, 3)
    np.testing.assert_allclose(looks.sum(-1), 1, rtol=1e-5)
    other = frames.copy()
    other[2] = 0
    changed = np.abs(tracker.looks(other) - looks).max((1, 2))
    assert changed[:2].tolist() == [0, 0]
    assert changed[2] > 1e-4
    wide = np.random.default_rng(1).integers(0, 255, (3, 24, 40, 3), dtype=np.uint8)
    masks = np.zeros((1, 24, 40), bool)
    masks[0, 4:12, 8:20] = True
    found = tracker.track(wide, masks)
    assert (found.masks.shape, found.evidence.shape) == ((3, 1, 24, 40), (3, 1))
    np.testing.assert_array_equal(found.masks[0], masks)
    assert tracker.options()["weights"] == tracker.sha256


def test_without_weights_it_says_what_to_give():
    with pytest.raises(ValueError, match="--tracker moog needs --tracker_weights"):
        load_tracker("moog")
    with pytest.raises(FileNotFoundError, match=r"nowhere/config\.json, found none"):
        load_tracker("moog", weights="nowhere")


# What it knows ------------------------------------------------------------------------------------


def picture() -> tuple[np.ndarray, np.ndarray]:
    """A frame (H, W, 3) with two squares of their own grey, and their masks (2, H, W)."""
    masks = np.zeros((2, SIZE, SIZE), bool)
    masks[0, 2:8, 5:11], masks[1, 9:15, 4:12] = True, True
    return (100 * masks[0] + 200 * masks[1]).astype(np.uint8)[..., None].repeat(3, -1), masks


def going(frames: np.ndarray, every: int = 1) -> np.ndarray:
    """Looks of tokens that go with the picture: of grey 100, of grey 200 and of the rest."""
    shown = frames[::every, ..., 0].reshape(len(frames[::every]), -1)
    owner = np.stack([shown == 100, shown == 200, shown == 0], -1)
    return owner.astype(np.float32)


def staying(frames: np.ndarray, every: int = 1) -> np.ndarray:
    """Looks of tokens that are bound to places: those of the first frame in all."""
    return np.repeat(going(frames[:1]), len(frames[::every]), 0)


def test_tokens_that_go_with_the_picture_know_it_and_those_that_stay_do_not(folder, monkeypatch):
    frame, masks = picture()
    tracker = MooGTracker(folder)
    monkeypatch.setattr(tracker, "looks", going)
    assert tracker.knows(frame, masks).tolist() == [1, 1]
    monkeypatch.setattr(tracker, "looks", staying)
    assert tracker.knows(frame, masks).tolist() == [0, 0]
    still = np.stack([frame] * 3)  # which is why they would seem to follow it forth and back
    np.testing.assert_array_equal(tracker.track(still, masks).masks, np.stack([masks] * 3))


def test_random_tokens_know_nothing(folder):
    frame, masks = picture()
    assert MooGTracker(folder).knows(frame, masks).max() < 0.5


def test_how_far_masks_went():
    """A square of 4 columns that was to go 2: IoU 1/3 where it stays, 3/5 after one of them."""
    row = np.zeros((1, 1, 12), bool)
    row[..., 2:6] = True
    there, half = (_moved(row[0], n, empty=True)[None] for n in (2, 1))
    assert [gone_along(row, there, x).item() for x in (row, there)] == [0, 1]
    assert gone_along(row, there, half).item() == pytest.approx((3 / 5 - 1 / 3) / (2 / 3))
    assert gone_along(row, there, ~there).item() == 0  # the wrong way is not less than nothing
    wide = np.ones((1, 1, 12), bool)
    assert gone_along(wide, wide, row).item() == 1  # cannot be told: judged in frame 0 alone
    assert iou(wide & False, wide & False).tolist() == [0]


def test_a_picture_that_moves_repeats_its_edge():
    row = np.arange(1, 5)[None]
    assert _moved(row, 2).tolist() == [[1, 1, 1, 2]]
    assert _moved(row, -1).tolist() == [[2, 3, 4, 4]]
    assert _moved(row, -1, empty=True).tolist() == [[2, 3, 4, 0]]
