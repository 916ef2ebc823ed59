"""What `egowm eval` does."""

from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

from egowm import export
from egowm.checks import counted
from egowm.checksums import sum_of
from egowm.commands.device_option import chosen_device
from egowm.commands.launching import Launch, logs_beside, run_workers
from egowm.commands.main import FELL
from egowm.commands.tracker_options import chosen_tracker
from egowm.data.module import ClipData
from egowm.dynamics import Dynamics
from egowm.evaluation import compare
from egowm.evaluation.evaluate import annotator, evaluate, evaluate_share, planned
from egowm.evaluation.kept import KEPT
from egowm.evaluation.metrics.catalogue import Metrics, load_metrics
from egowm.evaluation.protocol import check_model, make_protocol
from egowm.evaluation.record import EvalRecord, load
from egowm.evaluation.rows import Row, known_kinds, make_rows
from egowm.evaluation.table import table
from egowm.files import check_folder
from egowm.hub import located
from egowm.latent import from_pretrained
from egowm.recipe import open_recipe
from egowm.scs.trackers import MaskReader, Tracker
from egowm.shares import share_of


def run(args: Namespace, launch: Launch | None = None) -> int:
    """Evaluate, or compare two evaluations; 0, or `FELL`. launch: of the workers that predict."""
    if args.compare is not None:
        print(compare.format_comparison(compare.compare_evaluations(*args.compare)))
        return 0
    if args.shard is not None:
        return _share(args)
    if args.cache is not None:
        check_folder(args.cache, KEPT, force=True)
    baseline = None if args.gate is None else load(args.gate)
    record = _evaluated(args, baseline, launch)
    print(table(record))
    print(f"report: {args.output / 'report.html'}")
    return 0 if baseline is None else _gate(baseline, record, args)


def _evaluated(args: Namespace, baseline: EvalRecord | None, launch: Launch | None) -> EvalRecord:
    given, device = _given(args), chosen_device(args)
    protocol = make_protocol(args.protocol, given.data, args.horizon)
    metrics = load_metrics(args.weights, str(device), given.data, args.encoder)
    if baseline is not None:
        compare.check_gate(baseline, str(args.gate), protocol, metrics)
    options = _options(args, given)
    if launch is not None:  # before the model takes a GPU
        _check(given, args.output, metrics, **options)
        program = ["egowm.commands.main", "eval"]
        run_workers(launch, program, args.words, logs_beside(args.cache))
    given.model.to(device)
    return evaluate(
        given.rows,
        given.data,
        args.output,
        metrics=metrics,
        title=f"{given.name} on {args.config.stem}",
        cache=args.cache,
        **options,
    )


def _check(
    given: "_Given", output: Path, metrics: Metrics, *, seed: int, seeds: int, **options: Any
) -> None:
    """Refuse, before workers start, what the evaluation would refuse."""
    del options["about"]
    noise = range(seed, seed + seeds)
    planned(given.rows, given.data, output, seeds=noise, metrics=metrics, **options)


def _share(args: Namespace) -> int:
    """Fill the cache with a share of the clips."""
    share, given = share_of(args.shard), _given(args)
    given.model.to(chosen_device(args))
    count = evaluate_share(share, given.rows, given.data, args.cache, **_options(args, given))
    print(f"shard {args.shard}: {counted(count, 'clip is', 'clips are')} predicted in {args.cache}")
    return 0


class _Given(NamedTuple):
    """What the command line names."""

    model: Any
    place: Path
    data: ClipData
    rows: list[Row]
    name: str
    tracker: Tracker | MaskReader


def _given(args: Namespace) -> _Given:
    tracker = chosen_tracker(args)
    assert tracker is not None
    place = located(args.model)
    model = from_pretrained(place, base=args.base)
    data = _data(args)
    check_model(make_protocol(args.protocol, data, args.horizon), model)
    kinds = known_kinds(data.clip_meaning) if args.actions is None else args.actions
    name = _named(Path(args.model))
    return _Given(model, place, data, list(make_rows(model, name, kinds)), name, tracker)


def _options(args: Namespace, given: _Given) -> dict[str, Any]:
    """What an evaluation and its shards are told alike."""
    names = ("protocol", "clips", "horizon", "steps", "seed", "seeds")
    found = {name: getattr(args, name) for name in names}
    annotate = annotator(given.data, args.annotations)
    about = _about(args, given.model, given.place)
    return found | {"tracker": given.tracker, "annotate": annotate, "about": about}


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
