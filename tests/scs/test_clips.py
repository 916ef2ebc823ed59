import shutil
from collections import Counter

import numpy as np
import pytest

from egowm.scs import clips, score_folders
from egowm.scs.clips import find_clips, read_shape
from egowm.scs.inputs import check_match
from egowm.scs.masks import write_palette
from egowm.video import read_frames, write_frames, write_mp4


def frames(count=3, size=(16, 16)):
    return np.zeros((count, *size, 3), np.uint8)


def shapes(root):
    return {name: read_shape(path) for name, path in find_clips(root).items()}


def test_clips_are_found_at_any_depth(tmp_path):
    write_frames(tmp_path / "b", frames())
    write_frames(tmp_path / "traj" / "0_16", frames())
    write_frames(tmp_path / "b" / "masks", frames())  # inside a clip: none itself
    write_mp4(tmp_path / "a.v2.mp4", frames(), 4)
    write_frames(tmp_path / ".hidden", frames())
    (tmp_path / "clips.json").write_text("{}")
    found = find_clips(tmp_path)
    assert list(found) == ["a.v2", "b", "traj/0_16"]
    assert found["a.v2"].name == "a.v2.mp4"


def test_shape_of_a_folder_and_of_a_video(tmp_path):
    write_frames(tmp_path / "a", frames(12, (48, 64)))
    write_mp4(tmp_path / "b.mp4", frames(5, (48, 64)), 4)
    a, b = shapes(tmp_path).values()
    assert (a.num_frames, a.numbers, a.sizes) == (12, tuple(range(12)), {(48, 64)})
    assert (b.num_frames, b.numbers, b.sizes) == (5, None, {(48, 64)})


def test_the_shape_of_a_video_costs_one_frame(tmp_path, monkeypatch):
    write_mp4(tmp_path / "b.mp4", frames(9, (48, 64)), 4)
    decoded = []

    def read(path, indices=None):
        found = read_frames(path, indices)
        decoded.append(len(found))
        return found

    monkeypatch.setattr(clips, "read_frames", read)
    assert read_shape(tmp_path / "b.mp4").num_frames == 9
    assert decoded == [1]


@pytest.mark.long
@pytest.mark.parametrize("tracker", ["palette", "flow"])
@pytest.mark.parametrize("suffix", ["", ".mp4"])
def test_a_score_decodes_each_video_once(make_world, tmp_path, monkeypatch, suffix, tracker):
    """Also with both ceilings, and with structures annotated anew on the way."""
    world, codec, later = make_world(num_frames=6), tmp_path / "codec", tmp_path / "later"
    for name, labels in world.truth.items():
        write_palette(later / name / "00003.png", labels[3])
        write_frames(codec / name, read_frames(world.gt / name))
        for folder in (world.gt, world.pred, codec) if suffix else ():
            write_mp4(folder / f"{name}.mp4", read_frames(folder / name), 4)
            shutil.rmtree(folder / name)
    decoded = Counter()

    def read(path, indices=None):
        decoded[path] += indices is None
        return read_frames(path, indices)

    monkeypatch.setattr(clips, "read_frames", read)
    found = score_folders(
        world.pred, world.gt, world.annotations, tracker=tracker, ceiling_codec=codec,
        ceiling_tracker=True, reanchor=later,
    )  # fmt: skip
    assert found.reanchored is not None
    assert found.ceiling_tracker is not None
    names = [f"{name}{suffix}" for name in world.truth]
    assert decoded == dict.fromkeys(
        (f / n for f in (world.gt, world.pred, codec) for n in names), 1
    )


def test_numbers_come_in_natural_order(tmp_path):
    folder = tmp_path / "a"
    write_frames(folder, frames(11))
    for k in range(11):
        (folder / f"{k:05d}.png").rename(folder / f"v2_f_{k + 1}.png")
    assert read_shape(folder).numbers == tuple(range(1, 12))


def test_a_video_matches_a_folder(tmp_path):
    write_frames(tmp_path / "gt" / "a", frames(3, (64, 64)))
    (tmp_path / "pred").mkdir()
    write_mp4(tmp_path / "pred" / "a.mp4", frames(3, (64, 64)), 4)
    check_match(shapes(tmp_path / "gt"), shapes(tmp_path / "pred"), ("gt", "pred"))


def test_every_difference_is_listed(tmp_path):
    gt, pred = tmp_path / "gt", tmp_path / "pred"
    for name in ("same", "lost", "short", "small", "later"):
        write_frames(gt / name, frames())
    for name in ("same", "extra"):
        write_frames(pred / name, frames())
    write_frames(pred / "short", frames(2))
    write_frames(pred / "small", frames(3, (16, 12)))
    write_frames(pred / "later", frames(4))
    (pred / "later" / "00000.png").unlink()
    with pytest.raises(ValueError, match="pred does not match gt") as error:
        check_match(shapes(gt), shapes(pred), ("gt", "pred"))
    assert str(error.value) == (
        "pred does not match gt: later has frames 0, 1, 2 in gt, 1, 2, 3 in pred; "
        "only in gt: lost; only in pred: extra; "
        "short has 3 frames in gt, 2 in pred (not in both: 2); "
        "small is 16x16 in gt, 12x16 in pred"
    )


def test_gaps_single_frames_and_mixed_sizes_are_refused(tmp_path):
    for root in ("gt", "pred"):
        write_frames(tmp_path / root / "gap", frames(5))
        (tmp_path / root / "gap" / "00002.png").unlink()
        write_frames(tmp_path / root / "one", frames(1))
        write_frames(tmp_path / root / "wide", frames(3, (16, 20)))
    with pytest.raises(ValueError, match="does not match") as error:
        check_match(shapes(tmp_path / "gt"), shapes(tmp_path / "pred"), ("gt", "pred"))
    assert "gap lacks frames 2 in gt" in str(error.value)
    assert "one has one frame" in str(error.value)
    assert "several sizes: 16x16 and 20x16" in str(error.value)


def test_long_lists_are_cut(tmp_path):
    write_frames(tmp_path / "a", frames(2))
    one = read_shape(tmp_path / "a")
    with pytest.raises(ValueError, match=r"clip09, \.\.\. \(30\)"):
        check_match({f"clip{k:02d}": one for k in range(30)}, {}, ("gt", "pred"))


def test_folders_without_clips_are_refused(tmp_path):
    with pytest.raises(ValueError, match="found no clip"):
        find_clips(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_clips(tmp_path / "none")
    write_frames(tmp_path / "a", frames())
    with pytest.raises(ValueError, match="holds pictures itself"):
        find_clips(tmp_path / "a")
    write_mp4(tmp_path / "a.mp4", frames(), 4)
    with pytest.raises(ValueError, match="'a' is there twice"):
        find_clips(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a readable picture"):
        read_shape(tmp_path / "b")
