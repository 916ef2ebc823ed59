"""Checksums of a pack's frames: written while it is packed, compared by `egowm data check`.

Loading a pack compares lengths only, which costs nothing; reading compares each episode once.
"""

from egowm.checks import counted
from egowm.checksums import SUMS, read_sums, sum_of
from egowm.data.inspect.findings import Finding
from egowm.data.packed import Packed, frames_name
from egowm.data.threads import in_threads


def sum_findings(data: Packed, workers: int, progress: bool) -> list[Finding]:
    """Frames that changed since they were packed. workers: threads, 0: one a core, at most 8."""
    try:
        sums = read_sums(data.folder)
    except FileNotFoundError:
        text = f"{data.folder / SUMS} is missing: frames are not compared with what was packed"
        return [Finding("warning", "checksum", "", text)]
    except ValueError as error:
        return [Finding("error", "checksum", "", str(error))]
    names = [row["name"] for row in data.index["episodes"]]
    files = [f"frames-{data.index['key']}/{frames_name(k)}" for k in range(len(names))]
    now = in_threads(
        lambda name: sum_of(data.folder / name), files, workers, "comparing checksums", progress
    )
    changed = [k for k, value in enumerate(now) if sums.get(files[k]) != value]
    if not changed:
        text = f"{counted(len(files), 'episode')}: all frames are those that were packed"
        return [Finding("note", "checksum", "", text)]
    advice = "copy the pack again, or delete the file and pack again"
    return [
        Finding("error", "checksum", names[k], f"{files[k]}: changed since it was packed; {advice}")
        for k in changed
    ]
