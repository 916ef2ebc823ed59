import json
import logging
import shutil

import numpy as np
import pytest

from egowm.scs import score_folders
from egowm.scs.masks import resize_nearest, write_palette
from egowm.scs.trackers import Tracker, Tracks
from egowm.video import read_frames, write_frames, write_mp4


def score(world, tracker="palette", **options):
    return score_folders(world.pred, world.gt, world.annotations, tracker=tracker, **options)


class Blind(Tracker):
    """Repeats frame 0's masks and gives up after frame 2, unless every frame is alike."""

    name = "blind"
    min_evidence = 0.5

    def track(self, frames, masks):
        evidence = np.ones((len(frames), len(masks)), np.float32)
        if (frames[-1] != frames[0]).any():
            evidence[3:] = 0.2
        return Tracks(np.tile(masks, (len(frames), 1, 1, 1)), evidence)


def test_palette_gives_the_score_of_the_masks(world):
    result, want = score(world), world.expected()
    assert result.scs == pytest.approx(want.scs, abs=1e-9)
    found = result.prediction.summary
    assert found.scs_at[4] == pytest.approx(want.scs_at[4], abs=1e-9)
    assert found.coverage == pytest.approx(want.coverage, nan_ok=True)
    assert [clip.name for clip in result.clips] == ["clip0", "clip1", "clip2"]
    for clip in result.clips:
        assert clip.ids == (1, 2, 3)
        # Object 1 is predicted as it moves, object 2 at half its speed.
        by_hand = [10 * (10 - t) / (100 + 10 * t) for t in (1, 2, 3, 4)]
        np.testing.assert_allclose(clip.overlap.iou()[:2], [[1] * 4, by_hand])


def test_copy_row_is_the_first_mask_against_the_truth(world):
    result = score(world)
    square = [np.mean([(10 - s * t) / (10 + s * t) for t in (1, 2, 3, 4)]) for s in (0, 1, 2)]
    clips = [np.mean([square[1], square[2], square[k]]) for k in range(3)]
    assert result.copy.scs == pytest.approx(100 * np.mean(clips))


def test_truth_scores_100_and_is_the_ceiling(world):
    result = score(world, ceiling_codec=world.gt)
    assert result.ceiling_codec.scs == 100
    assert result.normalised == pytest.approx(
        (result.scs - result.copy.scs) / (100 - result.copy.scs)
    )
    assert score_folders(world.gt, world.gt, world.annotations, tracker="palette").scs == 100
    # A ceiling near the copy row says nothing.
    near = score(world, ceiling_codec=world.pred)
    assert abs(near.ceiling_codec.scs - near.copy.scs) < 50
    shutil.rmtree(world.pred)
    for name in world.truth:
        first = read_frames(world.gt / name)[:1]
        write_frames(world.pred / name, np.repeat(first, 5, axis=0))
    still = score(world, ceiling_codec=world.pred)
    assert still.scs == pytest.approx(still.copy.scs)
    assert still.normalised is None


def test_flow_scores_and_warns_once(world, caplog, monkeypatch):
    monkeypatch.setattr("egowm.scs.evaluate._WARNED", set())
    for _ in range(2):  # rows of one table
        result = score(world, "flow")
        assert 0 < result.scs <= 100
        assert "blind" in result.warning
    assert caplog.text.count("blind to structures that vanish") == 1


def test_frame_0_of_the_truth_is_used_for_both(world, caplog):
    want = score(world).scs
    for name in world.pred.iterdir():
        frames = read_frames(name)
        frames[0] = 128  # no hue could be read from it
        write_frames(name, frames)
    assert score(world).scs == want
    assert "frame 0 should be shared" in caplog.text
    assert "in 3 of 3 clips" in caplog.text


def test_a_shared_frame_0_gives_no_warning(world, caplog):
    score(world)
    assert not caplog.records


