import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_jaccard_index

from egowm.scs import scs
from egowm.scs.score import Case, Overlap, clip_score, overlap, summarise


def square(row, column, side=8, size=32):
    mask = np.zeros((size, size), bool)
    mask[row : row + side, column : column + side] = True
    return mask


def shifting(shifts, side=8, size=32):
    """One square that moves to the right: (T+1, 1, H, W)."""
    return np.stack([square(4, 4 + shift, side, size) for shift in shifts])[:, None]


def random_masks(rng, num_frames=5, num_objects=3, size=12):
    masks = rng.random((num_frames, num_objects, size, size)) < 0.3
    masks &= rng.random((num_frames, num_objects, 1, 1)) < 0.7  # some are empty
    return masks


def test_score_of_the_right_masks_is_100():
    target = shifting([0, 1, 2, 3])
    assert scs(target, target) == 100


def test_copy_of_a_shifting_square_by_hand():
    # Side 8, shifted by d: intersection 8 (8 - d), union 64 + 8 d.
    copy, target = shifting([0, 0, 0, 0, 0]), shifting([0, 2, 4, 6, 8])
    by_hand = 100 * np.mean([48 / 80, 32 / 96, 16 / 112, 0.0])
    assert scs(copy, target) == pytest.approx(by_hand, abs=1e-12)


def test_frame_0_is_not_scored():
    target = shifting([0, 1, 2])
    pred = target.copy()
    pred[0] = ~pred[0]
    assert scs(pred, target) == 100


def test_empty_masks_in_all_four_cases():
    empty, full = np.zeros((32, 32), bool), square(4, 4)
    pred = np.stack([full, empty, empty, full, full])[:, None]
    target = np.stack([full, empty, full, empty, full])[:, None]
    found = overlap(pred, target)
    four = [Case.BOTH_EMPTY, Case.PRED_EMPTY, Case.TARGET_EMPTY, Case.BOTH_PRESENT]
    assert found.case[0].tolist() == four
    np.testing.assert_array_equal(found.iou()[0], [np.nan, 0, 0, 1])
    np.testing.assert_array_equal(found.iou("davis")[0], [1, 0, 0, 1])
    np.testing.assert_array_equal(found.iou("visible")[0], [np.nan, 0, np.nan, 1])
    assert scs(pred, target) == pytest.approx(100 / 3)
    assert scs(pred, target, empty="davis") == 50
    assert scs(pred, target, empty="visible") == 50
    assert summarise([found]).empty_shares == (0.25, 0.25, 0.25, 0.25)


@pytest.mark.parametrize("side", [2, 3])  # of a 64 x 64 frame 4.096 pixels are 0.1%
def test_min_area_on_both_sides(side):
    large, small = square(4, 4, size=64), square(4, 4, side, size=64)
    frames = np.stack([large, small])[:, None]
    other = np.stack([large, large])[:, None]
    both, pred, target = overlap(frames, frames), overlap(frames, other), overlap(other, frames)
    if side == 2:
        assert both.case.item() == Case.BOTH_EMPTY
        assert pred.case.item() == Case.PRED_EMPTY
        assert target.case.item() == Case.TARGET_EMPTY
        assert (pred.iou(), target.iou()) == (0, 0)
        assert np.isnan(both.iou())
        assert both.covered.item() == 0
    else:
        assert both.case.item() == pred.case.item() == target.case.item() == Case.BOTH_PRESENT
        assert pred.iou() == target.iou() == 9 / 64
        assert both.covered.item() == 9


def test_iou_agrees_with_torchmetrics():
    rng = np.random.default_rng(0)
    pred, target = rng.random((2, 6, 3, 20, 20)) < 0.5
    found = overlap(pred, target).iou()
    for k in range(3):
        for t in range(5):
            theirs = binary_jaccard_index(
                torch.from_numpy(pred[t + 1, k]).int(), torch.from_numpy(target[t + 1, k]).int()
            )
            assert found[k, t] == pytest.approx(theirs.item(), abs=1e-6)


def test_torch_masks_are_accepted():
    pred, target = shifting([0, 0, 0]), shifting([0, 2, 4])
    assert scs(torch.from_numpy(pred), torch.from_numpy(target)) == scs(pred, target)


def test_lost_frames_score_0_even_if_both_are_empty():
    masks = np.concatenate([shifting([0, 1]), np.zeros((1, 1, 32, 32), bool)])
    lost = np.array([[False], [True], [True]])
    assert scs(masks, masks) == 100
    assert overlap(masks, masks, lost=lost).iou()[0].tolist() == [0, 0]
    assert summarise([overlap(masks, masks, lost=lost)]).num_lost == 2


