"""A terminal that types what pages say: a real bash, with a home folder and a hub of its own.

Only sizes differ: recipes are copies with smaller numbers (`MOST`), and a command is given more
options (`SIZES`). The commands of egowm that bash finds first are done by copies of a process that
has imported everything, a second in place of ten.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection
from multiprocessing import AuthenticationError
from multiprocessing.connection import Listener
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread

from tests.fake_hub import TOKEN, FakeHub
from tests.forks import forks
from tests.pages import PROGRAMS
from tests.shell import SCRIPTS

MOST = {  # of numbers in recipes
    "max_steps": 2, "val_check_interval": 2, "limit_val_batches": 1, "batch_size": 2,
    "episodes_train": 2, "episodes_val": 1, "episodes_test": 2, "num_frames": 20, "min_steps": 60,
    "steps": 2,
}  # fmt: skip
SIZES = {  # further options, by verb
    "fit": "--trainer.enable_progress_bar false --trainer.max_steps",
    "eval": "--clips 2 --horizon 2",
    "align": "--clips 2",
    "plan": "--rooms 1 --max_steps 3",
    "collect": "--steps 90 --rate 0 --attempt 20 --away 5",
    "draw": "--episodes 1 --val_episodes 1 --seconds 1 --size 32",
    "walk": "--port 0",
    "auth": f"--token {TOKEN}",
}
SEARCH = "--candidates 4 --rounds 1 --horizon 2 --every 2"
PROCESSES = "--trainer.accelerator cpu --trainer.devices 2 --trainer.num_nodes 1"
# Other people's, which need a network.
OTHERS = re.compile(r"^(git|curl|azcopy|pip|hf download|mkdir -p \S+ && curl) .*?(&& egowm .*|$)")
SCRIPT = """#!/bin/sh
"exec" "{python}" "-IS" "$0" "$@"
import os, sys
from multiprocessing.connection import Client
with Client(("127.0.0.1", {port}), authkey={key}) as line:
    line.send(([os.path.basename(sys.argv[0]), *sys.argv[1:]], os.getcwd()))
    sys.exit(line.recv())
"""


def sized(words: list[str]) -> list[str]:
    """A command that ends soon."""
    more = next((SIZES[word] for word in words[1:3] if word in SIZES), "")
    if words[1] == "fit":
        more += " 2" if "--ckpt_path" not in words else " 3" if "last" in words else " 4"
        several = {"recipes/multi_gpu.yaml", "--trainer.devices"} & {*words}
        more += f" {PROCESSES}" if several else ""
    if words[1] == "plan" and ("--policy" not in words or "--model" in words):
        more += f" {SEARCH}"
    return [*words, *more.split()]


def smaller(recipe: str) -> str:
    """A recipe with no number above those of `MOST`."""

    def least(found: re.Match[str]) -> str:
        return f"{found[1]}: {min(int(found[2]), MOST[found[1]])}"

    return re.sub(rf"\b({'|'.join(MOST)}): (\d+)", least, recipe)


class Terminal:
    """Types blocks of commands in a folder."""

    def __init__(self, home: Path) -> None:
        self.hub, self.printed = FakeHub(), home / "printed"
        self.process: BaseProcess | None = None
        self.closed, key = False, os.urandom(16)
        self.listener = Listener(("127.0.0.1", 0), authkey=key)
        text = SCRIPT.format(python=sys.executable, port=self.listener.address[1], key=key)
        (home / "bin").mkdir()
        for program in (*PROGRAMS, "hf"):
            (home / "bin" / program).write_text(text)
            (home / "bin" / program).chmod(0o755)
        self.own = {"HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": self.hub.url}
        self.own |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "PYTHONWARNINGS": "ignore"}
        self.own["PATH"] = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.serving = Thread(target=self._serve, daemon=True)
        self.serving.start()

    def type(self, code: str, folder: Path) -> str:
        """What a block of commands prints that must succeed."""
        ours = "\n".join(OTHERS.sub(lambda line: (line[2] or "")[3:], x) for x in code.splitlines())
        words = ["bash", "-euo", "pipefail", "-c", ours]
        self.printed.write_bytes(b"")
        status = self._run(words, folder)
        text = self.printed.read_text("utf-8", errors="replace")
        assert status == 0, f"{code}\n{text[-3000:]}"
        return text

    def close(self) -> None:
        """End what still runs, since a test may have been stopped at its timeout."""
        self.closed = True
        if self.process is not None:
            self.process.kill()
        socket.create_connection(self.listener.address).close()  # the thread sees that it is closed
        self.serving.join(30)
        self.listener.close()
        self.hub.close()

    def _run(self, words: Sequence[str], folder: Path | str) -> int:
        with self.printed.open("ab") as file:
            environment = os.environ | self.own
            done = subprocess.run(words, stdout=file, stderr=file, cwd=folder, env=environment)
        return done.returncode

    def _serve(self) -> None:
        """In a thread: do what the commands on the PATH ask for."""
        gone = (EOFError, ConnectionError, AuthenticationError)  # a script that was stopped
        while not self.closed:
            with suppress(*gone), self.listener.accept() as line:
                words, folder = line.recv()
                if self.closed:
                    return
                try:
                    status = self._done(sized(words), folder)
                except Exception:
                    with self.printed.open("a") as file:
                        traceback.print_exc(file=file)
                    status = 1
                line.send(status)

    def _done(self, words: list[str], folder: str) -> int | None:
        """The exit status of a command."""
        if words[0] == "hf" or words[1] == "push":  # which hub, they read when they start
            return self._run([str(SCRIPTS / words[0]), *words[1:]], folder)
        begin = self.printed.stat().st_size
        process = forks().Process(target=_work, args=(words, folder, self.own, self.printed))
        process.start()
        self.process = process
        try:
            if words[1] == "walk":
                self._visit(process, begin)
            process.join()
        finally:
            process.kill()
        return process.exitcode

    def _visit(self, process: BaseProcess, begin: int) -> None:
        """Open the page whose address is printed, then press Ctrl-C."""
        found = None
        while found is None:
            assert process.is_alive(), "no page was served"
            time.sleep(0.1)
            printed = self.printed.read_bytes()[begin:].decode(errors="replace")
            found = re.search(r"http://(127\.0\.0\.1:\d+)/", printed)
        page = HTTPConnection(found[1], timeout=60)
        page.request("GET", "/")
        assert b"<html" in page.getresponse().read()
        page.close()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)


def _work(words: Sequence[str], folder: str, own: Mapping[str, str], printed: Path) -> None:
    """In a copy of a process that has imported everything: one command, as its script runs it."""
    from egowm.commands.main import main as egowm
    from egowm.commands.scs.main import main as egowm_scs

    os.chdir(folder)
    os.environ.update(own)
    with printed.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = [str(SCRIPTS / words[0]), *words[1:]]
    warnings.simplefilter("ignore")
    sys.exit((egowm_scs if words[0] == "egowm-scs" else egowm)(list(words[1:])))
