"""Predict, measure and report in one go: `egowm eval`, and what the demo is made of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from egowm.data.module import ClipData
from egowm.evaluation.kept import Kept
from egowm.evaluation.measure import Evaluation
from egowm.evaluation.metrics.catalogue import Metrics, pixel_metrics
from egowm.evaluation.protocol import Name, check_model, make_protocol
from egowm.evaluation.record import EvalRecord, save
from egowm.evaluation.roll_out import choose, roll_out
from egowm.evaluation.rows import Row, check_rows
from egowm.evaluation.run_folder import RUN
from egowm.evaluation.run_writer import RunWriter, new_run
from egowm.evaluation.table import table
from egowm.files import FolderKind
from egowm.paths import inside
from egowm.sampling import Sampling
from egowm.scs.trackers import MaskReader, Tracker, load_tracker
from egowm.shares import Share


def evaluate(
    rows: Sequence[Row],
    data: ClipData,
    output: Path,
    *,
    protocol: Name = "egowm",
    clips: int = 16,
    horizon: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    tracker: str | Tracker | MaskReader = "palette",
    metrics: Metrics | None = None,
    annotate: Callable[[str], np.ndarray] | None = None,
    title: str = "",
    model: str = "",
    about: Mapping[str, Any] | None = None,
    cache: Path | None = None,
    kind: FolderKind = RUN,
) -> EvalRecord:
    """Roll out test clips under each row, measure them, write `output/eval.json` and a page.

    All rows start each clip from the same noise. An earlier run in `output` is replaced in the end,
    or on any error left as it was. Raises ValueError before the first rollout where a row, or the
    protocol, cannot be carried out.

    Args:
        rows: The first is the one that comparisons are about.
        data: Its test clips are predicted.
        output: Folder of the run.
        protocol: See `Protocol`.
        clips: Most test clips, spread evenly over the recordings.
        horizon: Future frames; None takes the protocol's.
        steps: Sampling steps; None takes the model's.
        seed: The first seed of the noise.
        seeds: How many seeds, one after the other; values are means over them.
        tracker: Follows the structures for SCS.
        metrics: The columns beside SCS; None takes PSNR and SSIM.
        annotate: Gives the structures of a clip's first frame; without it there is no SCS.
        title: Of the page.
        model: What the page says of the models; the first row's label by default.
        about: What eval.json says of recipe and model.
        cache: Folder that keeps predictions and tracks, so that none is made twice; by default none
            are kept. It needs `about`, whose "model" tells models apart.
        kind: Of the folder, which says what may be replaced.
    """
    follow = load_tracker(tracker) if isinstance(tracker, str) else tracker
    run = planned(
        rows, data, output, protocol, clips, horizon, steps, range(seed, seed + seeds), metrics,
        follow, annotate,
    )  # fmt: skip
    kept = Kept(cache, (about or {}).get("model"))
    spec = rows[0].model.spec
    assert spec is not None
    labels = {row.folder: row.label for row in rows}
    record: EvalRecord | None = None
    try:
        with new_run(output, spec, data.source, model or rows[0].label, labels, kind) as writer:
            watches = roll_out(
                rows, run.chosen, run.others, writer, run.seeds, steps, annotate, kept
            )
            writer.finish(title)
            record = run.measure(writer, watches, about, kept.tracks)
            write_results(record, writer)
    except OSError:
        if record is not None:  # hours of work are not lost to a disk that became full meanwhile
            print(table(record))
        raise
    return record


def evaluate_share(
    share: Share,
    rows: Sequence[Row],
    data: ClipData,
    cache: Path,
    *,
    protocol: Name = "egowm",
    clips: int = 16,
    horizon: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    tracker: Tracker | MaskReader,
    annotate: Callable[[str], np.ndarray] | None = None,
    about: Mapping[str, Any],
) -> int:
    """Fill a cache with the predictions and tracks of a share of the batches; how many clips these
    are. The rest as in `evaluate`, which then finds them there."""
    kept = Kept(cache, about["model"], share)
    run = planned(
        rows, data, cache, protocol, clips, horizon, steps, range(seed, seed + seeds), None,
        tracker, annotate,
    )  # fmt: skip
    labels, spec = {row.folder: row.label for row in rows}, rows[0].model.spec
    assert spec is not None
    assert kept.tracks is not None
    with TemporaryDirectory() as folder:
        writer = RunWriter(Path(folder), spec, data.source, "", labels)
        roll_out(rows, run.chosen, run.others, writer, run.seeds, steps, annotate, kept)
        if run.tracker is not None and writer.clips:
            run.track(writer, kept.tracks)
        return len(writer.clips)


def planned(
    rows: Sequence[Row],
    data: ClipData,
    output: Path,
    protocol: Name,
    clips: int,
    horizon: int | None,
    steps: int | None,
    seeds: range,
    metrics: Metrics | None,
    tracker: Tracker | MaskReader,
    annotate: Callable[[str], np.ndarray] | None,
) -> Evaluation:
    """The evaluation, checked, with its clips; the arguments as of `evaluate`."""
    if not seeds:
        raise ValueError(f"Expected at least 1 seed, got {len(seeds)}.")
    Sampling(steps=steps)
    how = make_protocol(protocol, data, horizon)
    for row in rows:
        check_model(how, row.model)
    data = data.with_horizon(how.horizon)
    chosen = choose(data, clips)
    others = check_rows(rows, data.clip_meaning, len(chosen))
    for clip in chosen:
        inside(output, clip.name, f"the clips of {data.source}")
        if annotate is not None:
            annotate(clip.name)  # the structures of each are there, and can be read
    follow = None if annotate is None else tracker
    metrics = (metrics or pixel_metrics()).for_size(*chosen[0].frames.shape[-2:])
    return Evaluation(rows, chosen, others, how, seeds, metrics, follow)


def write_results(record: EvalRecord, writer: RunWriter) -> None:
    """eval.json and the page of the run."""
    from egowm.evaluation.report.run_page import write_report

    save(record, writer.folder / "eval.json")
    write_report(writer.folder)


def annotator(data: ClipData, folder: str | None) -> Callable[[str], np.ndarray] | None:
    """Structures of first frames: drawn ones from `folder`, or the simulator's own."""
    if folder is None:
        return getattr(data, "annotation", None)
    from egowm.scs.masks import read_palette

    return lambda name: read_palette(inside(Path(folder), f"{name}.png", "the clips' names"))
