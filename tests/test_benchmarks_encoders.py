"""The benchmark of image encoders: what probes are given, and the table."""

import json

import numpy as np
import pytest
import torch

from benchmarks.experiment import encoders
from benchmarks.measure import provenance
from benchmarks.tables.encoders import encoders as table_of


def test_motion_is_told_in_the_first_camera_s_frame():
    """One metre to the left of who looks along y is one metre against x."""
    before = np.array([1.0, 2.0, 0.5, np.pi / 2, 0.0, 1.0])
    after = np.add(before, [-1.0, 2.0, 0.0, 0.1, 0.0, 0.0])
    assert encoders.motion(before, after) == pytest.approx([2.0, 1.0, 0.1])
    turned = np.add(before, [0.0, 0.0, 0.0, 2 * np.pi - 0.1, 0.0, 0.0])
    assert encoders.motion(before, turned) == pytest.approx([0.0, 0.0, -0.1])


def test_pixels_are_those_of_each_patch():
    frames = torch.zeros(1, 3, 4, 4)
    frames[0, 1, 2, 1] = 1.0  # green, in the lower left patch of 2x2
    encode, about = encoders.pixels(side=2)
    cls, patches = encode(frames)
    assert about == {}
    assert patches.shape == (1, 2, 2, 12)
    assert patches[0, 1, 0].sum() == patches.sum() == 1.0
    assert cls[0].nonzero().flatten().tolist() == [1 * 4 + 2]  # of green, the third patch
    assert cls.sum() == 0.25


def test_every_arm_has_the_shape_of_the_reference():
    shapes = set()
    for arm in encoders.ARMS.values():
        model = encoders.model_of(arm)
        shapes.add((model.size, model.patch, model.width, model.layers, model.heads))
    assert len(shapes) == 1


def test_a_line_holds_the_range_over_seeds(tmp_path):
    record = provenance(0, "cpu", (), ["benchmarks/experiment/encoders.py"])
    probed = dict.fromkeys(("metres_r2", "degrees_r2", "room", "spread"), 0.5)
    rows = [
        {"row": "pixels", "seed": 0, "depth": 0.6} | probed,
        {"row": "I-JEPA", "seed": 0, "depth": 0.8, "steps": 10, "cpu_seconds": 5} | probed,
        {"row": "I-JEPA", "seed": 1, "depth": 0.9, "steps": 20, "cpu_seconds": 7} | probed,
    ]
    (tmp_path / "encoders.json").write_text(json.dumps(record | {"rows": rows}))
    lines = [line.split("|") for line in table_of(tmp_path).splitlines()]
    assert [cell.strip() for cell in lines[2][1:6]] == ["pixels", "1", "", "", "0.60"]
    assert [cell.strip() for cell in lines[3][1:6]] == [
        "I-JEPA", "2", "15", "6", "0.85 (0.80 to 0.90)",
    ]  # fmt: skip


def test_nothing_measured_yet(tmp_path):
    assert "not yet measured" in table_of(tmp_path)
