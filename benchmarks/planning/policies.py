"""Who goes to a picture in unseen rooms without planning: policies, cloned and learned in models.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.planning.policies --folder ~/policies \\
        --rssm ~/latent/rssm &

A policy is cloned from recordings, then goes on learning for the same CPU time in the diffusion
model of 33,550 steps (`EARLIER`), in RSSM, in an untrained RSSM (control) and in the true simulator
(upper bound); all are judged in the true simulator. Beside them: a search in the diffusion model,
with and without what the clone proposes. A row that is in the record is not measured again;
`--again` lets all but the searches drive once more, without training.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.experiment.arms import EARLIER
from benchmarks.experiment.latent_models import rooms, train
from benchmarks.measure import RESULTS, Record, Script, positive, provenance, read, write
from egowm.commands.work.plan import planner_of
from egowm.dynamics import Dynamics
from egowm.evaluation.agents import with_model
from egowm.evaluation.navigation import (
    Agent,
    Random,
    StraightAhead,
    act_out,
    make_tasks,
    time_allowed,
)
from egowm.evaluation.simulator import Simulator
from egowm.latent import RSSM
from egowm.policies import BehaviourCloning, Reinforce, from_pretrained
from egowm.policies.agent import PolicyAgent, proposals
from egowm.sampling import Sampling
from egowm.scs.bootstrap import interval
from egowm.world_model import WorldModel

RECORD = RESULTS / "policies.json"
CLONE = "behaviour cloning"
LEARNED = f"{CLONE}, then REINFORCE in "  # what rows of learners begin with; a world follows
WORLDS = ("the simulator", "the diffusion model", "RSSM", "an untrained RSSM")
SEARCH = "search in the diffusion model"
QUICK = Sampling(steps=1, chain="latents_only")
STEPS = 8  # of an imagined episode
SEED = 0


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports, outside the tree")
    add("--rssm", type=Path, required=True, help="RSSM's export, as latent_models writes it")
    add("--seconds", type=positive, default=600, help="CPU seconds of cloning")
    add("--more", type=positive, default=300, help="CPU seconds of learning in each world")
    add("--rooms", type=positive, default=50, help="unseen rooms")
    add("--episodes", type=positive, default=1024, help="training rooms")
    add("--candidates", type=positive, default=8, help="of a search's round")
    add("--rounds", type=positive, default=2)
    add("--again", action="store_true", help="judge again what does not search")
    add("--record", type=Path, default=RECORD)


def judged(agent: Agent, count: int) -> Record:
    """How often an agent arrives, in percent with a 95% interval over rooms, and how fast."""
    began = time.process_time()
    runs = [act_out(task, agent, time_allowed()) for task in make_tasks(count)]
    seconds = (time.process_time() - began) / (count * time_allowed())
    arrived = np.array([100.0 * run.success for run in runs])
    metres = np.array([run.metres for run in runs])
    return {
        "success": round(float(arrived.mean()), 1),
        "ci95": [round(x, 1) for x in interval(arrived) or ()],
        "reached": round(100.0 * sum(run.reached for run in runs) / count, 1),
        "metres": round(float(metres.mean()), 3),
        "metres_ci95": [round(x, 3) for x in interval(metres) or ()],
        "cpu_seconds_per_action": round(seconds, 4),
        "each": [bool(run.success) for run in runs],
        "each_metres": [round(float(x), 3) for x in metres],
    }


def work(arguments: argparse.Namespace) -> None:
    record = read(arguments.record) or {"rows": []}
    about = provenance(SEED, device="cpu", weights=[EARLIER])
    about["command"] = about["command"].replace(str(Path.home()), "~")
    known = {row["row"]: row for row in record["rows"]}
    for name, make in rows(arguments).items():
        if name not in known:
            record["rows"].append(known.setdefault(name, {"row": name}))
            agent, more = make()
            more |= {"made_at": about["commit"]}
        elif arguments.again and not name.startswith(SEARCH):
            agent, more = again(arguments, name, make)
            more |= {"judged_at": about["commit"]}
        else:
            continue
        known[name] |= more | judged(agent, arguments.rooms)
        write(arguments.record, record | about)  # rows of earlier runs say at which commit
        print({k: v for k, v in known[name].items() if not k.startswith("each")}, flush=True)


def again(
    arguments: argparse.Namespace, name: str, make: Callable[[], tuple[Agent, Record]]
) -> tuple[Agent, Record]:
    """Who drove before: a policy by its export."""
    if not name.startswith(CLONE):
        return make()
    export = folder_of(arguments, name.removeprefix(LEARNED))
    return PolicyAgent(from_pretrained(export)), {}


def rows(arguments: argparse.Namespace) -> dict[str, Callable[[], tuple[Agent, Record]]]:
    """What makes each row's agent, in an order in which what one needs is there."""
    made: dict[str, Callable[[], tuple[Agent, Record]]] = {
        "random": lambda: (Random(SEED), {}),
        "straight ahead": lambda: (StraightAhead(), {}),
        CLONE: partial(cloned, arguments),
    }
    for world in WORLDS:
        made[LEARNED + world] = partial(reinforced, arguments, world)
    for proposing in (False, True):
        more = " around what the clone proposes" if proposing else ""
        made[SEARCH + more] = partial(searched, arguments, proposing)
    return made


