"""The tables of a plan on paper: 1,000 hours of video, and 10,000 clips a day.

Floors are counted operations over a measured matrix rate, as `FLOORS` has them; what was measured
on a CPU comes from the records. Every line shows its arithmetic.
"""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import MISSING, source, table
from egowm.evaluation.navigation import time_allowed

HOURS, RATE, CLIPS, FRAMES = 1000, 4, 10_000, 16  # Hz; a day; predicted of each clip
RECORDED = HOURS * 3600 * RATE
H200 = 790  # TFLOP/s, bfloat16: a measured rate of matrix products
# TFLOP, counted on the real architectures at 512x512.
ENCODE = 1.1  # SVD's VAE, one frame
FULL, FEW = 4260 / 64, 520 / 64  # a frame of 64: 25 steps with guidance; 4 steps without
LATENT, PIXELS = 4 * 64 * 64 * 2, 3 * 512 * 512  # bytes of a frame of 512x512: float16, uint8
DAY = 24 * 3600
DRIVES = "planning/2m-seen-from-the-prior-1-step.json"
WORK = ("work", "arithmetic", "result")


def video(results: Path) -> str:
    """What 1,000 hours take to keep and to encode."""
    frames = f"{HOURS:,} h x 3,600 s x {RATE} Hz"
    encode = ENCODE / H200
    lines = [
        ("frames", frames, f"{RECORDED / 1e6:.1f} million"),
        ("cache: latents of SVD, float16", _bytes(LATENT), f"{RECORDED * LATENT / 1e12:.2f} TB"),
        ("cache: pixels too (`noise_mean` not null)", _bytes(PIXELS), _terabytes(PIXELS)),
        ("pack at 256x256", _bytes(3 * 256 * 256), _terabytes(3 * 256 * 256)),
        (
            "encode on one H200, at the floor",
            f"{ENCODE} TFLOP / {H200} TFLOP/s = {1000 * encode:.2f} ms a frame",
            f"{RECORDED * encode / 3600:.1f} GPU hours",
        ),
        (
            "the same by `--launch slurm:32`",
            f"{RECORDED * encode / 3600:.1f} h / 32",
            f"{RECORDED * encode / 60 / 32:.0f} minutes",
        ),
    ]
    record = read(results / "data.json")
    lines += _decoded(record) if record else [("decode mp4 on CPUs", MISSING, "")]
    said = f"\n\nDecoding: {source(record)}." if record else ""
    return table(WORK, lines) + said


def clips(results: Path) -> str:
    """What 10,000 clips a day take to predict, and to plan with."""
    videos = CLIPS * FRAMES
    lines = [
        ("frames a day", f"{CLIPS:,} clips x {FRAMES} frames", f"{videos:,}"),
        _predicted("25 steps with guidance", FULL, videos),
        _predicted("4 steps, no guidance", FEW, videos),
        (
            "time for a clip by one worker",
            f"{DAY:,} s / {CLIPS:,} clips",
            f"{DAY / CLIPS:.2f} s",
        ),
    ]
    for words, name, made in _measured(results):
        lines.append((words, name, made))
    return table(WORK, lines) + _sources(results)


def _predicted(how: str, each: float, frames: int) -> tuple[str, str, str]:
    hours = frames * each / H200 / 3600
    arithmetic = f"{frames:,} x {each:.1f} TFLOP / {H200} TFLOP/s"
    return f"predict on one H200, at the floor: {how}", arithmetic, f"{hours:.1f} GPU hours"


def _decoded(record: Record) -> list[tuple[str, str, str]]:
    """Core hours to read all frames once, by the measured speed of clips."""
    (row,) = [r for r in record["rows"] if r["size"] == 256 and r["reader"] == "VideoCSV"]
    rate = row["cold"] * record["settings"]["frames"]
    arithmetic = (
        f"{RECORDED / 1e6:.1f} million / ({row['cold']:.0f} clips x "
        f"{record['settings']['frames']} frames a core second)"
    )
    return [("decode mp4 of 256x256", arithmetic, f"{RECORDED / rate / 3600:.1f} core hours")]


def _measured(results: Path) -> list[tuple[str, str, str]]:
    """Tracking and planning at the measured rates of a CPU."""
    found, scs = [], read(results / "scs.json")
    if scs is None:
        found.append(("track by `sam2`", MISSING, ""))
    else:
        rate = scs["speed"]["clips_per_second_ours"]
        found.append(
            (
                "track by `sam2`, toy weights, 1 truth and 4 predictions a clip",
                f"{CLIPS:,} / {rate:.3f} clips a second (2 cores)",
                f"{CLIPS / rate / 3600:.1f} h, {2 * CLIPS / rate / 3600:.1f} core hours",
            )
        )
    drive = read(results / DRIVES)
    if drive is None:
        found.append(("arrivals", MISSING, ""))
    else:
        each, every = drive["seconds_per_plan"], drive["settings"]["every"]
        plans = -(-time_allowed(drive["distance_metres"], drive["visible"]) // every)
        seconds = CLIPS * each * plans
        found.append(
            (
                "10,000 drives of `egowm plan` in the rooms",
                f"{CLIPS:,} x {plans} plans x {each:g} s (one core)",
                f"{seconds / 3600:.0f} core hours: {seconds / DAY:.1f} workers for a day",
            )
        )
    return found


def _sources(results: Path) -> str:
    found = {"Tracking": read(results / "scs.json"), "Drives": read(results / DRIVES)}
    return "".join(f"\n\n{words}: {source(r)}." for words, r in found.items() if r)


def _bytes(each: int) -> str:
    return f"{RECORDED / 1e6:.1f} million x {each:,} bytes"


def _terabytes(each: int) -> str:
    return f"{RECORDED * each / 1e12:.1f} TB"
