"""SANA-WM by diffusers' own pipeline: motions as poses of its camera, to compare models with.

Not a `Backbone`: nothing is injected and nothing is trained. It has `spec` and `rollout` as
`WorldModel` has, so planners and scripts that use only these take either.

Read in diffusers (`pipeline_sana_wm.py`, `cam_utils.py`): poses are camera-to-world in OpenCV's
axes (x right, y down, z forward), relative to the first frame; a key moves by 0.05 units and turns
by 1.2 degrees a frame. That a unit is a metre is not published. Guidance is `null + g (cond -
null)` on the text, one sample a call, 8 frames of a latent one.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.backbones.base import locate
from egowm.backbones.cosmos3.pose import UNITS, CameraSteps
from egowm.backbones.sana_wm import SCHEDULERS, check_pipeline
from egowm.backbones.schedulers import load_scheduler
from egowm.backbones.stock_world import StockWorld, check_whole
from egowm.checks import check_between
from egowm.loading import load_model, load_tokenizer
from egowm.pixels import to_uint8
from egowm.sampling import Sampling


class SanaWMCamera(StockWorld):
    """SANA-WM's own pipeline with the calls of a world model: what it knows without any training.

    Args:
        pipeline: diffusers' `SanaWMPipeline`.
        spec: Meaning of the actions, of kind se2 or se3 in the frame of the body; values out of its
            range are only counted.
        field_of_view: Of the camera from side to side, degrees in (0, 180).
        mount: Place of the camera on the body, as `CameraSteps` takes it.
        scale: Units of the pipeline's poses in a metre.
        chunk: Future frames made at once, a multiple of 8; longer rollouts go on from the last.
        steps: Sampling steps.
    """

    name = "SANA-WM"

    def __init__(
        self,
        pipeline: Any,
        spec: ActionSpec,
        field_of_view: float = 60.0,
        mount: tuple[float, ...] = (0.0,) * 6,
        scale: float = 1.0,
        chunk: int = 160,
        steps: int = 60,
    ) -> None:
        if spec.kind not in UNITS or spec.units != UNITS[spec.kind] or spec.frame != "body":
            raise ValueError(
                f"{self.name} takes motions of a body in its own frame, kind se2 (dx, dy, dyaw) or "
                f"se3, in m and rad; got kind {spec.kind}, frame {spec.frame}: "
                f"{', '.join(spec.names)} in {', '.join(spec.units)}."
            )
        check_between("field_of_view", field_of_view, 1, 179)
        self.pipeline, self.spec, self.field_of_view = pipeline, spec, field_of_view
        self.camera = CameraSteps(translation_scale=scale, mount=mount)
        self.chunk, self.steps = chunk, steps
        self.stride: int = pipeline.vae_temporal_compression_ratio
        check_whole(self.name, "chunk", chunk, self.stride)
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def from_pretrained(
        cls,
        pretrained: Path | str,
        spec: ActionSpec,
        field_of_view: float = 60.0,
        mount: tuple[float, ...] = (0.0,) * 6,
        scale: float = 1.0,
        chunk: int = 160,
        steps: int = 60,
        dtype: torch.dtype = torch.bfloat16,
        revision: str | None = None,
        download: bool = False,
    ) -> "SanaWMCamera":
        """Load a folder or a hub id, as backbones do, into the pipeline's own class.

        The other arguments: see the class.
        """
        import diffusers
        from transformers import Gemma2ForCausalLM

        folder = locate(str(pretrained), revision, download)
        check_pipeline(folder)
        network, vae = diffusers.SanaWMTransformer3DModel, diffusers.AutoencoderKLLTX2Video
        pipeline = diffusers.SanaWMPipeline(
            tokenizer=load_tokenizer(folder / "tokenizer"),
            text_encoder=load_model(Gemma2ForCausalLM, folder / "text_encoder", dtype),
            vae=load_model(vae, folder / "vae", dtype),
            transformer=load_model(network, folder / "transformer", dtype),
            scheduler=load_scheduler(folder, SCHEDULERS),
        )
        return cls(pipeline, spec, field_of_view, mount, scale, chunk, steps)

    def settings(self, how: Sampling, height: int, width: int) -> dict[str, Any]:
        stride = self.pipeline.vae_spatial_compression_ratio
        if height % stride or width % stride:
            raise ValueError(
                f"{self.name} takes frames whose sides are multiples of {stride}, got {height} x "
                f"{width}: crop or resize the context (it was trained at 704 x 1280)."
            )
        focal = width / 2 / math.tan(math.radians(self.field_of_view) / 2)
        return {
            "num_inference_steps": how.steps or self.steps,
            "guidance_scale": how.guidance,
            "height": height,
            "width": width,
            "intrinsics": [focal, focal, width / 2, height / 2],
        }

    def imagine(
        self, frame: Tensor, camera_steps: Tensor, call: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        from PIL import Image

        videos, latents, kept = [], [], {}

        def keep(pipeline: Any, step: int, time: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
            kept.update(tensors)
            return tensors

        for part in camera_steps.split(self.chunk):
            made = self.pipeline(
                image=Image.fromarray(to_uint8(frame[None])[0]),
                c2w=poses_of(part),
                num_frames=1 + len(part),
                output_type="pt",
                callback_on_step_end=keep,
                **call,
            )
            videos.append(made.frames[1:].float())
            latents.append(kept["latents"][0].transpose(0, 1)[1:])
            frame = made.frames[-1].float()
        return torch.cat(videos), torch.cat(latents)


def poses_of(steps: Tensor) -> np.ndarray:
    """Camera-to-world poses (T + 1, 4, 4) of steps (T, 9) as `CameraSteps` makes them."""
    poses = [np.eye(4)]
    for step in steps.double().numpy():
        move = np.eye(4)
        move[:3, 3], first, second = step[:3], step[3:6], step[6:]
        move[:3, :3] = np.stack([first, second, np.cross(first, second)], 1)
        poses.append(poses[-1] @ move)
    return np.stack(poses).astype(np.float32)
