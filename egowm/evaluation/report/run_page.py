"""`egowm report RUN`: one HTML page, complete in itself, that shows what a model predicted.

Truth and predictions play in step beside the actions and the overlap over time, under the table of
scores. The page opens from disk without internet. Beside it, RUN/videos/ gets an mp4 per clip. A
run in a folder of its own inside the run, as the demo's humanoid, gets a section below it, and
its videos beside it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from egowm.checks import checked, counted
from egowm.evaluation.report.clip_card import draw_run_card
from egowm.evaluation.report.comparison_videos import write_comparison
from egowm.evaluation.report.page import draw_orders, fill, joined
from egowm.evaluation.report.run_scores import clips_of, read_all, read_metrics
from egowm.evaluation.report.section import Part, described, draw_links, draw_section
from egowm.evaluation.run_folder import TRUTH, RunError, RunFolder, check_page, read_run
from egowm.files import check_link
from egowm.pixels import psnr
from egowm.scs.record import ClipRecord
from egowm.scs.result import write_whole

_LEAD = (
    "Every video starts from the same recorded frame. Then the truth shows what the camera saw, "
    "the predictions what the model expected. All videos move in step."
)
_SPREAD = "The clips here are spread evenly from the lowest to the highest; the table counts all,"


@checked
def write_report(
    run: Path | str,
    output: Path | str | None = None,
    max_clips: int = 24,
    videos: bool = True,
) -> Path:
    """Write the report of a run folder and return its path.

    Args:
        run: Folder that `egowm predict` wrote, scored or not. Runs that lie in it are shown below.
        output: The page; RUN/report.html by default.
        max_clips: How many clips of a run the page embeds, at least 1, spread evenly from the
            lowest score to the highest, the most typical first.
        videos: Also write RUN/videos/*.mp4 of these clips.

    Raises:
        ValueError: A folder that does not fit; one line says what to do.
        OSError: The page would take the place of another file.

    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from egowm.video import write_frames
    >>> with TemporaryDirectory() as folder:
    ...     for half, grey in (("gt", 100), ("pred", 105)):  # 5 grey levels apart: 34.2 dB
    ...         write_frames(f"{folder}/{half}/clip", np.full((3, 16, 16, 3), grey, np.uint8))
    ...     described = {"fps": 4, "clips": {"clip": {"actions": [[0.1], [0.1]]}}}
    ...     written = Path(folder, "clips.json").write_text(json.dumps(described))
    ...     page = write_report(Path(folder), videos=False).read_text("utf-8")
    >>> page.count("<td>34.2</td>")
    1
    """
    output = check_page(Path(run), output, max_clips, videos)
    above, *below = read_run(Path(run)), *_inside(Path(run), videos)
    first = _drawn(above, max_clips, videos)
    more = [_drawn(inner, max_clips, videos, inner.path.name) for inner in below]
    write_whole(output, _page(first, more))
    return output


def _inside(run: Path, videos: bool) -> list[RunFolder]:
    """The runs in a run's folder, read before anything is drawn; not those being written."""
    found = []
    for path in sorted(file.parent for file in run.glob("*/clips.json")):
        if path.name.startswith("."):
            continue
        if videos:
            check_link(path / "videos")
        try:
            found.append(read_run(path))
        except ValueError as error:
            raise RunError(
                f"{error} The page shows the runs in {run} as well: to leave {path.name} out, move "
                f"it elsewhere."
            ) from error
    return found


def _drawn(folder: RunFolder, max_clips: int, videos: bool, section: str = "") -> Part:
    """A run of the page; writes its videos, too. section: where it is shown, "" at the head."""
    scores = read_all(folder)
    psnrs = {
        clip: _clip_psnrs(folder, clip)
        for clip in tqdm(folder.clips, desc="Report: reading clips", disable=None)
    }
    by_clip = {f: {c["name"]: c for c in clips_of(score)} for f, score in scores.items()}
    shown = _typical_first(folder, by_clip[folder.variants[0].folder], psnrs, max_clips)
    cards = []
    for clip in tqdm(shown, desc="Report: drawing clips", disable=None):
        frames = folder.videos(clip)
        entries = {f: entries[clip] for f, entries in by_clip.items() if clip in entries}
        cards.append(draw_run_card(folder, clip, frames, entries, psnrs[clip], section))
        if videos:
            write_comparison(folder, clip, frames)
    return Part(folder, scores, psnrs, cards, read_metrics(folder))


def _clip_psnrs(run: RunFolder, clip: str) -> dict[str, float]:
    """PSNR of each variant, and of the first frame repeated, over frames 1..T of a clip."""
    videos = run.videos(clip)
    truth = videos.pop(TRUTH)
    videos["copy"] = truth[:1].repeat(len(truth), axis=0)
    return {folder: psnr(video[1:], truth[1:]) for folder, video in videos.items()}


def _typical_first(
    run: RunFolder,
    entries: Mapping[str, ClipRecord],
    psnrs: Mapping[str, Mapping[str, float]],
    most: int,
) -> list[str]:
    """At most so many clips, spread evenly over the first variant's SCS, the median first.

    Clips without a score come last; without any score the clips stand by PSNR.
    """
    values = {clip: entries[clip].get("scs") for clip in run.clips if clip in entries}
    scores = {clip: scs for clip, scs in values.items() if scs is not None}
    if not scores:
        scores = {clip: psnrs[clip][run.variants[0].folder] for clip in run.clips}
    order = sorted(scores, key=lambda clip: scores[clip])
    if len(order) > most:
        middle = (len(order) - 1) // 2  # takes the place of the one nearest to it
        places = [round(place) for place in np.linspace(len(order) - 1, 0, most)]
        places[int(np.argmin([abs(place - middle) for place in places]))] = middle
        order = [order[place] for place in places]
    median = float(np.median(list(scores.values())))
    typical = sorted(order, key=lambda clip: abs(scores[clip] - median))
    return [*typical, *(clip for clip in run.clips if clip not in scores)][:most]


def _page(part: Part, more: Sequence[Part]) -> str:
    """Fill the template."""
    run, cards = part.run, part.cards
    left_out = len(run.clips) - len(cards)
    primary = clips_of(part.scores[run.variants[0].folder])
    measure = "SCS" if any(clip.get("scs") is not None for clip in primary) else "PSNR"
    lasts = [len(actions) for p in (part, *more) for actions in p.run.actions.values()]
    values = described(part) | {
        "links": draw_links(more),
        "fps": f"{run.fps:g}",
        "last": max(lasts),
        "all_clips": "",
        "lead": f"{_LEAD} The clip with the most typical {measure} comes first."
        + (f" {_SPREAD} also {counted(left_out, 'clip')} left out." if left_out else ""),
        "orders": draw_orders(
            "typical", *(("worst", "best") if measure == "SCS" else ()), "psnr", "name"
        ),
        "more": joined(draw_section(p, run.fps) for p in more),
        "mask_button": "",
    }
    return fill(values)
