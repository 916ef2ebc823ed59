"""Tables of the score's own benchmarks."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import MISSING, Columns, judged, lines_of, source, table

_TRACKERS = ("palette", "flow", "flow, no gate", "copy")
_WORLDS = {
    "rooms": "The test rooms of the data set `rooms`",
    "slow": "The slow world: textured, slow, hardly occluded",
}
_SPEED = {  # device, weights: file
    ("CPU", "toy, random"): "scs.json",
    ("GPU", "tiny, random"): "scs-gpu-tiny.json",
    ("GPU", "large, random"): "scs-gpu-large.json",
}


def speed(results: Path) -> str:
    """Speed and memory of the sam2 tracker beside transformers' session."""
    head = ("device", "weights", "speed ratio, median (min to max)", "target")
    lines, notes = [], []
    for about, file in _SPEED.items():
        record = read(results / file)
        if record is None:
            lines.append((*about, MISSING, "", ""))
            continue
        found = record["speed"]
        rates = f"{found['clips_per_second_ours']:.3g} / {found['clips_per_second_theirs']:.3g}"
        lines.append((*about, judged(found), f"{found['target']:g}", rates))
        notes.append(_speed_note(about[0], record))
    return "\n\n".join([table((*head, "clips/s, ours / one by one"), lines), *notes])


def _speed_note(device: str, record: Record) -> str:
    settings, held = record["settings"], record["memory"]["bytes_by_frames"]
    sizes = ", ".join(f"{int(n) / 2**20:.1f} MiB at {k} frames" for k, n in held.items())
    parts = ", ".join(f"{k.replace('_', ' ')} {v:.0%}" for k, v in record["shares"].items())
    return (
        f"{device}: {source(record)}. {settings['videos']} videos of {settings['frames']} frames, "
        f"{settings['objects']} structures, {settings['dtype']}; both sides' masks agree to an IoU "
        f"of {record['agreement']['iou']:.4f}. Time in {parts}. Held before the last frame: "
        f"{sizes}."
    )


REAL: Columns = {
    "tracker": lambda r: str(r["tracker"]),
    "way": lambda r: str(r["way"]),
    "mean IoU": lambda r: _points(r["iou"]),
    "at frame 2": lambda r: _points(r["iou_at"]["2"]),
    "4": lambda r: _points(r["iou_at"]["4"]),
    "8": lambda r: _points(r["iou_at"]["8"]),
    "16": lambda r: _points(r["iou_at"]["16"]),
}


def real(results: Path) -> str:
    """IoU of trackers on the real recording."""
    record = read(results / "scs-real.json")
    lines = lines_of(REAL, record["rows"] if record else [])
    return table(REAL, lines) + (f"\n\n{source(record)}." if record else "")


def truth(results: Path) -> str:
    """True scores beside the trackers', in both worlds."""
    record = read(results / "scs-truth.json")
    head = ("prediction", "true SCS", *_TRACKERS)
    if record is None:
        return table(head, [])
    parts = []
    for world, title in _WORLDS.items():
        found, clips = record["worlds"][world], record["settings"]["clips"][world]
        lines = [
            (row["case"], _points(row["true"]), *(_tracked(row, name) for name in _TRACKERS))
            for row in found["cases"]
        ]
        rigid = [_over(found["rigid"][name]) for name in _TRACKERS]
        lines.append(("rigid cases: bias, error, rank correlation", "", *rigid))
        parts.append(f"{title}, {clips} clips:\n\n{table(head, lines)}")
    return "\n\n".join([*parts, _bars(record), f"{source(record)}."])


def _tracked(row: Record, name: str) -> str:
    found = row["trackers"][name]
    return f"{_points(found['scs'])} ({_points(found['error'])})"


def _over(found: Record) -> str:
    rank = "-" if found["rank"] is None else f"{found['rank']:.3f}"
    return f"{found['bias']:+.1f}, {found['error']:.1f}, {rank}"


def _bars(record: Record) -> str:
    """What is asked of flow in the slow world, and whether it was reached."""
    found, bars = record["worlds"]["slow"], record["settings"]["bars"]
    flow = found["rigid"]["flow"]
    gone = next(row for row in found["cases"] if row["case"] == "furniture vanishes")
    vanish = gone["trackers"]["flow"]["error"]
    checks = (
        ("bias", abs(flow["bias"]), "below", bars["bias"]),
        ("mean error", flow["error"], "below", bars["error"]),
        ("rank correlation", flow["rank"], "above", bars["rank"]),
        ("error where furniture vanishes", vanish, "below", bars["vanish"]),
    )
    said = []
    for name, value, side, bar in checks:
        reached = value < bar if side == "below" else value > bar
        verdict = "" if reached else " (**not reached**)"
        said.append(f"{name} {value:.3g}, asked {side} {bar:g}{verdict}")
    return f"Flow in the slow world, rigid cases: {'; '.join(said)}."


def _points(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.1f}"
