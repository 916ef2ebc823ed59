"""Benchmarks: provenance, tables, what is refused. Nothing here depends on how fast anything is."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks import measure, timing
from benchmarks.tables import markdown, pages

ROOT = Path(__file__).resolve().parent.parent


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


# Provenance -------------------------------------------------------------------------------------


def test_provenance_fields():
    argv = [str(ROOT / "benchmarks/speed/rollout.py"), "--steps", "6", "--json", "a b.json"]
    record = measure.provenance(7, "cpu", argv=argv)
    assert record["command"] == "python -m benchmarks.speed.rollout --steps 6 --json 'a b.json'"
    assert (record["seed"], record["device"]) == (7, "cpu")
    assert record["threads"] == torch.get_num_threads()
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(record["versions"]) == {"python", "torch", "diffusers"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["date"])
    assert json.loads(json.dumps(record)) == record


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_and_what_makes_it_dirty(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    for name, dirty in (("benchmarks/results/a.json", False), ("docs/a.md", False), ("b.py", True)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("2")
        record = measure.provenance(0)
        assert re.fullmatch("[0-9a-f]{40}", record["commit"])
        assert record["dirty"] is dirty, name
        assert ("the record will be called dirty" in caplog.text) is dirty


def test_outside_a_checkout_the_commit_is_unknown(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    record = measure.provenance(0)
    assert (record["commit"], record["dirty"]) == (None, None)
    assert "commits are not known" in caplog.text


def test_device_name(tmp_path):
    name = measure.device_name
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU: 3 GHz\n")
    assert re.fullmatch(r"Some CPU: 3 GHz, \d+ cores", name("cpu", tmp_path / "cpuinfo"))
    assert re.fullmatch(r"\S.*, \d+ cores", name("cpu", tmp_path / "missing"))


def test_writing_is_whole_or_not_at_all(tmp_path):
    write, path = measure.write, tmp_path / "new/result.json"
    write(path, {"a": 1})
    with pytest.raises(TypeError):
        write(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


# Command lines ----------------------------------------------------------------------------------


def make(run) -> measure.Script:
    script = str(ROOT / "benchmarks/speed/rollout.py")
    return measure.benchmark(
        script, "What it does.", "rollout{gpu}.json", options, run, lambda folder: "its table"
    )


def options(add) -> None:
    add("--steps", type=measure.positive, default=6)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--steps", "0"], "argument --steps: expected a whole number of at least 1, got 0"),
        (["--steps", "two"], "expected a whole number of at least 1, got two"),
        (["--stepps", "1"], "unrecognized arguments: --stepps 1"),
        (["--steps", "7"], "no folder of that name"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, capsys, argv, words):
    def run(arguments):
        raise FileNotFoundError("no folder of that name")

    assert make(run)([*argv, "--results", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m benchmarks.speed.rollout: ")
    assert words in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "rollout.json"), ("cuda", "rollout-gpu.json")]
)
def test_a_record_is_written_where_its_device_belongs(tmp_path, capsys, device, name):
    run = lambda arguments: measure.picked(arguments, "steps", "seed")  # noqa: E731
    assert make(run)(["--device", device, "--seed", "3", "--results", str(tmp_path)]) == 0
    assert json.loads((tmp_path / name).read_text()) == {"steps": 6, "seed": 3}
    assert capsys.readouterr().out.splitlines() == ["its table", "", str(tmp_path / name)]


# Tables -----------------------------------------------------------------------------------------


def test_committed_pages_show_the_committed_results():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        assert pages.rewrite(text, measure.RESULTS) == text, f"{page.name}: run `make tables`"


@pytest.mark.parametrize("name", sorted({*pages.BLOCKS} - {"recordings"}))  # no measurement
def test_without_a_record_a_table_says_so(tmp_path, name):
    text = pages.BLOCKS[name](tmp_path)
    assert "not yet measured" in text
    assert " at commit " not in text


def test_only_the_marked_block_is_rewritten(tmp_path):
    page = "# A\n<!-- rollout:begin -->\nold\n<!-- rollout:end -->\ntext\n"
    made = pages.rewrite(page, tmp_path)
    assert made.startswith("# A\n<!-- rollout:begin -->\n| device |")
    assert made.endswith(" |\n<!-- rollout:end -->\ntext\n")
    assert "old" not in made
    assert pages.rewrite(made, tmp_path) == made


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!-- speed:begin -->\n<!-- speed:end -->", "Nothing makes the block speed: expected ro"),
        ("<!-- rollout:begin -->\n", "rollout:begin before rollout:end"),
        ("<!-- rollout:end -->\n<!-- rollout:begin -->\n", "rollout:begin before rollout:end"),
    ],
)
def test_a_wrong_marker_is_refused(tmp_path, capsys, page, words):
    (tmp_path / "page.md").write_text(page)
    assert pages.main([str(tmp_path / "page.md"), "--results", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
    assert (tmp_path / "page.md").read_text() == page


def test_values_with_their_range():
    timed = {"ratio_median": 1.2345, "ratio_min": 1.1, "ratio_max": 1.5, "target": 1.3}
    assert markdown.judged(timed) == "1.23 (1.10 to 1.50), missed"
    assert markdown.judged(timed | {"target": 1.2}) == "1.23 (1.10 to 1.50)"
    assert markdown.ranged(40.04, [1, 2]) == "40.0 [1.0 to 2.0]"
    assert markdown.ranged(100.0, [], ".0f") == "100 [100 to 100]"


@pytest.mark.parametrize(
    ("block", "file", "path", "value", "words"),
    [
        ("data", "data.json", ("rows", 8, "packed_faster_warm"), 0.5, None),
        ("data", "data.json", ("settings", "target"), 1e6, "warm at 64x64, **not reached**"),
        (
            "scs-truth",
            "scs-truth.json",
            ("settings", "bars", "bias"),
            0.0,
            "below 0 (**not reached",
        ),
        ("training", "training.json", ("rows", 1, "predicted_bytes"), 1, "-100%, **missed**"),
        ("training", "training.json", ("failed", "lora"), "lora: no", "\n\nlora: no"),
        ("foretold", "foretold.json", ("rows", 0, "predicted_bytes"), 5e10, "40, **missed**"),
        ("rollout", "rollout.json", ("rows", 0, "target"), 9.0, ", missed | 9 |"),
        ("planning", "candidates.json", ("rows", 0, "candidates_per_second"), 1e9, ": reached"),
    ],
)
def test_a_table_judges_what_was_asked(tmp_path, block, file, path, value, words):
    """Changed in one place, the committed record is judged otherwise."""
    shutil.copytree(measure.RESULTS, tmp_path / "results")
    before = pages.BLOCKS[block](tmp_path / "results")
    record = json.loads((tmp_path / "results" / file).read_text())
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "results" / file).write_text(json.dumps(record))
    text = pages.BLOCKS[block](tmp_path / "results")
    assert text != before
    assert words is None or (words in text and words not in before)


# Timing -----------------------------------------------------------------------------------------


def test_equal_frames_are_asked_for():
    check, frames = timing.check_same, torch.rand(2, 4, 3, 8, 8)
    check(frames, frames + 0.9e-4)
    for theirs, words in (
        (frames + 2e-4, "differ by up to 0.0002"),
        (frames * torch.nan, "differ by up to nan"),
        (frames[:1], r"shapes \(2, 4, 3, 8, 8\) and \(1, 4, 3, 8, 8\)"),
    ):
        with pytest.raises(ValueError, match=words):
            check(frames, theirs)
    with pytest.raises(ValueError, match="constant"):
        check(torch.ones(1, 3), torch.ones(1, 3))


@pytest.mark.parametrize(("scale", "calls"), [(1.0, 1), (0.1, 3)])
def test_alternating_pairs(monkeypatch, scale, calls):
    """A clock that the runs themselves move; the machine is slower in the second pair."""
    clock, log = [0.0], []

    def run(name: str, duration: float):
        def call() -> torch.Tensor:
            log.append(name)
            pair = (len(log) - 2) // (2 * calls)  # after the first call, which is a trial
            clock[0] += duration * scale * (5 if pair == 1 else 1)
            return torch.zeros(1)

        return call

    monkeypatch.setattr(timing.gc, "collect", lambda: 0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    found = timing.compare(run("ours", 2), run("theirs", 3), 3)
    one = ["ours"] * calls + ["theirs"] * calls
    other = ["theirs"] * calls + ["ours"] * calls
    assert log == ["theirs", *one, *other, *one]
    assert (found.repeats, found.calls) == (3, calls)
    assert found[:3] == pytest.approx((1.5, 1.5, 1.5))
    assert found[3:5] == pytest.approx((2 * scale, 3 * scale))
