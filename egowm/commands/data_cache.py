"""`egowm data cache`: its options, and what it prints."""

import argparse
from pathlib import Path
from typing import Any

from egowm.checks import counted
from egowm.commands.device_option import add_device, chosen_device
from egowm.commands.launching import add_launch, chosen_launch, logs_beside, run_workers
from egowm.commands.parser import Parser
from egowm.shares import ALL, share_of

EPILOG = "train from it: egowm fit -c {recipe} --cache {folder}"


def add_arguments(parser: Parser) -> None:
    """Those of `egowm data cache`."""
    parser.add_argument("-c", "--config", required=True, type=Path, help="a recipe")
    parser.add_argument(
        "--output", type=Path, help="folder to write (default: latents in default_root_dir)"
    )
    parser.add_argument("--data.root", dest="root", help="replaces the recipe's data root")
    parser.add_argument(
        "--model.backbone.pretrained", dest="pretrained", help="replaces the recipe's base"
    )
    add_launch(parser, "only the I-th of N parts of the cache")
    add_device(parser, "that encodes")
    parser.add_argument(
        "--batch_size", type=int, default=8, help="frames or clips encoded at once (default 8)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="as stored (default float16)",
    )
    parser.add_argument(
        "--thorough", action="store_true", help="compare checksums of what is there already"
    )


def run(args: argparse.Namespace) -> int:
    """Say what will be written, and write it."""
    launch = chosen_launch(args)
    share = ALL if args.shard is None else share_of(args.shard)
    from egowm.files import check_folder
    from egowm.recipe import open_recipe
    from egowm.training.latents.writer import CACHE, LatentWriter

    if args.batch_size < 1:
        raise ValueError(f"cache: expected a batch_size of at least 1, got {args.batch_size}.")
    device, recipe = chosen_device(args), open_recipe(args.config)
    section = recipe.world_model(args.pretrained)
    folder = args.output or Path(recipe.trainer.get("default_root_dir", "runs/default"))
    folder = folder if args.output else folder / "latents"
    check_folder(folder, CACHE, force=True)  # one that was begun goes on
    place = device if launch is None else "cpu"  # the device is the workers' first
    writer = LatentWriter(_backbone(section), recipe.data(args.root), args.dtype, place)
    print(describe(writer))
    if launch is not None:
        writer.check(folder)
        run_workers(launch, ["egowm.commands.main", "data"], args.words, logs_beside(folder))
        writer.to(device)
    cache = writer.write(folder, share, args.batch_size, args.thorough)
    left = sum(cache.damaged(number) is not None for number in range(cache.num_shards))
    whole = "whole" if not left else f"missing yet: {left} of {counted(cache.num_shards, 'shard')}"
    print(f"{folder}: {whole}")
    if not left:
        print(EPILOG.format(recipe=args.config, folder=folder))
    return 0


def describe(writer: Any) -> str:
    """What a cache takes, before it is written."""
    each = {name: value.nbytes for name, value in writer.tensors.items()}
    kind = "frame" if writer.backbone.codec.frame_wise else "window"
    parts = ", ".join(f"{name} {size}" for name, size in each.items())
    hour = f"{writer.bytes_per_hour / 1e9:.3g} GB per hour of video"
    rows, size = writer.num_rows, writer.bytes_per_row
    return (
        f"{counted(len(writer.places), 'episode')}, {counted(rows, kind)}; "
        f"bytes a {kind}: {size} ({parts})\n"
        f"{hour} at {writer.data.meaning.rate_hz:g} Hz, {rows * size / 1e9:.3g} GB in all, in "
        f"{counted(-(-rows // writer.size), 'shard')}"
    )


def _backbone(section: dict[str, Any]) -> Any:
    """The backbone as the model trains it, with its weights."""
    from egowm.recipe import build_model

    model = build_model(section)
    model.configure_model()
    return model.backbone.eval()
