"""SANA-WM's own pipeline behind `rollout`: parity with a plain call, poses, and refusals."""

import numpy as np
import pytest
import torch
from PIL import Image

from egowm.actions import ActionSpec
from egowm.backbones import SanaWM, SanaWMCamera
from egowm.backbones.cosmos3 import CameraSteps
from egowm.backbones.sana_camera import poses_of
from egowm.sampling import Sampling


@pytest.fixture
def pipeline(tiny, tokenizer):
    from diffusers import FlowMatchEulerDiscreteScheduler, SanaWMPipeline
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=16, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16,
    )  # fmt: skip
    backbone = SanaWM(str(tiny("sana")))
    backbone.load()
    for name, weight in backbone.network.named_parameters():
        if "plucker" in name or "_cam" in name:  # the camera's way in starts at 0
            torch.nn.init.normal_(weight, std=0.3)
    return SanaWMPipeline(
        tokenizer,
        Gemma2ForCausalLM(config).eval(),
        backbone.vae,
        backbone.network,
        FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def test_poses_are_those_of_the_pipeline_s_keys(spec):
    """w is ahead, a to the left, j turns left: a motion of a body, forward and left."""
    from diffusers.pipelines.sana_wm.cam_utils import action_string_to_c2w

    turn = np.radians(1.2)
    moves = [(0.05, 0, 0)] * 3 + [(0, 0, turn)] * 20 + [(0.05, 0, 0)] * 4 + [(0, 0.05, 0)] * 2
    steps = CameraSteps()(torch.tensor(moves), spec)
    expected = action_string_to_c2w("w-3,j-20,w-4,a-2")
    np.testing.assert_allclose(poses_of(steps), expected, atol=1e-5)


def test_a_rollout_is_the_pipeline_s_call(pipeline, spec):
    world = SanaWMCamera(pipeline, spec, chunk=8, steps=2)
    frame = torch.randint(0, 256, (1, 1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    actions = torch.tensor([[[0.2, 0.0, 0.05]] * 16, [[0.0, 0.0, -0.3]] * 16])
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    found = world.rollout(frame.byte(), actions, text="turn left", generator=generators)
    assert found.frames.shape == (2, 16, 3, 64, 64)
    assert found.latents.shape == (2, 2, 8, 4, 4)
    picture = Image.fromarray(frame[0, 0].byte().permute(1, 2, 0).numpy())
    focal = 32 / np.tan(np.pi / 6)
    expected = pipeline(
        picture,
        "turn left",
        c2w=poses_of(world.camera(actions[:1, :8], spec)[0]),
        intrinsics=[focal, focal, 32, 32],
        height=64,
        width=64,
        num_frames=9,
        num_inference_steps=2,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).frames
    torch.testing.assert_close(found.frames[0, :8], expected[1:])
    same = world.rollout(
        frame.byte(), actions[1:], text="turn left", generator=torch.Generator().manual_seed(3)
    )
    assert (same.frames[0, :8] - expected[1:]).abs().max() > 1e-3  # motions show
    last = world.rollout(
        frame.byte(), actions[:1, :8], Sampling(decode="last"), text="turn left",
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    torch.testing.assert_close(last.frames[0], expected[-1:])


def test_what_does_not_fit_is_refused(pipeline, spec):
    joints = ActionSpec(("hip",), ("rad",), "joint", "difference", 4.0)
    with pytest.raises(ValueError, match="se3, in m and rad; got kind difference"):
        SanaWMCamera(pipeline, joints)
    with pytest.raises(ValueError, match="chunk a multiple of 8, got 12"):
        SanaWMCamera(pipeline, spec, chunk=12)
    world = SanaWMCamera(pipeline, spec, chunk=8)
    frame, actions = torch.zeros(1, 1, 3, 64, 64), torch.zeros(8, 3)
    with pytest.raises(ValueError, match="T a multiple of 8, got 7"):
        world.rollout(frame, actions[:7])
    with pytest.raises(ValueError, match="multiples of 16, got 60 x 64"):
        world.rollout(frame[..., :60, :], actions)
    with pytest.raises(ValueError, match="SANA-WM takes no state"):
        world.rollout(frame, actions, state=torch.zeros(1))
