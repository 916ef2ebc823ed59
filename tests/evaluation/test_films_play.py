"""Every kind of video file that egowm writes plays in a browser, at its size."""

import json
from pathlib import Path

import numpy as np
import pytest

from egowm import video
from egowm.actions import ActionSpec
from egowm.evaluation.film import write_film
from egowm.evaluation.plan_film import picture_film
from egowm.evaluation.report.comparison_videos import write_comparison
from egowm.evaluation.rollout_film import rollout_film
from egowm.evaluation.run_folder import Actions, RunFolder, Variant
from egowm.video import read_frames, write_mp4
from tests.browser import result_of

SPEC = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)
FRAMES = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), np.uint8).repeat(2, 1).repeat(2, 2)
ACTIONS = np.array([[0.2, 0.0, 0.1]] * 3)
PAGE = """<body><script>
const names = %s;
const look = (name) => new Promise((done) => {
  const video = document.createElement("video");
  video.onloadeddata = video.onerror = () =>
    done([name, [video.readyState, video.videoWidth, video.videoHeight, video.duration]]);
  video.muted = true;
  video.preload = "auto";
  video.src = name;
  document.body.append(video);
});
Promise.all(names.map(look)).then((found) => {
  document.body.append("RESULT" + JSON.stringify(found) + "RESULT");
});
</script></body>
"""


def write_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film of a rollout, one of a plan, a comparison of a report, odd sides, one frame, and what
    is written without an encoder of H.264."""
    write_film(folder / "rollout", rollout_film([FRAMES], ["wad"], [ACTIONS], SPEC), 4)
    write_film(folder / "plan", picture_film(FRAMES, FRAMES[0], ACTIONS, SPEC), 4)
    meaning = Actions(SPEC.names, SPEC.units, SPEC.frame)
    variants = (Variant("pred", "model"), Variant("pred_shuffled", "another clip's actions"))
    run = RunFolder(folder, "", "", "", 4.0, meaning, variants, {"a/b": ACTIONS})
    names = ("gt", "pred", "pred_shuffled")
    write_comparison(run, "a/b", dict.fromkeys(names, FRAMES))
    write_mp4(folder / "odd.mp4", FRAMES[:, :15, :13], 2.5)
    write_mp4(folder / "one.mp4", FRAMES[:1], 0.5)
    vp9 = {name: video.ENCODERS[name] for name in video.ENCODERS if name != "libx264"}
    monkeypatch.setattr(video, "ENCODERS", vp9)  # a deleted key would come back as the last
    write_mp4(folder / "vp9.mp4", FRAMES, 4)


def test_in_chromium(tmp_path, monkeypatch):
    """Also a file that is none, which must not pass."""
    write_all(tmp_path, monkeypatch)
    (tmp_path / "none.mp4").write_bytes(b"no video")
    files = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.mp4"))]
    assert len(files) == 7
    (tmp_path / "page.html").write_text(PAGE % json.dumps(files))
    found = dict(result_of(tmp_path / "page.html"))
    assert found.pop("none.mp4")[0] == 0
    for name, (ready, width, height, seconds) in found.items():
        frames = read_frames(tmp_path / name)
        rate = {"odd.mp4": 2.5, "one.mp4": 0.5}.get(name, 4)
        assert ready >= 2, name
        assert (height, width) == frames.shape[1:3]
        assert seconds == pytest.approx(len(frames) / rate, abs=0.05)


def test_without_an_encoder_that_browsers_know(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "ENCODERS", {"nothing": {}})
    with pytest.raises(video.VideoError, match="one of the encoders nothing, got one without"):
        write_mp4(tmp_path / "a.mp4", FRAMES, 4)
    assert list(tmp_path.iterdir()) == []
