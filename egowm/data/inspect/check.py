"""`egowm data check`: reads everything once and says what is wrong, and where."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.imagined import num_imagined
from egowm.data.inspect.checksums import sum_findings
from egowm.data.inspect.findings import LEVELS, Finding, Level
from egowm.data.inspect.labels import (
    dimension_findings,
    state_findings,
    time_findings,
    yaw_findings,
)
from egowm.data.inspect.lag import judge, measure, turning
from egowm.data.inspect.magnitudes import magnitude_findings
from egowm.data.inspect.opening import SPLITS
from egowm.data.inspect.pictures import Pictures, look, picture_findings
from egowm.data.lerobot import LeRobot
from egowm.data.mixture import Mixture
from egowm.data.module import ClipData
from egowm.data.packed import Packed
from egowm.data.recordings import NamedRecordings, Recordings
from egowm.data.text import spreadsheets
from egowm.data.threads import in_threads
from egowm.data.times import breaks
from egowm.data.video_csv import VideoCSV
from egowm.data.videos import Videos
from egowm.video import VideoError, count_frames, video_rate
from egowm.video_file import DamagedFrames, damaged, frame_index, strictly

RATE_TOLERANCE = 0.05


class Checked(NamedTuple):
    """One episode after its frames were read: None where they could not be."""

    episode: Episode
    seen: Pictures | None
    findings: list[Finding]


def check(data: ClipData, workers: int = 0, progress: bool = True) -> list[Finding]:
    """Everything found in all splits of a data set, errors first.

    workers: threads that decode (0: one a core, at most 8).
    """
    findings: list[Finding] = []
    with _collected(data, findings):
        episodes = [e for split in SPLITS for e in _split(data, split, findings)]
    if not episodes:
        told = [finding for finding in findings if finding.kind != "empty"]
        told.append(Finding("error", "empty", "", "no episode could be read"))
        return sorted(told, key=_order)
    if isinstance(data, Packed):
        findings += sum_findings(data, workers, progress)
    rate = data.meaning.rate_hz
    checked = in_threads(
        lambda episode: _checked(episode, rate), episodes, workers, "reading frames", progress
    )
    for item in checked:
        findings += item.findings
    for source in _sources(data):
        lone = source.without_table() if isinstance(source, VideoCSV) else []
        if lone:
            names = ", ".join(lone[:3]) + (" ..." if len(lone) > 3 else "")
            text = f"{counted(len(lone), 'video')} without a table of the same name: {names}"
            findings.append(Finding("warning", "no table", "", text))
        if isinstance(source, LeRobot) and (made := num_imagined(source.folder)):
            text = f"{counted(made, 'frame is', 'frames are')} a model's (column imagined)"
            findings.append(Finding("note", "imagined", "", text))
        if (lone or isinstance(source, Videos)) and (sheets := spreadsheets(source.folder)):
            findings.append(Finding("warning", "no table", "", sheets))
        if uneven := source.uneven() if isinstance(source, Recordings) else "":
            findings.append(Finding("note", "splits", "", uneven))
        for whole in source.cut.values() if isinstance(source, Recordings) else ():
            findings += [*time_findings(whole, rate, cut=True), *_video_findings(whole, rate)]
    if data.meaning.width:
        findings += dimension_findings(data.meaning, episodes)
        findings += yaw_findings(data.meaning, episodes)
        if any(finding.kind == "unit" for finding in findings):  # every second is another time
            text = "not judged: it takes the unit of the times"
            findings.append(Finding("note", "alignment", "", text))
        else:
            findings += magnitude_findings(data.meaning, episodes)
            findings.append(_alignment(data, [item for item in checked if item.seen]))
    else:
        text = "none: they serve a video prior (recipes/passive_video_svd.yaml), not a world model"
        findings.append(Finding("note", "actions", "", text))
    findings += _origins(rate, episodes)
    if not any(episode.times.size for episode in episodes):
        text = f"the format carries no times: {rate:g} Hz is taken as given"
        findings.append(Finding("note", "rate", "", text))
    return sorted(findings, key=_order)


def _split(data: ClipData, split: str, findings: list[Finding]) -> list[Episode]:
    before = len(findings)
    try:
        found = data.split(split)
    except (ValueError, FileNotFoundError) as error:
        if str(error) in (finding.text for finding in findings):  # a folder that is not there
            return []
        # a format may hold one of its splits only
        level = "error" if isinstance(error, ValueError) or split == "train" else "note"
        findings.append(Finding(level, "unreadable", f"split {split}", str(error)))  # type: ignore[arg-type]
        return []
    if split == "test" and not found and not data.meaning.width:
        return found  # a prior is not tested
    if not found and len(findings) > before:
        return found  # its recordings cannot be read, each is told
    if why := data.lacks(split):
        needed: Level = "error" if split == "train" else "warning"
        findings.append(Finding(needed, "empty", f"split {split}", why))
    return found


def _checked(episode: Episode, rate_hz: float) -> Checked:
    """All that one episode shows by itself."""
    findings = [*time_findings(episode, rate_hz), *state_findings(episode)]
    try:
        findings += _video_findings(episode, rate_hz)
        if any(finding.level == "error" for finding in findings if finding.kind == "length"):
            return Checked(episode, None, findings)
        with strictly():
            seen = look(episode)
    except DamagedFrames as error:
        text = str(_all_damage(episode, error))
        findings.append(Finding("error", "unreadable", episode.name, text))
        return Checked(episode, None, findings)
    except (VideoError, OSError, ValueError) as error:
        findings.append(Finding("error", "unreadable", episode.name, str(error)))
        return Checked(episode, None, findings)
    return Checked(episode, seen, [*findings, *picture_findings(episode, seen)])


def _all_damage(episode: Episode, first: DamagedFrames) -> VideoError:
    """The error for all damaged frames of an episode, by their numbers in the file."""
    numbers: set[int] = set()
    for batch in episode.spans():
        try:
            with strictly():
                episode.read(batch)
        except DamagedFrames as error:
            numbers.update(error.numbers)
    return damaged(first.path, sorted(numbers), first.count)


def _video_findings(episode: Episode, rate_hz: float) -> Iterator[Finding]:
    """A video of the episode's own against its labels: length and rate."""
    if episode.video is None:
        return
    held = count_frames(episode.video)
    if held != episode.num_frames:
        frames = counted(held, "frame")
        text = f"{episode.video}: the video holds {frames}, the labels {episode.num_frames}"
        yield Finding("error", "length", episode.name, text, {"video": held})
    rate = video_rate(episode.video)
    if rate and abs(rate - rate_hz) > RATE_TOLERANCE * rate_hz:
        text = f"{episode.video}: the video plays at {rate:.4g} Hz, its labels say {rate_hz:g} Hz"
        unit = _perhaps(rate / rate_hz)
        level, kind = ("error", "unit") if unit else ("warning", "rate")
        yield Finding(level, kind, episode.name, text + unit, {"video_hz": rate})  # type: ignore[arg-type]
    yield from _video_holes(episode, episode.video)


