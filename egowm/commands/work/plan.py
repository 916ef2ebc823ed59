"""What `egowm plan` does in the rooms; `plan_pictures` does it for pictures of your own."""

import argparse
import json
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from egowm.commands.work.plan_pictures import plan_pictures
from egowm.data.normalisers import WHEELED
from egowm.encoder import Encoder
from egowm.evaluation.agents import Compared, SimulatorAgent, with_model
from egowm.evaluation.film import write_film
from egowm.evaluation.navigation import Run, act_out, make_tasks, time_allowed
from egowm.evaluation.plan_film import drive_film
from egowm.files import FolderKind, begins, check_folder, filled
from egowm.latent import from_pretrained
from egowm.planning import cem, features, icem, mppi, random_shooting
from egowm.planning.mpc import Planner
from egowm.policies import Dreamer
from egowm.policies import from_pretrained as load_policy
from egowm.policies.agent import PolicyAgent, proposals
from egowm.sampling import Sampling
from egowm.shipped import default_model

PLAN = FolderKind(
    "egowm plan",
    r"plan\.(json|mp4|webp)|actions\.csv|room_\d+\.(mp4|webp)",
    lambda folder: begins(folder / "plan.json", rb'(\[\s*)?\{\s*"(room|picture)": '),
)


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
    raise ValueError(f"Expected a planner of icem, cem, mppi, random, got {name!r}.")


def run(args: argparse.Namespace) -> int:
    """Plan in each room, or from picture to picture; write plan.json and a film of each."""
    check_folder(args.output, PLAN, args.force)
    if args.picture is None:
        return _in_rooms(args)
    planner = planner_of(args.planner, args.candidates, args.rounds)
    return plan_pictures(args, _model, planner, _sampling(args), _compared(args), PLAN)


def _in_rooms(args: argparse.Namespace) -> int:
    where = {"distance": args.distance, "visible": not args.hidden}
    max_steps = time_allowed(**where) if args.max_steps is None else args.max_steps
    if max_steps < 1:
        raise ValueError("Expected --max_steps of at least 1.")

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
    planner = planner_of(args.planner, args.candidates, args.rounds)
    ahead = {"horizon": args.horizon, "every": args.every, "seed": args.seed}
    ahead |= {"stops": args.stops, "watched": True, "by": _compared(args)}
    if args.simulator:
        return SimulatorAgent(planner, **ahead)
    policy = load_policy(args.policy) if args.policy else None
    if policy is not None:
        if isinstance(policy, Dreamer):
            raise ValueError(
                f"{args.policy} goes where it was rewarded, whatever picture it is shown: drive it "
                f"by `egowm collect --policy`."
            )
        policy.check_size(*args.size)
        if not args.model:
            return PolicyAgent(policy)
    model, how = _model(args), _sampling(args)
    if policy is not None:
        ahead["propose"] = proposals(
            policy, model, how, horizon=args.horizon, samples=args.candidates, seed=args.seed
        )
    return with_model(model, planner, how, **ahead)


def _compared(args: argparse.Namespace) -> Compared:
    if args.encoder is None:
        return args.by  # type: ignore[no-any-return]
    network = Encoder.from_pretrained(args.encoder)
    return lambda goal: features.encoder(goal, network)


def _model(args: argparse.Namespace) -> Any:
    return from_pretrained(args.model or default_model(), base=args.base)


def _sampling(args: argparse.Namespace) -> Any:
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
