"""The signs, units and frame of actions in words; docs/data.md draws them."""

from egowm.actions import ActionSpec
from egowm.data.inspect.lag import turning

WHEELS = {"dx": "+ forward, - back", "dy": "+ left, - right", "dyaw": "+ counter-clockwise (left)"}
DONKEY = {"angle": "+ right, - left", "throttle": "+ ahead, - back"}
FRAMES = {
    "se2": "a step of the robot's pose, in the frame that the robot had before it: x forward, y "
    "left, turns counter-clockwise seen from above",
    "se3": "a step of the pose, in the frame that the camera had before it (TUM RGB-D: x right, y "
    "down, z forward), and a rotation vector about its axes",
    "command": "what the robot was told; the signs are those of its log",
    "difference": "a state less the one a frame before; the signs are those of the state",
}


def conventions(spec: ActionSpec) -> list[str]:
    """One line for all actions, then one for each dimension whose sign is known.

    >>> from egowm.data.normalisers import WHEELED
    >>> conventions(WHEELED)[1:3]
    ['dx [m]: + forward, - back', 'dy [m]: + left, - right']
    """
    if not spec.width:
        return ["no actions"]
    donkey = spec.names == tuple(DONKEY)
    signs = WHEELS if spec.kind == "se2" else DONKEY if donkey else {}
    told = [
        f"{name} [{unit}]: {signs[name]}"
        for name, unit in zip(spec.names, spec.units, strict=True)
        if name in signs
    ]
    what = "a command in full scale" if donkey else FRAMES[spec.kind]
    if spec.kind == "command" and not donkey and turning(spec):
        name = spec.names[turning(spec)[0]]
        what += f", and `egowm data check` says which way a positive {name} goes"
    return [f"an action is {what}", *told]
