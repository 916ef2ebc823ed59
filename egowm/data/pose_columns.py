"""Columns of a table that look like a pose in the world, which is no command."""

import re
from collections.abc import Iterable

YAW = ("yaw", "theta", "heading", "psi")


def pose_columns(names: Iterable[str]) -> list[str]:
    """The columns x, y and yaw by the last word of their names; none where one is missing.

    >>> pose_columns(["time", "odom.x", "odom.y", "speed", "odom.theta"])
    ['odom.x', 'odom.y', 'odom.theta']
    """
    last = {re.split(r"[._/ ]", name.lower())[-1]: name for name in reversed(list(names))}
    turn = next((last[word] for word in YAW if word in last), None)
    return [last["x"], last["y"], turn] if {"x", "y"} <= last.keys() and turn else []


def asked(names: list[str]) -> ValueError:
    """The question whether columns are a pose or commands."""
    return ValueError(
        f"VideoCSV: the columns {', '.join(names)} look like a pose in the world. Say what they "
        f"are: kind: pose (positions and heading; actions become steps in the body frame), kind: "
        f"command (what the robot was told) or kind: difference (steps already). In a recipe "
        f"under data, or `egowm data check FOLDER --kind pose`."
    )
