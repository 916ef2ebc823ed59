"""What `egowm align` does."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from egowm.checks import check_between, counted
from egowm.commands.device_option import chosen_device
from egowm.data.module import ClipData
from egowm.data.reading import collate
from egowm.encoders.attention_maps import Alignment, alignment, same_place
from egowm.encoders.pairs import kinds_of
from egowm.encoders.single_life import FEW, SingleLife
from egowm.files import whole
from egowm.recipe import open_recipe
from egowm.scs.bootstrap import interval

A_AND_B, UNTRAINED, ITSELF = "A and B", "two untrained", "{} and its own place"
KINDS = Alignment._fields
Row = dict[str, np.ndarray]  # the kinds that are defined: (P,)


def run(args: argparse.Namespace) -> int:
    """Compare two exports, print the table, write it."""
    kinds_of(args.pairs)
    device = chosen_device(args)
    models = [SingleLife.from_pretrained(folder) for folder in (args.a, args.b)]
    shapes = [(model.size, model.patch) for model in models]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"Expected frames and patches of one size, got {shapes[0]} and {shapes[1]}."
        )
    check_between("--k", args.k, 1, models[0].count)
    models += [_untrained(model, args.seed + k) for k, model in enumerate(models)]
    data = open_recipe(args.config).data(args.root)
    data.prepare_data()
    maps, clips = _maps([model.to(device) for model in models], data, args)
    rows, count = _rows(maps, models[0], args.k), models[0].count
    found = {
        name: {kind: _summary(values, clips) for kind, values in row.items()}
        for name, row in rows.items()
    }
    clip_count = len(set(clips))
    about = {"a": str(args.a), "b": str(args.b), "recipe": str(args.config), "pairs": args.pairs}
    about |= {"gap": args.gap, "seed": args.seed, "rooms_or_videos": clip_count}
    about |= {"num_pairs": len(clips), "patches": count, "k": args.k, "chance": args.k / count}
    print(_table(found, about))
    if args.output is not None:
        with whole(args.output) as temporary:
            temporary.write_text(json.dumps(about | {"rows": found}, indent=1) + "\n")
    return 0


def _untrained(like: SingleLife, seed: int) -> SingleLife:
    """A network of the same shape with random weights."""
    names = ("size", "patch", "width", "layers", "heads", "decoder_width", "decoder_layers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = SingleLife(masked=FEW, **{name: getattr(like, name) for name in names})
        made.configure_model()
    return made.eval()


def _maps(
    models: list[SingleLife], data: ClipData, args: argparse.Namespace
) -> tuple[list[Tensor], list[str]]:
    """Each model's maps (P, N, N) of the same pairs, and the episode of each pair."""
    pairing = SingleLife(
        args.pairs, args.gap, masked=FEW, size=models[0].size, patch=models[0].patch,
        crop=0.6 if "augmented" in args.pairs else 1.0,
    )  # fmt: skip
    pairing.check_data(data)
    windows = data.windows("test", tiled=True)
    if not len(windows):
        raise ValueError(f"{data.source}: expected clips for testing, got none.")
    chosen = np.unique(np.linspace(0, len(windows) - 1, args.clips).round().astype(int))
    generator = torch.Generator().manual_seed(args.seed)
    found: list[list[Tensor]] = [[] for _ in models]
    episodes: list[str] = []
    for number in tqdm(chosen.tolist(), "aligning", unit="clip"):
        clip = collate([windows[number]])
        pairs = pairing.paired(clip, data, generator)
        sources, targets = (frames.to(models[0].device) for frames in pairs)
        for kept, model in zip(found, models, strict=True):
            kept.append(model.attention(sources, targets).cpu())
        episodes += [clip.name[0].rpartition("_")[0]] * len(sources)
    if len(episodes) < 2:
        raise ValueError("Expected at least 2 pairs, which centring needs, got 1: raise --clips.")
    return [torch.cat(kept) for kept in found], episodes


def _rows(maps: list[Tensor], model: SingleLife, k: int) -> dict[str, Row]:
    place = same_place(model.size // model.patch).expand_as(maps[0])
    rows: dict[str, Row] = {}
    for name, first in ((A_AND_B, 0), (UNTRAINED, 2)):
        shared = alignment(maps[first], maps[first + 1], k)
        rows[name] = {kind: values.numpy() for kind, values in shared._asdict().items()}
    for name, one in zip("AB", maps[:2], strict=True):
        rows[ITSELF.format(name)] = {"raw": alignment(one, place, k).raw.numpy()}
    return rows


def _summary(values: np.ndarray, episodes: list[str]) -> dict[str, Any]:
    return {"mean": float(values.mean()), "interval": interval(values, episodes)}


def _table(found: Mapping[str, Mapping[str, Mapping[str, Any]]], about: Mapping[str, Any]) -> str:
    lines = [
        f"most looked at: {about['k']} of {counted(about['patches'], 'patch', 'patches')}; "
        f"{counted(about['num_pairs'], 'pair')} ({about['pairs']}) of "
        f"{counted(about['rooms_or_videos'], 'episode')}",
        f"{'':<22}{'raw':<22}{'centred':<22}by target",
    ]
    for name, row in found.items():
        cells = [_cell(row[kind]) if kind in row else "-" for kind in KINDS]
        lines.append("".join(f"{cell:<22}" for cell in (name, *cells)).rstrip())
    chance = f"{about['chance']:.3f}"
    last = "".join(f"{cell:<22}" for cell in ("chance", *[chance] * len(KINDS)))
    return "\n".join([*lines, last.rstrip()])


def _cell(summary: Mapping[str, Any]) -> str:
    ends = summary["interval"]
    return f"{summary['mean']:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")
