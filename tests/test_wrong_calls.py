"""Wrong calls end in words, some of each callable; `python -m tests.wrong_calls` makes all."""

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wrong_calls import encoders, models, planners, scores
from tests.wrong_calls.call import Call
from tests.wrong_calls.verdict import REFUSED, WORKS, verdict

AT_MOST = 14  # of each callable


def calls(room: str, folder: Path) -> Iterator[Call]:
    if room == "models":
        return models.calls(models.Models(), folder)
    if room == "planners":
        return planners.calls(models.Models())
    return scores.calls(folder) if room == "scores" else encoders.calls(folder)


@pytest.mark.parametrize("room", ["models", "planners", "scores", "encoders"])
def test_every_wrong_call_is_refused_in_words(room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faults, came, drawn = {}, {WORKS: 0, REFUSED: 0}, random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of numbers that are wrong
        for call in calls(room, tmp_path):
            tried = list(call.wrong())
            for what, arguments, refused in drawn.sample(tried, min(AT_MOST, len(tried))):
                found = call.verdict(arguments, refused)
                if found in came:
                    came[found] += 1
                else:
                    faults[f"{call.name}, {what}"] = found
    assert not faults
    assert came[REFUSED] > came[WORKS] > 0


def _wordless() -> None:
    raise ValueError("too short")


def _inside_torch() -> None:
    import torch

    torch.zeros(2) + torch.zeros(3)


def _endless() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("call", "refused", "fault"),
    [
        (_wordless, True, "ValueError"),
        (_inside_torch, True, "RuntimeError"),
        (lambda: 1 / 0, False, "ZeroDivisionError"),
        (lambda: float("nan"), False, "not finite"),
        (lambda: 1.0, True, "can mean nothing"),
        (lambda: [None, 1.0], False, "another shape"),
        (_endless, True, "hang"),
    ],
)
def test_a_fault_is_told_from_words(call, refused, fault, monkeypatch):
    monkeypatch.setattr("tests.wrong_calls.verdict.SECONDS", 0.2)
    assert fault in verdict(call, refused, lambda made: False)
