"""Comparing evaluations: paired intervals, what is refused, and the gate's status."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.commands.work import eval as command
from egowm.evaluation.compare import compare_evaluations, format_comparison, format_gate
from egowm.evaluation.protocol import Protocol
from egowm.evaluation.record import load, save
from egowm.evaluation.table import shown, table, with_interval
from egowm.scs.bootstrap import interval
from egowm.shipped import recipes
from tests.evaluation.records import made_up

CLIPS = 20
NOISE = np.random.default_rng(0).normal(0, 3, (CLIPS, 4))


@pytest.fixture
def saved(tmp_path: Path):
    """Writes an evaluation whose PSNR is 20 dB, the clips' own noise, and what is added."""

    def write(name: str, added: np.ndarray | float = 0.0, **options) -> Path:
        path = tmp_path / f"{name}.json"
        save(made_up(20 + NOISE + added, np.full((CLIPS, 4), 0.5), **options), path)
        return path

    return write


def test_the_interval_is_that_of_the_paired_difference(saved):
    """The clips' own noise of 3 dB falls out."""
    added = np.random.default_rng(1).normal(-0.5, 0.1, (CLIPS, 4))
    found = compare_evaluations(saved("a"), saved("b", added))
    main, at_two, at_four, *ssim = found.changes
    assert (main.name, at_two.name) == ("PSNR", "PSNR at 2 frames")
    expected = interval(added.mean(1), [f"room_{k}" for k in range(CLIPS)])
    assert main.difference == pytest.approx(added.mean(), abs=1e-5)
    assert main.ci95 == pytest.approx(expected, abs=1e-5)
    assert at_two.difference == pytest.approx(added[:, :2].mean(), abs=1e-5)
    assert at_four.difference == pytest.approx(main.difference)
    assert [change.name for change in found.fallen] == [x.name for x in (main, at_two, at_four)]
    assert all(change.difference == 0 and not change.fell for change in ssim)
    said = format_gate(found).splitlines()
    assert said[0].startswith(f"gate: PSNR is worse, {main.a:.2f} to {main.b:.2f} (-0.")
    assert len(said) == 3
    text = format_comparison(found)
    assert "95% over 20 recordings (20 clips), paired" in text


@pytest.mark.parametrize(
    ("added", "fell"),
    [
        (0.0, False),
        (0.5, False),  # better
        (-0.004, False),  # less than half of the last decimal shown
        (-0.02, True),
        (np.random.default_rng(2).normal(0, 1, (CLIPS, 4)), False),  # no direction
    ],
)
def test_what_counts_as_worse(added, fell, saved):
    found = compare_evaluations(saved("a"), saved("b", added))
    assert bool(found.fallen) == fell
    passed = format_gate(found) == "gate: passed, none of 6 values is worse"
    assert passed != fell


