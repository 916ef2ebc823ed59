"""Two processes on the CPU: a whole fit with validation, guard and checkpoints on every rank."""

import json

import pytest
import torch
import yaml

from egowm.backbones import SVD
from egowm.data import Rooms, Window
from egowm.randomness import derived_seed
from egowm.training.checkpoints import read_checkpoint
from egowm.world_model import WorldModel
from tests.training.processes import run_two


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_fit(recipe, tmp_path, tiny_prior):
    """They share the batches out, draw noise of their own, and end with the same weights."""
    argv = ["fit", "-c", str(recipe), "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    argv += ["--data.episodes_val", "3", "--trainer.max_steps", "3", "--save_every", "2"]
    argv += ["--trainer.val_check_interval", "2"]
    argv += ["--trainer.callbacks", "tests.training.witness.Witness"]
    run_two(argv, tmp_path)
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


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sigterm_leaves_the_last_checkpoint_whole(recipe, tmp_path):
    """Both processes are told to end during step 3; what step 2 left is whole, and goes on."""
    text = yaml.safe_load(recipe.read_text())
    ending = {"class_path": "tests.training.witness.Terminator", "init_args": {"step": 3}}
    text["trainer"]["callbacks"] = [ending]
    recipe.write_text(yaml.safe_dump(text))
    argv = ["fit", "-c", str(recipe), "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    run_two([*argv, "--trainer.max_steps", "50", "--save_every", "2"], tmp_path, expected=143)
    run = tmp_path / "run"
    assert json.loads((run / "run.json").read_text())["exit"] == "terminated by SIGTERM"
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {"last.ckpt", "step=2.ckpt"}  # nothing unfinished
    found = read_checkpoint(run / "checkpoints/last.ckpt")
    assert found["global_step"] == 2
    assert len(found["optimizer_states"][0]["state"]) == len(found["state_dict"])
