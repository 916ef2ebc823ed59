"""How fast a robot moves by its labels: in plain words, with a warning where none does."""

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.data.episode import Episode
from egowm.data.inspect.magnitudes import magnitude_findings
from egowm.data.units import METRES, per_second, scale_of


def found(kind: str, names: tuple, units: tuple, values: list, hz: float = 10.0) -> dict[str, str]:
    """Findings of 400 steps of which half are `values`, by their level."""
    steps = np.tile(np.array([values, np.array(values) / 2]), (200, 1)).astype(np.float32)
    spec = ActionSpec(names, units, "body", kind, hz)
    findings = magnitude_findings(spec, [Episode("a", 401, lambda chosen: None, steps)])
    return {finding.level: finding.text for finding in findings}


POSE, BODY = ("dx", "dy", "dyaw"), ("m", "m", "rad")


@pytest.mark.parametrize(
    ("kind", "names", "units", "values", "words", "warning"),
    [
        ("se2", POSE, BODY, [0.1, 0, 0.1], "dx 0.75 and 1 metres a second", None),
        ("se2", POSE, BODY, [0.1, 0, 0.1], "dyaw 43 and 57.3 degrees a second", None),
        ("se2", POSE, BODY, [9.0, 0, 0.1], "", "dx reaches 90 metres a second"),
        ("se2", POSE, BODY, [0.1, 0, 1.2], "", "dyaw reaches 688 degrees a second"),
        ("se2", POSE, BODY, [1e-4, 0, 0], "", "nothing moves faster than 0.001 metres a second"),
        ("se2", POSE, BODY, [0, 0, 0.1], "dx 0 and 0 metres a second", None),
        ("difference", ("x",), ("cm",), [90.0], "x 6.75 and 9 metres a second", None),
        ("difference", ("x",), ("m",), [1.5], "", "x reaches 15 metres a second"),
        ("difference", ("elbow",), ("rad",), [2.0], "", "elbow reaches 1.15e+03 degrees"),
        ("difference", ("speed",), ("m/s",), [900.0], None, None),  # an acceleration
        ("command", ("speed",), ("m/s",), [20.0], "speed 15 and 20 metres a second", None),
        ("command", ("speed",), ("m/s",), [90.0], "", "speed reaches 90 metres a second"),
        ("command", ("speed",), ("km/h",), [90.0], "speed 18.8 and 25 metres a second", None),
        ("command", ("turn",), ("deg/s",), [90.0], "turn 67.5 and 90 degrees a second", None),
        ("command", ("turn",), ("rad/s",), [90.0], "", "turn reaches 5.16e+03 degrees a second"),
        ("command", ("elbow",), ("rad",), [90.0], None, None),  # a place
        ("command", ("throttle",), ("full scale",), [90.0], None, None),
        ("difference", ("wrist",), ("as recorded",), [90.0], None, None),
    ],
)
def test_motion_in_plain_words(kind, names, units, values, words, warning):
    texts = found(kind, names, units, values)
    assert ("note" in texts) == (words is not None)
    assert (words or "") in texts.get("note", "")
    assert ("warning" in texts) == (warning is not None)
    assert (warning or "") in texts.get("warning", "")


def test_a_few_far_values_are_not_how_a_robot_moves():
    steps = np.full((400, 3), 0.1, np.float32)
    steps[:3] = 9.0
    spec = ActionSpec(POSE, BODY, "body", "se2", 10.0)
    findings = magnitude_findings(spec, [Episode("a", 401, lambda chosen: None, steps)])
    assert [finding.level for finding in findings] == ["note"]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("m", 1), ("", 1), ("CM", 0.01), ("metres", 1), ("furlongs", None), ("m/s", None)],
)
def test_units(unit, expected):
    assert scale_of(unit, METRES) == expected


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("m/s", 1), ("km/h", 1 / 3.6), ("cm / s", 0.01), ("m", None), ("/s", None), ("m/", None)],
)
def test_units_a_second(unit, expected):
    assert per_second(unit, METRES) == (None if expected is None else pytest.approx(expected))
