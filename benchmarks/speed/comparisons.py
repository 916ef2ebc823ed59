"""What the rollout is compared with, and what it must reach; shared by measurement and table."""

from typing import NamedTuple

GUIDANCES = (1.0, 2.0)  # 1 is off: one forward a step, on both sides
BATCHED, BATCHED_BF16 = "pipeline, batched", "pipeline, batched, bfloat16"
CANDIDATES_TARGET = 3.0  # times the batched pipeline's candidates a second, in the same precision


class Comparison(NamedTuple):
    """One rollout of `num_videos` action sequences against stock calls that make as many videos.

    target: the smallest accepted ratio of the stock time to ours.
    """

    name: str
    against: str
    num_videos: int
    separate: bool  # one stock call for each video, or one with num_videos_per_prompt
    target: float


COMPARISONS = (
    Comparison("one rollout", "one call", 1, False, 0.97),
    Comparison("16 action sequences", "16 calls", 16, True, 1.3),
    Comparison("16 action sequences", "one call, num_videos_per_prompt=16", 16, False, 1.0),
)
