import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from egowm.commands.report import main
from egowm.evaluation.record import save
from egowm.evaluation.report import section
from egowm.evaluation.report.run_page import write_report
from egowm.pixels import psnr
from egowm.scs.masks import write_palette
from egowm.video import read_frames, write_frames
from tests.evaluation.records import made_up

STEPS = 4
CLIPS = ("best", "worst <b>", "middle & so")
SCS = {"best": 90.0, "worst <b>": 20.0, "middle & so": 55.0}
VOID_TAGS = {"meta", "img", "input", "br", "link"}


def moving_box(shift: int) -> np.ndarray:
    """A box on grey that pans `shift` pixels a frame: (T+1, 32, 32, 3)."""
    frames = np.full((STEPS + 1, 32, 32, 3), 90, np.uint8)
    for t in range(STEPS + 1):
        frames[t, 8:20, 4 + shift * t : 12 + shift * t] = (200, 60, 40)
    return frames


def scores(names: tuple[str, ...] = CLIPS) -> dict:
    """A scs.json in percent, as `egowm.scs` writes it."""
    curve = [90.0, 80.0, None, 60.0]
    clips = [
        {"name": name, "scs": SCS[name], "objects": [{"id": 1, "iou": curve}]} for name in names
    ]
    return {
        "scs": 55.0,
        "scs_davis": 57.25,
        "scs_visible": 56.0,
        "scs_at": {"2": 85.0, "4": 76.7, "8": None},
        "ci95": None,
        "copy": {"scs": 31.25, "ci95": None},
        "ceiling_codec": {"scs": 88.0},
        "normalised": 0.4187,
        "empty_shares": {"both_empty": 0.25, "pred_empty": 0.0, "both_present": 0.75},
        "clips": clips,
        "protocol": {"tracker": {"name": "palette", "options": {}}},
        "environment": {"numpy": "2.4"},
        "fingerprint": "c0ffee" * 8,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three clips with a model's predictions, another clip's actions, annotations and scores."""
    folder = tmp_path / "run"
    clips = {}
    for k, name in enumerate(CLIPS):
        truth = moving_box(3)
        write_frames(folder / "gt" / name, truth)
        write_frames(folder / "pred" / name, np.where(truth[:1] == truth, truth, truth + 10))
        write_frames(folder / "pred_shuffled" / name, moving_box(k))
        labels = np.zeros((32, 32), np.uint8)
        labels[8:20, 4:12] = 1
        write_palette(folder / "annotations" / f"{name}.png", labels)
        clips[name] = {"actions": [[0.2, 0.0, 0.1]] * STEPS}
    described = {
        "fps": 4.0,
        "context": 1,
        "source": "Boxes",
        "model": "A <i>model</i> & more",
        "action_names": ["dx", "dy", "dyaw"],
        "action_units": ["m", "m", "rad"],
        "action_frame": "body",
        "variants": {"pred": "true actions", "pred_shuffled": "another clip's actions"},
        "clips": clips,
    }
    (folder / "clips.json").write_text(json.dumps(described))
    (folder / "scs.json").write_text(json.dumps(scores()))
    (folder / "scs_shuffled.json").write_text(json.dumps(scores() | {"scs": 40.0}))
    return folder


def change(run: Path, **fields: object) -> None:
    """Replace fields of clips.json."""
    file = run / "clips.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


class Page(HTMLParser):
    """Attributes and text by tag; fails where tags are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: dict[str, list[dict[str, str | None]]] = {}
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, []).append(dict(attrs))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, []).append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def page_of(run: Path, max_clips: int = 24) -> Page:
    return Page(write_report(run, max_clips=max_clips, videos=False).read_text())


def test_page_is_complete_in_itself(run: Path) -> None:
    html = write_report(run, videos=False).read_text()
    assert "http://" not in html
    assert "https://" not in html
    assert "{{" not in html
    page = Page(html)
    assert not {"link", "iframe", "object"} & set(page.found)
    assert all("src" not in script for script in page.found["script"])
    assert all(image["src"].startswith("data:image/webp;base64,") for image in page.found["img"])
    assert re.findall(r"url\((.{22})", html) == ["data:image/png;base64,"] * 3
    assert any(
        meta.get("content", "").startswith("default-src 'none'") for meta in page.found["meta"]
    )


