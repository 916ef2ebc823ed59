"""Tables of what scores are worth: models by arrivals, and each score's rank agreement."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.planning.graded_models import GRADED
from benchmarks.planning.rank_agreement import Ranked, agreement, ranked, with_interval
from benchmarks.planning.scores_and_arrivals import BLOCK, FOLDER, WITHOUT, file_of
from benchmarks.tables.markdown import MISSING, Columns, lines_of, ranged, source, table
from egowm.scs.bootstrap import interval

SAID = {
    "gain": "SCS, less that under another clip's actions",
    "psnr_gain": "PSNR, less that under another clip's actions",
    "following": "error of the motion seen by flow (lower is better)",
    "scs": "SCS, 16 frames",
    "stepped": "SCS of single steps from true frames",
    "still": "SCS when told to stand still",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "latents": "distance of VAE latents (lower is better)",
    "loss": "training loss at high noise (lower is better)",
}
FAIR = ("trained", "between two", "noise")  # not misled about its actions


def known(results: Path) -> tuple[list[Record], list[list[Record]]]:
    """Records of scores, and of arrivals in the rooms that all of these models have."""
    folder = results / FOLDER
    scored = [r for graded in GRADED if (r := read(file_of(folder, graded.name)))]
    blocks = [blocks_of(results, record["name"]) for record in scored]
    scored = [record for record, found in zip(scored, blocks, strict=True) if found]
    blocks = [found for found in blocks if found]
    least = min(map(len, blocks), default=0)
    return scored, [found[:least] for found in blocks]


def blocks_of(results: Path, name: str) -> list[Record]:
    """Arrivals of one model, block after block until one is missing."""
    found: list[Record] = []
    while record := read(file_of(results / FOLDER, name, BLOCK * len(found))):
        found.append(record)
    return found


def numbered(results: Path) -> list[Record]:
    """One row a model, the one that arrives most often first."""
    rows = [_row(*pair) for pair in zip(*known(results), strict=True)]
    rows.sort(key=lambda r: (-r["arrived"].mean(), r["metres"].mean()))
    return [row | {"number": str(k + 1)} for k, row in enumerate(rows)]


def models(results: Path) -> str:
    """One line a model; then those without a model."""
    scored, blocks = known(results)
    rows, count = numbered(results), len(blocks[0]) if blocks else 0
    for name in WITHOUT if count else ():
        if found := blocks_of(results, name)[:count]:
            rows.append(_row(found[0], found) | {"number": ""})
    parts = [table(MODELS, lines_of(MODELS, rows))]
    if scored:
        size = f"{scored[0]['settings']['clips']} clips, {BLOCK * count} rooms."
        parts.append(f"{size} Scores: {source(scored[0])}. Arrivals: {source(blocks[0][0])}.")
        parts += _doubts([*scored, *(r for found in blocks for r in found)])
    return "\n\n".join(parts)


def taus(results: Path) -> str:
    """One line a score, the one that agrees best with the robots first."""
    scored, blocks = known(results)
    columns = ["score", "tau with arrivals [95%]", "with metres left [95%]",
               "with arrivals, none misled [95%]"]  # fmt: skip
    if len(scored) < 3:
        return table(columns, [])
    everyone = ranked(scored, blocks)
    fair = everyone.only([record["kind"] in FAIR for record in scored])
    parts = [
        agreement(everyone, _arrivals),
        agreement(everyone, lambda found: -found.metres),
        agreement(fair, _arrivals) if len(fair.names) > 2 else {},
    ]
    order = sorted(parts[0], key=lambda name: -parts[0][name][0])
    lines = [(SAID[name], *(_tau(part, name) for part in parts)) for name in order]
    gap = parts[0]["gain"] - parts[0]["psnr"]
    said = f"The gain's tau less PSNR's: {ranged(*with_interval(gap), '.2f')}."
    return "\n\n".join([table(columns, lines), said, *_doubts(scored)])


def _arrivals(found: Ranked) -> np.ndarray:
    return found.arrived


def _tau(part: dict[str, np.ndarray], name: str) -> str:
    return ranged(*with_interval(part[name]), ".2f") if name in part else MISSING


def _row(record: Record, blocks: list[Record]) -> Record:
    means = {
        name: float(np.nanmean(np.array(values, float)))
        for name, values in record.get("scores", {}).items()
    }
    return {
        "name": record["name"],
        "kind": record["kind"],
        "means": means,
        "arrived": 100 * np.concatenate([np.array(b["arrived"], float) for b in blocks]),
        "metres": np.concatenate([b["metres"] for b in blocks]),
    }


def _doubts(records: list[Record]) -> list[str]:
    words = [word for word in ("dirty", "untraceable") if any(r.get(word) for r in records)]
    return [f"**{', '.join(words)}**: some of these records."] if words else []


def _mean(name: str, form: str, row: Record) -> str:
    return f"{row['means'][name]:{form}}" if name in row["means"] else ""


def _arrived(row: Record) -> str:
    return ranged(row["arrived"].mean(), interval(row["arrived"]) or (), ".0f")


def _cell(name: str, form: str) -> Callable[[Record], str]:
    return partial(_mean, name, form)


MODELS: Columns = {
    "": lambda r: r["number"],
    "model": lambda r: r["name"],
    "arrive, % [95%]": _arrived,
    "off, m": lambda r: f"{r['metres'].mean():.2f}",
    "SCS": _cell("scs", ".1f"),
    "gain": _cell("gain", ".1f"),
    "motion off": _cell("following", ".2f"),
    "single steps": _cell("stepped", ".1f"),
    "still": _cell("still", ".1f"),
    "PSNR": _cell("psnr", ".1f"),
    "SSIM": _cell("ssim", ".2f"),
    "latents off": _cell("latents", ".2f"),
    "loss": _cell("loss", ".3f"),
}
