"""Planning in the embedded rooms: who arrives, and how many candidates a second are imagined.

    python -m benchmarks.planning.planning   # all rows that are not there yet, then the speed
    python -m benchmarks.planning.planning --agents ours --steps 1 2 --only arrivals
    python -m benchmarks.planning.planning --only speed

Unseen rooms, a goal picture 2 m away that is seen from the start (--distances 1 2 4 --hidden: more
classes, for a GPU); arrived is within 0.5 m and 20 degrees at the end, acted out in the true
simulator. Rows: the simulator itself as the model, ours with the prior and from scratch, ours
chained by pixels (as calls of diffusers' pipeline would be), straight ahead, an oracle of the
bearing, random. Then candidates a second: see `candidates.py`.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.measure import RESULTS, provenance, write
from benchmarks.planning.arrivals import MODELS, WITHOUT, measure, rows_of
from benchmarks.planning.candidates import CHECKED, speed
from egowm.evaluation.agents import HORIZON
from egowm.shipped import default_model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=Path(__file__).stem,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    agents = (*WITHOUT, *MODELS)
    parser.add_argument("--agents", nargs="+", choices=agents, default=list(agents), metavar="NAME")
    parser.add_argument("--model", default=str(default_model()), help="an export")
    parser.add_argument("--scratch", default=f"{default_model()}-scratch", help="another export")
    parser.add_argument("--prior", default="priors/rooms-svd", help="a diffusers SVD folder")
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--planner", default="icem")
    parser.add_argument(
        "--candidates", type=int, default=32, help="action sequences in the first round"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the planner")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2], help="sampling steps")
    parser.add_argument("--distances", type=float, nargs="+", default=[2.0], help="metres")
    parser.add_argument("--hidden", action="store_true", help="goals outside the view as well")
    parser.add_argument("--timed", type=int, default=120, help="candidates that are timed")
    parser.add_argument("--frames", type=int, default=HORIZON, help="that each timed one imagines")
    parser.add_argument("--repeats", type=int, default=3, help="alternating runs of each side")
    parser.add_argument("--only", choices=("arrivals", "speed"), help="one half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder that is written")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    names = ("rooms", "candidates", "rounds", "repeats", "frames")
    if min(*(getattr(arguments, name) for name in names), *arguments.steps) < 1:
        raise ValueError(f"Expected --{', --'.join(names)} and --steps of at least 1.")
    if arguments.timed < CHECKED:
        raise ValueError(f"Expected --timed of at least {CHECKED}, got {arguments.timed}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each row, write a file for each; 2 where the input is unusable."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = _parser().parse_args(argv)
    try:
        _check(arguments)
        for row in rows_of(arguments) if arguments.only != "speed" else ():
            measure(row, arguments, arguments.results / "planning")
        if arguments.only != "arrivals":
            name = f"candidates{'-gpu' if arguments.device == 'cuda' else ''}.json"
            networks = (arguments.model, arguments.prior)
            record = provenance(arguments.seed, arguments.device, weights=networks)
            names = ("timed", "frames", "steps")
            record["settings"] = {key: getattr(arguments, key) for key in names}
            for key in ("model", "prior"):  # a folder's name: where it lies is nobody's business
                record["settings"][key] = Path(getattr(arguments, key)).name
            write(arguments.results / name, record | {"rows": speed(arguments)})
    except (OSError, ValueError) as error:
        print(f"benchmarks/planning/planning.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
