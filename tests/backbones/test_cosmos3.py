"""Cosmos 3 behind `rollout`: parity with a plain call of diffusers' pipeline, and refusals.

A tiny pipeline of the real classes: random weights, a tokenizer of single bytes, the VAE of Wan 2.2
in its residual form with Cosmos 3's strides (16 in space, 4 in time). Only the canvas cannot be
made small: the smallest is 256 x 256, into which smaller frames are padded.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from egowm.actions import ActionSpec
from egowm.backbones.cosmos3 import Cosmos3
from egowm.backbones.cosmos3.frames import resolution_tier
from egowm.backbones.cosmos3.pose import CameraSteps
from egowm.diffusion import SharedNoise
from egowm.planning import goal_cost
from egowm.planning.costs import Pixels
from egowm.sampling import Sampling

from .test_missing_parts import breakages, broken

pytestmark = pytest.mark.filterwarnings("ignore:`torch_dtype` is deprecated")
HEIGHT, WIDTH = 32, 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from diffusers import (
        AutoencoderKLWan,
        Cosmos3OmniPipeline,
        Cosmos3OmniTransformer,
        UniPCMultistepScheduler,
    )

    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
        latents_mean=[0.1, -0.1, 0.2, 0.0],
        latents_std=[0.5, 0.6, 0.4, 0.5],
    )
    transformer = Cosmos3OmniTransformer(
        head_dim=16,
        hidden_size=32,
        intermediate_size=64,
        latent_channel=4,
        latent_patch_size=2,
        patch_latent_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        action_dim=12,
        action_gen=True,
        num_embodiment_domains=4,
        vocab_size=300,
        rope_axes_dim=[4, 2, 2],
    )
    for part in (transformer, vae.decoder):  # until actions and texts show
        for parameter in part.parameters():
            if parameter.ndim > 1:
                parameter.data *= 4.0 if part is transformer else 1.6
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
    )
    pipeline = Cosmos3OmniPipeline(
        transformer, _byte_tokenizer(), vae, scheduler, enable_safety_checker=False
    )
    path = tmp_path_factory.mktemp("cosmos3")
    pipeline.save_pretrained(path)
    return path


def _byte_tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    letters = {letter: k for k, letter in enumerate(sorted(ByteLevel.alphabet()))}
    core = Tokenizer(BPE(vocab=letters, merges=[]))
    core.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|vision_start|>"],
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


@pytest.fixture(scope="module")
def model(folder, spec) -> Cosmos3:
    return Cosmos3.from_pretrained(folder, spec, chunk=4, steps=2, dtype=torch.float32)


@pytest.fixture(scope="module")
def context() -> torch.Tensor:
    source = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (1, 2, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=source)


@pytest.fixture(scope="module")
def actions(spec) -> torch.Tensor:
    """Three candidates, 8 steps."""
    source = torch.Generator().manual_seed(6)
    return (torch.rand(3, 8, 3, generator=source) * 2 - 1) * torch.tensor(spec.high)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stock(model, image, rows, **options) -> torch.Tensor:
    """A plain call of diffusers' pipeline: (T + 1, 3, H, W)."""
    from diffusers import CosmosActionCondition

    condition = CosmosActionCondition(
        mode="forward_dynamics",
        chunk_size=len(rows),
        domain_name="camera_pose",
        resolution_tier=256,
        raw_actions=rows,
        image=image,
    )
    options = {"prompt": "", "num_inference_steps": 2, "guidance_scale": 1.0} | options
    made = model.pipeline(
        action=condition, fps=4.0, output_type="pt", use_system_prompt=False, **options
    )
    return made.video


