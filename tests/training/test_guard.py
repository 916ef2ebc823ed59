"""The action-use guard: what it measures, when it speaks, and that it does so in a training run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything
from torch.utils.data import default_collate

from egowm.actions import ActionSpec
from egowm.actions import spec as spec_module
from egowm.commands import main as cli
from egowm.data import Clip, Episode, Rooms, Window
from egowm.training.guard import ActionGuard, ActionsIgnored, kinds, losses
from egowm.world_model import WorldModel

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.fixture
def clip(spec) -> Clip:
    """A batch of three, 4 future frames."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 5, 3, 16, 16), generator=generator).to(torch.uint8)
    actions = spec.denormalise(torch.rand(3, 4, 3, generator=generator) * 2 - 1)
    rest = torch.zeros(3, 0, 3), torch.zeros(3, 0), [""] * 3, ["test"] * 3, ["a", "b", "c"]
    return Clip(frames, actions, *rest)


@pytest.mark.long
def test_a_model_that_cannot_see_actions_has_no_gap(world_model, clip):
    """To the bit: the same clips, the same noise, an embedding of zero."""
    found = losses(world_model, clip, seed=3)
    assert kinds(world_model) == ["true", "shuffled", "zero", "mirrored"]
    assert len(set(found.tolist())) == 1
    assert found[0] != losses(world_model, clip, seed=4)[0]
    levels = [world_model.loss(clip, torch.Generator().manual_seed(3), s)[0] for s in (5, 20, 80)]
    assert world_model.drop_image == 0.1  # as it was
    world_model.drop_image = 0.0
    levels = [world_model.loss(clip, torch.Generator().manual_seed(3), s)[0] for s in (5, 20, 80)]
    assert found[0].item() == pytest.approx(sum(x.item() for x in levels) / 3, rel=1e-6)


def test_zeros_that_the_guard_tells_are_no_warning(clip, caplog):
    """Of a robot that never stood still: its user has given no zero."""
    meaning = ActionSpec(("speed",), ("m/s",), "command", "command", 5.0, (4.0,), (6.0,))
    spec_module._WARNED.clear()
    driving = SimpleNamespace(
        spec_of=lambda _: meaning,
        action_loss=lambda told, seed: torch.tensor(float(meaning.check(told.actions))),
    )
    fast = clip._replace(actions=torch.full((3, 4, 1), 5.0))
    assert losses(driving, fast, seed=0).tolist() == [0, 0, 12]  # type: ignore[arg-type]
    assert caplog.text == ""
    meaning.check(torch.zeros(1, 4, 1))
    assert "Speed 0" in caplog.text.replace("speed", "Speed")


@pytest.mark.long
def test_a_model_that_sees_them_has_one(obedient, clip):
    found = losses(obedient, clip, seed=3)
    assert len(set(found.tolist())) == 4
    same = losses(obedient, clip._replace(actions=clip.actions[:1].expand(3, -1, -1)), seed=3)
    assert same[0] == same[1]  # another clip's actions are the same ones
    assert same[0] != same[2]


@pytest.mark.long
def test_batches_of_one_take_the_actions_of_the_one_before(obedient, clip):
    one, other = (Clip(*default_collate([clip.one(k)])) for k in (0, 1))
    both = losses(obedient, one, 3, other.actions)
    pair = one._replace(actions=other.actions)
    assert both[0] == losses(obedient, one, 3)[0]
    assert both[1] == losses(obedient, pair, 3)[0] != both[0]
    guard = ActionGuard(batches=1)
    guard._kinds, guard._sums = kinds(obedient), torch.zeros(5)
    for number, batch in enumerate((other, one, other)):
        guard.on_validation_batch_end(None, obedient, None, batch, number)
    torch.testing.assert_close(
        guard._sums, torch.cat([losses(obedient, one, 1, other.actions), torch.ones(1)])
    )


def test_patience_is_counted_from_the_last_good_gap():
    guard = ActionGuard(min_gap=0.02, patience=10)
    for step, gap in ((4, 0.0), (8, 0.03), (12, 0.01), (17, -0.2)):
        guard.judge(gap, step)
    resumed = ActionGuard(min_gap=0.02, patience=10)
    resumed.load_state_dict(guard.state_dict())
    with pytest.raises(ActionsIgnored, match=r"Step 18: .* 1.00% above .* 2% above for 10 steps"):
        resumed.judge(0.01, 18)
    ActionGuard(min_gap=0.02, patience=0).judge(0.0, 10_000)  # only logs
    with pytest.raises(ValueError, match="ActionGuard: expected"):
        ActionGuard(patience=-1)


class TaughtNoise(Rooms):
    """Rooms whose actions are another draw of the same size: nothing of them shows."""

    def episodes(self, split: str) -> list[Episode]:
        found = super().episodes(split)
        actions = np.concatenate([episode.actions for episode in found])
        shuffled = np.random.default_rng(0).permutation(actions)
        parts = np.split(shuffled, len(found))
        return [replace(e, actions=part) for e, part in zip(found, parts, strict=True)]


def run(data: type[Rooms], folder: Path, guard: ActionGuard) -> None:
    """Two steps of the committed world model, and one comparison on 16 clips of 4 unseen rooms."""
    seed_everything(0, verbose=False)
    model = WorldModel.from_pretrained(ROOT / "priors/rooms-world-model")
    model.learning_rate, model.warmup = 1e-5, 1
    window = Window(horizon=1, height=64, width=64)
    rooms = {"episodes_train": 4, "episodes_val": 4, "episodes_test": 1, "num_frames": 9}
    Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=2,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[guard],
    ).fit(model, data(str(folder), window, batch_size=16, **rooms))


@pytest.mark.long
def test_silent_where_the_model_obeys(tmp_path):
    guard = ActionGuard(min_gap=0.1, patience=2, batches=1)
    run(Rooms, tmp_path, guard)
    assert guard.below_since == 2  # it found a large gap


def test_it_stops_a_run_whose_actions_are_noise(tmp_path):
    """The same model, the same pictures; the actions do not belong to them."""
    guard = ActionGuard(min_gap=0.1, patience=2, batches=1)
    with pytest.raises(ActionsIgnored, match="the model ignores its actions") as caught:
        run(TaughtNoise, tmp_path, guard)
    assert cli.explain(caught.value) == str(caught.value)  # one line, no traceback
