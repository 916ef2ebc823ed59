"""Cosmos 3 (NVIDIA) by diffusers' own action-conditioned pipeline, to compare egowm's models with.

Not a `Backbone`: nothing is injected, nothing is trained, and the pipeline brings its own sampler,
text packing and action tokens. A backbone would have to take it apart into `encode`, `condition`
and `forward` and put it together again, and what was compared would no longer be NVIDIA's model.
So this is a world model of its own: it has `spec` and `rollout` as `WorldModel` has, and planners
and scripts that use only these take either.

Read in diffusers (`pipeline_cosmos3_omni.py`): guidance is `null + g (cond - null)`, egowm's own
convention, and 1 is off with one forward; its null branch goes without the caption (text, rate and
size) and keeps image and actions. One sample a call. The video has one frame more than actions; the
VAE then drops what does not fill a latent frame, and a frame larger than the canvas is shrunk.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.backbones.base import locate
from egowm.backbones.cosmos3.frames import resolution_tier
from egowm.backbones.cosmos3.pose import CameraSteps, check_meaning
from egowm.backbones.schedulers import FLOW, check_followed, load_scheduler
from egowm.backbones.stock_world import StockWorld, check_whole
from egowm.loading import INDEX, load_model, load_tokenizer, read_json
from egowm.sampling import Sampling

PIPELINE = "Cosmos3OmniPipeline"
SCHEDULERS = {name: FLOW[name] for name in ("UniPCMultistepScheduler",)}  # has a flow_shift


class Cosmos3(StockWorld):
    """NVIDIA's action-conditioned Cosmos 3 pipeline with the calls of a world model.

    Args:
        pipeline: diffusers' `Cosmos3OmniPipeline`, used in forward dynamics mode.
        spec: Meaning of the actions, of kind se2 or se3; values out of its range are only counted
            (the camera domain's own range is not published).
        camera: Conversion of actions to 9-D pose steps of a camera; null takes its defaults.
        chunk: Future frames made at once (NVIDIA's examples make 60); longer rollouts go on from
            the last frame, as in those.
        steps: Sampling steps.
        fps: Frames per second that the network is told, in the caption and in its time axis; null
            takes the rate of the spec (NVIDIA shows 30 for cameras, 10 for driving).
        flow_shift: Shift of the sampler's noise levels, without Karras levels; NVIDIA's action
            examples set 10. null leaves the folder's scheduler as it is.
    """

    name = "Cosmos 3"

    def __init__(
        self,
        pipeline: Any,
        spec: ActionSpec,
        camera: CameraSteps | None = None,
        chunk: int = 60,
        steps: int = 30,
        fps: float | None = None,
        flow_shift: float | None = 10.0,
    ) -> None:
        check_meaning(spec)
        if not pipeline.transformer.config.action_gen:
            raise ValueError(
                "Expected a Cosmos 3 transformer with action_gen true, got one trained without "
                "actions: give Cosmos3-Nano, Cosmos3-Super or one made from them."
            )
        self.pipeline, self.spec, self.camera = pipeline, spec, camera or CameraSteps()
        self.chunk, self.steps, self.fps = chunk, steps, fps or spec.rate_hz
        self.stride: int = pipeline.vae_scale_factor_temporal
        check_whole(self.name, "chunk", chunk, self.stride)
        scheduler = pipeline.scheduler
        check_followed(scheduler, SCHEDULERS, "The pipeline's scheduler")
        if flow_shift is not None:
            pipeline.scheduler = type(scheduler).from_config(
                scheduler.config, flow_shift=flow_shift, use_karras_sigmas=False
            )
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def from_pretrained(
        cls,
        pretrained: Path | str,
        spec: ActionSpec,
        camera: CameraSteps | None = None,
        chunk: int = 60,
        steps: int = 30,
        fps: float | None = None,
        flow_shift: float | None = 10.0,
        dtype: torch.dtype = torch.bfloat16,
        revision: str | None = None,
        download: bool = False,
    ) -> "Cosmos3":
        """Load a folder or a hub id, as backbones do, into the pipeline's own class.

        Without the sound tokenizer, and without NVIDIA's guardrail: the pipeline is told to do
        without it, so neither its package nor its weights are needed, and neither texts nor videos
        are checked; mind the licence. The other arguments: see the class.
        """
        import diffusers

        folder = locate(str(pretrained), revision, download)
        index = read_json(folder, INDEX)
        name = index.get("_class_name")
        if name != PIPELINE:
            raise ValueError(f"{folder}: expected a pipeline of {PIPELINE}, got {name}.")
        if not hasattr(diffusers, PIPELINE):
            raise ImportError(
                f"diffusers {diffusers.__version__} has no {PIPELINE}: update it (0.42 has it)."
            )
        pipeline = getattr(diffusers, PIPELINE).from_pretrained(
            folder,
            transformer=load_model(diffusers.Cosmos3OmniTransformer, folder / "transformer", dtype),
            vae=load_model(diffusers.AutoencoderKLWan, folder / "vae", dtype),
            text_tokenizer=load_tokenizer(folder / "text_tokenizer"),
            scheduler=load_scheduler(folder, SCHEDULERS),
            safety_checker=None,
            enable_safety_checker=False,
            sound_tokenizer=None,
            local_files_only=True,
        )
        return cls(pipeline, spec, camera, chunk, steps, fps, flow_shift)

    def settings(self, how: Sampling, height: int, width: int) -> dict[str, Any]:
        resolution_tier(height, width, self.pipeline.vae_scale_factor_spatial)  # refuses a size
        return {
            "num_inference_steps": how.steps or self.steps,
            "guidance_scale": how.guidance,
            "fps": self.fps,
            "use_system_prompt": False,  # as in NVIDIA's action examples
        }

    def imagine(
        self, frame: Tensor, camera_steps: Tensor, call: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        from diffusers import CosmosActionCondition

        height, width = frame.shape[-2:]
        tier = resolution_tier(height, width, self.pipeline.vae_scale_factor_spatial)
        videos, latents, kept = [], [], {}

        def keep(pipeline: Any, step: int, time: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
            kept.update(tensors)
            return {}

        for part in camera_steps.split(self.chunk):
            condition = CosmosActionCondition(
                mode="forward_dynamics",
                chunk_size=len(part),
                domain_name=self.camera.domain,
                resolution_tier=tier,
                raw_actions=part,
                image=frame,
            )
            made = self.pipeline(
                action=condition, output_type="pt", callback_on_step_end=keep, **call
            )
            videos.append(made.video[1:].float())
            latents.append(kept["latents"][0].transpose(0, 1)[1:])
            frame = made.video[-1].float()
        return torch.cat(videos), torch.cat(latents)
