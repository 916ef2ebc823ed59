"""What may be said to the server, checked: sizes and types first, in one sentence each.

A message is JSON; pictures in it are base64 of a picture file. docs/walk.md describes each one.
"""

import base64
import binascii
import json
from typing import Any, Literal, NotRequired, TypedDict, get_args

import numpy as np

from egowm.checks import counted
from egowm.picture_file import decode_image
from egowm.typed_json import faults
from egowm.video import encode_image

MOST_TEXT = 24 << 20  # characters of a message, a picture among them
MOST_VALUES = 100_000  # of a message, each of which is looked at: more would hold up all visitors
MOST_PICTURE = 16 << 20  # bytes of a picture file
MOST_ACTIONS = 256  # of one step
MOST_FRAMES = 1024  # of one rollout, all its futures together
MOST_ANSWER = 256 << 20  # bytes of the frames of one rollout, not encoded
MOST_SEED = (1 << 32) - 1
MOST_GUIDANCE = 100.0  # either way: far more leaves no finite number of a frame
MOST_WORDS = 2000  # characters of a text that says what is seen
MOST_DIGITS = 18  # of a whole number, which then fits 64 bits
Format = Literal["png", "jpeg", "raw"]
Frames = Literal["all", "last"]


LIMITS = {"seed": MOST_SEED, "shown": MOST_SEED, "room": MOST_SEED, "steps": 100}


class MessageError(ValueError):
    """A message that is not as the server expects it; the text says what was expected."""


class Begin(TypedDict):
    """Start a walk from a picture, from one of those that were given, or in a room."""

    type: str
    picture: NotRequired[str]
    shown: NotRequired[int]
    room: NotRequired[int]
    seed: NotRequired[int]
    state: NotRequired[list[float]]
    text: NotRequired[str]
    format: NotRequired[str]


class Step(TypedDict):
    """Go on by some actions (T, A) in physical units."""

    type: str
    actions: list[list[float]]
    state: NotRequired[list[float]]


class Save(TypedDict):
    """The walk so far as a video."""

    type: str


class RolloutRequest(TypedDict):
    """Imagine futures (N, T, A) of one picture."""

    picture: str
    actions: list[list[list[float]]]
    seed: NotRequired[int]
    steps: NotRequired[int]
    guidance: NotRequired[float]
    state: NotRequired[list[float]]
    text: NotRequired[str]
    source: NotRequired[str]
    frames: NotRequired[str]
    format: NotRequired[str]


KINDS: dict[str, Any] = {"begin": Begin, "step": Step, "save": Save}


def read(text: str | bytes) -> Any:
    """The value of a JSON text. Raises MessageError."""
    if len(text) > MOST_TEXT:
        raise MessageError(f"Expected at most {MOST_TEXT:,} characters, got {len(text):,}.")
    if (text.count(",") if isinstance(text, str) else text.count(b",")) >= MOST_VALUES:
        raise MessageError(f"Expected at most {MOST_VALUES:,} values in a message.")
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"Expected JSON: {_short(str(error))}.") from error


def read_message(text: str) -> tuple[str, Any]:
    """The type of a message on the websocket, and its fields. Raises MessageError."""
    found = read(text)
    kind = found.get("type") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise MessageError(f"Expected an object whose type is {', '.join(KINDS)}.")
    return kind, check(found, KINDS[kind])


def check(found: Any, kind: Any) -> Any:
    """A value that is of type `kind`, a TypedDict, without other keys. Raises MessageError."""
    for fault in faults(found, kind):
        raise MessageError(_short(f"Expected another message; {' '.join(fault.split())}."))
    strange = sorted(set(found) - set(kind.__annotations__))
    if strange:
        known = ", ".join(kind.__annotations__)
        raise MessageError(f"Expected the keys {known}, got {_short(repr(strange[0]))}.")
    for name, most in LIMITS.items():
        if not 0 <= found.get(name, 0) <= most:
            raise MessageError(f"Expected {name} from 0 to {most}.")
    if abs(found.get("guidance", 0)) > MOST_GUIDANCE:
        raise MessageError(f"Expected guidance from -{MOST_GUIDANCE:g} to {MOST_GUIDANCE:g}.")
    if len(found.get("text", "")) > MOST_WORDS:
        raise MessageError(f"Expected a text of at most {MOST_WORDS} characters.")
    return found


def actions_of(rows: list[list[float]], width: int, most: int = MOST_ACTIONS) -> np.ndarray:
    """Actions (T, A) float32 of a message. Raises MessageError for another size."""
    wrong = next((len(row) for row in rows if len(row) != width), None)
    if not 1 <= len(rows) <= most or wrong is not None:
        got = counted(len(rows), "row") if wrong is None else f"one of {wrong}"
        raise MessageError(
            f"Expected 1 to {most} actions of {counted(width, 'number')} each, got {got}."
        )
    with np.errstate(over="ignore"):  # what is not finite is refused with its name
        return np.array(rows, np.float32)


def futures_of(sequences: list[list[list[float]]], width: int) -> np.ndarray:
    """Actions (N, T, A) float32 of a message. Raises MessageError for other sizes."""
    lengths = {len(rows) for rows in sequences}
    if len(lengths) != 1 or not 1 <= len(sequences) * max(lengths) <= MOST_FRAMES:
        raise MessageError(
            f"Expected sequences of actions of one length, at most {MOST_FRAMES} actions in all."
        )
    return np.stack([actions_of(rows, width, MOST_FRAMES) for rows in sequences])


def picture_of(data: str | bytes) -> np.ndarray:
    """A picture (H, W, 3) uint8, of the bytes of a file or their base64. Raises MessageError."""
    try:
        found = data if isinstance(data, bytes) else base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MessageError("Expected a picture file in base64.") from error
    if len(found) > MOST_PICTURE:
        raise MessageError(f"Expected a picture of at most {MOST_PICTURE:,} bytes.")
    try:
        return decode_image(found, "the picture")
    except (ValueError, OSError) as error:
        raise MessageError(f"Expected a PNG, JPEG or WebP; {_short(str(error))}.") from error


def chosen(name: str | None, kind: Any) -> Any:
    """One of the words of a Literal, by default its first. Raises MessageError."""
    words = get_args(kind)
    if name is None:
        return words[0]
    if name not in words:
        raise MessageError(f"Expected one of {', '.join(words)}, got {_short(repr(name))}.")
    return name


def encoded(frame: np.ndarray, form: Format) -> bytes:
    """A frame (H, W, 3) uint8 as it is sent; raw is its values, row by row."""
    return frame.tobytes() if form == "raw" else encode_image(frame, f".{form}")


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _whole(word: str) -> int:
    if len(word) > MOST_DIGITS:
        raise ValueError(f"a whole number has at most {MOST_DIGITS} digits")
    return int(word)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:197]}..."
