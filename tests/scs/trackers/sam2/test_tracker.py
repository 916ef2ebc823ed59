import json

import numpy as np
import pytest

from egowm.commands.scs.main import main
from egowm.scs import score_folders
from egowm.scs.masks import write_palette
from egowm.scs.trackers.sam2 import Sam2Tracker
from egowm.video import write_frames

from .conftest import make_masks, make_video

SIZE = (96, 160)


@pytest.fixture(scope="module")
def tracker(folder):
    return Sam2Tracker(folder, device="cpu")


@pytest.fixture(autouse=True)
def every_structure(monkeypatch):
    """Random weights follow nothing there and back: the doubtful rule would leave nothing over."""
    monkeypatch.setattr("egowm.scs.tracking.MIN_CYCLE", 0.0)


@pytest.fixture
def clips(tmp_path):
    """`pred`, `gt` and `annotations` of two clips of three structures."""
    ids = make_masks(3) * np.array([1, 2, 3], np.uint8)[:, None, None]
    for k in range(2):
        write_frames(tmp_path / "gt" / f"clip{k}", make_video(4, k, first=k))
        write_frames(tmp_path / "pred" / f"clip{k}", make_video(4, 10 + k, first=k))
        write_palette(tmp_path / "annotations" / f"clip{k}.png", ids.max(0))
    return tmp_path


def score(clips, tracker, pred="pred", **options):
    return score_folders(
        clips / pred, clips / "gt", clips / "annotations", tracker=tracker, **options
    )


def arguments(clips, *more):
    folders = [clips / "pred", clips / "gt", "--annotations", clips / "annotations"]
    return ["score", *map(str, folders), "--tracker", "sam2", *map(str, more)]


@pytest.mark.long
def test_masks_and_evidence(tracker):
    video, masks = make_video(6), make_masks(3)
    tracks = tracker.track(video, masks)
    assert tracks.masks.shape == (6, 3, *SIZE)
    np.testing.assert_array_equal(tracks.masks[0], masks)
    assert tracks.evidence.dtype == np.float32
    assert (tracks.evidence[0] == 10).all()
    assert tracks.evidence[1:].std() > 0
    with pytest.raises(ValueError, match=r"Expected frames \(T\+1, H, W, 3\) uint8"):
        tracker.track(video[0], masks)


@pytest.mark.long
def test_order_of_objects_changes_nothing(tracker):
    video, masks = make_video(6), make_masks(4)
    order = [2, 0, 3, 1]
    tracks, other = tracker.track(video, masks), tracker.track(video, masks[order])
    assert (tracks.masks[:, order] == other.masks).mean() > 0.9999
    np.testing.assert_allclose(tracks.evidence[:, order], other.evidence, atol=1e-3)


@pytest.mark.long
def test_many_equal_single_ones_whatever_their_lengths(tracker):
    videos = [make_video(5, 0), make_video(7, 1), make_video(5, 2)]
    masks = [make_masks(2), make_masks(3), make_masks(1)]
    for found, video, some in zip(tracker.track_many(videos, masks), videos, masks, strict=True):
        alone = tracker.track(video, some)
        assert found.masks.shape == alone.masks.shape
        assert (found.masks == alone.masks).mean() > 0.9999
        np.testing.assert_allclose(found.evidence, alone.evidence, atol=1e-3)


def test_native_gives_the_same_masks(tracker, checkpoint):
    native = Sam2Tracker(checkpoint, "native", device="cpu")
    video, masks = make_video(8), make_masks(3)
    found, other = tracker.track(video, masks), native.track(video, masks)
    assert (found.masks & other.masks).sum() / (found.masks | other.masks).sum() >= 0.999
    np.testing.assert_allclose(found.evidence, other.evidence, atol=1e-3)
    assert native.options() == tracker.options()
    assert native.environment() != tracker.environment()


def test_truth_scores_100(clips, tracker):
    result = score(clips, tracker, pred="gt", ceiling_codec=clips / "gt")
    assert result.scs >= 99.9
    assert result.ceiling_codec.scs >= 99.9
    assert 10 < score(clips, tracker).scs < 99


