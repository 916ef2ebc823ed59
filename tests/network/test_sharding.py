"""FSDP2 with two processes on the CPU: the steps of one process that sees both batches."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import default_collate

from egowm.backbones import SVD
from egowm.commands import main as cli
from egowm.data import Clip, Rooms, Window
from egowm.network.sharding import Sharded
from egowm.pretraining.prior import VideoPrior
from egowm.randomness import derived_seed
from egowm.training.average import averaged_weights
from egowm.world_model import WorldModel
from tests.training.processes import run_two

CLIP, RATE = 0.5, 1e-4


def rewritten(recipe: Path) -> dict:
    """With a null embedding, clipped gradients and a moving average."""
    text = yaml.safe_load(recipe.read_text())
    text["model"]["init_args"] |= {"drop_action": 0.3, "learning_rate": RATE}
    text["trainer"]["gradient_clip_val"] = CLIP
    text["trainer"]["callbacks"] = [
        {"class_path": "tests.training.witness.Witness"},
        {"class_path": "egowm.training.average.WeightAverage", "init_args": {"decay": 0.5}},
    ]
    recipe.write_text(yaml.safe_dump(text))
    return text


def saved(folder: Path, step: int) -> dict:
    return torch.load(folder / f"step={step}.ckpt", weights_only=True)


def by_name(data: Rooms, names: list[str]) -> Clip:
    clips = data.windows("train", tiled=False)
    held = {clips[k].name: k for k in range(len(clips))}
    return Clip(*default_collate([clips[held[name]] for name in names]))


def assert_close(found: dict, expected: dict, start: dict, share: float) -> None:
    """Where training went, as a share of the way it took."""
    assert found.keys() == expected.keys()
    off = sum((found[k] - expected[k]).square().sum() for k in expected).sqrt()
    way = sum((expected[k] - start[k]).square().sum() for k in expected).sqrt()
    assert way > 1e-3
    assert off / way < share


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.long
def test_two_processes_share_the_weights(recipe, tmp_path, tiny_prior):
    """One process begins, two sharded ones go on from its checkpoint, and one ends from theirs."""
    text = rewritten(recipe)
    run, start = tmp_path / "run", tmp_path / "start"
    alone = ["fit", "-c", str(recipe), "--data.episodes_val", "3"]
    alone += ["--trainer.val_check_interval", "1"]
    assert cli.main([*alone, "--trainer.max_steps", "1"]) == 0
    shutil.copytree(run / "checkpoints", start)
    both = [*alone, "--trainer.strategy", "sharded", "--trainer.devices", "2"]
    both += ["--trainer.max_steps", "3", "--save_every", "1"]
    run_two([*both, "--ckpt_path", str(start / "step=1.ckpt")], tmp_path)

    record = json.loads((run / "run.json").read_text())
    assert (record["exit"], record["steps"], record["processes"]) == ("finished", 3, 2)
    ranks = [json.loads((run / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["gap"] == ranks[1]["gap"] != 0
    assert ranks[0]["held"] + ranks[1]["held"] == ranks[0]["trained"]
    assert max(rank["held"] for rank in ranks) < 0.55 * ranks[0]["trained"]
    validated = {name for rank in ranks for batch in rank["validated"] for name in batch}
    assert len(validated) == 6

    arguments = dict(text["data"]["init_args"])
    data = Rooms(**arguments | {"window": Window(**arguments["window"])})
    before, two, three = saved(start, 1), *(saved(run / "checkpoints", k) for k in (2, 3))
    model = WorldModel(SVD(str(tiny_prior)), spec=data.spec, drop_action=0.3)
    model.configure_model()
    model.load_state_dict(before["state_dict"], strict=False)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE, weight_decay=1e-2)
    optimizer.load_state_dict(before["optimizer_states"][0])
    for k, factor in ((0, 1.0), (1, 0.5)):  # of the cosine over 2 steps after the warm-up
        for rank in ranks:
            torch.manual_seed(derived_seed(0, *rank["places"][k]))
            loss = model.loss(by_name(data, rank["names"][k]))[0]
            assert rank["losses"][k] == pytest.approx(loss.item(), rel=1e-4)
            (loss / 2).backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.param_groups[0]["lr"] = RATE * factor
        optimizer.step()
        optimizer.zero_grad()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert "null_embedding" in names
    expected = {name: p.detach() for name, p in zip(names, trained, strict=True)}
    assert_close(three["state_dict"], expected, before["state_dict"], 0.01)
    assert three["state_dict"]["null_embedding"].abs().max() > RATE
    own, theirs = optimizer.state_dict()["state"], three["optimizer_states"][0]["state"]
    assert own.keys() == theirs.keys()
    for name in ("exp_avg", "exp_avg_sq"):
        a, b = (torch.cat([state[k][name].flatten() for k in own]) for state in (own, theirs))
        assert (a - b).norm() < 1e-3 * a.norm()

    average = averaged_weights(before)
    for n, checkpoint in ((1, two), (2, three)):
        weight = 1 - min(0.5, (1 + n) / (10 + n))
        for name, value in checkpoint["state_dict"].items():
            average[name] = average[name].lerp(value, weight)
    for name, value in averaged_weights(three).items():
        torch.testing.assert_close(value, average[name])

    assert cli.main([*alone, "--trainer.max_steps", "4", "--ckpt_path", "last"]) == 0
    four = saved(run / "checkpoints", 4)
    assert four["global_step"] == 4
    assert four["optimizer_states"][0]["state"][0]["step"] == 4
    assert four["state_dict"].keys() == three["state_dict"].keys()


def test_what_is_sharded(world_model):
    """Nearly all of the network lies in a block."""
    network, blocks = world_model.backbone.network, world_model.backbone.blocks
    inside = sum(p.numel() for block in blocks for p in block.parameters())
    assert len(set(blocks)) == len(blocks) == 19
    assert inside > 0.95 * sum(p.numel() for p in network.parameters())


def test_only_a_world_model_is_sharded(tiny_prior):
    strategy = Sharded()
    strategy.model = VideoPrior(SVD(str(tiny_prior)))
    with pytest.raises(ValueError, match=r"VideoPrior cannot be sharded.*strategy ddp"):
        strategy.setup(None)
