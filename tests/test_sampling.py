"""Rollouts for planners: partly decoded, in micro-batches, by common numbers, with gradients."""

import doctest
import inspect
import re
from dataclasses import fields, replace

import pytest
import torch

from egowm import sampling
from egowm.backbones import Cosmos3
from egowm.backbones.codec import Codec
from egowm.backbones.codec_wrappers import Memo
from egowm.clip import Clip
from egowm.diffusion import SharedNoise, randn
from egowm.evaluation.agents import with_model
from egowm.planning import ImaginedWorlds, goal_cost
from egowm.planning.stable_worldmodel import GoalModel
from egowm.sampling import Rollout, Sampling
from egowm.world_model import WorldModel

ROUNDING = 1e-4  # see test_world_model.py


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def context() -> torch.Tensor:
    """(1, 1, 3, H, W) in [0, 1]."""
    return torch.rand(1, 1, 3, 16, 16, generator=seeded(2))


@pytest.fixture
def actions(spec) -> torch.Tensor:
    """(3, 6, 3): a chunk of 4 frames and one of 2."""
    return spec.denormalise(torch.rand(3, 6, 3, generator=seeded()) * 2 - 1)


@pytest.fixture(params=["image decoder", "temporal decoder"])
def either(request, obedient, monkeypatch):
    """The model, once with a VAE that decodes frame by frame in place of SVD's own."""
    if request.param == "image decoder":
        vae = obedient.backbone.vae

        def one_by_one(z, num_frames=1):
            frames = [vae.__class__.decode(vae, frame[None], num_frames=1).sample for frame in z]
            return type("Decoded", (), {"sample": torch.cat(frames)})

        monkeypatch.setattr(vae, "decode", one_by_one)
        monkeypatch.setattr(obedient.backbone.codec, "decodes_in_time", False)
    return obedient


def decoded_frames(model, monkeypatch) -> list[int]:
    """Fills with the number of frames of each call of the VAE's decoder."""
    counts, decode = [], model.backbone.vae.decode

    def counted(z, **options):
        counts.append(len(z))
        return decode(z, **options)

    monkeypatch.setattr(model.backbone.vae, "decode", counted)
    return counts


