"""What `egowm collect` does."""

import argparse
import logging

from egowm.checks import counted
from egowm.paths import expanded
from egowm.policies.collector import Collector, Driven, NewestPolicy
from egowm.policies.live_robot import LiveRobot
from egowm.policies.replay_buffer import ReplayWriter
from egowm.worlds.recording import seed_of

log = logging.getLogger(__name__)
RECENT = 20  # episodes that the last line counts


def run(args: argparse.Namespace) -> int:
    """Drive episode by episode; Ctrl-C ends it, and what was driven is kept."""
    goal = None if args.goal is None else tuple(args.goal)
    size = (args.size, args.size)
    robot = LiveRobot(seed_of("test", args.room), size, args.fence, goal, args.turn)
    where = f"room {args.room}, goal {tuple(round(x, 3) for x in robot.goal)}"
    writer = ReplayWriter(args.output, size, robot.spec, f"{where}, fence {args.fence:g} m")
    collector = Collector(
        robot,
        writer,
        NewestPolicy(None if args.policy is None else expanded(str(args.policy)), robot),
        args.attempt,
        args.away,
        args.rate,
        (args.exposure, args.exposure_after),
        args.seed,
    )
    made: list[Driven] = []
    try:
        while writer.steps < args.steps:
            made.append(collector.episode())
            log.info(_line(made[-1]))
    finally:
        arrived = sum(one.arrived is not None for one in made)
        recent = made[-RECENT:]
        lately = sum(one.arrived is not None for one in recent)
        print(
            f"{args.output}: {counted(writer.steps, 'step')}; arrived in {arrived} of "
            f"{counted(len(made), 'episode')}, in {lately} of the last {len(recent)}",
            flush=True,
        )
    return 0


def _line(made: Driven) -> str:
    came = "missed" if made.arrived is None else f"arrived after {counted(made.arrived, 'step')}"
    return (
        f"step {made.steps}, by {made.by}: {came}, nearest {made.nearest:.2f} m, rewards "
        f"{made.rewards:.2f}"
    )
