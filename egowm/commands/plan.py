"""`egowm plan`: the way to a picture, in unseen rooms or from a picture of your own.

The world model imagines what candidate actions lead to. In the rooms a robot then acts in the true
simulator; with --picture and --goal the plan is written for your robot.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from egowm.commands.condition_options import add_conditions
from egowm.commands.parser import Parser
from egowm.files import FolderKind, begins, check_folder, filled
from egowm.planning import cem, icem, mppi, random_shooting
from egowm.planning.mpc import Planner

PLAN = FolderKind(
    "egowm plan",
    r"plan\.(json|mp4|webp)|actions\.csv|room_\d+\.(mp4|webp)",
    lambda folder: begins(folder / "plan.json", rb'(\[\s*)?\{\s*"(room|picture)": '),
)
NAMES = ("icem", "cem", "mppi", "random")
OF_ROOMS = ("simulator", "rooms", "every", "stops", "distance", "hidden", "max_steps")
OF_PICTURES = ("state", "text", "source")


def planner_of(name: str, candidates: int, rounds: int) -> Planner:
    """A planner with `candidates` samples in the first of `rounds` (icem draws fewer in later
    ones); a fifth of them are elites."""
    elites = max(1, candidates // 5)
    if name == "icem":
        return partial(icem, samples=candidates, elites=elites, iterations=rounds)
    if name == "cem":
        return partial(cem, samples=candidates, elites=elites, iterations=rounds)
    if name == "mppi":
        return partial(mppi, samples=candidates, iterations=rounds)
    if name == "random":
        return partial(random_shooting, samples=candidates, iterations=rounds)
    raise ValueError(f"Expected a planner of {', '.join(NAMES)}, got {name!r}.")


def _parser() -> Parser:
    parser = Parser(
        prog="egowm plan",
        description=__doc__,
        example="egowm plan --output runs/plan --rooms 2 --distance 1\n"
        "egowm plan --picture now.jpg --goal there.jpg --model runs/my_robot/export "
        "--output runs/plan",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--model", help="an export (default: the rooms model that came along)")
    parser.add_argument("--base", help="folder of the base pipeline, if it moved")
    parser.add_argument("--picture", metavar="PICTURE", help="what your robot sees now")
    parser.add_argument("--goal", metavar="PICTURE", help="what it is to see in the end")
    parser.add_argument("--simulator", action="store_true", help="plan with the true simulator")
    parser.add_argument("--rooms", type=int, default=1, help="how many unseen rooms (default 1)")
    parser.add_argument(
        "--planner", choices=NAMES, default="icem", help="search method (default icem)"
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=32,
        help="action sequences in the first round (default 32)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the planner (default 3)")
    parser.add_argument("--horizon", type=int, default=8, help="actions planned ahead (default 8)")
    parser.add_argument(
        "--every", type=int, default=4, help="actions before it plans again (default 4)"
    )
    parser.add_argument(
        "--stops",
        action="store_true",
        help="the robot may stop on its way: every imagined frame is compared with the goal",
    )
    parser.add_argument(
        "--distance", type=float, default=2.0, help="metres to the goal (default 2)"
    )
    parser.add_argument("--hidden", action="store_true", help="the goal lies outside the view")
    parser.add_argument(
        "--max_steps", type=int, help="actions of an episode (default: twice the straight way)"
    )
    parser.add_argument("--steps", type=int, help="sampling steps (default: the export's)")
    parser.add_argument(
        "--chain",
        choices=("latents", "latents_only", "pixels"),
        help="how a chunk starts from the one before (default: as the model's rollouts)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of denoising and decoding (default float32)",
    )
    parser.add_argument(
        "--by",
        choices=("pixels", "latents"),
        default="pixels",
        help="what the cost compares with the goal (default pixels)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=(64, 64),
        help="pixels of the pictures (default 64 64)",
    )
    add_conditions(parser)
    parser.add_argument("--seed", type=int, default=0, help="of rooms, goals and noise (default 0)")
    parser.add_argument("--force", action="store_true", help="replace plans that are there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Plans in each room, or from --picture to --goal; writes plan.json and a film of each."""
    parser = _parser()
    args = parser.parse_args(argv)
    check_folder(args.output, PLAN, args.force)
    pictures = args.picture is not None or args.goal is not None
    others = OF_ROOMS if pictures else OF_PICTURES
    wrong = [f"--{name}" for name in others if getattr(args, name) != parser.get_default(name)]
    if wrong:
        means = "with --picture and --goal" if pictures else "in the rooms, without --picture"
        raise ValueError(f"{', '.join(wrong)}: not {means}.")
    if min(args.rooms, args.candidates, args.rounds) < 1:
        raise ValueError("Expected --rooms, --candidates and --rounds of at least 1.")
    if not pictures:
        return _in_rooms(args)
    if args.picture is None or args.goal is None:
        raise ValueError("A plan of your own takes both --picture and --goal.")
    from egowm.commands.plan_pictures import plan_pictures

    planner = planner_of(args.planner, args.candidates, args.rounds)
    return plan_pictures(args, _model, planner, _sampling(args), PLAN)


