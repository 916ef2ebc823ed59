"""Doubtful structures, the tracker's ceiling, motion, and what is said beside the score."""

import numpy as np
import pytest

from egowm.scs import score_folders
from egowm.scs.clip_result import boundary_f, drift, geometry
from egowm.scs.result import Result, terciles
from egowm.scs.score import overlap
from egowm.scs.text import format_result, why_no_score
from egowm.scs.trackers import Tracker, Tracks
from egowm.scs.tracking import cycle_iou, last_seen, track_again


class Sliding(Tracker):
    """Moves object k by `speeds[k]` pixels a frame, in whatever direction it is asked to look."""

    name = "sliding"

    def __init__(self, speeds):
        self.speeds = speeds

    def track(self, frames, masks):
        found = [
            np.stack([np.roll(mask, speed * t, axis=1) for t in range(len(frames))])
            for mask, speed in zip(masks, self.speeds, strict=False)
        ]
        return Tracks(np.stack(found, axis=1), np.ones((len(frames), len(masks)), np.float32))


def squares(num=2, size=64):
    masks = np.zeros((num, size, size), bool)
    for k in range(num):
        masks[k, 4 + 16 * k : 14 + 16 * k, 10:20] = True
    return masks


def test_a_structure_that_does_not_return_is_doubtful():
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    tracker = Sliding((0, 1))
    tracks = tracker.track(frames, squares())
    # Back in time the second one slides on to the right: 8 pixels off after 4 + 4 steps.
    assert cycle_iou(Sliding((0, 1)), frames, tracks)[0] == 1
    alone = Sliding((1,))
    found = cycle_iou(alone, frames, alone.track(frames, squares(1)))
    assert found == pytest.approx([2 / 18])


def test_doubt_ends_where_a_structure_first_leaves():
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    masks = np.repeat(squares()[None], 5, axis=0)
    masks[2:, 1] = False
    tracks = Tracks(masks, np.ones((5, 2), np.float32))
    assert last_seen(Sliding((0, 0)), tracks).tolist() == [4, 1]
    assert cycle_iou(Sliding((0, 0)), frames, tracks).tolist() == [1, 1]
    masks[1:, 1] = False
    assert np.isnan(cycle_iou(Sliding((0, 0)), frames, tracks)[1])


def test_doubtful_structures_are_left_out_and_listed(world):
    class Half(Sliding):
        def __init__(self):
            super().__init__((0, 0, 5))

        def track(self, frames, masks):  # alone, the third slides, too
            speeds = self.speeds if len(masks) == 3 else (5,) if masks[0, 40].any() else (0, 0)
            return Sliding(speeds).track(frames, masks)

    tracker = Half()
    found = score_folders(world.gt, world.gt, world.annotations, tracker=tracker)
    assert all(len(clip.ids) + len(clip.doubtful) == 3 for clip in found.clips)
    assert found.protocol["doubtful"]["iou_below"] == 0.5


class Knowing(Sliding):
    """Follows nothing, and says how well it knows each structure."""

    name = "knowing"

    def __init__(self, known):
        super().__init__((0, 0, 0))
        self.known = known

    def knows(self, frame, masks):
        return np.array(self.known)


def test_structures_that_are_not_known_are_left_out(world):
    found = score_folders(world.gt, world.gt, world.annotations, tracker=Knowing((1, 0.5, 0.49)))
    assert [clip.ids for clip in found.clips] == [(1, 2)] * 3
    (lost,) = found.clips[0].doubtful
    assert (lost.id, lost.known) == (3, 0.49)
    assert np.isnan(lost.cycle_iou)
    assert np.isnan(lost.motion)
    told = found.record()["clips"][0]["doubtful"]
    assert told == [{"id": 3, "cycle_iou": None, "known": 0.49, "motion": None}]
    assert found.scs == 100
    text = format_result(found)
    assert "left out: 3 structures that the tracker loses in the truth (motion -); 3 of" in text


def test_a_tracker_that_knows_few_structures_gives_no_score(world, tmp_path):
    """It would be 100 for the one that it knows, which does not move."""
    found = score_folders(
        world.gt, world.gt, world.annotations, tracker=Knowing((1, 0.2, 0.2)), ceiling_tracker=True
    )
    assert np.isnan(found.scs)
    assert np.isnan(found.copy.scs)
    assert found.ceiling_tracker is None
    assert all(clip.ids == () and np.isnan(clip.score()) for clip in found.clips)
    assert why_no_score(found).startswith(
        "the tracker knowing does not know most structures in frame 0 (6 structures of 3 clips), "
    )
    found.save(tmp_path / "scs.json")
    record = Result.load(tmp_path / "scs.json")
    assert (record["scs"], record["doubtful"]) == (None, 6)


def test_nothing_is_tracked_where_nothing_is_known(world):
    class Resting(Knowing):
        def track(self, frames, masks):
            raise AssertionError("tracked")

    found = score_folders(world.gt, world.gt, world.annotations, tracker=Resting((0, 0, 0)))
    assert np.isnan(found.scs)
    assert "(9 structures of 3 clips)" in why_no_score(found)


@pytest.mark.parametrize("known", [(1, 1), (1, 1, 1.5), (1, 1, np.nan)])
def test_a_tracker_that_says_nonsense_of_what_it_knows(world, known):
    with pytest.raises(ValueError, match=r"Expected 3 numbers in \[0, 1\] from `knows`"):
        score_folders(world.gt, world.gt, world.annotations, tracker=Knowing(known))


def test_the_ceiling_of_a_tracker():
    frames, still = np.zeros((6, 64, 64, 3), np.uint8), Sliding((0, 0))
    tracks = still.track(frames, squares())
    assert np.nanmean(track_again(still, frames, tracks).iou()) == 1
    lost = Tracks(np.zeros_like(tracks.masks), tracks.evidence)
    assert track_again(still, frames, lost) is None
    assert track_again(still, frames, tracks).pred.shape == (2, 4)  # not 0, not the middle


def test_terciles_by_motion():
    motion = np.array([5.0, 1.0, 9.0, np.nan, 3.0, 7.0, 8.0])
    groups = terciles(motion, motion * 2)
    assert [sorted(motion[g].tolist()) for g, _ in groups] == [[1, 3], [5, 7], [8, 9]]
    assert [means for _, means in groups] == [[4.0], [12.0], [17.0]]
    assert terciles(motion[:2], motion[:2]) == []


@pytest.mark.parametrize(("speed", "direction", "travel"), [(4, 1, 1), (2, 1, 0.5), (-4, -1, 1)])
def test_direction_and_distance(speed, direction, travel):
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    target = Sliding((4,)).track(frames, squares(1)).masks
    pred = Sliding((speed,)).track(frames, squares(1)).masks
    found = geometry(pred, target, overlap(pred, target))
    assert found.direction[0].tolist() == pytest.approx([direction] * 2)
    assert found.travel[0].tolist() == pytest.approx([travel] * 2)
    by_hand = [abs(4 - speed) * t * 100 / np.hypot(64, 64) for t in (1, 2)]
    assert found.centroid_error[0].tolist() == pytest.approx(by_hand)


def test_outlines_and_drift():
    mask = squares(1)[0]
    assert boundary_f(mask, mask) == 1
    assert boundary_f(mask, np.roll(mask, 1, axis=1)) == 1  # 0.8% of the diagonal: one pixel
    assert boundary_f(mask, np.roll(mask, 30, axis=1)) == 0
    assert drift(np.array([[1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.0, np.nan]])) == 100
