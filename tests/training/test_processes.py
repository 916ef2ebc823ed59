"""Two processes on the CPU: a whole fit with validation, guard and checkpoints on every rank."""

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only

from egowm import cli
from egowm.backbones import SVD
from egowm.data import Rooms, Window
from egowm.training.seeds import derived_seed
from egowm.world_model import WorldModel


def fit_as(rank: int, port: int, argv: list[str], log: Path) -> None:
    """One of two processes, with the environment that a launcher gives it."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    rank_zero_only.rank = rank  # read from the environment when Lightning is imported
    torch.set_num_threads(1)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    status = cli.main(argv)
    sys.stderr.flush()
    os._exit(status)


@pytest.mark.slow
def test_two_processes_fit(recipe, tmp_path, tiny_prior):
    """They share the batches out, draw noise of their own, and end with the same weights."""
    argv = ["fit", "-c", str(recipe), "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    argv += ["--data.episodes_val", "3", "--trainer.max_steps", "3", "--save_every", "2"]
    argv += ["--trainer.val_check_interval", "2"]
    argv += ["--trainer.callbacks", "tests.training.witness.Witness"]
    new = multiprocessing.get_context("spawn")  # a forked one may wait for threads it lacks
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [tmp_path / f"log{rank}.txt" for rank in range(2)]
    processes = [
        new.Process(target=fit_as, args=(rank, port, argv, logs[rank])) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process, log in zip(processes, logs, strict=True):
        process.join(600)
        assert process.exitcode == 0, log.read_text()[-3000:]
    run = tmp_path / "run"
    record = json.loads((run / "run.json").read_text())
    assert (record["exit"], record["steps"], record["processes"]) == ("finished", 3, 2)
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {"last.ckpt", "step=2.ckpt", "step=3.ckpt"}
    ranks = [json.loads((run / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["gap"] == ranks[1]["gap"]
    validated = [name for rank in ranks for batch in rank["validated"] for name in batch]
    assert len(validated) == len(set(validated)) == 6

    arguments = yaml.safe_load(recipe.read_text())["data"]["init_args"]
    window = Window(**arguments.pop("window"))
    data = Rooms(**arguments, window=window)
    batches = list(data.train_dataloader())
    told = [rank["names"] for rank in ranks]
    assert [told[k % 2][k // 2] for k in range(4)] == [list(b.name) for b in batches[:4]]

    model = WorldModel(SVD(str(tiny_prior)), spec=data.spec)  # actions have no effect at step 0
    model.configure_model()
    for rank in range(2):
        torch.manual_seed(derived_seed(0, 0, 0, rank))
        expected = model.loss(batches[rank])[0].item()
        assert ranks[rank]["losses"][0] == pytest.approx(expected, rel=1e-5)
    assert ranks[0]["losses"][0] != ranks[1]["losses"][0]
