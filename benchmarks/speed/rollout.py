"""How fast `WorldModel.rollout` is beside diffusers' own `StableVideoDiffusionPipeline`.

The same pipeline folder is loaded as both. The action embedding is at its zero start, so both make
the same videos from the same noise, which is checked before anything is timed.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmarks.measure import RESULTS, provenance, write
from benchmarks.speed.comparisons import COMPARISONS, GUIDANCES, Comparison
from benchmarks.timing import Run, check_same, compare, seconds
from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

log = logging.getLogger("rollout")
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
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    model = WorldModel(SVD(prior), chunk=frames, spec=SPEC)
    model.configure_model()
    folder = model.backbone.folder
    stock = diffusers.StableVideoDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, local_files_only=True
    )
    stock.set_progress_bar_config(disable=True)
    return model.eval().to(device), stock.to(device)


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
    elif count > 1 and not contest.model.backbone.decodes_in_time:
        runs[count * frames] = partial(contest.call, count, count * frames, contest.seed)
    # Batch sizes choose other convolution kernels; TensorFloat-32 would make their results differ.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        made = ours()
        for theirs in runs.values():
            check_same(made, theirs())
    best = min(runs, key=lambda size: seconds(runs[size])) if len(runs) > 1 else frames
    return ours, runs[best], best


def measure(contest: Contest, repeats: int) -> list[dict[str, Any]]:
    """One row for each comparison."""
    rows = []
    with tqdm(total=len(COMPARISONS) * repeats, desc=f"guidance {contest.guidance:g}") as bar:
        for comparison in COMPARISONS:
            ours, theirs, decoded = prepare(contest, comparison)
            timing = compare(ours, theirs, repeats, bar.update)
            rows.append(
                {
                    "name": comparison.name,
                    "against": comparison.against,
                    "guidance": contest.guidance,
                    **timing._asdict(),
                    "target": comparison.target,
                    "stock_decode_chunk_size": decoded,
                }
            )
    return rows


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture_of(model: WorldModel, seed: int) -> np.ndarray:
    """A context (H, W, 3) uint8 of the network's own size; what it shows does not cost time."""
    backbone: Any = model.backbone
    factor = 2 ** (len(backbone.vae.config.block_out_channels) - 1)
    size = backbone.network.config.sample_size * factor
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=Path(__file__).stem, description=__doc__)
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--prior", default="priors/rooms-svd", help="a diffusers SVD folder")
    parser.add_argument("--steps", type=int, default=6, help="sampling steps")
    parser.add_argument("--frames", type=int, default=4, help="frames of a video")
    parser.add_argument("--repeats", type=int, default=5, help="alternating runs of each side")
    parser.add_argument("--guidance", type=float, nargs="+", default=list(GUIDANCES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/rollout[-gpu].json")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each row, write the JSON file; 2 where the input is unusable."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    arguments = _parser().parse_args(argv)
    name = "rollout-gpu.json" if arguments.device == "cuda" else "rollout.json"
    path = arguments.json or RESULTS / name
    try:
        record = run(arguments)
    except (OSError, ValueError) as error:
        print(f"benchmarks/speed/rollout.py: {error}", file=sys.stderr)
        return 2
    write(path, record)
    for row in record["rows"]:
        missed = "" if row["ratio_median"] >= row["target"] else "  MISSED"
        print(
            f"guidance {row['guidance']:g}  {row['name']} against {row['against']}: "
            f"{row['ratio_median']:.3f} ({row['ratio_min']:.3f} to {row['ratio_max']:.3f}), "
            f"target {row['target']:g}{missed}"
        )
    print(path)
    return 0


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole record: provenance, settings, rows."""
    if arguments.repeats < 1 or arguments.frames < 1 or min(arguments.guidance) < 1:
        raise ValueError("Expected --repeats and --frames of at least 1, --guidance of at least 1.")
    model, stock = load(arguments.prior, arguments.frames, arguments.device)
    picture = picture_of(model, arguments.seed)
    record = provenance(arguments.seed, arguments.device, weights=[model.backbone.folder])
    record["settings"] = {
        "prior": arguments.prior,
        "steps": arguments.steps,
        "frames": arguments.frames,
        "height": picture.shape[0],
        "width": picture.shape[1],
        "dtype": "float32",
        "decoder": type(model.backbone.vae).__name__,
    }
    record["rows"] = []
    for guidance in arguments.guidance:
        contest = Contest(model, stock, picture, arguments.steps, guidance, arguments.seed)
        record["rows"] += measure(contest, arguments.repeats)
    return record


if __name__ == "__main__":
    sys.exit(main())