def test_every_clip_is_there_the_typical_one_first(run: Path) -> None:
    cards = page_of(run).found["article"]
    assert [card["data-name"] for card in cards] == ["middle & so", "worst <b>", "best"]
    assert [card["data-scs"] for card in cards] == ["55.0", "20.0", "90.0"]
    assert all(card["data-last"] == str(STEPS) for card in cards)


def test_the_actions_of_the_wrong_column_are_drawn(run: Path) -> None:
    """0.4 m in place of 0.8 m, and whose they are; nothing below a column told the clip's own."""
    clips = json.loads((run / "clips.json").read_text())["clips"]
    told = {"actions": [[0.1, 0.0, 0.0]] * STEPS, "clip": "worst <b>"}
    clips["best"]["told"] = {"pred_shuffled": told}
    change(run, clips=clips)
    page = page_of(run)
    paths = [svg.get("aria-label") for svg in page.found["svg"] if svg.get("class") == "path"]
    assert sorted(paths) == [
        "Path from above: 0.4 m, no turn",
        *["Path from above: 0.8 m, turns 22.9° left"] * 3,
    ]
    assert page.text.count("Told the actions of clip worst <b>, seen from above") == 1
    for actions, words in (([0.0, 0.0, 0.0], "Told zeros"), ([0.1, 0.2, 0.0], "Told other")):
        clips["best"]["told"]["pred_shuffled"] = {"actions": [actions] * STEPS, "clip": ""}
        change(run, clips=clips)
        assert page_of(run).text.count(words) == 1
    clips["best"]["told"]["pred_shuffled"] = told | {"actions": told["actions"][1:]}
    change(run, clips=clips)
    with pytest.raises(ValueError, match=r"told\.pred_shuffled: expected as many actions"):
        page_of(run)


def test_names_and_labels_are_escaped(run: Path) -> None:
    page = page_of(run)
    assert "A <i>model</i> & more" in page.text
    assert "worst <b>" in page.text
    assert all(item.keys() == {"style"} for item in page.found["i"])  # only the legend's swatches


def test_the_embedded_clips_span_the_scores(run: Path) -> None:
    page = page_of(run, max_clips=2)
    assert [card["data-name"] for card in page.found["article"]] == ["middle & so", "worst <b>"]
    assert "2 of 3 clips" in page.text
    assert "The clip with the most typical SCS comes first." in page.text
    assert "the table counts all, also 1 clip left out" in page.text
    (only,) = page_of(run, max_clips=1).found["article"]
    assert only["data-name"] == "middle & so"


@pytest.mark.parametrize("scored", [[], ["scs_shuffled.json"]])
def test_clips_without_a_score_stand_by_psnr(run: Path, scored: list[str]) -> None:
    """Also where only the other row is scored: the first row gives the order."""
    for name in {"scs.json", "scs_shuffled.json"} - set(scored):
        (run / name).unlink()
    page = page_of(run, max_clips=1)
    assert "the most typical PSNR comes first" in page.text
    assert "also 2 clips left out" in page.text
    assert [option["value"] for option in page.found["option"]][:2] == ["typical", "psnr"]
    assert ("Not scored" in page.text) == (not scored)


@pytest.mark.parametrize(
    ("missing", "words", "box"),
    [
        ((), "Fingerprint c0ffee", 1),
        (("environment",), "Only scores with the same one compare.", 1),
        (("protocol", "environment"), "Fingerprint c0ffee", 0),
        (("protocol", "environment", "fingerprint"), "do not say what they depend on.", 0),
    ],
)
def test_the_protocol_shows_what_is_known(run: Path, missing, words: str, box: int) -> None:
    for name in ("scs.json", "scs_shuffled.json"):
        known = {key: value for key, value in scores().items() if key not in missing}
        (run / name).write_text(json.dumps(known))
    page = page_of(run)
    assert words in page.text
    assert "null" not in page.text
    assert ("Environment: numpy 2.4" in page.text) == ("environment" not in missing)
    assert "Environment:" in page.text or "environment" in missing
    assert len(page.found.get("pre", [])) == box


def test_one_clip_of_one_frame_is_counted_so(run: Path) -> None:
    for name in CLIPS[1:]:
        for folder in ("gt", "pred", "pred_shuffled"):
            shutil.rmtree(run / folder / name)
    for folder in ("gt", "pred", "pred_shuffled"):
        write_frames(run / folder / CLIPS[0], moving_box(3)[:2])
    change(run, clips={CLIPS[0]: {"actions": [[0.2, 0.0, 0.1]]}})
    (run / "scs.json").unlink()
    (run / "scs_shuffled.json").unlink()
    assert "1 clip, 1 predicted frame each" in page_of(run).text


