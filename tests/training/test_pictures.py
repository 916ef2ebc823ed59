"""Pictures of rollouts in validation: what they show, what is logged, and what it costs the run."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import default_collate

from egowm.commands import main as cli
from egowm.data import Clip
from egowm.sampling import Sampling
from egowm.training.pictures import RolloutPictures, _send, film, roll_out, strip

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.fixture
def batch(spec) -> Clip:
    """Three clips, 4 future frames."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 5, 3, 16, 16), generator=generator).to(torch.uint8)
    actions = spec.denormalise(torch.rand(3, 4, 3, generator=generator) * 2 - 1)
    rest = torch.zeros(3, 0, 3), torch.zeros(3, 0), [""] * 3, ["test"] * 3, ["a", "b", "c"]
    return Clip(frames, actions, *rest)


@pytest.mark.long
def test_the_two_rollouts_differ_by_the_actions_alone(world_model, obedient, batch):
    """A model that cannot see actions makes the same frames twice, to the bit."""
    torch.nn.init.zeros_(world_model.action_embedding.linear_2.weight)
    same = roll_out(world_model, batch, 2)
    assert same[0].shape == (3, 4, 3, 16, 16)
    assert torch.equal(*same)
    torch.nn.init.normal_(obedient.action_embedding.linear_2.weight, std=0.3)
    true, shuffled = roll_out(obedient, batch, 2)
    moved = batch._replace(actions=batch.actions.roll(1, 0))
    assert torch.equal(roll_out(obedient, moved, 2)[0], shuffled)
    assert (true - shuffled).abs().max() > 0.01
    alone = Clip(*default_collate([batch.one(1)]))
    found = obedient.rollout(
        alone.frames[:, :1],
        alone.actions,
        Sampling(steps=2),
        generator=torch.Generator().manual_seed(1),
    )
    torch.testing.assert_close(true[1:2], found.frames)


def test_the_film():
    """A line for each clip, the sides beside each other, the context first in all of them."""
    truth = torch.linspace(0, 1, 10).reshape(2, 5, 1, 1, 1).expand(2, 5, 3, 48, 64)
    made = film(truth, [truth[:, 1:], 0 * truth[:, 1:]])
    assert made.shape == (5, 96, 192, 3)
    grey = (truth[:, :, 0, 0, 0] * 255).round().to(torch.uint8).numpy()
    for number, line in enumerate((slice(0, 48), slice(48, 96))):
        assert (made[:, line, :128] == grey[number, :, None, None, None]).all()
        assert (made[0, line, 128:] == grey[number, 0]).all()
        assert (made[1:, line, 128:] == 0).all()


def test_the_strip():
    """Three rows a clip, each opening with the context; nine columns of longer clips."""
    grey = torch.arange(14) / 20
    truth = grey[None, :, None, None, None].expand(2, -1, 3, 40, 60).clone()
    made = [torch.full((2, 12, 3, 40, 60), value) for value in (0.8, 0.9)]
    found = strip(truth, made)
    assert found.dtype == np.uint8
    assert found.shape == (2 * 3 * 40 + 4, 100 + 9 * 60, 3)
    line = found[20, 100 + 30 :: 60, 0] / 255
    shown = [1, 3, 4, 5, 7, 9, 10, 11, 13]  # of 14 frames, two of them context
    np.testing.assert_allclose(line, [k / 20 for k in shown], atol=3e-3)
    for row, value in ((1, 0.8), (2, 0.9), (4, 0.8)):
        line = found[row * 40 + (4 if row > 2 else 0) + 20, 100 + 30 :: 60, 0] / 255
        np.testing.assert_allclose(line, [1 / 20] + [value] * 8, atol=3e-3)
    assert (found[120:124] == 255).all()
    small = strip(truth[:, :5, :, :16, :16], [m[:, :4, :, :16, :16] for m in made])
    assert small.shape == (2 * 3 * 96 + 4, 100 + 5 * 96, 3)  # magnified 6 times


