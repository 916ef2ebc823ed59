"""Tables of the central experiment and of its ablations.

Rows of the committed exports and of the references are measured by `experiment/rooms.py`; other
rows are as `experiment/arms.py` scored each run. Where a run's record is of a tree with changes, or
cannot be traced, its rows say so.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiment.arms import LONG, MAIN, PRIOR_STEPS, SEEDS, STEPS, at_its_rate
from benchmarks.experiment.claims import is_unet
from benchmarks.measure import Record, read
from benchmarks.tables.markdown import (
    MISSING,
    SAID,
    Columns,
    caveat,
    doubt,
    lines_of,
    ranged,
    source,
    table,
)

MEASURES = ("scs", "scs_davis", "scs_visible", "psnr")
ORDER = ("W", "P+", "P", "P0", "S++", "S+", "S")
TRACED = "training record"  # the column that says what is wrong with it


def rooms(results: Path) -> str:
    """The central experiment: every row in the unseen rooms, then in the papered ones."""
    record = read(results / "rooms.json")
    measured = ("SCS [95%]", "DAVIS", "visible", "PSNR, dB")
    head = ("video of", "steps", "episodes", "runs", "actions", *measured, TRACED)
    if record is None:
        return table(head, [])
    parts = []
    for world, title in (("rooms", ""), ("papered", "\n\nRooms papered with pictures:\n\n")):
        lines = _merged([r for r in record["rows"] if r["world"] == world], record)
        if lines:
            parts.append(title + table(head, lines))
    note = f"Committed exports and what was not trained: {source(record)}. Other runs: as each was "
    return "".join(parts) + f"\n\n{note}scored after its training.{trainings(record)}"


def _merged(rows: Sequence[Record], record: Record) -> list[tuple[str, ...]]:
    """One line for all seeds of a run; only the chosen learning rates."""
    groups: dict[tuple[str, int, str], list[Record]] = {}
    for r in filter(lambda r: is_chosen(r, record), rows):
        groups.setdefault((r["arm"], r["episodes"] or 0, r["actions"]), []).append(r)
    known = sorted(groups, key=lambda k: (ORDER.index(k[0]) if k[0] in ORDER else 9, -k[1]))
    return [_line(*key, groups[key], record) for key in known]


def is_chosen(r: Record, record: Record) -> bool:
    """Whether a row is of no ablation, of the UNet, and of its arm's learning rate."""
    return is_unet(r) and not r.get("variant") and at_its_rate(r, record["learning_rates"])


def _line(
    arm: str, episodes: int, actions: str, found: Sequence[Record], record: Record
) -> tuple[str, ...]:
    mean = {k: sum(r[k] for r in found) / len(found) for k in MEASURES}
    ends = [sum(r["ci95"][k] for r in found) / len(found) for k in (0, 1)]
    return (
        SAID.get(arm, arm),
        f"{found[0].get('steps', steps_of(arm)):,}" if episodes else "",
        str(episodes or ""),
        str(len(found)) if episodes else "",
        {"zero": "none"}.get(actions, actions) if arm == "P0" else actions,
        ranged(mean["scs"], ends),
        f"{mean['scs_davis']:.1f}",
        f"{mean['scs_visible']:.1f}",
        f"{mean['psnr']:.2f}",
        traced(found, record),
    )


def steps_of(arm: str) -> int:
    return STEPS + PRIOR_STEPS * LONG.get(arm, 0)


# What is wrong with training records -----------------------------------------------------------


def traced(rows: Sequence[Record], record: Record) -> str:
    """What is wrong with the training records behind a line; "" where nothing is."""
    runs = {run["run"]: run for run in record["training"]}
    names = dict.fromkeys(r["run"] for r in rows if "run" in r)
    found = Counter(doubt(runs[name]) for name in names)
    return "; ".join(
        (f"{count} of {len(names)} " if len(names) > 1 else "") + words
        for words, count in found.items()
        if words
    )


