"""The sentence on which the demo ends."""

import numpy as np
import pytest

from egowm.evaluation.verdict import verdict
from tests.evaluation.records import made_up


def record(own: list[float], other: list[float]) -> dict:
    """An evaluation with the PSNR of both rows, clip by clip."""
    made, second = (made_up(np.tile(values, (4, 1)).T) for values in (own, other))
    made["rows"][0]["folder"] = "pred"
    made["rows"].insert(1, second["rows"][0] | {"folder": "pred_shuffled"})
    return made


@pytest.mark.parametrize(
    ("wins", "clips", "words"),
    [
        (12, 12, "so the model follows its actions"),
        (10, 12, "so the model follows its actions"),  # by chance in 1.9 of 100
        (9, 12, "so it is not shown that"),  # in 7.3 of 100
        (0, 12, "so it is not shown that"),
        (4, 4, "too few clips to say"),  # in 6.3 of 100
    ],
)
def test_the_sign_test_decides(wins, clips, words):
    own = [30.0] * wins + [10.0] * (clips - wins)
    said = verdict(record(own, [20.0] * clips))
    assert words in said
    assert f"better on {wins} of {clips} clips" in said
    assert f" {np.mean(own):.1f}, told another clip's 20.0" in said


def test_equal_clips_speak_for_nothing():
    assert "too few clips" in verdict(record([30.0] * 4 + [20.0] * 8, [20.0] * 12))


def test_rows_that_are_missing():
    with pytest.raises(ValueError, match="of both rows, pred and pred_mirrored"):
        verdict(record([1.0], [2.0]), shuffled="pred_mirrored")
