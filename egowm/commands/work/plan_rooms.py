"""What `egowm plan` does in the rooms: one room after the other, or a share of them."""

import argparse
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from tqdm import tqdm

from egowm import export
from egowm.checks import counted
from egowm.checksums import sum_of
from egowm.commands.launching import Launch, logs_beside, run_workers
from egowm.data.normalisers import WHEELED
from egowm.evaluation.film import write_film
from egowm.evaluation.navigation import Pose, Run, Task, act_out, make_tasks, time_allowed
from egowm.evaluation.plan_film import drive_film
from egowm.files import FolderKind, check_folder, filled, whole
from egowm.hub import located
from egowm.shares import items_of, share_of
from egowm.shipped import default_model
from egowm.typed_json import read_json

log = logging.getLogger(__name__)
VERSION = 1  # raised when a room's result is made or kept differently
ROW, FILM = "row.json", "room"
ROOMS = FolderKind(
    "egowm plan --cache", rf"[0-9a-f]{{64}}/({ROW}|{FILM}\.(mp4|webp))", lambda folder: True
)
# All that decides a room's result, besides the task and the files of `FOLDERS`.
DECIDES = (
    "simulator", "planner", "candidates", "rounds", "horizon", "every", "stops", "steps", "chain",
    "dtype", "by", "size", "seed",
)  # fmt: skip
FOLDERS = ("model", "policy", "encoder")


class Row(TypedDict):
    """What plan.json, and a row of a cache, tell of a room."""

    room: int
    start: Pose
    goal: Pose
    success: bool
    reached: bool
    metres: float
    degrees: float
    poses: list[Pose]


class Rooms(NamedTuple):
    """Tasks, and where results are kept. about: what decides them."""

    tasks: list[Task]
    max_steps: int
    size: tuple[int, int]
    cache: Path | None
    about: dict[str, Any]

    def place(self, task: Task) -> Path | None:
        """Where the result of a task is kept, named by what it depends on."""
        if self.cache is None:
            return None
        facts = [VERSION, self.about, self.max_steps, [task.seed, task.start, task.goal]]
        return self.cache / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plan_rooms(
    args: argparse.Namespace,
    make_agent: Callable[[argparse.Namespace], Any],
    kind: FolderKind,
    launch: Launch | None,
) -> int:
    """Go through all rooms, write plan.json and a film of each; or fill the cache with a share."""
    rooms = _rooms(args)
    if args.cache is not None:
        check_folder(args.cache, ROOMS, force=True)
    if launch is not None:
        here = argparse.Namespace(**(vars(args) | {"device": "cpu"}))
        make_agent(here)  # refuses what the workers would
        program = ["egowm.commands.main", "plan"]
        run_workers(launch, program, args.words, logs_beside(args.cache))
    agent = make_agent(args)
    if args.shard is not None:
        mine = items_of(share_of(args.shard), rooms.tasks)
        for task in tqdm(mine, f"shard {args.shard}", unit="room"):
            place = rooms.place(task)
            assert place is not None, "`egowm plan` refuses shares without a cache"
            _made(rooms, task, agent, place)
        done = counted(len(mine), "room is", "rooms are")
        print(f"shard {args.shard}: {done} gone through in {args.cache}")
        return 0
    rows = _all(rooms, agent, args.output, kind)
    _tell(rows, args.output)
    return 0


def _rooms(args: argparse.Namespace) -> Rooms:
    where = {"distance": args.distance, "visible": not args.hidden}
    max_steps = time_allowed(**where) if args.max_steps is None else args.max_steps
    if max_steps < 1:
        raise ValueError("Expected --max_steps of at least 1.")
    about = {} if args.cache is None else _about(args)
    tasks = make_tasks(args.rooms, **where)
    return Rooms(tasks, max_steps, tuple(args.size), args.cache, about)


def _about(args: argparse.Namespace) -> dict[str, Any]:
    """The options that decide, and the networks by what their files hold."""
    given = {name: getattr(args, name) for name in FOLDERS}
    if not (args.simulator or args.policy):
        given["model"] = args.model or default_model()
    held = {name: _content(name, path) for name, path in given.items() if path is not None}
    return {name: getattr(args, name) for name in DECIDES} | held


def _content(name: str, path: str | Path) -> list[list[str]]:
    """Of a folder, the checksum of each file."""
    place = located(path)
    folder = export.find(place) if name == "model" else place
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [[file.relative_to(folder).as_posix(), sum_of(file)] for file in files]


def _all(rooms: Rooms, agent: Any, output: Path, kind: FolderKind) -> Sequence[Row]:
    rows = []
    with filled(output, kind) as folder:
        bar = tqdm(rooms.tasks, "rooms", leave=False, disable=len(rooms.tasks) == 1)
        for number, task in enumerate(bar):
            place = rooms.place(task)
            if place is None:
                rows.append(_act(rooms, task, agent, folder / f"room_{number}"))
                continue
            rows.append(_made(rooms, task, agent, place))
            for film in place.glob(f"{FILM}.*"):
                shutil.copyfile(film, folder / f"room_{number}{film.suffix}")
        (folder / "plan.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def _made(rooms: Rooms, task: Task, agent: Any, place: Path) -> Row:
    """A task's row, made now if its folder has none, or a damaged one.

    Two processes may make one room at once: each puts its whole folder in the place of the other's,
    which is the same, and no reader finds the place empty between.
    """
    row = _kept(place)
    if row is None:
        with whole(place) as temporary:
            temporary.mkdir()
            row = _act(rooms, task, agent, temporary / FILM)
            (temporary / ROW).write_text(json.dumps(row), encoding="utf-8")
    return row


def _act(rooms: Rooms, task: Task, agent: Any, film: Path) -> Row:
    """Go through one room, and draw its film; its row of plan.json."""
    made: Run = act_out(task, agent, rooms.max_steps, rooms.size)
    write_film(film, drive_film(task, made, agent.plans), WHEELED.rate_hz)
    return {
        "room": task.seed,
        "start": task.start,
        "goal": task.goal,
        "success": made.success,
        "reached": made.reached,
        "metres": round(made.metres, 3),
        "degrees": round(made.degrees, 1),
        "poses": np.round(made.poses, 4).tolist(),
    }


def _tell(rows: Sequence[Row], output: Path) -> None:
    for row in rows:
        word = "arrived" if row["success"] else "missed"
        print(f"room {row['room']}: {word}, {row['metres']:.2f} m and {row['degrees']:.0f} degrees")
    films = "room_0.mp4" if len(rows) == 1 else f"room_0.mp4 to room_{len(rows) - 1}.mp4"
    print(f"{sum(row['success'] for row in rows)} of {len(rows)} arrived; {output}: {films}")


def _kept(place: Path) -> Row | None:
    """The row of a task's result; None where there is none, or a damaged one."""
    try:
        found: Row = read_json(place / ROW, Row, "a row of `egowm plan --cache`")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: the room is gone through again", error)
        return None
