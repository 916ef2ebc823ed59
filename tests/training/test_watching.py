"""What a fit says of itself, and how it ends when something goes wrong."""

import csv
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from egowm import world_model
from egowm.commands import main as cli
from egowm.network.precision import computes_in_bfloat16
from egowm.training.loggers import run_loggers
from egowm.training.progress import Progress, RunBar
from egowm.training.run_record import RunRecord, exit_reason
from egowm.world_model import WorldModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


def fit(recipe: Path, *options: str) -> int:
    return cli.main(["fit", "-c", str(recipe), "--save_every", "1", *options])


def record(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "run/run.json").read_text())


def test_what_a_run_leaves(recipe, tmp_path, caplog):
    """The record, the figures by step in a CSV file and for TensorBoard, one line at the end."""
    with caplog.at_level("INFO"):
        options = ["--trainer.precision", "bf16-mixed", "--data.batch_size", "3"]
        assert fit(recipe, "--trainer.val_check_interval", "2", *options) == 0
    found = record(tmp_path)
    assert found["command"].startswith("egowm fit -c ")
    assert (found["exit"], found["steps"], found["seed"]) == ("finished", 2, 0)
    assert found["precision"] == ("bf16-mixed" if computes_in_bfloat16("cpu") else "32-true")
    assert found["recipe"]["model"]["init_args"]["warmup"] == 1
    assert found["recipe"]["model"]["init_args"]["drop_image"] == 0.1  # a default
    assert found["last_checkpoint"].endswith("step=2.ckpt")
    assert len(found["base_sha256"]) == len(found["recipe_sha256"]) == 64
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert 0 <= found["waiting"] <= 1
    assert found["batches_per_second"] > 0
    assert 0.1 < found["peak_memory_gb"] < 100
    [line] = [r.message for r in caplog.records if r.message.startswith("2 steps, ")]
    assert "waiting for data" in line
    assert "guard/gap" in line
    said = [r.message for r in caplog.records]
    assert (
        sum(line.startswith("Training ") and line.endswith(" M parameters.") for line in said) == 1
    )
    steps = [line.partition(",")[0] for line in said if line.startswith("Step ")]
    assert steps == ["Step 1 of 2", "Step 2 of 2"]
    assert not [line for line in said if "weights_only" in line or "FLOPs" in line]

    folder = tmp_path / "run/lightning_logs/version_0"
    assert list(folder.glob("events.out.tfevents.*"))
    with (folder / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    norms = [float(row["train/gradient_norm"]) for row in rows if row["train/gradient_norm"]]
    assert len(norms) == 2
    assert min(norms) > 0
    [guard] = [row for row in rows if row["guard/gap"]]
    ratio = float(guard["guard/shuffled"]) / float(guard["guard/true"])
    assert float(guard["guard/gap"]) == pytest.approx(ratio - 1, abs=1e-5)
    assert float(guard["guard/mirrored"]) > 0


@pytest.mark.parametrize("length", [{"max_steps": 4, "max_epochs": -1}, {"max_epochs": 2}])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_counts_the_steps_of_the_whole_of_it(
    length, terminal, monkeypatch, capsys, caplog, tmp_path
):
    """Four steps are two epochs here; Lightning's own bar would begin anew with each."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(
        **length,
        limit_train_batches=2,
        limit_val_batches=0,
        callbacks=[RunBar(), Progress()],
        accelerator="cpu",
        default_root_dir=tmp_path,
        **options,
    )
    with caplog.at_level("INFO"):
        trainer.fit(BoringModel())
    drawn = capsys.readouterr().out
    assert trainer.current_epoch == 2
    if not terminal:
        said = [r.message.partition(",")[0] for r in caplog.records if "Step" in r.message]
        assert (drawn, said) == ("", [f"Step {k} of 4" for k in (1, 2, 3, 4)])
        return
    assert "Step: 100%" in drawn
    assert "4/4" in drawn
    assert "Epoch" not in drawn


def test_the_record_is_there_from_the_first_second(tmp_path):
    made = RunRecord(tmp_path, ["fit", "-c", "a b.yaml"], {"seed_everything": 3, "x": {"y": 1}})
    found = json.loads(made.path.read_text())
    assert found["command"] == "egowm fit -c 'a b.yaml'"
    assert (found["exit"], found["seed"]) == ("running", 3)
    made.finish(ValueError("two\nlines"), steps=4)
    found = json.loads(made.path.read_text())
    assert found["exit"] == "failed: ValueError: two lines"
    assert found["steps"] == 4
    assert exit_reason(KeyboardInterrupt()) == "interrupted by Ctrl-C"


def test_a_mistake_in_a_recipe_is_in_the_record(recipe, tmp_path):
    assert fit(recipe, "--data.window.horizon", "30") == 2
    assert "a window needs 31 frames" in record(tmp_path)["exit"]


def test_loggers(tmp_path, monkeypatch, caplog):
    assert run_loggers(tmp_path, False) == []
    kinds = [type(logger).__name__ for logger in run_loggers(tmp_path, None)]
    assert kinds == ["CSVLogger", "TensorBoardLogger"]
    (tmp_path / "lightning_logs/version_7").mkdir(parents=True)
    [own] = run_loggers(tmp_path, True)[:1]
    assert own.log_dir == str(tmp_path / "lightning_logs/version_8")
    assert run_loggers(tmp_path, own) == [own]
    monkeypatch.setattr("egowm.training.loggers.find_spec", lambda name: None)
    with caplog.at_level("INFO"):
        [alone] = run_loggers(tmp_path, True)
    assert type(alone).__name__ == "CSVLogger"
    assert "TensorBoard is not installed" in caplog.text


def spoil(monkeypatch, change, step: int) -> None:
    """`change` the loss of one training step."""
    whole, steps = world_model.denoising_loss, []

    def loss(*args):
        total, logs = whole(*args)
        if total.requires_grad:
            steps.append(1)
            if len(steps) == step + 1:
                total = change(total)
        return total, logs

    monkeypatch.setattr(world_model, "denoising_loss", loss)


def infinite_gradient(loss: torch.Tensor) -> torch.Tensor:
    loss.register_hook(lambda gradient: gradient * torch.inf)
    return loss


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda loss: loss * torch.nan, "the loss is nan"),
        (infinite_gradient, "the gradient is not finite, first in backbone.network."),
    ],
    ids=["loss", "gradient"],
)
def test_what_is_not_finite_stops_the_run(recipe, tmp_path, monkeypatch, change, words, capsys):
    """Naming step, noise levels and clips; the last checkpoint is that of the step before."""
    spoil(monkeypatch, change, step=2)
    assert fit(recipe, "--trainer.max_steps", "4") == 2
    [line] = [row for row in capsys.readouterr().err.splitlines() if row.startswith("egowm: ")]
    assert f"Step 2, process 0: {words}" in line
    assert line.count("room_") == 2  # a batch of two
    assert "Noise levels (sigma): " in line
    assert "not known" not in line
    kept = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())
    assert record(tmp_path)["exit"].startswith("failed: NotFinite: Step 2")


def at_step(monkeypatch, step: int, action) -> None:
    """Do something in the middle of a training step."""
    whole = WorldModel.training_step

    def training_step(self, clip, batch_idx):
        if self.global_step == step:
            action()
        return whole(self, clip, batch_idx)

    monkeypatch.setattr(WorldModel, "training_step", training_step)


def test_sigterm_saves_the_step_and_resuming_is_exact(recipe, tmp_path, monkeypatch):
    """Also where no checkpoint was due; the process ends with the status of the signal."""
    options = ["--save_every", "0", "--trainer.max_steps", "3"]
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert fit(recipe, *options) == 143
    assert record(tmp_path)["exit"] == "terminated by SIGTERM"
    stopped = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert stopped["global_step"] == 2
    assert fit(recipe, *options, "--ckpt_path", "last") == 0
    assert fit(recipe, *options, "--trainer.default_root_dir", str(tmp_path / "whole")) == 0
    found, expected = (
        torch.load(tmp_path / folder / "checkpoints/step=3.ckpt", weights_only=True)["state_dict"]
        for folder in ("run", "whole")
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.long
def test_ctrl_c_leaves_the_last_checkpoint(recipe, tmp_path, monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    at_step(monkeypatch, 1, interrupt)
    try:
        assert fit(recipe, "--trainer.max_steps", "3") == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning turns it off
    assert record(tmp_path)["exit"] == "interrupted by Ctrl-C"
    kept = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 1