def test_only_what_is_asked_for_is_decoded(either, context, actions, monkeypatch):
    whole = either.rollout(context, actions, generator=seeded())
    counts = decoded_frames(either, monkeypatch)
    last = either.rollout(context, actions, Sampling(decode="last"), generator=seeded())
    frame_by_frame = not either.backbone.codec.decodes_in_time
    # The first chunk's last frame is the second one's context.
    assert sum(counts) == (3 + 3 if frame_by_frame else 3 * 4 + 3 * 2)
    counts.clear()
    none = either.rollout(context, actions, Sampling(decode="none"), generator=seeded())
    assert sum(counts) == (3 if frame_by_frame else 3 * 4)
    counts.clear()
    either.rollout(context, actions[:, :4], Sampling(decode="none"), generator=seeded())
    assert counts == []
    assert last.frames.shape == (3, 1, 3, 16, 16)
    assert none.frames.shape == (3, 0, 3, 16, 16)
    torch.testing.assert_close(last.frames, whole.frames[:, -1:], atol=ROUNDING, rtol=0)
    for made in (last, none):
        torch.testing.assert_close(made.latents, whole.latents, atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.long
def test_a_window_decodes_less_than_the_chunk(obedient, context, actions, monkeypatch):
    """SVD's temporal decoder, approximately; what the next chunk starts from stays exact."""
    one = actions[:, :4]
    whole = obedient.rollout(context, one, Sampling(decode="last"), generator=seeded())
    counts, errors = decoded_frames(obedient, monkeypatch), []
    for window in (1, 2, 3, 4, 9):
        counts.clear()
        near = Sampling(decode="last", decode_window=window)
        made = obedient.rollout(context, one, near, generator=seeded())
        assert sum(counts) == 3 * min(window, 4)
        assert made.frames.shape == (3, 1, 3, 16, 16)
        assert torch.equal(made.latents, whole.latents)
        errors.append((made.frames - whole.frames).abs().mean().item())
    assert errors[0] > errors[2] > 1e-4
    assert errors[3:] == [0.0, 0.0]
    counts.clear()
    exact = obedient.rollout(context, actions, Sampling(decode="last"), generator=seeded())
    assert sum(counts) == 3 * 4 + 3 * 2
    counts.clear()
    near = Sampling(decode="last", decode_window=1)
    made = obedient.rollout(context, actions, near, generator=seeded())
    assert sum(counts) == 3 * 4 + 3 * 1
    assert torch.equal(made.latents, exact.latents)


def test_bfloat16_has_no_gradient_on_a_cpu(obedient, context, actions):
    how = Sampling(dtype=torch.bfloat16, gradient=True)
    with pytest.raises(ValueError, match="float32 for gradients on a CPU"):
        obedient.rollout(context, actions, how)


def test_an_image_decoder_needs_no_window(either, context, actions):
    """It is exact with any; other families refuse one, for theirs decode from the start."""
    if either.backbone.codec.decodes_in_time:
        with pytest.raises(ValueError, match="leave decode_window out"):
            Codec.decode_frame(either.backbone.codec, torch.zeros(1, 4, 4, 8, 8), 3, window=2)
        return
    whole = either.rollout(context, actions, Sampling(decode="last"), generator=seeded())
    made = either.rollout(
        context, actions, Sampling(decode="last", decode_window=1), generator=seeded()
    )
    assert torch.equal(made.frames, whole.frames)


@pytest.mark.long
def test_bfloat16_is_near_float32(obedient, context, actions, monkeypatch):
    plain = obedient.rollout(context, actions, generator=seeded())
    seen, forward = [], obedient.backbone.network.conv_in.forward

    def watched(x):
        made = forward(x)
        seen.append(made.dtype)
        return made

    monkeypatch.setattr(obedient.backbone.network.conv_in, "forward", watched)
    half = obedient.rollout(context, actions, Sampling(dtype=torch.bfloat16), generator=seeded())
    assert set(seen) == {torch.bfloat16}
    assert half.frames.dtype == half.latents.dtype == torch.float32
    error = (half.frames - plain.frames).abs().mean().item()
    assert 1e-5 < error < 0.1 * plain.frames.std().item()


def test_a_stream_is_the_rollout_chunk_by_chunk(obedient, context, actions):
    whole = obedient.rollout(context, actions * 3, generator=seeded())
    chunks = list(obedient.stream(context, actions * 3, generator=seeded()))
    assert [chunk.frames.shape[1] for chunk in chunks] == [4, 2]
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks], 1), whole.frames)
    assert torch.equal(torch.cat([chunk.latents for chunk in chunks], 1), whole.latents)
    assert sum(chunk.num_outside for chunk in chunks) == whole.num_outside > 0
    assert not chunks[0].frames.requires_grad


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_micro_batches_are_the_whole_batch(obedient, context, actions, size, monkeypatch):
    calls, forward = [], type(obedient.backbone).forward

    def watched(self, noisy, sigma, condition):
        calls.append(len(noisy))
        return forward(self, noisy, sigma, condition)

    each = [seeded(k) for k in range(3)]
    whole = obedient.rollout(context, actions, generator=each)
    monkeypatch.setattr(type(obedient.backbone), "forward", watched)
    each = [seeded(k) for k in range(3)]
    made = obedient.rollout(context, actions, Sampling(micro_batch=size), generator=each)
    assert max(calls) == min(size, 3)
    torch.testing.assert_close(made.frames, whole.frames, atol=ROUNDING, rtol=0)
    each = [seeded(k) for k in range(3)]
    repeated = context.expand(3, -1, -1, -1, -1)
    made = obedient.rollout(repeated, actions, Sampling(micro_batch=size), generator=each)
    torch.testing.assert_close(made.frames, whole.frames, atol=ROUNDING, rtol=0)


def test_micro_batches_are_checked_before_any_work(obedient, context, actions):
    with pytest.raises(ValueError, match="one generator for each of 3, got 2"):
        obedient.rollout(context, actions, Sampling(micro_batch=2), generator=[seeded(), seeded()])
    actions[2, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="is not a finite number"):
        obedient.rollout(context, actions, Sampling(micro_batch=1))


