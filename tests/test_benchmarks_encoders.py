"""The benchmark of image encoders: what probes are given, and the table."""

import json

import numpy as np
import pytest
import torch

from benchmarks.experiment import encoders, lives
from benchmarks.measure import provenance
from benchmarks.planning import encoder_costs
from benchmarks.tables.encoders import costs as costs_of
from benchmarks.tables.encoders import encoders as table_of
from benchmarks.tables.encoders import lives as table_of_lives


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


def test_ablations_stand_with_their_encoder(tmp_path):
    record = provenance(0, "cpu", (), ["benchmarks/experiment/encoders.py"])
    probed = dict.fromkeys(("depth", "metres_r2", "degrees_r2", "room", "spread"), 0.5)
    names = ["SingleLife, two crops of one frame", "I-JEPA", "DINOv2", "I-JEPA, pixels as targets"]
    rows = [{"row": name, "seed": 0} | probed for name in names]
    (tmp_path / "encoders.json").write_text(json.dumps(record | {"rows": rows}))
    found = [line.split("|")[1].strip() for line in table_of(tmp_path).splitlines()[2:6]]
    assert found == [names[0], names[1], names[3], names[2]]


def test_nothing_measured_yet(tmp_path):
    assert "not yet measured" in table_of(tmp_path)


# Lives ------------------------------------------------------------------------------------------


def aligned_row(steps, centred, depth, last=False, b="life 1"):
    both = {"raw": {"mean": 0.7, "interval": [0.6, 0.8]}, "centred": summary(centred)}
    cas = {
        "A and B": both | {"by_target": summary(1 - centred)},
        "two untrained": {"raw": summary(0.2), "centred": summary(0.1), "by_target": summary(0.3)},
        "A and its own place": {"raw": summary(0.5)},
        "B and its own place": {"raw": summary(0.6)},
    }
    row = {"a": "life 0", "b": b, "rooms": 256, "steps": [steps, steps], "last": last}
    row |= {"seconds": 300}
    return row | {"minutes": 68.3, "depth": [depth, depth + 0.02], "chance": 0.08, "cas": cas}


def summary(mean):
    return {"mean": mean, "interval": None}


def test_agreement_is_ranked_beside_depth():
    rows = [aligned_row(1, 0.1, 0.2), aligned_row(2, 0.2, 0.3), aligned_row(3, 0.3, 0.4, True)]
    rows.append(aligned_row(3, 0.9, 0.0, True, b="control 1"))  # is not of two lives
    found = lives.together(rows)
    assert found["all"]["count"] == 3
    assert (found["all"]["centred"], found["all"]["by_target"]) == (1.0, -1.0)
    assert found["life 0 and life 1"]["centred"] == 1.0
    assert found["trained"] == {"count": 1, "raw": None, "centred": None, "by_target": None}


def test_the_table_of_lives(tmp_path):
    record = provenance(0, "cpu", (), ["benchmarks/experiment/lives.py"])
    rows = [aligned_row(100, 0.2, 0.3), aligned_row(1000, 0.3, 0.4, last=True)]
    none = dict.fromkeys(("raw", "centred", "by_target"))
    told = {"all": none | {"count": 5, "by_target": 0.9}, "trained": none | {"count": 1}}
    (tmp_path / "lives.json").write_text(json.dumps(record | {"rows": rows, "together": told}))
    text = table_of_lives(tmp_path)
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]  # the end comes first
    assert cells == [
        "life 0, life 1", "68.3", "5", "1,000", "0.70", "0.30",
        "0.70 [0.60 to 0.80]", "0.55", "0.08", "0.40 and 0.42",
    ]  # fmt: skip
    assert "by target, 0.90 over 5 pairs of whole lives" in text
    assert "Two untrained networks agree by 0.30 by target, 0.10 centred, 0.20 raw." in text
    assert "pairs at the end" not in text


def test_pairs_are_lives_on_the_way_controls_and_shorter_lives(tmp_path):
    for seed in (0, 1):
        for name in (encoders.LIVING, encoders.CONTROL):
            for steps in (10, 200):
                stem = encoders.export_of(name, seed, tmp_path, 256)
                stem.with_name(f"{stem.name}-{steps}").mkdir()
        stem = encoders.export_of(encoders.LIVING, seed, tmp_path, 4)
        stem.with_name(f"{stem.name}-30").mkdir()
    found = [pair.key | {"last": pair.last} for pair in lives.pairs(tmp_path, 2, 256, (4,))]
    of_two = {"a": "life 0", "b": "life 1"}
    assert found == [
        of_two | {"rooms": 256, "steps": [10, 10], "last": False},
        of_two | {"rooms": 256, "steps": [200, 200], "last": True},
        {"a": "life 0", "b": "control 1", "rooms": 256, "steps": [200, 200], "last": True},
        {"a": "life 1", "b": "control 0", "rooms": 256, "steps": [200, 200], "last": True},
        of_two | {"rooms": 4, "steps": [30, 30], "last": True},
    ]
    assert lives.minutes(4) == 1.1
    with pytest.raises(ValueError, match=r"first run benchmarks\.experiment\.encoders"):
        next(lives.pairs(tmp_path / "elsewhere", 2, 256, ()))


# Costs ------------------------------------------------------------------------------------------

TASK = ("simulator", 2.0, 32, 2)


def test_arrivals_are_paired_with_those_of_pixels(tmp_path):
    record = provenance(0, "cpu", (), ["benchmarks/planning/encoder_costs.py"])
    row = {"imagines": "simulator", "metres": 0.3, "rooms": 2, "candidates": 32, "distance": 2.0}
    far = row | {"distance": 4.0, "success": 0.0, "each": [False, False]}
    alone = row | {"candidates": 64, "rooms": 3, "success": 100.0, "each": [True, True, True]}
    rows = [
        row | {"cost": "pixels", "success": 50.0, "each": [True, False]},
        row | {"cost": "I-JEPA", "success": 100.0, "each": [True, True]},
        row | {"cost": "I-JEPA", "success": 50.0, "each": [False, True]},
        far | {"cost": "pixels"},
        alone | {"cost": "I-JEPA"},
    ]
    (tmp_path / "encoder-costs.json").write_text(json.dumps(record | {"rows": rows}))
    lines = [[c.strip() for c in x.split("|")[1:-1]] for x in costs_of(tmp_path).splitlines()]
    assert lines[2] == ["2", "simulator", "32", "2", "pixels", "1", "50", "", "0.30"]
    # Room by room 50 - 100 and 100 - 0: too few rooms for an interval of their own.
    assert lines[3][:8] == ["2", "simulator", "32", "2", "I-JEPA", "2", "75 (50 to 100)", "25"]
    # Other tasks are lines of their own; what no pixels were measured beside has no difference.
    assert lines[4] == ["4", "simulator", "32", "2", "pixels", "1", "0", "", "0.30"]
    assert lines[5] == ["2", "simulator", "64", "3", "I-JEPA", "1", "100", "", "0.30"]


def test_an_agent_compares_by_the_encoder_it_is_given(tmp_path):
    assert encoder_costs.compared(encoder_costs.Asked("I-JEPA", 0, *TASK), tmp_path, 4) is None
    asked = encoder_costs.Asked("untrained", 0, *TASK)
    made = encoder_costs.compared(asked, tmp_path, 4)
    term = made(torch.zeros(3, 64, 64))
    assert term.extract(torch.zeros(2, 3, 64, 64)).shape[:3] == (2, 8, 8)
    assert [a.cost for a in encoder_costs.rows(1, ("world model", 2.0, 16, 2))][:3] == [
        "pixels", "latents", "untrained",
    ]  # fmt: skip
