"""Frozen parts off the GPU: where they are, when they come, and that nothing else changes."""

import pytest
import torch

from egowm.backbones import codec_wrappers
from egowm.backbones.codec_wrappers import brought_to
from egowm.data import Clip
from egowm.diffusion import randn
from egowm.sampling import Sampling

from .conftest import BY_FRAME


@pytest.fixture
def away(model):
    """The same model with its frozen parts off the GPU."""
    model._offload()
    return model


def test_weights_come_and_go(monkeypatch):
    """Inside they are a copy, afterwards the very ones."""
    layer, moved = torch.nn.BatchNorm1d(3).requires_grad_(False), []
    homes = {name: t.data_ptr() for name, t in layer.state_dict().items()}

    def copied(tensor, device, non_blocking):
        moved.append(device)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "to", copied)
    gpu = torch.device("meta")
    with torch.no_grad(), brought_to(gpu, [layer]):
        assert all(t.data_ptr() != homes[name] for name, t in layer.state_dict().items())
    assert {name: t.data_ptr() for name, t in layer.state_dict().items()} == homes
    assert moved == [gpu] * 5  # two parameters and three buffers
    with pytest.raises(ValueError, match=r"gradient through the VAE .* --model.offload false"):
        brought_to(gpu, [layer]).__enter__()


def test_moving_leaves_them_and_types_reach_them(away):
    """`to` a device that keeps no values: what moved is lost, what did not move is not."""
    backbone, before = away.backbone, {}
    for name, part in backbone.codec.frozen.items():
        before[name] = torch.cat([p.flatten() for p in part.parameters()])
    assert "vae" in before
    order = [name for name, _ in backbone.named_parameters()]
    away.to("meta")
    assert next(backbone.network.parameters()).is_meta
    assert next(away.action_embedding.parameters()).is_meta
    for name, part in backbone.codec.frozen.items():
        assert torch.equal(torch.cat([p.flatten() for p in part.parameters()]), before[name])
    away.to(torch.bfloat16)
    assert {p.dtype for p in away.parameters()} == {torch.bfloat16}
    assert next(backbone.vae.parameters()).device.type == "cpu"
    assert [name for name, _ in backbone.named_parameters()] == order


@pytest.mark.long
def test_encoding_and_decoding_happen_where_the_weights_are(away, family, monkeypatch):
    """In the loss and in a rollout; outside, the GPU would not find the weights."""
    steps, real = [], codec_wrappers.brought_to

    def watched(device, modules):
        steps.append(len(modules))
        return real(device, modules)

    monkeypatch.setattr(codec_wrappers, "brought_to", watched)
    backbone, inside = away.backbone, []
    for name in ("encode", "decode"):
        whole = getattr(backbone.vae, name)

        def call(*arguments, whole=whole, name=name, **options):
            inside.append((name, len(steps)))
            return whole(*arguments, **options)

        monkeypatch.setattr(backbone.vae, name, call)
    height, width = family.size
    frames = torch.randint(0, 256, (1, family.horizon + 1, 3, height, width), dtype=torch.uint8)
    actions, none = torch.zeros(1, family.horizon, 3), [""]
    clip = Clip(frames, actions, torch.zeros(1, 0, 3), torch.zeros(1, 0), none, none, none)
    away.loss(clip, torch.Generator().manual_seed(0))
    assert steps == [len(backbone.codec.frozen)]
    assert {name for name, _ in inside} == {"encode"}
    assert all(number == 1 for _, number in inside)
    inside.clear()
    away.rollout(
        frames[:, :1], actions, Sampling(steps=2), generator=torch.Generator().manual_seed(0)
    )
    assert len(steps) == 3  # the context, and the frames
    assert ("decode", 3) in inside
    assert ("encode", 2) in inside
    how = Sampling(steps=2, decode="none")
    away.rollout(frames[:, :1], actions, how, generator=torch.Generator().manual_seed(0))
    assert len(steps) == 4  # the context alone


def test_a_rollout_with_gradients_is_refused(away, family):
    context = torch.zeros(1, 1, 3, *family.size)
    actions = torch.zeros(1, family.horizon, 3)
    with pytest.raises(ValueError, match="A gradient through the VAE"):
        away.rollout(context, actions, Sampling(steps=2, gradient=True))


def test_ddp_is_told(away):
    ignored = set(away._ddp_params_and_buffers_to_ignore)
    frozen = {name for name, p in away.named_parameters() if not p.requires_grad}
    frozen = {name for name in frozen if not name.startswith("backbone.network.")}  # SANA-WM's
    assert frozen
    assert frozen <= ignored
    assert not ignored & {name for name, p in away.named_parameters() if p.requires_grad}


def test_the_vae_takes_a_part_at_a_time(model, family, monkeypatch):
    """The same latents and frames, of at most so many pictures or videos."""
    backbone, sizes = model.backbone, {"encode": [], "decode": []}
    height, width = family.size
    generator = torch.Generator().manual_seed(0)
    num_frames = family.horizon + 1
    frames = randn((3, num_frames, 3, height, width), generator, torch.device("cpu")).tanh()
    with torch.no_grad():
        latents = backbone.codec.encode(frames)
        decoded = backbone.codec.decode(latents)
    for name, found in sizes.items():
        whole = getattr(backbone.vae, name)

        def call(x, *arguments, whole=whole, found=found, **options):
            found.append(len(x))
            return whole(x, *arguments, **options)

        monkeypatch.setattr(backbone.vae, name, call)
    backbone.codec.vae_batch = 2
    with torch.no_grad():
        torch.testing.assert_close(backbone.codec.encode(frames), latents, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(backbone.codec.decode(latents), decoded, atol=1e-4, rtol=1e-4)
    if family.name in BY_FRAME:  # frame by frame, and a video that no part can be taken of
        assert sizes == {"encode": [2] * 7 + [1], "decode": [num_frames] * 3}
    else:
        assert sizes == {"encode": [2, 1], "decode": [2, 1]}


@pytest.mark.gpu
def test_on_a_gpu_the_loss_is_the_same_and_the_weights_leave(model, family):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    height, width = family.size
    frames = torch.randint(0, 256, (1, family.horizon + 1, 3, height, width), dtype=torch.uint8)
    actions, none = torch.zeros(1, family.horizon, 3), [""]
    clip = Clip(frames, actions, torch.zeros(1, 0, 3), torch.zeros(1, 0), none, none, none)
    losses = []
    for offload in (False, True):
        if offload:
            model._offload()
        model.to("cuda")
        losses.append(model.loss(clip.to("cuda"), torch.Generator().manual_seed(0))[0].item())
        model.to("cpu")
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    model.to("cuda")
    assert {p.device.type for p in model.backbone.vae.parameters()} == {"cpu"}
