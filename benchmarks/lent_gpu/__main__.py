"""Spends one of three calls of ten minutes on a lent GPU: trains, trains on, measures.

    python -m benchmarks.lent_gpu 1 --out home/1   # rooms, the prior, a world model from it
    python -m benchmarks.lent_gpu 2 --out home/2   # more of it, from scratch, the transformer's
    python -m benchmarks.lent_gpu 3 --out home/3   # the rows of the benchmarks

Each step is a process with a share of the minutes; what one leaves goes to the next. A step that
fails, or that its time ends, is told in `call-N.json`, and the next one begins. --out gets at most
8 files of at most 16 MB; rooms, checkpoints and logs stay in --work, where the next call goes on.
"""

import argparse
import csv
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.lent_gpu.steps import Lent, Step
from benchmarks.measure import ROOT, Record, Script, provenance, write

LARGEST, POINTS = 16_000_000, 40
GRACE = 10.0  # seconds to save a checkpoint in, once the time is over
READY = ["diffusers", "lightning", "egowm.commands.work.fit", "egowm.backbones.svd"]


def run(step: Step, seconds: float, log: Path) -> Record:
    """One step, ended after `seconds`: what it was, how long it took, and how it went."""
    start = time.monotonic()
    words = step.command(seconds)
    begin = log.stat().st_size if log.is_file() else 0
    # Copies of a process that has imported everything: a step does not wait for that.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(READY)
    child = context.Process(target=_work, args=(words, str(log)))
    child.start()
    child.join(seconds)
    ended = child.is_alive()
    if ended:
        _end(child)
    record: Record = {"step": step.name, "command": " ".join(words), "limit_s": round(seconds, 1)}
    record["seconds"] = round(time.monotonic() - start, 1)
    record["status"] = "out of time" if ended else "failed" if child.exitcode else "done"
    if record["status"] != "done":
        with log.open("rb") as file:
            file.seek(begin)
            record["last"] = file.read().decode(errors="replace").strip().splitlines()[-8:]
    if step.curve is not None:
        record["curve"] = curve(step.curve)
    return record


def _work(words: Sequence[str], log: str) -> None:
    """In the child: the main function of a module, its output in the log."""
    os.setsid()
    os.chdir(ROOT)
    with open(log, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    module = import_module(words[0])
    sys.argv = [str(module.__file__), *words[1:]]
    sys.exit(module.main(list(words[1:])))


def _end(child: BaseProcess) -> None:
    """Let it save what it has; then end it and all that it started."""
    assert child.pid is not None
    child.terminate()
    child.join(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.join()


def curve(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of the losses that a training logged, thinned."""
    found: dict[str, list[tuple[int, str, float]]] = {}
    for path in sorted(folder.glob("lightning_logs/*/metrics.csv"), key=os.path.getmtime):
        with path.open() as lines:
            for row in csv.DictReader(lines):
                for name in (n for n in row if n.endswith("loss") and row[n]):
                    point = int(row["step"]), name, float(row[name])
                    found.setdefault(name, []).append(point)
    return [p for points in found.values() for p in points[:: 1 + len(points) // POINTS]]


def bring(step: Step, out: Path) -> dict[str, str]:
    """Copy what comes home of a step; names and reasons of what does not."""
    left = {}
    for name, source in step.brings.items():
        if not source.is_file():
            left[name] = "it was not made"
        elif source.stat().st_size > LARGEST:
            left[name] = f"{source.stat().st_size} bytes, more than {LARGEST}"
        else:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, out / name)
    return left


def unpack(wheels: Path, target: Path) -> None:
    """Install a folder's wheels, and nothing else, where this and all later processes import."""
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise ValueError(f"Expected wheels (*.whl) in {wheels}, found none.")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--upgrade"]
    done = subprocess.run([*pip, "--target", target, *files], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"pip: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(target), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    sys.path.insert(0, str(target))


def options(add: Callable[..., Any]) -> None:
    add("call", type=int, choices=(1, 2, 3))
    add("--out", type=Path, required=True, help="folder of what comes home, new or empty")
    add("--work", type=Path, default=ROOT / "runs/lent_gpu", help="folder of all else")
    add("--minutes", type=float, default=9.5, help="of the whole call")
    add("--wheels", type=Path, help="folder of wheels that the machine lacks")
    add("--dry-run", action="store_true", help="every step at toy size, on the CPU")


def work(arguments: argparse.Namespace) -> None:
    start, out, folder = time.monotonic(), arguments.out, arguments.work.resolve()
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out {out}: expected a new or empty folder.")
    for needed in (out, folder / "records"):
        needed.mkdir(parents=True, exist_ok=True)
    if arguments.wheels:
        unpack(arguments.wheels, folder / "wheels")
    import torch

    dry = arguments.dry_run or not torch.cuda.is_available()
    if dry and not arguments.dry_run:
        raise ValueError("Expected a GPU, torch finds none: --dry-run needs no GPU.")
    lent = Lent(folder, "cpu" if dry else "cuda", dry)
    record = provenance(0, lent.device) | {"steps": [], "left_out": {}}
    steps, file = lent.steps(arguments.call), out / f"call-{arguments.call}.json"
    for number, step in enumerate(steps):
        left = 60 * arguments.minutes - (time.monotonic() - start) - GRACE
        share = step.weight / sum(later.weight for later in steps[number:])
        record["steps"].append(run(step, max(1.0, share * left), folder / "log.txt"))
        record["left_out"] |= bring(step, out)
        record["seconds"] = round(time.monotonic() - start, 1)
        write(file, record)
        told = record["steps"][-1]
        print(f"{step.name}: {told['status']}, {told['seconds']} s", flush=True)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
