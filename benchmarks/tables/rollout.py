"""The table of rollouts beside diffusers' own pipeline."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.speed.comparisons import COMPARISONS, GUIDANCES, Comparison
from benchmarks.tables.markdown import MISSING, judged, source, table


def rollout(results: Path) -> str:
    """Speed of the rollout, on a CPU and on a GPU."""
    records = {"CPU": read(results / "rollout.json"), "GPU": read(results / "rollout-gpu.json")}
    ratio = "speed ratio, median (min to max)"
    head = ("device", "guidance", "egowm", "stock pipeline", ratio, "target")
    lines = [
        (device, f"{guidance:g}", c.name, c.against, *_measured(record, guidance, c))
        for device, record in records.items()
        for guidance in GUIDANCES
        for c in COMPARISONS
    ]
    notes = [_note(device, record) for device, record in records.items() if record]
    return "\n\n".join([table((*head, "seconds, egowm / stock"), lines), *notes])


def _measured(record: Record | None, guidance: float, wanted: Comparison) -> tuple[str, ...]:
    """The last three cells of a row: ratio, target, seconds."""
    for row in record["rows"] if record else ():
        if (row["name"], row["against"], row["guidance"]) == (*wanted[:2], guidance):
            taken = f"{row['seconds_ours']:.3g} / {row['seconds_theirs']:.3g}"
            return judged(row), f"{row['target']:g}", taken
    return MISSING, f"{wanted.target:g}", ""


def _note(device: str, record: Record) -> str:
    s, rows = record["settings"], record["rows"]
    chunks = {row["stock_decode_chunk_size"] for row in rows if "num_videos" in row["against"]}
    decoded = ", ".join(str(size) for size in sorted(chunks))
    return (
        f"{device}: {source(record)}. {s['frames']} frames of {s['height']}x{s['width']}, "
        f"{s['steps']} steps, {s['dtype']}, `{s['prior']}`; {rows[0]['repeats']} pairs; stock "
        f"`decode_chunk_size` for 16 videos: {decoded} ({s['decoder']})."
    )
