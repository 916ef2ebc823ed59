"""`egowm data`: look at recordings before training on them.

check: read everything once and name what is wrong. stats: measure actions into an ActionSpec.
show: a contact sheet with actions drawn. convert: a rover's log or a ROS bag into NWM folders.
draw: runs of the embedded humanoid in 1X's or LeRobot's layout.
pack: decode and resize once, into what is read fastest. cache: ask a recipe's frozen encoders once.
"""

import argparse
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egowm.checks import counted
from egowm.commands.parser import Parser
from egowm.commands.tables_first import add_columns, is_recipe, looked_at
from egowm.data.inspect.signs import check_is_folder
from egowm.data.table_columns import Columns
from egowm.files import FileKind, check_file, check_folder

SPEC = FileKind("an ActionSpec", rb'\{\s*"names": \[')
SOURCE = "a folder of recordings, or a recipe whose data section says how to read them"
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand; exit status 1 when `check` found errors."""
    from egowm.commands import data_cache, data_convert, data_draw

    args = _parser().parse_args(argv)
    run = {
        "check": _check,
        "stats": _stats,
        "show": _show,
        "convert": data_convert.run,
        "draw": data_draw.run,
        "pack": _pack,
        "cache": data_cache.run,
    }
    return run[args.verb](args)


def _parser() -> Parser:
    parser = Parser(prog="egowm data", description=__doc__, example="egowm data check recordings/")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (_add_check, _add_stats, _add_show, _add_convert, _add_draw, _add_pack, _add_cache):
        add(verbs)
    return parser


def _add_check(verbs: Any) -> None:
    check = _verb(
        verbs,
        "check",
        "read everything once and name what is wrong",
        "egowm data check recipes/recon_svd.yaml --root /data/recon",
    )
    check.add_argument("path", type=Path, help=SOURCE)
    check.add_argument("--root", help="in place of the recipe's root")
    add_columns(check)
    check.add_argument("--json", action="store_true", help="findings as JSON on stdout")
    check.add_argument("--workers", type=int, default=0, help="threads (default: one a core)")


def _add_stats(verbs: Any) -> None:
    stats = _verb(
        verbs,
        "stats",
        "measure the training actions into an ActionSpec",
        "egowm data stats my_robot.yaml -o my_robot.json",
    )
    stats.add_argument("path", type=Path, help=SOURCE)
    stats.add_argument("--root", help="in place of the recipe's root")
    add_columns(stats)
    stats.add_argument("-o", "--output", type=Path, help="JSON file (default: print it)")
    stats.add_argument(
        "--normaliser",
        choices=("min-max", "quantile", "mean-std", "none"),
        help="how every dimension of an action is scaled",
    )


def _add_show(verbs: Any) -> None:
    show = _verb(
        verbs,
        "show",
        "a contact sheet: frames with their actions drawn",
        "egowm data show my_robot.yaml -o sheet.png --episodes 2",
    )
    show.add_argument("path", type=Path, help=SOURCE)
    show.add_argument("--root", help="in place of the recipe's root")
    add_columns(show)
    show.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("contact_sheet.png"),
        help="picture to write (default contact_sheet.png)",
    )
    show.add_argument("--force", action="store_true", help="replace a picture that is no PNG")
    show.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default="train",
        help="episodes (default train)",
    )
    show.add_argument("--episodes", type=int, default=4, help="rows (default 4)")
    show.add_argument("--frames", type=int, default=8, help="columns (default 8)")
    show.add_argument("--stride", type=int, default=4, help="frames between columns (default 4)")


def _add_convert(verbs: Any) -> None:
    from egowm.commands import data_convert

    data_convert.configure(
        _verb(
            verbs,
            "convert",
            "a rover's log or a ROS bag into NWM folders",
            "egowm data convert drive.bag recordings/ --images /camera --odometry /odom",
        )
    )


def _add_draw(verbs: Any) -> None:
    from egowm.commands import data_draw

    data_draw.configure(
        _verb(
            verbs,
            "draw",
            "runs of the embedded humanoid in 1X's or LeRobot's layout",
            "egowm data draw humanoid/ --layout one-x --behaviour navigation",
        )
    )


def _add_pack(verbs: Any) -> None:
    pack = _verb(
        verbs,
        "pack",
        "decode and resize once, into what is read fastest",
        "egowm data pack my_robot.yaml packed/my_robot",
        "Write all episodes as egowm.data.Packed reads them: decoded and resized, 3 x "
        "height x width bytes a frame. An interrupted packing goes on where it stopped.",
    )
    pack.add_argument("path", type=Path, help=SOURCE)
    pack.add_argument("output", type=Path, help="the pack's folder")
    pack.add_argument(
        "--to", choices=("pack", "litdata"), default="pack",
        help="pack (default), or litdata: chunks that are read from a bucket (egowm.data.LitData)",
    )  # fmt: skip
    pack.add_argument("--root", help="in place of the recipe's root")
    add_columns(pack)
    pack.add_argument("--height", type=int, help="pixels; in place of the recipe's")
    pack.add_argument("--width", type=int, help="pixels; in place of the recipe's")
    pack.add_argument("--workers", type=int, default=0, help="threads (default: one a core)")


def _add_cache(verbs: Any) -> None:
    from egowm.commands import data_cache

    data_cache.add_arguments(
        _verb(
            verbs,
            "cache",
            "latents and embeddings of a recipe's clips, once and for all",
            "egowm data cache -c recipes/rooms_svd.yaml --output latents/rooms",
            "Write the outputs of a recipe's frozen encoders for training and validation clips, "
            "as egowm fit --cache reads them. An interrupted one goes on where it stopped.",
        )
    )


def _verb(verbs: Any, name: str, about: str, example: str, description: str = "") -> Parser:
    """The parser of a subcommand."""
    about_it = description or f"{about[0].upper()}{about[1:]}."
    parser: Parser = verbs.add_parser(name, help=about, description=about_it, example=example)
    return parser


def _open(args: argparse.Namespace, columns: Columns):  # type: ignore[no-untyped-def]
    """The data of a recipe (a .yaml file), or of a folder of recordings with these columns."""
    if not is_recipe(args.path):
        check_is_folder(args.path)
    from egowm.data import VideoCSV
    from egowm.data.inspect.opening import open_folder
    from egowm.recipe import open_recipe

    if is_recipe(args.path):
        return open_recipe(args.path).data(args.root)
    data = open_folder(args.path, columns)
    if isinstance(data, VideoCSV) and columns.actions is None and columns.kind is None:
        log.warning(
            "%s: all columns but the times are taken for actions: %s. --actions NAME NAME says "
            "which are.", args.path, ", ".join(data.meaning.names),
        )  # fmt: skip
    return data


def _check(args: argparse.Namespace) -> int:
    data = _open(args, looked_at(args))
    from egowm.data.inspect.check import check, summary

    findings = check(data, args.workers, progress=not args.json)
    errors = sum(finding.level == "error" for finding in findings)
    if args.json:
        rows = [finding._asdict() for finding in findings]
        print(json.dumps({"errors": errors, "findings": rows}, indent=2))
        return 1 if errors else 0
    print(summary(data))
    for finding in findings:
        print(finding.line())
    counts = Counter(finding.level for finding in findings)
    print(", ".join(counted(counts[level], level) for level in ("error", "warning", "note")))
    return 1 if errors else 0


def _stats(args: argparse.Namespace) -> int:
    from dataclasses import replace

    if args.output is not None:
        check_file(args.output, SPEC)
    data = _open(args, looked_at(args))
    if args.normaliser:
        data.meaning = replace(data.meaning, normalisers=(args.normaliser,) * data.meaning.width)
    spec = data.spec
    if args.output is None:
        print(json.dumps(spec.record(), indent=2))
        return 0
    spec.save(args.output)
    width = counted(spec.width, "dimension")
    print(f"{args.output}: {width} at {spec.rate_hz:g} Hz, {', '.join(spec.names)}")
    return 0


def _show(args: argparse.Namespace) -> int:
    columns = looked_at(args)
    from egowm.data.inspect.contact_sheet import contact_sheet, kind_of, write_sheet
    from egowm.data.inspect.conventions import conventions

    check_file(args.output, kind_of(args.output), args.force)
    if min(args.episodes, args.frames, args.stride) < 1:
        raise ValueError("show: episodes, frames and stride are at least 1.")
    data = _open(args, columns)
    episodes = data.split(args.split)[: args.episodes]
    if not episodes:
        raise ValueError(f"{args.path}: no episode in split {args.split}; choose another --split.")
    write_sheet(args.output, contact_sheet(episodes, data.meaning, args.frames, args.stride))
    for line in conventions(data.meaning):
        print(line)
    print(args.output)
    return 0


def _pack(args: argparse.Namespace) -> int:
    columns = looked_at(args)
    if not is_recipe(args.path) and None in (args.height, args.width):
        raise ValueError(f"{args.path} is no recipe: give --height and --width.")
    from egowm.data.lit_packing import LITDATA, pack_litdata
    from egowm.data.packing import PACK, pack

    kind = LITDATA if args.to == "litdata" else PACK
    check_folder(args.output, kind, force=True)  # one that was begun goes on
    data = _open(args, columns)
    size = (args.height or data.window.height, args.width or data.window.width)
    if args.to == "litdata":
        rows = pack_litdata(data, args.output, size)["episodes"]
    else:
        rows = pack(data, args.output, size, args.workers)["episodes"]
    count, each = sum(row["num_frames"] for row in rows), 3 * size[0] * size[1]
    print(
        f"{args.output}: {counted(len(rows), 'episode')}, {counted(count, 'frame')} of "
        f"{size[0]}x{size[1]}, {counted(each, 'byte')} a frame, {count * each / 1e9:.3g} GB"
    )
    reader = "LitData" if args.to == "litdata" else "Packed"
    print(f"train from it: --data egowm.data.{reader} --data.root {args.output}")
    return 0
