"""The code blocks of docs/planning.md run as they stand."""

import re
from pathlib import Path

import pytest
import torch

from egowm import WorldModel

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/planning.md").read_text(), re.DOTALL)


def test_a_planner_of_ten_lines():
    exec(compile(BLOCKS[1], "docs/planning.md", "exec"), {})
    body = BLOCKS[1].split("def hill_climb")[1].split("\n\n\n")[0]
    assert len(body.splitlines()) <= 11


def test_a_plan_with_the_model_that_came_along(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    if not (ROOT / "priors/rooms-world-model").is_dir():
        pytest.skip("no committed export")
    torch.manual_seed(0)
    assert issubclass(WorldModel, torch.nn.Module)
    scope: dict = {}
    exec(compile(BLOCKS[0], "docs/planning.md", "exec"), scope)
    plan = scope["plan"]
    assert plan.actions.shape == (2, 3)
    assert plan.evaluations == 8
    assert "tensor" in capsys.readouterr().out
