"""Recordings as LeRobot's codebase 3.0 lays them out, which `LeRobot` reads.

Facts of the layout: huggingface/lerobot, `src/lerobot/datasets`, codebase 3.0.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.checks import check_between, check_whole, checked
from egowm.data.lerobot_columns import check_cameras, checked_columns, checked_names, described
from egowm.data.lerobot_files import EPISODES, TABLES, VIDEOS, Files, write_tasks
from egowm.data.lerobot_stats import PictureStats, Stats, column_stats, joined
from egowm.data.parquet import TableFile, load_parquet
from egowm.data.recording_writer import RecordingWriter, in_step
from egowm.files import FolderKind
from egowm.video_encoder import VideoFile

ROWS = 100  # episodes that are written to their table at once
WRITTEN = FolderKind(
    "egowm.data.LeRobotWriter",
    r"meta/.+\.(json|parquet)|data/.+\.parquet|videos/.+\.mp4",
    forced="force=True",
)
Frames = np.ndarray | Iterable[np.ndarray]


@checked
class LeRobotWriter(RecordingWriter):
    """Write episodes as a LeRobotDataset of codebase 3.0: tables, videos and their index.

    The folder appears when the `with` block ends without an error. Videos are H.264 at a constant
    rate, with a key frame at the start of each episode; docs/data.md says how close frames come
    back.

    >>> from tempfile import TemporaryDirectory
    >>> from egowm.data import LeRobot
    >>> with TemporaryDirectory() as root:
    ...     names = {"action": ["shoulder", "elbow"]}
    ...     with LeRobotWriter(f"{root}/arm", names, fps=10) as writer:
    ...         actions = np.zeros((9, 2), np.float32)
    ...         writer.add({"action": actions}, {"front": np.zeros((9, 32, 32, 3), np.uint8)})
    ...     data = LeRobot(f"{root}/arm", state="", val_share=0, test_share=0)
    ...     data.meaning.names, [episode.num_frames for episode in data.split("train")]
    (('shoulder', 'elbow'), [9])

    Args:
        root: Folder to write, which will hold `meta`, `data` and `videos`.
        features: Names of the dimensions of each column, such as `{"action.base": ["vx", "wz"],
            "observation.state.arm": [...]}`; `LeRobot(action="action.*")` joins them in this order.
        fps: Frames and rows a second, 0.01 to 1000.
        robot_type: The robot, for `meta/info.json`.
        chunks_size: Files of a chunk.
        data_files_size_in_mb: An episode that would make a table larger begins the next file.
        video_files_size_in_mb: The same of a video, judged by the frames before.
        force: Replace what this writer wrote there before.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: Names that the format has no room for; at the end of the block, nothing was
            added.
        ImportError: pyarrow is not installed.
    """

    def __init__(
        self,
        root: str | Path,
        features: Mapping[str, Sequence[str]],
        fps: float,
        *,
        robot_type: str = "",
        chunks_size: int = 1000,
        data_files_size_in_mb: float = 100,
        video_files_size_in_mb: float = 200,
        force: bool = False,
    ) -> None:
        check_between("fps", fps, 0.01, 1000)
        check_whole("chunks_size", chunks_size, 1, 2**31)
        self.features = checked_names(features)
        self.fps = int(fps) if fps == int(fps) else float(fps)
        self._about: dict[str, Any] = {
            "robot_type": robot_type or None,
            "chunks_size": chunks_size,
            "data_files_size_in_mb": data_files_size_in_mb,
            "video_files_size_in_mb": video_files_size_in_mb,
        }
        self._described: dict[str, Any] = {}
        self._tasks: dict[str, int] = {}
        self._stats: dict[str, Stats] = {}
        self._rows: list[dict[str, Any]] = []
        self._num_episodes = self._num_frames = 0
        self._videos: dict[str, Files[VideoFile]] = {}
        load_parquet(Path(root))
        super().__init__(root, WRITTEN, force)

    def add(
        self, columns: Mapping[str, np.ndarray], frames: Mapping[str, Frames], task: str = ""
    ) -> None:
        """Append one episode; row k is what the robot was told, and its state, at frame k.

        Args:
            columns: Of each feature its rows (N, D), or (N,) where D is 1. The first episode says
                which type of number a feature has; none is converted.
            frames: Of each camera, such as "observation.images.head", one for each row, (N, H, W,
                3) uint8 RGB, or an iterator of frames (H, W, 3), of which one at a time is in
                memory; all cameras are asked step by step. All episodes have the same cameras at
                the same, even sizes.
            task: What the robot does, in words.

        Raises:
            ValueError: Another shape, type or camera, a number that is not finite. Nothing is lost,
                except where an iterator of frames ends early: that ends the writer.
        """
        dtypes = {key: feature["dtype"] for key, feature in self._described.items()}
        shapes = {camera: self._described[camera]["shape"] for camera in self._videos}
        rows = checked_columns(columns, self.features, dtypes)
        count = len(next(iter(rows.values())))
        check_cameras(frames, count, self.features, shapes)
        with self._adding() as place:
            if not self._num_episodes:
                self._begin(place, list(frames))
            table = rows | self._own_columns(count, task)
            stats = {key: column_stats(values) for key, values in table.items()}
            index = self._write_rows(table) | self._write_frames(frames, count, stats)
            self._note(index, stats, count, task)
            if not self._described:
                videos = {key: files.last for key, files in self._videos.items() if files.last}
                self._described = described(rows, self.features, videos, self.fps)

    def _begin(self, place: Path, cameras: Sequence[str]) -> None:
        """The numbered files of each kind."""
        chunks_size = self._about["chunks_size"]
        table_size, video_size = (
            self._about[f"{kind}_files_size_in_mb"] for kind in ("data", "video")
        )
        self._tables = Files(TableFile, place, TABLES, table_size, chunks_size)
        self._index = Files(TableFile, place, EPISODES, table_size, chunks_size)
        for camera in cameras:
            path, open_video = VIDEOS.replace("{video_key}", camera), partial(self._video, camera)
            self._videos[camera] = Files(open_video, place, path, video_size, chunks_size)

    def _video(self, camera: str, path: Path) -> VideoFile:
        return VideoFile(path, self.fps, tuple(self._described.get(camera, {}).get("shape", ())))

    def _own_columns(self, count: int, task: str) -> dict[str, np.ndarray]:
        """The columns that every data set has."""
        rows = np.arange(count)
        number = self._tasks.setdefault(task, len(self._tasks))
        return {
            "timestamp": (rows / self.fps).astype(np.float32),
            "frame_index": rows,
            "episode_index": np.full(count, self._num_episodes),
            "index": self._num_frames + rows,
            "task_index": np.full(count, number),
        }

    def _write_rows(self, table: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Write an episode's table; returns where."""
        file = self._tables.for_part(sum(values.nbytes for values in table.values()))
        file.add({k: v[:, 0] if v.shape[1:] == (1,) else v for k, v in table.items()})
        return {f"data/{key}": number for key, number in self._tables.place.items()}

    def _write_frames(
        self, frames: Mapping[str, Frames], count: int, stats: dict[str, Stats]
    ) -> dict[str, Any]:
        """Write an episode's frames; returns where, and adds their statistics to `stats`."""
        files, seen = {}, {camera: PictureStats(count) for camera in frames}
        found: dict[str, Any] = {}
        for camera in frames:
            video = self._videos[camera]
            expected = video.last.bytes_of(count) if video.last else 0.0
            files[camera] = video.for_part(expected)
            first = files[camera].num_frames
            place = video.place | {"from_timestamp": first / self.fps}
            place["to_timestamp"] = (first + count) / self.fps
            found |= {f"videos/{camera}/{key}": value for key, value in place.items()}
        for step, shown in enumerate(in_step(frames, count)):
            for camera, frame in shown.items():
                files[camera].add(frame, key=step == 0)
                seen[camera].add(frame)
        stats |= {camera: pictures.stats() for camera, pictures in seen.items()}
        return found

    def _note(
        self, index: dict[str, Any], stats: Mapping[str, Stats], count: int, task: str
    ) -> None:
        """Take an episode into the index and the statistics of all."""
        row = {"episode_index": self._num_episodes, "tasks": [task], "length": count} | index
        row["dataset_from_index"] = self._num_frames
        row["dataset_to_index"] = self._num_frames + count
        for key, found in stats.items():
            row |= {f"stats/{key}/{name}": value for name, value in found.items()}
            before = self._stats.get(key)
            self._stats[key] = joined(before, found) if before else found
        self._rows.append(row)
        self._num_episodes += 1
        self._num_frames += count
        if len(self._rows) == ROWS:
            self._write_index()

    def _write_index(self) -> None:
        """Write the rows of episodes that wait."""
        size = len(json.dumps(self._rows))
        file = self._index.for_part(size)
        here = {f"meta/episodes/{key}": number for key, number in self._index.place.items()}
        rows = [row | here for row in self._rows]
        file.add({key: [row[key] for row in rows] for key in rows[0]})
        self._rows = []

    def _finish(self) -> None:
        if not self._num_episodes or self._place is None:
            raise ValueError(f"{self.folder}: no episode was added, so nothing is written.")
        if self._rows:
            self._write_index()
        self._close()
        meta = self._place / "meta"
        write_tasks(meta / "tasks.parquet", list(self._tasks))
        for name, content in (("info", self._info()), ("stats", self._stats)):
            text = json.dumps(content, indent=4)
            (meta / f"{name}.json").write_text(text, encoding="utf-8")

    def _info(self) -> dict[str, Any]:
        totals = {
            "total_episodes": self._num_episodes,
            "total_frames": self._num_frames,
            "total_tasks": len(self._tasks),
        }
        rest = {
            "fps": self.fps,
            "splits": {"train": f"0:{self._num_episodes}"},
            "data_path": TABLES,
            "video_path": VIDEOS,
            "features": self._described,
        }
        return {"codebase_version": "v3.0"} | totals | self._about | rest

    def _close(self) -> None:
        if self._videos:
            self._tables.close()
            self._index.close()
        for videos in self._videos.values():
            videos.close()
