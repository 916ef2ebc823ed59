"""The sheet of frames with their actions under them."""

import cv2
import numpy as np

from egowm.actions import ActionSpec
from egowm.data.episode import Episode
from egowm.data.inspect.contact_sheet import HEIGHT, contact_sheet

GREY = 120


def test_letters_stand_on_their_edges():
    """Black only near white, from the first letter of a long name to the last."""
    wall = np.full((1, HEIGHT, 240, 3), GREY, np.uint8)
    episode = Episode("PXL_20260504_103107", 4, lambda numbers: wall, np.ones((3, 1), np.float32))
    spec = ActionSpec(("turn",), ("rad/s",), "command", "command", rate_hz=10)
    sheet = contact_sheet([episode], spec, frames=1, stride=1)
    picture = sheet[:HEIGHT, :240].mean(-1)
    letters = picture > GREY + 10
    assert letters.sum() > 200
    near = cv2.dilate(letters.astype(np.uint8), np.ones((9, 9), np.uint8))
    assert near[picture < GREY - 10].all()


def test_a_narrow_frame_keeps_its_number():
    """A name that fills a portrait's width leaves the number a line of its own."""
    wall = np.full((1, HEIGHT, 70, 3), GREY, np.uint8)
    episode = Episode("rover_portrait", 4, lambda numbers: wall, np.ones((3, 1), np.float32))
    spec = ActionSpec(("turn",), ("rad/s",), "command", "command", rate_hz=10)
    sheet = contact_sheet([episode], spec, frames=1, stride=1)[:HEIGHT, :70].mean(-1)
    rows = np.flatnonzero((sheet > GREY + 10).any(1))
    assert rows.min() < 12
    assert 18 < rows.max() < 28


def test_rows_of_other_widths_stand_on_one_ground():
    spec = ActionSpec((), (), "body", "command", rate_hz=10)
    episodes = [
        Episode("a", n + 1, lambda k: np.zeros((len(k), 120, 120, 3), np.uint8), np.zeros((n, 0)))
        for n in (1, 4)
    ]
    sheet = contact_sheet(episodes, spec, frames=4, stride=1)
    assert (sheet[:HEIGHT, 122:] == 24).all()
