"""Rollouts: chunks, generators, guidance, and what is refused. Alignment: data/test_module.py."""

import numpy as np
import pytest
import torch

from egowm.backbones import SVD
from egowm.sampling import Sampling
from egowm.world_model import Rollout, WorldModel

# Float32 through a network with amplified weights, two chunks deep: 1e-5 measured on one machine.
ROUNDING = 1e-4


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture
def context() -> torch.Tensor:
    """(1, 1, 3, H, W) uint8."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1, 3, 16, 16), np.uint8))


@pytest.fixture
def actions(spec) -> torch.Tensor:
    """(3, 4, 3): three different sequences in physical units."""
    unit = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return spec.denormalise(unit)


def test_embedding_of_a_frame_is_its_own_action_s(obedient, actions):
    changed = actions.clone()
    changed[1, 2, 0] += 0.05
    spec = obedient.spec
    before, after = obedient.embed(spec.normalise(actions)), obedient.embed(spec.normalise(changed))
    assert before.shape == (3, 4, obedient.backbone.embedding_dim)
    assert (before != after).any(-1).nonzero().tolist() == [[1, 2]]


def test_rollout(obedient, context, actions):
    made = obedient.rollout(context, actions, generator=generators(0)[0])
    assert isinstance(made, Rollout)
    assert made.frames.shape == (3, 4, 3, 16, 16)
    assert made.latents.shape == (3, 4, 4, 8, 8)
    assert made.num_outside == 0
    assert made.frames.min() >= 0
    assert made.frames.max() <= 1
    assert made.frames.std() > 0.1
    assert not made.frames.requires_grad


def test_rollout_follows_actions_and_context(obedient, context, actions):
    same = generators(5, 5, 5)
    made = obedient.rollout(context, actions, generator=same).frames
    for a, b in ((0, 1), (1, 2), (0, 2)):  # only the actions differ
        assert (made[a] - made[b]).abs().mean() > 0.01
    other = obedient.rollout(255 - context, actions, generator=generators(5, 5, 5)).frames
    assert (made - other).abs().mean() > 0.05


def test_default_steps_are_the_model_s(obedient, context, actions):
    made = [
        obedient.rollout(context, actions, Sampling(steps=steps), generator=generators(0)[0]).frames
        for steps in (None, 3, 5)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    with pytest.raises(ValueError, match="at least 1 sampling step"):
        obedient.rollout(context, actions, Sampling(steps=0))


@pytest.mark.long
@pytest.mark.parametrize("num_frames", [8, 10])
def test_long_rollouts_are_chunks(obedient, context, num_frames):
    """From pixels: each starts from the last frame decoded, with one generator advanced."""
    actions = torch.rand(2, num_frames, 3) * 0.1
    whole = obedient.rollout(context, actions, Sampling(chain="pixels"), generator=generators(0)[0])
    generator, start, parts = generators(0)[0], context, []
    for part in actions.split(4, 1):
        made = obedient.rollout(start, part, generator=generator)
        parts.append(made.frames)
        start = made.frames[:, -1:]
    assert whole.frames.shape[:2] == (2, num_frames)
    torch.testing.assert_close(whole.frames, torch.cat(parts, 1), atol=ROUNDING, rtol=0)


def test_chunks_are_chained_by_their_latents(obedient, context, monkeypatch):
    """The VAE encodes the first picture only; later chunks get what was generated, to the bit."""
    actions = torch.rand(2, 8, 3) * 0.1
    condition, known, encoded = obedient.backbone.condition, [], []
    encode = obedient.backbone.vae.encode

    def watched(*args):
        known.append(args[3])
        return condition(*args)

    def counted(frames):
        encoded.append(len(frames))
        return encode(frames)

    monkeypatch.setattr(obedient.backbone, "condition", watched)
    monkeypatch.setattr(obedient.backbone.vae, "encode", counted)
    made = obedient.rollout(context, actions, generator=generators(0)[0])
    assert known[0] is None
    assert torch.equal(known[1], made.latents[:, 3])
    assert encoded == [1]
    pixels = obedient.rollout(
        context, actions, Sampling(chain="pixels"), generator=generators(0)[0]
    )
    assert torch.equal(made.frames[:, :4], pixels.frames[:, :4])
    assert not torch.allclose(made.frames[:, 4:], pixels.frames[:, 4:], atol=1e-3)
    with pytest.raises(
        ValueError, match="Expected chain latents, latents_only or pixels, got 'frames'"
    ):
        obedient.rollout(context, actions, Sampling(chain="frames"))


@pytest.mark.long
@pytest.mark.parametrize(("decode", "decoded"), [("last", [8]), ("all", [8, 8]), ("none", [])])
def test_a_chain_of_latents_only(obedient, context, monkeypatch, decode, decoded):
    """Nothing is decoded between chunks, and the image embedding stays that of the given frame; the
    rest is as it is in a chain of latents whose later frames look like the first."""
    codec, actions = obedient.backbone.codec, torch.rand(2, 8, 3) * 0.1
    parts = []
    decode_latents, embed = codec.decode, codec.embed_image
    monkeypatch.setattr(
        codec, "decode", lambda z: (parts.append(z.shape[0] * z.shape[1]), decode_latents(z))[1]
    )
    blind, seeing = (Sampling(chain=c, decode=decode) for c in ("latents_only", "latents"))
    made = obedient.rollout(context, actions, blind, generator=generators(0)[0])
    assert parts == decoded
    given = embed(context[:, 0].float() / 127.5 - 1)
    monkeypatch.setattr(codec, "embed_image", lambda image: given.expand(len(image), -1, -1))
    same = obedient.rollout(context, actions, seeing, generator=generators(0)[0])
    torch.testing.assert_close(made.frames, same.frames, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(made.latents, same.latents, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(codec, "embed_image", embed)
    other = obedient.rollout(context, actions, seeing, generator=generators(0)[0])
    assert torch.equal(made.latents[:, :4], other.latents[:, :4])
    assert not torch.allclose(made.latents[:, 4:], other.latents[:, 4:], atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_candidate_does_not_depend_on_its_batch(obedient, context, actions, guidance):
    long = torch.cat([actions, actions.flip(1)], 1)  # two chunks
    batch = obedient.rollout(
        context, long, Sampling(guidance=guidance), generator=generators(7, 8, 9)
    ).frames
    for k, seed in enumerate((7, 8, 9)):
        alone = obedient.rollout(
            context, long[k : k + 1], Sampling(guidance=guidance), generator=generators(seed)
        ).frames
        torch.testing.assert_close(batch[k : k + 1], alone, atol=ROUNDING, rtol=0)
    with pytest.raises(ValueError, match="one generator for each of 3, got 2"):
        obedient.rollout(context, actions, generator=generators(1, 2))


def test_a_shared_context_is_a_repeated_one(obedient, context, actions):
    repeated = context.expand(3, -1, -1, -1, -1)
    shared, each = (
        obedient.rollout(start, actions, generator=generators(1, 2, 3)).frames
        for start in (context, repeated)
    )
    torch.testing.assert_close(shared, each, atol=ROUNDING, rtol=0)
    obedient.backbone.noise_strength = 0.0  # then one generator serves both in the same way
    latents = [
        obedient.backbone.condition(start.float() / 127.5 - 1, torch.zeros(len(start))).latents
        for start in (context, repeated)
    ]
    torch.testing.assert_close(latents[0].repeat(3, 1, 1, 1), latents[1], atol=ROUNDING, rtol=0)


def test_only_the_last_context_frame_counts(obedient, context, actions):
    two = torch.cat([255 - context, context], 1)
    made = [obedient.rollout(c, actions, generator=generators(0)[0]).frames for c in (context, two)]
    assert torch.equal(*made)


def test_guidance_is_null_plus_g_times_the_difference(obedient, context, actions, monkeypatch):
    """One step from pure noise: the guided estimate is linear in g; the image is dropped only."""
    latents = [
        obedient.rollout(
            context, actions, Sampling(steps=1, guidance=g), generator=generators(0)[0]
        ).latents
        for g in (1.0, 2.0, 3.0, 0.0)
    ]
    assert (latents[0] - latents[3]).abs().max() > 0.05
    for k, g in ((1, 2.0), (2, 3.0)):
        expected = latents[3] + g * (latents[0] - latents[3])
        torch.testing.assert_close(latents[k], expected, atol=1e-4, rtol=1e-4)
    changed = obedient.rollout(
        context, -actions, Sampling(steps=1, guidance=0.0), generator=generators(0)[0]
    ).latents
    assert (changed - latents[3]).abs().max() > 0.01  # the null branch keeps the actions


def test_float_and_uint8_contexts_agree(obedient, context, actions):
    made = [
        obedient.rollout(c, actions, generator=generators(0)[0]).frames
        for c in (context, context.float() / 255)
    ]
    torch.testing.assert_close(*made, atol=ROUNDING, rtol=0)


def test_actions_beyond_the_training_range(obedient, context, actions):
    far = actions.clone()
    far[0, 1, 2] = 9.0
    assert obedient.rollout(context, far).num_outside == 1
    with pytest.raises(ValueError, match="1 action value lies beyond"):
        obedient.rollout(context, far, Sampling(strict=True))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 1, 3, 16, 16), r"shape \(1 or 3, K, 3, H, W\), or .*, got \(2, 1, 3, 16, 16\)"),
        ((1, 3, 16, 16), r"shape \(1 or 3, K, 3, H, W\), or .*, got \(1, 3, 16, 16\)"),
        ((1, 1, 1, 16, 16), r"got \(1, 1, 1, 16, 16\)"),
        ((1, 1, 3, 16, 20), "multiples of 8, got 16x20"),
    ],
)
def test_a_wrong_context_is_refused(obedient, actions, shape, words):
    with pytest.raises(ValueError, match=words):
        obedient.rollout(torch.zeros(shape, dtype=torch.uint8), actions)


def test_a_context_out_of_range_is_refused(obedient, context, actions):
    for wrong in (context.float(), context.float() / 127.5 - 1, context.long()):
        with pytest.raises(ValueError, match=r"float context in \[0, 1\] \(or uint8"):
            obedient.rollout(wrong, actions)


def test_wrong_actions_are_refused(obedient, context, actions):
    with pytest.raises(ValueError, match=r"3\): dx, dy, dyaw; got \(3, 4, 2\)"):
        obedient.rollout(context, actions[..., :2])
    for shape in ((3,), (0, 3), (2, 0, 3), (1, 1, 4, 3)):
        with pytest.raises(ValueError, match=r"Expected actions \(N, T, 3\)"):
            obedient.rollout(context, torch.zeros(shape))
    actions[2, 1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"Action 1, dimension 0 \(dx\)"):
        obedient.rollout(context, actions)


def test_a_model_without_a_spec_is_refused(tiny_prior, context, actions):
    model = WorldModel(SVD(str(tiny_prior)))
    with pytest.raises(ValueError, match="no ActionSpec yet"):
        model.rollout(context, actions)
