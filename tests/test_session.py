"""Sessions are rollouts whose actions come one by one, and streams are imagined ahead."""

import threading
import time

import numpy as np
import pytest
import torch

from egowm import ActionSpec, Sampling, Session
from egowm.backbones import SVD
from egowm.diffusion import SharedNoise
from egowm.evaluation.simulator import Simulator
from egowm.latent import RSSM
from egowm.world_model import WorldModel
from egowm.worlds import Room


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def context() -> torch.Tensor:
    return torch.rand(1, 1, 3, 16, 16, generator=seeded(2))


@pytest.fixture
def actions(spec) -> torch.Tensor:
    """(10, 3): two chunks of 4 frames and one of 2."""
    return spec.denormalise(torch.rand(10, 3, generator=seeded()) * 2 - 1)


CHAINS = ["latents", "latents_only", "pixels"]


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("sizes", [(1,) * 10, (3, 3, 4), (10,)])
def test_a_session_is_the_rollout_to_the_bit(obedient, context, actions, chain, sizes):
    how = Sampling(chain=chain, guidance=1.5)
    whole = obedient.rollout(context, actions, how, generator=seeded()).frames[0]
    session = obedient.session(context, how, generator=seeded())
    frames = [session.step(part) for part in actions.split(sizes)]
    assert session.waiting == 2
    assert session.num_frames == 8
    frames.append(session.finish())
    assert [len(part) for part in frames][-1] == 2
    assert torch.equal(torch.cat(frames), whole)
    assert whole.std() > 0.01
    assert len(session.finish()) == 0


@pytest.mark.long
def test_a_smaller_block_answers_sooner(obedient, context, actions):
    """With the frames of a model that makes so many at once."""
    session = obedient.session(context, generator=seeded(), block=2)
    frames = [session.step(action) for action in actions]
    assert [len(part) for part in frames] == [0, 1 + 1] * 5
    obedient.chunk = 2
    whole = obedient.rollout(context, actions, generator=seeded()).frames[0]
    assert torch.equal(torch.cat(frames), whole)


def test_the_state_follows_the_actions(tiny_prior):
    names = ("shoulder", "elbow")
    bounds = (-1.0, -1.0), (1.0, 1.0)
    joints = ActionSpec(names, ("rad", "rad"), "joint", "difference", 10.0, *bounds)
    model = WorldModel(SVD(str(tiny_prior)), steps=1, chunk=2, spec=joints, state_spec=joints)
    model.configure_model()
    torch.manual_seed(1)
    for part in (model.action_embedding, model.state_embedding):
        torch.nn.init.normal_(part.linear_2.weight, std=0.3)
    context = torch.rand(1, 1, 3, 16, 16)
    state, told = torch.tensor([0.3, -0.2]), torch.rand(6, 2) / 3
    whole = model.rollout(context, told, state=state[None], generator=seeded()).frames[0]
    session = model.session(context, state=state, generator=seeded())
    assert torch.equal(torch.cat([session.step(one) for one in told]), whole)
    still = model.session(context, state=state * 0, generator=seeded())
    assert not torch.equal(torch.cat([still.step(one) for one in told]), whole)
    with pytest.raises(ValueError, match=r"embeds the body's state: give state \(2,\)"):
        model.session(context)


def test_a_state_that_does_not_follow_is_given(tiny_prior):
    """With the first action of each block, as a rollout takes one for each chunk."""
    pedals = ActionSpec(("gas",), ("",), "command", "command", 10.0, (-1.0,), (1.0,))
    model = WorldModel(SVD(str(tiny_prior)), steps=1, chunk=2, spec=pedals, state_spec=pedals)
    model.configure_model()
    torch.manual_seed(1)
    for part in (model.action_embedding, model.state_embedding):
        torch.nn.init.normal_(part.linear_2.weight, std=0.3)
    context, told = torch.rand(1, 1, 3, 16, 16), torch.rand(4, 1)
    states = torch.tensor([[[0.5], [-0.5]]])
    whole = model.rollout(context, told, state=states, generator=seeded()).frames[0]
    session = model.session(context, state=states[0, 0], generator=seeded())
    frames = [session.step(told[:2]), session.step(told[2:], state=states[0, 1])]
    assert torch.equal(torch.cat(frames), whole)


def test_other_world_models_have_sessions(spec):
    """The simulator, and a latent model."""
    told = torch.tensor([[0.2, 0.0, 0.05]] * 3)
    truth = Simulator(places=[(Room(7), (0.0, 0.0, 0.0))])
    picture = torch.zeros(1, 1, 3, 16, 16)
    session = Session(truth, picture)
    frames = torch.cat([session.step(action) for action in told])
    assert torch.equal(frames, truth.rollout(picture, told).frames[0])
    latent = RSSM(depth=4, size=16, spec=spec)
    latent.configure_model()
    session = Session(latent, picture, generator=seeded())
    frames = torch.cat([session.step(action) for action in told])
    torch.testing.assert_close(frames, latent.rollout(picture, told, generator=seeded()).frames[0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"how": Sampling(decode="last")}, "decodes all frames"),
        ({"block": 0}, "multiple of 1, which the model makes frames of at once, got 0 actions"),
        ({"state": torch.zeros(3)}, "embeds no state"),
        ({"text": "a kitchen"}, "SVD takes no text: leave text out"),
        ({"context": torch.zeros(2, 1, 3, 16, 16)}, r"context \(1, K, 3, H, W\), got \(2, 1"),
        ({"context": torch.zeros(1, 1, 3, 17, 16)}, "multiples of"),
    ],
)
def test_what_is_no_session_is_refused(obedient, context, given, message):
    with pytest.raises(ValueError, match=message):
        obedient.session(**({"context": context} | given))


