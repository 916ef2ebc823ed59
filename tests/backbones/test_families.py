"""Every family with the same questions: where the embedding enters, what trains, the stock step."""

import json
import shutil
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from egowm import sampler
from egowm.clip import Clip
from egowm.network.checkpointing import enable_gradient_checkpointing
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

from ..test_documents import code_blocks
from .conftest import BY_FRAME, BY_TOKEN, FAMILIES


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(family, count: int = 1) -> Tensor:
    """(count, K = 1, 3, H, W) uint8."""
    return torch.randint(0, 256, (count, 1, 3, *family.size), generator=generator()).byte()


def clips(family, count: int = 2) -> Clip:
    shape = (count, 1 + family.horizon, 3, *family.size)
    frames = torch.randint(0, 256, shape, generator=generator()).byte()
    actions = torch.rand(count, family.horizon, 3, generator=generator()) * 0.2 - 0.1
    none = torch.zeros(count, 0)
    return Clip(frames, actions, none[:, None], none, *[[""] * count] * 3)


def network_call(model: WorldModel, family) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the network is called with, at two noise levels."""
    backbone, seen = model.backbone, []
    frames = context(family, 2).float() / 127.5 - 1
    condition = backbone.condition(frames, torch.zeros(2), num_frames=1 + family.horizon)
    num_latents = backbone.context_latents + family.horizon // family.stride
    noisy = backbone.noise(2, num_latents, family.size, generator())
    handle = backbone.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    with torch.no_grad():
        backbone(noisy, torch.tensor([0.4, 0.7]), condition)
    handle.remove()
    return seen[0]


def first_block(network: Any) -> nn.Module:
    for name in ("down_blocks", "transformer_blocks", "blocks"):
        if hasattr(network, name):
            return getattr(network, name)[0]
    raise AssertionError(type(network))


@contextmanager
def outputs_of(module: nn.Module):
    kept: list[Tensor] = []
    handle = module.register_forward_hook(
        lambda module, args, output: kept.append(output[0] if type(output) is tuple else output)
    )
    yield kept
    handle.remove()


def obedient(model: WorldModel) -> WorldModel:
    """With an action embedding that is not zero."""
    with torch.no_grad():
        model.action_embedding.linear_2.weight.normal_(std=0.3, generator=generator(1))
        model.null_embedding.normal_(generator=generator(2))
    return model


# Where the embedding enters -----------------------------------------------------------------------


@torch.no_grad()
def test_identity_at_the_start(model, family):
    """Under an embedding at zero the network is the plain one, to the bit."""
    args, kwargs = network_call(model, family)
    network = model.backbone.network
    plain = network(*args, **kwargs)[0]
    assert plain.std() > 0.2
    actions = torch.rand(2, family.horizon, 3) * 2 - 1
    with model.backbone.injecting(model.embed(actions)):
        assert torch.equal(network(*args, **kwargs)[0], plain)


@torch.no_grad()
@pytest.mark.parametrize("family", [n for n in BY_TOKEN if n != "sana"], indirect=True)
def test_a_time_for_each_frame_is_the_scalar_time(model, family):
    args, kwargs = network_call(model, family)
    times = torch.tensor([0.3, 0.6]) * getattr(model.backbone.process, "time_scale", 1.0)
    each = kwargs["timestep"]
    spread = times.reshape(-1, *[1] * (each.ndim - 1)).expand_as(each)
    network = model.backbone.network
    found = network(*args, **kwargs | {"timestep": spread})[0]
    expected = network(*args, **kwargs | {"timestep": times})[0]
    assert (found - expected).abs().max() < 1e-5 * max(1.0, expected.std().item())
    other = network(*args, **kwargs | {"timestep": 0.5 * times})[0]
    assert (other - expected).std() > 0.01


@torch.no_grad()
def test_an_embedding_reaches_the_first_block(model, family):
    args, kwargs = network_call(model, family)
    network, actions = model.backbone.network, torch.rand(2, family.horizon, 3)
    embedding = torch.randn(model.embed(actions).shape, generator=generator(1))
    with outputs_of(first_block(network)) as outputs:
        network(*args, **kwargs)
        with model.backbone.injecting(embedding):
            network(*args, **kwargs)
    plain, conditioned = outputs
    assert (conditioned - plain).std() > 0.02 * plain.std()


@torch.no_grad()
def test_an_action_moves_the_latent_that_covers_it(model, family):
    """Only that one in the embedding; at the network's output it moves most."""
    args, kwargs = network_call(obedient(model), family)
    network, backbone, step = model.backbone.network, model.backbone, family.horizon - 2
    actions = torch.rand(2, family.horizon, 3, generator=generator()) - 0.5
    changed = actions.clone()
    changed[:, step] *= -1
    before, after = model.embed(actions), model.embed(changed)
    moved = (before != after).any(-1).any(0).nonzero().flatten().tolist()
    expected = backbone.context_latents + step // family.stride
    assert moved == [expected]
    seen = []
    for embedding in (before, after):
        with backbone.injecting(embedding):
            output = network(*args, **kwargs)[0]
        if family.name == "ltx":  # tokens are frame-major
            output = output.unflatten(1, (before.shape[1], -1)).transpose(1, 2)
        seen.append(output if family.name not in BY_FRAME else output.transpose(1, 2))
    change = (seen[1] - seen[0]).abs().transpose(0, 2).flatten(1).mean(1)
    assert change[expected] > 1e-3
    if family.name == "cdit":  # it acts on all that follow, and on nothing before
        assert change.nonzero().flatten().tolist() == list(range(expected, family.horizon))
    else:
        assert change.argmax() == expected


