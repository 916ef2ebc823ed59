import colorsys

import cv2
import numpy as np
import pytest

from egowm.scs.score import clip_score, overlap
from egowm.scs.trackers.palette import PaletteTracker


def scene(hues, num_frames=4, size=64, saturation=0.7):
    """Stripes of the hues, moving by 2 pixels a frame, on grey; frames and masks (T+1, O, H, W)."""
    shade = np.linspace(0.4, 0.95, size)[:, None, None]
    frames = np.tile(shade * np.array([110, 105, 100]), (num_frames, 1, size, 1))
    masks = np.zeros((num_frames, len(hues), size, size), bool)
    for t in range(num_frames):
        for k, hue in enumerate(hues):
            masks[t, k, 8:56, 2 + 12 * k + 2 * t : 12 + 12 * k + 2 * t] = True
            colour = np.array(colorsys.hsv_to_rgb(hue / 360, saturation, 1)) * 255
            frames[t] = np.where(masks[t, k][..., None], shade * colour, frames[t])
    return frames.round().astype(np.uint8), masks


@pytest.mark.parametrize("hues", [(0, 20, 40, 60), (350, 10, 180, 200), (359.5, 19.5, 100, 300)])
def test_exact_on_clean_frames(hues):
    frames, masks = scene(hues)
    found = PaletteTracker().track(frames, masks[0])
    np.testing.assert_array_equal(found.masks, masks)
    assert found.evidence.shape == (4, 4)
    assert (found.evidence == 1).all()


def test_a_structure_that_leaves_is_empty_and_one_that_returns_is_found():
    frames, masks = scene((0, 120), num_frames=5)
    gone = masks[2, 1]
    frames[2][gone] = 128
    found = PaletteTracker().track(frames, masks[0]).masks
    assert not found[2, 1].any()
    np.testing.assert_array_equal(found[3:], masks[3:])


def test_other_structures_20_degrees_away_are_not_taken():
    frames, masks = scene((100, 120, 140))
    found = PaletteTracker().track(frames, masks[0, 1:2]).masks
    np.testing.assert_array_equal(found, masks[:, 1:2])


@pytest.mark.parametrize(("sigma", "least"), [(0.7, 98), (1.0, 82), (1.5, 86)])
def test_under_blur(sigma, least):
    """Where a blurred edge mixes colour and grey, half the saturation is where the edge was."""
    frames, masks = scene((0, 40, 80, 120))
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])
    blurred[0] = frames[0]
    found = PaletteTracker().track(blurred, masks[0]).masks
    assert clip_score(overlap(found, masks).iou()) > least


def test_a_mixture_of_two_hues_is_not_a_third_object():
    """Hues 0 and 80 side by side, blurred: the seam has the hue of the object at 40 degrees."""
    frames, masks = scene((0, 40, 80))
    left, right = masks[0, 0], masks[0, 2]
    on_the_left = (np.arange(frames.shape[2]) < 32)[:, None]
    frames[1:] = np.where(on_the_left, frames[0][left][0], frames[0][right][0])
    frames[1:] = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in frames[1:]])
    found = PaletteTracker().track(frames, masks[0]).masks
    assert not found[1:, 1].any()
    assert found[1:, 0, :, :31].all()
    assert found[1:, 2, :, 33:].all()


def test_hue_is_robust_to_a_careless_mask():
    """A third of the annotated pixels belong to something else."""
    frames, masks = scene((355, 100))
    careless = masks[0].copy()
    careless[0, 8:56, 14:19] = True  # pixels of object 2
    careless[1, :, 14:19] = False
    found = PaletteTracker().track(frames, careless).masks
    np.testing.assert_array_equal(found, masks)


def test_nearest_hue_wins():
    frames, masks = scene((100, 115))
    found = PaletteTracker(tolerance=14).track(frames, masks[0]).masks
    np.testing.assert_array_equal(found, masks)


def test_nearly_equal_hues_are_refused():
    frames, masks = scene((355, 100, 2))
    message = r"Objects 1 and 3 .* nearly the same hue, 355 and 2 degrees"
    with pytest.raises(ValueError, match=message):
        PaletteTracker().track(frames, masks[0])


def test_grey_and_empty_objects_are_refused():
    frames, masks = scene((0, 100), saturation=0.1)
    with pytest.raises(ValueError, match=r"Object 1 .* no hue to follow: 0% of its pixels"):
        PaletteTracker().track(frames, masks[0])
    masks[0, 1] = False
    with pytest.raises(ValueError, match=r"masks of \[2\] .* are empty"):
        PaletteTracker().track(frames, masks[0])


def test_wrong_input_is_refused():
    frames, masks = scene((0, 100))
    with pytest.raises(ValueError, match="uint8"):
        PaletteTracker().track(frames / 255, masks[0])
    with pytest.raises(ValueError, match=r"Expected masks \(O, 64, 64\) bool"):
        PaletteTracker().track(frames, masks[0, :, 1:])
    with pytest.raises(ValueError, match="tolerance"):
        PaletteTracker(tolerance=0)
