"""Actions of a row in closed form, and rows that cannot be made."""

import pytest
import torch

from egowm.actions import ActionSpec
from egowm.evaluation.rows import KINDS, Row, changed, check_rows, derangement, make_rows

ROBOT = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)
CAR = ActionSpec(("angle", "throttle"), ("", ""), "command", "command", 5.0)
ARM = ActionSpec(("shoulder", "elbow"), ("rad", "rad"), "joint", "difference", 10.0)


class Model:
    """A world model, as far as rows look at it."""

    def __init__(self, spec: ActionSpec) -> None:
        self.spec = spec


def test_changed():
    actions = torch.arange(12.0).reshape(2, 2, 3)
    other = -1 - actions
    assert torch.equal(changed(actions, other, "true", ROBOT), actions)
    assert torch.equal(changed(actions, other, "shuffled", ROBOT), other)
    assert torch.equal(changed(actions, other, "zero", ROBOT), torch.zeros(2, 2, 3))
    mirrored = changed(actions, other, "mirrored", ROBOT)
    assert mirrored[1, 0].tolist() == [6.0, -7.0, -8.0]
    with pytest.raises(ValueError, match="true, shuffled, zero, mirrored, got 'reversed'"):
        changed(actions, other, "reversed", ROBOT)


def test_a_mirrored_car_steers_the_other_way_and_drives_on():
    commands = torch.tensor([[[0.5, 0.25]]])
    assert changed(commands, commands, "mirrored", CAR).tolist() == [[[-0.5, 0.25]]]
    with pytest.raises(ValueError, match="these are shoulder, elbow: leave out the mirrored row"):
        changed(commands, commands, "mirrored", ARM)


@pytest.mark.parametrize("count", range(2, 18))
def test_a_derangement_moves_every_clip(count):
    others = derangement(count)
    assert sorted(others) == list(range(count))
    assert all(other != k for k, other in enumerate(others))


@pytest.mark.parametrize("count", [0, 1])
def test_one_clip_has_no_other(count):
    with pytest.raises(ValueError, match=f"at least 2 test clips, got {count}. Give more clips"):
        derangement(count)


def test_rows_are_checked_before_they_are_made():
    rows = list(make_rows(Model(ROBOT), "mine", "true, shuffled,true"))
    assert [(row.folder, row.label) for row in rows] == [
        ("pred", "mine"),
        ("pred_shuffled", "mine, another clip's actions"),
    ]
    assert check_rows(rows, ROBOT, 4) == [2, 3, 0, 1]
    assert check_rows(rows[:1], ROBOT, 1) == [0]  # nothing is shuffled
    with pytest.raises(ValueError, match="at least 2 test clips, got 1"):
        check_rows(rows, ROBOT, 1)
    with pytest.raises(ValueError, match=r"--actions: expected some of true, .*, got 'tru'"):
        list(make_rows(Model(ROBOT), "mine", "tru"))
    with pytest.raises(ValueError, match="differ in names"):
        check_rows([*rows, Row("pred_car", "car", Model(CAR))], ROBOT, 4)
    with pytest.raises(ValueError, match="leave out the mirrored row"):
        check_rows([Row("pred", "arm", Model(ARM), "mirrored")], ARM, 4)


def test_every_kind_has_a_row():
    rows = list(make_rows(Model(ROBOT), "mine", ",".join(KINDS)))
    assert [row.actions for row in rows] == list(KINDS)
    assert [row.folder for row in rows] == ["pred", "pred_shuffled", "pred_zero", "pred_mirrored"]
