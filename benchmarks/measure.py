"""Where a measured figure comes from: command, commit, seed, device, versions and date."""

import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"
# What a measurement writes does not change what the next one measures.
_MEASURED = (".", ":!benchmarks/results", ":!docs")
_THREADING = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS")


def provenance(
    seed: int,
    device: str | None = None,
    packages: Sequence[str] = ("torch", "diffusers"),
    argv: Sequence[str] | None = None,
    weights: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """The record that every file in benchmarks/results/ opens with; taken before measuring begins.

    device: "cpu" or "cuda"; by default what torch finds, and "cpu" where torch was not imported.
    argv: the command with its script first, `sys.argv` by default.
    weights: folders of priors and exports that are measured; their hashes are kept by name.
    `commit` is None outside a git checkout; `dirty` says whether anything but results and docs
    differed from it, and the tables say so, too. `threads` is torch's number, None where torch was
    not imported.
    """
    torch = sys.modules.get("torch")
    device = device or ("cuda" if torch and torch.cuda.is_available() else "cpu")
    commit = _git("rev-parse", "HEAD")
    dirty = None if commit is None else bool(_git("status", "--porcelain", "--", *_MEASURED))
    if dirty:
        log.warning("the tree has changes that no commit holds: the record will be called dirty")
    return {
        "command": _command(sys.argv if argv is None else argv),
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


def history() -> frozenset[str] | None:
    """All commits up to this one; None where git cannot tell: no checkout, or a shallow one."""
    if not (ROOT / ".git").exists() or _git("rev-parse", "--is-shallow-repository") != "false":
        return None
    return frozenset((_git("rev-list", "HEAD") or "").split())


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _command(argv: Sequence[str]) -> str:
    return shlex.join([*command_of(argv[0]), *argv[1:]])


def command_of(script: str) -> list[str]:
    """The words that run a script: those of a module where it is one of ours."""
    path = Path(script).resolve()
    if not path.is_relative_to(ROOT):
        return ["python", path.name]
    return ["python", "-m", ".".join(path.relative_to(ROOT).with_suffix("").parts)]


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
