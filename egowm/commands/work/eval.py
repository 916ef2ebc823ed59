"""What `egowm eval` does."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from egowm import export
from egowm.checksums import sum_of
from egowm.commands.device_option import chosen_device
from egowm.commands.tracker_options import chosen_tracker
from egowm.data.module import ClipData
from egowm.dynamics import Dynamics
from egowm.evaluation import compare
from egowm.evaluation.evaluate import annotator, evaluate
from egowm.evaluation.metrics.catalogue import load_metrics
from egowm.evaluation.protocol import check_model, make_protocol
from egowm.evaluation.record import EvalRecord, load
from egowm.evaluation.rows import known_kinds, make_rows
from egowm.evaluation.run_writer import RUN
from egowm.evaluation.table import table
from egowm.files import check_folder
from egowm.hub import located
from egowm.latent import from_pretrained
from egowm.recipe import open_recipe

FELL = 4  # the exit status of a gate that did not open


def run(args: Namespace) -> int:
    """Evaluate, or compare two evaluations; 0, or `FELL`."""
    if args.compare is not None:
        print(compare.format_comparison(compare.compare_evaluations(*args.compare)))
        return 0
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
    place = located(args.model)
    model = from_pretrained(place, base=args.base)
    data = _data(args)
    protocol = make_protocol(args.protocol, data, args.horizon)
    check_model(protocol, model)
    kinds = known_kinds(data.clip_meaning) if args.actions is None else args.actions
    name = _named(Path(args.model))
    rows = list(make_rows(model, name, kinds))
    metrics = load_metrics(args.weights, str(device), data, args.encoder)
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
        title=f"{name} on {args.config.stem}",
        about=_about(args, model, place),
    )


def _named(export: Path) -> str:
    """The folder's name, after its parent's where it says nothing: rover_svd/export."""
    parts = export.expanduser().resolve().parts
    return "/".join(parts[-2:]) if parts[-1] == "export" else parts[-1]


def _data(args: Namespace) -> ClipData:
    data = open_recipe(args.config).data(args.root)
    return data if args.context is None else data.with_context(args.context)


def _about(args: Namespace, model: Dynamics, place: Path) -> dict[str, Any]:
    """The recipe and the model by what they hold, so that a table can be traced back to them."""
    return {
        "recipe": {"name": args.config.name, "sha256": sum_of(args.config)},
        "model": {
            "name": Path(args.model).name,
            "sha256": sum_of(export.find(place) / export.WEIGHTS),
            **model.about(),
            "steps": args.steps or model.steps,
        },
    }


def _gate(baseline: EvalRecord, record: EvalRecord, args: Namespace) -> int:
    """Hold the run against the baseline: 0, or `FELL`."""
    found = compare.compare_records(str(args.gate), baseline, str(args.output), record)
    print(compare.format_gate(found))
    return FELL if found.fallen else 0
