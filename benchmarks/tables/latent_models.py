"""The tables of the latent world models."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import Columns, lines_of, source, table

AT = ("2", "4", "8", "16")
FILE = "latent_models.json"


def frames(results: Path) -> str:
    """One line a row: PSNR of a frame and SCS up to it, and the action gain."""
    record = read(results / FILE)
    columns: Columns = {
        "from one frame of an unseen room": lambda r: r["row"],
        **{f"PSNR at +{k}": partial(_cell, "psnr_at", k) for k in AT},
        **{f"SCS to +{k}": partial(_cell, "scs_at", k) for k in AT},
        "action gain": lambda r: f"{r['gain']:.2f}" if "gain" in r else "",
    }
    lines = lines_of(columns, record["frames"] if record else [])
    return table(columns, lines) + (f"\n\n{_said(record)}" if record else "")


def paths(results: Path) -> str:
    """One line a kind of latents: the mean over seeds, from the least to the most."""
    record = read(results / FILE)
    rows: dict[str, list[Record]] = {}
    probed = read(results / "latent_depth.json")
    depths = {(row["row"], row["seed"]): row["depth"] for row in (probed or {"rows": []})["rows"]}
    for row in record["paths"] if record else []:
        depth = depths.get((row["row"], row["seed"]))
        told = row if depth is None else row | {"depth": depth}
        rows.setdefault(row["row"], []).append(told)
    heads = {
        "cosine of successive steps": "straightness",
        "imagined less real": "gap",
        "extrapolation error / copy": "extrapolation",
        "next frame retrieved": "retrieved",
        "rank correlation with metres": "rank",
        "prediction error / copy at +4": "prediction_4",
        "at +8": "prediction_8",
        "R2 of depth": "depth",
    }
    lines = [
        [name, *[_over(seeds, key) for key in heads.values()], _arrived(seeds)]
        for name, seeds in rows.items()
    ]
    notes = [f"\n\n{source(record)}."] if record else []
    notes += [f" Depth: {source(probed)}."] if probed else []
    return table(["latents", *heads, "arrived, by gradient"], lines) + "".join(notes)


def _cell(key: str, frame: str, row: Record) -> str:
    return f"{row[key][frame]:.1f}"


def _over(seeds: list[Record], key: str) -> str:
    found = [row[key] for row in seeds if key in row]
    if not found:
        return ""
    low, high = min(found), max(found)
    spread = f" ({low:.2f} to {high:.2f})" if len(found) > 1 else ""
    return f"{np.mean(found):.2f}{spread}"


def _arrived(seeds: list[Record]) -> str:
    found = [row for row in seeds if "arrived" in row]
    if not found:
        return ""
    return f"{sum(row['arrived'] for row in found)} of {sum(row['tasks'] for row in found)}"


def _said(record: Record) -> str:
    """Budgets and speed, in sentences, and where the figures come from."""
    trained = next(row for row in record["frames"] if row["row"] == "RSSM")
    speed = record["speed"]
    rates = [(speed[f"RSSM {d}"], speed[f"diffusion model {d}"]) for d in ("all", "none")]
    ratios = [f"{a / b:.0f} times ({a:,.0f} against {b:,.0f})" for a, b in rates]
    budget = f"{trained['steps']:,} steps in {trained['cpu_seconds']:,} CPU seconds"
    return (
        f"RSSM was trained for {budget}. It imagines {ratios[0]} as many steps per CPU second as "
        f"the diffusion model with all frames decoded, and {ratios[1]} with none. "
        f"{source(record | {'commit': record.get('frames_made_at', record['commit'])})}."
    )
