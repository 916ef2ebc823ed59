"""Keys that steer a wheeled robot, and actions in words."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from egowm.actions.spec import ActionSpec

KEYS = "w forward, s back, a turn left, d turn right, q forward left, e forward right, . wait"
MOVES = {  # shares of the largest forward motion and turn
    "w": (1.0, 0.0),
    "s": (-1.0, 0.0),
    "a": (0.0, 1.0),
    "d": (0.0, -1.0),
    "q": (1.0, 1.0),
    "e": (1.0, -1.0),
    ".": (0.0, 0.0),
}

ENDINGS = (".csv", ".json", ".npy")  # of files of actions


def is_file(text: str) -> bool:
    """Whether a text names a file of actions, by its ending; else it is keys."""
    return Path(text).suffix in ENDINGS


def check_told(text: str) -> None:
    """Refuse what is neither keys nor a file that is there: ValueError or FileNotFoundError."""
    if is_file(text):
        if not Path(text).is_file():
            raise FileNotFoundError(f"No action file at {text}.")
        return
    strange = sorted(set(text) - set(MOVES))
    if strange or not text:
        raise ValueError(
            f"Expected a file ({', '.join(ENDINGS)}) or keys ({KEYS}), got {text!r}"
            + (f" with {' '.join(strange)}" if strange else "")
        )


def pressed(keys: str, spec: "ActionSpec") -> np.ndarray:
    """Actions (T, A) of keys: at most 80% of the largest that the model was trained on.

    Raises ValueError for actions of which it is not known what turns and what drives.
    """
    moves = np.array([MOVES[key] for key in keys], np.float32)
    if spec.kind == "se2":
        forward, turn = 0.8 * spec.high[0], 0.8 * spec.high[2]
        return np.stack([moves[:, 0] * forward, 0 * moves[:, 0], moves[:, 1] * turn], 1)
    if spec.names == ("angle", "throttle"):  # Donkey: positive angle is right, always forward
        throttle = spec.low[1] + (spec.high[1] - spec.low[1]) * (0.5 + 0.5 * moves[:, 0])
        return np.stack([-0.8 * spec.high[0] * moves[:, 1], throttle], 1).astype(np.float32)
    raise ValueError(
        f"Keys stand for actions dx, dy, dyaw or angle, throttle; this model's are "
        f"{', '.join(spec.names)}: give a file."
    )


def in_words(action: np.ndarray, spec: "ActionSpec") -> str:
    """An action (A,) in words: metres and degrees where it is a motion, else its numbers.

    >>> spec = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)
    >>> in_words(np.array([0.24, 0.0, -0.1]), spec), in_words(np.zeros(3), spec)
    ('0.24 m ahead, 5.7° right', 'stands still')
    """
    if spec.kind != "se2":
        values = zip(spec.names, action, spec.units, strict=True)
        return ", ".join(f"{name} {value:.2f} {unit}".rstrip() for name, value, unit in values)
    forward, left, turn = float(action[0]), float(action[1]), float(np.degrees(action[2]))
    parts = [
        f"{abs(value):.{digits}f}{unit} {words[value < 0]}"
        for value, digits, unit, words in (
            (forward, 2, " m", ("ahead", "back")),
            (left, 2, " m", ("to the left", "to the right")),
            (turn, 1, "°", ("left", "right")),
        )
        if round(abs(value), digits)
    ]
    return ", ".join(parts) or "stands still"