@torch.no_grad()
def test_the_last_frame_alone(model, family, monkeypatch):
    """As it is among all, from no more latents than there are up to it."""
    frames = model.backbone.codec.frames_at_once
    actions = torch.rand(2, frames, 3, generator=generator()) * 0.2 - 0.1
    whole = model.rollout(context(family), actions, Sampling(steps=2), generator=generator())
    lengths, decode = [], type(model.backbone.codec).decode

    def watched(self, latents):
        lengths.append(latents.shape[1])
        return decode(self, latents)

    monkeypatch.setattr(type(model.backbone.codec), "decode", watched)
    last = model.rollout(
        context(family), actions, Sampling(steps=2, decode="last"), generator=generator()
    )
    assert lengths == [model.backbone.context_latents + frames // family.stride]
    assert last.frames.shape[1] == 1
    torch.testing.assert_close(last.frames, whole.frames[:, -1:], atol=1e-5, rtol=0)
    assert whole.frames.std() > 0.01


# Training -----------------------------------------------------------------------------------------


def test_what_trains_after_one_step(model, family):
    """Network and embedding, nothing else; the embedding's first layer from the second step on."""
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss, _ = model.loss(clips(family), generator())
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    got = {name for name, p in model.named_parameters() if p.grad is not None}
    expected = {n for n, p in model.named_parameters() if not n.startswith(FROZEN)}
    if family.name == "sana":  # its test tells what is left out
        expected -= {n for n, p in model.named_parameters() if not p.requires_grad}
    assert got == expected
    nonzero = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    own = {f"action_embedding.linear_{k}.{kind}" for k in (1, 2) for kind in ("weight", "bias")}
    assert own <= nonzero
    # One image token, as SVD has, leaves queries and keys of cross-attention without a gradient.
    still = {n for n in expected - nonzero if "attn2" not in n}
    assert still <= {"null_embedding"}


def test_gradients_with_checkpointed_blocks(model, family):
    """`backward` comes after the block in which the embedding was injected."""
    found = []
    for checkpointed in (False, True):
        if checkpointed:
            enable_gradient_checkpointing(model.backbone.network)
        model.train().zero_grad()
        torch.manual_seed(0)  # noise is drawn without a generator, too
        obedient(model).loss(clips(family), generator())[0].backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    plain, recomputed = found
    assert plain.keys() == recomputed.keys()
    assert plain["action_embedding.linear_1.weight"].abs().max() > 1e-4
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-5, rtol=1e-3)


FROZEN = ("backbone.vae.", "backbone.image_encoder.")


# Parity with the stock pipelines ------------------------------------------------------------------


class _PassThrough:
    """In the place of Cosmos' guardrail."""

    def to(self, device):
        return self


