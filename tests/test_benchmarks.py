"""Benchmarks: provenance, tables, what is refused. Nothing here depends on how fast anything is."""

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def load(monkeypatch):
    """Imports a module of benchmarks/."""

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture
def tables(load):
    return load("benchmarks.tables.pages")


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


# Provenance -------------------------------------------------------------------------------------


def test_provenance_fields(load):
    argv = [str(ROOT / "benchmarks/speed/rollout.py"), "--steps", "6", "--json", "a b.json"]
    record = load("benchmarks.measure").provenance(7, "cpu", argv=argv)
    assert record["command"] == "python -m benchmarks.speed.rollout --steps 6 --json 'a b.json'"
    assert (record["seed"], record["device"]) == (7, "cpu")
    assert record["threads"] == torch.get_num_threads()
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(record["versions"]) == {"python", "torch", "diffusers"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["date"])
    assert json.loads(json.dumps(record)) == record


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_and_what_makes_it_dirty(load, tmp_path, monkeypatch, caplog):
    provenance = load("benchmarks.measure")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    for name, dirty in (("benchmarks/results/a.json", False), ("docs/a.md", False), ("b.py", True)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("2")
        record = provenance.provenance(0)
        assert re.fullmatch("[0-9a-f]{40}", record["commit"])
        assert record["dirty"] is dirty, name
        assert ("the record will be called dirty" in caplog.text) is dirty


def test_outside_a_checkout_the_commit_is_unknown(load, tmp_path, monkeypatch, caplog):
    provenance = load("benchmarks.measure")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    record = provenance.provenance(0)
    assert (record["commit"], record["dirty"]) == (None, None)
    assert "commits are not known" in caplog.text


def test_device_name(load, tmp_path):
    name = load("benchmarks.measure").device_name
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU: 3 GHz\n")
    assert re.fullmatch(r"Some CPU: 3 GHz, \d+ cores", name("cpu", tmp_path / "cpuinfo"))
    assert re.fullmatch(r"\S.*, \d+ cores", name("cpu", tmp_path / "missing"))


def test_writing_is_whole_or_not_at_all(load, tmp_path):
    write, path = load("benchmarks.measure").write, tmp_path / "new/result.json"
    write(path, {"a": 1})
    with pytest.raises(TypeError):
        write(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


# Tables -----------------------------------------------------------------------------------------


def result(**changes) -> dict:
    row = {
        "name": "16 action sequences",
        "against": "16 calls",
        "guidance": 2.0,
        "ratio_median": 1.2345,
        "ratio_min": 1.1,
        "ratio_max": 1.5,
        "seconds_ours": 2.0,
        "seconds_theirs": 2.469,
        "repeats": 5,
        "calls": 1,
        "target": 1.3,
        "stock_decode_chunk_size": 4,
    }
    return {
        "command": "python -m benchmarks.speed.rollout",
        "commit": "0123456789abcdef" * 2 + "01234567",
        "dirty": True,
        "seed": 3,
        "device": "cpu",
        "device_name": "Some CPU, 2 cores",
        "threads": 2,
        "versions": {"torch": "2.15.0"},
        "date": "2026-11-20T12:00:00Z",
        "settings": {
            "prior": "priors/rooms-svd",
            "steps": 6,
            "frames": 4,
            "height": 64,
            "width": 64,
            "dtype": "float32",
            "decoder": "AutoencoderKL",
        },
        "rows": [row | changes],
    }


def test_table_from_a_result(tables, tmp_path):
    (tmp_path / "rollout.json").write_text(json.dumps(result()))
    lines = tables.rollout(tmp_path).splitlines()
    assert lines[5:7] == [
        "| CPU | 2 | one rollout | one call | not yet measured | 0.97 | |",
        "| CPU | 2 | 16 action sequences | 16 calls | 1.23 (1.10 to 1.50), missed | 1.3 "
        "| 2 / 2.47 |",
    ]
    gpu = [line for line in lines if line.startswith("| GPU")]
    assert len(gpu) == 6
    assert all("not yet measured" in line for line in gpu)
    assert sum("not yet measured" in line for line in lines) == 11
    for word in ("commit 0123456789, **dirty**, seed 3", "2026-11-20", "Some CPU, 2 cores"):
        assert word in lines[-1]


def test_a_target_that_is_met(tables, tmp_path):
    (tmp_path / "rollout-gpu.json").write_text(json.dumps(result(ratio_median=1.3)))
    text = tables.rollout(tmp_path)
    assert "| GPU | 2 | 16 action sequences | 16 calls | 1.30 (1.10 to 1.50) | 1.3 |" in text
    assert "missed" not in text


def test_only_the_marked_block_is_rewritten(tables, tmp_path):
    page = "# A\n<!-- rollout:begin -->\nold\n<!-- rollout:end -->\ntext\n"
    made = tables.rewrite(page, tmp_path)
    assert made.startswith("# A\n<!-- rollout:begin -->\n| device |")
    assert made.endswith(" |\n<!-- rollout:end -->\ntext\n")
    assert "old" not in made
    assert tables.rewrite(made, tmp_path) == made


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!-- speed:begin -->\n<!-- speed:end -->", "Nothing makes the block speed: expected ro"),
        ("<!-- rollout:begin -->\n", "rollout:begin before rollout:end"),
        ("<!-- rollout:end -->\n<!-- rollout:begin -->\n", "rollout:begin before rollout:end"),
    ],
)
def test_a_wrong_marker_is_refused(tables, tmp_path, capsys, page, words):
    (tmp_path / "page.md").write_text(page)
    assert tables.main([str(tmp_path / "page.md"), "--results", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
    assert (tmp_path / "page.md").read_text() == page


def test_committed_pages_show_the_committed_results(tables):
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        assert tables.rewrite(text, tables.RESULTS) == text, f"{page.name}: run `make tables`"


# Timing -----------------------------------------------------------------------------------------


def test_equal_frames_are_asked_for(load):
    check, frames = load("benchmarks.timing").check_same, torch.rand(2, 4, 3, 8, 8)
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
def test_alternating_pairs(load, monkeypatch, scale, calls):
    """A clock that the runs themselves move; the machine is slower in the second pair."""
    alternating, clock, log, pairs = load("benchmarks.timing"), [0.0], [], []

    def run(name: str, duration: float):
        def call() -> torch.Tensor:
            log.append(name)
            clock[0] += duration * scale * (5 if len(pairs) == 1 else 1)
            return torch.zeros(1)

        return call

    monkeypatch.setattr(alternating.gc, "collect", lambda: 0)
    monkeypatch.setattr(alternating.time, "perf_counter", lambda: clock[0])
    timing = alternating.compare(run("ours", 2), run("theirs", 3), 3, lambda: pairs.append(0))
    one = ["ours"] * calls + ["theirs"] * calls
    other = ["theirs"] * calls + ["ours"] * calls
    assert log == ["theirs", *one, *other, *one]
    assert (timing.repeats, timing.calls) == (3, calls)
    assert timing[:3] == pytest.approx((1.5, 1.5, 1.5))
    assert timing[3:5] == pytest.approx((2 * scale, 3 * scale))


@pytest.fixture
def rollout(load, monkeypatch):
    """The benchmark with 2 videos for 16, and a stopwatch that shows what it is told."""
    module, alternating, comparisons = (
        load(f"benchmarks.{name}") for name in ("speed.rollout", "timing", "speed.comparisons")
    )
    small = [c._replace(num_videos=min(2, c.num_videos)) for c in comparisons.COMPARISONS]
    monkeypatch.setattr(module, "COMPARISONS", small)
    timing = alternating.Timing(1.0, 0.9, 1.1, 2.0, 2.0, 1, 1)
    monkeypatch.setattr(module, "compare", lambda ours, theirs, repeats, advance: timing)
    monkeypatch.setattr(module, "seconds", lambda run: float(run.args[1]))  # frames decoded at once
    return module


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_every_comparison_is_of_equal_videos(rollout, tiny_prior, tmp_path, capsys):
    path = tmp_path / "rollout.json"
    options = ["--prior", str(tiny_prior), "--steps", "2", "--device", "cpu", "--json", str(path)]
    assert rollout.main(options) == 0
    record = json.loads(path.read_text())
    assert record["settings"]["height"] == record["settings"]["width"] == 16
    assert record["settings"]["decoder"] == "AutoencoderKLTemporalDecoder"
    rows = [(row["guidance"], row["name"], row["target"]) for row in record["rows"]]
    expected = [("one rollout", 0.97), ("16 action sequences", 1.3), ("16 action sequences", 1.0)]
    assert rows == [(g, *row) for g in (1.0, 2.0) for row in expected]
    assert {row["stock_decode_chunk_size"] for row in record["rows"]} == {4}  # one whole video
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[1].endswith("against 16 calls: 1.000 (0.900 to 1.100), target 1.3  MISSED")


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_an_image_decoder_is_given_its_faster_size(rollout, tiny_prior, monkeypatch):
    """With a temporal decoder in its place, decoding 8 frames as one video is found out."""
    model, stock = rollout.load(str(tiny_prior), 4, "cpu")
    contest = rollout.Contest(model, stock, rollout.picture_of(model, 0), 1, 1.0, 0)
    monkeypatch.setattr(type(model.backbone), "decodes_in_time", property(lambda self: False))
    monkeypatch.setattr(rollout, "check_same", lambda ours, theirs: None)
    monkeypatch.setattr(model.backbone, "decode", lambda x: torch.zeros(2, 4, 3, 16, 16))
    assert rollout.prepare(contest, rollout.COMPARISONS[2])[2] == 4
    monkeypatch.setattr(rollout, "seconds", lambda run: -float(run.args[1]))
    assert rollout.prepare(contest, rollout.COMPARISONS[2])[2] == 8


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_different_videos_are_not_timed(rollout, tiny_prior, tmp_path, capsys, monkeypatch):
    load = rollout.load

    def disobedient(*arguments):
        model, stock = load(*arguments)
        torch.nn.init.normal_(model.action_embedding.linear_2.weight, std=0.3)
        return model, stock

    monkeypatch.setattr(rollout, "load", disobedient)
    monkeypatch.setattr(rollout, "compare", None)
    options = ["--prior", str(tiny_prior), "--steps", "1", "--device", "cpu"]
    assert rollout.main([*options, "--json", str(tmp_path / "a.json")]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("benchmarks/")]
    assert line.startswith("benchmarks/speed/rollout.py: Not timed: the frames differ by up to 0.")
    assert not (tmp_path / "a.json").exists()


def test_wrong_input_is_one_line(rollout, tmp_path, capsys):
    for options, words in (
        (["--prior", str(tmp_path / "none")], "Expected a diffusers pipeline folder at"),
        (["--repeats", "0"], "--repeats and --frames of at least 1"),
        (["--guidance", "0.5"], "--guidance of at least 1"),
    ):
        assert rollout.main([*options, "--json", str(tmp_path / "a.json")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


# Clips from disk ---------------------------------------------------------------------------------


@pytest.fixture
def data(load, monkeypatch, tmp_path):
    """The benchmark, which times one pass each and keeps labels in a folder of the test."""
    from egowm.data import label_index

    monkeypatch.setattr(label_index, "FOLDER", str(tmp_path / "kept"))
    monkeypatch.setattr(load("benchmarks.data.listing"), "READ", 3)
    monkeypatch.setattr(load("benchmarks.data.speed"), "LEAST_SECONDS", 0.0)
    # Its readers set decord's bridge and the start of processes for all that comes after.
    missing = {"stable-worldmodel": load("benchmarks.data.stable_worldmodel").MISSING}
    monkeypatch.setattr(
        load("benchmarks.data.speed"), "stable_worldmodel", lambda *about: ([], missing)
    )
    return load("benchmarks.data.speed")


def test_every_format_gives_the_same_clips(data, load, tmp_path):
    """Small: every form is written, opened, compared and timed; the figures are not looked at."""
    tables = load("benchmarks.tables.data")
    path = tmp_path / "data.json"
    options = [
        "--sizes",
        "32",
        "--episodes",
        "2",
        "--length",
        "18",
        "--clips",
        "2",
        "--rounds",
        "1",
    ]
    assert data.main([*options, "--listed", "3", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    names = [row["reader"] for row in record["rows"]]
    formats = ["NWM", "Recon", "DonkeyTub", "TumRgbd", "VideoCSV", "LeRobot", "OneX", "Droid"]
    assert names == [*formats, "Packed", "plain, PIL", "plain, decord", "plain, h5py"]
    held = {row["reader"]: row["bytes_per_frame"] for row in record["rows"]}
    assert 3 * 32 * 32 < held["Packed"] < 3 * 32 * 32 + 400  # with labels and index
    assert record["rows"][8]["packed_faster_warm"] == 1.0
    assert [row["episodes"] for row in record["listing"]] == [3] * 5
    assert len(record["choices"]) == 6
    shown = tables.speed(tmp_path).splitlines()
    assert len([line for line in shown if line.startswith("| 32 |")]) == len(names)
    assert record["rows"][4]["faster_than"].keys() >= {"plain, decord"}
    assert "| | stable-worldmodel | | not installed: not yet measured |" in "\n".join(shown)
    assert "Nothing of stable-worldmodel's was measured beside it." in shown
    assert tables.stored(tmp_path).splitlines()[2].split(" | ")[2] == "1.0"
    assert "\n\n3 episodes of 64 frames; 3 clips read." in tables.listing(tmp_path)


def test_what_was_asked_of_the_pack(load, tmp_path):
    """Twice the fastest of theirs, warm and cold; and each format on the same files."""
    row = {"size": 64, "form": "mp4", "warm": 1, "cold": 1, "bytes_per_frame": 1}
    rows = [
        row
        | {"reader": f"stable-worldmodel, {name}", "faster_than": {}}
        | {"packed_faster_warm": warm, "packed_faster_cold": cold}
        for name, warm, cold in (("video", 9.0, 1.9), ("Lance", 2.0, 4.0))
    ]
    about = {"packed_faster_warm": 1.0, "packed_faster_cold": 1.0}
    theirs = {"plain, decord": 0.5, "stable-worldmodel, video": 0.97}
    rows.append(row | about | {"reader": "VideoCSV", "faster_than": theirs})
    names = ("clips", "frames", "recorded", "dtype", "batch", "rounds")
    record = result() | {"settings": dict.fromkeys(names, 1) | {"target": 2.0}, "rows": rows}
    (tmp_path / "data.json").write_text(json.dumps(record | {"not_measured": {}}))
    text = load("benchmarks.tables.data").speed(tmp_path)
    assert "The pack: 2.0 warm at 64x64; 1.9 cold at 64x64, **not reached**." in text
    assert "The formats: at least 0.97, **not reached**." in text


def test_other_clips_are_not_timed(data):
    clips = [(torch.randint(0, 255, (4, 3, 8, 8), dtype=torch.uint8), None)]
    other = [(255 - clips[0][0], None)]
    still = [(clips[0][0][:1].expand(4, -1, -1, -1), None)]
    reader = data.Reader("a", "JPEG", clips, [])
    data.check_same([reader, reader])
    with pytest.raises(ValueError, match=r"Not timed: b is off by \d+"):
        data.check_same([reader, data.Reader("b", "mp4", other, [])])
    ramp = (6 * torch.arange(4, dtype=torch.uint8))[:, None, None, None].expand(4, 3, 8, 8)
    slow, late = [(ramp, None)], [(ramp.roll(1, 0), None)]  # off by 9 grey levels on average
    with pytest.raises(ValueError, match="frame 2 of b is frame 1"):
        data.check_same([data.Reader("a", "mp4", slow, []), data.Reader("b", "mp4", late, [])])
    with pytest.raises(ValueError, match="the picture hardly moves"):
        data.check_same([data.Reader("a", "JPEG", still, [])])


# Tables of planning ------------------------------------------------------------------------------


def test_the_table_of_planning(load, tmp_path):
    """Measured classes are lines, the others say so; an agent that always arrives has no width."""
    planning = load("benchmarks.tables.planning").planning
    assert planning(tmp_path).count("not yet measured") == 7  # six classes, and the speed
    common = {"commit": "0123456789abcdef", "dirty": False, "seed": 0, "date": "2026-01-01"}
    common |= {"device": "cpu", "device_name": "a CPU", "threads": 2, "versions": {"python": "3"}}
    names = ("candidates", "rounds", "horizon", "every", "rooms")
    common["settings"] = dict.fromkeys(names, 5) | {"planner": "icem"}
    row = common | {"distance_metres": 2.0, "visible": True, "metres": 0.123, "degrees": 4.6}
    row |= {
        "seconds_per_plan": 0.0123,
        "ci95": [],
        "command": "python x.py",
    }
    (tmp_path / "planning").mkdir()
    half = [True] * 6 + [False] * 6
    for agent, steps, arrived in (
        ("oracle bearing", 0, [True] * 12),
        ("ours", 10, half),
        ("ours", 2, half),
    ):
        record = row | {"agent": agent, "name": f"{agent}, {steps}" if steps else agent}
        record |= {"success": 100.0 * sum(arrived) / 12, "each": arrived}
        record["settings"] = common["settings"] | {"steps": steps}
        (tmp_path / "planning" / f"{agent}{steps}.json").write_text(json.dumps(record))
    timed = {"contest": "one video", "steps": 2, "who": "ours, bfloat16"}
    timed |= {"ratio_median": 3.166, "ratio_min": 3, "ratio_max": 3.5}
    timed |= {"candidates_per_second": 9.512}
    pipelines = {"pipeline, batched": 3.0, "pipeline, batched, bfloat16": 4.0}
    others = [timed | {"who": n, "candidates_per_second": x} for n, x in pipelines.items()]
    record = common | {
        "command": "python x.py",
        "rows": [timed, *others],
    }
    (tmp_path / "candidates.json").write_text(json.dumps(record))
    text = planning(tmp_path)
    assert "| 2 m, seen | oracle bearing | 100 [100 to 100] | 0.12 | 5 | 0.012 |" in text
    assert text.index("ours, 2") < text.index("ours, 10") < text.index("oracle bearing")
    assert "| 2 m, seen | ours, 2 | oracle bearing | -50 [-75 to -25] |" in text
    assert "| 2 m, seen | ours, 2 | ours, 10 | +0 [+0 to +0] |" in text
    assert text.count("not yet measured") == 5
    assert "| one video | 2 | ours, bfloat16 | 9.51 | 3.17 (3.00 to 3.50) | 2.38 |" in text
    assert "the most is 2.38 (ours, bfloat16, 2 steps): **not reached**; its 3.17 sets" in text
    assert text.count("icem, 5 candidates, 5 rounds") == 1


def test_tables_of_windows_and_of_memory(load, tmp_path):
    tables = load("benchmarks.tables.planning")
    assert "not yet measured" in tables.windows(tmp_path)
    assert "not yet measured" in tables.memory(tmp_path)
    about = {"command": "python x.py", "commit": None, "dirty": None, "seed": 0, "threads": 1}
    about |= {"date": "2026-01-01", "device_name": "a CPU", "versions": {"python": "3"}}
    rows = [{"candidates": 10000, "bytes": 47 * 2**20 + 1}]
    (tmp_path / "planning-memory.json").write_text(json.dumps(about | {"rows": rows}))
    assert "| 10,000 | 47 |" in tables.memory(tmp_path)
    row = {"grey_levels": 6.71, "psnr": 27.62, "ratio_median": 2.13}
    whole = {"grey_levels": 1e-7, "psnr": 180.0, "ratio_median": 1.0}
    settings = {"frames": 8, "size": 64, "weights": "random"}
    settings["scale"] = {"the frame before": {"grey_levels": 53.65}}
    rows = [row | {"window": 4}, whole | {"window": 8}]
    record = about | {"rows": rows, "settings": settings}
    (tmp_path / "decode-window.json").write_text(json.dumps(record))
    text = tables.windows(tmp_path)
    assert "| 4 | 6.7 | 27.6 | 2.1 |" in text
    assert "| 8 | 0 | exact | 1.0 |" in text
    assert "is 54 grey levels away" in text


# Planning: windows of latents, and memory --------------------------------------------------------


def test_windows_of_latents(load, tmp_path, monkeypatch, capsys):
    """The whole chunk is exact, less of it is not, and an image decoder needs none."""
    monkeypatch.setattr(load("benchmarks.timing"), "MIN_SECONDS", 0.0)
    path = tmp_path / "windows.json"
    argv = ["--windows", "1", "3", "--rooms", "1", "--frames", "3", "--size", "32"]
    argv += ["--repeats", "1", "--device", "cpu", "--json", str(path)]
    assert load("benchmarks.planning.decode_window").main(argv) == 0
    record = json.loads(path.read_text())
    one, whole = record["rows"]
    assert (one["window"], whole["window"]) == (1, 3)
    assert one["grey_levels"] > 0.1 > 1e-4 > whole["grey_levels"]
    assert one["psnr"] < 60 < whole["psnr"]
    assert record["settings"]["scale"]["the frame before"]["grey_levels"] > 0.1
    assert (
        load("benchmarks.planning.decode_window").main(
            ["--pretrained", str(ROOT / "priors/rooms-svd")]
        )
        == 2
    )
    assert "frame by frame" in capsys.readouterr().err
    assert load("benchmarks.planning.decode_window").main(["--windows", "0"]) == 2


def test_errors_by_hand(load):
    """Half of the values are 51 grey levels off, what is beyond white counts as white."""
    exact = torch.ones(1, 1, 3, 2, 2)
    found = exact.clone()
    found[..., 0], found[..., 1] = 0.6, 1.7
    measured = load("benchmarks.planning.decode_window").errors(found, exact)
    assert measured["grey_levels"] == pytest.approx(25.5, abs=1e-3)
    assert measured["psnr"] == pytest.approx(16.9897, abs=1e-3)  # 10 log10(255^2 / (51^2 / 2))


def test_memory_of_plans(load, tmp_path, capsys):
    path = tmp_path / "memory.json"
    argv = ["--candidates", "3", "2", "--frames", "1", "--micro_batch", "2", "--device", "cpu"]
    assert load("benchmarks.planning.memory").main([*argv, "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert [row["candidates"] for row in record["rows"]] == [2, 3]
    few, more = (row["bytes"] for row in record["rows"])
    assert 0 <= few <= more
    assert record["settings"]["model"] == "rooms-world-model"
    assert load("benchmarks.planning.memory").main(["--candidates", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
