"""The page of a scoring: complete in itself, escaped, and alive in a real browser."""

import json
import re

import pytest

from egowm.commands.scs.main import main
from egowm.evaluation.report.score_table import Row
from egowm.evaluation.report.scs_page import choose_clips
from egowm.evaluation.report.scs_parts import by_frame, reach
from egowm.scs.masks import write_palette
from egowm.video import read_frames, write_frames
from tests.browser import result_of

EVIL = "<script>alert('x')<"


@pytest.fixture
def page(world, tmp_path):
    for half in (world.pred, world.gt):
        write_frames(half / EVIL, read_frames(half / "clip0"))
    write_palette(world.annotations / f"{EVIL}.png", world.truth["clip0"][0])
    argv = ["score", str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
    argv += ["--tracker", "palette", "--ceiling_codec", str(world.gt)]
    outputs = ["--json", str(tmp_path / "s.json"), "--report", str(tmp_path / "page.html")]
    assert main([*argv, *outputs]) == 0
    argv[0] = "report"
    argv += ["--scores", str(tmp_path / "s.json"), "--output", str(tmp_path / "again.html")]
    assert main(argv) == 0
    assert (tmp_path / "again.html").read_text() == (tmp_path / "page.html").read_text()
    return tmp_path / "page.html"


def test_page_is_complete_and_escaped(page):
    html = page.read_text("utf-8")
    assert "http://" not in html
    assert "https://" not in html
    assert "{{" not in html
    assert html.count("<script>") == 1
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;" in html
    assert html.count('<article class="card"') == 4
    record = json.loads((page.parent / "s.json").read_text())
    assert f'<p class="headline">{record["scs"]:.1f} ' in html
    assert record["fingerprint"] in html
    assert html.index("Protocol</h2>") > html.rindex("</article>")
    assert len(re.findall(r'class="masks" hidden alt="" src="data:image/png', html)) == 8
    assert 'class="band"' in html
    assert "no interval" in html


def test_scores_of_other_structures_make_no_page(world, tmp_path, capsys):
    argv = [str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
    argv += ["--tracker", "palette"]
    scores, page = tmp_path / "s.json", tmp_path / "page.html"
    assert main(["score", *argv, "--json", str(scores)]) == 0
    record = json.loads(scores.read_text())
    record["clips"][1]["objects"][0]["id"] = 99
    scores.write_text(json.dumps(record))
    assert main(["report", *argv, "--scores", str(scores), "--output", str(page)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Clip clip1: the scores are of structure 99, annotated are 1, 2, 3." in error
    assert not page.exists()


def test_a_band_is_announced_only_where_it_is():
    record = {"clips": [{"objects": [{"iou": [80.0, None, 60.0]}, {"iou": [40.0, None, 20.0]}]}]}
    copy = Row("Copy of the first frame", "", "reference", {"scs": 30.0}, None, "1 clip")
    ceiling = Row("Codec ceiling", "", "reference", {"scs": 80.0}, None, "1 clip")
    lower = Row("Codec ceiling", "", "reference", {"scs": 20.0}, None, "1 clip")
    drawn = by_frame(record, [copy, ceiling])
    assert "<h4>Mean overlap by frame; the band runs from copy to ceiling</h4>" in drawn
    # 122 pixels for 0 to 100: 8 + 122 * 0.2 and 122 * 0.5
    assert '<rect class="band" x="26" width="206" y="32.4" height="61.0"/>' in drawn
    for rows in ([], [copy], [copy, lower]):
        drawn = by_frame(record, rows)
        assert "<h4>Mean overlap by frame</h4>" in drawn
        assert "band" not in drawn
    assert 'd="M94.7 56.8h0.1 M232.0 81.2h0.1"' in drawn  # 60 and 40, with a gap
    assert by_frame({"clips": []}, [copy, ceiling]) == ""


@pytest.mark.parametrize(
    ("scores", "lines"),
    [((10.0, 50.0, 90.0), [58, 58, 58]), ((60.0, 66.0, 70.0, 71.0), [58, 10, 72, -4])],
)
def test_labels_of_near_scores_stand_on_lines_of_their_own(scores, lines):
    names = ("Copy of the first frame", "Prediction", "Codec ceiling", "Tracker ceiling")
    rows = [
        Row(name, "", "model" if name == "Prediction" else "reference", {"scs": value}, None, "")
        for name, value in zip(names, scores, strict=False)
    ]
    drawn = reach(rows)
    assert [int(y) for y in re.findall(r'<text x="[\d.]+" y="(-?\d+)"', drawn)] == lines
    assert f'viewBox="-20 {min(0, lines[-1] - 12)} 760' in drawn
    assert 'class="here" d="M' in drawn


def test_worst_best_and_some_by_chance():
    clips = [{"name": f"c{k:02d}", "scs": float(k)} for k in range(30)] + [
        {"name": "x", "scs": None}
    ]
    names = choose_clips(clips, 2)
    assert names[:2] == ["c00", "c01"]
    assert names[-2:] == ["c29", "x"]
    assert len(names) == 6
    assert names == choose_clips(clips, 2)
    assert choose_clips(clips[:3], 6) == ["c00", "c01", "c02"]


CHECK = """
<script>
addEventListener("load", () => setTimeout(() => {
  const out = {}, canvas = document.querySelector(".pred canvas");
  const { width, height } = canvas, pen = canvas.getContext("2d");
  const pixels = () => pen.getImageData(0, 0, width, height).data.join();
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "Home", bubbles: true}));
  const masked = pixels();
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "m", bubbles: true}));
  out.toggled = pixels() !== masked;
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  out.place = document.getElementById("place").textContent;
  out.cursor = document.querySelector(".card .cursor").getAttribute("transform");
  const head = document.querySelectorAll(".sortable th button")[1];
  head.click(); head.click();
  out.first = document.querySelector(".sortable tbody td").dataset.value;
  document.body.innerHTML = "<pre>RESULT" + JSON.stringify(out) + "RESULT</pre>";
}, 500));
</script>
"""


@pytest.mark.slow
def test_page_in_chromium(page):
    probe = page.with_name("probe.html")
    probe.write_text(page.read_text("utf-8").replace("</body>", f"{CHECK}</body>"), "utf-8")
    out = result_of(probe, "#frame=0")
    assert out["toggled"]
    assert out["place"].startswith("Frame 1 of 4")
    assert out["cursor"] == "translate(51.5 0)"
    scores = [c["scs"] for c in json.loads((page.parent / "s.json").read_text())["clips"]]
    assert float(out["first"]) == pytest.approx(max(scores), abs=0.06)
