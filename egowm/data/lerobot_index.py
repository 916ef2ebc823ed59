"""Where a LeRobot data set keeps each episode: `meta/info.json` and the episodes' own index."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.checks import counted
from egowm.data.parquet import read_columns
from egowm.data.public_recordings import missing
from egowm.data.text import text_of
from egowm.paths import inside

VERSIONS = ("v2.0", "v2.1", "v3.0")
MOST = 10  # faults of an index that a message lists
_FIELD = re.compile(r"\{(\w+)(?::0?\d{1,2}d)?\}")


class Entry(NamedTuple):
    """One episode: its rows are those of `number` in `table`; its first frame is at
    `from_timestamp` seconds of `video`, which holds other episodes too unless `own_video`."""

    name: str
    number: int
    length: int
    text: str
    table: Path
    video: Path
    from_timestamp: float
    own_video: bool


def read_info(root: Path) -> dict[str, Any]:
    """`meta/info.json`, with a version that is known, a rate and features."""
    file = root / "meta" / "info.json"
    if not file.is_file():
        raise missing(
            "LeRobot",
            root,
            f"looked for {file} and found none; pass --data.root PATH, the folder that holds meta, "
            f"data and videos.",
        )
    try:
        info = json.loads(text_of(file))
        version, fps = info["codebase_version"], float(info["fps"])
        features = info["features"]
        tables = isinstance(features, dict) and all(isinstance(f, dict) for f in features.values())
        well_formed = tables and 0 < fps < 1e4
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{file}: expected JSON with version, fps, features ({error!r})."
        ) from error
    faults = []
    if not well_formed:
        faults.append(f"expected fps above 0 and a mapping for each feature, got fps {fps}.")
    if version not in VERSIONS:
        faults.append(
            f"expected codebase_version {', '.join(VERSIONS)}, got {version!r}. Convert the data "
            f"set with LeRobot's own scripts."
        )
    if faults:
        raise ValueError(f"{file}: {' | '.join(faults)}")
    return dict(info)


def read_entries(root: Path, info: dict[str, Any], camera: str) -> list[Entry]:
    """Every episode in the order of its index; a missing file is found when it is read.

    Episodes that were deleted are not listed, whatever tables and videos still hold of them. Raises
    ValueError with all faults of the index.
    """
    listed = _listed_3 if info["codebase_version"] == "v3.0" else _listed_2
    entries: dict[str, Entry] = {}
    faults: dict[str, None] = {}  # in their order, each once
    for read in listed(root, info, camera):
        try:
            entry = read()
            if entry.name in entries:
                raise ValueError(f"{root / 'meta'}: {entry.name} is listed twice.")
            entries[entry.name] = entry
        except ValueError as error:
            faults[str(error)] = None
    if len(faults) > 1:
        told = " | ".join([*list(faults)[:MOST], *(["..."] if len(faults) > MOST else [])])
        raise ValueError(f"{root}: {counted(len(faults), 'fault')} of the index: {told}")
    if faults:
        raise ValueError(next(iter(faults)))
    return list(entries.values())


def _listed_2(root: Path, info: dict[str, Any], camera: str) -> Iterator[Callable[[], Entry]]:
    file = root / "meta" / "episodes.jsonl"
    if not file.is_file():
        raise FileNotFoundError(f"LeRobot: {file} is missing; copy the data set again.")
    for number, line in enumerate(text_of(file).splitlines(), start=1):
        if line.strip():
            yield partial(_entry_2, root, info, camera, f"{file}: line {number}", line)


def _entry_2(root: Path, info: dict[str, Any], camera: str, where: str, line: str) -> Entry:
    try:
        row = json.loads(line)
        index, length = int(row["episode_index"]), int(row["length"])
        chunk = index // int(info.get("chunks_size", 1000))
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{where}: expected episode_index and length ({error!r}).") from error
    fields = {"episode_chunk": chunk, "episode_index": index, "video_key": camera}
    table, video = (_path(root, info, name, fields) for name in ("data_path", "video_path"))
    text = _text(row.get("tasks"), where)
    return Entry(_name(index), index, length, text, table, video, 0.0, True)


def _listed_3(root: Path, info: dict[str, Any], camera: str) -> Iterator[Callable[[], Entry]]:
    files = sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise FileNotFoundError(f"LeRobot: looked for {root}/meta/episodes/chunk-*/file-*.parquet.")
    video = f"videos/{camera}"
    columns = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    columns += [f"{video}/{key}" for key in ("chunk_index", "file_index", "from_timestamp")]
    for file in files:
        try:
            rows = read_columns(file, columns)
        except ValueError as error:
            yield partial(_fail, error)
            continue
        for k in range(len(rows["episode_index"])):
            yield partial(_entry_3, root, info, camera, file, rows, k)


def _entry_3(
    root: Path, info: dict[str, Any], camera: str, file: Path, rows: dict[str, Any], k: int
) -> Entry:
    video = f"videos/{camera}"
    table, video_file = (
        _path(root, info, template, _places(rows, kind, k) | {"video_key": camera})
        for template, kind in (("data_path", "data"), ("video_path", video))
    )
    index, length = int(rows["episode_index"][k]), int(rows["length"][k])
    start = float(rows[f"{video}/from_timestamp"][k])
    text = _text(rows["tasks"][k], str(file))
    return Entry(_name(index), index, length, text, table, video_file, start, False)


def _fail(error: ValueError) -> Entry:
    raise error


def _places(rows: dict[str, Any], kind: str, k: int) -> dict[str, Any]:
    """The chunk and the file of an episode's rows or video."""
    return {key: int(rows[f"{kind}/{key}"][k]) for key in ("chunk_index", "file_index")}


def _path(root: Path, info: dict[str, Any], key: str, fields: dict[str, Any]) -> Path:
    """A path template of info.json with numbers and the camera put in, and nothing else."""
    template, owner = info.get(key), f"{root / 'meta' / 'info.json'}: {key}"
    if not isinstance(template, str) or "{" in _FIELD.sub("", template):
        raise ValueError(
            f"{owner}: expected a path with fields like {{file_index:03d}}, got {template!r}."
        )
    unknown = [name for name in _FIELD.findall(template) if name not in fields]
    if unknown:
        raise ValueError(f"{owner}: unknown field {unknown[0]!r}; known: {', '.join(fields)}.")
    return inside(root, template.format(**fields), owner)


def _name(index: int) -> str:
    return f"episode_{index:06d}"


def _text(tasks: Any, where: str) -> str:
    """The first of an episode's tasks."""
    if tasks is None or isinstance(tasks, str):
        return tasks or ""
    if not isinstance(tasks, list | np.ndarray):
        raise ValueError(f"{where}: expected the tasks of an episode as texts, got {tasks!r}.")
    return str(tasks[0]) if len(tasks) else ""