def trainings(record: Record) -> str:
    """How many training records can be traced, and what is wrong with the others."""
    runs = record["training"]
    wrong = [run for run in runs if doubt(run)]
    if not wrong:
        return ""
    dirty = sum("dirty" in doubt(run) for run in wrong)
    why = Counter(run["untraceable"] for run in wrong if "untraceable" in run)
    parts = [f"*dirty*, of a tree with changes that no commit holds ({dirty})"] if dirty else []
    if why:
        each = ", ".join(f"{reason} ({count})" for reason, count in why.most_common())
        parts.append(f"*untraceable*: {each}")
    return (
        f"\n\nOf the {len(runs)} training records (`benchmarks/results/arms/`) "
        f"{len(runs) - len(wrong)} can be traced. The others are {', or '.join(parts)}."
    )


# Other tables of the same rows ------------------------------------------------------------------


def headline(results: Path) -> str:
    """The rows that the README shows."""
    record = read(results / "rooms.json")
    if record is None:
        return MISSING
    wanted = [
        ("world model, told its own actions", "W", "true"),
        ("world model, told another clip's actions", "W", "shuffled"),
        ("world model, told to stand still, against the first frame", "W", "still"),
        ("first frame repeated", "copy", ""),
    ]
    rows = [r for r in record["rows"] if r["world"] == "rooms" and r["arm"] in ("W", "copy")]
    lines = {(line[0], line[4]): line for line in _merged(rows, record)}
    found = [(label, lines.get((SAID.get(arm, arm), told))) for label, arm, told in wanted]
    shown = [(label, line[5], *line[8:]) for label, line in found if line]
    head = ("", "SCS, 0 to 100 [95%]", "PSNR, dB", TRACED)
    return table(head, shown) + caveat(record)


def transformer(results: Path) -> str:
    """The diffusion transformer: what its actions are worth, and guidance on them."""
    record = read(results / "rooms.json")
    scores = ("SCS [95%], true actions", "shuffled", "action gain", "PSNR, dB")
    head = ("run", "guidance", *scores, TRACED)
    rows = [r for r in record["rows"] if r.get("family") == "cosmos"] if record else []
    if record is None or not rows:
        return table(head, [])
    wanted = ("simulator", "shuffled", "rooms")
    whole = [r for r in record["rows"] if (r["arm"], r["actions"], r["world"]) == wanted]
    groups: dict[tuple[str, str, float], dict[str, Record]] = {}
    for r in rows:
        run = (r["arm"], r["variant"], r.get("guidance", 1.0))
        groups.setdefault(run, {})[r["actions"]] = r
    lines = [_told(*run, told, whole[0]["scs"], record) for run, told in groups.items()]
    note = "Rows are as each run was scored after its training; the action gain counts from the "
    return f"{table(head, lines)}\n\n{note}simulator's row of {source(record)}."


def _told(
    arm: str, variant: str, guidance: float, told: dict[str, Record], floor: float, record: Record
) -> tuple[str, ...]:
    true, shuffled = told.get("true") or told[""], told.get("shuffled")
    gain = (true["scs"] - shuffled["scs"]) / (100 - floor) if shuffled else 0.0
    return (
        SAID.get(arm, arm) + (f", {variant}" if variant else ""),
        f"{guidance:g}" if shuffled else "",
        ranged(true["scs"], true["ci95"]),
        f"{shuffled['scs']:.1f}" if shuffled else "",
        f"{gain:.2f}" if shuffled else "",
        f"{true['psnr']:.2f}",
        traced([true], record),
    )


