"""The types of scs.json; `egowm.scs.result.Result` writes and loads it.

Every score and IoU is in percent, shares and coverage are in [0, 1], null is undefined. Horizons,
the keys of `scs_at` and `iou_at`, are whole numbers written as texts, as JSON has them.
"""

from typing import Any, NotRequired, Required, TypedDict

Number = float | None


class RowRecord(TypedDict, total=False):
    """One line of the table."""

    scs: Number
    ci95: tuple[float, float] | None
    scs_davis: Number
    scs_visible: Number
    empty_shares: dict[str, Number] | None
    scs_at: dict[int, Number] | None
    iou_at: dict[int, Number] | None
    normalised: Number  # of the prediction alone


class ObjectRecord(TypedDict, total=False):
    """One structure of a clip; lists have a value per frame 1..T."""

    id: Required[int]
    scs: Number
    iou: Required[list[Number]]
    case: list[int]
    lost: int
    evidence: list[Number]


class DoubtfulRecord(TypedDict):
    """A structure that is left out."""

    id: int
    cycle_iou: Number
    known: NotRequired[float]
    motion: Number


class SampleRecord(TypedDict, total=False):
    """One of several predictions of a clip."""

    scs: Number
    objects: list[ObjectRecord]


class ClipRecord(TypedDict, total=False):
    """One clip."""

    name: Required[str]
    trajectory: str | None
    num_frames: Required[int]
    num_samples: Required[int]
    scs: Required[Number]
    scs_davis: Number
    scs_visible: Number
    copy: Required[Number]
    coverage: list[Number]
    objects: Required[list[ObjectRecord]]
    doubtful: list[DoubtfulRecord] | None
    samples: list[SampleRecord]


class TercileRecord(TypedDict):
    """A third of the clips, by true motion."""

    motion_from: Number
    motion_to: Number
    num_clips: int
    scs: Number
    copy: Number


class SemanticsRecord(TypedDict):
    """What a page takes from the protocol's rules; the others are shown as they are."""

    min_area: float


class TrackerRecord(TypedDict, total=False):
    """What followed the structures; its options are shown as they are."""

    name: str


class ProtocolRecord(TypedDict, total=False):
    """What a page takes from the protocol; the rest is shown as it is."""

    semantics: Required[SemanticsRecord]
    tracker: TrackerRecord


class ReanchoredRecord(TypedDict, total=False):
    """The score with structures annotated anew on the way."""

    scs: Number
    ci95: tuple[float, float] | None
    copy: Number
    coverage: Number


class ScoreRecord(RowRecord, total=False):
    """All of a scs.json."""

    copy: RowRecord | None
    ceiling_codec: RowRecord | None
    ceiling_tracker: RowRecord | None
    scs_reanchored: ReanchoredRecord | None
    pooled: Number
    object_counts: dict[str, int]
    coverage: dict[str, Number]
    lost: dict[str, int]
    num_clips: int
    remarks: dict[str, Number] | None
    terciles: list[TercileRecord] | None
    doubtful: int
    warning: str | None
    clips: Required[list[ClipRecord]]
    protocol: Required[ProtocolRecord]
    environment: Required[dict[str, Any]]
    fingerprint: Required[str]