@pytest.mark.long
def test_shapes_and_range(model, context, actions):
    made = model.rollout(context, actions, generator=generator())
    assert made.frames.shape == (3, 8, 3, HEIGHT, WIDTH)
    assert made.latents.shape == (3, 2, 4, HEIGHT // 16, WIDTH // 16)
    assert made.frames.min() >= 0
    assert made.frames.max() <= 1
    assert made.frames.std() > 0.05
    assert made.num_outside == 0
    assert model.device == torch.device("cpu")


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_rollout_is_the_stock_pipeline_s(model, context, actions, guidance):
    """Guidance is passed on as it is: the pipeline's convention is egowm's."""
    found = model.rollout(
        context, actions[:1, :4], Sampling(guidance=guidance), text="A hall.", generator=generator()
    )
    rows = CameraSteps()(actions[0, :4], model.spec)
    image = context[0, -1].float() / 255
    expected = stock(
        model, image, rows, prompt="A hall.", guidance_scale=guidance, generator=generator()
    )
    assert expected.shape == (5, 3, HEIGHT, WIDTH)
    assert torch.equal(found.frames[0], expected[1:])


def test_guidance_is_affine_between_null_and_conditional(model, context, actions):
    """In one step the result is affine in g: `null + g (cond - null)`, and 1 is the conditional."""

    def latents(guidance):
        return model.rollout(
            context,
            actions[:1, :4],
            Sampling(steps=1, guidance=guidance, guide_on="text"),
            text="A long dark hall.",
            generator=generator(),
        ).latents

    null, cond = latents(0.0), latents(1.0)
    assert (cond - null).abs().max() > 1e-2
    torch.testing.assert_close(latents(3.0), null + 3 * (cond - null), atol=1e-3, rtol=1e-4)


def test_a_longer_rollout_goes_on_from_its_last_frame(model, context, actions):
    found = model.rollout(context, actions[:1], generator=generator()).frames[0]
    rows, source = CameraSteps()(actions[0], model.spec), generator()
    first = stock(model, context[0, -1].float() / 255, rows[:4], generator=source)
    second = stock(model, first[-1], rows[4:], generator=source)
    assert torch.equal(found, torch.cat([first[1:], second[1:]]))


@pytest.mark.parametrize(("chunk", "changed"), [(4, [False, True]), (8, [True, True])])
def test_later_actions(model, spec, context, actions, chunk, changed):
    """The last four of eight: they leave the chunk before as it is, exactly; within a chunk the
    network sees them all, so its first latent changes, too."""
    model = Cosmos3(model.pipeline, spec, chunk=chunk, steps=1)
    others = actions[:1].clone()
    others[:, 4:] *= -1
    plain, other = (
        model.rollout(context, each, generator=generator()).latents[0]
        for each in (actions[:1], others)
    )
    found = (plain - other).abs().flatten(1).amax(1)
    assert [bool(d > 1e-5) for d in found] == changed == [bool(d) for d in found]
    assert found[1] > 1e-2


def test_actions_and_texts_change_the_video(model, context, actions):
    frames = model.rollout(context, actions[:1, :4], generator=generator()).frames
    other = model.rollout(context, -actions[:1, :4], generator=generator()).frames
    last = actions[:1, :4].clone()
    last[:, -1] *= -1
    told = model.rollout(context, actions[:1, :4], text="Night.", generator=generator()).frames
    for changed in (other, told, model.rollout(context, last, generator=generator()).frames):
        assert (changed - frames).abs().max() > 1e-2


@pytest.mark.long
def test_the_same_generator_gives_the_same_video(model, context, actions):
    twice = [model.rollout(context, actions[:1], generator=generator()).frames for _ in range(2)]
    assert torch.equal(*twice)
    other = model.rollout(context, actions[:1], generator=generator(1)).frames
    assert (other - twice[0]).abs().max() > 1e-2


@pytest.mark.long
def test_a_candidate_does_not_depend_on_the_others(model, context, actions):
    seeds = [generator(seed) for seed in (7, 8, 9)]
    together = model.rollout(context, actions, text=["a", "b", "c"], generator=seeds)
    alone = model.rollout(context, actions[1:2], text="b", generator=generator(8))
    assert torch.equal(together.frames[1], alone.frames[0])
    assert torch.equal(together.latents[1], alone.latents[0])


@pytest.mark.long
def test_a_cost_of_candidates(model, context, actions):
    """All see the same noise; the last frame alone is asked for."""
    picture, goal = context[0, -1].permute(1, 2, 0), context[0, 0]
    cost = goal_cost(model, picture, Pixels(goal / 255), Sampling(micro_batch=1))
    alone = [model.rollout(context, part[:4], generator=generator(0)).frames for part in actions]
    expected = [(frames[0, -1] - goal / 255).square().mean() for frames in alone]
    torch.testing.assert_close(cost(actions[:, :4]), torch.stack(expected))
    shared = SharedNoise(generator(0))
    for decode, shown in (("last", 1), ("none", 0)):
        found = model.rollout(picture, actions[:2, :4], Sampling(decode=decode), generator=shared)
        assert torch.equal(found.frames[1], alone[1][0, 4 - shown :])


def test_the_context_is_uint8_or_float_and_its_last_frame_counts(model, context, actions):
    found = model.rollout(context, actions[:1, :4], generator=generator()).frames
    floats = context.float() / 255
    floats[:, 0] = 0.5
    again = model.rollout(floats, actions[:1, :4], generator=generator()).frames
    assert torch.equal(found, again)


def test_each_candidate_may_have_its_own_context(model, context, actions):
    both = torch.cat([context, context.flip(3)])
    seeds = [generator(1), generator(2)]
    found = model.rollout(both, actions[:2, :4], generator=seeds).frames
    alone = model.rollout(context.flip(3), actions[1:2, :4], generator=generator(2)).frames
    assert torch.equal(found[1], alone[0])


def test_se3_actions_and_the_domain_reach_the_pipeline(model, context, actions, spec):
    lifted = torch.zeros(1, 4, 6)
    lifted[..., [0, 1, 5]] = actions[:1, :4]
    names, units = ("dx", "dy", "dz", "rx", "ry", "rz"), ("m",) * 3 + ("rad",) * 3
    space = ActionSpec(names, units, "body", "se3", 4.0, (-1.0,) * 6, (1.0,) * 6)
    flying = Cosmos3(model.pipeline, space, chunk=4, steps=2)
    found = flying.rollout(context, lifted, generator=generator()).frames
    flat = model.rollout(context, actions[:1, :4], generator=generator()).frames
    assert torch.equal(found, flat)
    driving = Cosmos3(model.pipeline, spec, CameraSteps("av"), chunk=4, steps=2)
    other = driving.rollout(context, actions[:1, :4], generator=generator()).frames
    assert (other - flat).abs().max() > 1e-2


def test_values_outside_are_counted_or_refused(model, context, actions):
    far = actions[:1, :4].clone()
    far[0, 0, 0] = 5.0
    assert model.rollout(context, far, generator=generator()).num_outside == 1
    with pytest.raises(ValueError, match=r"beyond 1\.5 times"):
        model.rollout(context, far, Sampling(strict=True))


def test_the_stock_pipeline_drops_frames_without_a_word(model, context, actions):
    """Why lengths are refused: 6 actions make 4 frames after the given one."""
    rows = CameraSteps()(actions[0, :6], model.spec)
    assert len(stock(model, context[0, -1].float() / 255, rows, generator=generator())) == 5


@pytest.mark.parametrize("horizon", [3, 6])
def test_lengths_that_do_not_fit_are_refused(model, context, actions, horizon):
    with pytest.raises(ValueError, match=rf"expected T a multiple of 4, got {horizon}"):
        model.rollout(context, actions[:, :horizon])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"state": torch.zeros(1, 2)}, "takes no state"),
        ({"source": "cars"}, "leave source out"),
        ({"how": Sampling(dtype=torch.bfloat16)}, "leave dtype, decode_window and gradient out"),
        ({"how": Sampling(gradient=True)}, "leave dtype, decode_window and gradient out"),
        (
            {"how": Sampling(decode="last", decode_window=2)},
            "leave dtype, decode_window and gradient out",
        ),
        ({"how": Sampling(chain="latents")}, "expected chain pixels, got 'latents'"),
        (
            {"how": Sampling(guidance=2.0, guide_on="action")},
            "guided on text; got guide_on='action'",
        ),
        ({"text": ["a", "b"]}, "one text for each of 3 candidates, got 2"),
        ({"generator": [torch.Generator()]}, "one generator for each of 3 candidates, got 1"),
    ],
)
def test_what_the_pipeline_cannot_do_is_refused(model, context, actions, arguments, words):
    with pytest.raises(ValueError, match=words):
        model.rollout(context, actions, **arguments)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 1, 3, 30, 48), "multiples of 16, got 30 x 48"),
        ((2, 1, 3, 32, 48), r"\(1 or 3, K, 3, H, W\), or .*, got \(2, 1"),
        ((1, 1, 3, 720, 2048), "256: 192 x 320.*would be shrunk"),
    ],
)
def test_contexts_that_do_not_fit_are_refused(model, actions, shape, words):
    with pytest.raises(ValueError, match=words):
        model.rollout(torch.zeros(shape, dtype=torch.uint8), actions)
    with pytest.raises(ValueError, match=r"float context in \[0, 1\]"):
        model.rollout(torch.full((1, 1, 3, 32, 48), -1.0), actions)