def test_average_is_frame_then_object_then_clip():
    frames, gone = shifting([0, 0, 0]), np.zeros((3, 1, 32, 32), bool)
    seldom = np.concatenate([frames[:2], gone[:1]])  # one frame only
    target = np.concatenate([frames, seldom, gone], axis=1)  # the third object is never there
    pred = np.concatenate([frames, gone, gone], axis=1)
    assert scs(pred, target) == 50  # objects 100 and 0; object 3 has no frame
    one = overlap(pred, target)
    other = overlap(frames, frames)
    found = summarise([one, other])
    assert found.scs == 75
    assert found.pooled == 80  # five frames, of which four are right
    assert found.object_counts == {1: 1, 2: 1}
    np.testing.assert_array_equal(found.clip_scs, [50, 100])


def test_horizons():
    target = shifting([0] * 9)
    pred = target.copy()
    pred[3] = False  # frame 3
    pred[8] = False
    found = summarise([overlap(pred, target)])
    assert found.scs_at[2] == 100
    assert found.scs_at[4] == 75
    assert found.scs_at[8] == 75
    assert np.isnan(found.scs_at[16])  # the clip is too short
    assert [found.iou_at[k] for k in (2, 4, 8)] == [100, 100, 0]
    assert found.coverage[2] == 64 / 1024


def test_coverage_counts_overlapping_structures_once():
    masks = np.concatenate([shifting([0, 0, 0]), shifting([0, 4, 4])], axis=1)
    assert summarise([overlap(masks, masks)]).coverage[2] == 96 / 1024


def test_nothing_to_judge_is_nan():
    empty = np.zeros((3, 2, 8, 8), bool)
    found = summarise([overlap(empty, empty)])
    assert np.isnan([scs(empty, empty), found.scs, found.scs_visible, found.pooled]).all()
    assert found.scs_davis == 100
    assert np.isnan(summarise([]).scs)


@pytest.mark.parametrize(
    ("pred", "target", "message"),
    [
        (np.zeros((3, 1, 8, 8)), np.zeros((3, 1, 8, 8)), "bool"),
        (np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), bool), r"\(T\+1, O, H, W\)"),
        (np.zeros((3, 1, 8, 8), bool), np.zeros((4, 1, 8, 8), bool), "one shape"),
        (np.zeros((1, 1, 8, 8), bool), np.zeros((1, 1, 8, 8), bool), "at least 2 frames"),
        (np.zeros((2, 0, 8, 8), bool), np.zeros((2, 0, 8, 8), bool), "1 object"),
    ],
)
def test_wrong_masks_are_refused(pred, target, message):
    with pytest.raises(ValueError, match=message):
        scs(pred, target)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), num_objects=st.integers(1, 4), num_frames=st.integers(2, 6))
def test_properties(seed, num_objects, num_frames):
    rng = np.random.default_rng(seed)
    pred, target = (random_masks(rng, num_frames, num_objects) for _ in range(2))
    found = overlap(pred, target)
    iou = found.iou()
    np.testing.assert_array_equal(iou, overlap(target, pred).iou())
    defined = iou[~np.isnan(iou)]
    assert ((defined >= 0) & (defined <= 1)).all()
    value = clip_score(iou)
    assert np.isnan(value) == (defined.size == 0)
    same = clip_score(overlap(target, target).iou())
    assert np.isnan(same) or same == 100
    order = rng.permutation(num_objects)
    assert scs(pred[:, order], target[:, order]) == pytest.approx(value, nan_ok=True)
    assert scs(pred, target, empty="davis") >= (0 if np.isnan(value) else value) - 1e-9
    shares = summarise([found]).empty_shares
    assert sum(shares) == pytest.approx(1)


def test_overlap_is_what_the_masks_say():
    """Every count against a plain loop over pixels."""
    rng = np.random.default_rng(3)
    pred, target = (random_masks(rng) for _ in range(2))
    found = overlap(pred, target, min_area=0)
    assert isinstance(found, Overlap)
    for k in range(3):
        for t in range(4):
            pairs = list(zip(pred[t + 1, k].ravel(), target[t + 1, k].ravel(), strict=True))
            assert found.intersection[k, t] == sum(p and q for p, q in pairs)
            assert found.pred[k, t] == sum(p for p, _ in pairs)
            assert found.target[k, t] == sum(q for _, q in pairs)
