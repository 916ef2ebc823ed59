"""Rolling out test clips: the truth, every row, the mean frame, and the truth through the VAE."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from egowm.actions.spec import meant
from egowm.clip import Clip
from egowm.data.module import ClipData
from egowm.evaluation.kept import Kept
from egowm.evaluation.rows import Row, changed
from egowm.evaluation.run_writer import CODEC, MEAN, RunWriter
from egowm.evaluation.stopwatch import Stopwatch
from egowm.pixels import to_unit
from egowm.sampling import Sampling

BATCH = 4


def roll_out(
    rows: Sequence[Row],
    chosen: Sequence[Clip],
    others: Sequence[int],
    writer: RunWriter,
    seeds: Sequence[int],
    steps: int | None = None,
    annotate: Callable[[str], np.ndarray] | None = None,
    kept: Kept = Kept(),
) -> dict[str, Stopwatch]:
    """Write truth, structures, references and the predictions of every row under every seed.

    others: for each clip, whose actions a shuffle takes. kept: what was predicted before, and whose
    batches are written. Returns the times of each row by folder.
    """
    watches = {row.folder: Stopwatch(row.model.device) for row in rows}
    mean = torch.stack([_shared(clip).float() for clip in chosen]).mean(0).round()
    mine = kept.mine(batches(chosen))
    total = sum(map(len, mine)) * len(rows) * len(seeds)
    with tqdm(total=total, desc="rolling out", unit="rollout", disable=None) as bar:
        for numbers in mine:
            batch = Clip(*default_collate([chosen[k] for k in numbers]))
            shuffled = torch.stack([chosen[others[k]].actions for k in numbers])
            for index, name in enumerate(batch.name):
                writer.truth(batch, index)
                still = to_unit(mean).expand(batch.actions.shape[1], -1, -1, -1)
                writer.prediction(MEAN, batch, index, still)
                if annotate is not None:
                    writer.annotation(name, annotate(name))
            model = rows[0].model
            through = kept.frames(batch, [CODEC], partial(model.reconstruct, batch), None)
            for index, video in enumerate(through):
                writer.prediction(CODEC, batch, index, video)
            for row in rows:
                _note_actions(
                    row, batch, shuffled, [chosen[others[k]].name for k in numbers], writer
                )
                for k, seed in enumerate(seeds):
                    made = _imagined(
                        row, batch, shuffled, numbers, seed, steps, writer, watches, kept
                    )
                    for index in range(len(numbers)):
                        writer.prediction(seeded(row.folder, k), batch, index, made[index])
                    bar.update(len(numbers))
    return watches


def seeded(folder: str, number: int) -> str:
    """Where the predictions under seed `number` lie: the first in `pred`, others in `seed_1/pred`.

    >>> seeded("pred", 0), seeded("pred", 1)
    ('pred', 'seed_1/pred')
    """
    return f"seed_{number}/{folder}" if number else folder


def choose(data: ClipData, clips: int) -> list[Clip]:
    """Test clips spread evenly over the recordings."""
    if clips < 1:
        raise ValueError(f"Expected at least 1 clip to evaluate, got {clips}.")
    windows = data.windows("test", tiled=True)
    count = min(clips, len(windows))
    return [windows[k * len(windows) // count] for k in range(count)]


def batches(clips: Sequence[Clip]) -> Iterator[range]:
    """Numbers of consecutive clips of one source, at most `BATCH`."""
    start = 0
    for end in range(1, len(clips) + 1):
        full = end - start == BATCH or end == len(clips)
        if full or clips[end].source != clips[start].source:
            yield range(start, end)
            start = end


def _shared(clip: Clip) -> Tensor:
    """The frame (3, H, W) that truth and prediction share."""
    return clip.frames[-len(clip.actions) - 1]


def _imagined(
    row: Row,
    batch: Clip,
    shuffled: Tensor,
    numbers: Sequence[int],
    seed: int,
    steps: int | None,
    writer: RunWriter,
    watches: dict[str, Stopwatch],
    kept: Kept,
) -> np.ndarray:
    """Frames (B, T, H, W, 3) uint8 of one row; the noise of a clip depends on its number and the
    seed."""
    noise = [seed * 100_003 + k for k in numbers]
    actions = changed(batch.actions, shuffled, row.actions, writer.spec)
    watch = watches[row.folder]

    def imagine() -> Tensor:
        generators = [torch.Generator().manual_seed(number) for number in noise]
        expected = (
            meant() if row.actions == "zero" else nullcontext()
        )  # which many a robot never was
        with expected, watch.rollout(actions.shape[0] * actions.shape[1]):
            made = row.model.rollout_of(batch, actions, Sampling(steps=steps), generator=generators)
        return made.frames

    return kept.frames(batch, [noise, steps, actions], imagine, watch)


def _note_actions(
    row: Row, batch: Clip, shuffled: Tensor, names: Sequence[str], writer: RunWriter
) -> None:
    """Which actions a row is told in place of the clips' own; names: whose a shuffle takes."""
    if row.actions == "true":
        return
    actions = changed(batch.actions, shuffled, row.actions, writer.spec)
    for index, name in enumerate(batch.name):
        whose = names[index] if row.actions == "shuffled" else ""
        writer.told(row.folder, name, actions[index], whose)
