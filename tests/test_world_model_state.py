"""A body's state: where it is embedded, how it goes on from chunk to chunk, what is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn

from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.data import Clip, ClipData, Episode, Window
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

JOINTS, UNITS = ("hip", "knee"), ("rad", "rad")
MOVES = ActionSpec(JOINTS, UNITS, "joint", "difference", 4.0, (-0.2, -0.4), (0.2, 0.4))
POSTURE = ActionSpec(JOINTS, UNITS, "joint", "command", 4.0, (-1.0, 0.0), (1.0, 2.0))
FIRST = torch.tensor([[0.5, 1.0]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loud(model: WorldModel) -> WorldModel:
    """With embeddings that show."""
    for embedding in (model.action_embedding, model.state_embedding):
        nn.init.normal_(embedding.linear_2.weight, std=0.3, generator=seeded(1))
    return model.eval()


@pytest.fixture
def model(world_model) -> WorldModel:
    made = WorldModel(world_model.backbone, steps=2, chunk=4, spec=MOVES, state_spec=POSTURE)
    made.configure_model()
    return loud(made)


@pytest.fixture
def context() -> Tensor:
    return torch.randint(0, 256, (1, 1, 3, 16, 16), generator=seeded()).byte()


@pytest.fixture
def actions() -> Tensor:
    """(3, 10, 2): two chunks and a half."""
    return MOVES.denormalise(torch.rand(3, 10, 2, generator=seeded()) * 2 - 1)


def watch(model: WorldModel, monkeypatch) -> list[Tensor]:
    """The normalised states that `embed` is called with."""
    seen, embed = [], model.embed

    def watched(actions, state=None, drop=None):
        seen.append(state)
        return embed(actions, state, drop)

    monkeypatch.setattr(model, "embed", watched)
    return seen


def test_a_state_reaches_every_frame_alike(model):
    values, state = torch.rand(3, 4, 2), torch.rand(3, 2)
    found = model.embed(values, state) - model.embed(values)
    expected = model.state_embedding(state)[:, None].expand(3, 4, -1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert expected.std(0).max() > 0.05


@pytest.mark.long
def test_a_state_changes_nothing_at_the_start(world_model, context, actions):
    plain = WorldModel(world_model.backbone, steps=2, chunk=4, spec=MOVES)
    stateful = WorldModel(world_model.backbone, steps=2, chunk=4, spec=MOVES, state_spec=POSTURE)
    for model in (plain, stateful):
        model.configure_model()
    expected = plain.rollout(context, actions, generator=seeded()).frames
    found = stateful.rollout(context, actions, state=FIRST, generator=seeded()).frames
    assert torch.equal(found, expected)
    assert expected.std() > 0.1


@pytest.mark.long
def test_later_chunks_add_the_differences(model, context, actions, monkeypatch):
    """Three chunks; at each start the state is the first plus what was done before."""
    seen = watch(model, monkeypatch)
    found = model.rollout(context, actions, state=FIRST, generator=seeded())
    starts = torch.stack([FIRST + actions[:, :k].sum(1) for k in (0, 4, 8)], 1)  # (N, chunks, S)
    normalised = starts - torch.tensor([0.0, 1.0])  # (-1, 1) and (0, 2) to (-1, 1)
    torch.testing.assert_close(torch.stack(seen, 1), normalised)
    given = model.rollout(context, actions, state=starts, generator=seeded())
    torch.testing.assert_close(given.frames, found.frames, atol=1e-4, rtol=0)
    still = starts[:, :1].expand(-1, 3, -1)
    other = model.rollout(context, actions, state=still, generator=seeded()).frames
    torch.testing.assert_close(other[:, :4], found.frames[:, :4], atol=1e-4, rtol=0)
    assert (other[:, 4:] - found.frames[:, 4:]).abs().max() > 0.01


@pytest.mark.long
def test_a_state_for_each_sequence(model, context, actions):
    states = torch.tensor([[0.5, 1.0], [-0.5, 0.2], [0.9, 1.9]])
    generators = [seeded(k) for k in range(3)]
    found = model.rollout(context, actions, state=states, generator=generators).frames
    for k in range(3):
        row = slice(k, k + 1)
        alone = model.rollout(context, actions[row], state=states[row], generator=[seeded(k)])
        torch.testing.assert_close(found[row], alone.frames, atol=1e-4, rtol=0)
    shared = model.rollout(context, actions, state=states[:1], generator=[*map(seeded, range(3))])
    torch.testing.assert_close(shared.frames[:1], found[:1], atol=1e-4, rtol=0)
    assert (shared.frames[1:] - found[1:]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, r"embeds the body's state: give state \(1 or 3, 2\) or \(1 or 3, 3, 2\)"),
        (torch.zeros(1, 3), r"Expected a state .* got \(1, 3\)"),
        (torch.zeros(2), r"Expected a state .* got \(2,\)"),
        (torch.zeros(2, 2), r"Expected a state \(1 or 3, 2\) .* got \(2, 2\)"),
        (torch.zeros(1, 2, 2), r"Expected a state .* got \(1, 2, 2\)"),
        (torch.tensor([[0.0, torch.nan]]), r"dimension 1 \(knee\) is not a finite number"),
    ],
)
def test_states_that_do_not_fit_are_refused(model, context, actions, state, words):
    with pytest.raises(ValueError, match=words):
        model.rollout(context, actions, state=state)


def test_states_that_do_not_follow_are_asked_for(model, context, actions):
    model.spec = ActionSpec(JOINTS, UNITS, "joint", "command", 4.0, (-1, -1), (1, 1))
    with pytest.raises(ValueError, match=r"start of every chunk of 4: \(N, chunks, 2\)"):
        model.rollout(context, actions, state=FIRST)
    model.rollout(context, actions[:, :4], state=FIRST)
    model.rollout(context, actions, state=FIRST[:, None].expand(1, 3, 2))


def test_a_model_without_a_state_refuses_one(obedient, context):
    with pytest.raises(ValueError, match="embeds no state: leave state out"):
        obedient.rollout(context, torch.zeros(1, 4, 3), state=FIRST)


def clip(count: int = 2) -> Clip:
    frames = torch.randint(0, 256, (count, 5, 3, 16, 16), generator=seeded()).byte()
    moves = MOVES.denormalise(torch.rand(count, 4, 2, generator=seeded(1)) * 2 - 1)
    state = POSTURE.denormalise(torch.rand(count, 2, generator=seeded(2)) * 2 - 1)
    return Clip(frames, moves, torch.zeros(count, 0, 2), state, *[[""] * count] * 3)


@pytest.mark.long
def test_a_clip_gives_the_states_that_do_not_follow(model, context, actions, monkeypatch):
    """Commands: the recorded state at frames 4 and 8; differences: what follows from the actions,
    also from another clip's."""
    recorded = torch.rand(3, 10, 2, generator=seeded(3)) * 0.5
    pixels = context.expand(3, 11, -1, -1, -1)
    state, names = FIRST.expand(3, -1), [[""] * 3] * 3
    held = Clip(pixels, actions, actions[:, :0], state, *names, later_states=recorded)
    seen = watch(model, monkeypatch)
    model.rollout_of(held, generator=seeded())
    other = actions.flip(0)
    model.rollout_of(held, other, generator=seeded())
    model.spec = replace(MOVES, kind="command")
    model.rollout_of(held, other, generator=seeded())
    told = [FIRST + values[:, :k].sum(1) for values in (actions, other) for k in (0, 4, 8)]
    expected = [*told, state, recorded[:, 3], recorded[:, 7]]
    torch.testing.assert_close(seen, [POSTURE.normalise(value) for value in expected])


