"""`egowm evaluate`: predict, score and report in one go."""

from collections.abc import Sequence
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.commands.tracker_options import add_options, chosen_tracker
from egowm.evaluation.evaluate import annotator, evaluate, table
from egowm.evaluation.rows import make_rows
from egowm.evaluation.run_writer import RUN
from egowm.files import check_folder
from egowm.recipe import open_recipe
from egowm.world_model import WorldModel


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm evaluate EXPORT -c RECIPE --output RUN`."""
    parser = Parser(
        prog="egowm evaluate",
        description=__doc__,
        example="egowm evaluate exports/rooms -c recipes/rooms_svd.yaml --output runs/score",
    )
    parser.add_argument("model", help="an export: the folder of `egowm export`, or rooms")
    parser.add_argument("-c", "--config", required=True, type=Path, help="recipe with the data")
    parser.add_argument("--output", required=True, type=Path, help="run folder to write")
    parser.add_argument("--base", help="folder of the base pipeline, if it moved")
    parser.add_argument("--data.root", dest="root", help="replaces the recipe's data root")
    parser.add_argument("--annotations", help="folder of <clip>.png: structures drawn by hand")
    add_options(parser, "palette (rooms, the default), sam2 or flow (any video)", "palette")
    parser.add_argument("--clips", type=int, default=16, help="test clips (default 16)")
    parser.add_argument("--horizon", type=int, default=16, help="future frames (default 16)")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the export's)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument(
        "--actions",
        default="true,shuffled",
        help="rows, comma-separated: true, shuffled, zero, mirrored (default true,shuffled)",
    )
    parser.add_argument("--force", action="store_true", help="replace a run that is there")
    args = parser.parse_args(argv)
    check_folder(args.output, RUN, args.force)
    tracker = chosen_tracker(args)
    assert tracker is not None
    model = WorldModel.from_pretrained(args.model, base=args.base)
    data = open_recipe(args.config).data(args.root)
    annotate = annotator(data, args.annotations)
    rows = list(make_rows(model, Path(args.model).name, args.actions))
    summary = evaluate(
        rows,
        data,
        args.output,
        clips=args.clips,
        horizon=args.horizon,
        steps=args.steps,
        seed=args.seed,
        tracker=tracker,
        annotate=annotate,
    )
    print(table(rows, summary))
    if annotate is None:
        print("No SCS, since no structures are marked: see `egowm-scs annotate`, --annotations.")
    print(f"report: {summary['report']}")
    return 0
