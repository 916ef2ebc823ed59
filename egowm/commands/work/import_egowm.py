"""What `egowm import-egowm` does: read a released checkpoint, fill a model, write an export.

The file is a dict with `unet` (the weights of SVD's UNet in diffusers' names, and of two MLPs,
`add_action_embedding` and, for 25 dimensions, `add_state_embedding`), `epoch` and an
`argparse.Namespace`. That class is the only one admitted besides tensors and plain values.
"""

import argparse
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.checks import counted
from egowm.conditioning.embedding import CHANNELS
from egowm.data.normalisers import Normaliser, published_spacing, waypoint_range
from egowm.export import EXPORT, save
from egowm.files import check_folder
from egowm.world_model import WorldModel

ACTION, STATE = "add_action_embedding.", "add_state_embedding."
NAMED = ("recon", "scand", "tartandrive")  # 3 dimensions, published ranges
KNOWN, ONEX = 3, 25  # dimensions of those, and of 1X's humanoid
NOTE = """
Imported from the checkpoint that EgoWM's authors released (arXiv 2601.15284; epoch {epoch}). They
sample with 25 steps and guidance 2.0 on the image, on frames of 512x512 (plain resize, aspect not
kept): `rollout(context, actions, Sampling(guidance=2.0, guide_on="image"))`. The network is told
fps 7 (id 6), motion bucket 180 and noise 0.1 on the context.
"""


class Meaning(NamedTuple):
    """What the checkpoint's action is, and its state where it embeds one."""

    action: ActionSpec
    state: ActionSpec | None


def import_checkpoint(path: Path, base: str, actions: str | None = None) -> tuple[WorldModel, str]:
    """The model of a released checkpoint on an SVD pipeline `base`, and the epoch it names.

    actions: recon, scand, tartandrive, or a JSON file (see `meaning`); recon by default.
    Raises FileNotFoundError, or ValueError for a file of another kind or a base of other sizes.
    """
    found = read(path)
    weights = found["unet"]
    meant = meaning(actions, _width(weights, ACTION), _width(weights, STATE))
    backbone = SVD(base, fps=7, motion_bucket=180, noise_strength=0.1)
    model = WorldModel(
        backbone, "sinusoidal", steps=25, chunk=8, spec=meant.action, state_spec=meant.state
    )
    model.configure_model()
    _fill(model, weights, path)
    epoch = found.get("epoch")
    return model.eval(), str(epoch) if isinstance(epoch, int) else "unknown"


def read(path: Path) -> dict[str, Any]:
    """The checkpoint's dict, its tensors mapped from the file; nothing in the file is run."""
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}.")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} names {_strangers(path)}: expected tensors, plain values and "
            f"argparse.Namespace. Nothing was run. Do not load this file with another tool."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # its reader of pickles raises what the damage makes it
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path} is not a whole file of torch.save ({reason}): copy the checkpoint again."
        ) from error
    weights = found.get("unet") if isinstance(found, dict) else None
    if not isinstance(weights, Mapping) or not all(map(torch.is_tensor, weights.values())):
        held = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise ValueError(
            f"{path}: expected a dict with the UNet's weights under 'unet', got {held or 'none'}."
        )
    return found


def meaning(actions: str | None, width: int, state_width: int) -> Meaning:
    """What `width` action values (and `state_width` state values, 0 for none) mean.

    actions: a name, or a JSON file: an ActionSpec, or {"action": ActionSpec, "state": ActionSpec}.
    """
    if actions is None and width == ONEX:
        raise ValueError(
            "The ranges of 1X's 25 dimensions are not published with the weights; they are "
            'measured from data. Give --actions FILE.json with {"action": ActionSpec, "state": '
            "ActionSpec}, whose low and high are each dimension's minimum and maximum over 1X's "
            "training recordings: of states[t + 6] - states[t] at 30 Hz for the action, of "
            "states[t] for the state."
        )
    if actions is None and width != KNOWN:
        raise ValueError(
            f"This checkpoint's actions have {counted(width, 'dimension')}; {KNOWN} are known "
            f"without a file. Give what they mean, --actions FILE.json (an ActionSpec as "
            f"`ActionSpec.save` writes)."
        )
    name = actions or "recon"
    meant = published(cast(Normaliser, name)) if name in NAMED else _from_file(Path(name))
    _refuse_width(name, "action", width, meant.action)
    _refuse_width(name, "state", state_width, meant.state)
    return meant