def _perhaps(factor: float) -> str:
    """What makes labels slower than their video by a factor."""
    for size, unit, words in ((1e3, "ms", "milliseconds"), (1e6, "us", "microseconds")):
        if abs(factor / size - 1) < RATE_TOLERANCE:
            return f"; are its times {words}? Write the unit in the header: time [{unit}]"
    return ""


def _video_holes(episode: Episode, video: Path) -> Iterator[Finding]:
    """Where a video leaves frames out, and its rows do not."""
    shown = frame_index(video).times
    holes = breaks(shown, None)
    if len(episode.times) == len(shown):
        rows, between = np.diff(episode.times), np.diff(shown)
        holes = np.array([k for k in holes if rows[k - 1] < between[k - 1] / 2], int)
    if len(holes):
        text = (
            f"{video}: {counted(len(holes), 'hole')} of the video, the first of "
            f"{shown[holes[0]] - shown[holes[0] - 1]:.2f} s after frame {holes[0] - 1}, that the "
            f"labels do not have: a time column would cut the recording there"
        )
        yield Finding("warning", "gap", episode.name, text)


def _origins(rate_hz: float, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Times that do not begin with the video."""
    late = [e for e in episodes if e.video and e.times.size and abs(e.times[0]) > 0.5 / rate_hz]
    if late:
        text = (
            f"times of {counted(len(late), 'episode')} begin at {late[0].times[0]:.4g} s or so: "
            f"their first row is taken as the first frame of the video"
        )
        yield Finding("note", "times", "", text)


def _alignment(data: ClipData, checked: Sequence[Checked]) -> Finding:
    spec = data.meaning
    columns = turning(spec)
    if not columns:
        text = (
            "no dimension is known by its name to turn the camera, as turn, steering or yaw_rate "
            "are: actions and pictures are not compared"
        )
        return Finding("note", "alignment", "", text)
    turns = [item.episode.actions[:, columns] for item in checked]
    sideways = [item.seen.sideways for item in checked if item.seen]
    return judge(spec, measure(turns, sideways, spec.rate_hz), data.latency_frames)


@contextmanager
def _collected(data: ClipData, findings: list[Finding]) -> Iterator[None]:
    """Within the block, corrupt recordings are findings in place of an exception."""

    def add(error: Exception) -> None:
        kind = "nan" if "finite" in str(error) else "unreadable"
        findings.append(Finding("error", kind, "", str(error)))

    checked = [source for source in _sources(data) if isinstance(source, NamedRecordings)]
    for source in checked:
        source.on_corrupt = add
    try:
        yield
    finally:
        for source in checked:
            source.on_corrupt = None


def _sources(data: ClipData) -> list[ClipData]:
    return list(data.sources.values()) if isinstance(data, Mixture) else [data]


def _order(finding: Finding) -> tuple[int, str, str]:
    return LEVELS.index(finding.level), finding.kind, finding.where


def summary(data: ClipData) -> str:
    """One line about what was read."""
    splits = {split: data._episodes.get(split, []) for split in SPLITS}
    episodes = [episode for found in splits.values() for episode in found]
    parts = ", ".join(f"{len(found)} {split}" for split, found in splits.items())
    frames = sum(episode.num_frames for episode in episodes)
    hours = frames / data.meaning.rate_hz / 3600 if episodes else 0.0
    return (
        f"{data.source}: {counted(len(episodes), 'episode')} ({parts}), "
        f"{counted(frames, 'frame')}, {hours:.2g} h at {data.meaning.rate_hz:g} Hz; actions "
        f"{', '.join(data.meaning.names) or 'none'}"
    )
