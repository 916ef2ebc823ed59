"""What a window of latents saves and costs where a planner looks at the last frame alone.

SVD's own decoder mixes frames, so a chunk's last frame is exact only if the whole chunk is decoded;
`decode_window` decodes the last few latents instead. Measured on frames of the embedded rooms, as
the folder's VAE codes them. Without --pretrained the decoder is SVD's class with random weights:
then the speed means something, and the error only that it is there.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alternating import compare
from provenance import RESULTS, provenance, write
from torch import Tensor
from tqdm import tqdm

from egowm.backbones import SVD
from egowm.backbones.svd import load_vae
from egowm.pixels import psnr


def random_vae() -> Any:
    """SVD's own class with an eighth of its channels, amplified so that weights matter."""
    from diffusers import AutoencoderKLTemporalDecoder

    torch.manual_seed(0)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 64, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        force_upcast=False,
    )
    for parameter in vae.parameters():
        if parameter.ndim > 1:
            parameter.data *= 1.6
    return vae


def rooms(count: int, num_frames: int, size: int) -> Tensor:
    """Videos (N, T, 3, H, W) in [-1, 1] of as many test rooms."""
    from egowm.worlds.recording import record, seed_of

    videos = [
        record(seed_of("test", k), num_frames=num_frames, height=size, width=size).frames
        for k in range(count)
    ]
    return torch.from_numpy(np.stack(videos)).permute(0, 1, 4, 2, 3).float() / 127.5 - 1


def errors(found: Tensor, exact: Tensor) -> dict[str, float]:
    """Of frames (N, 1, 3, H, W) in [-1, 1], clipped: grey levels of 255, and dB."""
    apart = (found.clamp(-1, 1) - exact.clamp(-1, 1)) * 127.5
    decibels = psnr(apart.flatten()[None], torch.zeros(1, apart.numel()), limit=99.0)
    return {"grey_levels": float(apart.abs().mean()), "psnr": decibels}


@torch.inference_mode()
def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole record: provenance, settings, a row for each window."""
    last = arguments.frames - 1
    if min(arguments.windows) < 1 or min(arguments.rooms, arguments.repeats, last) < 1:
        raise ValueError(
            "Expected --windows, --rooms and --repeats of at least 1, --frames of at least 2."
        )
    backbone = SVD(arguments.pretrained or "random")
    vae = load_vae(Path(arguments.pretrained) / "vae") if arguments.pretrained else random_vae()
    backbone.vae = vae.requires_grad_(False).eval().to(arguments.device)
    if not backbone.decodes_in_time:
        raise ValueError(f"{arguments.pretrained}: its decoder takes frame by frame: any is exact.")
    record = provenance(arguments.seed, arguments.device)
    videos = rooms(arguments.rooms, arguments.frames, arguments.size).to(arguments.device)
    latents = torch.cat([backbone.encode(video[None]) for video in videos])
    exact = backbone.decode(latents)
    whole, rows = partial(backbone.decode_frame, latents, last), []
    for window in tqdm(arguments.windows, "windows", file=sys.stderr):
        part = partial(backbone.decode_frame, latents, last, window)
        found = errors(part(), exact[:, -1:])
        timing = compare(part, whole, arguments.repeats, lambda: None)
        rows.append({"window": window, **found, **timing._asdict()})
    record["settings"] = {
        "weights": arguments.pretrained or "random",
        "rooms": arguments.rooms,
        "frames": arguments.frames,
        "size": arguments.size,
        "scale": {"the frame before": errors(exact[:, -2:-1], exact[:, -1:])},
    }
    return record | {"rows": rows}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each window, write the JSON file; 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="benchmarks/decode_window.py", description=__doc__)
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--pretrained", metavar="DIR", help="a diffusers SVD folder; else random")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--rooms", type=int, default=4, help="videos, one of each test room")
    parser.add_argument("--frames", type=int, default=8, help="of a chunk")
    parser.add_argument("--size", type=int, default=64, help="of a frame, pixels")
    parser.add_argument("--repeats", type=int, default=3, help="alternating runs of each side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    parser.add_argument("--json", type=Path, default=RESULTS / "decode-window.json")
    arguments = parser.parse_args(argv)
    try:
        record = run(arguments)
    except (OSError, ValueError) as error:
        print(f"benchmarks/decode_window.py: {error}", file=sys.stderr)
        return 2
    write(arguments.json, record)
    for row in record["rows"]:
        print(
            f"window {row['window']} of {arguments.frames}: {row['grey_levels']:.2f} grey levels, "
            f"{row['psnr']:.1f} dB, {row['ratio_median']:.2f} times as fast"
        )
    before = record["settings"]["scale"]["the frame before"]
    print(f"for scale, the frame before: {before['grey_levels']:.2f} grey levels")
    print(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
