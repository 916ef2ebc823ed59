"""Tables of reading data."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import Columns, caveat, lines_of, source, table

PEER = "stable-worldmodel"
SPEED: Columns = {
    "size": lambda r: str(r["size"]),
    "reader": lambda r: str(r["reader"]),
    "files": lambda r: str(r["form"]),
    "warm, clips a core second": lambda r: f"{r['warm']:.0f}",
    "cold, clips a second": lambda r: f"{r['cold']:.0f}",
    "the pack is faster, warm / cold": lambda r: (
        f"{r['packed_faster_warm']:.1f} / {r['packed_faster_cold']:.1f}"
    ),
    "faster than others on these files": lambda r: "; ".join(
        f"{name}: {ratio:.2f}" for name, ratio in r["faster_than"].items()
    ),
    "bytes a frame": lambda r: f"{r['bytes_per_frame']:.0f}",
}
LISTING: Columns = {
    "format": lambda r: str(r["form"]),
    "first start, core s": lambda r: f"{r['seconds']:.1f}",
    "later starts": lambda r: f"{r['again']:.1f}",
    "memory, MB": lambda r: f"{r['memory_mb']:.0f}",
    "growth while reading, MB": lambda r: f"{r['growth_mb']:.0f}",
}


def speed(results: Path) -> str:
    """Clips a second of every format, of the pack and of plain Datasets."""
    record = read(results / "data.json")
    if record is None:
        return table(SPEED, [])
    lines = lines_of(SPEED, record["rows"])
    lines += [("", name, "", why, *[""] * 4) for name, why in record["not_measured"].items()]
    s = record["settings"]
    note = (
        f"{s['clips']} clips of {s['frames']} frames, recorded at {s['recorded']}x{s['recorded']}, "
        f"{s['dtype']}, batches of {s['batch']}, {s['rounds']} rounds, medians"
    )
    return f"{table(SPEED, lines)}\n\n{_asked(record)}\n\n{source(record)}. {note}."


def _asked(record: Record) -> str:
    """The pack beside the fastest of stable-worldmodel's readers, and formats on the same files."""
    rows, target = record["rows"], record["settings"]["target"]
    said = []
    for size in dict.fromkeys(r["size"] for r in rows):
        theirs = [r for r in rows if r["size"] == size and r["reader"].startswith(PEER)]
        for cache in ("warm", "cold") if theirs else ():
            value = min(r[f"packed_faster_{cache}"] for r in theirs)
            verdict = "" if value >= target else ", **not reached**"
            said.append(f"{value:.1f} {cache} at {size}x{size}{verdict}")
    shared = [x for r in rows for name, x in r["faster_than"].items() if name.startswith(PEER)]
    if not said:
        return f"Nothing of {PEER}'s was measured beside it."
    least = f"{min(shared):.2f}" + ("" if min(shared) >= 1 else ", **not reached**")
    return (
        f"Asked: the pack {target:g} times as fast as {PEER}'s fastest reader, and no format "
        f"slower than theirs on the same files. The pack: {'; '.join(said)}. "
        f"The formats: at least {least}."
    )


def stored(results: Path) -> str:
    """What decided how a pack is kept."""
    record = read(results / "data.json")
    rows = record["choices"] if record else []
    columns: Columns = {
        "frames kept as": lambda r: str(r["way"]),
        "core ms a clip": lambda r: f"{r['milliseconds']:.2f}",
        "times the pack's": lambda r: f"{r['milliseconds'] / rows[0]['milliseconds']:.1f}",
        "bytes a frame": lambda r: f"{r['bytes']:.0f}",
    }
    return table(columns, lines_of(columns, rows)) + (caveat(record) if record else "")


def listing(results: Path) -> str:
    """Until training can begin on many recordings."""
    record = read(results / "data.json")
    if record is None or "listing" not in record:
        return table(LISTING, [])
    rows = record["listing"]
    note = f"{rows[0]['episodes']} episodes of 64 frames; {rows[0]['read']} clips read"
    return f"{table(LISTING, lines_of(LISTING, rows))}\n\n{note}.{caveat(record)}"
