"""Records that cannot be traced: they are found, they say so, and every table that is made from one
shows it."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks import measure, tracing
from benchmarks.planning import rank_agreement
from benchmarks.tables import pages

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"
EARLIER = hashlib.sha256(b"weights.safetensors" + b"earlier").hexdigest()  # of name and text
NOTHING = hashlib.sha256().hexdigest()
FILES = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.json"))


@pytest.fixture(scope="module")
def commits() -> frozenset[str] | None:
    """The history; None in an archive or a shallow clone, where weights alone are judged."""
    return measure.history()


def stored(name: str) -> dict:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


# The committed records --------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_record_that_cannot_be_traced_says_so(commits, name):
    found = list(tracing.parts(stored(name)))
    assert found, f"{name} does not say at which commit it was measured"
    for part in found:
        for reason in tracing.reasons(part, commits):
            said = part.get("untraceable", "")
            assert reason in said, f"{name}: run `python -m benchmarks.tracing --mark`"


@pytest.mark.parametrize("name", FILES)
def test_a_record_holds_the_hash_of_the_weights_that_it_measured(name):
    for part in tracing.parts(stored(name)):
        if part.keys() == {"commit", "dirty", "date"}:  # when a training began
            continue
        settings = part.get("settings", {})
        named = {Path(settings[k]).name for k in ("prior", "model", "export") if k in settings}
        if "run" in part:
            named.add("rooms-cosmos" if part["run"].endswith("cosmos") else "rooms-svd")
        elif name in ("rooms.json", "ablations.json"):
            named |= {"rooms-world-model", "rooms-svd"}
        assert named <= part.get("weights", {}).keys(), part.get("run", name)


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Intervals take most of the time of all tables, and nothing here looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_agreement, "RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def blocks(few_resamples) -> dict[str, str]:
    """Every table of the docs, as it is."""
    return made(RESULTS)


@pytest.fixture(scope="module")
def readers(few_resamples) -> dict[str, set[str]]:
    """The tables that read a record, by its name."""
    found: dict[str, set[str]] = {name: set() for name in FILES}
    text_of = Path.read_text
    for table, block in pages.BLOCKS.items():

        def read(path: Path, *args: Any, table: str = table, **kwargs: Any) -> str:
            if RESULTS in path.parents:
                found[path.relative_to(RESULTS).as_posix()].add(table)
            return text_of(path, *args, **kwargs)

        with patch.object(Path, "read_text", read):
            block(RESULTS)
    return found


def made(results: Path, tables: Iterable[str] = pages.BLOCKS) -> dict[str, str]:
    return {name: pages.BLOCKS[name](results) for name in tables}


def changed(
    blocks: dict[str, str], results: Path, tables: Iterable[str] = pages.BLOCKS
) -> dict[str, str]:
    return {name: text for name, text in made(results, tables).items() if text != blocks[name]}


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    return shutil.copytree(RESULTS, tmp_path_factory.mktemp("copied") / "results")


@contextmanager
def put_back(path: Path) -> Iterator[dict]:
    """A record that may be changed or deleted in the block."""
    text = path.read_text()
    try:
        yield json.loads(text)
    finally:
        path.write_text(text)


@pytest.mark.parametrize("table", pages.BLOCKS)
def test_a_table_is_made_from_the_records_that_it_reads(blocks, readers, table, tmp_path):
    for name in FILES:
        if table in readers[name]:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(RESULTS / name, tmp_path / name)
    assert changed(blocks, tmp_path, [table]) == {}


@pytest.mark.parametrize("name", FILES)
def test_every_table_that_is_made_from_a_record_shows_its_mark(blocks, readers, copied, name):
    """The tables that are others without the record are those that show a mark in it."""
    path, tables = copied / name, readers[name]
    with put_back(path) as record:
        path.unlink()
        from_it = changed(blocks, copied, tables)
        for field, value in {"dirty": True, "untraceable": "planted"}.items() if from_it else ():
            path.write_text(json.dumps(record | {field: value}))
            showing = changed(blocks, copied, tables)
            already = {key for key in from_it if record.get(field)}
            assert showing.keys() | already == from_it.keys(), field
            for text in showing.values():
                assert field in text


@pytest.mark.parametrize(
    "run", [r["run"] for r in stored("rooms.json")["training"] if not r["dirty"]]
)
def test_every_table_of_a_run_shows_that_its_training_is_dirty(blocks, copied, run):
    with put_back(copied / "rooms.json") as record:
        (training,) = (r for r in record["training"] if r["run"] == run)
        training["dirty"] = True
        (copied / "rooms.json").write_text(json.dumps(record))
        showing = changed(blocks, copied)
    assert {"rooms", "claims"} <= showing.keys()  # the number of those that cannot be traced
    assert ("headline" in showing) == run.startswith("P+")
    assert ("ablations" in showing) == (run in ("P+-64-seed3-0.0006", "P-64-seed3-0.0006"))
    assert ("rates" in showing) == any(r["run"] == run for r in record["search"])


@pytest.mark.parametrize("about", [{"untraceable": "planted"}, {"commit": None}])
def test_tables_of_the_humanoid_show_the_marks_of_a_row(copied, about):
    """Its rows were measured at commits of their own."""
    with put_back(copied / "humanoid.json") as record:
        record["rows"][-1] |= about
        (copied / "humanoid.json").write_text(json.dumps(record))
        tables = made(copied, ["humanoid", "humanoid-following", "humanoid-dimensions"])
    last = f"{record['rows'][-1]['behaviour']}, {record['rows'][-1]['change']}."
    (said,) = (line for line in tables["humanoid"].splitlines() if line.endswith(f": {last}"))
    assert ("; **untraceable**: planted: " in said) == ("untraceable" in about)
    assert said.startswith("Rows measured at commit unknown, ") == ("commit" in about)
    for name in ("humanoid-following", "humanoid-dimensions"):
        assert ("**dirty, untraceable**" in tables[name]) == ("untraceable" in about)


# What is found ----------------------------------------------------------------------------------


@pytest.fixture
def priors(tmp_path, monkeypatch):
    """With a folder of priors, two of which are there, beside a file and an empty folder."""
    monkeypatch.setattr(tracing, "FOLDERS", (tmp_path / "priors", tmp_path / "none"))
    for name in ("there", "earlier"):
        prior = tmp_path / "priors" / name
        prior.mkdir(parents=True)
        (prior / "weights.safetensors").write_text(name)
    (tmp_path / "priors/README.md").write_text("What lies here.")
    (tmp_path / "priors/empty").mkdir()
    tracing._held.cache_clear()
    yield
    tracing._held.cache_clear()


def part(**about) -> dict:
    sha256 = tracing.weights_sha256(tracing.FOLDERS[0] / "there")
    return {"commit": "a", "dirty": False, "weights": {"there": sha256}} | about


@pytest.mark.parametrize(
    ("about", "reasons"),
    [
        ({}, []),
        ({"commit": "b"}, ["its commit is not in the history"]),
        ({"commit": None}, ["its commit is not known"]),
        ({"weights": {"there": "0"}}, ["`priors/there` has other weights by now"]),
        ({"weights": {"gone": "0"}}, ["gone is not among the priors and exports"]),
        ({"weights": {"there": EARLIER}}, []),  # moved, under another name
        ({"weights": {"there": NOTHING}}, ["`priors/there` has other weights by now"]),
        (
            {"commit": "b", "weights": {"gone": "0"}},
            ["its commit is not in the history", "gone is not among the priors and exports"],
        ),
    ],
)
def test_reasons(priors, about, reasons):
    assert tracing.reasons(part(**about), frozenset("a")) == reasons
    known = [reason for reason in reasons if "history" not in reason]
    assert tracing.reasons(part(**about), None) == known


def test_a_record_is_marked_once_and_by_hand_too(priors, tmp_path, monkeypatch, capsys):
    """Records within a record are marked as well; what was said before stays."""
    monkeypatch.setattr(tracing, "history", lambda: frozenset("a"))
    good, gone = part(), part(commit="b", run="P")
    results = {"good.json": good, "arms/P.json": gone, "all.json": good | {"training": [gone]}}
    for name, record in results.items():
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).write_text(json.dumps(record))
    folder = ["--results", str(tmp_path / "results")]
    assert tracing.main(folder) == 1
    found = "P: its commit is not in the history"
    assert capsys.readouterr().out.splitlines() == [f"all.json: {found}", f"arms/P.json: {found}"]
    assert json.loads((tmp_path / "results/arms/P.json").read_text()) == gone  # only listed
    assert tracing.main([*folder, "--mark"]) == 0
    assert tracing.main(folder) == 0
    own = ["--mark", "--record", "arms/P.json", "--because", "its data are lost"]
    assert tracing.main([*folder, *own]) == tracing.main([*folder, *own]) == 0
    read = {name: json.loads((tmp_path / "results" / name).read_text()) for name in results}
    assert read["good.json"] == good
    assert read["all.json"]["training"][0]["untraceable"] == "its commit is not in the history"
    said = "its commit is not in the history; its data are lost"
    assert read["arms/P.json"] == gone | {"untraceable": said}
    with pytest.raises(SystemExit):
        tracing.main([*folder, "--because", "of nothing"])


# The history ------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository of two commits."""
    folder = tmp_path / "whole"
    folder.mkdir()
    git(folder, "init")
    for text in "12":
        (folder / "code.py").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "-m", text)
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_history_is_every_commit_or_unknown(checkout, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "ROOT", checkout)
    gone = git(checkout, "rev-parse", "HEAD").strip()
    assert measure.history() == frozenset(git(checkout, "rev-list", "HEAD").split())
    assert len(measure.history()) == 2
    git(checkout, "commit", "--amend", "-m", "again")
    assert gone not in measure.history()  # although git still has it
    git(tmp_path, "clone", "--depth", "1", f"file://{checkout}", "shallow")
    for folder in (tmp_path / "shallow", tmp_path, checkout / "archive"):
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(measure, "ROOT", folder)
        assert measure.history() is None, folder