def test_table_shows_psnr_of_every_row(run: Path) -> None:
    for name in CLIPS:
        truth = read_frames(run / "gt" / name)
        write_frames(run / "pred" / name, np.concatenate([truth[:1], truth[1:] + 5]))
    html = write_report(run, videos=False).read_text()
    rows = re.findall(r"<tr class=.*?</tr>", html)
    first, model, shuffled, ceiling = rows  # three clips are too few: copy is the first row
    assert "Copy of the first frame" in first
    assert "<b>31.2</b>" in first
    assert "<td>34.2</td>" in model
    assert "no interval (3 clips)" in model
    assert "<td>41.9</td>" in model  # normalised
    assert "<b>40.0</b>" in shuffled
    assert "<b>88.0</b>" in ceiling
    truth = moving_box(3)
    expected = psnr(truth[:1].repeat(STEPS, axis=0), truth[1:])
    assert f"<td>{expected:.1f}</td>" in first


def test_intervals_come_from_ten_clips_on(run: Path) -> None:
    found = scores() | {"clips": [], "num_clips": 12, "ci95": [50.0, 60.0]}
    (run / "scs.json").write_text(json.dumps(found))
    (run / "scs_shuffled.json").unlink()
    rows = re.findall(r"<tr class=.*?</tr>", write_report(run, videos=False).read_text())
    assert "[50.0, 60.0]" in rows[0]
    assert "Copy of the first frame" in rows[2]


def test_facts_of_the_scoring(run: Path) -> None:
    text = page_of(run).text
    assert "3 clips, 4 predicted frames each, tracker palette, protocol c0ffeec0ffee" in text
    assert "c0ffee" * 8 in text
    assert "numpy 2.4" in text
    assert "25.0%" in text


def test_overlap_has_a_gap_where_it_is_undefined(run: Path) -> None:
    html = write_report(run, videos=False).read_text()
    line = re.search(r'<path class="curve" style="stroke:#800000" d="([^"]*)"', html)[1]
    assert len(re.findall("M", line)) == 2  # frames 1 and 2, then frame 4 alone
    assert line.endswith("h0.1")
    left, step = 26.0, (240 - 26 - 8) / STEPS
    assert line.startswith(f"M{left + step:.1f} ")


def test_a_structure_may_have_any_number(run: Path) -> None:
    found = scores()
    found["clips"][0]["objects"][0]["id"] = 300
    (run / "scs.json").write_text(json.dumps(found))
    assert "structure 300" in write_report(run, videos=False).read_text()


