"""The folders that users have all give the score of the plain ones."""

import json

import numpy as np
import pytest
from PIL import Image

from egowm.scs import score_folders
from egowm.scs.clips import find_videos
from egowm.scs.run_lengths import decode, encode
from egowm.video import read_frames, write_frames


def score(world, pred=None, gt=None, **options):
    options = {"annotations": world.annotations, "tracker": "palette"} | options
    return score_folders(pred or world.pred, gt or world.gt, **options)


def number(folder, frames, first=1):
    """Write frames as f_1.png ... without leading zeros, so that names sort otherwise."""
    folder.mkdir(parents=True)
    for k, frame in enumerate(frames, first):
        Image.fromarray(frame).save(folder / f"f_{k}.png")


@pytest.mark.long
def test_the_announced_layout_with_frame_0_apart_at_another_size(make_world, caplog):
    world = make_world(num_frames=12)
    root, want = world.root / "test", score(world)
    for k, name in enumerate(world.truth):
        clip = root / "traj" / f"{16 * k}_{16 * k + 16}"
        truth = read_frames(world.gt / name)
        number(clip / "GT" / "frames", truth[1:])
        number(clip / "pred" / "frames", read_frames(world.pred / name)[1:])
        large = truth[0].repeat(3, axis=0).repeat(3, axis=1)
        Image.fromarray(large).save(clip / f"f_{16 * k}.png")
        (world.annotations / "traj").mkdir(exist_ok=True)
        drawn = world.annotations / f"{name}.png"
        drawn.rename(world.annotations / "traj" / f"{clip.name}.png")
    found = score(world, root, root)
    assert [clip.name for clip in found.clips] == ["traj/0_16", "traj/16_32", "traj/32_48"]
    assert [clip.trajectory for clip in found.clips] == ["traj"] * 3
    assert found.scs == pytest.approx(want.scs)
    assert found.protocol["view"]["transform"] == "frame 0 apart, stretched to the frames"
    assert found.fingerprint != want.fingerprint
    assert found.num_units == 1
    (root / "traj" / "0_16" / "pred" / "frames" / "f_11.png").unlink()
    with pytest.raises(ValueError, match=r"traj/0_16 has 12 frames in .*, 11 in .*\(not in both"):
        score(world, root, root)


@pytest.mark.long
def test_frames_0_in_a_folder_of_their_own(world):
    """As NWM writes its pictures: id_<n>/<i>.png, none of which is shared."""
    want, first = score(world), world.root / "first"
    first.mkdir()
    for k, name in enumerate(world.truth):
        for half in ("gt", "pred"):
            frames = read_frames(world.root / half / name)
            folder = world.root / "nwm" / half / f"id_{k}"
            folder.mkdir(parents=True)
            for t, frame in enumerate(frames[1:]):
                Image.fromarray(frame).save(folder / f"{t}.png")
        Image.fromarray(read_frames(world.gt / name)[0]).save(first / f"id_{k}.png")
        (world.annotations / f"{name}.png").rename(world.annotations / f"id_{k}.png")
    nwm = world.root / "nwm"
    found = score(world, nwm / "pred", nwm / "gt", first=first)
    assert found.scs == pytest.approx(want.scs)
    (first / "id_1.png").unlink()
    with pytest.raises(FileNotFoundError, match="no first frame in 1 of 3 clips: id_1"):
        score(world, nwm / "pred", nwm / "gt", first=first)


@pytest.mark.long
def test_samples_are_averaged_inside_the_clip(world):
    many, want = world.root / "many", []
    for name in world.truth:
        write_frames(many / name / "a", read_frames(world.pred / name))
        write_frames(many / name / "b", read_frames(world.gt / name))
    found = score(world, many)
    want = [(clip.score() + 100) / 2 for clip in score(world).clips]
    np.testing.assert_allclose([clip.score() for clip in found.clips], want)
    assert found.scs == pytest.approx(np.mean(want))
    record = json.loads(found.to_json())["clips"][0]
    assert record["num_samples"] == 2
    assert record["samples"][1]["scs"] == 100
    assert record["objects"][1]["iou"][0] == pytest.approx((100 * 90 / 110 + 100) / 2, abs=1e-3)
    (many / "clip1" / "b" / "00000.png").unlink()
    with pytest.raises(ValueError, match=r"clip1/b has|clip1 has|clip1/b"):
        score(world, many)
    for path in (many / "clip1" / "b").iterdir():
        path.unlink()
    (many / "clip1" / "b").rmdir()
    with pytest.raises(ValueError, match=r"same number of samples .* 1 for clip1 and 2 for clip"):
        score(world, many)


def test_masks_as_sav_and_as_run_lengths(world):
    want = world.expected().scs
    for half, clips in (("pred", world.predicted), ("gt", world.truth)):
        for name, labels in clips.items():
            for k in (1, 2, 3):
                folder = world.root / "sav" / half / name / f"{k:03d}"
                folder.mkdir(parents=True)
                for t, frame in enumerate(labels):
                    Image.fromarray((frame == k).astype(np.uint8)).save(folder / f"{t:05d}.png")
            rows = [[encode(frame == k) for k in (1, 2, 3)] for frame in labels]
            tracks = [{"id": k, "segmentations": [r[k - 1] for r in rows]} for k in (1, 2, 3)]
            for kind, record in (("sa", {"masklet": rows, "masklet_id": [1, 2, 3]}),
                                 ("yt", {"annotations": tracks})):  # fmt: skip
                file = world.root / kind / half / f"{name}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(record))
    for kind in ("sav", "sa", "yt"):
        found = score_folders(world.root / kind / "pred", world.root / kind / "gt", tracker="masks")
        assert found.scs == pytest.approx(want)
        assert found.clips[0].ids == (1, 2, 3)


def test_run_lengths_in_the_text_of_coco():
    # By hand: 4 columns of 3; the runs 2, 3, 1, 6 are written as 2, 3, 1 and 6 - 3: from the fourth
    # on as the difference from the one two before.
    def text(value):
        digits = ""
        while True:
            low, value = value & 31, value >> 5
            done = (value == 0 and not low & 16) or (value == -1 and low & 16)
            digits += chr(48 + (low if done else low | 32))
            if done:
                return digits

    code = "".join(map(text, (2, 3, 1, 3)))
    mask = decode({"size": [3, 4], "counts": code})
    assert mask.T.ravel().astype(int).tolist() == [0, 0, 1, 1, 1, 0] + [1] * 6
    rng = np.random.default_rng(0)
    for size in ((1, 1), (5, 9), (40, 30)):
        mask = rng.random(size) < 0.5
        plain = encode(mask)
        np.testing.assert_array_equal(decode(plain), mask)
        runs = plain["counts"]
        steps = [n - runs[k - 2] if k > 2 else n for k, n in enumerate(runs)]
        again = decode({"size": list(size), "counts": "".join(map(text, steps))})
        np.testing.assert_array_equal(again, mask)
    with pytest.raises(ValueError, match="add up to 4x3"):
        decode({"size": [3, 4], "counts": [5, 5]})


def test_half_an_announced_clip_is_refused(tmp_path):
    number(tmp_path / "a" / "0_2" / "GT" / "frames", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_videos(tmp_path, "pred")
