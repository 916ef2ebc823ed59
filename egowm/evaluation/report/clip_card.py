"""One clip of the report: its videos side by side, the actions, and the overlap over time."""

import base64
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from egowm.evaluation.report.line_chart import command_chart, iou_chart
from egowm.evaluation.report.page import joined
from egowm.evaluation.report.path_drawing import draw_path, is_planar
from egowm.evaluation.report.score_table import number
from egowm.evaluation.run_folder import TRUTH, Actions, RunFolder
from egowm.scs.masks import VOID, davis_palette
from egowm.scs.record import ClipRecord

MAX_SIDE = 320  # pixels: larger frames are shown smaller
SMALL_SIDE = 128  # frames up to here keep their pixels: doubled, so that chroma survives the codec
_QUALITY = 88
Curve = tuple[float | None, ...]


def draw_card(
    name: str,
    figures: Sequence[Markup],
    last: int,
    scs: float | None,
    psnr: float,
    colours: Mapping[int, str],
    outline: str = "",
    section: str = "",
) -> Markup:
    """The clip's section: its columns of videos over the legend; last: its last frame.

    outline: what lies over every video at frame 0, as a data URI. section: of the page, "" for its
    first one: two sections may show clips of one name.
    """
    style = Markup(' style="--outline:url({})"').format(outline) if outline else ""
    return Markup(
        '<article class="card" id="{anchor}" data-last="{last}" data-name="{name}" '
        'data-scs="{scs}" data-psnr="{psnr}" data-chance="{chance:.6f}"{style}>'
        '<h3>{name}</h3><div class="columns">{figures}</div>{legend}</article>'
    ).format(
        anchor=anchor(f"{section}/{name}" if section else name),
        last=last,
        name=name,
        scs=number(scs),
        psnr=number(psnr),
        chance=random.Random(name).random(),
        style=style,
        figures=joined(figures),
        legend=_legend(colours, bool(outline)),
    )


def draw_run_card(
    run: RunFolder,
    clip: str,
    videos: Mapping[str, np.ndarray],
    entries: Mapping[str, ClipRecord],
    psnrs: Mapping[str, float],
    section: str = "",
) -> Markup:
    """One clip of a run. videos: folder -> (T+1, H, W, 3) uint8, the truth among them.

    entries and psnrs: per variant folder; a variant without scores shows its video only. section:
    as of `draw_card`.
    """
    last = len(videos[TRUTH]) - 1
    curves = {folder: curves_of(entry, last) for folder, entry in entries.items()}
    ids = {k for lines in curves.values() for k in lines}
    annotation = run.annotation(clip)
    outline, palette = "", davis_palette()
    if annotation is not None:
        labels, palette = annotation
        ids |= {int(k) for k in np.unique(labels)} - {0, VOID}
        outline = _outline(labels, palette)
    colours = colours_of(sorted(ids), palette)
    figures = [_truth_column(run, clip, videos[TRUTH])]
    scores = {folder: entry.get("scs") for folder, entry in entries.items()}
    for variant in run.variants:
        note = _note(scores.get(variant.folder), psnrs[variant.folder])
        figure = draw_figure(videos[variant.folder], "Prediction", variant.label, note, clip)
        chart = draw_overlap(curves.get(variant.folder), colours, last, variant.label)
        below = Markup("<div>{}{}</div>").format(chart, _draw_told(run, clip, variant.folder))
        figures.append(draw_column("pred", figure, below))
    primary = run.variants[0].folder
    scs, level = scores.get(primary), psnrs[primary]
    return draw_card(clip, figures, last, scs, level, colours, outline, section)


def draw_column(kind: str, *pieces: Markup) -> Markup:
    """A video with what belongs below it; kind: "truth" or "pred"."""
    return Markup('<div class="column {}">{}</div>').format(kind, joined(pieces))


def anchor(name: str) -> str:
    """The name as an id of the page: letters and digits stay, all else becomes numbers."""
    return "clip-" + "".join(c if c.isalnum() and c.isascii() else f"-{ord(c)}-" for c in name)


