"""What every measurement shares: where its figures come from, its record, its command line."""

import argparse
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from egowm.files import whole

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"
# What a measurement writes does not change what the next one measures.
_MEASURED = (".", ":!benchmarks/results", ":!docs")
_THREADING = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS")
Record = dict[str, Any]


# Where a figure comes from ----------------------------------------------------------------------


def provenance(
    seed: int,
    device: str | None = None,
    packages: Sequence[str] = ("torch", "diffusers"),
    argv: Sequence[str] | None = None,
    weights: Sequence[str | Path] = (),
) -> Record:
    """The record that every file in benchmarks/results/ opens with; taken before measuring begins.

    `commit` is None outside a git checkout; `dirty` says whether anything but results and docs
    differed from it, and the tables say so, too. `threads` is torch's number, None where torch was
    not imported.

    Args:
        device: "cpu" or "cuda"; by default `best_device()`.
        argv: the command with its script first, `sys.argv` by default.
        weights: folders of priors and exports that are measured; their hashes are kept by name.
    """
    torch = sys.modules.get("torch")
    device = device or best_device()
    script, *options = sys.argv if argv is None else argv
    commit = _git("rev-parse", "HEAD")
    dirty = None if commit is None else bool(_git("status", "--porcelain", "--", *_MEASURED))
    if dirty:
        log.warning("the tree has changes that no commit holds: the record will be called dirty")
    return {
        "command": shlex.join([*command_of(script), *options]),
        "commit": commit,
        "dirty": dirty,
        "seed": seed,
        "device": device,
        "device_name": device_name(device),
        "threads": torch.get_num_threads() if torch else None,
        "environment": {name: os.environ[name] for name in _THREADING if name in os.environ},
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in packages},
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    } | ({"weights": {Path(f).name: _sha256(Path(f)) for f in weights}} if weights else {})


def best_device() -> str:
    """What torch finds, and "cpu" where torch was not imported."""
    torch = sys.modules.get("torch")
    return "cuda" if torch and torch.cuda.is_available() else "cpu"


def device_name(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The GPU's name, or the CPU's with its number of cores."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    name = platform.processor() or platform.machine()
    if cpuinfo.is_file():
        rows = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in rows}
        name = fields.get("model name", name)
    return f"{name}, {os.cpu_count()} cores"


def command_of(script: str) -> list[str]:
    """The words that run a script: those of a module where it is one of ours."""
    path = Path(script).resolve()
    if not path.is_relative_to(ROOT):
        return ["python", path.name]
    return ["python", "-m", ".".join(path.relative_to(ROOT).with_suffix("").parts)]


def history() -> frozenset[str] | None:
    """All commits up to this one; None where git cannot tell: no checkout, or a shallow one."""
    if not (ROOT / ".git").exists() or _git("rev-parse", "--is-shallow-repository") != "false":
        return None
    return frozenset((_git("rev-list", "HEAD") or "").split())


def _git(*arguments: str) -> str | None:
    """What git prints; None, and a warning, where this is no checkout or git is missing."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("git %s failed (%s): commits are not known", arguments[0], error)
        return None
    return done.stdout.strip()


def _sha256(folder: Path) -> str:
    from egowm.backbones.base import weights_sha256  # torch is for those who measure networks

    return weights_sha256(folder)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# Records ----------------------------------------------------------------------------------------


def made(origin: Record) -> Record:
    """Where a row was measured, of a record to which rows are added one by one."""
    return {key: origin[key] for key in ("commit", "dirty", "device_name")}


def write(path: Path, record: Record) -> None:
    """Write a record as JSON: whole, or not at all."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> Record | None:
    """A record, or None where nothing was measured yet."""
    if not path.is_file():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


# Command lines ----------------------------------------------------------------------------------


def positive(text: str) -> int:
    """The type of an option that is at least 1."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return int(text)


def picked(arguments: argparse.Namespace, *names: str) -> Record:
    """Options by name, as a record's settings hold them."""
    return {name: getattr(arguments, name) for name in names}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ValueError(message)


class Script(NamedTuple):
    """A script; to call it is to run its command line.

    Args:
        script: `__file__`.
        doc: its `__doc__`.
        options: calls `add_argument` for each of its options.
        work: what it does with them.
    """

    script: str
    doc: str | None
    options: Callable[[Callable[..., Any]], None]
    work: Callable[[argparse.Namespace], object]

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """0; 2, and one line, where the input is unusable."""
        name = " ".join(command_of(self.script))
        raw = argparse.RawDescriptionHelpFormatter
        parser = _Parser(prog=name, description=self.doc, formatter_class=raw)
        self.options(parser.add_argument)
        try:
            self.work(parser.parse_args(argv))
        except (OSError, ValueError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        return 0


def benchmark(
    script: str,
    doc: str | None,
    file: str,
    options: Callable[[Callable[..., Any]], None],
    run: Callable[[argparse.Namespace], Record],
    table: Callable[[Path], str],
    device: bool = True,
) -> Script:
    """A script that measures, writes its record and prints the table that is made from it.

    Args:
        script: `__file__`.
        doc: its `__doc__`.
        file: of the record; "{gpu}" in it is "-gpu" for a GPU, "" for a CPU.
        options: adds its own to --results (the record's folder), --seed and --device.
        run: gives the record; `arguments.file` is where it will be.
        table: takes the folder.
        device: whether there is a choice.
    """

    def all_options(add: Callable[..., Any]) -> None:
        options(add)
        add("--seed", type=int, default=0)
        add("--results", type=Path, default=RESULTS, help="folder that is written")
        if device:
            add("--device", choices=("cpu", "cuda"), default=best_device())

    def work(arguments: argparse.Namespace) -> None:
        gpu = "-gpu" if device and arguments.device == "cuda" else ""
        arguments.file = arguments.results / file.format(gpu=gpu)
        write(arguments.file, run(arguments))
        print(table(arguments.results), arguments.file, sep="\n\n")

    return Script(script, doc, all_options, work)
