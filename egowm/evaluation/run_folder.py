"""The folder that `egowm predict` leaves: clips.json, true frames, and one folder per prediction.

RUN/gt/<clip>/00000.png ... and RUN/<variant>/<clip>/00000.png ..., where frame 0 is the shared
context frame; RUN/annotations/<clip>.png, where there are any, shows frame 0's structures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Required, TypedDict

import numpy as np

from egowm.checks import checked, counted
from egowm.files import FileKind, FolderKind, begins, check_file, check_link
from egowm.paths import inside
from egowm.typed_json import read_json

TRUTH = "gt"
PRIMARY = "pred"
RUN = FolderKind(
    "egowm eval",
    r"(gt|codec|mean_frame|(seed_\d+/)?pred[^/]*)/.+/\d{5}\.png|annotations/.+"
    r"|videos/[^/]+\.mp4|clips\.json|eval\.json|(seed_\d+/)?scs(_[^/]*)?\.json|report\.html"
    r"|announced(_annotations)?/.+\.png",
    lambda folder: begins(folder / "clips.json", rb'\{\s*"title": '),
)

PREDICTIONS = RUN._replace(command="egowm predict")
PAGE = FileKind(
    "a page of egowm's", rb'<!DOCTYPE html>.{,200}<meta name="generator" content="egowm">'
)


class ToldEntry(TypedDict):
    """Which actions a variant of a clip was told; clip: whose, "" where they are of none."""

    actions: list[list[float]]
    clip: str


class ClipEntry(TypedDict, total=False):
    """One clip of clips.json. told: by variant, where the actions are not the clip's own."""

    actions: Required[list[list[float] | float]]
    told: dict[str, ToldEntry]


class Described(TypedDict, total=False):
    """What clips.json holds; `egowm.evaluation.run_writer` writes it."""

    title: str
    fps: Required[float]
    source: str
    model: str
    action_names: list[str] | None
    action_units: list[str] | None
    action_frame: str
    variants: dict[str, str] | None
    clips: Required[dict[str, ClipEntry]]


class RunError(ValueError):
    """A run folder that cannot be read as it is; the message says what to do."""


@dataclass(frozen=True)
class Variant:
    """One row of predictions: a folder inside the run, and what a reader should call it."""

    folder: str
    label: str


@dataclass(frozen=True)
class Actions:
    """What the numbers of an action mean."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    frame: str  # "body", "command", "joint"


@dataclass(frozen=True)
class RunFolder:
    """A run as its clips.json describes it.

    Args:
        path: The folder.
        title: Of the report; "" for none.
        model: What predicted; "" where unknown.
        source: The data set; "" where unknown.
        fps: Frames per second of the clips.
        meaning: What the numbers of an action mean.
        variants: Rows of predictions; the first is the one that clips are ordered by.
        actions: Per clip (T, A) in physical units; `actions[k]` takes frame k of the folder to
            frame k+1.
        told: Per clip and variant the actions that were not the clip's own; none by default.

    >>> meaning = Actions(("dx",), ("m",), "body")
    >>> pred = (Variant("pred", "prediction"),)
    >>> run = RunFolder(Path("run"), "", "", "", 4.0, meaning, pred, {"clip": np.zeros((8, 1))})
    >>> run.clips, run.fps
    (['clip'], 4.0)
    """

    path: Path
    title: str
    model: str
    source: str
    fps: float
    meaning: Actions
    variants: tuple[Variant, ...]
    actions: Mapping[str, np.ndarray]
    told: Mapping[str, Mapping[str, ToldEntry]] = field(default_factory=dict)

    @property
    def clips(self) -> list[str]:
        """Names of all clips, in the order of clips.json."""
        return list(self.actions)

    def frames(self, folder: str, clip: str) -> np.ndarray:
        """Frames (T+1, H, W, 3) uint8 of one video.

        Args:
            folder: "gt" for the truth, or the folder of a variant.
            clip: Name of the clip.
        """
        from egowm.video import read_frames

        return read_frames(self.path / folder / clip)

    def videos(self, clip: str) -> dict[str, np.ndarray]:
        """All videos of a clip by folder, the truth first; all of one shape (T+1, H, W, 3).

        Args:
            clip: Name of the clip.

        Raises:
            RunError: Videos that differ in length or size.
        """
        truth = self.frames(TRUTH, clip)
        videos = {TRUTH: truth}
        steps = len(self.actions[clip])
        if len(truth) != steps + 1:
            raise RunError(
                f"{self.path / TRUTH / clip}: expected {counted(steps + 1, 'frame')} for the "
                f"{counted(steps, 'action')} in clips.json, got {len(truth)}. Frame 0 is the "
                f"context frame, then one frame per action; run `egowm predict` again."
            )
        for variant in self.variants:
            video = self.frames(variant.folder, clip)
            if len(video) != len(truth):
                raise RunError(
                    f"{self.path / variant.folder / clip}: expected {counted(len(truth), 'frame')} "
                    f"as in {TRUTH}, got {len(video)}. Both hold the context frame and every frame "
                    f"after it; run `egowm predict` again."
                )
            if video.shape != truth.shape:
                raise RunError(
                    f"{self.path / variant.folder / clip}: frames are {_size(video)}, the truth is "
                    f"{_size(truth)}. Write predictions at the size of the truth."
                )
            videos[variant.folder] = video
        return videos

    def annotation(self, clip: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Structure ids (H, W) uint8 of frame 0 and their palette (256, 3) uint8, if annotated.

        Args:
            clip: Name of the clip.
        """
        from egowm.picture_file import opened
        from egowm.scs.masks import read_palette

        path = self.path / "annotations" / f"{clip}.png"
        if not path.exists():
            return None
        ids = read_palette(path)
        with opened(path) as image:
            entries = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(entries)] = entries
        return ids, colours


