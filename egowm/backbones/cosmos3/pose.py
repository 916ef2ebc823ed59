"""Body motions as Cosmos 3 wants them: 9-D pose steps of a camera.

What is published, in NVIDIA's cosmos-framework (`pose_utils.py`, its data readers) and in the
cosmos repository's action cookbook, and followed here:

- a row is one transition, frame k to k + 1: `T_k^-1 T_k+1` of camera-to-world poses (per step, not
  cumulative), so it is already in the previous pose's frame, as egowm's actions are;
- 3 translations in metres, then the first column of the rotation matrix, then its second column;
- the camera looks along z. The readers turn robots' frames to OpenCV's (x right, y down, z
  forward), and the cookbook draws the driving domain's cameras looking along z;
- the driving domain's translations are metres times 1.35, its rotations are left as they are.

What is not published is an option here: the camera domain's scale (1 unless given) and its axes
(OpenCV's unless given). diffusers itself reads 9 numbers and checks nothing but their count.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.actions.poses import rotation_matrix

Domain = Literal["camera_pose", "av"]
Axes = Literal["opencv", "body"]
SCALES = {"camera_pose": 1.0, "av": 1.35}
UNITS = {"se2": ("m", "m", "rad"), "se3": ("m", "m", "m", "rad", "rad", "rad")}
# OpenCV's axes as columns, in a body's (x forward, y left, z up).
OPENCV = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class CameraSteps:
    """Converts motions of a body (x forward, y left, z up) to the 9 numbers that Cosmos 3 takes.

    Args:
        domain: Domain whose projection reads them, "camera_pose" or "av" (driving).
        translation_scale: Factor on metres; null takes 1 for camera_pose and 1.35 for av.
        axes: Axes of the camera, "opencv" or those of the "body".
        mount: Place of the camera on the body, 3 metres and a rotation vector in radians, in the
            body's axes; a camera ahead of the wheels' axle swings sideways in a turn. By default it
            sits at the body's origin and looks ahead, level.

    >>> spec = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)
    >>> CameraSteps(domain="av")(torch.tensor([[0.2, 0.0, 0.0]]), spec)[0, :3]  # z is forward
    tensor([0.0000, 0.0000, 0.2700])
    """

    domain: Domain = "camera_pose"
    translation_scale: float | None = None
    axes: Axes = "opencv"
    mount: tuple[float, ...] = (0.0,) * 6

    def __post_init__(self) -> None:
        for name, known in (("domain", Domain), ("axes", Axes)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(
                    f"Expected {name} {' or '.join(get_args(known))}, got {getattr(self, name)!r}."
                )
        if len(self.mount) != 6:
            raise ValueError(
                f"Expected a mount of 6 numbers (3 metres, a rotation vector), got {self.mount}."
            )

    @property
    def scale(self) -> float:
        """What metres are multiplied by."""
        if self.translation_scale is None:
            return SCALES[self.domain]
        return self.translation_scale

    def __call__(self, actions: Tensor, spec: ActionSpec) -> Tensor:
        """Actions (..., A) in physical units, A = 3 or 6, to float32 camera steps (..., 9)."""
        check_meaning(spec)
        steps = actions.detach().cpu().numpy().astype(np.float64)
        if spec.kind == "se2":
            flat = np.zeros((*steps.shape[:-1], 6))
            flat[..., [0, 1, 5]] = steps
            steps = flat
        turn = rotation_matrix(steps[..., 3:])
        mount = np.asarray(self.mount, np.float64)
        camera = rotation_matrix(mount[3:])
        if self.axes == "opencv":
            camera = camera @ OPENCV
        moved = steps[..., :3] + turn @ mount[:3] - mount[:3]  # of the camera, in the body's axes
        seen = camera.T @ turn @ camera
        columns = [moved @ camera * self.scale, seen[..., 0], seen[..., 1]]
        return torch.from_numpy(np.concatenate(columns, -1).astype(np.float32))


def check_meaning(spec: ActionSpec) -> None:
    """Refuse actions that are not a body's motion in metres and radians, with Cosmos 3's list."""
    if spec.kind not in UNITS:
        raise ValueError(
            f"Cosmos 3 takes the actions of its own domains and no others ({known_domains()}). "
            f"egowm converts motions of a body, kind se2 (3 numbers) or se3 (6), to its 9-D pose; "
            f"got kind {spec.kind} with {spec.width}: {', '.join(spec.names)}."
        )
    if spec.units != UNITS[spec.kind] or spec.frame != "body":
        raise ValueError(
            f"Expected kind {spec.kind} in the frame body with units "
            f"{', '.join(UNITS[spec.kind])}, got the frame {spec.frame} with units "
            f"{', '.join(spec.units)}: convert the data."
        )


def known_domains() -> str:
    """Widths and domains as the installed diffusers has them: "2: pusht; 9: av, ..."."""
    from diffusers.pipelines.cosmos import pipeline_cosmos3_omni as stock

    by_width: dict[int, list[str]] = {}
    for domain, width in stock._EMBODIMENT_TO_RAW_ACTION_DIM.items():
        by_width.setdefault(width, []).append(domain)
    return "; ".join(f"{width}: {', '.join(names)}" for width, names in sorted(by_width.items()))
