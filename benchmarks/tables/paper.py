"""The paper's numbers beside those of rooms: what compares is a ratio within a row of a table.

The paper (EgoWM, arXiv 2601.15284) published no more scores than PAPER holds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.experiment.claims import is_unet
from benchmarks.measure import Record, read
from benchmarks.speed.latency_cases import (
    AS_TRAINED,
    SHIPPED,
    SOME,
    TRAINED_CDIT,
    TRAINED_COSMOS,
    TRAINED_SVD,
)
from benchmarks.tables.experiment import TRACED, is_chosen, traced
from benchmarks.tables.markdown import MISSING, SAID, source, table

FRAMES = ("2", "4", "8", "16")
UNET, TRANSFORMER, BASELINE = "svd", "cosmos", "cdit"
EPISODES = 64  # labelled
MORE = ("off a step: ahead, turn", f"seconds for {SOME} frames")
FOLLOWED = {  # rows of action-following.json
    ("W", UNET): "rooms",
    ("P+", UNET): "from-the-prior-long",
    ("S+", UNET): "from-scratch-long",
    ("copy", UNET): "copy of the first frame",
    ("truth through the VAE", UNET): "truth through the VAE",
}


class Published(NamedTuple):
    """A score of the paper, of 16 frames."""

    model: str
    data: str
    scs: float


PAPER = (
    Published("EgoWM on SVD", "RECON", 55.2),
    Published("NWM", "RECON", 33.4),
    Published("EgoWM on SVD", "1X, navigation", 34.4),
    Published("the same network from scratch", "1X, navigation", 21.6),
)


class Shown(NamedTuple):
    """A row of rooms: what it is called, which of the record, and whose latency it has."""

    model: str
    arm: str
    family: str
    speed: str = ""
    actions: str = "true"


SHORT, LONG = "800 steps", "13,550 steps"
ROOMS = (
    Shown(f"EgoWM on SVD, from the prior, {SHORT}", "P", UNET, TRAINED_SVD),
    Shown(f"SVD's network from scratch, {SHORT}", "S", UNET, TRAINED_SVD),
    Shown(f"NWM's CDiT, {SHORT}", "S", BASELINE, TRAINED_CDIT),
    Shown(f"EgoWM on SVD, from the prior, {LONG}", "P+", UNET, TRAINED_SVD),
    Shown(f"SVD's network from scratch, {LONG}", "S+", UNET, TRAINED_SVD),
    Shown("EgoWM on SVD, the shipped model", "W", UNET, SHIPPED),
    Shown("EgoWM on Cosmos, from the prior, 3,000 steps", "P", TRANSFORMER, TRAINED_COSMOS),
    Shown("Cosmos' network from scratch, 3,000 steps", "S", TRANSFORMER, TRAINED_COSMOS),
    Shown("first frame repeated", "copy", UNET, actions=""),
    Shown("simulator, mean action", "simulator", UNET, actions="mean"),
    Shown("truth through SVD's VAE", "truth through the VAE", UNET, actions=""),
    Shown("truth through Cosmos' VAE", "truth through the VAE", TRANSFORMER, actions=""),
)


def tables(results: Path) -> str:
    """Scores of the paper and of rooms, then the two ratios that both have."""
    record, timed = read(results / "rooms.json"), read(results / "latency.json")
    moved = read(results / "action-following.json")
    head = ("model", "data", *(f"SCS, {k} frames" for k in FRAMES), *MORE, TRACED)
    published = [
        (p.model, f"{p.data} (paper)", "", "", "", f"{p.scs:.1f}", "", "", "") for p in PAPER
    ]
    measured = [
        _line(shown, record, _off_a_step(shown, record, moved), _seconds(shown, timed))
        for shown in ROOMS
    ]
    note = "".join(
        f" {name}: {source(one)}."
        for name, one in (("Rooms", record), ("Motion", moved), ("Seconds", _timed(timed)))
        if one
    )
    return f"{table(head, [*published, *measured])}\n\n{_ratios(record)}\n\n{note.strip()}"


def _timed(record: Record | None) -> Record | None:
    """The record, if it times models of rooms."""
    groups = {row["group"] for row in record["rows"]} if record else set()
    return record if AS_TRAINED in groups else None


def _line(shown: Shown, record: Record | None, off: str, seconds: str) -> tuple[str, ...]:
    row = _row(shown, record)
    if row is None or record is None:
        return (shown.model, "rooms", "", "", "", MISSING, off, seconds, "")
    scores = [f"{row['scs_at'][k]:.1f}" for k in FRAMES]
    return (shown.model, "rooms", *scores, off, seconds, traced([row], record))


def _off_a_step(shown: Shown, record: Record | None, moved: Record | None) -> str:
    """Median error of a step's dx and dyaw over all frames, by alignment: the row's own, or that
    of a committed export; the share of frames that show no motion, where it is half of them."""
    found = (_row(shown, record) or {}).get("following")
    for row in moved["rows"] if moved and not found else ():
        kinds = row["name"], row["told"], row["method"]
        if kinds == (FOLLOWED.get((shown.arm, shown.family)), "true", "alignment"):
            found = max(row["horizons"], key=lambda h: h["horizon"])
    if not found:
        return MISSING if shown.speed else ""
    if found["error"][0] is None:
        return f"{1 - found['aligned']:.0%} of steps lost"
    return f"{found['error'][0]:.3f} m, {found['error'][2]:.2f}°"


def _seconds(shown: Shown, timed: Record | None) -> str:
    """Of 16 frames, with as many sampling steps as the recipe takes."""
    if not shown.speed:
        return ""
    for row in timed["rows"] if timed else ():
        if (row["group"], row["name"], row["frames"]) == (AS_TRAINED, shown.speed, SOME):
            return f"{row['seconds']:.3g} ({row['network_calls']} calls)"
    return MISSING


def _row(shown: Shown, record: Record | None) -> Record | None:
    """The first seed at the chosen learning rate, without guidance; None where none was scored."""
    for r in record["rows"] if record else ():
        is_trained = r["arm"] in SAID and r["arm"] != "W"
        if (
            (r["arm"], r["actions"], r["world"]) == (shown.arm, shown.actions, "rooms")
            and _family(r) == shown.family
            and not r.get("variant")
            and r.get("guidance", 1.0) == 1.0
            and (not is_trained or r["episodes"] == EPISODES)
            and (not is_unet(r) or is_chosen(r, record or {}))
        ):
            return dict(r)
    return None


def _family(row: Record) -> str:
    return UNET if is_unet(row) else str(row["family"])


def _ratios(record: Record | None) -> str:
    """What the paper claims by a ratio, and the same ratio in rooms."""
    rows = {shown.model: _row(shown, record) for shown in ROOMS}
    pairs: Sequence[tuple[str, Published, Published, str, str]] = (
        (
            "EgoWM on SVD over NWM",
            *PAPER[:2],
            f"EgoWM on SVD, from the prior, {SHORT}",
            f"NWM's CDiT, {SHORT}",
        ),
        (
            "pretrained over from scratch, SVD",
            *PAPER[2:],
            f"EgoWM on SVD, from the prior, {LONG}",
            f"SVD's network from scratch, {LONG}",
        ),
        (
            "pretrained over from scratch, Cosmos",
            *(Published("", "", 0.0),) * 2,
            "EgoWM on Cosmos, from the prior, 3,000 steps",
            "Cosmos' network from scratch, 3,000 steps",
        ),
    )
    head = ("gain in SCS, 16 frames", "paper", "rooms, at equal steps")
    lines = []
    for name, above, below, ours, theirs in pairs:
        one, other = rows[ours], rows[theirs]
        gained = f"{above.scs / below.scs - 1:+.0%}" if below.scs else "not published"
        measured = f"{one['scs'] / other['scs'] - 1:+.0%}" if one and other else MISSING
        lines.append((name, gained, measured))
    return table(head, lines)