def stock_latents(
    folder, family, model: WorldModel, picture: Image.Image, opened: bool = False
) -> list[Tensor]:
    """The stock pipeline's latents (B, t, c, h, w) after each of 3 steps, guidance off.

    opened: the pipeline is opened from the folder, else built of the model's own parts.
    """
    import diffusers

    index = json.loads((folder / "model_index.json").read_text())
    backbone, name = model.backbone, index["_class_name"]
    scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(folder / "scheduler")
    parts = {"vae": backbone.vae, "scheduler": scheduler}
    parts["unet" if family.name == "svd" else "transformer"] = backbone.network
    height, width = family.size
    call = {
        "image": picture,
        "height": height,
        "width": width,
        "num_frames": family.horizon + (family.name != "svd"),
        "num_inference_steps": 3,
        "generator": generator(7),
        "output_type": "latent",
    }
    if family.name == "svd":
        parts |= {
            "image_encoder": backbone.image_encoder,
            "feature_extractor": backbone.codec.processor,
        }
        call |= {"max_guidance_scale": 1.0, "motion_bucket_id": 180, "noise_aug_strength": 0.1}
    else:
        embedding, mask = backbone.codec.texts([""], torch.device("cpu"))
        parts |= {"text_encoder": None, "tokenizer": None}
        call |= {"prompt_embeds": embedding, "guidance_scale": 1.0}
    if family.name.startswith("predict"):
        parts["safety_checker"] = _PassThrough()
    if family.name in ("predict1", "predict2"):
        call["fps"] = backbone.fps
    if family.name == "predict1":
        call["augment_sigma"] = 0.0
    if family.name.startswith("wan"):
        name = "WanImageToVideoPipeline"
        parts["expand_timesteps"] = bool(index.get("expand_timesteps"))
    if family.name == "wan2.1":
        parts |= {
            "image_encoder": backbone.image_encoder,
            "image_processor": backbone.codec.processor,
        }
    if family.name == "ltx":
        name, call["prompt_attention_mask"] = "LTXImageToVideoPipeline", mask
        call["frame_rate"] = backbone.fps
    if family.name == "sana":
        call |= {"prompt": "", "prompt_embeds": embedding[:, None], "prompt_attention_mask": mask}
        call |= {"negative_prompt_embeds": mask, "negative_prompt_attention_mask": mask}
        still = np.tile(np.eye(4, dtype=np.float32), (family.horizon + 1, 1, 1))
        call |= {"c2w": still, "intrinsics": [50.0, 50.0, 32.0, 32.0]}
    if opened:
        strange = {k: v for k, v in parts.items() if v is None or isinstance(v, _PassThrough)}
        pipeline = getattr(diffusers, name).from_pretrained(folder, **strange)
    else:
        pipeline = getattr(diffusers, name)(**parts)
    if family.name == "sana":
        pipeline._build_camera_kwargs = lambda *given, **more: {}  # its camera input is optional
    pipeline.set_progress_bar_config(disable=True)
    kept = []

    def keep(pipeline, step, time, tensors):
        kept.append(tensors["latents"].clone())
        return tensors

    pipeline(**call, callback_on_step_end=keep)
    if family.name == "svd":
        return kept
    if family.name == "ltx":
        num_latents = 1 + family.horizon // family.stride
        sides = [side // backbone.spatial_stride for side in family.size]
        kept = [pipeline._unpack_latents(x, num_latents, *sides) for x in kept]
    return [x.transpose(1, 2) for x in kept]


def distance(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.std()).item()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("family", ["svd", *BY_TOKEN], indirect=True)
def test_sampling_is_the_stock_pipeline_s(model, family, tiny, monkeypatch):
    """With actions off: the same parts, picture, text and generator. One step everywhere; to the
    end where the stock sampler takes Euler steps, too (elsewhere it is UniPC)."""
    frame = context(family)
    picture = Image.fromarray(np.array(frame[0, 0].permute(1, 2, 0)))
    if family.name == "predict1":
        model.backbone.context_noise = 0.0
    expected = stock_latents(tiny(family.name), family, model, picture)
    given, actions = model.backbone.context_latents, torch.zeros(1, family.horizon, 3)

    def ours() -> Tensor:
        return model.rollout(frame, actions, Sampling(steps=3), generator=generator(7)).latents

    whole, euler = ours(), sampler.euler
    monkeypatch.setattr(sampler, "euler", lambda f, noisy, sigmas: euler(f, noisy, sigmas[:2]))
    first, last = distance(ours(), expected[0][:, given:]), distance(whole, expected[-1][:, given:])
    print(f"{family.name}: {first:.1e} after one step, {last:.1e} after all")
    assert first < 1e-5
    if family.name in ("svd", "predict1", "predict2", "ltx", "sana"):
        assert last < 1e-4


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("family", ["svd", *BY_TOKEN], indirect=True)
def test_a_saved_pipeline_opens_in_diffusers(model, family, tmp_path, monkeypatch):
    """With a trained network, and the embedding off; egowm opens the folder with it on."""
    frame, given = context(family), model.backbone.context_latents
    picture = Image.fromarray(np.array(frame[0, 0].permute(1, 2, 0)))
    with torch.no_grad():
        for parameter in obedient(model).backbone.network.parameters():
            parameter.mul_(1.02)
    if family.name == "predict1":
        model.backbone.context_noise = 0.0
    model.save_pipeline(tmp_path / "pipeline")
    expected = stock_latents(tmp_path / "pipeline", family, model, picture, opened=True)
    loaded = WorldModel.from_pretrained(tmp_path / "pipeline")
    actions = torch.full((1, family.horizon, 3), 0.1)

    def imagined(which: WorldModel) -> Tensor:
        how = Sampling(steps=3)
        return which.rollout(frame, actions, how, generator=generator(7)).latents

    assert distance(imagined(loaded), imagined(model)) < 1e-4
    torch.nn.init.zeros_(loaded.action_embedding.linear_2.weight)
    torch.nn.init.zeros_(loaded.action_embedding.linear_2.bias)
    whole, euler = imagined(loaded), sampler.euler
    assert distance(whole, imagined(model)) > 1e-3
    monkeypatch.setattr(sampler, "euler", lambda f, noisy, sigmas: euler(f, noisy, sigmas[:2]))
    assert distance(imagined(loaded), expected[0][:, given:]) < 1e-5
    if family.name in ("svd", "predict1", "predict2", "ltx"):
        assert distance(whole, expected[-1][:, given:]) < 1e-4


@pytest.mark.parametrize("family", ["cdit"], indirect=True)
def test_a_backbone_without_a_stock_pipeline_is_not_saved_as_one(model, family, tmp_path):
    with pytest.raises(ValueError, match="CDiT: CDiTPipeline is no pipeline of diffusers"):
        model.save_pipeline(tmp_path / "pipeline")
    assert not (tmp_path / "pipeline").exists()


@torch.no_grad()
def test_what_the_network_is_told_matters(model, family):
    """Each part of the condition shows in the output: the parity above is not an empty one."""
    backbone = model.backbone
    frames = context(family).float() / 127.5 - 1
    condition = backbone.condition(frames, torch.full((1,), 0.1), num_frames=1 + family.horizon)
    num_latents = backbone.context_latents + family.horizon // family.stride
    noisy, sigma = backbone.noise(1, num_latents, family.size, generator()), torch.full((1,), 0.7)
    plain = backbone(noisy, sigma, condition)[:, backbone.context_latents :]
    changes = {n: {n: -x} for n, x in condition._asdict().items() if len(x)}
    changes.pop("text_mask", None)
    if family.name in ("ltx", "sana"):
        changes["text_mask"] = {"text_mask": torch.ones_like(condition.text_mask)}
    assert len(changes) == {"svd": 3, "wan2.1": 3, "ltx": 3, "sana": 3, "cdit": 1}.get(
        family.name, 2
    )
    for name, change in changes.items():
        other = backbone(noisy, sigma, condition._replace(**change))
        assert (other[:, backbone.context_latents :] - plain).abs().max() > 1e-3, name
    if family.name in ("svd", "predict1", "predict2", "ltx"):
        backbone._fps = 3 * backbone.fps
        condition = backbone.condition(frames, torch.zeros(1), num_frames=1 + family.horizon)
        other = backbone(noisy, sigma, condition)[:, backbone.context_latents :]
        assert (other - plain).abs().max() > 1e-3


@pytest.mark.parametrize("family", BY_TOKEN, indirect=True)
def test_noise_levels(model, family):
    """They fall from near the top, are as many as asked for, and a single step is never noise."""
    process = model.backbone.process_for(3, family.size)
    for steps in (2, 5, 35):
        levels = process.sigmas(steps)
        assert levels.shape == (steps + 1,)
        assert levels.isfinite().all()
        assert (levels.diff()[:-1] < 0).all()
    if family.name in ("predict1", "predict2"):
        with pytest.raises(ValueError, match="at least 2 sampling steps, got 1"):
            process.sigmas(1)
    else:
        assert process.sigmas(1)[1] == 0


# Rollouts, exports, texts -------------------------------------------------------------------------


def test_an_export_gives_the_same_rollout(model, family, tmp_path):
    obedient(model).save_pretrained(tmp_path / "export")
    again = WorldModel.from_pretrained(tmp_path / "export")
    frame, actions = context(family), clips(family, 2).actions
    videos = [
        m.rollout(frame, actions, Sampling(steps=2), generator=[generator(1), generator(2)]).frames
        for m in (model, again)
    ]
    assert torch.equal(*videos)
    assert (videos[0][0] - videos[0][1]).std() > 0.01
    [code], scope = code_blocks(tmp_path / "export/README.md"), {}
    exec(code, scope)
    assert scope["frames"].shape == (1, family.horizon, 3, 64, 64)


def test_a_longer_rollout_follows_in_chunks(model, family):
    """One and a half chunks, the last padded and cut; the first is the one made alone."""
    horizon = family.horizon * 3 // 2 + 1
    frame, actions = context(family), torch.zeros(1, horizon, 3)
    found = model.rollout(frame, actions, Sampling(steps=2), generator=generator())
    assert found.frames.shape == (1, horizon, 3, *family.size)
    alone = model.rollout(
        frame, actions[:, : family.horizon], Sampling(steps=2), generator=generator()
    ).frames
    torch.testing.assert_close(found.frames[:, : family.horizon], alone)


@pytest.mark.long
@pytest.mark.parametrize("family", BY_TOKEN, indirect=True)
def test_a_bfloat16_network(model, family):
    """A network of billions is held so; latents and sampling stay in float32."""
    frame, actions = context(family), clips(family, 1).actions
    plain = (
        obedient(model).rollout(frame, actions, Sampling(steps=2), generator=generator()).latents
    )
    model.backbone.network.bfloat16()
    found = model.rollout(frame, actions, Sampling(steps=2), generator=generator()).latents
    assert found.dtype == torch.float32
    assert 0 < (found - plain).std() < 0.1 * plain.std()
    model.loss(clips(family), generator())[0].backward()
    assert model.action_embedding.linear_1.weight.grad.any()


def test_a_rollout_does_not_depend_on_its_batch(model, family):
    frame, actions = context(family), clips(family, 2).actions
    together = obedient(model).rollout(
        frame, actions, Sampling(steps=2), generator=[generator(1), generator(2)]
    )
    alone = model.rollout(frame, actions[1:], Sampling(steps=2), generator=[generator(2)])
    torch.testing.assert_close(together.frames[1:], alone.frames, atol=1e-4, rtol=1e-4)


def test_guidance_on_the_action(model, family):
    frame, actions = context(family), clips(family, 1).actions
    videos = [
        obedient(model)
        .rollout(
            frame, actions, Sampling(steps=2, guidance=g, guide_on="action"), generator=generator()
        )
        .latents
        for g in (1.0, 2.0)
    ]
    assert (videos[1] - videos[0]).std() > 1e-3


@pytest.mark.parametrize("family", BY_TOKEN, indirect=True)
def test_guidance_on_the_text(model, family):
    """It is what guidance is on by default; with the text "" it changes nothing."""
    embedding, mask = model.backbone.codec.texts([""], torch.device("cpu"))
    model.backbone.codec.texts.remember("turn left", torch.randn_like(embedding[0]), mask[0])
    frame, actions = context(family), torch.zeros(1, family.horizon, 3)

    def latents(text: str, guidance: float) -> Tensor:
        return model.rollout(
            frame, actions, Sampling(steps=2, guidance=guidance), text=text, generator=generator()
        ).latents

    assert (latents("turn left", 2.0) - latents("turn left", 1.0)).std() > 1e-3
    torch.testing.assert_close(latents("", 2.0), latents("", 1.0), atol=1e-4, rtol=1e-4)


def test_a_text_is_refused_without_its_encoder(model, family):
    words = "has no text encoder and knows no text"
    if family.name in BY_FRAME:
        words = f"{family.backbone} takes no text"
    with pytest.raises(ValueError, match=words):
        model.rollout(context(family), torch.zeros(1, family.horizon, 3), text="turn left")


# Lengths, strides, sizes --------------------------------------------------------------------------


@pytest.mark.parametrize("family", BY_TOKEN, indirect=True)
def test_lengths_that_do_not_fill_latents(model, family):
    backbone, stride = model.backbone, family.stride
    clip = clips(family)
    short = clip._replace(frames=clip.frames[:, :-1], actions=clip.actions[:, :-1])
    words = f"A VAE of temporal stride {stride} .* got K = 1, T = {family.horizon - 1}"
    with pytest.raises(ValueError, match=words):
        model.loss(short)
    with pytest.raises(ValueError, match=f"{family.backbone} takes 1 context frame, got 0"):
        backbone.check_lengths(0, stride)
    with pytest.raises(ValueError, match=f"so many at once\\), got {stride}"):
        backbone.codec.encode(torch.zeros(1, stride, 3, *family.size))
    backbone.context = 3
    with pytest.raises(ValueError, match=f"temporal stride {stride} .* got K = 3"):
        backbone.check_lengths(3, stride)


@pytest.mark.parametrize("family", BY_TOKEN, indirect=True)
def test_a_longer_history(model, family, tiny):
    """K = 1 + stride frames: two latents, which the network is given and returns clean."""
    backbone = type(model.backbone)(str(tiny(family.name)), context=1 + family.stride)
    backbone.load()
    model.backbone = backbone
    assert backbone.context_latents == 2
    frames = torch.rand(1, backbone.context, 3, *family.size, generator=generator())
    actions = torch.zeros(1, family.horizon, 3)
    found = model.rollout(frames, actions, Sampling(steps=2), generator=generator()).frames
    assert found.shape[1] == family.horizon
    frames[:, 1] = 1 - frames[:, 1]  # not the last: all of the history counts
    other = model.rollout(frames, actions, Sampling(steps=2), generator=generator()).frames
    assert (found - other).abs().max() > 1e-3
    with pytest.raises(ValueError, match=f"temporal stride {family.stride} .* got K = 2"):
        type(backbone)(str(tiny(family.name)), context=2).load()


def test_sizes_that_cannot_be_halved(model, family):
    height = family.size[0] + 4
    with pytest.raises(ValueError, match=f"multiples of .*, got {height}x{family.size[1]}"):
        model.backbone.latent_shape(height, family.size[1])


# What model_index.json may say that a family must not take for its own, and the refusal.
FOREIGN = ({"_class_name": "FluxPipeline"}, "expected a pipeline of .*, got FluxPipeline")
FORMS_OF_WAN = (  # that Wan alone comes in
    ({"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "two transformers .*A14B"),
    ({"boundary_ratio": 0.9}, "boundary_ratio 0.9.* is not supported"),
    ({"expand_timesteps": False, "_class_name": "WanPipeline"}, "WanPipeline .* text alone"),
)
REFUSED = [
    pytest.param(name, change, words, id=f"{name}-{'-'.join(change)}")
    for name in BY_TOKEN
    for change, words in (FOREIGN, *(FORMS_OF_WAN if FAMILIES[name].backbone == "Wan" else ()))
]


@pytest.mark.parametrize(("family", "change", "words"), REFUSED, indirect=["family"])
def test_other_pipelines_are_refused(model, family, tiny, tmp_path, change, words):
    shutil.copytree(tiny(family.name), tmp_path / "base")
    path = tmp_path / "base/model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        type(model.backbone)(str(tmp_path / "base")).load()


def test_every_family_is_given_other_pipelines():
    assert len(REFUSED) == len(BY_TOKEN) + 2 * len(FORMS_OF_WAN) == 13
