"""`egowm plan --picture NOW --goal THERE`: a plan for a robot of your own."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from egowm.actions import ActionSpec
from egowm.actions.keys import in_words
from egowm.checks import counted
from egowm.commands.base_faults import naming
from egowm.dynamics import Dynamics
from egowm.evaluation.agents import Compared
from egowm.evaluation.film import write_film
from egowm.evaluation.picture_plan import PicturePlan, plan_between
from egowm.evaluation.plan_film import picture_film
from egowm.files import FolderKind, filled
from egowm.planning.mpc import Planner
from egowm.sampling import Sampling
from egowm.video import read_image, resize


def plan_pictures(
    args: argparse.Namespace,
    load: Callable[[argparse.Namespace], Dynamics],
    planner: Planner,
    how: Sampling,
    by: Compared,
    kind: FolderKind,
) -> int:
    """Plan with the options of the verb; write film and actions, print each action.

    load: the model, once the pictures are read. by: how the ends are compared. kind: of the folder
    that is written.
    """
    start, goal = (
        resize(read_image(path)[None], *args.size)[0] for path in (args.picture, args.goal)
    )
    model = load(args)
    with naming(model.base):
        found = plan_between(
            model,
            start,
            goal,
            planner,
            how,
            horizon=args.horizon,
            by=by,
            state=None if args.state is None else torch.tensor([args.state]),
            text=args.text,
            source=args.source,
            seed=args.seed,
        )
    spec = model.spec_of(args.source)
    shown = picture_film(found.imagined, goal, found.plan.actions.cpu().numpy(), spec)
    with filled(args.output, kind) as folder:
        write_film(folder / "plan", shown, spec.rate_hz)
        _write_actions(folder, args, found, spec)
    _say(found, spec, args.output)
    return 0


def _write_actions(
    folder: Path, args: argparse.Namespace, found: PicturePlan, spec: ActionSpec
) -> None:
    """actions.csv, which `egowm rollout --actions` reads, and plan.json."""
    rows = [[f"{value:.6g}" for value in row] for row in found.plan.actions.tolist()]
    lines = [",".join(row) for row in (spec.names, *rows)]
    (folder / "actions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    described = {
        "picture": Path(args.picture).name,
        "goal": Path(args.goal).name,
        "names": spec.names,
        "units": spec.units,
        "rate_hz": spec.rate_hz,
        "actions": found.plan.actions.tolist(),
        "cost": found.plan.cost,
        "decibels_of_start": round(found.before, 2),
        "decibels_of_end": None if found.after is None else round(found.after, 2),
    }
    (folder / "plan.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _say(found: PicturePlan, spec: ActionSpec, output: Path) -> None:
    """Every action in words, and whether the end looks more like the goal than the start did."""
    actions = found.plan.actions.tolist()
    for number, action in enumerate(actions, 1):
        print(f"{number / spec.rate_hz:.2f} s: {in_words(np.array(action), spec)}")
    if found.after is None:
        print("The model makes no frames: nothing says whether the end will look like the goal.")
    else:
        _compare(found.before, found.after)
    print(f"{counted(len(actions), 'action')} in {output}: plan.mp4, actions.csv, plan.json")


def _compare(before: float, after: float) -> None:
    """Whether the end looks more like the goal than the start did."""
    print(f"Against the goal: the start {before:.1f} dB, the imagined end {after:.1f} dB.")
    if round(after, 1) <= round(before, 1):
        print("The end looks no more like the goal than the start: do not trust this plan.")
