import re

import numpy as np
import pytest

from egowm.actions.poses import planar_path
from egowm.evaluation.report.line_chart import command_chart, value_chart
from egowm.evaluation.report.path_drawing import draw_path, is_planar, path_summary
from egowm.evaluation.run_folder import Actions

PLANAR = Actions(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body")


def circle(radius: float, angle: float, steps: int) -> np.ndarray:
    """Actions (steps, 3) that drive an arc to the left exactly."""
    turn = angle / steps
    return np.tile([radius * np.sin(turn), radius * (1 - np.cos(turn)), turn], (steps, 1))


def test_summary_in_words() -> None:
    assert path_summary(planar_path(circle(2.0, np.pi / 2, 90)), "m") == "3.1 m, turns 90.0° left"
    assert path_summary(planar_path(circle(2.0, -np.pi / 2, 90)), "m").endswith("90.0° right")
    assert path_summary(np.zeros((5, 3)), "m") == "0.0 m, no turn"


def test_the_robot_starts_below_and_turns_left() -> None:
    svg, _ = draw_path(circle(1.0, np.pi / 2, 8), PLANAR)
    poses = np.array(
        [p.split(",") for p in re.search(r'data-poses="([^"]*)"', svg)[1].split()], float
    )
    assert poses.shape == (9, 3)
    assert poses[0, 0] == 120  # the middle
    assert poses[0, 1] == poses[:, 1].max()  # the lowest
    right, down, clockwise = poses[-1] - poses[0]
    assert right == pytest.approx(down, abs=0.11)  # as far to the left as upwards
    assert right < 0
    assert clockwise == -90


def test_degrees_are_converted() -> None:
    radians, _ = draw_path(circle(1.0, np.pi / 2, 8), PLANAR)
    degrees = circle(1.0, np.pi / 2, 8) * [1, 1, 180 / np.pi]
    assert draw_path(degrees, Actions(PLANAR.names, ("m", "m", "deg"), "body"))[0] == radians


def test_a_still_robot_is_drawn_at_a_point() -> None:
    svg, summary = draw_path(np.zeros((4, 3)), PLANAR)
    assert summary == "0.0 m, no turn"
    assert len(set(re.search(r'data-poses="([^"]*)"', svg)[1].split())) == 1
    assert "nan" not in svg


def test_only_planar_body_motion_becomes_a_path() -> None:
    assert is_planar(PLANAR)
    assert not is_planar(Actions(("angle", "throttle"), ("", ""), "command"))
    assert not is_planar(Actions(("dx", "dy", "dyaw"), ("m", "m", "rad"), "joint"))
    assert not is_planar(Actions(("a", "b", "c"), ("m", "m", "rad"), "body"))


def test_commands_are_steps_that_hold_between_frames() -> None:
    svg, rest = command_chart(np.array([[0.0], [1.0]]), ["angle"], [""])
    xs, ys = np.array(
        [p.split(",") for p in re.search(r'command" points="([^"]*)"', svg)[1].split()], float
    ).T
    np.testing.assert_allclose(xs, [26, 129, 129, 232])
    assert ys[0] == ys[1] > ys[2] == ys[3]
    assert rest == ""


def test_many_commands_say_what_is_left_out() -> None:
    sizes = np.ones(25)
    sizes[[4, 20]] = -2
    sizes[:3] = 0
    names = [f"joint {k}." for k in range(25)]
    svg, rest = command_chart(np.tile(sizes, (3, 1)), names, ["rad"] * 25)
    assert rest == "The 6 of 25 dimensions with the largest values."
    drawn = re.findall(r"joint (\d+)\. \(rad\)", svg)
    assert drawn == ["3", "4", "5", "6", "7", "20"]
    assert svg.count("<polyline") == 6


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-0.0533, 0.1467, ["-0.05", "0.05", "0.15"]),  # in place of 0.0467, too wide for a phone
        (14.31, 17.63, ["14.3", "16.0", "17.6"]),
        (0.0, 1000.0, ["0", "500", "1000"]),
        (0.9512, 0.9534, ["0.9512", "0.9523", "0.9534"]),
        (12.3, 12.3 + 1e-14, ["12.3", "12.3", "12.3"]),  # alike but for rounding
        (2e-9, 4e-9, ["2e-09", "3e-09", "4e-09"]),
    ],
)
def test_values_of_a_chart_have_the_digits_that_tell_them_apart(low, high, labels):
    drawn = str(value_chart({"row": [low, high]}, {"row": "red"}, 1, "PSNR by frame"))
    assert re.findall(r'text-anchor="end">([^<]*)<', drawn) == labels


def dashes(curves: dict[str, list[float | None]]) -> list[tuple[str, str, str]]:
    """Colour, dashes and path of every piece that is drawn."""
    drawn = str(value_chart(curves, {name: name for name in curves}, 4, "PSNR"))
    found = re.findall(r'class="curve" style="stroke:(\w+)([^"]*)" d="([^"]*)"', drawn)
    return [(a, b.removeprefix(";stroke-dasharray:").partition(";")[0], c) for a, b, c in found]


def test_curves_that_coincide_are_all_seen():
    same = [1.0, 3.0, 2.0, 2.5, 4.0]
    pieces = dashes({"blue": same, "red": same, "green": [x + 1e-4 for x in same]})
    assert [(name, dash) for name, dash, _ in pieces] == [
        ("blue", ""),
        ("red", "5 5"),
        ("green", "5 10"),
    ]
    assert pieces[0][2] == pieces[1][2]
    assert pieces[0][2].count("L") == 4


def test_only_what_lies_on_another_curve_is_dashed():
    pieces = dashes({"blue": [0.0, 1.0, 2.0, 2.0, None], "red": [0.0, 1.0, 2.0, 0.0, 1.0]})
    (_, _, blue), (_, solid, apart), (_, dash, shared) = pieces
    assert (solid, dash) == ("", "5 5")
    assert blue.startswith(shared)  # the first two pieces
    assert (blue.count("L"), shared.count("L"), apart.count("L")) == (3, 2, 2)
    first, *rest = apart.split(" L")
    assert shared.endswith(first.removeprefix("M"))  # it goes on where the shared part ends
    assert len(rest) == 2


def test_a_lone_point_stays_a_dot():
    (_, _, path), *others = dashes({"blue": [None, 1.0, None, 2.0, 3.0], "red": [0.0] * 5})
    assert path.count("h0.1") == 1
    assert len(others) == 1


def test_the_words_of_a_command_touch_neither_curve_nor_cursor():
    svg, _ = command_chart(np.array([[0.0], [1.0]]), ["angle"], [""])
    baseline = float(re.search(r'y="([\d.]+)">angle', svg)[1])
    curve = re.search(r'command" points="([^"]*)"', svg)[1].split()
    assert min(float(point.split(",")[1]) for point in curve) - baseline >= 5
    cursor = float(re.search(r'class="cursor" x1="([\d.]+)"', svg)[1])
    words = float(re.search(r'<text x="([\d.]+)" y="[\d.]+">angle', svg)[1])
    assert words - cursor >= 4
