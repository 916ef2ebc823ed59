"""Rewrites the marked blocks of the documentation from the files in benchmarks/results/.

A block lies between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; BLOCKS says what NAME shows.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import data_tables
import planning_tables
import scs_tables
import training_tables
from arms import LONG, MAIN, PRIOR_STEPS, SEEDS, STEPS
from comparisons import COMPARISONS, GUIDANCES, Comparison
from provenance import RESULTS, ROOT
from result_tables import MISSING, Record, read, source, table

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


def rooms(results: Path) -> str:
    """The central experiment: every row in the unseen rooms, then in the papered ones."""
    record = read(results / "rooms.json")
    measured = ("SCS [95%]", "DAVIS", "visible", "PSNR, dB")
    head = ("arm", "steps", "episodes", "runs", "actions", *measured)
    if record is None:
        return table(head, [(MISSING, *[""] * 8)])
    parts = []
    for world, title in (("rooms", ""), ("papered", "\n\nRooms papered with pictures:\n\n")):
        lines = _merged([r for r in record["rows"] if r["world"] == world], record)
        if lines:
            parts.append(title + table(head, lines))
    return "".join(parts) + f"\n\n{source(record)}."


def _merged(rows: Sequence[Record], record: Record) -> list[tuple[str, ...]]:
    """One line for all seeds of a run; only the chosen learning rates."""
    groups: dict[tuple[str, int, str], list[Record]] = {}
    for r in rows:
        rate = r.get("learning_rate", record["learning_rates"].get(r["arm"]))
        if r.get("family", "svd") != "svd":
            continue
        if not r.get("variant") and rate == record["learning_rates"].get(r["arm"]):
            groups.setdefault((r["arm"], r["episodes"] or 0, r["actions"]), []).append(r)
    order = ("P+", "P", "P0", "S+", "S")
    known = sorted(groups, key=lambda k: (order.index(k[0]) if k[0] in order else 9, -k[1]))
    lines: list[tuple[str, ...]] = []
    for arm, episodes, actions in known:
        found = groups[arm, episodes, actions]
        mean = {k: sum(r[k] for r in found) / len(found) for k in MEASURES}
        low, high = (sum(r["ci95"][k] for r in found) / len(found) for k in (0, 1))
        lines.append(
            (
                arm,
                f"{STEPS + PRIOR_STEPS * (arm in LONG):,}" if episodes else "",
                str(episodes or ""),
                str(len(found)) if episodes else "",
                {"zero": "none"}.get(actions, actions) if arm == "P0" else actions,
                f"{mean['scs']:.1f} [{low:.1f} to {high:.1f}]",
                f"{mean['scs_davis']:.1f}",
                f"{mean['scs_visible']:.1f}",
                f"{mean['psnr']:.2f}",
            )
        )
    return lines


def claims(results: Path) -> str:
    """The three claims, and whether each was reached."""
    record = read(results / "rooms.json")
    head = ("claim", "measured [95%]", "asked", "")
    if record is None:
        return table(head, [(MISSING, "", "", "")])
    a, b, c = (record["claims"][name] for name in "abc")
    lines = [
        ("P+ above the simulator with the mean action, SCS", _value(a), "above 0", _verdict(a)),
        ("the same, where the true structure is visible", _value(a.get("visible")), "above 0", ""),
        ("action gain of P+", _value(b), "0.4, interval above 0.25", _verdict(b)),
        *((n, _value(gap), "above 0", "") for n, gap in c.get("differences", {}).items()),
        ("P above S at every size, and above S+ in both ways", _value(c), "above 0", _verdict(c)),
    ]
    worth = [
        f"{n} labelled episodes with the prior are worth "
        + (f"about {value}" if value else "more than 256")
        + " without it"
        for n, value in record["worth"].items()
    ]
    return table(head, lines) + (f"\n\nAfter {STEPS} steps: {'; '.join(worth)}." if worth else "")


def _value(claim: Record | None) -> str:
    if claim is None or claim["value"] is None:
        return MISSING
    low, high = claim["ci95"]
    return f"{claim['value']:.2f} [{low:.2f} to {high:.2f}]"


def _verdict(claim: Record) -> str:
    return {True: "reached", False: "**not reached**", None: ""}[claim["reached"]]


def headline(results: Path) -> str:
    """What the README opens with."""
    record = read(results / "rooms.json")
    if record is None:
        return MISSING
    wanted = [
        ("world model, true actions", "P+", "true"),
        ("the same network trained without the prior", "S+", "true"),
        ("world model, another clip's actions", "P+", "shuffled"),
        ("a perfect simulator, always the mean action", "simulator", "mean"),
        ("first frame repeated", "copy", ""),
        ("truth through the VAE (ceiling)", "truth through the VAE", ""),
    ]
    rows = [r for r in record["rows"] if r["world"] == "rooms" and r["episodes"] in (None, MAIN)]
    lines = {(line[0], line[4]): line for line in _merged(rows, record)}
    shown = [(label, *lines[arm, told][5:]) for label, arm, told in wanted if (arm, told) in lines]
    return table(("", "SCS [95%]", "DAVIS", "visible", "PSNR, dB"), shown)


def transformer(results: Path) -> str:
    """The diffusion transformer: what its actions are worth, and guidance on them."""
    record = read(results / "rooms.json")
    head = ("run", "guidance", "SCS [95%], true actions", "shuffled", "action gain", "PSNR, dB")
    rows = [r for r in record["rows"] if r.get("family", "svd") != "svd"] if record else []
    if record is None or not rows:
        return table(head, [(MISSING, *[""] * 5)])
    floor = next(
        r["scs"]
        for r in record["rows"]
        if (r["arm"], r["actions"], r["world"]) == ("simulator", "shuffled", "rooms")
    )
    groups: dict[tuple[str, str, float], dict[str, Record]] = {}
    for r in rows:
        run = (r["arm"], r["variant"], r.get("guidance", 1.0))
        groups.setdefault(run, {})[r["actions"]] = r
    lines = []
    for (arm, variant, guidance), told in groups.items():
        true = told.get("true") or told[""]
        shuffled = told.get("shuffled")
        gain = (true["scs"] - shuffled["scs"]) / (100 - floor) if shuffled else None
        low, high = true["ci95"]
        lines.append(
            (
                arm + (f", {variant}" if variant else ""),
                f"{guidance:g}" if shuffled else "",
                f"{true['scs']:.1f} [{low:.1f} to {high:.1f}]",
                f"{shuffled['scs']:.1f}" if shuffled else "",
                f"{gain:.2f}" if gain is not None else "",
                f"{true['psnr']:.2f}",
            )
        )
    return f"{table(head, lines)}\n\n{source(record)}."


def rates(results: Path) -> str:
    """Validation loss of each learning rate at 64 episodes."""
    record = read(results / "rooms.json")
    if record is None:
        return table(("arm", MISSING), [])
    lines = [(r["arm"], f"{r['learning_rate']:g}", f"{r['loss']:.4f}") for r in record["search"]]
    return table(("arm", "learning rate", "validation loss"), lines)


def ablations(results: Path) -> str:
    """One choice changed at a time, against the default."""
    record, main = read(results / "ablations.json"), read(results / "rooms.json")
    head = ("choice", "value", "SCS [95%]", "visible", "PSNR, dB")
    if record is None or main is None:
        return table(head, [(MISSING, "", "", "", "")])
    steps = next(r["default_steps"] for r in record["rows"] if "default_steps" in r)
    of_sampling = f"P+: {steps} steps, guidance 1, latents"
    of_training = "P: fourier features, zero start, noise N(1.0, 1.6)"
    sampled = [r for r in record["rows"] if "learning_rate" not in r]
    trained = [r for r in record["rows"] if "learning_rate" in r]
    rows = [_default(main, "P+") | {"ablation": "default", "value": of_sampling}, *sampled]
    if trained:
        rows += [_default(main, "P") | {"ablation": "default", "value": of_training}, *trained]
    lines = [
        (
            r["ablation"],
            str(r["value"]),
            f"{r['scs']:.1f} [{r['ci95'][0]:.1f} to {r['ci95'][1]:.1f}]",
            f"{r['scs_visible']:.1f}",
            f"{r['psnr']:.2f}",
        )
        for r in rows
    ]
    sources = [source(record)] + ([source(record["added"])] if "added" in record else [])
    return f"{table(head, lines)}\n\n{'; '.join(sources)}."


def _default(record: Record, arm: str) -> Record:
    """The row of an arm's first seed at its learning rate, true actions."""
    wanted = (arm, "true", MAIN, SEEDS[0], "rooms", "", "svd")
    rate = record["learning_rates"][arm]
    for r in record["rows"]:
        told = (r["arm"], r["actions"], r["episodes"], r["seed"], r["world"])
        found = (*told, r.get("variant", ""), r.get("family", "svd"))
        if found == wanted and r.get("learning_rate", rate) == rate:
            return dict(r)
    raise ValueError(f"Expected a row of {arm} with the true actions in rooms.json.")


MEASURES = ("scs", "scs_davis", "scs_visible", "psnr")
BLOCKS: dict[str, Callable[[Path], str]] = {
    "rollout": rollout,
    "rooms": rooms,
    "claims": claims,
    "headline": headline,
    "transformer": transformer,
    "rates": rates,
    "ablations": ablations,
    "planning": planning_tables.planning,
    "arrivals": planning_tables.arrivals,
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
