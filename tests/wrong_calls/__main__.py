"""All wrong calls: `python -m tests.wrong_calls [NAME ...]` prints what came of them as JSON."""

import json
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.wrong_calls import encoders, models, planners, scores
from tests.wrong_calls.call import Call
from tests.wrong_calls.verdict import REFUSED, WORKS


def registry(folder: Path) -> Iterator[Call]:
    """Every right call; folder: an empty one."""
    made = models.Models()
    yield from models.calls(made, folder)
    yield from planners.calls(made)
    yield from scores.calls(folder)
    yield from encoders.calls(folder)


def main(names: list[str]) -> int:
    logging.disable()
    warnings.simplefilter("ignore")
    totals: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        os.chdir(folder)  # what is written by a name that means nothing lies there
        for call in registry(Path(folder)):
            if names and not any(name in call.name for name in names):
                continue
            found = [(what, call.verdict(given, no)) for what, given, no in call.wrong()]
            found.insert(0, ("nothing", call.verdict(call.right)))
            kinds = Counter(v if v in (WORKS, REFUSED) else "fault" for _, v in found)
            print(f"{call.name:40}{dict(kinds)}", flush=True)
            for what, came in found:
                if came not in (WORKS, REFUSED):
                    print(f"    {what:34} {came}")
            totals.update(kinds)
    print(json.dumps({"calls": totals.total(), **totals}))
    return int(totals["fault"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
