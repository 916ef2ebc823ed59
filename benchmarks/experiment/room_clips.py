"""Unseen rooms, ready to be scored: truth, structures, and what the simulator would have shown.

Everything stays in memory: a row of 64 clips of 16 frames is 12 MB. Masks of truth and prediction
come from the same tracker, `palette`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Record
from egowm.data import Rooms
from egowm.dynamics import Dynamics
from egowm.evaluation.roll_out import choose
from egowm.evaluation.rows import changed, derangement
from egowm.network.precision import computes_in_bfloat16
from egowm.pixels import psnr, to_uint8
from egowm.recipe import open_recipe
from egowm.sampling import Sampling
from egowm.scs.bootstrap import interval
from egowm.scs.score import Overlap, clip_score, overlap, summarise
from egowm.scs.trackers.palette import PaletteTracker
from egowm.shipped import recipes
from egowm.world_model import WorldModel
from egowm.worlds.recording import follow

BATCH = 16
CLIPS, FRAMES = 64, 16  # of every table


def unseen_clips(papers: str = "", afresh: bool = False) -> "RoomClips":
    """Of the recipe's test rooms.

    Args:
        papers: a folder of pictures for the walls.
        afresh: of as many other rooms, which no choice was ever made by.
    """
    data = open_recipe(recipes()["rooms_svd"]).data()
    assert isinstance(data, Rooms)
    data.papers = papers
    if not afresh:
        return RoomClips(data, CLIPS, FRAMES)
    data.counts["test"] = 2 * CLIPS
    clips = RoomClips(data, 2 * CLIPS, FRAMES)
    clips.keep(range(CLIPS, 2 * CLIPS))
    return clips


def trained_precision(model: Dynamics) -> AbstractContextManager[object]:
    """bfloat16 by autocast; float32 on processors that do not compute in bfloat16."""
    device = model.device.type
    return torch.autocast(device, torch.bfloat16, enabled=computes_in_bfloat16(device))


class PlainHue(PaletteTracker):
    """Every pixel by the nearest hue alone, however the pixels around it are."""

    name = "plain hue"

    def settled(self, labels: np.ndarray, count: int) -> np.ndarray:
        return labels


@dataclass(frozen=True)
class Scores:
    """Scores of one row, each (N,), one per clip; SCS in percent, PSNR in dB."""

    scs: np.ndarray
    scs_davis: np.ndarray
    scs_visible: np.ndarray
    psnr: np.ndarray
    scs_at: dict[int, float]
    frames: int

    def row(self, about: Record) -> Record:
        """One line of the table, with the scores of its clips for paired comparisons."""
        return about | {
            "scs": round(float(np.nanmean(self.scs)), 2),
            "scs_davis": round(float(np.nanmean(self.scs_davis)), 2),
            "scs_visible": round(float(np.nanmean(self.scs_visible)), 2),
            "ci95": [round(x, 2) for x in interval(self.scs) or ()],
            "psnr": round(float(self.psnr.mean()), 2),
            "scs_at": {str(k): round(v, 2) for k, v in self.scs_at.items()},
            "clips": len(self.scs),
            "frames": self.frames,
            "clip_scs": [round(float(x), 2) for x in self.scs],
            "clip_scs_visible": [round(float(x), 2) for x in self.scs_visible],
        }


class RoomClips:
    """One clip from each of `clips` test rooms, `horizon` future frames."""

    tracker: PaletteTracker = PaletteTracker()

    def __init__(self, data: Rooms, clips: int, horizon: int) -> None:
        self.data, self.horizon = data, horizon
        self.clips = choose(data.with_horizon(horizon), clips)
        shown = [clip.frames[-horizon - 1 :] for clip in self.clips]  # the context's last, and on
        self.truth = [frames.numpy().transpose(0, 2, 3, 1) for frames in shown]
        self.actions = torch.stack([clip.actions for clip in self.clips])
        self.numbers = list(range(len(self.clips)))  # each draws its noise from its number
        self.other_actions = self.actions[derangement(len(self.clips))]

    def keep(self, chosen: Sequence[int]) -> None:
        """Only these clips from now on, under the noise and the actions they had among all."""
        self.clips = [self.clips[k] for k in chosen]
        self.truth = [self.truth[k] for k in chosen]
        self.actions = self.actions[list(chosen)]
        self.other_actions = self.other_actions[list(chosen)]
        self.numbers = [self.numbers[k] for k in chosen]

    @cached_property
    def masks(self) -> list[np.ndarray]:
        """Tracked masks (T+1, O, H, W) of the truth."""
        return self._tracked(self.truth)

    def _tracked(self, truth: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = []
        for clip, frames in zip(self.clips, truth, strict=True):
            ids = self.data.annotation(clip.name)
            first = ids == np.arange(1, ids.max() + 1)[:, None, None]
            found.append(self.tracker.track(frames, first).masks)
        return found

    def ruled(self, tracker: PaletteTracker) -> "RoomClips":
        """The same clips, their masks by another tracker."""
        other = copy(self)
        other.__dict__.pop("masks", None)
        other.tracker = tracker
        return other

    def told(self, kind: str) -> Tensor:
        """The actions (N, T, A) of a row: true, shuffled, zero, mirrored, mean or halved."""
        if kind == "mean":
            return self.actions.mean((0, 1)).expand_as(self.actions)
        if kind == "halved":
            return self.actions / 2
        return changed(self.actions, self.other_actions, kind, self.data.meaning)

    def imagined(self, model: Dynamics, kind: str, how: Sampling = Sampling()) -> list[np.ndarray]:
        """Frames (T, H, W, 3) of the model under the actions of a row; the same noise for all."""
        return self.imagined_under(model, self.told(kind), how)

    def imagined_under(
        self,
        model: Dynamics,
        actions: Tensor,
        how: Sampling = Sampling(),
    ) -> list[np.ndarray]:
        """Frames (T, H, W, 3) of the model under actions (N, T, A); the same noise for all.

        The networks run in the precision that they train in. Who looks at several frames before
        the first, where the clips hold one alone, sees it as often: the robot stood still. A model
        that embeds the body's state is told that of the context frame.
        """
        frames, seen = [], model.num_context
        states = None
        if model.state_spec is not None:
            states = torch.stack([clip.state for clip in self.clips])
        for start in range(0, len(self.clips), BATCH):
            numbers = range(start, min(start + BATCH, len(self.clips)))
            known = torch.stack([self.clips[k].frames[: -self.horizon] for k in numbers])
            if known.shape[1] == 1:
                known = known.expand(-1, seen, -1, -1, -1)
            context = known[:, -seen:]
            noise = [torch.Generator().manual_seed(self.numbers[k]) for k in numbers]
            with trained_precision(model):
                here = None if states is None else states[list(numbers)]
                made = model.rollout(
                    context, actions[list(numbers)], how, state=here, generator=noise
                )
            frames += [to_uint8(video) for video in made.frames]
        return frames

    def stepped(self, model: WorldModel, how: Sampling = Sampling()) -> list[np.ndarray]:
        """Frames (T, H, W, 3) of the model, each imagined from the *true* one before it."""
        frames = []
        for clip, actions, number in zip(self.clips, self.actions, self.numbers, strict=True):
            seeds = range(number * self.horizon, (number + 1) * self.horizon)
            noise = [torch.Generator().manual_seed(seed) for seed in seeds]
            with trained_precision(model):
                made = model.rollout(clip.frames[:-1, None], actions[:, None], how, generator=noise)
            frames.append(to_uint8(made.frames[:, 0]))
        return frames

    def simulated(self, kind: str) -> list[np.ndarray]:
        """What a perfect world model would show if it were driven by a row's actions."""
        height, width = self.truth[0].shape[1:3]
        return [
            follow(
                int(clip.name.rsplit("_", 1)[0].removeprefix("room_")),
                self.data.place(clip.name)[1],
                actions.numpy(),
                height,
                width,
                self.data.papers,
            )[0][1:]
            for clip, actions in zip(self.clips, self.told(kind), strict=True)
        ]

    def copied(self) -> list[np.ndarray]:
        """The first frame, repeated."""
        return [np.repeat(frames[:1], self.horizon, 0) for frames in self.truth]

    def mean_frame(self) -> list[np.ndarray]:
        """The mean of all first frames, repeated: no structure at all."""
        mean = np.mean([frames[0] for frames in self.truth], 0).round().astype(np.uint8)
        return [np.repeat(mean[None], self.horizon, 0) for _ in self.truth]

    @torch.no_grad()
    def coded(self, model: WorldModel) -> list[np.ndarray]:
        """The truth through the model's VAE: the most that it can show."""
        backbone = model.backbone
        first = 0 if backbone.context_latents else 1  # a causal VAE has the context before it
        videos = []
        for clip in self.clips:
            frames = clip.frames[None, first:].float().to(model.device) / 127.5 - 1
            videos.append(backbone.codec.decode(backbone.codec.encode(frames))[0, 1 - first :])
        return [to_uint8((video.clamp(-1, 1) + 1) / 2) for video in videos]

    def score(self, videos: Sequence[np.ndarray]) -> Scores:
        """Compare future frames (T, H, W, 3), one video per clip, with the truth."""
        return self._scored(videos, self.truth, self.masks)

    def score_still(self, videos: Sequence[np.ndarray]) -> Scores:
        """Compare them with the first frame, which is all that one sees who stands still."""
        first = [np.repeat(frames[:1], len(frames), 0) for frames in self.truth]
        return self._scored(videos, first, self._tracked(first))

    def _scored(
        self,
        videos: Sequence[np.ndarray],
        truths: Sequence[np.ndarray],
        all_masks: Sequence[np.ndarray],
    ) -> Scores:
        overlaps: list[Overlap] = []
        for frames, truth, masks in zip(videos, truths, all_masks, strict=True):
            whole = np.concatenate([truth[:1], frames])
            overlaps.append(overlap(self.tracker.track(whole, masks[0]).masks, masks))
        pairs = zip(videos, truths, strict=True)
        return Scores(
            np.array([clip_score(x.iou("left_out")) for x in overlaps]),
            np.array([clip_score(x.iou("davis")) for x in overlaps]),
            np.array([clip_score(x.iou("visible")) for x in overlaps]),
            np.array([psnr(frames, truth[1:]) for frames, truth in pairs]),
            summarise(overlaps).scs_at,
            len(videos[0]),
        )
