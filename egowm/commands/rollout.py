"""`egowm rollout PICTURE --actions ...`: a video from any picture and any action sequence.

This is how one walks into a painting.
"""

import csv
import io
import logging
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.actions.keys import KEYS, MOVES, in_words, pressed
from egowm.arrays import read_npy
from egowm.checks import counted
from egowm.commands.base_faults import naming
from egowm.commands.condition_options import add_conditions
from egowm.commands.parser import Parser
from egowm.conditioning.guidance import Guide
from egowm.evaluation.film import write_film
from egowm.evaluation.report.path_drawing import integrate_poses, path_summary
from egowm.evaluation.rollout_film import rollout_film
from egowm.files import FolderKind, check_folder, filled
from egowm.limits import TEXT, load_json, read_bytes
from egowm.pixels import to_uint8
from egowm.sampling import Sampling
from egowm.shipped import default_model
from egowm.video import read_image, resize, write_frames
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)
WALK = FolderKind("egowm rollout", r"frames(_\d+)?/\d{5}\.png|rollout\.(mp4|webp)")
MOST = 12  # action sequences in one film


def read_actions(text: str, spec: ActionSpec) -> Tensor:
    """Actions (T, A) from a file (.csv, .json, .npy) or from a string of the keys w a s d q e .

    A file holds one row per step in the units of the spec; a CSV may have a header of names.
    Raises ValueError naming what was expected.
    """
    path = Path(text)
    if _is_file(text):
        if not path.is_file():
            raise FileNotFoundError(f"No action file at {path}.")
        return torch.from_numpy(_read_file(path, spec))
    strange = sorted(set(text) - set(MOVES))
    if strange or not text:
        raise ValueError(
            f"Expected a file (.csv, .json, .npy) or keys ({KEYS}), got {text!r}"
            + (f" with {' '.join(strange)}" if strange else "")
        )
    return torch.from_numpy(pressed(text, spec))


def _is_file(text: str) -> bool:
    return Path(text).suffix in _READERS


def _read_file(path: Path, spec: ActionSpec) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what is not finite is refused with its place
            rows = np.asarray(_READERS[path.suffix](path, spec), np.float32)
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(
            f"{path}: expected numbers, one row per step, columns {', '.join(spec.names)} "
            f"({error})."
        ) from error
    if rows.ndim != 2 or rows.shape[1] != spec.width or not len(rows):
        raise ValueError(
            f"{path}: expected rows of {counted(spec.width, 'number')} ({', '.join(spec.names)}), "
            f"got an array of shape {rows.shape}."
        )
    return rows


def _read_csv(path: Path, spec: ActionSpec) -> list[list[float]]:
    text = read_bytes(path, TEXT).decode("utf-8-sig")  # Excel writes a byte order mark
    lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    if lines and [cell.strip() for cell in lines[0]] == list(spec.names):
        lines = lines[1:]
    return [[float(cell) for cell in line] for line in lines]


_READERS: dict[str, Callable[[Path, ActionSpec], Any]] = {
    ".csv": _read_csv,
    ".json": lambda path, spec: load_json(path),
    ".npy": lambda path, spec: read_npy(path),
}


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm rollout PICTURE --actions FILE|KEYS --output DIR`."""
    parser = Parser(
        prog="egowm rollout",
        description=__doc__,
        example="egowm rollout painting.jpg --actions wwwaaw --output runs/walk",
    )
    parser.add_argument("picture", help="any picture; it is resized, aspect not kept")
    parser.add_argument(
        "--actions",
        required=True,
        nargs="+",
        help=f"a file, or keys: {KEYS}; several are shown side by side",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--model", help="an export (default: the rooms model that came along)")
    parser.add_argument("--base", help="folder of the base pipeline, if it moved")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=(64, 64),
        help="pixels that the picture is resized to (default 64 64)",
    )
    parser.add_argument("--steps", type=int, help="sampling steps (default: the export's)")
    parser.add_argument(
        "--guidance", type=float, default=1.0, help="strength of guidance; 1, the default, is off"
    )
    parser.add_argument(
        "--guide_on",
        nargs="+",
        choices=get_args(Guide),
        help="what guidance is on (default: the backbone's first choice)",
    )
    add_conditions(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--force", action="store_true", help="replace a rollout that is there")
    args = parser.parse_args(argv)
    check_folder(args.output, WALK, args.force)
    if len(args.actions) > MOST:
        raise ValueError(f"Expected at most {MOST} sequences of actions, got {len(args.actions)}.")
    picture = read_image(args.picture)
    model = WorldModel.from_pretrained(args.model or default_model(), base=args.base)
    assert model.spec is not None
    told = [read_actions(text, model.spec) for text in args.actions]
    first = resize(picture[None], *args.size)
    context = torch.from_numpy(first.transpose(0, 3, 1, 2).copy())[None]
    with naming(str(model.backbone.folder)):
        videos = [
            np.concatenate([first, to_uint8(_imagined(model, context, actions, args))])
            for actions in told
        ]
    shown = rollout_film(videos, args.actions, [actions.numpy() for actions in told], model.spec)
    with filled(args.output, WALK) as folder:
        for number, video in enumerate(videos, 1):
            write_frames(folder / ("frames" if len(videos) == 1 else f"frames_{number}"), video)
        write_film(folder / "rollout", shown, model.spec.rate_hz)
    _say_motion(args.actions, told, model.spec)
    names = "frames/" if len(videos) == 1 else f"frames_1/ to frames_{len(videos)}/"
    frames = " + ".join(str(len(video)) for video in videos)
    print(f"{frames} frames in {args.output}: {names}, rollout.mp4, rollout.webp")
    return 0


def _imagined(model: WorldModel, context: Tensor, actions: Tensor, args: Namespace) -> Tensor:
    """Frames (T, 3, H, W); every sequence of actions meets the same noise."""
    return model.rollout(
        context.expand(-1, model.backbone.context, -1, -1, -1),  # the robot stood still before
        actions,
        Sampling(steps=args.steps, guidance=args.guidance, guide_on=args.guide_on),
        state=None if args.state is None else torch.tensor([args.state]),
        text=args.text,
        source=args.source,
        generator=torch.Generator().manual_seed(args.seed),
    ).frames[0]


def _say_motion(texts: Sequence[str], told: Sequence[Tensor], spec: ActionSpec) -> None:
    """How far each key goes, and where each sequence leads."""
    keys = [key for key in MOVES if any(key in text for text in texts if not _is_file(text))]
    each = [f"{key} {in_words(pressed(key, spec)[0], spec)}" for key in keys]
    if each:
        print(f"A key lasts {1 / spec.rate_hz:g} s: {'; '.join(each)}.")
    if spec.kind == "se2":
        for text, actions in zip(texts, told, strict=True):
            way = path_summary(integrate_poses(actions.numpy()), spec.units[0])
            print(f"{text}: {way}, in {len(actions) / spec.rate_hz:g} s.")
