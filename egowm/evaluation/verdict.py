"""Whether a model follows its actions, in one sentence: true actions against another clip's."""

from math import comb

from egowm.checks import counted
from egowm.evaluation.record import EvalRecord

_MEASURES = ("scs", "psnr")  # the first that both rows have, clip by clip
_CHANCE = 0.05  # that clips fall so without any effect, below which the sentence says yes


def verdict(record: EvalRecord, true: str = "pred", shuffled: str = "pred_shuffled") -> str:
    """The sentence on which a demonstration ends.

    A model follows its actions where it scores higher under the true ones on so many clips that
    chance would give as many in less than one case in twenty (one-sided sign test).

    Args:
        record: An evaluation with both rows.
        true: Folder of the row that was told each clip's own actions.
        shuffled: Folder of the row that was told another clip's.

    Raises ValueError where no measure is known for both rows.
    """
    cells = {row["folder"]: row["cells"] for row in record["rows"]}
    labels = {column["key"]: column["label"] for column in record["columns"]}
    for key in _MEASURES:
        own, other = (cells.get(folder, {}).get(key) for folder in (true, shuffled))
        if own is None or other is None or own["value"] is None or other["value"] is None:
            continue
        each = zip(own.get("clips") or [], other.get("clips") or [], strict=True)
        pairs = [(a, b) for a, b in each if a is not None and b is not None and a != b]
        wins, clips = sum(a > b for a, b in pairs), len(pairs)
        return (
            f"Told the clip's own actions the model scores {labels[key]} {own['value']:.1f}, told "
            f"another clip's {other['value']:.1f}: its own are better on {wins} of "
            f"{counted(len(record['clips']), 'clip')}, {_therefore(wins, clips)}."
        )
    raise ValueError(f"Expected SCS or PSNR of both rows, {true} and {shuffled}.")


def _therefore(wins: int, clips: int) -> str:
    """What the sign test says of so many clips."""
    chance = sum(comb(clips, k) for k in range(wins, clips + 1)) / 2**clips
    if chance < _CHANCE:
        return "so the model follows its actions"
    if 2**-clips >= _CHANCE:
        return "too few clips to say whether the model follows its actions"
    return "so it is not shown that the model follows its actions"