def test_actions_of_a_wrong_shape_are_refused(model, context):
    with pytest.raises(
        ValueError, match=r"actions \(N, T, 3\), or \(T, 3\) for one sequence, got \(4,\)"
    ):
        model.rollout(context, torch.zeros(4))
    with pytest.raises(ValueError, match="dx, dy, dyaw; got"):
        model.rollout(context, torch.zeros(1, 4, 2))


@pytest.mark.parametrize(
    ("size", "tier"),
    [((256, 256), 256), ((192, 320), 256), ((272, 272), 480), ((720, 1280), 720)],
)
def test_the_smallest_canvas_that_holds_a_frame_is_taken(size, tier):
    assert resolution_tier(*size, 16) == tier


def test_the_guardrail_is_not_needed(folder, spec, tmp_path):
    """NVIDIA's folders name it; its package is not installed, and loading does not ask for it."""
    copy = tmp_path / "named"
    shutil.copytree(folder, copy)
    index = json.loads((copy / "model_index.json").read_text())
    index |= {
        "safety_checker": ["cosmos_guardrail", "CosmosSafetyChecker"],
        "sound_tokenizer": ["diffusers", "Cosmos3AVAEAudioTokenizer"],
        "enable_safety_checker": True,
    }
    (copy / "model_index.json").write_text(json.dumps(index))
    pipeline = Cosmos3.from_pretrained(copy, spec, chunk=4, flow_shift=None).pipeline
    assert pipeline.safety_checker is None
    assert pipeline.sound_tokenizer is None
    assert pipeline.transformer.dtype == torch.bfloat16
    assert pipeline.scheduler.config.flow_shift == 5.0


