"""Who arrives at a picture's place in unseen rooms, acting in the true simulator.

A row is an agent and a class of goals: how far, seen from the start or not. Each is a file in
`results/planning/`, written as soon as it is measured and not measured again.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.measure import provenance, write
from egowm.commands.plan import planner_of
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
from egowm.planning.mpc import Planner
from egowm.sampling import Sampling
from egowm.scs.bootstrap import interval
from egowm.world_model import WorldModel

Record = dict[str, Any]

# The quick way to imagine, and the way of chained calls of diffusers' pipeline, which is not called
# here (candidates.py finds both to make the same frames, in float32).
QUICK = Sampling(chain="latents_only", dtype=torch.bfloat16)
BY_PIXELS = Sampling(chain="pixels", dtype=torch.bfloat16)
MODELS = {
    "ours": ("model", QUICK),
    "from scratch": ("scratch", QUICK),
    "ours by pixels": ("model", BY_PIXELS),
}
WITHOUT = ("simulator as model", "straight ahead", "oracle bearing", "random")


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


def rows_of(arguments: Any) -> list[Row]:
    """All that are asked for; ours with each number of steps, other models with the fewest."""
    steps = {agent: [min(arguments.steps)] for agent in MODELS} | {"ours": arguments.steps}
    classes = [(d, v) for v in ((True, False) if arguments.hidden else (True,))
               for d in arguments.distances]  # fmt: skip
    agents = [(agent, n) for agent in arguments.agents for n in steps.get(agent, [None])]
    return [Row(agent, n, *goal) for goal in classes for agent, n in agents]


def measure(row: Row, arguments: Any, folder: Path) -> None:
    """Measure a row and write its record, unless it is there."""
    path = row.file(folder, arguments.device)
    names = ("planner", "candidates", "rounds", "rooms", "seed")
    settings = {name: getattr(arguments, name) for name in names}
    settings |= {"horizon": HORIZON, "every": EVERY}
    if row.agent in MODELS:
        export, how = MODELS[row.agent]
        settings |= {"export": Path(getattr(arguments, export)).name, "steps": row.steps}
        settings["how"] = {"chain": str(how.chain), "dtype": str(how.dtype)}
    if path.is_file():
        check_settings(path, settings)
        print(f"{path.name}: is there")
        return
    networks = [getattr(arguments, MODELS[row.agent][0])] if row.agent in MODELS else []
    record = provenance(arguments.seed, arguments.device, weights=networks)
    record |= {"settings": settings}
    record |= {"agent": row.agent, "name": row.name}
    record |= {"distance_metres": row.distance, "visible": row.visible}
    found = arrivals(row, _agent(row, arguments), arguments.rooms)
    write(path, record | found)
    print(f"{path.name}: {found['success']:.0f}% {found['ci95']}", flush=True)


def check_settings(path: Path, settings: Record) -> None:
    """ValueError where a row was measured with others."""
    there = json.loads(path.read_text(encoding="utf-8"))["settings"]
    if there != settings:
        raise ValueError(
            f"{path.name} was measured with {there}, now asked for is {settings}: remove the file, "
            f"or give another folder as --results."
        )


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


def _agent(row: Row, arguments: Any) -> Agent:
    planner: Planner = planner_of(arguments.planner, arguments.candidates, arguments.rounds)
    if row.agent in MODELS:
        export, how = MODELS[row.agent]
        model = WorldModel.from_pretrained(getattr(arguments, export)).to(arguments.device)
        return with_model(model, planner, replace(how, steps=row.steps), seed=arguments.seed)
    others: dict[str, Callable[[], Agent]] = {
        "simulator as model": lambda: SimulatorAgent(planner, seed=arguments.seed),
        "straight ahead": lambda: StraightAhead(row.distance),
        "oracle bearing": Oracle,
        "random": lambda: Random(arguments.seed),
    }
    return others[row.agent]()
