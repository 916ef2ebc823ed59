"""Films and maps: what stands where, to the pixel."""

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.evaluation.film import (
    COLOURS,
    SIDE,
    STRIP,
    beside,
    key_strips,
    panel,
    strip,
    write_film,
)
from egowm.evaluation.map_drawing import Outline, Way, draw_map
from egowm.evaluation.rollout_film import rollout_film
from egowm.video import count_frames, read_frames

BLUE = COLOURS[0]


def test_a_panel_keeps_every_pixel_under_its_label():
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3), np.uint8)
    made = panel(frames, "truth", ["a", "b"])
    factor = SIDE // 24
    assert made.shape == (3, 16 * factor + 2 * STRIP, SIDE, 3)
    assert np.array_equal(made[:, STRIP:-STRIP:factor, ::factor], frames)
    assert np.array_equal(made[1, -STRIP:], made[2, -STRIP:])  # the last note stays
    assert not np.array_equal(made[0, -STRIP:], made[1, -STRIP:])
    assert np.array_equal(made[0, :STRIP], made[2, :STRIP])


def test_an_action_of_many_parts_takes_more_lines():
    """Nothing of it is cut; every note is as tall as the tallest."""
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    wheels = "left wheel 0.40 m/s, right wheel 0.38 m/s"
    assert panel(frames, "a", ["", wheels]).shape[1] == SIDE + 2 * STRIP
    made = panel(frames, "a", ["the picture", wheels], most_lines=4)
    note = made[:, STRIP + SIDE :]
    assert note.shape[1] == 2 * (STRIP - 6) + 6
    upper, lower = note[1, 3 : 3 + STRIP - 6], note[1, -3 - (STRIP - 6) : -3]
    assert np.array_equal(upper, strip("left wheel 0.40 m/s", SIDE)[3:-3])
    assert np.array_equal(lower, strip("right wheel 0.38 m/s", SIDE)[3:-3])
    assert (note[0, STRIP:] == 255).all()
    many = panel(frames, "a", [", ".join(f"joint {k} 0.12 rad" for k in range(25))], most_lines=4)
    assert many.shape[1] == STRIP + SIDE + 4 * (STRIP - 6) + 6


def test_of_a_long_path_the_name_is_kept():
    name = "runs/my_robot_of_a_long_name/plan/actions.csv"
    cut = strip(name, SIDE, BLUE, keep_end=True)
    assert not np.array_equal(cut, strip(name, SIDE, BLUE))
    assert np.array_equal(cut, strip("another" * 9 + name, SIDE, BLUE, keep_end=True))
    assert np.array_equal(strip("a.csv", SIDE, keep_end=True), strip("a.csv", SIDE))


def test_a_rollout_s_map_is_as_large_as_its_pictures():
    """Whatever number of lines the words of an action take."""
    spec = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)
    video, steps = np.zeros((4, 64, 64, 3), np.uint8), np.array([[3.0, 0.5, 0.4]] * 3)
    film = rollout_film([video], ["plan/actions.csv"], [steps], spec)
    assert film.shape == (4, STRIP + SIDE + 2 * (STRIP - 6) + 6, 2 * SIDE + 4, 3)
    drawn = film[-1, STRIP : STRIP + SIDE, SIDE + 4 :]
    rows, columns = np.nonzero(drawn.astype(int).sum(-1) < 600)
    assert rows.min() >= 8  # a long way stays on the map
    assert min(columns.min(), SIDE - 1 - columns.max()) >= 2


def test_the_key_that_was_pressed_stands_in_a_box():
    """Frame 0 is the picture: no key yet. A long sequence moves along."""
    strips = key_strips("wad", 120, BLUE)
    assert len(strips) == 4
    boxed = [np.flatnonzero((s[3] == BLUE).all(-1)) for s in strips]
    assert [columns.tolist()[:1] for columns in boxed] == [[], [4], [16], [28]]
    long = key_strips("w" * 100, 120, BLUE)
    assert len(long) == 101
    assert all((s[3] == BLUE).all(-1).any() for s in long[1:])