def test_other_folders_and_models_are_refused(model, folder, spec, tiny_prior, tmp_path):
    with pytest.raises(ValueError, match="Cosmos3OmniPipeline, got StableVideoDiffusion"):
        Cosmos3.from_pretrained(tiny_prior, spec)
    with pytest.raises(FileNotFoundError, match=r"model_index\.json, found none"):
        Cosmos3.from_pretrained(tmp_path, spec)
    with pytest.raises(ValueError, match="expected chunk a multiple of 4, got 10"):
        Cosmos3(model.pipeline, spec, chunk=10)
    command = ActionSpec(("v", "w"), ("m/s", "rad/s"), "command", "command", 4.0)
    with pytest.raises(ValueError, match=r"9: av, camera_pose; .*got kind command with 2"):
        Cosmos3.from_pretrained(folder, command, dtype=torch.float32)
    model.pipeline.transformer.register_to_config(action_gen=False)
    try:
        with pytest.raises(ValueError, match="action_gen true"):
            Cosmos3(model.pipeline, spec)
    finally:
        model.pipeline.transformer.register_to_config(action_gen=True)


def test_a_part_that_is_missing_is_named(folder, spec, tmp_path, online):
    for part in breakages(folder):
        base = broken(folder, tmp_path / "base", part)
        with pytest.raises(FileNotFoundError) as caught:
            Cosmos3.from_pretrained(base, spec)
        assert f"{base / part}" in str(caught.value).partition(" found none")[0]


def test_the_sampler_is_nvidia_s_for_actions(model):
    config = model.pipeline.scheduler.config
    assert (config.flow_shift, config.use_karras_sigmas) == (10.0, False)
    assert model.fps == 4.0
