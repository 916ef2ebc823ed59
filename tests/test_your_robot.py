"""The page docs/your-robot.md as it stands, on H.264 recordings of a turning camera, few steps.

Every command is a process of its own, as in a user's shell.
"""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from egowm import Space
from egowm.data import Packed
from egowm.scs.masks import write_palette
from egowm.video import read_image
from tests.h264 import write_h264
from tests.shell import run_command

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/your-robot.md").read_text(encoding="utf-8")
# What makes it quick: a random pipeline for 16x16 frames, and less of everything.
LESS = {
    "max_steps: 600": "max_steps: 2",
    "batch_size: 16": "batch_size: 2",
    "height: 64, width: 64": "height: 16, width: 16",
    "--clips 8": "--clips 2 --steps 1",
    "height=64, width=64": "height=16, width=16",
    "samples=16": "samples=4",
    "elites=4": "elites=2",
    "iterations=3": "iterations=1",
}


def blocks(kind: str) -> list[str]:
    """Code blocks of the page, made small; every replacement is used somewhere."""
    text = PAGE
    for long, short in LESS.items():
        assert long in text, f"{long} is no longer on the page"
        text = text.replace(long, short)
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def commands() -> list[list[str]]:
    return [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]


def record(root: Path, name: str, seed: int, frames: int = 40) -> None:
    """A wall that slides by 3 pixels for each rad/s of the turn before, at 10 Hz."""
    rng = np.random.default_rng(seed)
    turn = np.convolve(rng.normal(size=frames + 8), np.ones(9) / 9, "valid") * 4
    wall = rng.integers(0, 255, (8, 40, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    offset = np.round(3 * np.concatenate([[0], np.cumsum(turn[:-1])])).astype(int)
    seen = np.stack([np.roll(wall, k, 1)[:, :96] for k in offset])
    grain = rng.integers(0, 4, seen.shape, np.uint8)  # of a sensor: no two pictures are equal
    write_h264(root / f"{name}.mp4", np.maximum(seen, grain) - grain, 10)
    rows = [f"{k / 10:.3f},{t:.4f},{0.4 + 0.01 * (k % 5):.2f},12.1" for k, t in enumerate(turn)]
    head = "time [s],turn [rad/s],speed [m/s],battery [V]"
    assert head in PAGE
    (root / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")


def draw(truth: Path, drawn: Path) -> None:
    """Two structures in frame 0 of every clip, as a paint program would leave them."""
    drawn.mkdir()
    for clip in truth.iterdir():
        shape = read_image(clip / "00000.png").shape[:2]
        marked = np.zeros(shape, np.uint8)
        marked[2:9, 1:8], marked[4:14, 9:15] = 1, 2
        write_palette(drawn / f"{clip.name}.png", marked)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_recordings_to_a_plan(tiny_prior, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_robot").mkdir()
    for number in range(1, 11):
        record(tmp_path / "my_robot", f"kitchen_{number:02d}", number)
    (recipe,) = blocks("yaml")
    assert "./priors/rooms-svd" in recipe
    Path("my_robot.yaml").write_text(recipe.replace("./priors/rooms-svd", str(tiny_prior)))
    printed = {}
    for command in commands():
        if command[1] == "annotate":
            draw(Path("runs/my_robot/score/gt"), Path("drawn"))
        printed[" ".join(command[1:3])] = run_command(command, tmp_path)
    assert "0 errors, 0 warnings" in printed["data check"]
    assert "turning explains" in printed["data check"]
    assert json.loads(Path("my_robot.json").read_text())["units"] == ["rad/s", "m/s"]
    assert len(Packed("packed/my_robot").split("train")) > 4
    saved = torch.load("runs/my_robot/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["egowm"]["spec"]["rate_hz"] == 5.0
    assert "2 frames are annotated" in printed["annotate runs/my_robot/score/gt"]
    score = printed["score runs/my_robot/score/pred"]
    assert 0 < float(re.search(r"SCS\D+([\d.]+)", score)[1]) <= 100
    (evaluate,) = (command for command in commands() if command[1] == "evaluate")
    again = [word.replace("score", "again") for word in evaluate]
    table = printed["evaluate runs/my_robot/export"]
    assert "PSNR" in table
    assert run_command(again, tmp_path, first="decord").replace("again", "score") == table
    (code,) = blocks("python")
    scope: dict = {}
    exec(compile(code, "docs/your-robot.md", "exec"), scope)
    plan = scope["plan"]
    assert plan.actions.shape == (4, 2)
    assert plan.evaluations == 4
    space = Space.of(scope["model"].spec, horizon=4)
    assert (plan.actions >= space.low - 1e-6).all()
    assert (plan.actions <= space.high + 1e-6).all()


def test_every_block_of_the_page_is_run():
    kinds = re.findall(r"^```(\w*)$", PAGE, re.MULTILINE)
    assert {kind for kind in kinds if kind} == {"yaml", "bash", "python"}
    assert {command[0] for command in commands()} == {"egowm", "egowm-scs"}
    assert len(commands()) == 10
