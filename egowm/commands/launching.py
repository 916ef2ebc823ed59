"""`--launch`: the shards of a command on several processes of this machine, or on a Slurm cluster.

A worker runs the same command line with `--shard I/N` added, and leaves what it makes where
`--shard` does. When all have ended well, the command goes on as without `--launch`, and finds
everything made. So a launch can be repeated: what a worker that died has left is not made again.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import NamedTuple

from tqdm import tqdm

from egowm.checks import counted
from egowm.commands.interruptions import Interruptions, from_children, held
from egowm.commands.parser import Parser
from egowm.commands.workers import Part, Process, Worker, slurm_executor, submitted
from egowm.files import FolderKind, check_folder

log = logging.getLogger(__name__)
LOGS = FolderKind("--launch", r"\d+-of-\d+\.log|slurm/.+", lambda folder: True)
OF_SLURM = (
    "account", "constraint", "cpus_per_task", "gpus_per_node", "gres", "mem", "partition", "qos",
    "time",
)  # fmt: skip
MOST = 1000  # workers: Slurm's usual limit of an array
PAUSE = {"local": 0.05, "slurm": 5.0}  # seconds between two looks at the workers
_SHOWN = 3  # failures in one message


class LaunchError(ValueError):
    """Workers that failed; the message names their shards and logs."""


class Launch(NamedTuple):
    """Where how many workers run. options: of sbatch, by name."""

    place: str
    workers: int
    options: dict[str, str]


def add_launch(parser: Parser, shard: str) -> None:
    """Add --shard, whose work is `shard` in words, and --launch, which gives the shards out."""
    parser.add_argument("--shard", metavar="I/N", help=shard)
    parser.add_argument(
        "--launch",
        metavar="PLACE:N",
        help="run N shards and go on: local:4, or slurm:32,partition=gpu,time=240 (docs/scale.md)",
    )


def chosen_launch(arguments: argparse.Namespace) -> Launch | None:
    """The launch that was asked for; None without one, and in a worker. Nothing heavy is loaded.

    Raises ValueError, one sentence, for what is no launch, or cannot be one on this machine.
    """
    if not arguments.launch:  # a worker's is the empty text
        return None
    if getattr(arguments, "cache", "") is None:
        raise ValueError("--launch: give --cache DIR, where the workers leave what they make.")
    if arguments.shard is not None:
        raise ValueError("Expected --launch or --shard, got both: a launch gives out the shards.")
    first, *given = arguments.launch.split(",")
    place, _, count = first.partition(":")
    if place not in PAUSE or not count.isdecimal() or not 1 <= int(count) <= MOST:
        raise ValueError(
            f"--launch: expected local:N or slurm:N with N from 1 to {MOST}, such as local:4 or "
            f"slurm:32, got {arguments.launch!r}."
        )
    options = dict(word.partition("=")[::2] for word in given)
    _check_options(place, options)
    return Launch(place, int(count), options)


def _check_options(place: str, options: dict[str, str]) -> None:
    if place == "local":
        if options:
            raise ValueError(f"--launch local: takes a number alone, got {', '.join(options)} too.")
        return
    for name, value in options.items():
        if name not in OF_SLURM or not value:
            raise ValueError(
                f"--launch slurm: expected NAME=VALUE with a name of {', '.join(OF_SLURM)}, got "
                f"{f'{name}={value}'!r}."
            )
    if find_spec("submitit") is None:
        raise ValueError("--launch slurm: needs submitit, pip install 'egowm[clusters]'.")
    if which("sbatch") is None:
        raise ValueError("--launch slurm: found no sbatch: run it where jobs are submitted.")


def logs_beside(folder: Path) -> Path:
    """Where the workers that fill a folder write their logs."""
    return folder.with_name(f"{folder.name}.launch")


def run_workers(launch: Launch, program: Sequence[str], words: Sequence[str], logs: Path) -> None:
    """Run the command once for each shard, and wait for all.

    Its inputs were checked: a worker would tell the same mistake as all the others. program: a
    module of egowm and its verb, before the command's words. logs: a folder that all workers see.
    A failure is told at once, and raises LaunchError when the others have ended; Ctrl-C ends all
    workers, a second one without waiting for them.
    """
    check_folder(logs, LOGS, force=True)
    logs.mkdir(parents=True, exist_ok=True)
    parts = [Part(k, launch.workers, program, words, logs) for k in range(launch.workers)]
    log.info("%s:%d starts; its workers write to %s", launch.place, launch.workers, logs)
    workers: list[Worker] = []

    def kill() -> None:
        for worker in workers:
            worker.kill()

    with held(kill) as interruptions:
        try:
            workers.extend(_started(launch, parts, interruptions))
            with interruptions.raised():
                failures = _watched(workers, PAUSE[launch.place])
        finally:
            _end(workers)
    if failures:
        more = f" (and {len(failures) - _SHOWN} more)" if len(failures) > _SHOWN else ""
        raise LaunchError(
            f"--launch: {len(failures)} of {counted(launch.workers, 'shard')} failed: "
            f"{'; '.join(failures[:_SHOWN])}{more}. Run the command again: what is done is kept."
        )


def _started(
    launch: Launch, parts: Sequence[Part], interruptions: Interruptions
) -> Iterator[Worker]:
    if launch.place == "local":
        yield from (Process(part) for part in parts if interruptions.came is None)
    else:
        folder = parts[0].log.with_name("slurm")
        yield from submitted(parts, slurm_executor(folder, launch.workers, launch.options))


def _end(workers: Sequence[Worker]) -> None:
    with from_children():  # of which one may be what cancels a job
        for worker in workers:
            worker.stop()
    for worker in workers:
        worker.join()


def _watched(workers: Sequence[Worker], pause: float) -> list[str]:
    """Wait for all; what failed, in words."""
    failures, running = [], list(workers)
    with tqdm(total=len(workers), desc="workers", unit="shard", disable=None) as bar:
        while running:
            ended = [worker for worker in running if worker.status() is not None]
            for worker in ended:
                running.remove(worker)
                bar.update()
                if worker.status():
                    part = worker.part
                    end = f"{part.log} ends: {part.last_line()}"
                    failures.append(f"shard {part.name} {worker.why()}, {end}")
                    log.warning("%s", failures[-1])
            if running and not ended:
                time.sleep(pause)
    return failures
