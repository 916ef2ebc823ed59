"""What `egowm walk` does."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from egowm.commands.base_faults import naming
from egowm.commands.device_option import chosen_device
from egowm.latent import from_pretrained
from egowm.latent.base import LatentDynamics
from egowm.network.compilation import compile_blocks
from egowm.sampling import Sampling
from egowm.serving.app import build
from egowm.serving.domain import Domain, domain_of
from egowm.serving.doorkeeper import Doorkeeper
from egowm.serving.served import Served
from egowm.serving.server import address, opened, serve, token_for
from egowm.shipped import default_model
from egowm.video import picture_paths, read_image, resize
from egowm.world_model import WorldModel

MOST_PICTURES = 200  # to choose from
MOST_LIKE = 2000  # that a domain is measured on


def run(args: Namespace) -> int:
    """Load the model, say where it is served, and serve it until a signal comes."""
    pictures = _pictures(args.picture, args.size)
    token = token_for(args.host, args.token)
    with opened(args.host, args.port) as listening:
        served = _served(args, pictures)
        app, *workers = build(served, Doorkeeper(token), args.visitors)
        print(f"Walk at {address(listening, token)} (Ctrl-C ends it)", flush=True)
        serve(app, listening)
    for worker in workers:
        worker.stop()
    return 0


def _pictures(place: Path | None, size: Sequence[int]) -> list[tuple[str, np.ndarray]]:
    """Name and picture of each that visitors may choose."""
    if place is None:
        return []
    paths = picture_paths(place)[:MOST_PICTURES] if place.is_dir() else [place]
    return [(path.name, _fitted(path, size)) for path in paths]


def _served(args: Namespace, pictures: list[tuple[str, np.ndarray]]) -> Served:
    like = None if args.like is None else _domain(args.like, args.size)
    model = _model(args)
    with naming(model.base):
        served = Served(
            model,
            tuple(args.size),
            pictures,
            domain_of(model) if like is None else like,
            Sampling(steps=args.steps, chain=args.chain, strict=True),
            args.room,
            None if args.state is None else tuple(args.state),
            args.text,
            args.source,
            args.block,
            _name(args.model),
        )
        served.begin({"type": "begin"})  # faults are told now, and what is slow once is done
    return served


def _model(args: Namespace) -> WorldModel | LatentDynamics:
    model = from_pretrained(args.model or default_model(), base=args.base).eval()
    if not model.makes_frames:
        raise ValueError(f"{model.name} makes no frames to walk in: it can plan (egowm plan).")
    device: torch.device = chosen_device(args)
    if args.compile is not None:
        if not isinstance(model, WorldModel):
            raise ValueError(f"{model.name} has no blocks to compile: leave --compile out.")
        if args.compile == "cudagraphs" and device.type != "cuda":
            raise ValueError(
                "CUDA graphs need a GPU, and this walk is on the CPU: --compile inductor."
            )
        compile_blocks(model.backbone.blocks, args.compile)
    return model.to(device)


def _name(model: str | None) -> str:
    """What the page calls a model: a run by its folder, in which there is an export."""
    folder = Path(model or "rooms")
    return folder.resolve().parent.name if folder.name == "export" else folder.name


def _domain(folder: Path, size: Sequence[int]) -> Domain:
    """That of the pictures in a folder, of at most 2000 of them, evenly spread."""
    paths = picture_paths(folder)
    chosen = paths[:: max(1, len(paths) // MOST_LIKE)][:MOST_LIKE]
    return Domain.of([_fitted(path, size) for path in chosen], f"those in {folder.name}")


def _fitted(path: Path, size: Sequence[int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 as visitors walk in it: whole photographs would fill the memory."""
    height, width = size
    return resize(read_image(path)[None], height, width, crop=True)[0]
