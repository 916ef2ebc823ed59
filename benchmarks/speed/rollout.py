"""How fast `WorldModel.rollout` is beside diffusers' own `StableVideoDiffusionPipeline`.

The same pipeline folder is loaded as both. The action embedding is at its zero start, so both make
the same videos from the same noise, which is checked before anything is timed.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.speed.comparisons import COMPARISONS, GUIDANCES, Comparison
from benchmarks.tables.rollout import rollout as table
from benchmarks.timing import Run, check_same, compare, seconds
from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

SPEC = ActionSpec(
    ("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0, (-0.3, -0.1, -0.1), (0.3, 0.1, 0.1)
)


@dataclass(frozen=True)
class Contest:
    """One folder as two programs, and one task for both.

    picture: (H, W, 3) uint8, the context. Videos have as many frames as the model's chunk.
    """

    model: WorldModel
    stock: Any
    picture: np.ndarray
    steps: int
    guidance: float
    seed: int

    def rollout(self, count: int, separate: bool) -> Tensor:
        """Ours: `count` action sequences from one context at once, (count, T, 3, H, W).

        separate: with the noise of `count` separate calls, drawn by as many generators.
        """
        shape = (count, self.model.chunk, SPEC.width)
        unit = torch.rand(shape, generator=generator_of(self.seed)) * 2 - 1
        context = torch.from_numpy(self.picture).permute(2, 0, 1)[None, None]
        seeds = range(self.seed, self.seed + count)
        return self.model.rollout(
            context,
            SPEC.denormalise(unit),
            Sampling(steps=self.steps, guidance=self.guidance),
            generator=[generator_of(s) for s in seeds] if separate else generator_of(self.seed),
        ).frames

    def call(self, count: int, decoded: int, seed: int) -> Tensor:
        """Theirs: one call for `count` videos, decoding `decoded` frames at once."""
        backbone = self.model.backbone
        made: Tensor = self.stock(
            Image.fromarray(self.picture),
            height=self.picture.shape[0],
            width=self.picture.shape[1],
            num_frames=self.model.chunk,
            num_inference_steps=self.steps,
            min_guidance_scale=self.guidance,
            max_guidance_scale=self.guidance,
            fps=backbone.fps,
            motion_bucket_id=backbone.motion_bucket,
            noise_aug_strength=backbone.noise_strength,
            decode_chunk_size=decoded,
            num_videos_per_prompt=count,
            generator=generator_of(seed),
            output_type="pt",
        ).frames
        return made

    def calls(self, count: int) -> Tensor:
        """Theirs: `count` calls for one video each."""
        seeds = range(self.seed, self.seed + count)
        return torch.cat([self.call(1, self.model.chunk, seed) for seed in seeds])


def load(prior: str, frames: int, device: str) -> tuple[WorldModel, Any]:
    """The folder as a world model and as the stock pipeline, both in float32 on `device`."""
    model = WorldModel(SVD(prior), chunk=frames, spec=SPEC)
    model.configure_model()
    return model.eval().to(device), stock_pipeline(model.backbone.folder, device)


def stock_pipeline(folder: Path, device: str, **parts: Any) -> Any:
    """diffusers' own, in float32 and without progress bars; parts: in place of the folder's."""
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    stock = diffusers.StableVideoDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, local_files_only=True, **parts
    )
    stock.set_progress_bar_config(disable=True)
    return stock.to(device)


def prepare(contest: Contest, comparison: Comparison) -> tuple[Run, Run, int]:
    """Both sides warmed up and found equal: ours, theirs, and frames that theirs decodes at once.

    The temporal decoder must see one whole video at a time. An image decoder may take them all at
    once: the faster of the two goes to the stock pipeline.
    """
    count, frames = comparison.num_videos, contest.model.chunk
    ours = partial(contest.rollout, count, comparison.separate)
    runs: dict[int, Run] = {frames: partial(contest.call, count, frames, contest.seed)}
    if comparison.separate:
        runs = {frames: partial(contest.calls, count)}
    elif count > 1 and not contest.model.backbone.codec.decodes_in_time:
        runs[count * frames] = partial(contest.call, count, count * frames, contest.seed)
    # Batch sizes choose other convolution kernels; TensorFloat-32 would make their results differ.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        made = ours()
        for theirs in runs.values():
            check_same(made, theirs())
    best = min(runs, key=lambda size: seconds(runs[size])) if len(runs) > 1 else frames
    return ours, runs[best], best


def measure(contest: Contest, repeats: int) -> list[Record]:
    """One row for each comparison."""
    rows = []
    for comparison in COMPARISONS:
        ours, theirs, decoded = prepare(contest, comparison)
        about: Record = {"name": comparison.name, "against": comparison.against}
        about |= {"guidance": contest.guidance, **compare(ours, theirs, repeats)._asdict()}
        about |= {"target": comparison.target, "stock_decode_chunk_size": decoded}
        rows.append(about)
    return rows


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture_of(model: WorldModel, seed: int) -> np.ndarray:
    """A context (H, W, 3) uint8 of the network's own size; what it shows does not cost time."""
    backbone: Any = model.backbone
    factor = 2 ** (len(backbone.vae.config.block_out_channels) - 1)
    size = backbone.network.config.sample_size * factor
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def options(add: Callable[..., Any]) -> None:
    add("--prior", default="priors/rooms-svd", help="a diffusers SVD folder")
    add("--steps", type=positive, default=6, help="sampling steps")
    add("--frames", type=positive, default=4, help="frames of a video")
    add("--repeats", type=positive, default=5, help="alternating runs of each side")
    add("--guidance", type=float, nargs="+", default=list(GUIDANCES))


def run(arguments: argparse.Namespace) -> Record:
    """The whole record: provenance, settings, rows."""
    if min(arguments.guidance) < 1:
        raise ValueError("Expected --guidance of at least 1.")
    model, stock = load(arguments.prior, arguments.frames, arguments.device)
    picture = picture_of(model, arguments.seed)
    record = provenance(arguments.seed, arguments.device, weights=[model.backbone.folder])
    height, width = picture.shape[:2]
    record["settings"] = picked(arguments, "prior", "steps", "frames")
    record["settings"] |= {"height": height, "width": width, "dtype": "float32"}
    record["settings"] |= {"decoder": type(model.backbone.vae).__name__}
    record["rows"] = []
    for guidance in arguments.guidance:
        contest = Contest(model, stock, picture, arguments.steps, guidance, arguments.seed)
        record["rows"] += measure(contest, arguments.repeats)
    return record


main = benchmark(__file__, __doc__, "rollout{gpu}.json", options, run, table)
if __name__ == "__main__":
    sys.exit(main())
