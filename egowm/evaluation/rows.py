"""Rows of a run: one model under the true actions, or under others that it must tell apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from egowm.actions import ActionSpec
from egowm.actions.contrast import KINDS, can_mirror, changed
from egowm.checks import check_between, checked
from egowm.dynamics import Dynamics

MOST_CLIPS = 10_000_000


@dataclass(frozen=True)
class Row:
    """One row of predictions: its folder in the run, its label, the model, and which actions.

    actions: one of `KINDS`: "true", "shuffled" (those of another clip), "zero" (stand still) or
    "mirrored" (sideways motion, turn and steering with the other sign).
    """

    folder: str
    label: str
    model: Dynamics
    actions: str = "true"


def make_rows(model: Dynamics, label: str, kinds: str) -> Iterator[Row]:
    """A row of `model` for each of `kinds`, comma-separated."""
    says = {
        "true": label,
        "shuffled": f"{label}, another clip's actions",
        "zero": f"{label}, standing still",
        "mirrored": f"{label}, mirrored actions",
    }
    for kind in dict.fromkeys(word.strip() for word in kinds.split(",")):
        if kind not in KINDS:
            raise ValueError(f"--actions: expected some of {', '.join(KINDS)}, got {kind!r}.")
        folder = "pred" if kind == "true" else f"pred_{kind}"
        yield Row(folder, says[kind], model, kind)


def known_kinds(meaning: ActionSpec) -> str:
    """The kinds that are known for such actions, comma-separated."""
    return ",".join(kind for kind in KINDS if kind != "mirrored" or can_mirror(meaning))


@checked
def derangement(count: int) -> list[int]:
    """For each clip another one, far away in the list, the same in every table.

    Args:
        count: Clips, at least 2.

    >>> derangement(5)
    [2, 3, 4, 0, 1]
    """
    check_between("count", count, 0, MOST_CLIPS)
    if count < 2:
        raise ValueError(
            f"Shuffled actions are those of another clip: expected at least 2 test clips, got "
            f"{count}. Give more clips, or leave out the row of shuffled actions."
        )
    return [(k + count // 2) % count for k in range(count)]


def check_rows(rows: Sequence[Row], meaning: ActionSpec, count: int) -> list[int]:
    """Refuse rows that cannot be made; for each of `count` clips, whose actions a shuffle takes."""
    for row in rows:
        assert row.model.spec is not None
        row.model.spec.compare(meaning)
        none = torch.zeros(1, 1, meaning.width)
        changed(none, none, row.actions, meaning)
    shuffled = any(row.actions == "shuffled" for row in rows)
    return derangement(count) if shuffled else list(range(count))
