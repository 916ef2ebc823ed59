"""A robot that learns while it drives, from nothing: success against minutes of robot time.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.daydreamer --folder ~/dream &

`egowm collect` drives one robot at real time beside `egowm fit -c recipes/rooms_dreamer.yaml`, each
on one thread. The policy is kept every few minutes and judged afterwards from the same places in
the true simulator. Then the light changes, and both go on. Beside them: SAC of stable-baselines3
over as many steps of the robot, random actions, and a driver that knows where it is. A run that was
stopped goes on; the record is written after each part.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import model_free
from benchmarks.experiment.room_driving import (
    AtRandom,
    ByPolicy,
    Driver,
    Knowing,
    judged,
    places,
)
from benchmarks.measure import RESULTS, Record, Script, picked, positive, provenance, read, write
from egowm.actions.spec import meant
from egowm.policies import Dreamer, LiveRobot
from egowm.policies.replay_buffer import listed
from egowm.shipped import recipes
from egowm.worlds.recording import seed_of

RECORD = RESULTS / "daydreamer.json"
RATE, ATTEMPT, AWAY = 4, 40, 24  # steps a second; steps of an attempt, and away from it
PAUSE = 2.0  # seconds between looks at the buffer
SETTINGS = ("minutes", "light_minutes", "every", "gain", "room", "fence", "turn", "slow", "starts")


def robot_of(arguments: argparse.Namespace, gain: float = 1.0) -> LiveRobot:
    """A robot of its own, under this light."""
    seed = seed_of("test", arguments.room)
    robot = LiveRobot(seed, fence=arguments.fence, turn=arguments.turn)
    robot.gain = gain
    return robot


def marks(arguments: argparse.Namespace) -> list[int]:
    """Minutes at which policies are kept."""
    return list(
        range(arguments.every, arguments.minutes + arguments.light_minutes + 1, arguments.every)
    )


# Driving and learning side by side --------------------------------------------------------------


def begun(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """`egowm` in a process of its own, on one thread."""
    single = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "egowm.commands.main", *words]
    with log.open("ab") as stream:
        return subprocess.Popen(command, env=os.environ | single, stdout=stream, stderr=stream)


def collecting(arguments: argparse.Namespace, folder: Path) -> list[str]:
    minutes = arguments.minutes + arguments.light_minutes
    options = {
        "output": folder / "replay", "policy": folder / "run/policy", "rate": RATE / arguments.slow,
        "steps": minutes * 60 * RATE, "room": arguments.room, "fence": arguments.fence,
        "turn": arguments.turn, "attempt": ATTEMPT, "away": AWAY, "seed": arguments.seed,
        "exposure": arguments.gain, "exposure_after": arguments.minutes * 60 * RATE,
    }  # fmt: skip
    return ["collect", *(word for k, v in options.items() for word in (f"--{k}", str(v)))]


def learning(arguments: argparse.Namespace, folder: Path) -> list[str]:
    words = ["fit", "-c", str(recipes()["rooms_dreamer"]), "--seed_everything", str(arguments.seed)]
    words += ["--data.root", str(folder / "replay"), "--ckpt_path", "last", "--save_every", "100"]
    return [
        *words,
        "--trainer.default_root_dir",
        str(folder / "run"),
        "--trainer.max_steps",
        "1000000",
    ]


def used() -> float:
    """CPU seconds of all children that have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def drive(arguments: argparse.Namespace, folder: Path) -> Record:
    """Both processes until the robot has driven; keeps policies, and gives CPU seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    learner = begun(learning(arguments, folder), folder / "fit.log")
    collector = begun(collecting(arguments, folder), folder / "collect.log")
    done = sum(one.steps for one in listed(folder / "replay"))
    waiting = [mark for mark in marks(arguments) if mark * 60 * RATE > done]
    before = used()
    try:
        while waiting:
            time.sleep(PAUSE)
            if learner.poll() is not None:
                raise ValueError(f"The learner ended: see {folder / 'fit.log'}.")
            ended = collector.poll() is not None
            steps = sum(one.steps for one in listed(folder / "replay"))
            while waiting and steps >= waiting[0] * 60 * RATE:
                keep_policy(folder, waiting.pop(0))
            if ended and waiting:
                raise ValueError(f"The collector ended: see {folder / 'collect.log'}.")
        collector.wait()
        driven = used() - before
    finally:
        for process in (collector, learner):
            process.send_signal(signal.SIGTERM)
        for process in (collector, learner):
            process.wait()
    return {
        "collector_cpu_seconds": round(driven),
        "learner_cpu_seconds": round(used() - before - driven),
    }


def keep_policy(folder: Path, mark: int) -> None:
    """A copy of the newest one, if any, with the newest checkpoint's gradient steps in its name."""
    kept, copied = folder / "policies", folder / "copied"
    kept.mkdir(exist_ok=True)
    if not (folder / "run/policy").is_dir():
        return  # the learner waits for its first steps
    for _ in range(10):  # it may be replaced just now
        try:
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(folder / "run/policy", copied)
            Dreamer.from_pretrained(copied)
        except (OSError, ValueError, shutil.Error):
            time.sleep(PAUSE)
            continue
        found = [int(p.stem.partition("=")[2]) for p in folder.glob("run/checkpoints/step=*.ckpt")]
        copied.rename(kept / f"{mark:03d}_{max(found, default=0)}")
        return


