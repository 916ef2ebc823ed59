"""`run.json`: what a run is, from its first second, and how it ended."""

import hashlib
import json
import logging
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

from egowm.files import FileKind, check_file, whole

log = logging.getLogger(__name__)
PACKAGES = ("egowm", "torch", "lightning", "diffusers", "transformers", "peft")
RECORD = FileKind("the record of a run", rb'\{\s*"command": ')
ROOT = Path(__file__).resolve().parent.parent.parent


class RunRecord:
    """`<folder>/run.json`, written at once and again at the end.

    argv: the command after `egowm`. recipe: the whole configuration, with all defaults. Its `exit`
    is "running" until `finish`, and stays so where the process was killed. Another's file of that
    name is refused with an OSError.
    """

    def __init__(self, folder: Path, argv: Sequence[str], recipe: dict[str, Any]) -> None:
        self.path, self._started = folder / "run.json", monotonic()
        check_file(self.path, RECORD)
        self._before = self.path.read_bytes() if self.path.exists() else None
        text = json.dumps(recipe, sort_keys=True, default=str)
        self.fields: dict[str, Any] = {
            "command": shlex.join(["egowm", *argv]),
            "exit": "running",
            "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "commit": _commit(),
            "seed": recipe.get("seed_everything"),
            "resumed_from": recipe.get("ckpt_path"),
            "versions": {"python": platform.python_version()} | _versions(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "recipe_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "recipe": json.loads(text),
        }
        self._write()

    def withdraw(self) -> None:
        """Leave the folder as it was: no run began."""
        if self._before is not None:
            with whole(self.path) as temporary:
                temporary.write_bytes(self._before)
            return
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # it held something else before
            self.path.parent.rmdir()

    def note(self, **fields: Any) -> None:
        """Add what is known by now."""
        self.fields |= fields
        self._write()

    def finish(self, error: BaseException | None = None, **fields: Any) -> None:
        """Say how the run ended; where that cannot be written, `error` is told all the same."""
        seconds = round(monotonic() - self._started, 1)
        try:
            self.note(exit=exit_reason(error), seconds=seconds, **fields)
        except OSError as failure:
            if error is None:
                raise
            log.warning("%s does not say how the run ended (%s)", self.path, failure)

    def _write(self) -> None:
        with whole(self.path) as temporary:
            temporary.write_text(json.dumps(self.fields, indent=2) + "\n", encoding="utf-8")


def exit_reason(error: BaseException | None) -> str:
    """In words: finished, interrupted, terminated, or the error."""
    if error is None:
        return "finished"
    if isinstance(error, SIGTERMException):
        return "terminated by SIGTERM"
    # Lightning turns Ctrl-C into exit status 1.
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return "interrupted by Ctrl-C"
    return f"failed: {type(error).__name__}: {' '.join(str(error).split())}"


def _commit() -> str | None:
    """Of the checkout that egowm runs from; None for an installed package."""
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
