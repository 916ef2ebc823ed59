"""Rewrites the marked blocks of the documentation from the files in benchmarks/results/.

A block lies between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; BLOCKS says what NAME shows.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from comparisons import COMPARISONS, GUIDANCES, Comparison
from provenance import RESULTS, ROOT

Record = dict[str, Any]
MISSING = "not yet measured"
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


def obedience(results: Path) -> str:
    """PSNR and SCS of the committed world model under true and wrong actions."""
    record = read(results / "obedience.json")
    head = ("actions", "PSNR, dB", "SCS")
    if record is None:
        return table(head, [(MISSING, "", "")])
    rows = [
        (row["name"], _psnr(row), "" if row["scs"] is None else f"{row['scs']:.1f}")
        for row in record["rows"]
    ]
    gap = record["true_minus_shuffled"]
    return (
        f"{table(head, rows)}\n\nTrue minus shuffled: {_psnr(gap)} dB; true wins in "
        f"{gap['clips_where_true_wins']} of {record['clips']} clips. {source(record)}."
    )


def _psnr(row: Record) -> str:
    interval = " to ".join(f"{value:.2f}" for value in row["ci95"])
    return f"{row['psnr']:.2f}" + (f" [{interval}]" if interval else "")


BLOCKS: dict[str, Callable[[Path], str]] = {"rollout": rollout, "obedience": obedience}


def read(path: Path) -> Record | None:
    """A result, or None where nothing was measured yet."""
    if not path.is_file():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def source(record: Record) -> str:
    """Where a result comes from, in one clause."""
    commit = (record["commit"] or "unknown")[:10] + (", with changes" if record["dirty"] else "")
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    machine = f"{record['device_name']} ({record['threads']} threads; {versions})"
    return (
        f"`{record['command']}` at commit {commit}, seed {record['seed']}, {record['date'][:10]}, "
        f"on {machine}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines
    )


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
    parser = argparse.ArgumentParser(prog="benchmarks/tables.py", description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and docs/*.md")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    for page in arguments.pages or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        try:
            text = page.read_text(encoding="utf-8")
            changed = rewrite(text, arguments.results)
        except (OSError, ValueError, KeyError) as error:
            print(f"benchmarks/tables.py: {page}: {error}", file=sys.stderr)
            return 2
        if changed != text:
            temporary = page.with_name(f".{page.name}.tmp")
            temporary.write_text(changed, encoding="utf-8")
            temporary.replace(page)
            print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
