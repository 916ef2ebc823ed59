"""Console scripts as processes of their own, as in a user's shell."""

import os
import shlex
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = Path(sysconfig.get_path("scripts"))


def run_command(command: Sequence[str], folder: Path, first: str = "") -> str:
    """What a command prints that must succeed, run in `folder`.

    first: a module that is imported before the command's own, as a user's start-up file would.
    """
    program, *arguments = command
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    if first:
        startup = folder / f".first-{first}"
        startup.mkdir(exist_ok=True)
        (startup / "sitecustomize.py").write_text(f"import {first}\n")
        paths = [str(startup), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [SCRIPTS / program, *arguments], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr[-2000:]}"
    return done.stdout