def run(recipe: Path, *options: str) -> int:
    words = ["--trainer.val_check_interval", "1", "--trainer.max_steps", "3", *options]
    return cli.main(["fit", "-c", str(recipe), *words])


def test_a_fit_draws_them(recipe, tmp_path):
    """At the first and the third validation; the figures are those of the picture's rollouts."""
    assert run(recipe, "--pictures_every", "2") == 0
    folder = tmp_path / "run"
    assert {p.name for p in (folder / "pictures").iterdir()} == {
        f"step={step}.{kind}" for step in (1, 3) for kind in ("png", "webp")
    }
    with Image.open(folder / "pictures/step=1.png") as picture:
        assert picture.size == (100 + 4 * 96, 2 * 3 * 96 + 4)
    with (folder / "lightning_logs/version_0/metrics.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["rollout/psnr"]]
    assert [int(row["step"]) for row in rows] == [0, 2]
    for row in rows:
        true, shuffled = float(row["rollout/psnr"]), float(row["rollout/psnr_shuffled"])
        assert 3 < true < 40
        assert float(row["rollout/action_gain"]) == pytest.approx(true - shuffled, abs=1e-4)
    events = EventAccumulator(str(folder / "lightning_logs/version_0"))
    events.Reload()
    assert [event.step for event in events.Images("rollout")] == [1, 3]


@pytest.mark.long
def test_they_change_nothing_and_can_be_left_out(recipe, tmp_path):
    roots = [tmp_path / name for name in ("with", "without")]
    for root, every in zip(roots, ("1", "0"), strict=True):
        assert run(recipe, "--pictures_every", every, "--trainer.default_root_dir", str(root)) == 0
    assert not (roots[1] / "pictures").exists()
    one, other = (
        torch.load(root / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for root in roots
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.long
def test_one_clip_is_too_few(recipe, tmp_path, caplog):
    options = ["--data.num_frames", "4", "--trainer.max_steps", "1"]
    with caplog.at_level("INFO"):
        assert run(recipe, *options) == 0
    assert "it takes 2 validation clips of one source" in caplog.text
    assert not (tmp_path / "run/pictures").exists()


@pytest.mark.long
def test_clips_come_from_batches_of_one(recipe, tmp_path):
    """Also where a batch has nothing to shuffle; and the guard's other actions, too."""
    options = ["--data.batch_size", "1", "--model.learning_rate", "0.01"]
    assert run(recipe, *options, "--trainer.max_steps", "1") == 0
    assert (tmp_path / "run/pictures/step=1.png").is_file()
    with (tmp_path / "run/lightning_logs/version_0/metrics.csv").open() as lines:
        [row] = [row for row in csv.DictReader(lines) if row["guard/gap"]]
    assert row["guard/shuffled"] != row["guard/zero"]
    assert float(row["guard/gap"]) != 0


def test_counting_goes_on(world_model):
    first, second = RolloutPictures(every=3), RolloutPictures(every=3)
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)
    trainer.state.fn, due = "fit", []
    for _ in range(4):
        first.on_validation_start(trainer, world_model)
        due.append(first._due)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.on_validation_start(trainer, world_model)
        due.append(second._due)
    assert due == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("given", [{"every": -1}, {"clips": 1}, {"steps": 0}])
def test_bad_arguments(given):
    with pytest.raises(ValueError, match="RolloutPictures: expected every of 0 or more"):
        RolloutPictures(**given)


def test_weights_and_biases_gets_the_same_picture(monkeypatch):
    """By Lightning's own logger; its package, which need not be installed, notes what it gets."""
    logged: list[dict] = []

    class Wandb(WandbLogger):
        experiment = SimpleNamespace(log=logged.append)

        def __init__(self) -> None:
            self._prefix, self._wandb_init = "", {}

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Image=lambda picture: picture))
    picture = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    _send(Wandb(), picture, 7)
    (found,) = logged
    assert found["trainer/global_step"] == 7
    assert np.array_equal(found["rollout"][0], picture)
