"""Sharpness, the best row of a teacher, and the table of students."""

import json

import numpy as np
import pytest

from benchmarks.experiment.students import best, sharpness
from benchmarks.tables.students import students

NOISE = np.random.default_rng(0)


def test_sharpness_is_that_of_the_truth_and_falls_with_blur():
    truth = NOISE.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    blurred = truth.astype(float)
    for axis in (1, 2):
        blurred = (blurred + np.roll(blurred, 1, axis)) / 2
    found = sharpness([truth, truth // 2, blurred.round().astype(np.uint8)], [truth] * 3)
    assert found[0] == 1
    assert found[1] == pytest.approx(0.5, abs=0.01)
    assert found[2] < 0.7


def test_it_sees_edges_of_every_direction_alike():
    upright = np.zeros((1, 9, 9, 3), np.uint8)
    upright[:, :, 4:] = 100
    lying = upright.transpose(0, 2, 1, 3)
    assert sharpness([lying], [upright]) == pytest.approx(1)


def row(model: str, steps: int, scs: float, began: str | None = None) -> dict:
    clips = [scs - 1, scs, scs + 1] * 8
    return {
        **{"model": model, "steps": steps, "scs": scs, "began": began, "clip_scs": clips},
        **{"ci95": [scs - 1, scs + 1], "psnr": 22.456, "sharpness": 0.8},
        "sharpness_ci95": [0.7, 0.9],
    }


def test_a_student_stands_beside_its_teacher_s_best(tmp_path):
    rows = [row("P+", 1, 44), row("P+", 3, 45.5), row("distilled", 2, 45, "P+")]
    assert best(rows, "P+") is rows[1]
    assert best(rows, "W") is None
    about = {"commit": "a" * 40, "dirty": False, "command": "make", "seed": 0, "device_name": "x"}
    about |= {"date": "2026-11-29T00:00:00Z", "threads": 1, "versions": {}}
    ratios = {"steps": 2, "teacher_steps": 3, "ratio_min": 1.2, "ratio_max": 1.6}
    ratios |= {"candidates": 36.0, "teacher_candidates": 25.0}
    record = about | {"rows": rows, "speeds": [ratios | {"ratio_median": 1.44}]}
    acted = {
        "model": "distilled",
        "success": 75.0,
        "ci95": [50, 100],
        "each": ([True] * 3 + [False]) * 6,
    }
    record["arrivals"] = [acted]
    (tmp_path / "students.json").write_text(json.dumps(record))
    (tmp_path / "planning").mkdir()
    teacher = about | {"success": 50.0, "each": [True, True, False, False] * 6 + [True]}
    (tmp_path / "planning/2m-seen-from-the-prior-1-step.json").write_text(json.dumps(teacher))
    table = students(tmp_path)
    assert (
        "distilled arrives in 75.0 [50.0 to 100.0] % of 24 rooms, its teacher in 50 %: +25" in table
    )
    assert "| from the prior (long) | 1 | 44.0 [43.0 to 45.0] | -1.5 [-1.5 to -1.5] |" in table
    assert "| from the prior (long) | 3 | 45.5 [44.5 to 46.5] | | 22.46 | 0.80 [0.70 to" in table
    assert "| student, distilled | 2 | 45.0 [44.0 to 46.0] | -0.5 [-0.5 to -0.5] |" in table
    assert (
        "the teacher 25 at its best number of steps, 3; the student for one step 36 at 2" in table
    )
    assert "which is 1.44 (1.20 to 1.60) times the teacher's" in table


def test_nothing_measured_is_said(tmp_path):
    assert "not yet measured" in students(tmp_path)