@pytest.mark.long
def test_common_numbers(obedient, context, actions, monkeypatch):
    """As one equal generator for each, but the noisy context is encoded once."""
    same = actions[:1].expand(3, -1, -1)
    vae, encoded = obedient.backbone.vae, []
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda x: encoded.append(len(x)) or encode(x))
    common = obedient.rollout(context, same, generator=SharedNoise(seeded(5)))
    assert encoded == [1]
    assert torch.equal(common.frames[0], common.frames[1])
    alike = obedient.rollout(context, actions, generator=[seeded(5) for _ in range(3)])
    common = obedient.rollout(context, actions, generator=SharedNoise(seeded(5)))
    torch.testing.assert_close(common.frames, alike.frames, atol=ROUNDING, rtol=0)
    parts = obedient.rollout(
        context, actions, Sampling(micro_batch=2), generator=SharedNoise(seeded(5))
    )
    torch.testing.assert_close(parts.frames, common.frames, atol=ROUNDING, rtol=0)


def test_common_draws_once():
    common = SharedNoise(seeded(1))
    again = common.fresh()
    drawn = randn((4, 2), common, torch.device("cpu"))
    assert torch.equal(drawn, drawn[:1].expand(4, -1))
    assert torch.equal(drawn[0], torch.randn(2, generator=seeded(1)))
    assert torch.equal(randn((1, 2), again, torch.device("cpu")), drawn[:1])


# Gradients ----------------------------------------------------------------------------------------


def slope(model, context, actions, how: Sampling) -> torch.Tensor:
    """Of a fixed mixture of the pixels (or latents) in the actions."""
    leaf = actions.clone().requires_grad_()
    made = model.rollout(
        context, leaf, replace(how, gradient=True), generator=SharedNoise(seeded())
    )
    values = made.latents if how.decode == "none" else made.frames
    return torch.autograd.grad(mixture(values), leaf)[0]


def mixture(values: torch.Tensor) -> torch.Tensor:
    weights = torch.randn(values.shape[1:], generator=seeded(9))
    return (values * weights.to(values.dtype)).sum()


@pytest.mark.long
@pytest.mark.parametrize(("decode", "guidance"), [("all", 1.0), ("last", 2.0), ("none", 1.0)])
def test_a_gradient_is_that_without_checkpoints(
    obedient, context, actions, decode, guidance, monkeypatch
):
    how = Sampling(decode=decode, guidance=guidance, steps=2)
    checked = slope(obedient, context, actions, how)
    monkeypatch.setattr(
        "egowm.sampler.checkpoint", lambda function, *args, use_reentrant: function(*args)
    )
    plain = slope(obedient, context, actions, how)
    assert checked.abs().min() > 1e-6  # every action reaches the end, also through the chain
    torch.testing.assert_close(checked, plain, rtol=1e-3, atol=1e-4 * plain.abs().max().item())
    assert all(p.grad is None for p in obedient.parameters())


def test_a_gradient_is_a_finite_difference(obedient, context, actions):
    """In latents of one chunk and two steps: a short central difference, for it is steep."""
    one, how = actions[:1, :4], Sampling(decode="none", steps=2)
    direction = torch.randn(one.shape, generator=seeded(4)) * torch.tensor([0.3, 0.1, 0.1])
    found = (slope(obedient, context, one, how) * direction).sum().item()
    ends = []
    for size in (1e-4, -1e-4):
        made = obedient.rollout(
            context, one + size * direction, how, generator=SharedNoise(seeded())
        )
        ends.append(mixture(made.latents.double()).item())
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=0.02)


def test_the_backward_pass_recomputes_with_the_actions(obedient, context, actions, monkeypatch):
    """Each step runs once forward and once more backward."""
    calls, forward = [], type(obedient.backbone).forward

    def watched(self, noisy, sigma, condition):
        calls.append(len(noisy))
        return forward(self, noisy, sigma, condition)

    monkeypatch.setattr(type(obedient.backbone), "forward", watched)
    slope(obedient, context, actions[:, :4], Sampling(steps=2, decode="none"))
    assert calls == [3] * 4
    obedient.rollout(context, actions[:, :4].requires_grad_(), Sampling(steps=2))
    assert calls == [3] * 6


def test_a_memo_does_not_cut_a_gradient():
    memo = Memo(4)
    picture = torch.zeros(1, 3, 2, 2, requires_grad=True)
    memo(picture, lambda x: 2 * x).sum().backward()
    assert torch.equal(picture.grad, torch.full_like(picture, 2.0))
    assert not memo.held