@pytest.mark.parametrize(
    ("least", "words"),
    [(32, "egowm report RUN"), (33, "frames of 32x32 are too small")],
)
def test_without_scores_the_page_says_how_to_score(
    run: Path, least: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small frames are not to be annotated."""
    monkeypatch.setattr(section, "LEAST", least)
    (run / "scs.json").unlink()
    (run / "scs_shuffled.json").unlink()
    page = page_of(run)
    assert words in page.text
    assert ("annotate" in page.text) == (least == 32)
    assert "DAVIS" not in page.text  # no column that is not there is explained
    assert len(page.found["article"]) == 3


def test_scores_of_the_toolkit_are_understood(run: Path) -> None:
    from egowm.scs.evaluate import score_folders

    for folder, name in (("pred", "scs"), ("pred_shuffled", "scs_shuffled")):
        result = score_folders(run / folder, run / "gt", run / "annotations", tracker="copy")
        result.save(run / f"{name}.json")
    page = page_of(run)
    assert f"protocol {result.fingerprint[:12]}" in page.text
    assert len([s for s in page.found["svg"] if "Overlap" in (s.get("aria-label") or "")]) == 6


def test_videos_for_players(run: Path) -> None:
    write_report(run)
    files = sorted((run / "videos").iterdir())
    assert [file.name for file in files] == [f"{name}.mp4" for name in sorted(CLIPS)]
    frames = read_frames(files[0])
    assert frames.shape == (STEPS + 1, 192 + 22, 3 * 192 + 2 * 4, 3)


def test_output_is_replaced_whole(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere" / "page.html"
    assert write_report(run, output, videos=False) == output
    assert write_report(run, output, videos=False) == output
    assert [file.name for file in output.parent.iterdir()] == ["page.html"]
    assert not (run / "report.html").exists()


def test_an_error_leaves_the_page_of_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write_report(run, videos=False)
    before, names = page.read_bytes(), {path.name for path in run.iterdir()}

    def fail(self: Path, text: str, *args: object, **options: object) -> int:
        self.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(OSError, match="No space left"):
        write_report(run, videos=False)
    assert page.read_bytes() == before
    assert {path.name for path in run.iterdir()} == names


def test_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--no_videos", "--max_clips", "1"]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"


def remove(folder: Path) -> None:
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()


def break_frame_count(run: Path) -> None:
    (run / "pred" / "best" / "00004.png").unlink()


def break_action_count(run: Path) -> None:
    clips = json.loads((run / "clips.json").read_text())["clips"]
    change(run, clips=clips | {"best": {"actions": [[0, 0, 0]]}})
    (run / "scs.json").unlink()
    (run / "scs_shuffled.json").unlink()


def break_size(run: Path) -> None:
    remove(run / "pred" / "best")
    write_frames(run / "pred" / "best", np.zeros((STEPS + 1, 16, 16, 3), np.uint8))


def break_scores(run: Path) -> None:
    (run / "scs.json").write_text(json.dumps(scores(CLIPS[:2])))


def break_protocol(run: Path) -> None:
    (run / "scs_shuffled.json").write_text(json.dumps(scores() | {"fingerprint": "other"}))


def break_name(run: Path) -> None:
    change(run, clips={"../../etc": {"actions": []}})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "clips.json").unlink(), "found no clips.json"),
        (lambda run: (run / "clips.json").write_text("{"), "expected what `egowm predict` writes"),
        (lambda run: remove(run / "pred"), "found no folder pred"),
        (lambda run: remove(run / "gt"), "found no folder gt"),
        (lambda run: remove(run / "pred" / "best"), "pred lacks 1 of 3 clips of clips.json"),
        (lambda run: (run / "pred" / "extra").mkdir(), "extra is not in clips.json"),
        (lambda run: change(run, clips={}), "holds no clip"),
        (
            lambda run: change(run, action_names=["dx"], action_units=["m"]),
            "3 action dimensions, action_names has 1",
        ),
        (lambda run: change(run, action_units=["m"]), "action_units has 1 text, action_names has"),
        (
            lambda run: change(run, clips={"best": {"actions": [[0, 0, 0], [0]]}}),
            "clips.best.actions: expected one number of dimensions, got 1, 3",
        ),
        (
            lambda run: change(run, fps="4"),
            "clips.json: expected what `egowm predict` writes; fps:",
        ),
        (break_frame_count, "expected 5 frames as in gt, got 4"),
        (break_action_count, "expected 2 frames for the 1 action in clips.json, got 5"),
        (break_size, "frames are 16x16, the truth is 32x32"),
        (break_scores, "2 clips were scored, the run has 3"),
        (break_protocol, "scored under different protocols"),
        (break_name, "expected the name of a file inside"),
        (lambda run: (run / "scs.json").write_text("[]"), "(score again)"),
    ],
)
def test_errors_are_one_line_and_status_2(
    run: Path, damage, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run)
    assert main([str(run), "--no_videos"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("egowm report: ")
    assert message in error
    assert not (run / "report.html").exists()


# The section of metrics ---------------------------------------------------------------------------


def metrics_page(run: Path, change=lambda record: None) -> str:
    """The page with an eval.json of the run's clips."""
    record = made_up(np.linspace(20, 30, len(CLIPS) * STEPS).reshape(len(CLIPS), STEPS))
    record["clips"] = record["recordings"] = list(CLIPS)
    change(record)
    save(record, run / "eval.json")
    return write_report(run, videos=False).read_text("utf-8")


def test_the_page_shows_the_metrics(run):
    """The mean of 20 to 30 dB, a chart of each metric with a line for the row, what is missing."""
    assert 'aria-label="Metrics"' not in write_report(run, videos=False).read_text("utf-8")
    page = metrics_page(run)
    section = page[page.index('<section aria-label="Metrics">') : page.index('aria-label="Clips"')]
    assert "<td>25.00</td>" in section
    assert section.count('<svg class="chart"') == 2
    assert section.count("<title>mine</title>") == 2
    assert "PSNR by frame, higher is better" in section
    assert "not measured: no structures are marked" in section
    assert "no intervals below 10 recordings (3 here)" in section
    assert ">0.25</td><td>1.50</td>" in section


def test_a_run_inside_the_run_is_a_section_below_it(run: Path) -> None:
    """With a table and clips of its own, which the order of the clips above leaves in place."""
    inner = run / "humanoid"
    shutil.copytree(run, inner, ignore=shutil.ignore_patterns("humanoid"))
    change(inner, title="A body <at> a table", fps=5.0)
    page = write_report(run, videos=False).read_text("utf-8")
    above, below = page.split('<section id="run-humanoid" aria-label="A body &lt;at&gt; a table">')
    assert 'Further down: <a href="#run-humanoid">A body &lt;at&gt; a table</a>.' in above
    assert "<h2>A body &lt;at&gt; a table</h2>" in below
    assert "32x32, 5 per second" in below
    for part in (above, below):
        assert part.count('class="card"') == len(CLIPS)
        assert "another clip&#39;s actions" in part
        assert "31.2" in part
        assert "Fingerprint c0ffee" in part
        assert "<h2>3 clips</h2>" in part
        assert "share of structures and frames" in part
    assert "Here they play at 4 frames per second" in below
    ids = [card["id"] for card in Page(page).found["article"]]
    assert len(set(ids)) == 2 * len(CLIPS)
    fewer = write_report(run, max_clips=1, videos=False).read_text("utf-8")
    assert fewer.count("<h2>1 of 3 clips</h2>") == 2


def test_each_part_of_the_page_has_a_name_of_its_own(run: Path) -> None:
    """Also where a run and the run inside it both have metrics."""
    inner = run / "humanoid"
    metrics_page(run)
    shutil.copytree(run, inner, ignore=shutil.ignore_patterns("humanoid"))
    change(inner, title="A body")
    tags = Page(write_report(run, videos=False).read_text("utf-8")).found
    named = [div["aria-label"] for div in tags["div"] if div.get("role") == "region"]
    named += [section["aria-label"] for section in tags["section"]]
    assert {"Metrics", "A body: Metrics"} <= set(named)
    assert sorted(named, key=str) == sorted(set(named), key=str)


def test_what_lies_inside_the_run_and_is_none(run: Path, tmp_path: Path) -> None:
    """A run that is being written is left out; what else says it is a run is told before work."""
    (run / ".egowm-1-new").mkdir()
    (run / ".egowm-1-new/clips.json").write_text("{")
    page = write_report(run, videos=False)
    before = page.read_bytes()
    (run / "other").mkdir()
    (run / "other/clips.json").write_text('["shots"]')
    with pytest.raises(ValueError, match=r"other/clips\.json: .* to leave other out, move it else"):
        write_report(run, videos=False)
    assert page.read_bytes() == before
    shutil.rmtree(run / "other")
    shutil.copytree(run, tmp_path / "inner")
    (tmp_path / "inner").rename(run / "inner")
    (run / "inner/videos").symlink_to(tmp_path)
    with pytest.raises(FileExistsError, match="outputs are not written through links"):
        write_report(run)


def test_the_ceiling_flattens_no_chart(run):
    """It stands in the table; the scale is that of the other rows."""

    def change(record):
        row = record["rows"][0]
        cells = json.loads(json.dumps(row["cells"]))
        for cell in cells.values():
            cell["frames"] = [1000.0 for _ in cell["frames"]]
        ceiling = {"folder": "codec", "label": "Codec ceiling", "role": "reference"}
        record["rows"].append(row | ceiling | {"cells": cells})

    page = metrics_page(run, change)
    section = page[page.index('<section aria-label="Metrics">') : page.index('aria-label="Clips"')]
    assert section.count("Codec ceiling") == 1
    assert ">1000<" not in section


def test_metrics_of_other_clips_are_refused(run, capsys):
    with pytest.raises(ValueError, match="best is not in both this file and the run"):
        metrics_page(run, lambda record: record["clips"].__setitem__(0, "other"))


def test_a_text_of_the_metrics_stays_a_text(run):
    evil = "<script>alert(1)</script>"

    def change(record):
        record["rows"][0]["label"] = record["columns"][1]["label"] = record["device"] = evil
        record["columns"][0]["lacks"] = record["columns"][1]["meaning"] = f'" onload="{evil}'
        record["reads"][2] = record["fingerprint"] = evil

    page = metrics_page(run, change)
    assert evil not in page
    assert page.count("<script") == 1
    assert ' onload="' not in page
