"""What `egowm plan` does in the rooms; `plan_pictures` does it for pictures of your own."""

import argparse
import sys
from functools import partial
from typing import Any

import torch

from egowm.commands.device_option import chosen_device
from egowm.commands.launching import Launch
from egowm.commands.work.plan_pictures import plan_pictures
from egowm.commands.work.plan_rooms import plan_rooms
from egowm.encoder import Encoder
from egowm.evaluation.agents import Compared, SimulatorAgent, with_model
from egowm.files import FolderKind
from egowm.latent import from_pretrained
from egowm.planning import Budget, cem, features, icem, mppi, random_shooting
from egowm.planning.mpc import Planner
from egowm.policies import Dreamer
from egowm.policies import from_pretrained as load_policy
from egowm.policies.agent import PolicyAgent, proposals
from egowm.sampling import Sampling
from egowm.shipped import default_model


def planner_of(name: str, candidates: int, rounds: int | Budget) -> Planner:
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


def run(args: argparse.Namespace, kind: FolderKind, launch: Launch | None = None) -> int:
    """Plan in each room, or from picture to picture; write plan.json and a film of each. kind: of
    the folder."""
    if args.picture is None:
        return plan_rooms(args, _agent, kind, launch)
    return plan_pictures(args, _model, _planner(args), _sampling(args), _compared(args), kind)


def _planner(args: argparse.Namespace) -> Planner:
    """The planner that was asked for, with a bar where somebody looks on."""
    budget = Budget(args.rounds, progress=sys.stderr.isatty())
    return planner_of(args.planner, args.candidates, budget)


def _agent(args: argparse.Namespace) -> Any:
    planner = _planner(args)
    ahead = {"horizon": args.horizon, "every": args.every, "seed": args.seed}
    ahead |= {"stops": args.stops, "watched": True, "by": _compared(args)}
    if args.simulator:
        return SimulatorAgent(planner, **ahead)
    policy = load_policy(args.policy).to(chosen_device(args)) if args.policy else None
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
    return from_pretrained(args.model or default_model(), base=args.base).to(chosen_device(args))


def _sampling(args: argparse.Namespace) -> Any:
    return Sampling(
        steps=args.steps, chain=args.chain, dtype=getattr(torch, args.dtype or "float32")
    )
