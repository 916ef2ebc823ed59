"""What `egowm rollout` does."""

from argparse import Namespace
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.actions.files import read_actions
from egowm.actions.keys import MOVES, in_words, is_file, pressed
from egowm.actions.poses import planar_path
from egowm.checks import counted
from egowm.commands.base_faults import naming
from egowm.commands.device_option import chosen_device
from egowm.data.imagined import ImaginedWriter
from egowm.dynamics import Dynamics
from egowm.evaluation.film import write_film
from egowm.evaluation.report.path_drawing import path_summary
from egowm.evaluation.rollout_film import rollout_film
from egowm.files import FolderKind, filled
from egowm.latent import from_pretrained
from egowm.pixels import to_uint8
from egowm.sampling import Sampling
from egowm.shipped import default_model
from egowm.video import read_image, resize, write_frames


def run(args: Namespace, walk: FolderKind) -> int:
    """Imagine a video for each sequence of actions, write them into a folder of this kind, and say
    where they lead."""
    picture, device = read_image(args.picture), chosen_device(args)
    model = from_pretrained(args.model or default_model(), base=args.base).to(device)
    assert model.spec is not None
    if not model.makes_frames:
        raise ValueError(
            f"{model.name} makes no frames to be written: it can plan (egowm plan --by latents)."
        )
    told = [read_actions(text, model.spec) for text in args.actions]
    first = resize(picture[None], *args.size)
    context = torch.from_numpy(first.transpose(0, 3, 1, 2).copy())[None]
    with naming(model.base):
        made = [_imagined(model, context, actions, args) for actions in told]
    if args.to == "lerobot":
        return _write_lerobot(args, model.spec, context[0], made, told)
    videos = [np.concatenate([first, to_uint8(frames)]) for frames in made]
    shown = rollout_film(videos, args.actions, [actions.numpy() for actions in told], model.spec)
    with filled(args.output, walk) as folder:
        for number, video in enumerate(videos, 1):
            write_frames(folder / ("frames" if len(videos) == 1 else f"frames_{number}"), video)
        write_film(folder / "rollout", shown, model.spec.rate_hz)
    _say_motion(args.actions, told, model.spec)
    names = "frames/" if len(videos) == 1 else f"frames_1/ to frames_{len(videos)}/"
    frames = " + ".join(str(len(video)) for video in videos)
    print(f"{frames} frames in {args.output}: {names}, rollout.mp4, rollout.webp")
    return 0


def _write_lerobot(
    args: Namespace,
    spec: ActionSpec,
    context: Tensor,
    made: Sequence[Tensor],
    told: Sequence[Tensor],
) -> int:
    """An episode for each sequence of actions, from the picture on."""
    with ImaginedWriter(args.output, spec, force=args.force) as writer:
        for frames, actions in zip(made, told, strict=True):
            writer.add_rollout(context, frames.float().cpu(), actions, task=args.text)
    print(
        f"{args.output}: {counted(len(made), 'episode')} of LeRobot 3.0, frames after the first "
        f"marked as imagined"
    )
    print(f"look at them: egowm data check {args.output}")
    return 0


def _imagined(model: Dynamics, context: Tensor, actions: Tensor, args: Namespace) -> Tensor:
    """Frames (T, 3, H, W); every sequence of actions meets the same noise."""
    return model.rollout(
        context.expand(-1, model.num_context, -1, -1, -1),  # the robot stood still before
        actions,
        Sampling(steps=args.steps, guidance=args.guidance, guide_on=args.guide_on),
        state=None if args.state is None else torch.tensor([args.state]),
        text=args.text,
        source=args.source,
        generator=torch.Generator().manual_seed(args.seed),
    ).frames[0]


def _say_motion(texts: Sequence[str], told: Sequence[Tensor], spec: ActionSpec) -> None:
    """How far each key goes, and where each sequence leads."""
    keys = [key for key in MOVES if any(key in text for text in texts if not is_file(text))]
    each = [f"{key} {in_words(pressed(key, spec)[0], spec)}" for key in keys]
    if each:
        print(f"A key lasts {1 / spec.rate_hz:g} s: {'; '.join(each)}.")
    if spec.kind == "se2":
        for text, actions in zip(texts, told, strict=True):
            way = path_summary(planar_path(actions.numpy()), spec.units[0])
            print(f"{text}: {way}, in {len(actions) / spec.rate_hz:g} s.")