def test_frames_without_evidence_score_0_and_are_counted(world):
    for name in world.truth:
        still = read_frames(world.gt / name)[:1]
        write_frames(world.gt / name, np.repeat(still, 5, axis=0))
    result = score(world, Blind())
    assert result.clips[0].overlap.iou().tolist() == [[1, 1, 0, 0]] * 3
    assert result.scs == 50
    assert result.prediction.summary.num_lost == 3 * 3 * 2
    assert result.num_lost_truth == 0
    assert result.clips[0].samples[0].evidence[0] == pytest.approx([1, 1, 0.2, 0.2])
    # Where the truth has no evidence either, the prediction is not blamed.
    same = score_folders(world.pred, world.pred, world.annotations, tracker=Blind())
    assert (same.scs, same.prediction.summary.num_lost, same.num_lost_truth) == (100, 0, 18)


def test_oracle_and_saved_masks_need_no_annotations(world):
    want = world.expected().scs
    world.write_masks(world.root, inside="masks")
    exact = score_folders(world.pred, world.gt, tracker="oracle")
    world.write_masks(world.root / "saved")
    saved = score_folders(world.root / "saved/pred", world.root / "saved/gt", tracker="masks")
    assert exact.scs == saved.scs == pytest.approx(want)
    assert exact.copy.scs == saved.copy.scs == pytest.approx(score(world).copy.scs)
    assert exact.fingerprint != saved.fingerprint


def test_annotations_choose_the_ids_of_saved_masks(world):
    world.write_masks(world.root / "saved")
    for path in world.annotations.iterdir():
        write_palette(path, np.eye(64, dtype=np.uint8))  # only id 1, wherever it is
    result = score_folders(
        world.root / "saved/pred", world.root / "saved/gt", world.annotations, tracker="masks"
    )
    assert [clip.ids for clip in result.clips] == [(1,)] * 3
    assert result.scs == 100


def test_void_pixels_are_not_judged(world):
    for name, labels in world.truth.items():
        other = world.predicted[name] != labels
        labels[other] = 255
    world.write_masks(world.root / "saved")
    result = score_folders(world.root / "saved/pred", world.root / "saved/gt", tracker="masks")
    assert result.scs == 100


def test_masks_in_npz(world):
    ids = np.array([1, 2, 3])[:, None, None]
    for root, clips in (("pred", world.predicted), ("gt", world.truth)):
        (world.root / "npz" / root).mkdir(parents=True)
        for name, labels in clips.items():
            np.savez(world.root / "npz" / root / f"{name}.npz", masks=labels[:, None] == ids)
    result = score_folders(world.root / "npz/pred", world.root / "npz/gt", tracker="masks")
    assert result.scs == pytest.approx(world.expected().scs)


def test_video_files(world):
    """mp4 is lossy, but hue survives it."""
    for name in world.truth:
        write_mp4(world.root / "videos" / f"{name}.mp4", read_frames(world.pred / name), 4)
    result = score_folders(world.root / "videos", world.gt, world.annotations, tracker="palette")
    assert result.scs == pytest.approx(world.expected().scs, abs=12)


def test_annotation_of_another_size_is_resized_with_a_warning(world, caplog):
    want = score(world)
    for name, labels in world.truth.items():
        write_palette(world.annotations / f"{name}.png", resize_nearest(labels[0], 192, 192))
    found = score(world)
    assert found.scs == want.scs
    assert found.fingerprint == want.fingerprint
    assert "resized from 192x192 to 64x64" in caplog.text
    write_palette(world.annotations / "clip1.png", resize_nearest(world.truth["clip1"][0], 128, 64))
    with pytest.raises(ValueError, match=r"clip1\.png: the annotation is 64x128, .* another crop"):
        score(world)


def test_intervals_need_10_independent_clips(make_world):
    world = make_world(num_clips=12)
    result = score(world)
    low, high = result.prediction.ci95
    assert low < result.scs < high
    assert result.interval_text == f"[{low:.1f}, {high:.1f}] 95% over 12 clips"
    one = score(world, trajectories=dict.fromkeys(world.truth, "one"))
    assert one.prediction.ci95 is None
    assert one.interval_text == "no interval below 10 trajectories (1 here)"
    with pytest.raises(ValueError, match="11 clips have no trajectory: clip1, clip10"):
        score(world, trajectories={"clip0": "one"})