def published(name: Normaliser) -> Meaning:
    """Steps (dx, dy, dyaw) of one of the 3-DoF data sets, with its published ranges."""
    names, units = ("dx", "dy", "dyaw"), ("m", "m", "rad")
    steps = ActionSpec(names, units, frame="body", kind="se2", rate_hz=4.0)
    return Meaning(waypoint_range(steps, published_spacing(name)), None)


def _from_file(path: Path) -> Meaning:
    if path.suffix != ".json" or not path.is_file():
        raise FileNotFoundError(
            f"--actions: expected {', '.join(NAMED)} or an existing FILE.json, got {path}."
        )
    try:
        record = json.loads(path.read_text())
        record = record if "action" in record else {"action": record}
        state = record.get("state")
        return Meaning(ActionSpec(**record["action"]), ActionSpec(**state) if state else None)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f'{path}: expected an ActionSpec as JSON, or {{"action": ActionSpec, "state": '
            f"ActionSpec}} ({error})."
        ) from error


def _refuse_width(name: str, what: str, width: int, spec: ActionSpec | None) -> None:
    given = spec.width if spec else 0
    if given != width:
        raise ValueError(
            f"The checkpoint's {what} has {counted(width, 'dimension')}, --actions {name} "
            f"describes {given}: give the {what}'s ActionSpec in FILE.json."
        )
    if spec and not spec.low:
        raise ValueError(f"--actions {name}: the {what}'s ActionSpec needs low and high.")


def _width(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many values an embedding takes; 0 where the checkpoint has no such embedding."""
    first = weights.get(f"{prefix}linear_1.weight")
    if first is None and prefix == ACTION:
        raise ValueError(
            f"Expected {prefix}linear_1.weight under 'unet', found none: this is no "
            f"action-conditioned checkpoint of EgoWM."
        )
    if first is None:
        return 0
    if first.ndim != 2 or first.shape[1] % CHANNELS:
        raise ValueError(
            f"{prefix}linear_1.weight: expected (D, {CHANNELS} x dimensions), got "
            f"{tuple(first.shape)}."
        )
    return first.shape[1] // CHANNELS


def _fill(model: WorldModel, weights: Mapping[str, Tensor], path: Path) -> None:
    """Every weight of the network and of the embeddings, each exactly once."""
    parts = {"": model.backbone.network, ACTION: model.action_embedding}
    if model.state_spec is not None:
        parts[STATE] = model.state_embedding
    targets = {p + name: w for p, part in parts.items() for name, w in part.state_dict().items()}
    missing, unexpected = targets.keys() - weights.keys(), weights.keys() - targets.keys()
    if missing or unexpected:
        raise ValueError(
            f"{path} does not fit the base: {_count(missing)} missing, {_count(unexpected)} "
            f"unexpected. Give the SVD pipeline it was trained from with --base."
        )
    for name, target in targets.items():
        if target.shape != weights[name].shape:
            raise ValueError(
                f"{path} has other sizes than the base: {name} is {tuple(weights[name].shape)}, "
                f"expected {tuple(target.shape)}. Give the SVD pipeline it was trained from with "
                f"--base."
            )
        target.copy_(weights[name])


def _count(names: set[str]) -> str:
    return counted(len(names), "weight") + (f" (first {min(names)})" if names else "")


def _strangers(path: Path) -> str:
    """The classes and functions that a refused file names."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, ValueError, EOFError, RuntimeError):
        found = []
    return ", ".join(sorted(found)) or "something that torch's restricted reader does not know"


def run(args: argparse.Namespace) -> int:
    """Write the export, and say what the released model expects."""
    check_folder(args.output, EXPORT._replace(command="egowm import-egowm"), args.force)
    model, epoch = import_checkpoint(args.checkpoint, args.base, args.actions)
    note = NOTE.format(epoch=epoch)
    save(model, args.output, torch.float16 if args.half else None, note)
    assert model.spec is not None
    print(f"{args.output}: an export of {args.checkpoint}, actions {', '.join(model.spec.names)}")
    print(note.strip())
    return 0
