"""The score of videos in memory: as `egowm-scs score` gives it, as a function and as a metric."""

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio

from egowm.scs import VideoSCS, score_folders, video_scs
from egowm.scs.masks import read_palette
from egowm.scs.trackers.palette import PaletteTracker
from egowm.video import read_frames
from tests.scs.conftest import HUES


def clips(world) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Prediction, truth and structures of each clip."""
    found = {}
    for name in world.truth:
        ids = read_palette(world.annotations / f"{name}.png")
        masks = ids == np.arange(1, len(HUES) + 1, dtype=np.uint8)[:, None, None]
        found[name] = read_frames(world.pred / name), read_frames(world.gt / name), masks
    return found


def tensors(*videos: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(video).permute(0, 3, 1, 2) / 255 for video in videos]


@pytest.mark.long
def test_the_number_is_that_of_the_command(world):
    result = score_folders(world.pred, world.gt, world.annotations, tracker="palette")
    metric = VideoSCS(tracker="palette")
    scores = result.prediction.summary.clip_scs
    for score, (pred, truth, masks) in zip(scores, clips(world).values(), strict=True):
        found = video_scs(pred, truth, masks, tracker="palette")
        assert found == pytest.approx(score)
        preds, target = tensors(pred, truth)
        assert (
            video_scs(preds[None], target[None], torch.from_numpy(masks), tracker="palette")
            == found
        )
        assert video_scs(preds.mul(255).round().byte(), target.mul(255).round().byte(), masks,
                         tracker=PaletteTracker()) == found  # fmt: skip
        metric.update(preds, target, torch.from_numpy(masks))
    assert metric.compute()["scs"].item() == pytest.approx(result.scs, rel=1e-6)
    at = result.prediction.summary.scs_at
    assert metric.compute()["scs_at_2"].item() == pytest.approx(at[2], rel=1e-6)


def test_the_videos_are_not_changed(world):
    """Frame 0 of a prediction is the truth's, in a copy."""
    pred, truth, masks = clips(world)["clip0"]
    pred[0] = 9
    before = pred.copy(), truth.copy()
    video_scs(pred, truth, masks, tracker="palette")
    assert np.array_equal(pred, before[0])
    assert np.array_equal(truth, before[1])


def test_beside_other_metrics(world):
    """In a collection, with arguments by name as torchmetrics' own have them."""
    metrics = MetricCollection([VideoSCS(tracker="palette"), PeakSignalNoiseRatio(data_range=1.0)])
    alone = VideoSCS(tracker="palette")
    for number, (pred, truth, masks) in enumerate(clips(world).values()):
        preds, target = tensors(pred, truth)
        metrics.update(preds=preds, target=target, masks=torch.from_numpy(masks), clip=number)
        alone.update(preds, target, torch.from_numpy(masks), clip=number)
    found = metrics.compute()
    assert found["scs"] == alone.compute()["scs"]
    assert 0 < found["scs"] < 100
    assert found["PeakSignalNoiseRatio"] > 5
    fresh = metrics.clone(prefix="val_")
    fresh.reset()
    assert set(fresh.keys()) == {"val_VideoSCS", "val_PeakSignalNoiseRatio"}
    pred, truth, masks = clips(world)["clip0"]
    value = alone(*tensors(truth, truth), torch.from_numpy(masks))  # forward: of this clip alone
    assert value["scs"] == 100


def test_a_picture_of_the_values(world):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    metric = VideoSCS(tracker="palette")
    pred, truth, masks = clips(world)["clip0"]
    metric.update(*tensors(pred, truth), torch.from_numpy(masks))
    figure, axes = metric.plot()
    assert axes.has_data()
    pyplot.close(figure)


def test_what_is_refused(world):
    pred, truth, masks = clips(world)["clip0"]
    preds, target = tensors(pred, truth)
    for given, words in (
        ((preds[1:], target, masks), "Expected videos of one shape"),
        ((preds[:1], target[:1], masks), "of 2 frames or more"),
        ((preds * 255, target, masks), r"Expected a float preds in \[0, 1\]"),
        ((pred / 255, truth, masks), "Expected preds of uint8, as an array"),
        ((preds, target, masks[0]), r"Expected masks \(O, 64, 64\)"),
        ((preds, target, masks[:, :32]), r"Expected masks \(O, 64, 64\)"),
        ((preds, target, masks * 1), "Expected masks of bool"),
        ((preds, target, masks & False), "each with a pixel of its structure"),
        ((preds[None].repeat(2, 1, 1, 1, 1), target, masks), r"Expected preds \(T\+1, 3, H, W\)"),
    ):
        with pytest.raises(ValueError, match=words):
            video_scs(*given, tracker="palette")
    with pytest.raises(ValueError, match="'masks' reads masks"):
        VideoSCS(tracker="masks")
    with pytest.raises(ValueError, match="Expected a tracker of sam2, palette"):
        VideoSCS(tracker="none")