def test_lower_is_better_where_the_column_says_so(saved):
    a, b = saved("a"), saved("b", -0.5)
    for path in (a, b):
        record = load(path)
        record["columns"][1]["higher_is_better"] = False
        save(record, path)
    assert not compare_evaluations(a, b).fallen
    assert len(compare_evaluations(b, a).fallen) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["clips"].__setitem__(0, "other_00000"), "2 clips not in both, other_00000"),
        (lambda r: r["protocol"].update(horizon=8), "horizon 4 and 8"),
        (lambda r: r["protocol"].update(name="nwm-time"), "name egowm and nwm-time"),
        (
            lambda r: r["protocol"].update(metrics={"psnr": {"weights": "f00"}, "ssim": {}}),
            "metrics.psnr.weights None and f00",
        ),
    ],
)
def test_what_does_not_compare_is_named(change, words, saved, capsys):
    a, b = saved("a"), saved("b")
    record = load(b)
    change(record)
    save(record, b)
    assert cli.main(["eval", "--compare", str(a), str(b)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_column_of_one_alone_is_told(saved, capsys):
    a, b = saved("a"), saved("b")
    record = load(b)
    del record["rows"][0]["cells"]["ssim"]
    save(record, b)
    assert cli.main(["eval", "--compare", str(a), str(b)]) == 0
    assert "SSIM: only one of the two has it." in capsys.readouterr().out


def test_a_file_of_something_else_is_one_line(saved, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text('{"rows": 3}')
    assert cli.main(["eval", "--compare", str(saved("a")), str(other)]) == 2
    assert "other.json: expected what `egowm eval` writes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(rows=[]), "rows and clips: at least one of each"),
        (lambda r: r["recordings"].pop(), "recordings: 20, as many as clips"),
        (lambda r: r["columns"][1].update(digits=10**9), "columns.psnr.digits: 0 to 9"),
        (lambda r: r["rows"][0]["cells"]["psnr"]["clips"].pop(), "20 values, one for each clip"),
        (lambda r: r["protocol"].pop("horizon"), "protocol.horizon: missing"),
        (lambda r: r["rows"][0]["cells"]["psnr"].update(value="x"), "value: expected a number"),
    ],
)
def test_a_damaged_record_is_one_line(change, words, saved, capsys):
    path = saved("a")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert cli.main(["eval", "--compare", str(path), str(saved("b"))]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_the_gate_s_status(saved, tmp_path, monkeypatch, capsys):
    """4 where a value fell, 0 where none did; the run is written in either case."""
    baseline = saved("baseline")
    for added, status, words in ((0.0, 0, "gate: passed"), (-1.0, 4, "gate: PSNR is worse")):
        record = made_up(20 + NOISE + added, np.full((CLIPS, 4), 0.5))
        monkeypatch.setattr(command, "_evaluated", lambda args, b, n, record=record: record)
        words_of = [
            "eval",
            "-c",
            str(recipes()["rooms_svd"]),
            "--model",
            "rooms",
            "--output",
            str(tmp_path / "run"),
        ]
        assert cli.main([*words_of, "--gate", str(baseline)]) == status
        out = capsys.readouterr().out
        assert words in out
        assert "report: " in out


def test_a_gate_that_cannot_judge_is_refused_before_any_work(saved):
    from egowm.evaluation.compare import check_gate
    from egowm.evaluation.metrics.catalogue import Metrics, pixel_metrics
    from egowm.evaluation.metrics.pixel import SSIM
    from tests.evaluation.records import PROTOCOL

    record = load(saved("a"))
    check_gate(record, "a.json", PROTOCOL, pixel_metrics())
    few = copy.deepcopy(record) | {"recordings": ["one"] * CLIPS}
    with pytest.raises(ValueError, match="at least 10 recordings, the baseline has 1"):
        check_gate(few, "a.json", PROTOCOL, pixel_metrics())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another protocol: horizon 4 and 8"):
        check_gate(record, "a.json", Protocol("egowm", 8, PROTOCOL.reads), pixel_metrics())
    lacking = Metrics(pixel_metrics().ready[:1], {SSIM.columns[0]: "needs the package x"})
    with pytest.raises(ValueError, match="the baseline has SSIM, which needs the package x here"):
        check_gate(record, "a.json", PROTOCOL, lacking)


def test_scores_of_other_trackers_do_not_compare(saved):
    from egowm.evaluation.compare import check_alike

    one, other = load(saved("a")), load(saved("b"))
    for record, name in ((one, "flow"), (other, "palette")):
        record["protocol"]["scs"] = {"tracker": {"name": name, "options": {}}}
    words = "do not compare: the tracker flow and the tracker palette of SCS. Evaluate both alike."
    with pytest.raises(ValueError, match=words):
        check_alike("a", one, "b", other)
    other["protocol"]["scs"] = None  # a run without structures
    check_alike("a", one, "b", other)


def test_what_is_not_given_is_named(capsys):
    assert cli.main(["eval", "--model", "rooms"]) == 2
    assert "Give -c RECIPE, --output RUN (or --compare" in capsys.readouterr().err


def test_nothing_is_printed_as_minus_nothing():
    assert shown(-0.001, 2) == "0.00"
    assert with_interval(-0.001, (-0.004, 0.2), 2) == "0.00 [0.00, 0.20]"


def test_the_table_in_text():
    """Three clips: no interval; two seeds, 1 dB apart: 20.5 with a spread of 0.71."""
    psnr = np.stack([np.full((3, 4), 20.0), np.full((3, 4), 21.0)])
    lines = table(made_up(psnr, labels=["mine", "mine, standing still"])).splitlines()
    assert lines == [
        "Means over frames 1 to 4 of 3 clips, 2 seeds (spread over them after ±):",
        "                                PSNR           SSIM  s/frame   GiB",
        "mine                     20.50 ±0.71  20.500 ±0.707     0.25  1.50",
        "mine, standing still     20.50 ±0.71  20.500 ±0.707        -     -",
        "Copy of the first frame            -              -        -     -",
        "",
        "mine, no intervals below 10 recordings (3 here):",
        "      to 2 frames  to 4 frames",
        "PSNR        20.50        20.50",
        "SSIM       20.500       20.500",
        "SCS: no structures are marked",
        "Rolled out on cpu.",
    ]


def test_seconds_are_read_one_by_one():
    """NWM reads frame k alone, and its main column is the mean of the frames that are read."""
    protocol = Protocol("nwm-rollout", 4, {2: "1 s", 4: "2 s"})
    record = made_up(np.tile([1.0, 2.0, 3.0, 5.0], (12, 1)), protocol=protocol)
    cell = record["rows"][0]["cells"]["psnr"]
    assert cell["at"] == {2: 2.0, 4: 5.0}
    assert cell["value"] == 3.5
    assert cell["ci95"] == (3.5, 3.5)
    assert "Means over 1 s, 2 s of 12 clips:" in table(record)
    assert "at 1 s" in table(record)