@pytest.mark.parametrize(
    ("later", "chunk", "words"),
    [
        (torch.zeros(3, 2, 2), 4, r"later_states \(3, 10, 2\), got \(3, 2, 2\)"),
        (torch.zeros(3, 10, 3), 4, r"later_states \(3, 10, 2\), got \(3, 10, 3\)"),
        (torch.zeros(3, 10, 2), 0, "Expected chunk"),
    ],
)
def test_later_states_that_do_not_fit_are_refused(context, actions, later, chunk, words):
    state, names = FIRST.expand(3, -1), [[""] * 3] * 3
    held = Clip(context, actions, actions[:, :0], state, *names, later_states=later)
    with pytest.raises(ValueError, match=words):
        held.states(replace(MOVES, kind="command"), POSTURE, chunk)


def test_the_loss_sees_the_state(model):
    loss = model.loss(clip(), seeded())[0]
    loss.backward()
    assert all(p.grad.any() for p in model.state_embedding.parameters())
    other = clip()._replace(state=POSTURE.low[0] * torch.ones(2, 2))
    assert model.loss(other, seeded())[0].item() != pytest.approx(loss.item(), rel=1e-4)
    with pytest.raises(ValueError, match=r"hip, knee; got \(2, 1, 0\)"):
        model.loss(clip()._replace(state=torch.zeros(2, 0)))


