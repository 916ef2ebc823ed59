"""A stopped run goes on as if it had not been: the same losses and weights, bit for bit."""

import csv
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from egowm.commands import main as cli
from egowm.randomness import derived_seed
from egowm.training.average import averaged_weights
from egowm.training.checkpoints import RunCheckpoint
from tests.conftest import write_recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]
STEPS = 7  # 5 batches are an epoch


@pytest.fixture
def keep_all(monkeypatch):
    monkeypatch.setattr(RunCheckpoint, "num_kept", 100)


def fit(recipe: Path, root: Path, *options: str) -> None:
    """`egowm fit` for 7 steps, validating every 3, which leaves a checkpoint."""
    run = ["fit", "-c", str(recipe), "--trainer.default_root_dir", str(root)]
    run += ["--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "3"]
    assert cli.main([*run, *options]) == 0


def losses(root: Path) -> dict[int, float]:
    """By step, from the newest log."""
    path = sorted(root.glob("lightning_logs/version_*/metrics.csv"))[-1]
    with path.open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["train/loss"]]
    return {int(row["step"]): float(row["train/loss"]) for row in rows}


def saved(root: Path, step: int = STEPS) -> dict:
    return torch.load(root / f"checkpoints/step={step}.ckpt", weights_only=True)


def assert_same(one, other, place: str = "") -> None:
    """Equal to the bit, all the way down."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert set(one) == set(other), place
        for key in one:
            assert_same(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for k, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}/{k}")
    else:
        assert one == other, place


AVERAGE = ["--trainer.callbacks", "egowm.training.average.WeightAverage"]
STATE = ("state_dict", "optimizer_states", "lr_schedulers", "egowm", "global_step", "Rooms")


@pytest.mark.parametrize(
    "stops",
    [
        pytest.param([(3, 2)], id="in the middle of an epoch"),
        pytest.param([(5, 0), (6, 0)], id="at its end and after it", marks=pytest.mark.long),
    ],
)
def test_resuming_changes_nothing(recipe, tmp_path, keep_all, stops):
    """With and without loader workers; the moving average of the weights, too."""
    whole = tmp_path / "whole"
    fit(recipe, whole, "--data.num_workers", "2", "--save_every", "1", *AVERAGE)
    expected = losses(whole)
    assert sorted(expected) == list(range(STEPS))
    assert len(set(expected.values())) == STEPS
    for step, workers in stops:
        root, last = tmp_path / f"from{step}", whole / f"checkpoints/step={step}.ckpt"
        options = ["--ckpt_path", str(last), "--data.num_workers", str(workers), *AVERAGE]
        fit(recipe, root, *options)
        found = losses(root)
        assert list(found.values()) == [expected[k] for k in range(step, STEPS)]
        for part in STATE:
            assert_same(saved(whole)[part], saved(root)[part], part)
        averages = [averaged_weights(saved(folder)) for folder in (whole, root)]
        assert_same(*averages, "average")
        own = saved(root)["state_dict"]
        apart = [not torch.equal(value, own[name]) for name, value in averages[1].items()]
        assert set(averages[1]) == set(own)
        assert sum(apart) > 0.9 * len(apart)  # an average, and not the weights


@pytest.mark.long
def test_resuming_at_the_end_of_an_epoch_that_was_counted(recipe, tmp_path, keep_all):
    """Lightning takes a run by epochs up in another way than one by steps."""
    by_epochs = ["--trainer.max_steps", "-1", "--trainer.max_epochs", "2"]
    by_epochs += ["--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "1.0"]
    whole, root = tmp_path / "whole", tmp_path / "again"
    fit(recipe, whole, *by_epochs)
    fit(recipe, root, *by_epochs, "--ckpt_path", str(whole / "checkpoints/step=5.ckpt"))
    assert saved(root, 10)["global_step"] == 10
    for part in STATE:
        assert_same(saved(whole, 10)[part], saved(root, 10)[part], part)


@pytest.mark.long
def test_validation_in_between_changes_nothing(recipe, tmp_path):
    often, never = tmp_path / "often", tmp_path / "never"
    fit(recipe, often, "--trainer.val_check_interval", "1", "--trainer.max_steps", "3")
    fit(recipe, never, "--trainer.limit_val_batches", "0", "--trainer.max_steps", "3")
    assert_same(saved(often, 3)["state_dict"], saved(never, 3)["state_dict"])


@pytest.mark.long
def test_a_changed_learning_rate_is_used(recipe, tmp_path, keep_all):
    """Into the same folder, by `--ckpt_path last`."""
    root = tmp_path / "run"
    fit(recipe, root, "--trainer.max_steps", "2")
    options = ["--ckpt_path", "last", "--trainer.max_steps", "3", "--model.learning_rate", "3e-4"]
    fit(recipe, root, *options)
    before, after = (saved(root, k) for k in (2, 3))
    [old], [new] = (c["optimizer_states"][0]["param_groups"] for c in (before, after))
    assert (old["initial_lr"], new["initial_lr"]) == (1e-4, 3e-4)
    assert after["lr_schedulers"][0]["base_lrs"] == [3e-4]
    moved = max(
        (value - before["state_dict"][name]).abs().max().item()
        for name, value in after["state_dict"].items()
    )
    assert 1e-4 < moved < 3e-4  # about 1.5e-4, half of the rate: the cosine's middle


@pytest.mark.long
def test_last_without_a_checkpoint_starts(recipe, tmp_path, capsys):
    fit(recipe, tmp_path / "run", "--ckpt_path", "last", "--trainer.max_steps", "1")
    assert saved(tmp_path / "run", 1)["global_step"] == 1
    options = ["--ckpt_path", "last", "--trainer.default_root_dir", str(tmp_path / "none")]
    assert cli.main(["validate", "-c", str(recipe), *options]) == 2
    assert "expected a checkpoint in" in capsys.readouterr().err


@pytest.fixture(scope="module")
def stopped(tiny_prior, tmp_path_factory) -> Path:
    """The recipe of a run that ended after its first step."""
    folder = tmp_path_factory.mktemp("stopped")
    recipe = write_recipe(folder, tiny_prior)
    fit(recipe, folder / "run", "--trainer.max_steps", "1")
    return recipe


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alignment": "sum"}, "trained with alignment concatenate, this model is set to sum"),
        ({"optimizer": "adamw_8bit"}, "optimizer is adamw, this run's is adamw_8bit"),
        ({"features": "sinusoidal"}, "trained with features fourier, this model is set to sinus"),
        ({"drop_action": 0.1}, "has no null embedding, this model is set to drop_action 0.1"),
        ({"train": "lora"}, "trained with train full"),
        ({"backbone": True}, "stands on another base"),
    ],
)
def test_another_model_is_refused(stopped, tmp_path, tiny_prior, changes, words, capsys):
    text = yaml.safe_load(stopped.read_text())
    arguments = text["model"]["init_args"]
    if "backbone" in changes:
        other = shutil.copytree(tiny_prior, tmp_path / "prior")
        shutil.copy(
            other / "vae/diffusion_pytorch_model.safetensors", other / "vae/other.safetensors"
        )
        arguments["backbone"]["init_args"]["pretrained"] = str(other)
    else:
        arguments |= changes
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(text))
    last = stopped.with_name("run") / "checkpoints/last.ckpt"
    options = ["--ckpt_path", str(last), "--trainer.default_root_dir", str(tmp_path / "run")]
    assert cli.main(["fit", "-c", str(recipe), *options]) == 2
    assert words in capsys.readouterr().err


def with_other_data(recipe: Path, folder: Path, changes: dict) -> Path:
    """The recipe with `OtherRooms`, in a folder."""
    text = yaml.safe_load(recipe.read_text())
    text["data"]["class_path"] = "tests.training.other_rooms.OtherRooms"
    arguments, changes = text["data"]["init_args"], dict(changes)
    arguments["window"]["stride"] = changes.pop("stride", 1)
    path = folder / "other.yaml"
    arguments |= changes
    path.write_text(yaml.safe_dump(text))
    return path


@pytest.fixture(scope="module")
def trained(stopped, tmp_path_factory) -> Callable[[str], Path]:
    """The checkpoint of a run whose robot has that state, or none."""

    @cache
    def train(state: str) -> Path:
        folder = tmp_path_factory.mktemp("other")
        path = with_other_data(stopped, folder, {"state": [state]} if state else {})
        fit(path, folder / "run", "--trainer.max_steps", "1")
        return folder / "run/checkpoints/last.ckpt"

    return train


@pytest.mark.long
@pytest.mark.parametrize(
    ("state", "after", "words"),
    [
        ("", {"stride": 2}, "trained at 4 Hz, the data come at 2 Hz: change the window's stride"),
        ("", {"names": ["dx", "dy", "turn"]}, "differ in names: ('dx', 'dy', 'dyaw') against"),
        ("", {"state": ["battery"]}, "The data has states of the body and the checkpoint has none"),
        ("battery", {}, "The checkpoint has states of the body and the data has none"),
        ("battery", {"state": ["wheel"]}, "States of the body: The model's actions"),
    ],
)
def test_other_data_are_refused(stopped, trained, tmp_path, state, after, words, capsys):
    """What actions and states mean is in the checkpoint, and compared."""
    run = ["fit", "-c", str(with_other_data(stopped, tmp_path, after))]
    run += ["--ckpt_path", str(trained(state)), "--trainer.default_root_dir", str(tmp_path / "run")]
    assert cli.main([*run, "--trainer.max_steps", "2"]) == 2
    assert words in capsys.readouterr().err


def test_seeds_of_places_are_apart():
    found = {derived_seed(0, *place) for place in ((0,), (1,), (0, 0), (0, 1), (1, 0), (10,))}
    assert len(found | {derived_seed(1, 0)}) == 7
    assert all(0 <= seed < 2**63 for seed in found)
    assert derived_seed(3, 1, 4) == derived_seed(3, 1, 4)
