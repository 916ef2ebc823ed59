"""Finds records in benchmarks/results/ that cannot be traced, and says so in them.

    python -m benchmarks.tracing          # lists them; 1 where a record does not say it itself
    python -m benchmarks.tracing --mark   # writes the reasons into the records, as `untraceable`
    python -m benchmarks.tracing --mark --record arms/RUN.json --because "its data are lost"

A record can be traced where its commit is in the history and the weights that it measured lie in
priors/ or benchmarks/exports/, under whatever name: those that shipped once move to the latter. The
tables show the mark; `make tables` rewrites them. It goes when the record is measured again.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, ROOT, Record, history, write
from egowm.backbones.base import weights_sha256

FOLDERS = (ROOT / "priors", ROOT / "benchmarks/exports")


def parts(record: Any) -> Iterator[Record]:
    """A record and the records within it: whatever names the commit that it was measured at."""
    if isinstance(record, dict) and {"commit", "dirty"} <= record.keys():
        yield record
    if isinstance(record, dict | list):
        for value in record.values() if isinstance(record, dict) else record:
            yield from parts(value)


def reasons(record: Record, commits: frozenset[str] | None) -> list[str]:
    """Why a record cannot be traced.

    commits: the history; None where it is not at hand, and nothing is said about the commit then.
    """
    found = []
    if record["commit"] is None:
        found.append("its commit is not known")
    elif commits is not None and record["commit"] not in commits:
        found.append("its commit is not in the history")
    for name, sha256 in record.get("weights", {}).items():
        if sha256 in _held():
            continue
        held = [folder / name for folder in FOLDERS if (folder / name).is_dir()]
        if held:
            found.append(f"`{held[0].parent.name}/{name}` has other weights by now")
        else:
            found.append(f"{name} is not among the priors and exports")
    return found


@cache
def _held() -> frozenset[str]:
    """The hashes of all priors and exports; what lies beside them holds no weights."""
    beside = [path for folder in FOLDERS if folder.is_dir() for path in folder.iterdir()]
    return frozenset(weights_sha256(path) for path in beside if any(path.rglob("*.safetensors")))


def mark(record: Record, why: Sequence[str]) -> bool:
    """Write reasons into a record; whether it did not say them yet."""
    said = record.get("untraceable", "")
    missing = [reason for reason in why if reason not in said]
    if missing:
        record["untraceable"] = "; ".join([said, *missing] if said else missing)
    return bool(missing)


def examine(
    path: Path, commits: frozenset[str] | None, because: str
) -> tuple[Record, list[Record]]:
    """A file's record with all reasons written into it, and the parts that did not say them yet.

    because: a reason of one's own, for the whole file.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    changed = []
    for part in parts(record):
        own = [because] if because and part is record else []
        if mark(part, reasons(part, commits) + own):
            changed.append(part)
    return record, changed


def main(argv: Sequence[str] | None = None) -> int:
    """Print each record that does not say its reasons; 1 where one is left so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mark", action="store_true", help="write the reasons into the records")
    parser.add_argument("--record", help="one file below --results instead of all")
    parser.add_argument("--because", default="", help="a reason of your own, for --record")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.because and not args.record:
        parser.error("--because says something about one --record: name it")
    commits = history()
    if commits is None:
        print("No history here: only weights are compared.", file=sys.stderr)
    left = 0
    paths = [args.results / args.record] if args.record else sorted(args.results.rglob("*.json"))
    for path in paths:
        record, changed = examine(path, commits, args.because)
        name = path.relative_to(args.results).as_posix()
        for part in changed:
            print(": ".join(word for word in (name, part.get("run"), part["untraceable"]) if word))
        if changed and args.mark:
            write(path, record)
        left += len(changed) * (not args.mark)
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
