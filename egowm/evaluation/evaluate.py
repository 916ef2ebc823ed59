"""Predict, score and report in one go: `egowm evaluate`, and what the demo is made of."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from egowm.clip import Clip
from egowm.data.module import ClipData
from egowm.evaluation.rows import Row, changed, check_rows
from egowm.evaluation.run_writer import CODEC, RUN, RunWriter, new_run
from egowm.files import FolderKind
from egowm.paths import inside
from egowm.pixels import psnr, to_model
from egowm.sampling import Sampling
from egowm.scs.trackers import MaskReader, Tracker, load_tracker
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)
BATCH = 4


def evaluate(
    rows: Sequence[Row],
    data: ClipData,
    output: Path,
    *,
    clips: int = 16,
    horizon: int = 16,
    steps: int | None = None,
    seed: int = 0,
    tracker: str | Tracker | MaskReader = "palette",
    annotate: Callable[[str], np.ndarray] | None = None,
    title: str = "",
    kind: FolderKind = RUN,
) -> dict[str, Any]:
    """Roll out test clips under each row, score them and write `output/report.html`.

    All rows start each clip from the same noise. `annotate` gives the structures of a clip's
    first frame; without it clips are predicted and not scored. An earlier run in `output` is
    replaced in the end, or on any error left as it was. Returns a summary: per row PSNR (dB) and
    SCS (percent). Raises ValueError before the first rollout where a row cannot be made.
    """
    follow = load_tracker(tracker) if isinstance(tracker, str) else tracker
    data = data.with_horizon(horizon)
    chosen = choose(data, clips)
    others = check_rows(rows, data.clip_meaning, len(chosen))
    model, label = rows[0].model, rows[0].label
    assert model.spec is not None
    for clip in chosen:
        inside(output, clip.name, f"the clips of {data.source}")
    about = (model.spec, data.source, label, {row.folder: row.label for row in rows}, kind)
    summary: dict[str, Any] = {}
    try:
        with new_run(output, *about) as writer:
            _roll_out(rows, chosen, others, writer, steps, seed, annotate)
            writer.finish(title)
            _score_and_report(rows, writer, follow if annotate else None, summary)
    except OSError:
        if "copy" in summary:  # hours of work are not lost to a disk that became full meanwhile
            print(table(rows, summary))
        raise
    return summary | {"report": str(output / "report.html")}


def _roll_out(
    rows: Sequence[Row],
    chosen: Sequence[Clip],
    others: Sequence[int],
    writer: RunWriter,
    steps: int | None,
    seed: int,
    annotate: Callable[[str], np.ndarray] | None,
) -> None:
    """Write truth, structures, ceiling and the predictions of every row."""
    with tqdm(total=len(chosen) * len(rows), desc="rolling out", unit="rollout") as bar:
        for numbers in batches(chosen):
            batch = default_collate([chosen[k] for k in numbers])
            batch = Clip(*batch)
            shuffled = torch.stack([chosen[others[k]].actions for k in numbers])
            for index in range(len(numbers)):
                writer.truth(batch, index)
                if annotate is not None:
                    writer.annotation(batch.name[index], annotate(batch.name[index]))
            _codec(rows[0].model, batch, writer)
            for row in rows:
                _predict(row, batch, shuffled, numbers, steps, seed, writer)
                bar.update(len(numbers))


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


def _predict(
    row: Row,
    batch: Clip,
    shuffled: Tensor,
    numbers: Sequence[int],
    steps: int | None,
    seed: int,
    writer: RunWriter,
) -> None:
    generators = [torch.Generator().manual_seed(seed * 100_003 + k) for k in numbers]
    actions = changed(batch.actions, shuffled, row.actions, writer.spec)
    made = row.model.rollout_of(batch, actions, Sampling(steps=steps), generator=generators)
    for index in range(len(numbers)):
        writer.prediction(row.folder, batch, index, made.frames[index])


@torch.no_grad()
def _codec(model: WorldModel, batch: Clip, writer: RunWriter) -> None:
    """The truth through the model's VAE, in the model's chunks: its ceiling."""
    backbone, horizon = model.backbone, batch.actions.shape[1]
    video = to_model(batch.frames.to(model.device))
    given = backbone.context if backbone.context_latents else 0  # frames that a video starts with
    decoded = []
    for start in range(video.shape[1] - horizon, video.shape[1], model.chunk):
        part = video[:, start - given : start + model.chunk]
        missing = (given - part.shape[1]) % backbone.codec.frames_at_once
        part = torch.cat([part, part[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
        decoded.append(backbone.codec.decode(backbone.codec.encode(part))[:, given:])
    frames = (torch.cat(decoded, 1)[:, :horizon].clamp(-1, 1) + 1) / 2
    for index in range(len(video)):
        writer.prediction(CODEC, batch, index, frames[index])


def _score_and_report(
    rows: Sequence[Row],
    writer: RunWriter,
    tracker: Tracker | MaskReader | None,
    summary: dict[str, Any],
) -> None:
    """Fills the summary as it comes, so that an error of the disk loses none of it."""
    from egowm.evaluation.report.run_page import write_report
    from egowm.scs import score_folders
    from egowm.video import read_frames

    output, names = writer.folder, sorted(writer.actions)
    truth = {name: read_frames(output / "gt" / name) for name in names}
    folders = [row.folder for row in rows] + [CODEC]
    for folder in folders:
        values = [psnr(read_frames(output / folder / n)[1:], truth[n][1:]) for n in names]
        summary[folder] = {"psnr": float(np.mean(values))}
    copied = [psnr(np.repeat(truth[n][:1], len(truth[n]) - 1, 0), truth[n][1:]) for n in names]
    summary["copy"] = {"psnr": float(np.mean(copied))}
    if tracker is not None:
        trajectories = {name: name.rsplit("_", 1)[0] for name in names}
        for row in rows:
            result = score_folders(
                output / row.folder,
                output / "gt",
                output / "annotations",
                tracker=tracker,
                ceiling_codec=output / CODEC,
                trajectories=trajectories,
            )
            suffix = row.folder.removeprefix("pred").lstrip("_")
            path = output / (f"scs_{suffix}.json" if suffix else "scs.json")
            summary[row.folder]["scs"] = result.prediction.scs
            summary["copy"]["scs"] = result.copy.scs
            if result.ceiling_codec is not None:
                summary[CODEC]["scs"] = result.ceiling_codec.scs
            result.save(path)
    write_report(output)


def table(rows: Sequence[Row], summary: dict[str, Any]) -> str:
    """The summary as lines of text: SCS and PSNR for each row, under the names of the page."""
    from egowm.evaluation.report import score_table as page

    labels = {row.folder: row.label for row in rows} | {"copy": page.COPY, CODEC: page.CODEC}
    width = max(map(len, labels.values()))
    lines = [f"{'':{width}}   SCS  PSNR (dB)"]
    for folder, label in labels.items():
        scs = summary[folder].get("scs")
        shown = f"{scs:5.1f}" if scs is not None else "    -"
        lines.append(f"{label:{width}} {shown}  {summary[folder]['psnr']:6.2f}")
    return "\n".join(lines)


def annotator(data: ClipData, folder: str | None) -> Callable[[str], np.ndarray] | None:
    """Structures of first frames: drawn ones from `folder`, or the simulator's own."""
    if folder is None:
        return getattr(data, "annotation", None)
    from egowm.scs.masks import read_palette

    return lambda name: read_palette(inside(Path(folder), f"{name}.png", "the clips' names"))
