"""Contexts that the model imagined: what is learned, from what, in every family."""

import pytest
import torch

from egowm.actions import ActionSpec
from egowm.clip import Clip, Encodings
from egowm.commands import main as cli
from egowm.own_contexts import OwnContexts
from egowm.sampling import Sampling

JOINTS, UNITS = ("hip", "knee", "neck"), ("rad", "rad", "rad")
BOUNDS = (-0.2, -0.4, -0.2), (0.2, 0.4, 0.2)
MOVES = ActionSpec(JOINTS, UNITS, "joint", "difference", 4.0, *BOUNDS)
ORDERS = ActionSpec(JOINTS, UNITS, "joint", "command", 4.0, *BOUNDS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(size: tuple[int, int], horizon: int, num_context: int = 1, count: int = 2) -> Clip:
    shape = (count, num_context + horizon, 3, *size)
    frames = torch.randint(0, 256, shape, generator=seeded()).byte()
    actions = torch.rand(count, num_context - 1 + horizon, 3, generator=seeded(1)) * 0.2 - 0.1
    past, future = actions.split([num_context - 1, horizon], 1)
    return Clip(frames, future, past, torch.zeros(count, 0), *[["", ""]] * 3)


@pytest.fixture
def obedient(model):
    with torch.no_grad():
        model.action_embedding.linear_2.weight.normal_(std=0.3, generator=seeded(1))
    return model


@torch.no_grad()
def test_a_context_is_the_end_of_a_rollout(obedient, family):
    clip = clips(family.size, 2 * family.horizon)
    part, imagined = OwnContexts(1.0, 1, steps=2).start(obedient, clip, seeded(3))
    first, second = clip.actions.chunk(2, 1)
    made = obedient.rollout(clip.frames[:, :1], first, Sampling(steps=2), generator=seeded(3))
    seen = made.frames[:, -obedient.backbone.context :] * 2 - 1
    torch.testing.assert_close(imagined.frames, seen, atol=1e-5, rtol=0)
    if obedient.backbone.chains_latents:
        assert torch.equal(imagined.latents, made.latents[:, -1])
    assert torch.equal(part.actions, second)
    assert torch.equal(part.frames, clip.frames[:, family.horizon :])


def test_recorded_contexts_are_learned_as_before(obedient, family):
    clip = clips(family.size, 2 * family.horizon)
    own = OwnContexts(0.0, 1)
    first, imagined = own.start(obedient, clip, seeded())
    assert imagined is None
    expected = obedient.loss(first, seeded())[0]
    obedient.own_contexts = own
    assert torch.equal(obedient.loss(clip, seeded())[0], expected)


def test_the_loss_of_an_imagined_context_trains(obedient, family):
    clip = clips(family.size, 2 * family.horizon)
    recorded = obedient.loss(OwnContexts(0.0, 1).start(obedient, clip, None)[0], seeded())[0]
    obedient.own_contexts = OwnContexts(1.0, 1, steps=2)
    loss = obedient.loss(clip, seeded())[0]
    assert torch.isfinite(loss)
    assert not torch.equal(loss, recorded)
    loss.backward()
    assert obedient.action_embedding.linear_2.weight.grad.abs().max() > 0


@pytest.mark.parametrize("family", ["svd"], indirect=True)
def test_depths_are_drawn_by_step_alike_in_all_processes(model):
    own = OwnContexts(0.6, 3)
    depths = [own._depth(step) for step in range(4000)]
    shares = [depths.count(depth) / len(depths) for depth in range(4)]
    assert shares == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.03)
    assert depths == [own._depth(step) for step in range(4000)]


@pytest.mark.long
@pytest.mark.parametrize("family", ["svd"], indirect=True)
@torch.no_grad()
def test_deep_contexts_end_where_their_chunk_begins(obedient):
    """Three chunks deep, the second latent chain included; past actions move along."""
    clip = clips((16, 16), 16, num_context=3)
    own = OwnContexts(1.0, 3, steps=1)
    depths = set()
    for seed in range(8):
        depth = own._depth(seed)
        part, imagined = own.start(obedient, clip, seeded(seed))
        now = 4 * depth
        depths.add(depth)
        assert torch.equal(part.frames, clip.frames[:, now : now + 7])
        assert torch.equal(part.actions, clip.actions[:, now : now + 4])
        assert torch.equal(part.past_actions, clip.actions[:, now - 2 : now])
        how = Sampling(steps=1, chain="latents_only", decode="last")
        made = obedient.rollout(
            clip.frames[:, :3], clip.actions[:, :now], how, generator=seeded(seed)
        )
        assert torch.equal(imagined.latents, made.latents[:, -1])
        torch.testing.assert_close(imagined.frames, made.frames * 2 - 1, atol=1e-5, rtol=0)
    assert depths == {1, 2, 3}


@pytest.mark.parametrize("family", ["svd"], indirect=True)
def test_the_state_of_the_body_is_that_of_its_chunk(model, monkeypatch):
    model.spec = model.state_spec = MOVES
    clip = clips((16, 16), 8)._replace(state=torch.tensor([[0.0, 0.1, 0.2]] * 2))
    seen = []
    embed = model.embed
    monkeypatch.setattr(
        model, "embed", lambda actions, state=None, drop=None: seen.append(state) or embed(actions)
    )
    part, _ = OwnContexts(1.0, 1, steps=1).start(model, clip, seeded())
    torch.testing.assert_close(part.state, clip.state + clip.actions[:, :4].sum(1))
    torch.testing.assert_close(seen[0], MOVES.normalise(clip.state))
    model.spec = ORDERS
    with pytest.raises(
        ValueError, match=r"where these are differences of the state .* these are command"
    ):
        OwnContexts(1.0, 1).start(model, clip, seeded())
    recorded = torch.arange(2 * 8 * 3.0).reshape(2, 8, 3) / 100
    part, _ = OwnContexts(1.0, 1, steps=1).start(
        model, clip._replace(later_states=recorded), seeded()
    )
    assert torch.equal(part.state, recorded[:, 3])


@pytest.mark.parametrize("family", ["svd"], indirect=True)
def test_what_does_not_fit_is_refused(model):
    with pytest.raises(ValueError, match=r"Expected share, of the batches, in \[0, 1\], got 1.5"):
        OwnContexts(1.5)
    with pytest.raises(ValueError, match="Expected deepest, in chunks, to be at least 1, got 0"):
        OwnContexts(0.5, 0)
    assert OwnContexts(0.5, 3).chunk(8) == 2
    with pytest.raises(ValueError, match=r"got 7 future frames: .*horizon to a multiple of 4"):
        OwnContexts(0.5, 3).chunk(7)
    cached = clips((16, 16), 8)._replace(encodings=Encodings(latents=torch.ones(2, 9, 4, 8, 8)))
    with pytest.raises(ValueError, match="leave the cache out"):
        OwnContexts(0.5, 1).start(model, cached, None)


@pytest.mark.long
def test_a_fit_with_own_contexts_makes_shorter_chunks(recipe, tmp_path, capsys):
    fit = ["fit", "-c", str(recipe), "--model.own_contexts", "{share: 1, deepest: 2, steps: 1}"]
    assert cli.main(fit) == 0
    (checkpoint,) = tmp_path.glob("run/checkpoints/step=2.ckpt")
    assert torch.load(checkpoint, weights_only=True)["egowm"]["chunk"] == 1
    capsys.readouterr()
    root = ["--trainer.default_root_dir", str(tmp_path / "other")]
    assert cli.main([*fit, *root, "--data.window.horizon", "5"]) == 2
    assert "set --data.window.horizon to a multiple of 3" in capsys.readouterr().err