@pytest.mark.long
def test_score_is_that_of_one_video_after_the_other(clips, tracker):
    class OneByOne(Sam2Tracker):
        def track_many(self, videos, masks):
            pairs = zip(videos, masks, strict=True)
            return [Sam2Tracker.track_many(self, [v], [m])[0] for v, m in pairs]

    single = object.__new__(OneByOne)
    single.__dict__ = tracker.__dict__
    result, want = score(clips, tracker), score(clips, single)
    assert result.scs == pytest.approx(want.scs, abs=0.01)
    assert result.fingerprint == want.fingerprint


@pytest.mark.long
def test_bfloat16(folder, tracker):
    half = Sam2Tracker(folder, dtype="bfloat16", device="cpu")
    video, masks = make_video(4), make_masks(2)
    found, other = tracker.track(video, masks).masks, half.track(video, masks).masks
    assert (found & other).sum() / (found | other).sum() > 0.95
    assert half.options() != tracker.options()


@pytest.mark.long
def test_fingerprint_knows_weights_and_dtype(clips, tracker):
    result = score(clips, tracker)
    options = result.protocol["tracker"]["options"]
    assert options["dtype"] == "float32"
    assert len(options["weights"]) == 64
    assert result.environment["implementation"] == "transformers"
    assert result.environment["device"] == "cpu"


@pytest.mark.long
def test_command(clips, folder, checkpoint, capsys):
    rows = {}
    for weights, more in ((folder, ()), (checkpoint, ("--tracker_implementation", "native"))):
        file = clips / "scs.json"
        assert main(arguments(clips, "--tracker_weights", weights, "--json", file, *more)) == 0
        rows[weights] = json.loads(file.read_text())
    one, other = rows.values()
    assert one["scs"] == pytest.approx(other["scs"], abs=0.1)
    assert one["fingerprint"] == other["fingerprint"]
    assert "SCS" in capsys.readouterr().out


def test_command_without_weights_names_the_files_and_flow(clips, capsys):
    assert main(arguments(clips)) == 2
    err = capsys.readouterr().err
    for words in ("sam2.1_hiera_tiny.pt", "model.safetensors", "--tracker flow", "never downloads"):
        assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["track", "annotate", "report", "doctor"])
def test_every_command_takes_the_weights(command, clips, capsys):
    """The same options, and the same words where the weights are not there."""
    more = {
        "track": [clips / "gt", "--annotations", clips / "annotations", "--output", clips / "m"],
        "annotate": [clips / "gt", "--auto", "--output", clips / "a"],
        "report": [clips / "pred", clips / "gt", "--scores", clips / "s", "--output", clips / "r"],
        "doctor": [],
    }
    protocol = {"semantics": {"min_area": 0.001}}
    record = {"clips": [], "fingerprint": "", "protocol": protocol, "environment": {}}
    (clips / "s").write_text(json.dumps(record))
    argv = [command, *map(str, more[command]), "--tracker", "sam2", "--tracker_dtype", "bfloat16"]
    assert main([*argv, "--tracker_weights", str(clips / "none.pt")]) == 2
    assert "none.pt: no such file, folder or repository" in capsys.readouterr().err


def test_options_are_for_sam2_only(clips, capsys):
    argv = arguments(clips, "--tracker_weights", "x")
    argv[argv.index("sam2")] = "palette"
    assert main(argv) == 2
    assert "'palette' takes no --tracker_weights" in capsys.readouterr().err


def test_bad_options(folder):
    with pytest.raises(ValueError, match="Expected dtype of float32, bfloat16, got 'float16'"):
        Sam2Tracker(folder, dtype="float16")
    with pytest.raises(ValueError, match="Expected implementation of transformers, native"):
        Sam2Tracker(folder, "hydra")
    with pytest.raises(ValueError, match="at least 1, got 0 and 64"):
        Sam2Tracker(folder, batch_images=0)
