"""Every option of the protocol changes the fingerprint; nothing else does."""

import pytest

from egowm.scs.protocol import describe_protocol, fingerprint
from egowm.scs.trackers.flow import FlowTracker
from egowm.scs.trackers.palette import PaletteTracker
from egowm.scs.trackers.simple import CopyTracker, SavedMasks

BASE = {
    "tracker": PaletteTracker(),
    "clips": {"a": 17, "b": 17},
    "annotations": {"a": "0", "b": "1"},
    "size": (64, 48),
    "min_area": 0.001,
    "transform": "none",
}


@pytest.mark.parametrize(
    "change",
    [
        {"tracker": PaletteTracker(tolerance=9)},
        {"tracker": PaletteTracker(min_saturation=0.3)},
        {"tracker": FlowTracker()},
        {"tracker": CopyTracker()},
        {"tracker": SavedMasks()},
        {"clips": {"a": 17, "b": 16}},
        {"clips": {"a": 17, "c": 17}},
        {"annotations": {"a": "0", "b": "2"}},
        {"size": (48, 64)},
        {"min_area": 0.002},
        {"transform": "frame 0 apart, stretched to the frames"},
    ],
)
def test_an_option_changes_the_fingerprint(change):
    assert fingerprint(describe_protocol(**(BASE | change))) != fingerprint(
        describe_protocol(**BASE)
    )


@pytest.mark.parametrize("option", ["consistency", "photometric", "min_evidence"])
def test_so_do_the_options_of_the_flow(option):
    found = {
        fingerprint(describe_protocol(**(BASE | {"tracker": tracker})))
        for tracker in (FlowTracker(), FlowTracker(**{option: 0.33}))
    }
    assert len(found) == 2


def test_the_order_of_clips_does_not():
    other = BASE | {"clips": {"b": 17, "a": 17}, "tracker": PaletteTracker()}
    assert fingerprint(describe_protocol(**other)) == fingerprint(describe_protocol(**BASE))