def test_panels_stand_in_rows_and_shorter_ones_hold_their_last_frame():
    black, grey = np.zeros((2, 8, 6, 3), np.uint8), np.full((3, 10, 6, 3), 9, np.uint8)
    made = beside([black, grey])
    assert made.shape == (3, 10, 6 + 4 + 6, 3)
    assert (made[2, :8, :6] == 0).all()
    assert (made[:, 8:, :6] == 255).all()
    assert (made[:, :, 10:] == 9).all()
    assert beside([black] * 7).shape == (2, 8 + 4 + 8, 5 * 6 + 4 * 4, 3)


def test_both_files_of_a_film(tmp_path):
    frames = panel(np.zeros((3, 16, 16, 3), np.uint8), "black")
    write_film(tmp_path / "a.b", frames, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.mp4", "a.b.webp"]
    assert count_frames(tmp_path / "a.b.mp4") == 3
    assert read_frames(tmp_path / "a.b.mp4").shape == frames.shape


def place(picture: np.ndarray, colour) -> tuple[float, float]:
    """The mean row and column of a colour."""
    rows, columns = np.nonzero((np.abs(picture.astype(int) - colour) < 40).all(-1))
    assert len(rows)
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize("yaw", [0.0, 2.0])
def test_a_map_has_forward_above_and_left_at_the_left(yaw):
    """1 m ahead, then 1 m to the left, wherever it looks: 156 pixels a metre, in the middle."""
    c, s = np.cos(yaw), np.sin(yaw)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]) @ np.array([[c, s], [-s, c]])
    poses = np.concatenate(
        [corners + np.array([5.0, -3.0]), np.array([[0.0], [0.0], [np.pi / 2]]) + yaw], 1
    )
    film = draw_map([Way(poses, BLUE)])
    assert film.shape == (3, SIDE, SIDE, 3)
    start, end = place(film[0], BLUE), place(film[2], BLUE)
    assert start == pytest.approx((174, 174), abs=4)
    assert end[0] < 100
    assert end[1] > 100
    ahead = draw_map([Way(poses[:2], BLUE)])
    assert place(ahead[0], BLUE)[0] > place(ahead[1], BLUE)[0] + 60
    assert place(ahead[0], BLUE)[1] == pytest.approx(SIDE / 2, abs=2)


def test_ways_that_are_one_are_both_seen():
    """The first three steps are shared: the way below is seen on both sides of the one above."""
    poses = np.array([[0.2 * k, 0.0, 0.0] for k in range(6)])
    other = poses + np.array([[0.0, 0.1 * max(k - 3, 0), 0.0] for k in range(6)])
    ways = [Way(poses, BLUE), Way(other, COLOURS[1])]
    row = draw_map(ways)[3, 165].astype(int)  # just ahead of the start
    blue = np.flatnonzero(row[:, 2] - row[:, 0] > 60)
    orange = np.flatnonzero(row[:, 0] - row[:, 2] > 60)
    assert blue.min() < orange.min() <= orange.max() < blue.max()
    last = draw_map(ways)[5, 30].astype(int)  # where they are apart
    assert len(np.flatnonzero(last[:, 2] - last[:, 0] > 60)) < len(blue) + len(orange)


def test_what_stands_around_a_goal_and_a_plan():
    still, red = np.zeros((2, 3)), (200, 30, 30)
    square = np.array([[0.2, 0.2], [0.4, 0.2], [0.4, 0.4], [0.2, 0.4]])
    ahead = Way(np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]), COLOURS[1])
    film = draw_map(
        [Way(still, BLUE)],
        outlines=[Outline(square, (0, 200, 0))],
        goal=np.array([0.5, 0.0, 0.0]),
        planned=[Way(still, COLOURS[1]), ahead],
    )
    left, middle = place(film[0], (0, 200, 0)), place(film[0], red)
    assert left[1] < middle[1] == pytest.approx(SIDE / 2, abs=1.5)
    assert not (np.abs(film[0].astype(int) - COLOURS[1]) < 40).all(-1).any()
    assert place(film[1], COLOURS[1])[1] == pytest.approx(SIDE / 2, abs=1.5)
