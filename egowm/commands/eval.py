"""`egowm eval`: predict, measure and report in one go; compare two such runs."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from egowm import export
from egowm.checksums import sum_of
from egowm.commands.device_option import add_device, chosen_device
from egowm.commands.parser import Parser
from egowm.commands.tracker_options import add_options, chosen_tracker
from egowm.data.module import ClipData
from egowm.evaluation import compare
from egowm.evaluation.evaluate import annotator, evaluate
from egowm.evaluation.metrics.catalogue import load_metrics
from egowm.evaluation.protocol import Name, check_model, make_protocol
from egowm.evaluation.record import EvalRecord, load
from egowm.evaluation.rows import known_kinds, make_rows
from egowm.evaluation.run_writer import RUN
from egowm.evaluation.table import table
from egowm.files import check_folder
from egowm.recipe import open_recipe
from egowm.world_model import WorldModel

FELL = 4  # the exit status of a gate that did not open
REQUIRED = {"config": "-c RECIPE", "model": "--model EXPORT", "output": "--output RUN"}


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm eval -c RECIPE --model EXPORT --output RUN`, or `egowm eval --compare A B`.

    Returns 0, or 4 where `--gate` found a value worse than the baseline's.
    """
    args = _parser().parse_args(argv)
    if args.compare is not None:
        print(compare.format_comparison(compare.compare_evaluations(*args.compare)))
        return 0
    if missing := [flag for name, flag in REQUIRED.items() if getattr(args, name) is None]:
        raise ValueError(f"Give {', '.join(missing)} (or --compare A/eval.json B/eval.json).")
    check_folder(args.output, RUN, args.force)
    baseline = None if args.gate is None else load(args.gate)
    record = _evaluated(args, baseline)
    print(table(record))
    print(f"report: {args.output / 'report.html'}")
    return 0 if baseline is None else _gate(baseline, record, args)


def _evaluated(args: Namespace, baseline: EvalRecord | None) -> EvalRecord:
    tracker = chosen_tracker(args)
    assert tracker is not None
    device = chosen_device(args)
    model = WorldModel.from_pretrained(args.model, base=args.base)
    data = _data(args)
    protocol = make_protocol(args.protocol, data, args.horizon)
    check_model(protocol, model)
    kinds = known_kinds(data.clip_meaning) if args.actions is None else args.actions
    rows = list(make_rows(model, Path(args.model).name, kinds))
    metrics = load_metrics(args.weights, str(device), data)
    if baseline is not None:
        compare.check_gate(baseline, str(args.gate), protocol, metrics)
    model.to(device)
    return evaluate(
        rows,
        data,
        args.output,
        protocol=args.protocol,
        clips=args.clips,
        horizon=args.horizon,
        steps=args.steps,
        seed=args.seed,
        seeds=args.seeds,
        tracker=tracker,
        metrics=metrics,
        annotate=annotator(data, args.annotations),
        about=_about(args, model),
    )


def _data(args: Namespace) -> ClipData:
    data = open_recipe(args.config).data(args.root)
    return data if args.context is None else data.with_context(args.context)


def _about(args: Namespace, model: WorldModel) -> dict[str, Any]:
    """The recipe and the model by what they hold, so that a table can be traced back to them."""
    return {
        "recipe": {"name": args.config.name, "sha256": sum_of(args.config)},
        "model": {
            "name": Path(args.model).name,
            "sha256": sum_of(export.find(Path(args.model)) / export.WEIGHTS),
            "base_sha256": model.backbone.base_sha256,
            "steps": args.steps or model.steps,
        },
    }


def _gate(baseline: EvalRecord, record: EvalRecord, args: Namespace) -> int:
    """Hold the run against the baseline: 0, or `FELL`."""
    found = compare.compare_records(str(args.gate), baseline, str(args.output), record)
    print(compare.format_gate(found))
    return FELL if found.fallen else 0


def _parser() -> Parser:
    parser = Parser(
        prog="egowm eval",
        description=__doc__,
        example="egowm eval -c recipes/rooms_svd.yaml --model rooms --output runs/score\n"
        "egowm eval --compare runs/a/eval.json runs/b/eval.json",
    )
    add = parser.add_argument
    add("-c", "--config", metavar="RECIPE", type=Path, help="recipe with the data")
    add("--model", metavar="EXPORT", help="the folder that `egowm export` wrote, or rooms")
    add("--output", metavar="RUN", type=Path, help="run folder to write")
    add(
        "--protocol",
        choices=get_args(Name),
        default="egowm",
        help="egowm: frames from one context, values over frames 1 to k; nwm-rollout: the same, "
        "values at 1, 2, 4, 8, 16 s; nwm-time: one jump to each frame (default egowm)",
    )
    add("--base", help="folder of the base pipeline, if it moved")
    add("--data.root", dest="root", help="replaces the recipe's data root")
    add("--context", metavar="K", type=int, help="context frames (default: the recipe's)")
    add("--annotations", help="folder of <clip>.png: structures drawn by hand")
    add_options(parser, "palette (rooms, the default), sam2 or flow (any video)", "palette")
    add("--weights", metavar="FOLDER", type=Path, help="weights of LPIPS, DreamSim, FID, FVD")
    add("--clips", type=int, default=16, help="test clips (default 16)")
    add("--horizon", type=int, help="future frames (default: 16, or all whole seconds)")
    add("--steps", type=int, help="sampling steps (default: the export's)")
    add("--seed", type=int, default=0, help="first seed of the noise (default 0)")
    add("--seeds", type=int, default=1, help="how many seeds, for mean and spread (default 1)")
    add(
        "--actions",
        help="rows, comma-separated: true, shuffled, zero, mirrored (default: all that are known)",
    )
    add_device(parser, "that rolls out")
    add("--gate", metavar="BASELINE", type=Path, help="an eval.json; exit status 4 if worse")
    add("--compare", nargs=2, metavar="EVAL_JSON", type=Path, help="compare two runs, no more")
    add("--force", action="store_true", help="replace a run that is there")
    return parser