def test_errors_name_the_clip(world):
    write_palette(world.annotations / "clip1.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(ValueError, match=r"Clip clip1: .*clip1\.png: found no object"):
        score(world)
    (world.annotations / "clip1.png").unlink()
    (world.annotations / "clip2.png").unlink()
    with pytest.raises(FileNotFoundError, match="no annotation in 2 of 3 clips: clip1, clip2"):
        score(world)


def test_annotation_in_a_folder(world):
    want = score(world).scs
    for name in world.truth:
        (world.annotations / name).mkdir()
        (world.annotations / f"{name}.png").rename(world.annotations / name / "00000.png")
    assert score(world).scs == want


def test_trackers_of_ones_own_are_checked(world):
    class Wrong(Blind):
        name = "wrong"

        def track(self, frames, masks):
            return Tracks(super().track(frames, masks).masks[1:], np.ones((5, 3)))

    with pytest.raises(ValueError, match=r"Expected masks \(5, 3, 64, 64\) bool .* 'wrong'"):
        score(world, Wrong())


def test_json(world, tmp_path):
    result = score(world, ceiling_codec=world.gt)
    result.save(tmp_path / "scs.json")
    assert [path.name for path in tmp_path.glob("*scs.json*")] == ["scs.json"]
    found = json.loads((tmp_path / "scs.json").read_text())
    assert found == json.loads(result.to_json())
    names = "scs scs_davis scs_visible empty_shares scs_at iou_at coverage ci95 copy ceiling_codec"
    assert set(names.split()) < found.keys()
    assert {"normalised", "clips", "protocol", "environment", "fingerprint"} < found.keys()
    assert found["scs"] == pytest.approx(result.scs, abs=1e-4)
    assert found["scs_at"].keys() == {"2", "4", "8", "16"}
    assert found["scs_at"]["16"] is None
    assert found["ci95"] is None
    assert found["copy"]["scs"] == pytest.approx(result.copy.scs, abs=1e-4)
    assert found["protocol"]["tracker"]["options"]["tolerance"] == 10
    assert found["protocol"]["view"] == {"height": 64, "width": 64, "transform": "none"}
    ious = [[o["iou"] for o in clip["objects"]] for clip in found["clips"]]
    assert abs(np.mean(ious) - result.scs) < 1e-4


def test_json_has_null_where_both_masks_are_empty(world):
    for clips in (world.truth, world.predicted):
        for labels in clips.values():
            labels[3:][labels[3:] == 2] = 0
    world.write_masks(world.root / "saved")
    result = score_folders(world.root / "saved/pred", world.root / "saved/gt", tracker="masks")
    second = json.loads(result.to_json())["clips"][0]["objects"][1]
    assert second["iou"][2:] == [None, None]
    assert second["case"] == [3, 3, 0, 0]


def test_fingerprint_is_of_the_protocol(world):
    first = score(world)
    assert score(world).fingerprint == first.fingerprint
    assert len(first.fingerprint) == 64
    # Another model on the same clips: the same protocol.
    other = score_folders(world.gt, world.gt, world.annotations, tracker="palette")
    assert other.fingerprint == first.fingerprint
    found = {first.fingerprint, score(world, "flow").fingerprint}
    found.add(score(world, min_area=0.002).fingerprint)
    labels = world.truth["clip0"][0].copy()
    labels[labels == 3] = 0
    write_palette(world.annotations / "clip0.png", labels)
    found.add(score(world).fingerprint)
    shutil.rmtree(world.gt / "clip0")
    shutil.rmtree(world.pred / "clip0")
    found.add(score(world).fingerprint)
    assert len(found) == 5


def test_progress_bar_is_for_terminals_only(world, capsys):
    logging.getLogger("egowm").setLevel(logging.INFO)
    score(world, progress=True)
    assert capsys.readouterr().err == ""