def _in_rooms(args: argparse.Namespace) -> int:
    from egowm.data.normalisers import WHEELED
    from egowm.evaluation.film import write_film
    from egowm.evaluation.navigation import Run, act_out, make_tasks, time_allowed
    from egowm.evaluation.plan_film import drive_film

    where = {"distance": args.distance, "visible": not args.hidden}
    max_steps = time_allowed(**where) if args.max_steps is None else args.max_steps
    if max_steps < 1:
        raise ValueError("Expected --max_steps of at least 1.")
    if not 0.5 < args.distance <= 6:
        raise ValueError(f"Expected a --distance above 0.5 m, at most 6, got {args.distance:g}.")

    agent = _agent(args)
    rows: list[dict[str, Any]] = []
    tasks = make_tasks(args.rooms, **where)
    with filled(args.output, PLAN) as folder:
        for number, task in enumerate(tqdm(tasks, "rooms", leave=False, disable=len(tasks) == 1)):
            made: Run = act_out(task, agent, max_steps, tuple(args.size))
            rows.append({"room": task.seed, "start": task.start, "goal": task.goal} | _row(made))
            film = drive_film(task, made, agent.plans)
            write_film(folder / f"room_{number}", film, WHEELED.rate_hz)
        (folder / "plan.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        word = "arrived" if row["success"] else "missed"
        print(f"room {row['room']}: {word}, {row['metres']:.2f} m and {row['degrees']:.0f} degrees")
    films = "room_0.mp4" if len(rows) == 1 else f"room_0.mp4 to room_{len(rows) - 1}.mp4"
    print(f"{sum(row['success'] for row in rows)} of {len(rows)} arrived; {args.output}: {films}")
    return 0


def _agent(args: argparse.Namespace) -> Any:
    from egowm.evaluation.agents import SimulatorAgent, with_model

    planner = planner_of(args.planner, args.candidates, args.rounds)
    ahead = {"horizon": args.horizon, "every": args.every, "seed": args.seed}
    ahead |= {"stops": args.stops, "watched": True}
    imagines = {"--model": args.model, "--steps": args.steps, "--chain": args.chain}
    given = [name for name, value in (imagines | {"--dtype": args.dtype}).items() if value]
    if args.simulator and given:
        raise ValueError(f"--simulator takes no world model: leave {', '.join(given)} out.")
    if args.simulator:
        return SimulatorAgent(planner, **ahead)
    return with_model(_model(args), planner, _sampling(args), by=args.by, **ahead)


def _model(args: argparse.Namespace) -> Any:
    from egowm.shipped import default_model
    from egowm.world_model import WorldModel

    return WorldModel.from_pretrained(args.model or default_model(), base=args.base)


def _sampling(args: argparse.Namespace) -> Any:
    import torch

    from egowm.sampling import Sampling

    return Sampling(
        steps=args.steps, chain=args.chain, dtype=getattr(torch, args.dtype or "float32")
    )


def _row(made: Any) -> dict[str, Any]:
    return {
        "success": made.success,
        "reached": made.reached,
        "metres": round(made.metres, 3),
        "degrees": round(made.degrees, 1),
        "poses": np.round(made.poses, 4).tolist(),
    }
