"""Tables of reading data, out of benchmarks/results/."""

from pathlib import Path

from benchmarks.tables.markdown import MISSING, Record, caveat, read, source, table

PEER = "stable-worldmodel"


def speed(results: Path) -> str:
    """Clips a second of every format, of the pack and of plain Datasets."""
    record = read(results / "data.json")
    head = (
        "size",
        "reader",
        "files",
        "warm, clips a core second",
        "cold, clips a second",
        "the pack is faster, warm / cold",
        "faster than others on these files",
        "bytes a frame",
    )
    if record is None:
        return table(head, [(MISSING, *[""] * 7)])
    lines = [
        (
            str(r["size"]),
            r["reader"],
            r["form"],
            f"{r['warm']:.0f}",
            f"{r['cold']:.0f}",
            f"{r['packed_faster_warm']:.1f} / {r['packed_faster_cold']:.1f}",
            "; ".join(f"{name}: {ratio:.2f}" for name, ratio in r["faster_than"].items()),
            f"{r['bytes_per_frame']:.0f}",
        )
        for r in record["rows"]
    ]
    lines += [("", name, "", why, *[""] * 4) for name, why in record["not_measured"].items()]
    s = record["settings"]
    note = (
        f"{s['clips']} clips of {s['frames']} frames, recorded at {s['recorded']}x{s['recorded']}, "
        f"{s['dtype']}, batches of {s['batch']}, {s['rounds']} rounds, medians"
    )
    return f"{table(head, lines)}\n\n{_asked(record)}\n\n{source(record)}. {note}."


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
    head = ("frames kept as", "core ms a clip", "times the pack's", "bytes a frame")
    if record is None:
        return table(head, [(MISSING, *[""] * 3)])
    rows = record["choices"]
    least = rows[0]["milliseconds"]
    lines = [
        (
            r["way"],
            f"{r['milliseconds']:.2f}",
            f"{r['milliseconds'] / least:.1f}",
            f"{r['bytes']:.0f}",
        )
        for r in rows
    ]
    return table(head, lines) + caveat(record)


def listing(results: Path) -> str:
    """Until training can begin on many recordings."""
    record = read(results / "data.json")
    head = (
        "format",
        "first start, core s",
        "later starts",
        "memory, MB",
        "growth while reading, MB",
    )
    if record is None or "listing" not in record:
        return table(head, [(MISSING, *[""] * 4)])
    rows = record["listing"]
    lines = [
        (
            r["form"],
            f"{r['seconds']:.1f}",
            f"{r['again']:.1f}",
            f"{r['memory_mb']:.0f}",
            f"{r['growth_mb']:.0f}",
        )
        for r in rows
    ]
    note = f"{rows[0]['episodes']} episodes of 64 frames; {rows[0]['read']} clips read"
    return f"{table(head, lines)}\n\n{note}.{caveat(record)}"
