"""Who arrives at a picture's place in unseen rooms, acting in the true simulator.

    python -m benchmarks.planning.arrivals                 # all rows that are not there yet
    python -m benchmarks.planning.arrivals --agents "from the prior" --steps 1 2

A row is an agent and a class of goals: how far, seen from the start or not. Each is a file in
`results/planning/`, written as soon as it is measured and not measured again. By default the goal
picture is 2 m away and seen from the start (--distances 1 2 4 --hidden: more classes, for a GPU);
arrived is within 0.5 m and 20 degrees at the end. Who may stop compares every imagined frame with
the goal, plans again where one is nearest, and stops where none is nearer than what is seen. Rows:
the simulator itself as the model, ours (the model that ships), the long runs from the prior and
from scratch, the former chained by pixels (as calls of diffusers' pipeline would be), straight
ahead, an oracle of the bearing, random.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.experiment.arms import EXPORTS
from benchmarks.measure import (
    RESULTS,
    Record,
    Script,
    best_device,
    picked,
    positive,
    provenance,
    write,
)
from egowm.commands.work.plan import planner_of
from egowm.evaluation.agents import EVERY, HORIZON, SimulatorAgent, with_model
from egowm.evaluation.navigation import (
    Agent,
    Oracle,
    Random,
    StraightAhead,
    act_out,
    make_tasks,
    time_allowed,
)
from egowm.network.precision import computes_in_bfloat16
from egowm.planning.mpc import Planner
from egowm.sampling import Sampling
from egowm.scs.bootstrap import interval
from egowm.shipped import default_model
from egowm.world_model import WorldModel

DTYPE = torch.bfloat16 if computes_in_bfloat16(best_device()) else torch.float32
# The quick way to imagine, and the way of chained calls of diffusers' pipeline, which is not called
# here (candidates.py finds both to make the same frames, in float32).
QUICK = Sampling(chain="latents_only", dtype=DTYPE)
BY_PIXELS = Sampling(chain="pixels", dtype=DTYPE)
MODELS = {
    "ours": ("model", QUICK),
    "from the prior": ("prior", QUICK),
    "from scratch": ("scratch", QUICK),
    "from the prior by pixels": ("prior", BY_PIXELS),
}
PLANNER, CANDIDATES, ROUNDS, ROOMS = "icem", 32, 3, 50
STOPS = ", which may stop"  # ends the name of an agent that compares every imagined frame
MODELS |= {name + STOPS: MODELS[name] for name in ("ours", "from the prior", "from scratch")}
SIMULATOR = "simulator as model"
WITHOUT = (SIMULATOR, SIMULATOR + STOPS, "straight ahead", "oracle bearing", "random")


@dataclass(frozen=True)
class Row:
    """An agent that goes to goals of one class; steps: of sampling, for those that imagine."""

    agent: str
    steps: int | None
    distance: float
    visible: bool

    @property
    def name(self) -> str:
        if self.steps is None:
            return self.agent
        return f"{self.agent}, {self.steps} step{'s' if self.steps > 1 else ''}"

    def file(self, folder: Path, device: str) -> Path:
        """Its record."""
        parts = [f"{self.distance:g}m", "seen" if self.visible else "hidden", self.name]
        parts += ["gpu"] if device == "cuda" else []
        return folder / ("-".join(parts).replace(", ", "-").replace(" ", "-") + ".json")


def measure(row: Row, arguments: argparse.Namespace, folder: Path) -> None:
    """Measure a row and write its record, unless it is there."""
    path = row.file(folder, arguments.device)
    settings = picked(arguments, "planner", "candidates", "rounds", "rooms", "seed")
    settings |= {"horizon": HORIZON, "every": EVERY}
    networks = []
    if row.agent in MODELS:
        export, how = MODELS[row.agent]
        networks = [getattr(arguments, export)]
        settings |= {"export": Path(networks[0]).name, "steps": row.steps}
        settings["how"] = {"chain": str(how.chain), "dtype": str(how.dtype)}
    record = provenance(arguments.seed, arguments.device, weights=networks)
    if path.is_file():
        before = checked_record(path, settings).get("weights")
        same = before in (None, record.get("weights"))  # early records name none
        of = "" if same else ", of other weights than these: remove it to measure anew"
        print(f"{path.name}: is there{of}")
        return
    record |= {"settings": settings, "agent": row.agent, "name": row.name}
    record |= {"distance_metres": row.distance, "visible": row.visible}
    found = arrivals(row, _agent(row, arguments), arguments.rooms)
    write(path, record | found)
    print(f"{path.name}: {found['success']:.0f}% {found['ci95']}", flush=True)


def checked_record(path: Path, settings: Record) -> Record:
    """The record of a row; ValueError where it was measured with other settings."""
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    if record["settings"] != settings:
        raise ValueError(
            f"{path.name} was measured with {record['settings']}, now asked for is {settings}: "
            f"remove the file, or give another folder as --results."
        )
    return record


def arrivals(row: Row, agent: Agent, rooms: int) -> Record:
    """How often an agent arrives, in percent with a 95% interval over rooms; seconds of a plan."""
    tasks = make_tasks(rooms, distance=row.distance, visible=row.visible)
    max_steps = time_allowed(row.distance, row.visible)
    began = time.perf_counter()
    runs = [act_out(task, agent, max_steps) for task in tqdm(tasks, row.name, leave=False)]
    seconds = time.perf_counter() - began
    arrived = torch.tensor([100.0 * run.success for run in runs]).numpy()
    plans = len(runs) * math.ceil(max_steps / EVERY)
    return {
        "success": round(float(arrived.mean()), 1),
        "ci95": [round(x, 1) for x in interval(arrived) or ()],
        "reached": round(100.0 * sum(run.reached for run in runs) / len(runs), 1),
        "metres": round(sum(run.metres for run in runs) / len(runs), 3),
        "degrees": round(sum(run.degrees for run in runs) / len(runs), 1),
        "seconds_per_plan": round(seconds / plans, 3),
        "each": [bool(run.success) for run in runs],
    }


def _agent(row: Row, arguments: argparse.Namespace) -> Agent:
    planner: Planner = planner_of(arguments.planner, arguments.candidates, arguments.rounds)
    if row.agent in MODELS:
        export, how = MODELS[row.agent]
        model = WorldModel.from_pretrained(getattr(arguments, export)).to(arguments.device)
        stops = row.agent.endswith(STOPS)
        how = replace(how, steps=row.steps)
        return with_model(model, planner, how, seed=arguments.seed, stops=stops)
    return agent_without(row.agent, planner, row.distance, arguments.seed)


def agent_without(name: str, planner: Planner, distance: float, seed: int) -> Agent:
    """One of `WITHOUT`: who needs no world model."""
    agents: dict[str, Callable[[], Agent]] = {
        SIMULATOR: lambda: SimulatorAgent(planner, seed=seed),
        SIMULATOR + STOPS: lambda: SimulatorAgent(planner, seed=seed, stops=True),
        "straight ahead": lambda: StraightAhead(distance),
        "oracle bearing": Oracle,
        "random": lambda: Random(seed),
    }
    return agents[name]()


def options(add: Callable[..., Any]) -> None:
    agents = [*WITHOUT, *MODELS]
    add("--agents", nargs="+", choices=agents, default=agents, metavar="NAME")
    add("--model", default=str(default_model()), help="an export")
    add("--prior", default=str(EXPORTS["P+"]), help="another export")
    add("--scratch", default=str(EXPORTS["S+"]), help="another export")
    add("--rooms", type=positive, default=ROOMS)
    add("--planner", default=PLANNER)
    add("--candidates", type=positive, default=CANDIDATES, help="sequences in the first round")
    add("--rounds", type=positive, default=ROUNDS, help="rounds of the planner")
    add("--steps", type=positive, nargs="+", default=[1], help="of sampling")
    add("--distances", type=float, nargs="+", default=[2.0], help="metres")
    add("--hidden", action="store_true", help="goals outside the view as well")
    add("--seed", type=int, default=0)
    add("--device", choices=("cpu", "cuda"), default=best_device())
    add("--results", type=Path, default=RESULTS, help="folder that is written")


def work(arguments: argparse.Namespace) -> None:
    """Each model with each number of steps."""
    steps = dict.fromkeys(MODELS, arguments.steps)
    for visible in (True, False) if arguments.hidden else (True,):
        for metres in arguments.distances:
            for agent in arguments.agents:
                for number in steps.get(agent, [None]):
                    row = Row(agent, number, metres, visible)
                    measure(row, arguments, arguments.results / "planning")


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
