"""DINOv2 sharded over two processes on the CPU: the steps of one that sees both batches."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback

from egowm.commands.main import main as cli
from egowm.encoders import DINOv2
from egowm.encoders.dinov2 import cosine
from egowm.encoders.views import Views
from egowm.randomness import derived_seed
from tests.encoders.conftest import SIZE
from tests.training.processes import run_two

RATE = 1e-3
SMALL = {"size": SIZE, "patch": 8, "width": 16, "layers": 2, "heads": 2, "local_size": 16}
SMALL |= {"local_crops": 1, "prototypes": 12, "hidden": 8, "bottleneck": 6, "warmup": 1}
SMALL |= {"koleo": 0.0, "photometric": False, "learning_rate": RATE}  # KoLeo is of each batch


class Seen(Callback):
    """Leaves the frames, seeds and losses of each process, and its share of the weights."""

    def __init__(self) -> None:
        self.steps = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        place = (trainer.global_step, batch_idx, trainer.global_rank)
        self.steps.append({"frames": batch.frames, "place": place})

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.steps[-1]["loss"] = outputs["loss"].item()

    def on_fit_end(self, trainer, module) -> None:
        local = [p.to_local() if hasattr(p, "to_local") else p for p in module.parameters()]
        whole = sum(p.numel() for p in module.parameters())
        held = sum(p.numel() for p in local) / whole
        path = Path(trainer.default_root_dir) / f"rank{trainer.global_rank}.pt"
        torch.save({"steps": self.steps, "held": held}, path)


def written(tmp_path: Path) -> list[str]:
    """The command line of a small run."""
    rooms = {
        "root": str(tmp_path / "rooms"),
        "window": {"context": 1, "horizon": 1, "height": SIZE, "width": SIZE},
        "batch_size": 1,
        "episodes_train": 1,
        "episodes_val": 1,
        "episodes_test": 1,
        "num_frames": 9,
    }
    trainer = {
        "default_root_dir": str(tmp_path / "run"),
        "accelerator": "cpu",
        "limit_val_batches": 1,
        "enable_progress_bar": False,
        "callbacks": [{"class_path": "tests.encoders.test_dinov2_sharded.Seen"}],
    }
    tree = {
        "seed_everything": 0,
        "model": {"class_path": "egowm.encoders.DINOv2", "init_args": SMALL},
        "data": {"class_path": "egowm.data.Rooms", "init_args": rooms},
        "trainer": trainer,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    return ["fit", "-c", str(tmp_path / "recipe.yaml"), "--save_every", "1"]


def saved(tmp_path: Path, step: int) -> dict:
    return torch.load(tmp_path / f"run/checkpoints/step={step}.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
@pytest.mark.long
def test_two_processes_share_student_and_teacher(tmp_path):
    """One process begins, two sharded ones go on from its checkpoint."""
    fit = written(tmp_path)
    assert cli([*fit, "--trainer.max_steps", "1"]) == 0
    start = saved(tmp_path, 1)
    both = [*fit, "--trainer.strategy", "sharded", "--trainer.devices", "2"]
    both += ["--trainer.max_steps", "3", "--ckpt_path", "last"]
    run_two(both, tmp_path)
    ranks = [torch.load(tmp_path / f"run/rank{k}.pt", weights_only=True) for k in range(2)]
    assert all(rank["held"] < 0.6 for rank in ranks)

    model = DINOv2(**SMALL)
    model.configure_model()
    model.load_state_dict(start["state_dict"])
    run = type("T", (), {"estimated_stepping_batches": 3, "global_step": 1})
    model._trainer = run()
    optimizer = model.configure_optimizers()["optimizer"]
    optimizer.load_state_dict(start["optimizer_states"][0])
    for k, factor in ((0, 1.0), (1, 0.5)):  # of the cosine over 2 steps after the warm-up
        run.global_step, views = 1 + k, []
        for rank in ranks:
            torch.manual_seed(derived_seed(0, *rank["steps"][k]["place"]))
            frames = rank["steps"][k]["frames"].flatten(0, 1).float() / 255
            views.append(model.views(frames, model.hides))
        loss, _ = model.loss(Views(*(torch.cat(parts, 1) for parts in zip(*views, strict=True))))
        mean = sum(rank["steps"][k]["loss"] for rank in ranks) / 2
        assert mean == pytest.approx(loss.item(), rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = RATE * group["scale"] * factor
            decay = cosine(0.04, 0.4, (1 + k) / 3)
            group["weight_decay"] = decay if group["decays"] else 0.0
        optimizer.step()
        model.teach(model.keeps((1 + k) / 3))
    found, expected = saved(tmp_path, 3), model.state_dict()
    assert found["state_dict"].keys() == expected.keys()
    for part in ("student.", "scores.", "teacher.", "teacher_scores."):
        names = [name for name in expected if name.startswith(part)]
        ways = [expected[n] - start["state_dict"][n] for n in names]
        errors = [expected[n] - found["state_dict"][n] for n in names]
        off, way = (sum(x.square().sum() for x in all_).sqrt() for all_ in (errors, ways))
        assert 0.02 * way > off, part
        assert way > 1e-4
    own, theirs = optimizer.state_dict(), found["optimizer_states"][0]
    assert own["state"].keys() == theirs["state"].keys()
    assert [g["scale"] for g in own["param_groups"]] == [g["scale"] for g in theirs["param_groups"]]
