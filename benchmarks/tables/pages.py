"""Rewrites the marked blocks of the documentation from the files in benchmarks/results/.

A block lies between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; BLOCKS says what NAME shows.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import RESULTS, ROOT
from benchmarks.speed.comparisons import COMPARISONS, GUIDANCES, Comparison
from benchmarks.tables import claims as claim_tables
from benchmarks.tables import data as data_tables
from benchmarks.tables import experiment as experiment_tables
from benchmarks.tables import planning as planning_tables
from benchmarks.tables import scs as scs_tables
from benchmarks.tables import training as training_tables
from benchmarks.tables.markdown import MISSING, Record, read, source, table

BLOCK = re.compile(r"(<!-- ([\w-]+):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)
MARKER = re.compile(r"<!-- ([\w-]+):(begin|end) -->")


def rollout(results: Path) -> str:
    """Speed of the rollout, on a CPU and on a GPU."""
    files = {"CPU": results / "rollout.json", "GPU": results / "rollout-gpu.json"}
    records = {device: read(path) for device, path in files.items()}
    head = (
        "device",
        "guidance",
        "egowm",
        "stock pipeline",
        "speed ratio, median (min to max)",
        "target",
        "seconds, egowm / stock",
    )
    rows = [
        (device, f"{guidance:g}", c.name, c.against, *_measured(record, guidance, c))
        for device, record in records.items()
        for guidance in GUIDANCES
        for c in COMPARISONS
    ]
    notes = [_rollout_note(device, record) for device, record in records.items() if record]
    return "\n".join([table(head, rows), *(f"\n{note}" for note in notes)])


def _measured(record: Record | None, guidance: float, wanted: Comparison) -> Sequence[str]:
    """The last three cells of a row: ratio, target, seconds."""
    for row in record["rows"] if record else ():
        if (row["name"], row["against"], row["guidance"]) == (*wanted[:2], guidance):
            low, high = row["ratio_min"], row["ratio_max"]
            ratio = f"{row['ratio_median']:.2f} ({low:.2f} to {high:.2f})"
            verdict = "" if row["ratio_median"] >= row["target"] else ", missed"
            taken = f"{row['seconds_ours']:.3g} / {row['seconds_theirs']:.3g}"
            return ratio + verdict, f"{row['target']:g}", taken
    return MISSING, f"{wanted.target:g}", ""


def _rollout_note(device: str, record: Record) -> str:
    settings, rows = record["settings"], record["rows"]
    chunks = {row["stock_decode_chunk_size"] for row in rows if "num_videos" in row["against"]}
    decoded = ", ".join(str(size) for size in sorted(chunks))
    size = f"{settings['height']}x{settings['width']}"
    return (
        f"{device}: {source(record)}. {settings['frames']} frames of {size}, {settings['steps']} "
        f"steps, {settings['dtype']}, `{settings['prior']}`; {rows[0]['repeats']} pairs; stock "
        f"`decode_chunk_size` for 16 videos: {decoded} ({settings['decoder']})."
    )


BLOCKS: dict[str, Callable[[Path], str]] = {
    "rollout": rollout,
    "rooms": experiment_tables.rooms,
    "claims": claim_tables.claims,
    "headline": experiment_tables.headline,
    "transformer": experiment_tables.transformer,
    "rates": experiment_tables.rates,
    "ablations": experiment_tables.ablations,
    "planning": planning_tables.planning,
    "planning-memory": planning_tables.memory,
    "decode-window": planning_tables.windows,
    "scs-speed": scs_tables.speed,
    "scs-real": scs_tables.real,
    "scs-truth": scs_tables.truth,
    "data": data_tables.speed,
    "listing": data_tables.listing,
    "stored": data_tables.stored,
    "training": training_tables.training,
    "training-card": training_tables.card,
    "foretold": training_tables.foretold,
}


def rewrite(text: str, results: Path) -> str:
    """A page with each marked block made anew.

    Raises ValueError for a block that nothing makes, and for a begin without its end.
    """
    found = [name for _, name, _ in BLOCK.findall(text)]
    for name, _ in MARKER.findall(text):
        if name not in BLOCKS:
            raise ValueError(f"Nothing makes the block {name}: expected {', '.join(BLOCKS)}.")
        if name not in found:
            raise ValueError(f"Expected {name}:begin before {name}:end, each on its own line.")

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}{BLOCKS[match[2]](results)}\n{match[3]}"

    return BLOCK.sub(fill, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite pages and print those that changed; 2 where a page or a result is unusable."""
    parser = argparse.ArgumentParser(prog=Path(__file__).stem, description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and docs/*.md")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    for page in arguments.pages or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        try:
            text = page.read_text(encoding="utf-8")
            changed = rewrite(text, arguments.results)
        except (OSError, ValueError, KeyError) as error:
            print(f"benchmarks/tables/pages.py: {page}: {error}", file=sys.stderr)
            return 2
        if changed != text:
            temporary = page.with_name(f".{page.name}.tmp")
            temporary.write_text(changed, encoding="utf-8")
            temporary.replace(page)
            print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