def check_page(run: Path, output: Path | str | None, max_clips: int, videos: bool) -> Path:
    """Where the page of a run is to be, RUN/report.html by default; refused before any work."""
    page = run / "report.html" if output is None else Path(output)
    check_file(page, PAGE)
    if videos:
        check_link(run / "videos")
    if max_clips < 1:
        raise ValueError(f"Expected at least 1 clip in the report, got --max_clips {max_clips}.")
    return page


@checked
def read_run(path: Path) -> RunFolder:
    """Read clips.json and check that every variant holds exactly its clips.

    Args:
        path: The folder that `egowm predict` wrote.

    Raises:
        RunError: A missing folder or file, or clips that are not in all folders.

    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for half in ("gt", "pred"):
    ...         Path(folder, half, "clip").mkdir(parents=True)
    ...     described = {"fps": 4, "clips": {"clip": {"actions": [[0.1, 0.0], [0.2, 0.0]]}}}
    ...     written = Path(folder, "clips.json").write_text(json.dumps(described))
    ...     run = read_run(Path(folder))
    >>> run.actions["clip"].shape, run.fps
    ((2, 2), 4.0)
    """
    file = path / "clips.json"
    if not file.is_file():
        raise RunError(
            f"{path}: found no clips.json. Give the folder that `egowm predict` wrote "
            f"(with {PRIMARY}/, {TRUTH}/ and clips.json in it)."
        )
    run = _described(path, read_json(file, Described, "what `egowm predict` writes"))
    if not run.clips:
        raise RunError(f"{file}: holds no clip. Predict at least one clip.")
    for folder in (TRUTH, *(variant.folder for variant in run.variants)):
        _check_folder(path, folder, run.clips)
    return run


def _described(path: Path, described: Described) -> RunFolder:
    model = described.get("model", "")
    variants = described.get("variants") or {PRIMARY: model or "prediction"}
    actions = {}
    for clip, entry in described["clips"].items():
        inside(path, clip, str(path / "clips.json"))
        widths = {np.size(row) for row in entry["actions"]}
        if len(widths) > 1:
            raise RunError(
                f"{path / 'clips.json'}: clips.{clip}.actions: expected one number of dimensions, "
                f"got {', '.join(map(str, sorted(widths)))}. Write every action whole."
            )
        rows = np.asarray(entry["actions"], np.float64)
        actions[clip] = rows.reshape(len(rows), -1)
    width = next((rows.shape[1] for rows in actions.values()), 0)
    names = described.get("action_names") or [f"action {k}" for k in range(width)]
    units = described.get("action_units") or [""] * len(names)
    for clip, rows in actions.items():
        if len(rows) and rows.shape[1] != len(names):
            raise RunError(
                f"{path / 'clips.json'}: clip {clip} has "
                f"{counted(rows.shape[1], 'action dimension')}, action_names has {len(names)}. "
                f"Write one name per dimension."
            )
    if len(units) != len(names):
        raise RunError(
            f"{path / 'clips.json'}: action_units has {counted(len(units), 'text')}, "
            f"action_names has {len(names)}. Write one unit per dimension."
        )
    for folder in variants:
        inside(path, folder, str(path / "clips.json"))
    return RunFolder(
        path=path,
        title=described.get("title", ""),
        model=model,
        source=described.get("source", ""),
        fps=float(described["fps"]),
        meaning=Actions(tuple(names), tuple(units), described.get("action_frame", "")),
        variants=tuple(Variant(folder, label) for folder, label in variants.items()),
        actions=actions,
        told=_told(path, described, actions),
    )


def _told(
    path: Path, described: Described, actions: Mapping[str, np.ndarray]
) -> Mapping[str, Mapping[str, ToldEntry]]:
    """The actions that variants were told, each of the shape of the clip's own."""
    found = {clip: entry.get("told") or {} for clip, entry in described["clips"].items()}
    for clip, variants in found.items():
        for variant, entry in variants.items():
            lengths = {len(row) for row in entry["actions"]} | {actions[clip].shape[1]}
            if len(entry["actions"]) != len(actions[clip]) or len(lengths) != 1:
                raise RunError(
                    f"{path / 'clips.json'}: clips.{clip}.told.{variant}: expected as many actions "
                    f"and dimensions as in clips.{clip}.actions. Run `egowm eval` again."
                )
    return found


def _check_folder(path: Path, folder: str, clips: list[str]) -> None:
    if not (path / folder).is_dir():
        raise RunError(
            f"{path}: found no folder {folder}. Run `egowm predict` again, or remove {folder} "
            f"from the variants in clips.json."
        )
    missing = [clip for clip in clips if not (path / folder / clip).is_dir()]
    if missing:
        raise RunError(
            f"{path / folder} lacks {len(missing)} of {counted(len(clips), 'clip')} of "
            f"clips.json, the first is {missing[0]}. Predict them, or remove them from clips.json."
        )
    listed = {PurePosixPath(clip).parts[0] for clip in clips}
    held = {p.name for p in (path / folder).iterdir() if p.is_dir() and p.name[0] != "."}
    extra = sorted(held - listed)
    if extra:
        raise RunError(
            f"{path / folder}: {extra[0]} is not in clips.json ({len(extra)} such). Predict into "
            f"an empty folder, or remove what belongs to another run."
        )


def _size(frames: np.ndarray) -> str:
    return f"{frames.shape[2]}x{frames.shape[1]}"
