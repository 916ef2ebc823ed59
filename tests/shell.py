"""Console scripts as processes of their own, as in a user's shell."""

import os
import shlex
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.forks import forks

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


def run_copy(command: Sequence[str], folder: Path) -> str:
    """The same by a process that has imported everything already: a second in place of ten."""
    printed = folder / ".printed"
    child = forks().Process(target=_run_copy, args=(command, folder, printed))
    child.start()
    child.join()
    assert child.exitcode == 0, f"{shlex.join(command)}: {printed.read_text()[-2000:]}"
    return printed.read_text(encoding="utf-8")


def _run_copy(command: Sequence[str], folder: Path, printed: Path) -> None:
    """In the child."""
    from egowm.commands.main import main as egowm
    from egowm.commands.scs.main import main as egowm_scs

    os.chdir(folder)
    with printed.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = list(command)
    warnings.simplefilter("ignore")
    sys.exit({"egowm": egowm, "egowm-scs": egowm_scs}[command[0]](list(command[1:])))
