"""`egowm rollout PICTURE --actions ...`: a video from any picture and any action sequence.

This is how one walks into a painting.
"""

import csv
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.arrays import read_npy
from egowm.checks import counted
from egowm.commands.base_faults import naming
from egowm.commands.parser import Parser
from egowm.conditioning.guidance import Guide
from egowm.files import FolderKind, check_folder, filled
from egowm.limits import TEXT, load_json, read_bytes
from egowm.pixels import to_uint8
from egowm.sampling import Sampling
from egowm.shipped import default_model
from egowm.video import read_image, resize, webp_bytes, write_frames, write_mp4
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)
WALK = FolderKind("egowm rollout", r"frames/\d{5}\.png|rollout\.(mp4|webp)")
KEYS = "w forward, s back, a turn left, d turn right, q forward left, e forward right, . wait"
_MOVES = {  # shares of the largest forward motion and turn
    "w": (1.0, 0.0),
    "s": (-1.0, 0.0),
    "a": (0.0, 1.0),
    "d": (0.0, -1.0),
    "q": (1.0, 1.0),
    "e": (1.0, -1.0),
    ".": (0.0, 0.0),
}


def read_actions(text: str, spec: ActionSpec) -> Tensor:
    """Actions (T, A) from a file (.csv, .json, .npy) or from a string of the keys w a s d q e .

    A file holds one row per step in the units of the spec; a CSV may have a header of names.
    Raises ValueError naming what was expected.
    """
    path = Path(text)
    if path.suffix in _READERS:
        if not path.is_file():
            raise FileNotFoundError(f"No action file at {path}.")
        return torch.from_numpy(_read_file(path, spec))
    strange = sorted(set(text) - set(_MOVES))
    if strange or not text:
        raise ValueError(
            f"Expected a file (.csv, .json, .npy) or keys ({KEYS}), got {text!r}"
            + (f" with {' '.join(strange)}" if strange else "")
        )
    return torch.from_numpy(_keys(text, spec))


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


def _keys(text: str, spec: ActionSpec) -> np.ndarray:
    moves = np.array([_MOVES[key] for key in text], np.float32)
    if spec.kind == "se2":
        forward, turn = 0.8 * spec.high[0], 0.8 * spec.high[2]
        return np.stack([moves[:, 0] * forward, 0 * moves[:, 0], moves[:, 1] * turn], 1)
    if spec.names == ("angle", "throttle"):  # Donkey: positive angle is right, always forward
        throttle = spec.low[1] + (spec.high[1] - spec.low[1]) * (0.5 + 0.5 * moves[:, 0])
        return np.stack([-0.8 * spec.high[0] * moves[:, 1], throttle], 1).astype(np.float32)
    raise ValueError(
        f"Keys steer wheeled robots; this model's actions are {', '.join(spec.names)}: give a file."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm rollout PICTURE --actions FILE|KEYS --output DIR`."""
    parser = Parser(
        prog="egowm rollout",
        description=__doc__,
        example="egowm rollout painting.jpg --actions wwwaaw --output runs/walk",
    )
    parser.add_argument("picture", help="any picture; it is resized, aspect not kept")
    parser.add_argument("--actions", required=True, help=f"a file, or keys: {KEYS}")
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
    parser.add_argument(
        "--text", default="", help="what is to be seen, for backbones that take text"
    )
    parser.add_argument(
        "--state", type=float, nargs="+", help="state of the body, for models that take one"
    )
    parser.add_argument(
        "--source", help="data set whose action ranges count, of a model fitted on several"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--force", action="store_true", help="replace a rollout that is there")
    args = parser.parse_args(argv)
    check_folder(args.output, WALK, args.force)
    picture = read_image(args.picture)
    model = WorldModel.from_pretrained(args.model or default_model(), base=args.base)
    assert model.spec is not None
    actions = read_actions(args.actions, model.spec)
    first = resize(picture[None], *args.size)
    context = torch.from_numpy(first.transpose(0, 3, 1, 2).copy())[None]
    with naming(str(model.backbone.folder)):
        made = model.rollout(
            context.expand(-1, model.backbone.context, -1, -1, -1),  # the robot stood still before
            actions,
            Sampling(steps=args.steps, guidance=args.guidance, guide_on=args.guide_on),
            state=None if args.state is None else torch.tensor([args.state]),
            text=args.text,
            source=args.source,
            generator=torch.Generator().manual_seed(args.seed),
        )
    frames = np.concatenate([first, to_uint8(made.frames[0])])
    large, fps = np.repeat(np.repeat(frames, 4, 1), 4, 2), model.spec.rate_hz
    with filled(args.output, WALK) as folder:
        write_frames(folder / "frames", frames)
        write_mp4(folder / "rollout.mp4", large, fps)
        (folder / "rollout.webp").write_bytes(webp_bytes(large, fps))
    print(f"{counted(len(frames), 'frame')} in {args.output}: frames/, rollout.mp4, rollout.webp")
    return 0
