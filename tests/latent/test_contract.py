"""One set of questions for everything that answers `egowm.Dynamics`."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from egowm.clip import Clip
from egowm.data import Rooms, Window
from egowm.diffusion import SharedNoise
from egowm.dynamics import Dynamics
from egowm.evaluation.picture_plan import plan_between
from egowm.evaluation.simulator import Simulator
from egowm.latent import RSSM
from egowm.planning import ImaginedWorlds, Space, cem, goal_cost, gradient
from egowm.planning.costs import Latents, Pixels
from egowm.sampling import Sampling
from egowm.training.guard import kinds, losses
from tests.latent.conftest import SIZE, rssm

LEFT = [[0.1, 0.0, 0.1], [0.2, 0.0, 0.1], [0.1, 0.0, -0.1]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def context() -> torch.Tensor:
    return torch.rand(1, 1, 3, SIZE, SIZE, generator=seeded(5))


@pytest.fixture
def told() -> torch.Tensor:
    """Two sequences, the second standing still."""
    return torch.stack([torch.tensor(LEFT), torch.zeros(3, 3)])


def test_it_answers(model, context, told):
    assert isinstance(model, Dynamics)
    made = model.rollout(context, told, Sampling(steps=1), generator=seeded())
    assert made.latents.shape[:2] == (2, 3)
    assert made.frames.shape == (2, 3 if model.makes_frames else 0, 3, SIZE, SIZE)
    assert made.frames.numel() == 0 or 0 <= made.frames.min() <= made.frames.max() <= 1
    assert made.num_outside == 0
    again = model.rollout(context, told, Sampling(steps=1), generator=seeded())
    assert torch.equal(again.latents, made.latents)
    assert model.about().keys() == {"base_sha256"}
    if isinstance(model, RSSM):
        with pytest.raises(ValueError, match='by="pixels"'):
            model.encode_goal(context[0, 0])
    else:
        assert model.encode_goal(context[0, 0]).shape == made.latents.shape[2:]


def test_decoding_less_leaves_the_latents(model, context, told):
    whole = model.rollout(context, told, Sampling(steps=1), generator=seeded())
    for decode, count in (("last", 1), ("none", 0)):
        how = Sampling(steps=1, decode=decode)
        part = model.rollout(context, told, how, generator=seeded())
        torch.testing.assert_close(part.latents[:, -1], whole.latents[:, -1])
        if model.makes_frames:
            assert part.frames.shape[1] == count
            torch.testing.assert_close(part.frames, whole.frames[:, 3 - count :])


def test_a_future_is_independent_of_its_batch(model, context, told):
    how = Sampling(steps=1, micro_batch=1)
    both = model.rollout(context, told, how, generator=[seeded(1), seeded(2)]).latents
    alone = model.rollout(context, told[1:], generator=[seeded(2)], how=Sampling(steps=1)).latents
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-4)
    same = told[:1].expand(2, -1, -1)
    shared = model.rollout(context, same, Sampling(steps=1), generator=SharedNoise(seeded()))
    torch.testing.assert_close(shared.latents[0], shared.latents[1])


@pytest.mark.parametrize("planner", ["cem", "gradient"])
def test_planners_take_it(model, context, planner):
    """They find actions that end nearer to a goal that was imagined than standing still does."""
    if planner == "gradient" and isinstance(model, Simulator):
        pytest.skip("the simulator has no gradient")
    aim = torch.tensor([LEFT])
    how, noise = Sampling(steps=1), SharedNoise(seeded())
    made = model.rollout(context, aim, how, generator=noise.fresh())
    cost = goal_cost(model, context, Latents(made.latents[0, -1]), how)
    space = Space.of(model.spec_of(None), horizon=3)
    if planner == "cem":
        plan = cem(cost, space, samples=12, elites=3, iterations=2, generator=seeded())
    else:
        plan = gradient(cost, space, iterations=4, samples=2, generator=seeded())
    assert plan.cost < cost(torch.zeros(1, 3, 3)).item()
    assert cost(aim).item() == pytest.approx(0, abs=1e-6)


def test_imagined_worlds_step_as_a_rollout_does(model, context, told):
    contexts = context.expand(2, -1, -1, -1, -1)
    if not model.makes_frames:
        with pytest.raises(ValueError, match="LatentModel makes no frames, and these worlds"):
            ImaginedWorlds(model, contexts)
        return
    worlds = ImaginedWorlds(model, contexts, Sampling(steps=1), max_steps=2)
    first = worlds.reset(seed=3)
    seen = [worlds.step(told[:, k : k + 1]).frames[:, 0] for k in range(3)]
    if hasattr(model, "chunk"):
        model.chunk = 1
    whole = model.rollout(contexts, told, Sampling(steps=1), generator=seeded(3)).frames
    for k in range(2):
        expected = (whole[:, k] * 255).round().byte().numpy().transpose(0, 2, 3, 1)
        assert np.abs(seen[k].astype(int) - expected).max() <= 1
    assert np.array_equal(seen[2], first)  # both were over, and begin again
    assert worlds.step(told[:, :1]).frames.shape == (2, 1, SIZE, SIZE, 3)


@pytest.mark.long
def test_the_guard_takes_it(model, clip, tmp_path):
    if isinstance(model, Simulator):
        window, rooms = Window(1, 4, 1, SIZE, SIZE), {"episodes_val": 1, "episodes_test": 2}
        data = Rooms(str(tmp_path), window, episodes_train=1, num_frames=6, **rooms)
        clips = data.windows("test", tiled=True)
        clip, model = Clip(*default_collate([clips[0], clips[1]])), Simulator(data)
        assert torch.equal(model.rollout_of(clip).frames, model.reconstruct(clip))
    found = losses(model, clip, seed=3)
    assert kinds(model) == ["true", "shuffled", "zero", "mirrored"]
    assert len(set(found.tolist())) == 4
    assert torch.equal(found, losses(model, clip, seed=3))
    assert isinstance(model, Dynamics)


def test_the_truth_through_it(model, clip):
    if not model.makes_frames:
        with pytest.raises(ValueError, match="has no decoder"):
            model.reconstruct(clip)
        return
    assert model.reconstruct(clip).shape == (2, 4, 3, SIZE, SIZE)


def test_pixels_of_a_model_without_a_decoder_are_refused(model, context):
    if model.makes_frames:
        return
    cost = goal_cost(model, context, Pixels(context[0, 0]))
    with pytest.raises(ValueError, match=r"Expected imagined frames, got none.*--by latents"):
        cost(torch.zeros(1, 2, 3))


def test_a_plan_between_pictures(model):
    """Black, and without a verdict, where nothing can be shown."""
    start = np.full((SIZE, SIZE, 3), 100, np.uint8)
    planner, how = partial(cem, samples=3, elites=1, iterations=1), Sampling(steps=1)
    by = "pixels" if isinstance(model, RSSM) else "latents"
    found = plan_between(model, start, start, planner, how, horizon=2, by=by)
    assert found.imagined.shape == (3, SIZE, SIZE, 3)
    assert np.array_equal(found.imagined[0], start)
    assert (found.after is None) == (not model.makes_frames) == (not found.imagined[1:].any())


def test_a_class_that_lacks_a_member_does_not_answer(spec):
    class Lacking:
        spec = state_spec = None

    assert not isinstance(Lacking(), Dynamics)
    assert isinstance(rssm(spec), Dynamics)
