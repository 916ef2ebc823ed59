"""What a window of latents saves and costs where a planner looks at the last frame alone.

SVD's own decoder mixes frames, so a chunk's last frame is exact only if the whole chunk is decoded;
`decode_window` decodes the last few latents instead. Measured on frames of the embedded rooms, as
the folder's VAE codes them. Without --pretrained the decoder is SVD's class with random weights:
then the speed means something, and the error only that it is there.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.tables import planning
from benchmarks.timing import compare
from egowm.backbones.frame_codec import FrameCodec, load_vae
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


def options(add: Callable[..., Any]) -> None:
    add("--pretrained", metavar="DIR", help="a diffusers SVD folder; else random")
    add("--windows", type=positive, nargs="+", default=[1, 2, 3, 4, 6, 8])
    add("--rooms", type=positive, default=4, help="videos, one of each test room")
    add("--frames", type=positive, default=8, help="of a chunk")
    add("--size", type=positive, default=64, help="of a frame, pixels")
    add("--repeats", type=positive, default=3, help="alternating runs of each side")


@torch.inference_mode()
def run(arguments: argparse.Namespace) -> Record:
    """The whole record: provenance, settings, a row for each window."""
    last = arguments.frames - 1
    if not last:
        raise ValueError("Expected --frames of at least 2.")
    vae = load_vae(Path(arguments.pretrained) / "vae") if arguments.pretrained else random_vae()
    codec = FrameCodec(vae.to(arguments.device), nn.Identity(), None, "SVD", {})
    if not codec.decodes_in_time:
        raise ValueError(f"{arguments.pretrained}: its decoder takes frame by frame: any is exact.")
    record = provenance(arguments.seed, arguments.device)
    videos = rooms(arguments.rooms, arguments.frames, arguments.size).to(arguments.device)
    latents = torch.cat([codec.encode(video[None]) for video in videos])
    exact = codec.decode(latents)
    whole, rows = partial(codec.decode_frame, latents, last), []
    for window in tqdm(arguments.windows, "windows", file=sys.stderr):
        part = partial(codec.decode_frame, latents, last, window)
        found = errors(part(), exact[:, -1:])
        timing = compare(part, whole, arguments.repeats)
        rows.append({"window": window, **found, **timing._asdict()})
    record["settings"] = {"weights": arguments.pretrained or "random"}
    record["settings"] |= picked(arguments, "rooms", "frames", "size")
    before = errors(exact[:, -2:-1], exact[:, -1:])
    record["settings"]["scale"] = {"the frame before": before}
    return record | {"rows": rows}


main = benchmark(__file__, __doc__, "decode-window.json", options, run, planning.windows)
if __name__ == "__main__":
    sys.exit(main())
