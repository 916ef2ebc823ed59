"""Candidates a second: what a planner's cost imagines, beside diffusers' own pipeline.

Two contests over the same candidates. *Closed loop*: the committed world model, whose chunk is one
frame, so that the pipeline is called once for each frame, with the picture that it made before.
*One video*: a base pipeline that makes all frames in one call. Before anything is timed, both sides
are found to make the same frames.
"""
from typing import Any

Record = dict[str, Any]


def speed(arguments: Any) -> list[Record]:
    """All rows."""
    raise NotImplementedError
