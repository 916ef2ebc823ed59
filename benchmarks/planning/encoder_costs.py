"""Who arrives when an image encoder says how far an imagined frame is from the goal.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.planning.encoder_costs --folder ~/encoders &

Exports of `benchmarks.experiment.encoders`, pixels and an untrained network, in unseen rooms, each
row the same tasks. The simulator imagines, so that the cost alone is judged; with --model the world
model of 33,550 steps does (`EARLIER`), and its latents are one more row. The robot may stop where
no imagined frame is nearer. What is expected: patches of a trained encoder lead no worse than
pixels, and better than untrained ones. At 2 m nearly every robot arrived by every cost; at 4 m the
goal is beyond what eight actions reach, so a difference would show there.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.experiment.arms import EARLIER
from benchmarks.experiment.encoders import ARMS, REFERENCE, export_of, model_of
from benchmarks.experiment.lives import exports
from benchmarks.measure import RESULTS, Script, positive, provenance, read, write
from benchmarks.planning.arrivals import QUICK, Row, arrivals
from egowm import WorldModel
from egowm.commands.work.plan import planner_of
from egowm.encoder import Encoder
from egowm.evaluation.agents import Compared, PlanningAgent, SimulatorAgent, with_model
from egowm.planning import features

RECORD = RESULTS / "encoder-costs.json"
SIMULATOR, MODEL = "simulator", "world model"


class Asked(NamedTuple):
    """A row that is asked for: what is compared, the seed of its encoder, and the task: who
    imagines, how many metres away the goal is, the candidates of a round and the rooms."""

    cost: str
    seed: int
    imagines: str
    distance: float
    candidates: int
    rooms: int


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports, outside the tree")
    add("--seeds", type=positive, default=3)
    add("--only", nargs="+", metavar="COST", help="compare by these encoders alone")
    add("--rooms", type=positive, default=50, help="rooms that are driven in")
    add("--trained", type=positive, default=256, help="rooms that encoders were trained in")
    add("--distance", type=float, default=2.0, help="metres")
    add("--candidates", type=positive, default=32)
    add("--rounds", type=positive, default=3)
    add("--model", action="store_true", help="the world model of 33,550 steps imagines")
    add("--record", type=Path, default=RECORD)


def work(arguments: argparse.Namespace) -> None:
    record = read(arguments.record) or {"rows": []}
    about = provenance(0, device="cpu", weights=[EARLIER] if arguments.model else [])
    about["command"] = about["command"].replace(str(Path.home()), "~")
    about["weights"] = record.get("weights", {}) | about.get("weights", {})
    known = {tuple(row[key] for key in Asked._fields) for row in record["rows"]}
    folder = arguments.folder.expanduser()
    imagines = MODEL if arguments.model else SIMULATOR
    task = (imagines, arguments.distance, arguments.candidates, arguments.rooms)
    for asked in rows(arguments.seeds, task):
        left_out = tuple(asked) in known or asked.cost not in (arguments.only or [asked.cost])
        by = None if left_out else compared(asked, folder, arguments.trained)
        if by is None:
            continue
        if export := export_for(asked, folder, arguments.trained):
            about["weights"] |= provenance(0, "cpu", weights=[export])["weights"]
        row = Row(asked.cost, None, asked.distance, True)
        planner = planner_of("icem", asked.candidates, arguments.rounds)
        found = asked._asdict() | arrivals(row, agent(asked, planner, by), asked.rooms)
        record["rows"].append(found | {"made_at": about["commit"]})
        write(arguments.record, record | about)
        print({key: found[key] for key in ("cost", "seed", "success", "ci95")}, flush=True)


def rows(seeds: int, task: tuple[str, float, int, int]) -> Iterator[Asked]:
    """The first seed of all, then the others."""
    yield Asked("pixels", 0, *task)
    if task[0] == MODEL:
        yield Asked("latents", 0, *task)
    for seed in range(seeds):
        for cost in ("untrained", *ARMS):
            yield Asked(cost, seed, *task)


def export_for(asked: Asked, folder: Path, trained_in: int) -> Path | None:
    """The encoder's; None where it is missing, and for costs that need none."""
    found = exports(export_of(asked.cost, asked.seed, folder, trained_in))
    return found[-1] if found else None


def compared(asked: Asked, folder: Path, trained_in: int) -> Compared | None:
    """None where the export is missing."""
    if asked.cost in ("pixels", "latents"):
        return asked.cost  # type: ignore[return-value]
    if asked.cost == "untrained":
        network = untrained(asked.seed)
    elif export := export_for(asked, folder, trained_in):
        network = Encoder.from_pretrained(export)
    else:
        print(f"{asked.cost}, seed {asked.seed}: no export in {folder}")
        return None
    return lambda goal: features.encoder(goal, network)


def untrained(seed: int) -> Encoder:
    torch.manual_seed(seed)
    model = model_of(ARMS[REFERENCE])
    model.configure_model()
    return model.encoder()


def agent(asked: Asked, planner: Any, by: Compared) -> PlanningAgent:
    if asked.imagines == SIMULATOR:
        return SimulatorAgent(planner, stops=True, by=by)
    model = WorldModel.from_pretrained(EARLIER)
    return with_model(model, planner, QUICK, by=by, stops=True)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