# The settings -------------------------------------------------------------------------------------


def test_doctests():
    failed, tried = doctest.testmod(sampling)
    assert failed == 0
    assert tried == 8


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "at least 1 sampling step, got 0"),
        ({"steps": 2.5}, "steps to be a whole number, got 2.5"),
        ({"steps": "4"}, "steps to be a whole number, got '4'"),
        ({"micro_batch": True}, "micro_batch to be a whole number, got True"),
        ({"guidance": "2"}, "guidance to be a number, got '2'"),
        ({"guidance": float("nan")}, "guidance to be a number, got nan"),
        ({"chain": "frames"}, "chain latents, latents_only or pixels, got 'frames'"),
        ({"decode": "some"}, "decode all, last or none, got 'some'"),
        ({"decode_window": 2}, "with decode last, got 2 with decode all"),
        ({"decode": "last", "decode_window": 0}, "decode_window of at least 1, .* got 0"),
        ({"dtype": torch.float16}, "dtype float32 or bfloat16, got torch.float16"),
        ({"micro_batch": 0}, "micro_batch of at least 1, got 0"),
    ],
)
def test_a_setting_is_checked_where_it_is_written(wrong, words):
    with pytest.raises(ValueError, match=words):
        Sampling(**wrong)


def test_every_setting_is_documented():
    described = re.findall(r"^        (\w+): ", Sampling.__doc__, re.MULTILINE)
    assert described == [field.name for field in fields(Sampling)]


UNBUILT = Cosmos3.__new__(Cosmos3)  # refused before anything of it is used


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda model, **loose: model.rollout(None, None, **loose), "WorldModel.rollout"),
        (lambda model, **loose: model.stream(None, None, **loose), "WorldModel.stream"),
        (lambda model, **loose: model.rollout_of(None, **loose), "WorldModel.rollout_of"),
        (lambda model, **loose: goal_cost(model, None, None, **loose), "goal_cost"),
        (lambda model, **loose: ImaginedWorlds(model, None, **loose), "ImaginedWorlds"),
        (lambda model, **loose: GoalModel(model, **loose), "GoalModel"),
        (lambda model, **loose: with_model(model, None, **loose), "with_model"),
        (lambda model, **loose: Cosmos3.rollout(UNBUILT, None, None, **loose), "Cosmos3.rollout"),
    ],
)
def test_a_setting_outside_a_sampling_is_named(obedient, call, name):
    words = f"{name} takes no steps, guide_on: pass how=Sampling(steps=2, guide_on='action')."
    with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
        call(obedient, guide_on="action", steps=2)


def test_rollout_and_stream_take_the_same_arguments():
    ours, theirs, cosmos = (
        inspect.signature(function).parameters.values()
        for function in (WorldModel.rollout, WorldModel.stream, Cosmos3.rollout)
    )
    assert [str(p) for p in ours] == [str(p) for p in theirs] == [str(p) for p in cosmos]


# One picture, one sequence ------------------------------------------------------------------------


@pytest.mark.parametrize("as_array", [False, True])
def test_one_picture_and_one_sequence(obedient, actions, as_array):
    picture = torch.randint(0, 256, (16, 24, 3), dtype=torch.uint8, generator=seeded(2))
    context = picture.permute(2, 0, 1)[None, None]
    whole = obedient.rollout(context, actions[:1], generator=seeded())
    given = [picture, actions[0]]
    if as_array:
        given = [values.numpy() for values in given]
        given[0].setflags(write=False)  # as pictures of Pillow are
    made = obedient.rollout(*given, generator=seeded())
    assert made.frames.shape == (1, 6, 3, 16, 24)
    assert torch.equal(made.frames, whole.frames)
    chunks = [chunk.frames for chunk in obedient.stream(*given, generator=seeded())]
    assert torch.equal(torch.cat(chunks, 1), whole.frames)