def data_of(arguments: argparse.Namespace, batch: int) -> Any:
    return rooms("rooms_rssm", arguments.episodes, 2, batch)


def recorded(arguments: argparse.Namespace) -> float:
    """Robot seconds of the recordings."""
    data = data_of(arguments, 1)
    return round(arguments.episodes * (data.num_frames - 1) / data.meaning.rate_hz)


def folder_of(arguments: argparse.Namespace, name: str) -> Path:
    folder: Path = arguments.folder.expanduser() / name.replace(" ", "_")
    return folder


def cloned(arguments: argparse.Namespace) -> tuple[Agent, Record]:
    torch.manual_seed(SEED)
    policy = BehaviourCloning()
    trained = train(policy, data_of(arguments, 16), arguments.seconds, SEED)
    policy.save_pretrained(folder_of(arguments, CLONE))
    return PolicyAgent(policy), trained | {"robot_seconds": recorded(arguments)}


def reinforced(arguments: argparse.Namespace, world: str) -> tuple[Agent, Record]:
    data = data_of(arguments, 4)
    clone = BehaviourCloning.from_pretrained(folder_of(arguments, CLONE))
    data.setup("fit")
    torch.manual_seed(SEED)
    chain = QUICK.chain if world == "the diffusion model" else None
    start = str(folder_of(arguments, CLONE))
    policy = Reinforce(world, start, steps=STEPS, chain=chain, stop_at=clone.stop_at)
    policy.spec = data.spec
    policy.use(world_of(world, data, arguments), clone)
    trained = train(policy, data, arguments.more, SEED)
    policy.save_pretrained(folder_of(arguments, world))
    seconds = recorded(arguments)
    if world == "the simulator":
        futures = trained["steps"] * data.batch_size * policy.samples
        seconds += round(futures * STEPS / data.meaning.rate_hz)
    return PolicyAgent(policy), trained | {"robot_seconds": seconds}


def world_of(name: str, data: Any, arguments: argparse.Namespace) -> Dynamics:
    if name == "the simulator":
        return Simulator(data)
    if name == "RSSM":
        return RSSM.from_pretrained(arguments.rssm.expanduser())
    if name == "an untrained RSSM":
        model = RSSM(spec=data.spec)
        model.configure_model()
        return model.eval()
    return WorldModel.from_pretrained(EARLIER)


def searched(arguments: argparse.Namespace, proposing: bool) -> tuple[Agent, Record]:
    model = WorldModel.from_pretrained(EARLIER)
    planner, proposed = planner_of("cem", arguments.candidates, arguments.rounds), None
    if proposing:
        clone = BehaviourCloning.from_pretrained(folder_of(arguments, CLONE))
        proposed = proposals(clone, model, QUICK, horizon=8, samples=arguments.candidates)
    agent = with_model(model, planner, QUICK, seed=SEED, propose=proposed)
    return agent, {"candidates": arguments.candidates, "rounds": arguments.rounds}


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
