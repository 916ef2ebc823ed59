"""Training the world model: the loss, what is trained, and what the data must mean."""

import numpy as np
import pytest
import torch
from lightning import Trainer

from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.data import Clip, ClipData, Episode, Window
from egowm.world_model import WorldModel


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def clip(spec) -> Clip:
    """A batch of two, 4 future frames."""
    frames = torch.randint(0, 256, (2, 5, 3, 16, 16), generator=seeded(0)).to(torch.uint8)
    actions = spec.denormalise(torch.rand(2, 4, 3, generator=seeded(1)) * 2 - 1)
    rest = torch.zeros(2, 0, 3), torch.zeros(2, 0), ["", ""], ["test"] * 2, ["a", "b"]
    return Clip(frames, actions, *rest)


def test_loss(world_model, clip):
    first, second = (world_model.loss(clip, seeded(3))[0] for _ in range(2))
    assert torch.equal(first, second)
    assert 0.1 < first < 100
    assert first.requires_grad
    total, logs = world_model.loss(clip, seeded(4))
    assert total != first
    assert not any(value.requires_grad for value in logs.values())


def test_loss_counts_future_frames_only(world_model, clip):
    """The context frame enters as condition; the frames before it do not enter at all."""
    frames = torch.cat([clip.frames[:, :1] // 2, clip.frames], 1)
    longer = clip._replace(frames=frames, past_actions=torch.zeros(2, 1, 3))
    losses = [world_model.loss(c, seeded(3))[0].item() for c in (clip, longer)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    changed = clip._replace(frames=torch.cat([255 - clip.frames[:, :1], clip.frames[:, 1:]], 1))
    assert world_model.loss(changed, seeded(3))[0].item() != pytest.approx(losses[0])


def test_loss_uses_the_actions_once_they_have_an_embedding(obedient, clip):
    other = clip._replace(actions=-clip.actions)
    losses = [obedient.loss(c, seeded(3))[0].item() for c in (clip, other)]
    assert abs(losses[0] - losses[1]) > 1e-3


def test_nan_in_a_clip_is_refused(world_model, clip):
    clip.actions[1, 0, 1] = torch.nan
    with pytest.raises(ValueError, match=r"Action 0, dimension 1 \(dy\)"):
        world_model.loss(clip)


def test_dropping_the_image(world_model, clip):
    """With drop_image 1 the context no longer shows in the loss."""
    world_model.drop_image = 1.0
    changed = clip._replace(frames=torch.cat([255 - clip.frames[:, :1], clip.frames[:, 1:]], 1))
    losses = [world_model.loss(c, seeded(3))[0].item() for c in (clip, changed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_overfitting_one_clip(world_model, clip):
    one = Clip(*(x[:1] for x in clip[:7]))
    world_model.drop_image = 0.0
    optimizer = torch.optim.AdamW([p for p in world_model.parameters() if p.requires_grad], 5e-3)

    def held_out() -> float:
        with torch.no_grad():
            return sum(world_model.loss(one, seeded(k))[0].item() for k in range(6)) / 6

    before = held_out()
    for step in range(15):
        optimizer.zero_grad()
        world_model.loss(one, seeded(100 + step))[0].backward()
        torch.nn.utils.clip_grad_norm_(world_model.parameters(), 1.0)
        optimizer.step()
    assert held_out() < 0.7 * before


def test_frozen_parts_stay_frozen(world_model, clip):
    backbone = world_model.backbone
    world_model.train()
    assert not any(m.training for m in (*backbone.vae.modules(), *backbone.image_encoder.modules()))
    assert backbone.network.training
    assert world_model.action_embedding.training
    world_model.loss(clip)[0].backward()
    frozen = [*backbone.vae.parameters(), *backbone.image_encoder.parameters()]
    assert all(p.grad is None for p in frozen)
    trained = [p for p in world_model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert not world_model.eval().backbone.network.training


def noise(indices) -> np.ndarray:
    size = (len(indices), 16, 16, 3)
    return np.random.default_rng(list(indices)).integers(0, 256, size, np.uint8)


class Turning(ClipData):
    """Random pictures and three action dimensions, as `spec` has them."""

    meaning = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)

    def episodes(self, split: str) -> list[Episode]:
        steps = np.random.default_rng(0).uniform(-0.1, 0.1, (19, 3)).astype(np.float32)
        return [Episode(split, 20, noise, steps)]


class Steering(Turning):
    meaning = ActionSpec(("dx", "dy", "steer"), ("m", "m", "rad"), "body", "se2", 4.0)


def trainer(folder, **options) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:lightning")
def test_fit_takes_spec_and_chunk_from_the_data(tiny_prior, tmp_path):
    model = WorldModel(SVD(str(tiny_prior)), steps=2, learning_rate=1e-3, warmup=1)
    data = Turning("", Window(1, 3, 1, 16, 16), batch_size=2)
    running = trainer(tmp_path, max_steps=2, limit_val_batches=1)
    running.fit(model, data)
    assert model.chunk == 3
    assert model.spec == data.spec
    assert model.spec.high[0] == pytest.approx(0.1, abs=0.02)
    assert 0 < model.action_embedding.linear_2.weight.abs().max() < 0.1
    [made] = running.predict(model, data, return_predictions=True)[:1]
    assert made.frames.shape == (2, 3, 3, 16, 16)

    running.save_checkpoint(tmp_path / "model.ckpt")
    checkpoint = torch.load(tmp_path / "model.ckpt", weights_only=True)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(checkpoint["state_dict"]) == trained
    again = WorldModel.load_from_checkpoint(
        tmp_path / "model.ckpt", backbone=SVD(str(tiny_prior)), weights_only=True
    )
    assert (again.spec, again.chunk) == (model.spec, 3)
    expected = dict(model.named_parameters())
    assert all(torch.equal(p, expected[name]) for name, p in again.named_parameters())


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_data_of_another_meaning_are_refused(world_model, tmp_path):
    data = Steering("", Window(1, 3, 1, 16, 16), batch_size=2)
    with pytest.raises(ValueError, match="differ in names"):
        trainer(tmp_path, max_steps=1).fit(world_model, data)
    slower = Turning("", Window(1, 3, 2, 16, 16), batch_size=2)
    with pytest.raises(ValueError, match="trained at 4 Hz, the data come at 2 Hz"):
        trainer(tmp_path, max_steps=1).fit(world_model, slower)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.parametrize(("horizon", "precision"), [(2, "bf16-mixed"), (2, "bf16-true")])
def test_wrong_gradients_of_torch_are_refused(world_model, tmp_path, horizon, precision):
    data = Turning("", Window(1, horizon, 1, 16, 16), batch_size=2)
    with pytest.raises(ValueError, match="another horizon than 2 for bfloat16 training on a CPU"):
        trainer(tmp_path, max_steps=1, precision=precision).fit(world_model, data)
