"""The workers of a launch: a command's shards as processes of this machine, or as jobs of Slurm."""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired, run
from typing import Any, Protocol

PATIENCE = 10.0  # seconds that workers have to end by themselves
_TAIL = 4096  # bytes of a log


class Part:
    """One shard's command. Called, it runs and gives its exit status: so a job of Slurm does.

    program: a module of egowm and its verb, before the command's words. logs: a folder.
    """

    def __init__(
        self, number: int, count: int, program: Sequence[str], words: Sequence[str], logs: Path
    ) -> None:
        self.number, self.name = number, f"{number + 1}/{count}"
        self.log = logs.absolute() / f"{number + 1}-of-{count}.log"
        at = words.index("--") if "--" in words else len(words)
        told = [*words[:at], "--launch", "", "--shard", self.name, *words[at:]]
        self.command = [sys.executable, "-m", *program, *told]

    def __call__(self) -> int:
        with self.log.open("wb") as stream:
            return run(self.command, stdin=DEVNULL, stdout=stream, stderr=STDOUT).returncode

    def last_line(self) -> str:
        """Of the log; of a bar that was drawn again and again, its last state."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - _TAIL))
                text = stream.read().decode(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
        return next((line for line in reversed(lines) if line), "")


class Worker(Protocol):
    """A part under way."""

    part: Part

    def status(self) -> int | None:
        """The exit status; None while it runs."""

    def why(self) -> str:
        """How it failed, in words."""

    def stop(self) -> None:
        """Ask it to end, if it runs."""

    def kill(self) -> None:
        """End it without waiting for it to end by itself."""

    def join(self) -> None:
        """Wait until it has ended."""


class Process:
    """A part in a process of this machine.

    It leads a group of its own: Ctrl-C reaches the launch alone, which ends the worker together
    with what that has started.
    """

    def __init__(self, part: Part) -> None:
        self.part, self._until = part, float("inf")
        with part.log.open("wb") as stream:
            self.process = Popen(
                part.command,
                stdin=DEVNULL,
                stdout=stream,
                stderr=STDOUT,
                env=os.environ | beside_others(part.number),
                start_new_session=True,
            )

    def status(self) -> int | None:
        return self.process.poll()

    def why(self) -> str:
        code = self.process.returncode
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def stop(self) -> None:
        self._until = time.monotonic() + PATIENCE
        if self.process.poll() is None:
            self._send(signal.SIGTERM)

    def kill(self) -> None:
        if self.process.poll() is None:
            self._send(getattr(signal, "SIGKILL", signal.SIGTERM))

    def join(self) -> None:
        try:
            self.process.wait(max(0.0, self._until - time.monotonic()))
        except TimeoutExpired:
            self.kill()
            self.process.wait()

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


def beside_others(number: int) -> dict[str, str]:
    """What the environment of worker `number` has besides: one GPU, where there are several, and
    threads of torch that do not spin while they wait, or workers would starve each other."""
    told, count = os.environ.get("CUDA_VISIBLE_DEVICES"), len(glob("/dev/nvidia[0-9]*"))
    gpus = told.split(",") if told is not None else [str(k) for k in range(count)]
    found = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
    return found | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if len(gpus) > 1 else {})


class Job:
    """A part as a job of submitit."""

    def __init__(self, part: Part, job: Any) -> None:
        self.part, self.job, self.trouble = part, job, ""

    def status(self) -> int | None:
        if not self.job.done():
            return None
        try:
            return int(self.job.result())
        except Exception as error:  # of submitit: the job did not end by itself
            self.trouble = f" ({str(error).strip().partition(chr(10))[0]})"
            return 1

    def why(self) -> str:
        return f"failed as job {self.job.job_id}{self.trouble}"

    def stop(self) -> None:
        if not self.job.done():
            self.job.cancel(check=False)  # one that has just ended keeps no other from being ended

    def kill(self) -> None:
        """Slurm sees to it."""

    def join(self) -> None:
        """Slurm sees to it."""


def slurm_executor(folder: Path, count: int, options: Mapping[str, str]) -> Any:
    """What submits to Slurm, as one array. folder: of submitit's files, which the jobs see, too."""
    import submitit

    found = submitit.SlurmExecutor(folder=folder)
    given = {"time": None, **options}  # None leaves it to the partition
    found.update_parameters(job_name="egowm", array_parallelism=count, **given)
    return found


def submitted(parts: Sequence[Part], executor: Any) -> list[Worker]:
    """The parts as one array of jobs."""
    with executor.batch():
        jobs = [executor.submit(part) for part in parts]
    return [Job(part, job) for part, job in zip(parts, jobs, strict=True)]
