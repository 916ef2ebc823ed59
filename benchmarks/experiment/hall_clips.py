"""Unseen halls of the embedded humanoid, ready to be scored: hands, things, its head."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from benchmarks.experiment.room_clips import CLIPS, FRAMES, RoomClips
from benchmarks.measure import Record
from egowm.actions.humanoid_states import NAMES
from egowm.data import HumanoidHalls
from egowm.evaluation.metrics.following import following_of
from egowm.evaluation.metrics.metric import Sample
from egowm.recipe import open_recipe
from egowm.scs.bootstrap import interval
from egowm.scs.score import mean_defined
from egowm.shipped import recipes
from egowm.world_model import WorldModel
from egowm.worlds.humanoid_replay import Replay

HORIZONS = (2, 4, 8, 16)  # frames
GAIN_FRAMES, GAIN_CLIPS = 4, 32
_RESAMPLES = 2000


@cache
def unseen_halls(recipe: str) -> "HallClips":
    """Of a recipe's test halls; loaded once, with what was drawn of them for an earlier model."""
    data = open_recipe(recipes()[recipe]).data()
    assert isinstance(data, HumanoidHalls)
    return HallClips(data, CLIPS, FRAMES)


class HallClips(RoomClips):
    """One clip from each of `clips` test halls."""

    data: Any  # HumanoidHalls

    def __init__(self, data: HumanoidHalls, clips: int, horizon: int) -> None:
        super().__init__(data, clips, horizon)  # type: ignore[arg-type]

    def replays(self) -> list[Replay]:
        """The run behind each clip."""
        return [self.data.place(clip.name) for clip in self.clips]

    def simulated(self, kind: str) -> list[np.ndarray]:
        """What the body would see under a row's actions, by kinematics."""
        pairs = zip(self.replays(), self.told(kind), strict=True)
        return [self._seen(replay, actions.numpy()) for replay, actions in pairs]

    def followed(self, videos: Sequence[np.ndarray]) -> Record:
        """Where hands, moved things and the head are up to each horizon; see the metrics."""
        rows: dict[str, list[np.ndarray]] = {}
        metrics, meaning = following_of(self.data), self.data.clip_meaning
        for clip, video, truth in zip(self.clips, videos, self.truth, strict=True):
            own = clip.actions.numpy()
            sample = Sample(clip.name, truth[0], video, truth[1:], own, own, meaning)
            for metric in metrics:
                for key, values in metric.clip(sample).items():
                    rows.setdefault(key, []).append(values)
        means = {key: np.stack(values) for key, values in rows.items()}
        return {str(k): {key: _upto(v, k) for key, v in means.items()} for k in HORIZONS}

    def gains(self, model: WorldModel) -> list[Record]:
        """How much of what each dimension changes in the picture the model changes, too.

        One dimension's actions are those of another clip, the others its own. The change of the
        model's frames is regressed on that of the simulator's, both low-passed by a pixel: 1 obeys,
        0 ignores. 4 frames of 32 clips; intervals over clips.
        """
        few, rows = self.few, []
        own = _smooth(few.imagined(model, "true"))
        for number, name in enumerate(NAMES):
            changed = _smooth(few.imagined_under(model, few._exchanged(number))) - own
            rows.append({"dimension": name} | _gain(changed, few.changes[number]))
        return rows

    @cached_property
    def few(self) -> "HallClips":
        """The first frames of some of the clips, by which each dimension is judged."""
        return HallClips(self.data, GAIN_CLIPS, GAIN_FRAMES)

    @cached_property
    def changes(self) -> list[np.ndarray]:
        """What each dimension of another clip changes in the simulator's frames, low-passed."""
        replays, truth = self.replays(), _smooth([frames[1:] for frames in self.truth])
        told = [self._exchanged(number).numpy() for number in range(len(NAMES))]
        seen = ([self._seen(*pair) for pair in zip(replays, each, strict=True)] for each in told)
        return [_smooth(videos) - truth for videos in seen]

    def _exchanged(self, number: int) -> Tensor:
        """The clips' own actions with one dimension of another clip's."""
        actions = self.actions.clone()
        actions[..., number] = self.other_actions[..., number]
        return actions

    def _seen(self, replay: Replay, actions: np.ndarray) -> np.ndarray:
        height, width = self.truth[0].shape[1:3]
        return np.stack([robot.render(height, width).rgb for robot in replay.told(actions)])


def _upto(values: np.ndarray, horizon: int) -> Record:
    """The mean over frames up to a horizon, with its interval over clips."""
    part = mean_defined(values[:, :horizon], axis=1)
    known = part[np.isfinite(part)]
    if not len(known):
        return {"mean": None, "ci95": [], "clips": 0}
    return {
        "mean": round(float(known.mean()), 4),
        "ci95": [round(x, 4) for x in interval(known) or ()],
        "clips": len(known),
    }


def _smooth(videos: Sequence[np.ndarray]) -> np.ndarray:
    """(N, T, H, W, 3) float32, low-passed by a pixel."""
    frames = np.stack(videos).astype(np.float32)
    flat = frames.reshape(-1, *frames.shape[2:])
    return np.stack([cv2.GaussianBlur(f, (0, 0), 1.0) for f in flat]).reshape(frames.shape)


def _gain(changed: np.ndarray, true: np.ndarray) -> Record:
    """Least squares through 0 over clips, and how visible the dimension is (RMS grey levels)."""
    axes = (1, 2, 3, 4)
    common, power = (changed * true).sum(axes), np.square(true).sum(axes)
    draws = np.random.default_rng(0).integers(len(power), size=(_RESAMPLES, len(power)))
    total = power[draws].sum(1)
    drawn = common[draws].sum(1)[total > 0] / total[total > 0]
    visible = float(np.sqrt(power.sum() / true.size))
    if not power.sum():
        return {"gain": None, "ci95": [], "visible": 0.0}
    return {
        "gain": round(float(common.sum() / power.sum()), 3),
        "ci95": [round(float(x), 3) for x in np.quantile(drawn, (0.025, 0.975))],
        "visible": round(visible, 2),
    }
