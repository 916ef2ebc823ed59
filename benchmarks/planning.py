"""Planning in the embedded rooms: who arrives, and how many candidates a second are imagined.

    python benchmarks/planning.py

Unseen rooms, a goal picture 2 m away that is seen from the start (--distances 1 2 4 --hidden: more
classes, for a GPU); arrived is within 0.5 m and 20 degrees at the end, acted out in the true
simulator. Rows: the simulator itself as the model, ours with the prior and from scratch, straight
ahead, an oracle of the bearing, random. Then the same candidates imagined by our cost, by
a loop over diffusers' own pipeline, and by that pipeline in one batch, in turns; the videos of
`rollout` and pipeline are found equal before anything is timed.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from alternating import check_same, compare
from provenance import RESULTS, provenance, write
from rollout import SPEC, Contest, load
from rollout import _picture as picture_of
from tqdm import tqdm

from egowm.planning import goal_cost
from egowm.planning.agents import EVERY, HORIZON, SimulatorAgent, with_model
from egowm.planning.cli import planner_of
from egowm.planning.navigation import (
    Agent,
    Oracle,
    Random,
    StraightAhead,
    Task,
    act_out,
    make_tasks,
    time_allowed,
)
from egowm.rollout import default_model
from egowm.scs.bootstrap import interval
from egowm.world_model import WorldModel

Record = dict[str, Any]


def agents(arguments: argparse.Namespace, distance: float) -> dict[str, Agent]:
    """Everyone who goes, by the name of the row."""
    planner = planner_of(arguments.planner, arguments.candidates, arguments.rounds)
    found: dict[str, Agent] = {
        "simulator as model": SimulatorAgent(planner, seed=arguments.seed),
        "straight ahead": StraightAhead(distance),
        "oracle bearing": Oracle(),
        "random": Random(arguments.seed),
    }
    for name, folder in (("ours", arguments.model), ("from scratch", arguments.scratch)):
        model = WorldModel.from_pretrained(folder).to(arguments.device)
        for steps in arguments.steps if name == "ours" else arguments.steps[:1]:
            found[f"{name}, {steps} steps"] = with_model(
                model, planner, steps=steps, seed=arguments.seed
            )
    return found


def closed_loop(arguments: argparse.Namespace) -> list[Record]:
    """A row for each class of distance and each agent."""
    rows = []
    for visible in (True, False) if arguments.hidden else (True,):
        for distance in arguments.distances:
            tasks = make_tasks(arguments.rooms, distance=distance, visible=visible)
            about = {"distance_metres": distance, "visible": visible}
            for name, agent in agents(arguments, distance).items():
                rows.append(about | arrivals(name, agent, tasks, time_allowed(distance, visible)))
                print(f"{distance:g} m, {name}: {rows[-1]['success']:.0f}%", flush=True)
    return rows


def arrivals(name: str, agent: Agent, tasks: Sequence[Task], max_steps: int) -> Record:
    """How often an agent arrives, in percent with a 95% interval over rooms; seconds of a plan."""
    began = time.perf_counter()
    runs = [act_out(task, agent, max_steps) for task in tqdm(tasks, name, leave=False)]
    seconds = time.perf_counter() - began
    arrived = torch.tensor([100.0 * run.success for run in runs]).numpy()
    plans = len(runs) * math.ceil(max_steps / EVERY)
    return {
        "agent": name,
        "success": round(float(arrived.mean()), 1),
        "ci95": [round(x, 1) for x in interval(arrived) or ()],
        "reached": round(100.0 * sum(run.reached for run in runs) / len(runs), 1),
        "metres": round(sum(run.metres for run in runs) / len(runs), 3),
        "degrees": round(sum(run.degrees for run in runs) / len(runs), 1),
        "seconds_per_plan": round(seconds / plans, 3),
        "each": [bool(run.success) for run in runs],
    }


def speed(arguments: argparse.Namespace) -> list[Record]:
    """Candidates a second: our cost by what it decodes, against loop and batch of the pipeline."""
    model, stock = load(arguments.prior, arguments.frames, arguments.device)
    steps, count = arguments.steps[0], arguments.candidates
    contest = Contest(model, stock, picture_of(model, 0), steps, 1.0, arguments.seed)
    loop, batch = partial(contest.calls, count), partial(contest.call, count, arguments.frames, 0)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        check_same(contest.rollout(count, True), loop())
        batch()  # warmed up
    rows = []
    for name, run in _costs(contest, count).items():
        run()  # warmed up
        for against, theirs in (("a loop of calls", loop), ("one batched call", batch)):
            timing = compare(run, theirs, arguments.repeats, lambda: None)
            rows.append(
                {
                    "ours": name,
                    "against": against,
                    "candidates": count,
                    "ours_per_second": round(count / timing.seconds_ours, 2),
                    "theirs_per_second": round(count / timing.seconds_theirs, 2),
                    **timing._asdict(),
                }
            )
    return rows


def _costs(contest: Contest, count: int) -> dict[str, Callable[[], torch.Tensor]]:
    context = torch.from_numpy(contest.picture).permute(2, 0, 1)[None, None]
    shape = (count, contest.model.chunk, SPEC.width)
    generator = torch.Generator().manual_seed(contest.seed)
    actions = SPEC.denormalise(torch.rand(shape, generator=generator) * 2 - 1)
    goal = context[0, 0]
    common: Any = {"steps": contest.steps, "micro_batch": count}
    by_latents = goal_cost(contest.model, context, goal, by="latents", **common)
    by_pixels = goal_cost(contest.model, context, goal, by="pixels", **common)

    def whole() -> torch.Tensor:
        return contest.rollout(count, False)

    def run(cost: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            return cost(actions)

    return {
        "latents, nothing decoded": partial(run, by_latents),
        "pixels, the last frame decoded": partial(run, by_pixels),
        "rollout, all decoded": whole,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/planning.py", description=__doc__)
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--model", default=str(default_model()), help="an export")
    parser.add_argument("--scratch", default=f"{default_model()}-scratch", help="another export")
    parser.add_argument("--prior", default="priors/rooms-svd", help="a diffusers SVD folder")
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--planner", default="icem")
    parser.add_argument("--candidates", type=int, default=32, help="action sequences a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the planner")
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4], help="sampling steps")
    parser.add_argument("--distances", type=float, nargs="+", default=[2.0], help="metres")
    parser.add_argument("--hidden", action="store_true", help="goals outside the view as well")
    parser.add_argument("--frames", type=int, default=HORIZON, help="of a timed video")
    parser.add_argument("--repeats", type=int, default=5, help="alternating runs of each side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    parser.add_argument("--json", type=Path, help="default: results/planning[-gpu].json")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each row, write the JSON file; 2 where the input is unusable."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = _parser().parse_args(argv)
    name = "planning-gpu.json" if arguments.device == "cuda" else "planning.json"
    path = arguments.json or RESULTS / name
    try:
        record = run(arguments)
    except (OSError, ValueError) as error:
        print(f"benchmarks/planning.py: {error}", file=sys.stderr)
        return 2
    write(path, record)
    for row in record["rows"]:
        print(
            f"{row['distance_metres']:g} m, {'seen' if row['visible'] else 'hidden'}, "
            f"{row['agent']}: {row['success']:.0f}% arrive, {row['metres']:.2f} m off"
        )
    for row in record["speed"]:
        print(
            f"{row['ours']} against {row['against']}: {row['ours_per_second']:g} and "
            f"{row['theirs_per_second']:g} candidates/s, ratio {row['ratio_median']:.2f}"
        )
    print(path)
    return 0


def run(arguments: argparse.Namespace) -> Record:
    """The whole record: provenance, settings, rows, speed."""
    if min(arguments.rooms, arguments.candidates, arguments.rounds, arguments.repeats) < 1:
        raise ValueError("Expected --rooms, --candidates, --rounds, --repeats of at least 1.")
    record = provenance(arguments.seed, arguments.device)
    names = ("planner", "candidates", "rounds", "steps", "frames", "rooms")
    record["settings"] = {name: getattr(arguments, name) for name in names}
    record["settings"] |= {"horizon": HORIZON, "every": EVERY}
    record["rows"] = closed_loop(arguments)
    record["speed"] = speed(arguments)
    return record


if __name__ == "__main__":
    sys.exit(main())