def test_a_cost_of_pictures(obedient, actions):
    picture, goal = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=seeded(2))
    frames = picture.permute(2, 0, 1)[None, None], goal.permute(2, 0, 1)
    how, costs = Sampling(steps=1), []
    for seen, wanted in (frames, (picture, goal), (picture.numpy(), goal.numpy())):
        costs.append(goal_cost(obedient, seen, wanted, how)(actions))
        assert torch.equal(costs[0], costs[-1])
    assert costs[0].std() > 1e-4


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((16, 16, 3), torch.float32), ((3, 16, 16), torch.uint8), ((16, 16, 4), torch.uint8)],
)
def test_what_is_no_picture_is_refused(obedient, actions, shape, kind):
    with pytest.raises(ValueError, match=r"or one picture \(H, W, 3\) in uint8, got"):
        obedient.rollout(torch.zeros(shape, dtype=kind), actions)
    with pytest.raises(ValueError, match=r"or one picture \(H, W, 3\) in uint8, got"):
        goal_cost(obedient, torch.zeros(shape, dtype=kind), torch.zeros(3, 16, 16))


# Streams ------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("decode", ["all", "last", "none"])
def test_a_stream_takes_every_setting(obedient, context, actions, decode):
    """In micro-batches side by side, partly decoded; its errors come with the call."""
    how = Sampling(steps=2, guidance=2.0, decode=decode, micro_batch=2)
    whole = obedient.rollout(context, actions * 3, how, generator=SharedNoise(seeded()))
    chunks = list(obedient.stream(context, actions * 3, how, generator=SharedNoise(seeded())))
    shown = {"all": [4, 2], "last": [0, 1], "none": [0, 0]}[decode]
    assert [chunk.frames.shape[1] for chunk in chunks] == shown
    assert [chunk.latents.shape[:2] for chunk in chunks] == [(3, 4), (3, 2)]
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks], 1), whole.frames)
    assert torch.equal(torch.cat([chunk.latents for chunk in chunks], 1), whole.latents)
    assert [chunk.num_outside for chunk in chunks] == [whole.num_outside, 0]
    with pytest.raises(ValueError, match="lie beyond"):
        obedient.stream(context, actions * 3, replace(how, strict=True))


@pytest.mark.parametrize("gradient", [False, True])
def test_a_stream_keeps_a_gradient_where_it_is_asked_for(obedient, context, actions, gradient):
    """And leaves the caller's own mode as it is between chunks."""
    leaf = actions[:1].clone().requires_grad_()
    how = Sampling(steps=1, decode="none", gradient=gradient)
    with torch.set_grad_enabled(not gradient):
        chunks = []
        for chunk in obedient.stream(context, leaf, how, generator=SharedNoise(seeded())):
            assert torch.is_grad_enabled() is not gradient
            chunks.append(chunk.latents)
    assert [part.requires_grad for part in chunks] == [gradient] * 2
    if gradient:
        (found,) = torch.autograd.grad(chunks[1].square().sum(), leaf)
        assert found.abs().min() > 1e-6  # also of the first chunk's actions


# A clip's own rollout -----------------------------------------------------------------------------


def test_a_clip_s_rollout(obedient, context, actions):
    """From its own context, under its own actions or others."""
    frames = torch.randint(0, 256, (3, 8, 3, 16, 16), dtype=torch.uint8, generator=seeded(1))
    names = [""] * 3, ["test"] * 3, ["a", "b", "c"]
    clip = Clip(frames, actions, torch.zeros(3, 1, 3), torch.zeros(3, 0), *names)
    how, noise = Sampling(steps=1), [[seeded(k) for k in range(3)] for _ in range(4)]
    found = obedient.rollout_of(clip, how=how, generator=noise[0])
    expected = obedient.rollout(frames[:, :2], actions, how, generator=noise[1])
    assert torch.equal(found.frames, expected.frames)
    found = obedient.rollout_of(clip, actions.flip(0), how, generator=noise[2])
    expected = obedient.rollout(frames[:, :2], actions.flip(0), how, generator=noise[3])
    assert torch.equal(found.frames, expected.frames)
    assert not torch.equal(found.frames[0], frames[0, 2:].float() / 255)


def test_a_rollout_shows_its_shapes_not_its_numbers():
    made = Rollout(torch.rand(1, 8, 3, 64, 64), torch.rand(1, 8, 4, 8, 8), num_outside=2)
    shown = "Rollout(frames (1, 8, 3, 64, 64), latents (1, 8, 4, 8, 8), num_outside=2)"
    assert repr(made) == shown
