"""Tables of reading data, out of benchmarks/results/."""

from pathlib import Path

from result_tables import MISSING, read, source, table


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
    return f"{table(head, lines)}\n\n{source(record)}. {note}."


def stored(results: Path) -> str:
    """What decided how a pack is kept."""
    record = read(results / "data.json")
    head = ("frames kept as", "core ms a clip", "times the pack's", "bytes a frame")
    if record is None:
        return table(head, [(MISSING, *[""] * 3)])
    rows = record["choices"]
    least = rows[0]["milliseconds"]
    return table(
        head,
        [
            (
                r["way"],
                f"{r['milliseconds']:.2f}",
                f"{r['milliseconds'] / least:.1f}",
                f"{r['bytes']:.0f}",
            )
            for r in rows
        ],
    )


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
    return f"{table(head, lines)}\n\n{note}."