def test_wrong_actions_change_nothing(obedient, context, actions):
    """The frames after a refused call are those of a session that never had it."""
    plain, teased = (obedient.session(context, generator=seeded()) for _ in range(2))
    for wrong in (torch.zeros(2, 4), torch.full((1, 3), torch.nan), torch.zeros(2, 3, 3)):
        with pytest.raises(ValueError):
            teased.step(wrong)
    assert torch.equal(teased.step(actions[:4]), plain.step(actions[:4]))


def test_a_fault_of_the_model_leaves_a_session_where_it_was(
    obedient, context, actions, monkeypatch
):
    session = obedient.session(context, generator=seeded())
    session.step(actions[:5])

    def broken(*given):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(obedient.backbone, "forward", broken)
        with pytest.raises(RuntimeError, match="out of memory"):
            session.step(actions[5:9])
    assert (session.waiting, session.num_frames) == (1, 4)
    assert session.step(actions[5:8]).shape == (4, 3, 16, 16)


# Streams that are imagined ahead ------------------------------------------------------------------


@pytest.mark.parametrize("chain", CHAINS)
def test_a_stream_that_is_imagined_ahead_is_the_rollout(obedient, context, actions, chain):
    how = Sampling(chain=chain, steps=2)
    whole = obedient.rollout(context, actions, how, generator=seeded())
    parts = []
    for part in obedient.stream(context, actions, how, generator=seeded()):
        time.sleep(0.05)  # the next one is imagined meanwhile
        parts.append(part)
    assert torch.equal(torch.cat([part.frames for part in parts], 1), whole.frames)
    assert torch.equal(torch.cat([part.latents for part in parts], 1), whole.latents)


def test_the_next_chunk_is_imagined_while_this_one_is_looked_at(obedient, context, actions):
    threads, forward = [], type(obedient.backbone).forward

    def watched(noisy, sigma, condition):
        threads.append(threading.current_thread().name)
        return forward(obedient.backbone, noisy, sigma, condition)

    obedient.backbone.forward = watched
    stream = obedient.stream(context, actions, Sampling(steps=1), generator=seeded())
    assert not threads  # nothing before the first is asked for
    next(stream)
    deadline = time.monotonic() + 30
    while len(threads) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(threads) == 2
    assert all(name.startswith("egowm-beside") for name in threads)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("egowm-beside")]


@pytest.mark.long
def test_a_rollout_beside_a_stream_disturbs_neither(obedient, context, actions):
    """Both condition one network: they take turns."""
    whole = obedient.rollout(context, actions, generator=seeded()).frames
    other = obedient.rollout(context, -actions, generator=seeded()).frames
    parts = []
    for part in obedient.stream(context, actions, generator=seeded()):
        assert torch.equal(obedient.rollout(context, -actions, generator=seeded()).frames, other)
        parts.append(part.frames)
    assert torch.equal(torch.cat(parts, 1), whole)


@pytest.mark.long
def test_a_stream_keeps_the_caller_s_autocast(obedient, context, actions):
    with torch.autocast("cpu", torch.bfloat16):
        whole = obedient.rollout(context, actions, generator=seeded()).frames
        parts = [part.frames for part in obedient.stream(context, actions, generator=seeded())]
    assert torch.equal(torch.cat(parts, 1), whole)
    plain = obedient.rollout(context, actions, generator=seeded()).frames
    assert not torch.equal(plain, whole)


@pytest.mark.long
def test_micro_batches_that_share_a_generator_draw_in_turns(obedient, context, actions):
    """As they did before: the first chunk of each, then the second."""
    told = torch.stack([actions, -actions])
    how = Sampling(micro_batch=1, steps=1)
    first, again = (
        torch.cat([p.frames for p in obedient.stream(context, told, how, generator=seeded())], 1)
        for _ in range(2)
    )
    assert torch.equal(first, again)
    each = obedient.rollout(context, told, how, generator=SharedNoise(seeded())).frames
    parts = obedient.stream(context, told, how, generator=SharedNoise(seeded()))
    assert torch.equal(torch.cat([part.frames for part in parts], 1), each)


def test_an_error_in_the_thread_is_the_caller_s(obedient, context, actions, monkeypatch):
    def broken(noisy, sigma, condition):
        raise ValueError("broken here")

    monkeypatch.setattr(obedient.backbone, "forward", broken)
    with pytest.raises(ValueError, match="broken here"):
        list(obedient.stream(context, actions, generator=seeded()))


def test_arrays_and_lists_are_taken(obedient, actions):
    picture = np.zeros((16, 16, 3), np.uint8)
    made = [
        obedient.session(picture, generator=seeded()).step(told)
        for told in (actions[:4], actions[:4].numpy(), actions[:4].tolist())
    ]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