def longer(results: Path) -> str:
    """The world model that ships, after each stretch of its training."""
    record = read(results / "long-training.json")
    columns: Columns = {
        "steps more": lambda r: f"{r['steps']:,}",
        "core hours": lambda r: f"{r['seconds'] / 3600:.1f}",
        "SCS": lambda r: f"{r['scs']:.1f}",
        "to frame 2": lambda r: f"{r['scs_at']['2']:.1f}",
        "4": lambda r: f"{r['scs_at']['4']:.1f}",
        "8": lambda r: f"{r['scs_at']['8']:.1f}",
        "action gain": lambda r: f"{r['gain']:.2f}",
        "PSNR, dB": lambda r: f"{r['psnr']:.2f}",
        "validation loss": lambda r: f"{r['val_loss']:.4f}" if r.get("val_loss") else "",
    }
    if record is None:
        return table(columns, [])
    last = record["rows"][-1]
    more = _otherwise(last) if "plain" in last else ""
    return f"{table(columns, lines_of(columns, record['rows']))}\n\n{more}{source(record)}."


def _otherwise(row: Record) -> str:
    """What the last row gives by other rules, and in other rooms."""
    head = ("after the last stretch", "SCS", "action gain", "standing still", "single steps")
    lines = [
        (
            name,
            f"{r['scs']:.1f}",
            f"{r['gain']:.2f}",
            f"{r['still'][0]:.1f}",
            f"{r['stepped']:.1f}",
        )
        for name, r in (("as above", row), ("plain nearest hue", row["plain"]))
    ]
    lines.append(("64 other rooms", f"{row['afresh']:.1f}", "", "", ""))
    return f"{table(head, lines)}\n\n"


def rates(results: Path) -> str:
    """Validation loss of each learning rate at 64 episodes."""
    record = read(results / "rooms.json")
    columns: Columns = {
        "run": lambda r: SAID[r["arm"]],
        "learning rate": lambda r: f"{r['learning_rate']:g}",
        "validation loss": lambda r: f"{r['loss']:.4f}",
        TRACED: lambda r: traced([r], record or {}),
    }
    lines = lines_of(columns, record["search"] if record else [])
    return table(columns, lines) + (caveat(record) if record else "")


def ablations(results: Path) -> str:
    """One choice changed at a time, against the default."""
    record, main = read(results / "ablations.json"), read(results / "rooms.json")
    columns: Columns = {
        "choice": lambda r: str(r["ablation"]),
        "value": lambda r: str(r["value"]),
        "SCS [95%]": lambda r: ranged(r["scs"], r["ci95"]),
        "visible": lambda r: f"{r['scs_visible']:.1f}",
        "PSNR, dB": lambda r: f"{r['psnr']:.2f}",
        TRACED: lambda r: traced([r], main or {}),
    }
    if record is None or main is None:
        return table(columns, [])
    steps = next(r["default_steps"] for r in record["rows"] if "default_steps" in r)
    of_sampling = f"shipped model: steps {steps}, guidance 1, latents"
    of_training = "short run: fourier features, zero start, noise N(1.0, 1.6)"
    export, short = _default(main, "W"), _default(main, "P")
    trained = [r for r in record["rows"] if "learning_rate" in r]
    rows = [export | {"ablation": "default", "value": of_sampling}]
    rows += [r | {"run": export["run"]} for r in record["rows"] if "learning_rate" not in r]
    if trained:
        rows += [short | {"ablation": "default", "value": of_training}, *trained]
    sources = [source(record)] + ([source(record["added"])] if "added" in record else [])
    note = "; the trained rows are as each run was scored after its training" if trained else ""
    shown = table(columns, lines_of(columns, rows))
    return f"{shown}\n\n{'; '.join(sources)}{note}.{caveat(main)}"


def _default(record: Record, arm: str) -> Record:
    """The row of an arm's first seed at its learning rate, true actions."""
    wanted = (arm, "true", SEEDS[0], "rooms")
    for r in filter(lambda r: is_chosen(r, record), record["rows"]):
        is_main = arm == "W" or r["episodes"] == MAIN
        if is_main and (r["arm"], r["actions"], r["seed"], r["world"]) == wanted:
            return dict(r)
    raise ValueError(f"Expected a row of {arm} with the true actions in rooms.json.")
