import numpy as np
import pytest

from egowm.commands.scs.main import main
from egowm.scs import score_folders
from egowm.scs.cache import CachedTracker
from egowm.scs.trackers.flow import FlowTracker
from egowm.scs.trackers.palette import PaletteTracker
from egowm.shares import items_of, share_of


class Counting(PaletteTracker):
    """Counts how often it is asked."""

    calls = 0

    def track(self, frames, masks):
        self.calls += 1
        return super().track(frames, masks)


def test_nothing_is_tracked_twice(world, tmp_path):
    """Three true videos, and one prediction, which is the same for all clips."""
    tracker, cache = Counting(), tmp_path / "cache"
    first, again = (
        score_folders(world.pred, world.gt, world.annotations, tracker=tracker, cache=cache)
        for _ in range(2)
    )
    assert tracker.calls == 4
    assert again.to_json() == first.to_json()
    plain = score_folders(world.pred, world.gt, world.annotations, tracker=PaletteTracker())
    assert plain.to_json() == first.to_json()
    file = next(cache.rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:50])  # a damaged file is made again
    score_folders(world.pred, world.gt, world.annotations, tracker=tracker, cache=cache)
    assert tracker.calls == 5
    assert not list(cache.rglob(".*"))


def test_what_is_missing_is_tracked_together(tmp_path):
    """Four videos of which one is known and two are alike: one call, for two videos."""
    asked = []

    class Together(PaletteTracker):
        def track_many(self, videos, masks):
            asked.append(len(videos))
            return super().track_many(videos, masks)

        def environment(self):
            return {"device": "here"}

    frames = np.zeros((4, 3, 16, 16, 3), np.uint8)
    frames[..., 0] = np.array([200, 210, 220, 220])[:, None, None, None]
    masks = [np.ones((1, 16, 16), bool)] * 4
    cached = CachedTracker(Together(), tmp_path)
    cached.track(frames[1], masks[1])
    found = cached.track_many(list(frames), masks)
    assert asked == [1, 2]
    assert len(list(tmp_path.rglob("*.npz"))) == 3
    for tracks in found:
        np.testing.assert_array_equal(tracks.masks, np.ones((3, 1, 16, 16), bool))
    assert cached.environment() == {"device": "here"}


def test_the_key_is_of_frames_masks_tracker_and_options(tmp_path):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    masks = np.ones((1, 16, 16), bool)
    other, fewer = frames.copy(), masks.copy()
    other[2, 0, 0, 0], fewer[0, 0, 0] = 1, False
    trackers = [PaletteTracker(), PaletteTracker(tolerance=9), FlowTracker()]
    keys = {CachedTracker(t, tmp_path).key(frames, masks) for t in trackers}
    palette = CachedTracker(trackers[0], tmp_path)
    keys |= {palette.key(other, masks), palette.key(frames, fewer), palette.key(frames[:2], masks)}
    assert len(keys) == 6
    assert palette.key(frames, masks) in keys


def test_shards_fill_the_cache(world, tmp_path, capsys):
    folders = [str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
    argv = ["score", *folders, "--tracker", "palette", "--cache", str(tmp_path / "cache")]
    for part in ("1/2", "2/2"):
        assert main([*argv, "--shard", part]) == 0
    assert "shard 2/2: 1 clip is tracked" in capsys.readouterr().out
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 4
    assert main(argv) == 0
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 4
    assert main([*argv, "--shard", "3/2"]) == 2
    assert "expected i/n such as 1/4" in capsys.readouterr().err
    assert main([*argv, "--shard", "1/2", "--json", str(tmp_path / "a.json")]) == 2
    assert "only fills a cache" in capsys.readouterr().err


def test_shards_are_a_partition():
    names = list("abcdefg")
    assert sorted(name for k in (1, 2, 3) for name in items_of(share_of(f"{k}/3"), names)) == names
    for text in ("0/3", "4/3", "1", "a/b", "1/0", ""):
        with pytest.raises(ValueError, match="expected i/n"):
            share_of(text)


def test_what_a_tracker_knows_is_kept(tmp_path):
    class Knowing(Counting):
        asked = 0

        def knows(self, frame, masks):
            self.asked += 1
            return np.linspace(0, 1, len(masks), dtype=np.float32)

    frame, masks = np.zeros((8, 8, 3), np.uint8), np.ones((3, 8, 8), bool)
    for _ in range(2):
        tracker = Knowing()
        cached = CachedTracker(tracker, tmp_path / "knowing")
        for _ in range(2):
            assert cached.knows(frame, masks).tolist() == [0, 0.5, 1]
        assert cached.knows(frame + 1, masks[:1]).tolist() == [0]
    assert tracker.asked == 0
    other = CachedTracker(Counting(), tmp_path / "other")
    assert other.knows(frame, masks).tolist() == [1, 1, 1]
    assert list((tmp_path / "other").iterdir()) == []  # it need not be kept
