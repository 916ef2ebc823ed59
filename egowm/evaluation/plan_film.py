"""Films of plans: the start, the goal, what the model imagined, what happened, and a map."""

from collections.abc import Sequence

import numpy as np

from egowm.actions import ActionSpec
from egowm.actions.keys import in_words
from egowm.actions.poses import planar_path
from egowm.evaluation.agents import Foreseen
from egowm.evaluation.film import COLOURS, NOTE_LINES, STRIP, beside, panel
from egowm.evaluation.map_drawing import Outline, Way, draw_map
from egowm.evaluation.navigation import Robot, Run, Task, off
from egowm.worlds.floor_plan import floor_plan

_ROOM = 6.0  # metres on the map, so that walls are on it
_ACTED, _PLANNED = COLOURS[0], COLOURS[1]


def drive_film(task: Task, run: Run, plans: Sequence[Foreseen]) -> np.ndarray:
    """Frames (n, H', W', 3) uint8 of a drive in the rooms: start, goal, imagined, acted, map.

    At every frame the imagined one is that of the plan which the robot then followed; the map shows
    its way beside the way that was driven. Where nothing was planned, neither is there.
    """
    robot = Robot(task, *run.frames.shape[1:3])
    imagined, ways = _foreseen(run, plans) if plans else ([], [])
    outlines = [Outline(corners, _rgb(colour)) for corners, colour in floor_plan(robot.room)]
    start = panel(run.frames[:1], "start", ["what the robot sees"])
    drawn = draw_map(
        [Way(run.poses, _ACTED)],
        start.shape[1] - 2 * STRIP,
        outlines,
        np.array(task.goal),
        ways,
        span=_ROOM,
    )
    away = [off(tuple(pose), task.goal) for pose in run.poses]
    left = [f"{metres:.2f} m, {np.degrees(turn):.0f}° from the goal" for metres, turn in away]
    count = len(run.frames)
    return beside(
        [
            start,
            panel(robot.look(task.goal)[None], "goal", ["the picture to get to"]),
            *imagined,
            panel(run.frames, "acted, in the simulator", _steps(count), _ACTED),
            panel(drawn, "from above; goal in red", left),
        ]
    )


def _foreseen(run: Run, plans: Sequence[Foreseen]) -> tuple[list[np.ndarray], list[Way]]:
    """The panel of what was imagined, and the planned way of every frame."""
    imagined, notes, ways = [run.frames[0]], ["before the first plan"], []
    for k in range(1, len(run.frames)):
        number = max(n for n, plan in enumerate(plans) if plan.begun < k)
        ahead = k - plans[number].begun
        imagined.append(plans[number].frames[min(ahead, len(plans[number].frames)) - 1])
        notes.append(f"plan {number + 1}, {ahead} ahead")
    for k in range(len(run.frames)):
        plan = plans[max([0, *(n for n, plan in enumerate(plans) if plan.begun <= k)])]
        here = run.poses[plan.begun]
        ways.append(Way(planar_path(plan.actions, here), _PLANNED))
    return [panel(np.stack(imagined), "imagined", notes, _PLANNED)], ways


def picture_film(
    imagined: np.ndarray, goal: np.ndarray, actions: np.ndarray, spec: ActionSpec
) -> np.ndarray:
    """Frames (n, H', W', 3) uint8 of a plan between two pictures: start, goal, imagined, map.

    imagined: (T+1, H, W, 3) uint8, the start first. goal: (H, W, 3) uint8. actions: (T, A). Without
    motions in the plane there is no map.
    """
    notes = ["the start", *(in_words(action, spec) for action in actions)]
    panels = [
        panel(imagined[:1], "start", ["your picture"]),
        panel(goal[None], "goal", ["your picture"]),
        panel(imagined, "imagined", notes, _PLANNED, NOTE_LINES),
    ]
    if spec.kind == "se2":
        drawn = draw_map([Way(planar_path(actions), _PLANNED)], panels[0].shape[1] - 2 * STRIP)
        panels.append(panel(drawn, "the plan from above", [""]))
    return beside(panels)


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (round(255 * float(value)) for value in colour)
    return red, green, blue


def _steps(count: int) -> list[str]:
    return ["start", *(f"after {k} action{'s' * (k > 1)}" for k in range(1, count))]
