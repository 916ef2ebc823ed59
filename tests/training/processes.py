"""Two processes of one run, with the environment that a launcher gives them."""

import os
import socket
import sys
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from egowm.commands import main as cli
from tests.forks import forks


def run_two(argv: list[str], tmp_path: Path, expected: int = 0) -> None:
    """Run a command line as two processes; each must end with the expected status."""
    new = forks()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [tmp_path / f"log{rank}.txt" for rank in range(2)]
    processes = [
        new.Process(target=_run_as, args=(rank, port, argv, logs[rank])) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process, log in zip(processes, logs, strict=True):
        process.join(600)
        assert process.exitcode == expected, log.read_text()[-3000:]


def _run_as(rank: int, port: int, argv: list[str], log: Path) -> None:
    """One of the two."""
    import torch

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    rank_zero_only.rank = rank  # read from the environment when Lightning is imported
    torch.set_num_threads(1)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    status = cli.main(argv)
    sys.stderr.flush()
    os._exit(status)
