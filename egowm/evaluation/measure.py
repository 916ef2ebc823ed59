"""Measuring a run: every column of every row, from the frames that lie in its folder."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch

from egowm import __version__
from egowm.clip import Clip
from egowm.evaluation.metrics import structure
from egowm.evaluation.metrics.catalogue import Metrics
from egowm.evaluation.metrics.metric import Sample, Values
from egowm.evaluation.protocol import Protocol
from egowm.evaluation.record import (
    EvalRecord,
    ProtocolRecord,
    RowRecord,
    column_record,
    fingerprint,
    make_cell,
)
from egowm.evaluation.report.section import LEAST
from egowm.evaluation.roll_out import seeded
from egowm.evaluation.rows import Row, changed
from egowm.evaluation.run_writer import CODEC, COPY, MEAN, RunWriter
from egowm.evaluation.stopwatch import Stopwatch, device_name
from egowm.evaluation.table import LABELS
from egowm.scs.result import Result
from egowm.scs.text import why_no_score
from egowm.scs.trackers import MaskReader, Tracker

log = logging.getLogger(__name__)
Found = dict[str, dict[str, list[Values]]]  # folder of a row -> key of a column -> each seed


class Evaluation:
    """What is measured of a run.

    Args:
        rows: of predictions.
        chosen: the clips.
        others: for each clip, whose actions a shuffle takes.
        protocol: the way of predicting and reading.
        seeds: of the noise.
        metrics: the columns beside SCS.
        tracker: of the structures; None where none are marked.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        chosen: Sequence[Clip],
        others: Sequence[int],
        protocol: Protocol,
        seeds: Sequence[int],
        metrics: Metrics,
        tracker: Tracker | MaskReader | None,
    ) -> None:
        self.rows, self.chosen, self.others, self.protocol = rows, chosen, others, protocol
        pairs = zip(chosen, others, strict=True)
        self.shuffled = {clip.name: chosen[k].actions for clip, k in pairs}
        self.seeds, self.metrics, self.tracker = list(seeds), metrics, tracker
        self.clips = sorted(chosen, key=lambda clip: clip.name)
        self.names = [clip.name for clip in self.clips]
        self.recordings = [recording_of(name) for name in self.names]

    def measure(
        self,
        writer: RunWriter,
        watches: Mapping[str, Stopwatch],
        about: Mapping[str, Any] | None,
        tracks: Path | None = None,
    ) -> EvalRecord:
        """All columns of all rows, from the frames of a run; tracks: where tracks are kept."""
        found: Found = {}
        for row in self.rows:
            each = [self._measured(writer, row, k) for k in range(len(self.seeds))]
            found[row.folder] = {key: [one[key] for one in each] for key in each[0]}
        for folder in (COPY, MEAN, CODEC):
            found[folder] = {k: [v] for k, v in self._measured(writer, folder).items()}
        scored = self._score(writer, found, tracks)
        settings = {c.key: m.settings for m in self.metrics.ready for c in m.columns}
        height, width = self.clips[0].frames.shape[-2:]
        described = self.protocol.describe() | {
            "rate_hz": writer.spec.rate_hz,
            "height": height,
            "width": width,
            "num_clips": len(self.clips),
            "clips": _sha256_of(self.clips),
            "metrics": settings,
            "scs": scored.protocol if scored is not None else None,
        }
        columns = [column_record(column) for column in self.metrics.columns]
        columns += [column_record(c, lacks) for c, lacks in self.metrics.missing.items()]
        no_scs = "" if scored is not None else _unscored(height, width)
        columns.insert(0, column_record(structure.COLUMN, no_scs))
        digits = {column["key"]: column["digits"] for column in columns}
        return {
            "protocol": cast(ProtocolRecord, described),
            "fingerprint": fingerprint(described),
            "reads": self.protocol.reads,
            "columns": columns,
            "rows": list(self._rows(found, watches, digits)),
            "clips": self.names,
            "recordings": self.recordings,
            "seeds": self.seeds,
            "device": device_name(self.rows[0].model.device),
            "about": dict(about or {}),
            "environment": {"egowm": __version__, "torch": torch.__version__},
        }

    def _rows(
        self, found: Found, watches: Mapping[str, Stopwatch], digits: Mapping[str, int]
    ) -> Iterator[RowRecord]:
        labels = {row.folder: row.label for row in self.rows} | LABELS
        for folder, columns in found.items():
            cells = {
                key: make_cell(values, self.protocol, self.recordings, digits[key])
                for key, values in columns.items()
            }
            watch = watches.get(folder)
            yield {
                "folder": folder,
                "label": labels[folder],
                "role": "reference" if folder in LABELS else "model",
                "cells": cells,
                "seconds_per_frame": None if watch is None else watch.seconds_per_frame,
                "peak_bytes": None if watch is None else watch.peak,
            }

    def _measured(self, writer: RunWriter, row: Row | str, seed: int = 0) -> dict[str, Values]:
        """The columns beside SCS of one row, or of a reference, under one seed."""
        values: dict[str, Values] = {}
        for clip in self.clips:
            sample = self._sample(writer, clip, row, seed)
            for metric in self.metrics.ready:
                metric.add(sample)
        for metric in self.metrics.ready:
            values |= metric.compute(self.protocol.reads, self.protocol.is_cumulative)
        return values

    def _sample(self, writer: RunWriter, clip: Clip, row: Row | str, seed: int) -> Sample:
        from egowm.video import read_frames

        truth = read_frames(writer.folder / "gt" / clip.name)
        told = clip.actions
        if isinstance(row, Row):
            other = self.shuffled[clip.name]
            told = changed(told[None], other[None], row.actions, writer.spec)[0]
        folder = seeded(row.folder, seed) if isinstance(row, Row) else row
        if folder == COPY:
            made = np.repeat(truth[:1], len(truth), axis=0)
        else:
            made = read_frames(writer.folder / folder / clip.name)
        actions = (told.numpy(), clip.actions.numpy())
        return Sample(clip.name, truth[0], made[1:], truth[1:], *actions, writer.spec)

    def _score(self, writer: RunWriter, found: Found, tracks: Path | None) -> Result | None:
        """Add the SCS of every row to `found`; the scoring of the first row, None without one."""
        if self.tracker is None:
            return None
        with TemporaryDirectory() as passing:
            results = self.track(writer, tracks or Path(passing))
        for folder, each in results.items():
            found[folder]["scs"] = [structure.of_prediction(r, self.names) for r in each]
        first = results[self.rows[0].folder][0]
        if np.isnan(first.scs):
            log.warning("SCS: no score: %s", why_no_score(first))
        found[COPY]["scs"] = [structure.of_copy(first, self.names)]
        return first

    def track(self, writer: RunWriter, cache: Path) -> dict[str, list[Result]]:
        """The scorings of all rows and references, each seed's; tracks are kept in `cache`."""
        results: dict[str, list[Result]] = {}
        for row in self.rows:
            folders = [seeded(row.folder, k) for k in range(len(self.seeds))]
            results[row.folder] = [self._scored(writer, f, cache, True) for f in folders]
        for folder in (MEAN, CODEC):
            results[folder] = [self._scored(writer, folder, cache, False)]
        return results

    def _scored(self, writer: RunWriter, folder: str, cache: Path, is_row: bool) -> Result:
        """Score one folder; the scoring of a row is kept beside its folder, for the page."""
        from egowm.scs import score_folders

        assert self.tracker is not None
        root = writer.folder
        result = score_folders(
            root / folder,
            root / "gt",
            root / "annotations",
            tracker=self.tracker,
            ceiling_codec=root / CODEC if is_row else None,
            trajectories={name: recording_of(name) for name in writer.clips},
            cache=cache,
        )
        if is_row:
            place, _, name = folder.rpartition("/")
            suffix = name.removeprefix("pred").lstrip("_")
            result.save(root / place / (f"scs_{suffix}.json" if suffix else "scs.json"))
        return result


def recording_of(clip: str) -> str:
    """The recording that a clip was cut from, by its name."""
    return clip.rsplit("_", 1)[0]


def _unscored(height: int, width: int) -> str:
    """Why there is no SCS of frames without structures."""
    if min(height, width) < LEAST:
        return f"no structures are marked: frames of {width}x{height} are too small for it"
    return "no structures are marked (`egowm-scs annotate`)"


def _sha256_of(clips: Sequence[Clip]) -> str:
    """Of the names and the true frames, so that only tables of the same videos are compared."""
    digest = hashlib.sha256()
    for clip in clips:
        frames = clip.frames[-len(clip.actions) - 1 :]
        digest.update(clip.name.encode() + frames.contiguous().numpy().tobytes())
    return digest.hexdigest()
