"""The order of work on a lent GPU: its dry run, its time, and what comes home."""

import json
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import pytest

from benchmarks.lent_gpu import __main__ as lent_gpu
from benchmarks.lent_gpu import steps as lent_steps
from benchmarks.lent_gpu.steps import Lent, Step, largest_that_pays
from benchmarks.measure import ROOT
from egowm.world_model import WorldModel
from tests.forks import PRELOADED

MOST_FILES = 8  # that come back
HOME = {
    1: {"prior/unet", "prior/image_encoder", "world", "rooms-step.json"},
    2: {"world", "scratch", "transformer"},
    3: {"training.json", "rollout.json", "candidates.json", "latency.json", "streaming.json",
        "scs.json", "rooms-step.json"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def ready(monkeypatch):
    """Processes are copies of the one that other tests copy, too."""
    monkeypatch.setattr(lent_gpu, "READY", PRELOADED)


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lent")


def base(out: Path) -> str | None:
    """The prior that came home, as docs/benchmarks.md completes it; None where none did."""
    if not (out / "prior").is_dir():
        return None
    whole = out.parent / "whole-prior"
    for source in ("priors/rooms-svd", str(out / "prior")):  # what came home replaces
        shutil.copytree(ROOT / source, whole, dirs_exist_ok=True)
    return str(whole)


@pytest.mark.long
@pytest.mark.timeout(580)
@pytest.mark.parametrize("call", HOME)
def test_every_step_of_a_call_at_toy_size(call, work, capfd):
    """Each ends well, and what it made is at home: small, and few files."""
    out = work / f"home-{call}"
    argv = [str(call), "--out", str(out), "--work", str(work / "work"), "--dry-run"]
    assert lent_gpu.main([*argv, "--minutes", "60"]) == 0
    record = json.loads((out / f"call-{call}.json").read_text())
    assert [step for step in record["steps"] if step["status"] != "done"] == []
    taken = sum(step["seconds"] for step in record["steps"])
    assert taken <= record["seconds"] + 0.05 * len(record["steps"]) + 0.05  # each was rounded
    assert record["left_out"] == {}
    files = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    assert len(files) <= MOST_FILES
    parts = {str(path if path.parent == Path() else path.parent) for path in files}
    assert parts == {*HOME[call], f"call-{call}.json"}
    if call != 3:
        curves = [step["curve"] for step in record["steps"] if "curve" in step]
        assert all(curves)
        assert all(loss > 0 for curve in curves for _, _, loss in curve)
        assert WorldModel.from_pretrained(out / "world", base(out)).spec.width == 3
    assert lent_gpu.main(argv) == 2  # its folder holds results already
    assert "expected a new or empty folder" in capfd.readouterr().err


@pytest.mark.parametrize("call", HOME)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_few_files_come_home(call, device, tmp_path):
    steps = Lent(tmp_path, device).steps(call)
    assert len({name for step in steps for name in step.brings}) < MOST_FILES
    assert all(name.count("/") <= 2 for step in steps for name in step.brings)


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "status", "last"),
    [
        (["fine"], "done", None),
        (["fails"], "failed", "ValueError: no such card"),
        (["sleeps"], "out of time", "asleep"),
    ],
)
def test_how_a_step_ends(words, status, last, tmp_path, monkeypatch):
    """By itself, by its mistake, by the clock: and what it said at the end is told."""
    module = tmp_path / "a_lent_step.py"
    module.write_text(
        "import time\n"
        "def main(argv):\n"
        "    if argv == ['fails']:\n"
        "        raise ValueError('no such card')\n"
        "    if argv == ['sleeps']:\n"
        "        print('asleep', flush=True)\n"
        "        time.sleep(600)\n"
        "    return 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lent_gpu, "GRACE", 1.0)
    start = time.monotonic()
    step = Step("one", 1, lambda seconds: ["a_lent_step", *words])
    found = lent_gpu.run(step, 10.0 if status == "out of time" else 100.0, tmp_path / "log.txt")
    assert time.monotonic() - start < 110
    assert found["status"] == status
    assert found.get("last", [None])[-1] == last


def test_what_is_too_large_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(lent_gpu, "LARGEST", 3)
    for name in ("few", "many"):
        (tmp_path / name).write_text(name)
    brings = {f"a/{name}": tmp_path / name for name in ("few", "many", "none")}
    left = lent_gpu.bring(Step("one", 1, lambda seconds: [], brings), tmp_path / "out")
    assert left == {"a/many": "4 bytes, more than 3", "a/none": "it was not made"}
    assert (tmp_path / "out/a/few").read_text() == "few"


@pytest.mark.long
def test_wheels_are_installed_by_themselves(tmp_path, monkeypatch):
    """Without an index, and without what they say they need."""
    about = "a_wheel-1.0.dist-info"
    (tmp_path / "wheels").mkdir()
    with pytest.raises(ValueError, match="Expected wheels"):
        lent_gpu.unpack(tmp_path / "wheels", tmp_path / "target")
    with zipfile.ZipFile(tmp_path / "wheels/a_wheel-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("a_wheel.py", "VALUE = 7\n")
        wheel.writestr(
            f"{about}/METADATA",
            "Metadata-Version: 2.1\nName: a-wheel\nVersion: 1.0\nRequires-Dist: no-such-package\n",
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr("sys.path", [])
    lent_gpu.unpack(tmp_path / "wheels", tmp_path / "target")
    target = str(tmp_path / "target")
    assert os.environ["PYTHONPATH"].split(os.pathsep)[::2] == [target, "elsewhere"]
    assert sys.path == [target]
    assert (tmp_path / "target/a_wheel.py").read_text() == "VALUE = 7\n"


def test_a_larger_batch_must_pay():
    rows = [{"clips": n, "seconds": s} for n, s in ((16, 1.0), (64, 2.0), (256, 7.5), (1024, 9.0))]
    assert largest_that_pays(rows) == (64, 2.0)
    assert largest_that_pays(rows[:1]) == (16, 1.0)
    assert lent_steps.rate(3e-4, 64) == pytest.approx(6e-4)
    assert lent_steps.rate(3e-4, 1024) == lent_steps.HIGHEST_RATE
