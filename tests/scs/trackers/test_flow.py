import cv2
import numpy as np
import pytest

from egowm.scs.score import clip_score, overlap
from egowm.scs.trackers.flow import FlowTracker


def texture(height, width, seed):
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip((smooth - smooth.mean()) * 4 + 128, 0, 255)


def translating(num_frames=6, size=64, speed=(2, 1), side=28):
    """A textured square over a textured background: frames, and its masks (T+1, 1, H, W)."""
    background, pattern = texture(size, size, 0), texture(side, side, 1) * [1.0, 0.6, 0.5]
    frames = np.tile(background, (num_frames, 1, 1, 1))
    masks = np.zeros((num_frames, 1, size, size), bool)
    for t in range(num_frames):
        left, top = 6 + speed[0] * t, 10 + speed[1] * t
        frames[t, top : top + side, left : left + side] = pattern
        masks[t, 0, top : top + side, left : left + side] = True
    return frames.astype(np.uint8), masks


def score(found, masks):
    return clip_score(overlap(found, masks).iou())


def test_follows_a_textured_square():
    frames, masks = translating()
    found = FlowTracker().track(frames, masks[0])
    assert score(found.masks, masks) > 85
    assert score(np.broadcast_to(masks[0], masks.shape), masks) < 70  # not followed
    assert (found.evidence > 0.8).all()
    np.testing.assert_array_equal(found.masks[0], masks[0])


def test_still_frames_change_nothing():
    frames, masks = translating(speed=(0, 0))
    found = FlowTracker().track(frames, masks[0])
    np.testing.assert_array_equal(found.masks, masks)
    np.testing.assert_array_equal(found.evidence, np.ones((6, 1)))


def test_evidence_is_lost_for_good_where_a_structure_is_replaced():
    frames, masks = translating()
    for t in (3, 4, 5):
        frames[t][masks[t, 0]] = [0, 255, 0]
    tracker = FlowTracker()
    found = tracker.track(frames, masks[0])
    assert (found.evidence[:3] > tracker.min_evidence).all()
    assert (found.evidence[3:] < tracker.min_evidence).all()
    assert found.evidence.dtype == np.float32


def test_objects_do_not_depend_on_each_other():
    frames, masks = translating()
    still = np.zeros((64, 64), bool)
    still[50:60, 2:12] = True
    both = FlowTracker().track(frames, np.stack([still, masks[0, 0]]))
    alone = FlowTracker().track(frames, masks[0])
    np.testing.assert_array_equal(both.masks[:, 1:], alone.masks)
    np.testing.assert_array_equal(both.evidence[:, 1:], alone.evidence)
    assert score(both.masks[:, :1], np.broadcast_to(still, (6, 1, 64, 64))) > 95


def test_a_structure_that_leaves_the_view_keeps_its_evidence():
    pattern = texture(64, 200, 3).astype(np.uint8)  # the whole view moves, as when turning
    frames = np.stack([pattern[:, 5 * t : 5 * t + 64] for t in range(12)])
    first = np.zeros((1, 64, 64), bool)
    first[0, 10:40, 4:34] = True
    found = FlowTracker().track(frames, first)
    assert not found.masks[-1].any()
    assert (found.evidence > 0.25).all()


def test_says_that_it_is_blind():
    assert "blind" in FlowTracker.warning


def test_small_frames_are_refused():
    with pytest.raises(ValueError, match="12 pixels"):
        FlowTracker().track(np.zeros((2, 8, 20, 3), np.uint8), np.ones((1, 8, 20), bool))
