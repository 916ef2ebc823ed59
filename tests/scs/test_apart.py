"""What two protocols differ in, in words."""

import copy

import pytest

from egowm.scs.apart import apart
from egowm.scs.protocol import describe_protocol
from egowm.scs.trackers.flow import FlowTracker
from egowm.scs.trackers.palette import PaletteTracker


def protocol(tracker=None, clips=None, drawn=None, size=(64, 48), area=0.001, **rest):
    follow = FlowTracker() if tracker is None else tracker
    return describe_protocol(follow, clips or {"a": 3}, drawn or {"a": "0"}, size, area, **rest)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (protocol(), ("", "")),
        (protocol(PaletteTracker()), ("the tracker flow", "the tracker palette")),
        (
            protocol(FlowTracker(photometric=9.0)),
            ("photometric 40.0", "photometric 9.0"),
        ),
        (protocol(clips={"a": 3, "b": 3}), ("number of clips 1", "number of clips 2")),
        (protocol(clips={"a": 4}), ("clips of its lengths", "clips of other lengths")),
        (
            protocol(drawn={"a": "1"}),
            ("its structures of frame 0", "other structures of frame 0"),
        ),
        (
            protocol(anchors={"a": "1"}),
            ("its structures of later frames", "other structures of later frames"),
        ),
        (protocol(size=(32, 24)), ("frames of 48x64", "frames of 24x32")),
        (
            protocol(area=0.01),
            (
                "structures of 0.001 of a frame or more",
                "structures of 0.01 of a frame or more",
            ),
        ),
        (
            protocol(PaletteTracker(), size=(32, 24)),
            ("the tracker flow, frames of 48x64", "the tracker palette, frames of 24x32"),
        ),
    ],
)
def test_each_is_said_once(other, words):
    assert apart(protocol(), other) == words


@pytest.mark.parametrize("view", [None, "", "damaged", [1]])
def test_a_damaged_record_is_told_as_well(view):
    mine = protocol()
    theirs = copy.deepcopy(mine)
    theirs["tracker"] = None
    theirs["view"] = view
    assert apart(theirs, mine) == (
        "the tracker None, frames of NonexNone, the transform of frames None",
        "the tracker flow, frames of 48x64, the transform of frames none",
    )