@pytest.mark.long
def test_an_export_brings_state_and_null_embedding(world_model, context, actions, tmp_path):
    model = WorldModel(
        world_model.backbone, steps=2, chunk=4, spec=MOVES, state_spec=POSTURE, drop_action=0.2
    )
    model.configure_model()
    nn.init.normal_(loud(model).null_embedding, generator=seeded(2))
    model.save_pretrained(tmp_path / "export")
    again = WorldModel.from_pretrained(tmp_path / "export")
    assert (again.state_spec, again.spec, again.drop_action) == (POSTURE, MOVES, 0.2)
    weights = model.state_dict()
    assert again.state_dict().keys() == weights.keys()
    assert {"null_embedding", "state_embedding.linear_2.bias"} <= weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())
    how = Sampling(guidance=2.0, guide_on="action")
    found, expected = (
        m.rollout(context, actions, how, state=FIRST, generator=seeded()).frames
        for m in (again, model)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


class Humanoid(ClipData):
    """Random pictures of a body whose actions are differences of its states."""

    meaning = ActionSpec(JOINTS, UNITS, "joint", "difference", 4.0)
    state_meaning = ActionSpec(JOINTS, UNITS, "joint", "command", 4.0)

    def episodes(self, split: str) -> list[Episode]:
        states = np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32)
        return [Episode(split, 20, noise, np.diff(states, axis=0), states)]


def noise(indices) -> np.ndarray:
    size = (len(indices), 16, 16, 3)
    return np.random.default_rng(list(indices)).integers(0, 256, size, np.uint8)


def trainer(folder, steps: int) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:lightning")
def test_a_checkpoint_brings_state_and_null_embedding(tiny_prior, tmp_path):
    data = Humanoid("", Window(1, 3, 1, 16, 16), batch_size=2)
    model = WorldModel(SVD(str(tiny_prior)), steps=2, learning_rate=1e-2, warmup=1, drop_action=0.5)
    running = trainer(tmp_path, 2)
    running.fit(model, data)
    assert model.state_spec == data.state_spec
    assert model.state_embedding.linear_2.weight.any()
    path = tmp_path / "model.ckpt"
    running.save_checkpoint(path)

    def loaded(**options) -> WorldModel:
        backbone = SVD(str(tiny_prior))
        return WorldModel.load_from_checkpoint(
            path, backbone=backbone, weights_only=True, steps=2, **options
        )

    again = loaded(drop_action=0.5)
    assert (again.spec, again.state_spec, again.chunk) == (model.spec, model.state_spec, 3)
    expected = dict(model.named_parameters())
    assert {"null_embedding", "state_embedding.linear_1.weight"} <= expected.keys()
    assert all(torch.equal(p, expected[name]) for name, p in again.named_parameters())
    batch = next(iter(data.val_dataloader()))
    found, wanted = (copy.deepcopy(m).eval().loss(batch, seeded())[0] for m in (again, model))
    torch.testing.assert_close(found, wanted)
    [made] = trainer(tmp_path, 1).predict(again, data)[:1]
    assert made.frames.shape == (2, 3, 3, 16, 16)
    with pytest.raises(ValueError, match=r"has a null embedding.* drop_action 0"):
        loaded()
    saved = torch.load(path, weights_only=True)
    assert saved["egowm"].pop("predicts") == "frames"
    torch.save(saved, path)
    assert loaded(drop_action=0.5).backbone.predicts == "frames"  # of before there was a choice
    saved["egowm"]["predicts"] = "changes"
    torch.save(saved, path)
    with pytest.raises(ValueError, match=r"predicts changes, this model's frames: .*predicts chan"):
        loaded(drop_action=0.5)
