"""Protocols: the frames of whole seconds, how far recordings reach, and models that cannot jump."""

from types import SimpleNamespace

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.data import Window
from egowm.data.episode import Episode
from egowm.data.module import ClipData
from egowm.evaluation.protocol import Protocol, check_model, make_protocol


class Counted(ClipData):
    """Recordings of some lengths, 4 frames a second."""

    meaning = ActionSpec(("turn",), ("rad",), "body", "difference", rate_hz=4.0)
    lengths = (20, 40, 80)

    def episodes(self, split):
        def read(indices):
            return np.zeros((len(indices), 8, 8, 3), np.uint8)

        return [Episode(f"r_{n}", n, read, np.zeros((n - 1, 1), np.float32)) for n in self.lengths]


def data(**window):
    return Counted("", Window(height=8, width=8, **window))


def test_frames():
    assert make_protocol("egowm", data()) == Protocol(
        "egowm", 16, {k: f"{k} frames" for k in (2, 4, 8, 16)}
    )
    assert list(make_protocol("egowm", data(), 64).reads) == [2, 4, 8, 16, 64]
    assert make_protocol("egowm", data(), 1).reads == {1: "1 frame"}


def test_seconds_as_far_as_half_of_the_recordings_reach():
    """Of 40 frames, 39 come after one of context: 8 s would be frame 32, 16 s frame 64."""
    found = make_protocol("nwm-rollout", data())
    assert found.reads == {4: "1 s", 8: "2 s", 16: "4 s", 32: "8 s"}
    assert found.horizon == 32
    assert not found.is_cumulative
    assert make_protocol("nwm-rollout", data(), 64).horizon == 64
    strided = make_protocol("nwm-rollout", data(stride=4))  # 1 Hz, NWM's slower rate
    assert strided.reads == {1: "1 s", 2: "2 s", 4: "4 s", 8: "8 s"}
    assert make_protocol("nwm-rollout", data(context=9)).horizon == 16


def test_less_than_a_second_is_refused():
    with pytest.raises(ValueError, match="one second is 4 frames at 4 Hz, and there are 3"):
        make_protocol("nwm-rollout", data(), 3)


@pytest.mark.parametrize(
    ("jumps", "chunk", "words"),
    [
        (False, 64, "makes frames one after the other: take --protocol nwm-rollout"),
        (True, 8, "jumps 16 frames ahead; this model was trained to jump at most 8"),
        (True, 16, None),
    ],
)
def test_who_can_jump(jumps, chunk, words):
    model = SimpleNamespace(makes_frames=True, name="SVD", jump=chunk if jumps else 0)
    reads = {4: "1 s", 16: "4 s"}
    check_model(Protocol("nwm-rollout", 16, reads), model)
    if words is None:
        check_model(Protocol("nwm-time", 16, reads), model)
        return
    with pytest.raises(ValueError, match=words):
        check_model(Protocol("nwm-time", 16, reads), model)