# Judging ----------------------------------------------------------------------------------------


def lights(arguments: argparse.Namespace, mark: int) -> Iterator[float]:
    """Those under which a policy of so many minutes is judged."""
    yield 1.0
    if mark >= arguments.minutes and arguments.light_minutes:
        yield arguments.gain


def row(
    arguments: argparse.Namespace, name: str, gain: float, make: Callable[[LiveRobot], Driver]
) -> Record:
    robot = robot_of(arguments, gain)
    with meant():
        found = judged(robot, make(robot), places(robot, arguments.starts), ATTEMPT)
    return {"row": name, "gain": gain} | found


def of_policies(arguments: argparse.Namespace, folder: Path) -> Iterator[Record]:
    for kept in sorted((folder / "policies").iterdir()):
        mark, steps = map(int, kept.name.split("_"))
        policy = Dreamer.from_pretrained(kept)

        def driver(robot: LiveRobot, policy: Dreamer = policy) -> Driver:
            return ByPolicy(policy, robot.look(robot.goal))

        for gain in lights(arguments, mark):
            found = row(arguments, "Dreamer", gain, driver)
            yield found | {"minutes": mark, "gradient_steps": steps}


def of_sac(arguments: argparse.Namespace) -> Iterator[Record]:
    robot, total = robot_of(arguments), (arguments.minutes + arguments.light_minutes) * 60 * RATE
    model, env = model_free.make(robot, total, ATTEMPT, AWAY, arguments.seed)
    spent = 0
    for mark in marks(arguments):
        robot.gain = arguments.gain if mark > arguments.minutes else 1.0
        trained = model_free.train(model, env, mark * 60 * RATE)
        spent += trained.pop("cpu_seconds")
        for gain in lights(arguments, mark):
            found = row(arguments, "SAC", gain, lambda robot: model_free.BySac(model, robot))
            yield found | {"minutes": mark, "cpu_seconds": spent} | trained


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the run, outside the tree")
    add("--minutes", type=positive, default=28, help="of robot time before the light changes")
    add("--light_minutes", type=int, default=8, help="after it")
    add("--every", type=positive, default=4, help="minutes between policies that are judged")
    add("--gain", type=float, default=0.5, help="of the light after it changed")
    add("--room", type=int, default=3, help="which of the test rooms")
    add("--fence", type=float, default=2.0, help="metres from the goal, at most")
    add("--turn", type=float, default=15.0, help="degrees that it turns in a step, at most")
    add("--slow", type=float, default=1.0, help="seconds of the clock for one of robot time")
    add("--starts", type=positive, default=20, help="places from which each policy is judged")
    add("--seed", type=int, default=3)
    add("--record", type=Path, default=RECORD)


def work(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.expanduser()
    about = provenance(arguments.seed, "cpu", ("torch", "stable-baselines3"))
    about["command"] = about["command"].replace(str(Path.home()), "~")
    settings = picked(arguments, *SETTINGS) | {"rate": RATE, "attempt": ATTEMPT, "away": AWAY}
    record = about | settings | {"rows": []} | (read(arguments.record) or {})
    if record["rows"] and any(record[key] != value for key, value in settings.items()):
        raise ValueError(f"{arguments.record} was measured otherwise: name another, --record.")

    def keep(rows: Iterator[Record]) -> None:
        for found in rows:
            if _key(found) not in {_key(there) for there in record["rows"]}:
                record["rows"].append(found)
            write(arguments.record, record)
            print(found, flush=True)

    if len(record["rows"]) < 2:
        keep(row(arguments, "random actions", 1.0, AtRandom) for _ in range(1))
        keep(row(arguments, "knows where it is", 1.0, Knowing) for _ in range(1))
    if "learner_cpu_seconds" not in record:
        record |= drive(arguments, folder)
        write(arguments.record, record)
    keep(of_policies(arguments, folder))
    keep(of_sac(arguments))


def _key(found: Record) -> tuple[str, int, float]:
    """What a row is of."""
    return found["row"], found.get("minutes", 0), found["gain"]


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
