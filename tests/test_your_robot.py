"""What docs/your-robot.md says of recordings, on those of a turning camera as cameras and
spreadsheets leave them. The whole page runs when the site is built (docs/site/tutorial.py).
"""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from egowm.data import Packed
from tests.h264 import write_h264
from tests.shell import run_copy
from tests.test_video_file import trimmed

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/your-robot.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """Those of the page that read recordings."""
    lines = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", "")
    words = [shlex.split(line) for line in lines.splitlines()]
    return [command for command in words if command[1] == "data"]


class Camera(NamedTuple):
    """A codec in a file of its own ways, beside a table as some spreadsheet exports it.

    hidden: frames that an edit list cuts from the start. turned: see `write_h264`. jitter: 10 ms.
    """

    codec: str = "libx264"
    ending: str = ".mp4"
    hidden: int = 0
    turned: int = 0
    jitter: int = 0
    separator: str = ","
    newline: str = "\n"
    encoding: str = "utf-8"


CAMERAS = [
    Camera(hidden=5, newline="\r\n"),
    Camera("libx265", ".MOV", turned=90, encoding="utf-8-sig"),
    Camera("libvpx-vp9", ".webm", separator=";", newline="\r\n", encoding="utf-8-sig"),
    Camera("libsvtav1", jitter=1, separator="\t"),
]


def record(root: Path, name: str, seed: int, frames: int = 40, camera: Camera = Camera()) -> None:
    """A wall that slides by 3 pixels for each rad/s of the turn before, at 10 Hz."""
    rng, count = np.random.default_rng(seed), frames + camera.hidden
    turn = np.convolve(rng.normal(size=count + 8), np.ones(9) / 9, "valid") * 4
    wall = rng.integers(0, 255, (8, 40, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    offset = np.round(3 * np.concatenate([[0], np.cumsum(turn[:-1])])).astype(int)
    seen = np.stack([np.roll(wall, k, 1)[:, :96] for k in offset])
    grain = rng.integers(0, 4, seen.shape, np.uint8)  # of a sensor: no two pictures are equal
    stored = np.rot90(np.maximum(seen, grain) - grain, -camera.turned // 90, (1, 2))
    ticks = np.arange(count) * 10 + camera.jitter * rng.integers(-1, 2, count)  # of 10 ms
    times = (ticks - ticks[0]) / 100
    video = root / f"{name}{camera.ending}"
    fps, shown = (100, ticks - ticks[0]) if camera.jitter else (10, None)
    write_h264(video, stored, fps, camera.codec, shown, camera.turned)
    if camera.hidden:
        trimmed(video, camera.hidden)
    head = "time [s],turn [rad/s],speed [m/s],battery [V]"
    assert head in PAGE
    rows = [head.split(",")]
    for k, t in enumerate(turn[camera.hidden :]):
        values = (f"{times[k]:.3f}", f"{t:.4f}", f"{0.4 + 0.01 * (k % 5):.2f}", "12.1")
        rows.append([v.replace(".", ",") if camera.separator == ";" else v for v in values])
    text = camera.newline.join([*map(camera.separator.join, rows), ""])
    (root / f"{name}.csv").write_bytes(text.encode(camera.encoding))


def follow(folder: Path, camera: Camera) -> dict[str, str]:
    """Do what the page says with recordings of a camera; what was printed, by verb."""
    (folder / "my_robot").mkdir()
    for number in range(1, 11):
        record(folder / "my_robot", f"kitchen_{number:02d}", number, camera=camera)
    (recipe,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert "height: 64, width: 64" in recipe
    small = recipe.replace("height: 64, width: 64", "height: 16, width: 16")
    (folder / "my_robot.yaml").write_text(small)
    return {command[2]: run_copy(command, folder) for command in commands()}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "camera",
    [
        pytest.param(camera, id=camera.codec, marks=[pytest.mark.slow] * (camera != CAMERAS[-1]))
        for camera in CAMERAS
    ],
)
def test_every_codec(tmp_path, monkeypatch, camera):
    """Recordings are whole and in step with their tables, and are packed."""
    monkeypatch.chdir(tmp_path)
    printed = follow(tmp_path, camera)
    assert list(printed) == ["check", "show", "stats", "pack"]
    assert "10 episodes (7 train, 2 val, 1 test), 400 frames" in printed["check"]
    assert "0 errors, 0 warnings" in printed["check"]
    assert "turning explains" in printed["check"]
    assert json.loads(Path("my_robot.json").read_text())["units"] == ["rad/s", "m/s"]
    assert len(Packed("packed/my_robot").split("train")) > 4
