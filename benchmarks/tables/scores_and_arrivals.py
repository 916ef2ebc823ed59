"""Tables of what scores are worth: models by arrivals, and each score's rank agreement."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.planning.graded_models import GRADED, Graded
from benchmarks.planning.rank_agreement import Ranked, agreement, ranked, with_interval
from benchmarks.planning.scores_and_arrivals import (
    BLOCK,
    DISTANCES,
    FOLDER,
    WITHOUT,
    arrivals_file,
    scores_file,
)
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
FEWEST = 4  # models, for a tau
TAUS = (
    "score",
    "tau with arrivals at 2 m [95%]",
    "with metres left",
    "with arrivals, none misled",
    "with arrivals at 3 m",
)
Blocks = list[list[Record]]
FAIR = ("trained", "between two", "noise")  # not misled about its actions


def known(results: Path, distance: float = DISTANCES[0]) -> tuple[list[Record], Blocks]:
    """Records of scores, and of arrivals in the rooms that all of these models have."""
    folder, scored, blocks = results / FOLDER, [], []
    for graded in GRADED:
        record, found = read(scores_file(folder, graded.name)), blocks_of(folder, graded, distance)
        if record and found:
            scored.append(record)
            blocks.append(found)
    least = min(map(len, blocks), default=0)
    return scored, [found[:least] for found in blocks]


def blocks_of(folder: Path, model: Graded | str, distance: float) -> list[Record]:
    """Arrivals of one model, block after block until one is missing."""
    found: list[Record] = []
    name = model if isinstance(model, str) else model.name
    while record := read(arrivals_file(folder, name, distance, BLOCK * len(found))):
        found.append(record)
    return found


def numbered(results: Path) -> list[Record]:
    """One row a model, the one that arrives most often first."""
    rows = [_row(*pair) for pair in zip(*known(results), strict=True)]
    far = {r["name"]: found for r, found in zip(*known(results, DISTANCES[1]), strict=True)}
    rows.sort(key=lambda r: (-r["arrived"].mean(), r["metres"].mean()))
    for number, row in enumerate(rows):
        row |= {"number": str(number + 1), "far": _arrived_in(far.get(row["name"], []))}
    return rows


def models(results: Path) -> str:
    """One line a model; then those without a model."""
    (scored, blocks), rows = known(results), numbered(results)
    far, count = known(results, DISTANCES[1])[1], len(blocks[0]) if blocks else 0
    went = [record for found in [*blocks, *far] for record in found]
    for name in WITHOUT if count else ():
        near, further = (blocks_of(results / FOLDER, name, metres) for metres in DISTANCES)
        if near:
            row = _row(near[0], near[:count]) | {"number": ""}
            distant = further[: len(far[0])] if far else []
            went += [*near[:count], *distant]
            rows.append(row | {"far": _arrived_in(distant)})
    parts = [table(MODELS, lines_of(MODELS, rows))]
    if scored:
        size = f"{scored[0]['settings']['clips']} clips, {BLOCK * count} rooms."
        parts.append(f"{size} Scores: {source(scored[0])}. Arrivals: {source(blocks[0][0])}.")
        parts += _doubts([*scored, *went])
    return "\n\n".join(parts)


def taus(results: Path) -> str:
    """One line a score, the one that agrees best with the robots first."""
    scored, blocks = known(results)
    if len(scored) < FEWEST:
        return table(TAUS, [])
    everyone = ranked(scored, blocks)
    fair = everyone.only([record["kind"] in FAIR for record in scored])
    distant = ranked(*known(results, DISTANCES[1]))
    parts = [
        agreement(everyone, _arrivals),
        agreement(everyone, lambda found: -found.metres),
        *(agreement(m, _arrivals) if len(m.names) >= FEWEST else {} for m in (fair, distant)),
    ]
    order = sorted(parts[0], key=lambda name: -parts[0][name][0])
    lines = [(SAID[name], *(_tau(part, name) for part in parts)) for name in order]
    near, far = (
        ranged(*with_interval(p["gain"] - p["psnr"]), ".2f") if p else ""
        for p in (parts[0], parts[3])
    )
    said = f"{len(everyone.names)} models, {len(fair.names)} of them not misled"
    said += f", {len(distant.names)} at 3 m." if distant.names else "."
    said += f" The gain's tau less PSNR's: {near}" + (f", at 3 m {far}." if far else ".")
    went = [record for found in [*blocks, *known(results, DISTANCES[1])[1]] for record in found]
    return "\n\n".join([table(TAUS, lines), said, *_doubts([*scored, *went])])


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
        "arrived": _arrived_in(blocks),
        "metres": np.concatenate([b["metres"] for b in blocks]),
    }


def _doubts(records: list[Record]) -> list[str]:
    words = [word for word in ("dirty", "untraceable") if any(r.get(word) for r in records)]
    return [f"**{', '.join(words)}**: some of these records."] if words else []


def _mean(name: str, form: str, row: Record) -> str:
    return f"{row['means'][name]:{form}}" if name in row["means"] else ""


def _arrived_in(blocks: list[Record]) -> np.ndarray:
    return np.array([100.0 * arrived for block in blocks for arrived in block["arrived"]])


def _share(arrived: np.ndarray) -> str:
    """In percent; with an interval where there are rooms enough."""
    if not len(arrived):
        return MISSING
    ends = interval(arrived)
    return ranged(arrived.mean(), ends, ".0f") if ends else f"{arrived.mean():.0f}"


def _cell(name: str, form: str) -> Callable[[Record], str]:
    return partial(_mean, name, form)


MODELS: Columns = {
    "": lambda r: r["number"],
    "model": lambda r: r["name"],
    "arrive at 2 m, % [95%]": lambda r: _share(r["arrived"]),
    "at 3 m": lambda r: _share(r["far"]),
    "off at 2 m": lambda r: f"{r['metres'].mean():.2f}",
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
