"""The page docs/your-robot.md as it stands, on recordings of a turning camera as cameras and
spreadsheets leave them, few steps.

Every command is a process of its own: one of each program begins as in a user's shell, the others
as copies of a process that has imported everything.
"""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from egowm import Space, WorldModel
from egowm.data import Packed
from egowm.video import count_frames
from tests.h264 import write_h264
from tests.shell import run_command, run_copy
from tests.test_video_file import trimmed

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/your-robot.md").read_text(encoding="utf-8")
# What makes it quick: a random pipeline for 16x16 frames, and less of everything.
LESS = {
    "max_steps: 600": "max_steps: 2",
    "batch_size: 16": "batch_size: 2",
    "height: 64, width: 64": "height: 16, width: 16",
    "--clips 8": "--clips 2 --steps 1",
    "--size 64 64": "--size 16 16",
    "--candidates 16": "--candidates 4 --rounds 1",
}


def blocks(kind: str) -> list[str]:
    """Code blocks of the page, made small; every replacement is used somewhere."""
    text = PAGE
    for long, short in LESS.items():
        assert long in text, f"{long} is no longer on the page"
        text = text.replace(long, short)
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def commands() -> list[list[str]]:
    lines = "".join(blocks("bash")).replace("\\\n", "").splitlines()
    return [shlex.split(line) for line in lines]


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


def run(command: list[str], folder: Path) -> str:
    """`fit` as in a shell."""
    return (run_command if command[1] == "fit" else run_copy)(command, folder)


def follow(
    folder: Path, prior: Path, cameras: list[Camera], lines: list[list[str]]
) -> dict[str, str]:
    """Do what lines of the page say, in a folder; what they printed, by their first words."""
    (folder / "my_robot").mkdir()
    for number in range(1, 11):
        camera = cameras[number % len(cameras)]
        record(folder / "my_robot", f"kitchen_{number:02d}", number, camera=camera)
    (recipe,) = blocks("yaml")
    assert "./priors/rooms-svd" in recipe
    (folder / "my_robot.yaml").write_text(recipe.replace("./priors/rooms-svd", str(prior)))
    printed = {}
    for command in lines:
        printed[" ".join(command[1:3])] = run(command, folder)
    return printed


def assert_read(printed: dict[str, str]) -> None:
    """The recordings are whole and in step with their tables, and were packed."""
    assert "10 episodes (7 train, 2 val, 1 test), 400 frames" in printed["data check"]
    assert "0 errors, 0 warnings" in printed["data check"]
    assert "turning explains" in printed["data check"]
    assert len(Packed("packed/my_robot").split("train")) > 4


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "camera",
    [
        pytest.param(camera, id=camera.codec, marks=[pytest.mark.slow] * (camera != CAMERAS[-1]))
        for camera in CAMERAS
    ],
)
def test_every_codec(tiny_prior, tmp_path, monkeypatch, camera):
    """Up to the pack; what comes after it sees no recording any more."""
    monkeypatch.chdir(tmp_path)
    reading = [command for command in commands() if command[1] == "data"]
    assert [command[2] for command in reading] == ["check", "show", "stats", "pack"]
    assert_read(follow(tmp_path, tiny_prior, [camera], reading))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_recordings_to_a_plan(tiny_prior, tmp_path, monkeypatch):
    """The whole page, from recordings of all cameras in one folder."""
    monkeypatch.chdir(tmp_path)
    printed = follow(tmp_path, tiny_prior, CAMERAS, commands())
    assert_read(printed)
    assert "SCS: no structures are marked" in printed["eval -c"]
    assert json.loads(Path("my_robot.json").read_text())["units"] == ["rad/s", "m/s"]
    saved = torch.load("runs/my_robot/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["egowm"]["spec"]["rate_hz"] == 5.0
    (evaluate,) = (command for command in commands() if command[1] == "eval")
    again = [word.replace("score", "again") for word in evaluate]
    values = printed["eval -c"].split("\n\n")[1].splitlines()[:4]  # without seconds and memory
    found = run_command(again, tmp_path, first="decord").split("\n\n")[1].splitlines()
    assert found[:4] == values
    plan = json.loads(Path("runs/my_robot/plan/plan.json").read_text())
    assert (plan["names"], plan["units"]) == (["turn", "speed"], ["rad/s", "m/s"])
    space = Space.of(WorldModel.from_pretrained("runs/my_robot/export").spec, horizon=4)
    actions = torch.tensor(plan["actions"])
    assert (actions >= space.low - 1e-6).all()
    assert (actions <= space.high + 1e-6).all()
    assert re.search(r"0\.20 s: turn -?[\d.]+ rad/s, speed [\d.]+ m/s", printed["plan --model"])
    for film in ("plan/plan.mp4", "walk/rollout.mp4"):
        assert count_frames(Path("runs/my_robot", film)) == 5


def test_every_block_of_the_page_is_run():
    kinds = re.findall(r"^```(\w*)$", PAGE, re.MULTILINE)
    assert {kind for kind in kinds if kind} == {"yaml", "bash"}
    assert {command[0] for command in commands()} == {"egowm"}
    assert len(commands()) == 9