def colours_of(ids: Iterable[int], palette: np.ndarray) -> dict[int, str]:
    """The CSS colour of each structure; palette: (256, 3) uint8."""
    return {k: "#{:02x}{:02x}{:02x}".format(*palette[k % 256]) for k in ids}


def curves_of(clip: ClipRecord, last: int) -> dict[int, Curve]:
    """IoU (percent) of every structure over frames 0..last; frame 0, not scored, is None.

    Raises ValueError for scores of a video of another length.
    """
    curves = {}
    for structure in clip.get("objects") or []:
        values = structure.get("iou") or []
        if len(values) != last:
            raise ValueError(
                f"clip {clip['name']}: expected {last} IoU values per structure, got "
                f"{len(values)}. The scores are of other videos; score again."
            )
        curves[structure["id"]] = (None, *values)
    return curves


@dataclass(frozen=True)
class Sheet:
    """All frames of a video in one still picture, row by row, a margin around each.

    height, width: of a frame in the picture; margin (rows, columns) of pixels before each frame.
    """

    webp: bytes
    columns: int
    height: int
    width: int
    cell: tuple[int, int]  # rows and columns of pixels from one frame to the next
    margin: tuple[int, int]


def sheet(frames: np.ndarray) -> Sheet:
    """Put frames (n, H, W, 3) uint8 on a sheet, at most `MAX_SIDE` pixels a side each."""
    from egowm.video import resize, webp_bytes

    count, height, width = frames.shape[:3]
    if max(height, width) <= SMALL_SIDE:
        frames = frames.repeat(2, axis=1).repeat(2, axis=2)
    elif max(height, width) > MAX_SIDE:
        scale = MAX_SIDE / max(height, width)
        frames = resize(frames, round(height * scale), round(width * scale))
    height, width = frames.shape[1:3]
    # The codec works on blocks of 16 pixels: repeated edges up to whole blocks keep frames apart.
    cell = (16 * math.ceil((height + 8) / 16), 16 * math.ceil((width + 8) / 16))
    margin = ((cell[0] - height) // 2, (cell[1] - width) // 2)
    top, left = margin
    around = ((top, cell[0] - height - top), (left, cell[1] - width - left))
    frames = np.pad(frames, ((0, 0), *around, (0, 0)), mode="edge")
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = np.zeros((rows * columns, *cell, 3), np.uint8)
    cells[:count] = frames
    picture = cells.reshape(rows, columns, *cell, 3).swapaxes(1, 2)
    picture = picture.reshape(1, rows * cell[0], columns * cell[1], 3)
    data = webp_bytes(picture, fps=1.0, quality=_QUALITY)
    return Sheet(data, columns, height, width, cell, margin)


def _truth_column(run: RunFolder, clip: str, frames: np.ndarray) -> Markup:
    figure = draw_figure(frames, "Truth", "recorded video", Markup(""), clip)
    return draw_column("truth", figure, _draw_actions("Actions", run.actions[clip], run.meaning))


def _draw_told(run: RunFolder, clip: str, folder: str) -> Markup:
    """The actions that a variant was told, where they are not the clip's own."""
    told = run.told.get(clip, {}).get(folder)
    if told is None:
        return Markup("")
    actions = np.asarray(told["actions"])
    return _draw_actions(_whose(told["clip"], actions, run.actions[clip]), actions, run.meaning)


def _whose(other: str, told: np.ndarray, true: np.ndarray) -> str:
    """What a variant was told, in words. other: the clip whose actions they are, or ""."""
    if other:
        return f"Told the actions of clip {other}"
    if not told.any():
        return "Told zeros"
    mirrored = told.shape == true.shape and np.allclose(np.abs(told), np.abs(true))
    return "Told mirrored actions" if mirrored else "Told other actions"


def _draw_actions(title: str, actions: np.ndarray, meaning: Actions) -> Markup:
    """Actions (T, A) under a title: a path from above, or each one over time."""
    if not len(actions) or not meaning.names:
        return Markup("")
    if is_planar(meaning):
        drawing, below = draw_path(actions, meaning)
        title = f"{title}, seen from above"
    else:
        drawing, below = command_chart(actions, meaning.names, meaning.units)
    return Markup('<div class="plot"><h4>{}</h4>{}<p>{}</p></div>').format(title, drawing, below)


def draw_figure(
    frames: np.ndarray,
    role: str,
    label: str,
    note: Markup,
    clip: str,
    masks: Callable[[Sheet], bytes] | None = None,
) -> Markup:
    """One video. note: below it; masks: PNG of what is drawn on top, cells without margins."""
    drawn = sheet(frames)
    data = base64.b64encode(drawn.webp).decode()
    over = Markup("")
    if masks is not None:
        png = base64.b64encode(masks(drawn)).decode()
        over = Markup('<img class="masks" hidden alt="" src="data:image/png;base64,{}">').format(
            png
        )
    small = " pixels" if max(frames.shape[1:3]) <= SMALL_SIDE else ""
    places = " ".join(str(n) for n in (drawn.columns, *drawn.cell, *drawn.margin))
    return Markup(
        "<figure><figcaption><strong>{role}</strong> <span>{label}</span></figcaption>"
        '<div class="screen"><canvas class="video{small}" width="{width}" height="{height}" '
        'data-places="{places}" role="img" '
        'aria-label="{role} ({label}) of clip {clip}, {count} frames"></canvas>'
        '<img class="sheet" hidden alt="" src="data:image/webp;base64,{data}">{over}</div>'
        '<p class="note">{note}</p></figure>'
    ).format(
        role=role,
        label=label,
        small=small,
        width=drawn.width,
        height=drawn.height,
        places=places,
        clip=clip,
        count=len(frames),
        data=data,
        over=over,
        note=note or Markup("&nbsp;"),
    )


def _note(score: float | None, decibels: float) -> Markup:
    scs = Markup("")
    if score is not None:
        scs = Markup("<span>SCS <b>{:.1f}</b></span> ").format(score)
    return Markup("{}<span>PSNR <b>{:.1f}</b> dB</span>").format(scs, decibels)


def draw_overlap(
    curves: Mapping[int, Curve] | None, colours: Mapping[int, str], last: int, label: str
) -> Markup:
    """The chart of IoU over frames with its heading; empty without curves."""
    if not curves:
        return Markup("")
    means = []
    for k, values in curves.items():
        defined = [v for v in values if v is not None]
        if defined:
            means.append(f"structure {k} mean {sum(defined) / len(defined):.1f}")
    alt = f"Overlap with the truth over frames, {label}: {', '.join(means) or 'undefined'}"
    return Markup('<div class="plot"><h4>Overlap of structures (IoU) by frame</h4>{}</div>').format(
        iou_chart(curves, colours, last, alt)
    )


def _legend(colours: Mapping[int, str], outlined: bool) -> Markup:
    """Which colour is which structure."""
    if not colours:
        return Markup("")
    items = joined(
        Markup('<li><i style="background:{}"></i>{}</li>').format(colour, k)
        for k, colour in colours.items()
    )
    title = "Structures, outlined in frame 0" if outlined else "Structures"
    return Markup('<p class="legend">{}:</p><ul class="legend">{}</ul>').format(title, items)


def _outline(ids: np.ndarray, palette: np.ndarray) -> str:
    """Transparent PNG data URI of the structures' inner edges, at least about 256 pixels wide."""
    import io

    from PIL import Image

    factor = max(1, math.ceil(256 / max(ids.shape)))
    large = ids.repeat(factor, axis=0).repeat(factor, axis=1)
    reach = max(1, round(max(large.shape) / 128))
    padded = np.pad(large, reach, mode="edge")
    edge = np.zeros(large.shape, bool)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        rows = slice(down * reach, down * reach + large.shape[0])
        columns = slice(right * reach, right * reach + large.shape[1])
        edge |= padded[rows, columns] != large
    edge &= (large != 0) & (large != VOID)
    paint = np.zeros((*large.shape, 4), np.uint8)
    paint[edge, :3] = palette[large[edge]]
    paint[edge, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(paint).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
