"""A humanoid on wheels with two arms, with physics, and what it sees: its own hands among it.

Its 25 states are those of 1X's recordings, in their order (`egowm.actions.humanoid_states`).
"""

from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

from egowm.actions.humanoid_states import NAMES
from egowm.checks import MOST_SEED, check_between, check_shape, checked
from egowm.worlds import texture
from egowm.worlds.drawing import View, cast, check_size, lit, ray_fan
from egowm.worlds.humanoid_room import NUM_OBJECTS, STANDING, ids_of, plan_humanoid_room

RATE_HZ = 30  # of the states and of the targets, as in 1X's recordings
JOINTS = NAMES[:21]
SIDES = ("left", "right")
FOV_DEGREES = 90.0
FASTEST = 3.0  # m/s and rad/s that the wheels can be told
_OPEN = 0.06  # metres that a finger of an open hand is from where it closes
_HALL = np.array([1, 0, 0, 0, 0, 0], np.uint8)  # robot and objects are in group 1
_STEPS = 16  # of the physics, for one of the targets
_XML = (Path(__file__).parent / "humanoid.xml").read_bytes()
_OPTIONS = (
    f'<option timestep="{1 / RATE_HZ / _STEPS:.9f}" integrator="implicitfast" cone="elliptic" '
    f'impratio="10" noslip_iterations="3"/>'
)


def check_finite(name: str, values: np.ndarray) -> None:
    """Refuse NaN and infinity, by which the physics would begin anew without a word."""
    if not np.isfinite(values).all():
        raise ValueError(f"Expected {name} of finite numbers, got NaN or inf.")


class Base(NamedTuple):
    """Where the wheels stand.

    >>> Base(x=1.0, y=0.5, yaw=0.0).y
    0.5

    Args:
        x: Metres.
        y: Metres.
        yaw: Radians, left turns are positive.
    """

    x: float
    y: float
    yaw: float


@checked
class Humanoid:
    """The robot in its hall, before the table.

    >>> robot = Humanoid(seed=20_000_000)
    >>> robot.step(robot.state())  # stays as it is
    >>> robot.render().rgb.shape, robot.hands().shape
    ((64, 64, 3), (2, 3))

    Args:
        seed: Of the hall.
    """

    def __init__(self, seed: int) -> None:
        check_between("seed", seed, 0, MOST_SEED)
        self.room = plan_humanoid_room(seed)
        hall, objects = "".join(self.room.geoms), "".join(self.room.objects)
        xml = (
            f'<mujoco><compiler angle="radian"/>{_OPTIONS}<include file="humanoid.xml"/>'
            f"<worldbody>{hall}{objects}</worldbody></mujoco>"
        )
        self.model = mujoco.MjModel.from_xml_string(xml, {"humanoid.xml": _XML})
        self.data = mujoco.MjData(self.model)
        self.ids = ids_of(self.room, self.model)
        places = [self.model.joint(name).qposadr[0] for name in JOINTS]
        self._joints, self._motors = np.array(places), [self.model.actuator(n).id for n in JOINTS]
        self._ranges = self.model.jnt_range[[self.model.joint(name).id for name in JOINTS]]
        fingers = [[f"{side}_finger_out", f"{side}_finger_in"] for side in SIDES]
        self._fingers = np.array([[self.model.joint(n).qposadr[0] for n in f] for f in fingers])
        self._finger_motors = [[self.model.actuator(n).id for n in f] for f in fingers]
        self._wheels = [self.model.actuator(n).id for n in ("base_x", "base_y", "base_yaw")]
        self._head, self._camera = self.model.body("head").id, self.model.site("camera").id
        self._grips = [self.model.site(f"{side}_grip").id for side in SIDES]
        self.place(np.zeros(len(NAMES)), self.before_table())

    def before_table(self) -> Base:
        """Where the robot stands to reach what lies on the table."""
        x, y, _, yaw = self.room.table
        return Base(x - STANDING * np.cos(yaw), y - STANDING * np.sin(yaw), yaw)

    @property
    def base(self) -> Base:
        """Where the wheels stand."""
        return Base(*self.data.qpos[:3].tolist())

    def state(self) -> np.ndarray:
        """The 25 states (25,) float32 in 1X's order: radians, shares closed, m/s, rad/s."""
        closed = 1 - self.data.qpos[self._fingers].mean(1) / _OPEN
        heading, speed = self.data.qpos[2], self.data.qvel[:3]
        forward = speed[0] * np.cos(heading) + speed[1] * np.sin(heading)
        joints = self.data.qpos[self._joints]
        return np.array([*joints, *closed.clip(0, 1), forward, speed[2]], np.float32)

    def place(self, state: np.ndarray, base: Base) -> None:
        """Put the body where a state and a base are, without physics; objects stay.

        Args:
            state: (25,) as `state` gives it.
            base: Where the wheels stand.
        """
        check_shape("state", state, "25")
        check_finite("state", state)
        check_finite("base", np.array(base))
        self.data.qpos[:3] = base
        self.data.qpos[self._joints] = state[:21]
        self.data.qpos[self._fingers] = _OPEN * (1 - np.asarray(state)[21:23, None])
        c, s = np.cos(base.yaw), np.sin(base.yaw)
        self.data.qvel[:] = 0
        self.data.qvel[:3] = state[23] * c, state[23] * s, state[24]
        mujoco.mj_forward(self.model, self.data)

    def restore(self, positions: np.ndarray) -> None:
        """Put everything where it was, without physics.

        Args:
            positions: (Q,) as `data.qpos` had them; metres, radians, quaternions.
        """
        check_shape("positions", positions, f"{self.model.nq}")
        check_finite("positions", positions)
        self.data.qpos[:], self.data.qvel[:] = positions, 0
        mujoco.mj_forward(self.model, self.data)

    def shift(self, change: np.ndarray, base: Base) -> None:
        """Move the body from where it is, without physics.

        Args:
            change: (25,) of the state; joints and hands stay within their ranges. Speeds move
                nothing: say where the wheels stand.
            base: Where the wheels stand.
        """
        check_shape("change", change, "25")
        check_finite("change", change)
        if change.any():
            joints = self.data.qpos[self._joints]
            moved = (joints + change[:21]).clip(*self._ranges.T)
            self.data.qpos[self._joints] = np.where(change[:21] == 0, joints, moved)
            fingers = self.data.qpos[self._fingers] - _OPEN * change[21:23, None]
            self.data.qpos[self._fingers] = fingers.clip(0, _OPEN)
        self.data.qpos[:3] = base
        mujoco.mj_forward(self.model, self.data)

    def step(self, targets: np.ndarray) -> None:
        """Let the motors pull towards targets for a thirtieth of a second.

        Args:
            targets: (25,) as states: joint angles in radians, shares closed, m/s ahead, rad/s. What
                lies beyond a range, or 3 m/s and 3 rad/s, is held at its end.
        """
        check_shape("targets", targets, "25")
        check_finite("targets", targets)
        control, yaw = self.data.ctrl, self.data.qpos[2]
        control[self._motors] = np.clip(targets[:21], *self._ranges.T)
        hands = np.clip(targets[21:23], 0, 1)
        for motors, closed in zip(self._finger_motors, hands, strict=True):
            control[motors] = _OPEN * (1 - closed) - 0.012 * closed  # presses when closed
        speed, turn = np.clip(targets[23:], -FASTEST, FASTEST)
        control[self._wheels] = speed * np.cos(yaw), speed * np.sin(yaw), turn
        mujoco.mj_step(self.model, self.data, nstep=_STEPS)
        mujoco.mj_forward(self.model, self.data)

    def hands(self) -> np.ndarray:
        """Where the two hands grip, left and right: (2, 3) metres in the world."""
        return np.array(self.data.site_xpos[self._grips])

    def objects(self) -> np.ndarray:
        """Where the things on the table are: (3, 3) metres in the world."""
        bodies = [self.model.body(f"object{k}").id for k in range(NUM_OBJECTS)]
        return np.array(self.data.xpos[bodies])

    def vector_to_world(self, way: np.ndarray) -> np.ndarray:
        """A way ahead, left and up of the wheels as one in the world (3,).

        Args:
            way: (3,) metres.
        """
        c, s = np.cos(self.base.yaw), np.sin(self.base.yaw)
        return np.array([c * way[0] - s * way[1], s * way[0] + c * way[1], way[2]])

    def point_to_base(self, place: np.ndarray) -> np.ndarray:
        """A place of the world as metres ahead, left and up of the wheels (3,).

        Args:
            place: (3,) metres.
        """
        c, s = np.cos(self.base.yaw), np.sin(self.base.yaw)
        x, y = place[0] - self.base.x, place[1] - self.base.y
        return np.array([c * x + s * y, c * y - s * x, place[2]])

    def hall_hits(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Metres (P,) to the hall's own surfaces, as if robot and objects were not there.

        Args:
            origin: (3,) metres, where to look from.
            directions: (P, 3) unit vectors.
        """
        return cast(self.model, self.data, origin, directions, groups=_HALL).distance

    def camera(self) -> tuple[np.ndarray, np.ndarray]:
        """The head camera: position (3,) in metres, rotation (3, 3) of ahead, left and up."""
        turned = self.data.site_xmat[self._camera].reshape(3, 3)
        return np.array(self.data.site_xpos[self._camera]), np.array(turned)

    def render(self, height: int = 64, width: int = 64) -> View:
        """What the head camera sees, 90 degrees wide.

        Args:
            height: Pixels, 1 to 8192.
            width: Pixels, 1 to 8192.
        """
        return self._view(*self.camera(), height, width)

    def hall_view(
        self, origin: np.ndarray, rotation: np.ndarray, height: int = 64, width: int = 64
    ) -> View:
        """What a camera elsewhere sees, as if robot and objects were not there.

        Args:
            origin: (3,) metres, where it is.
            rotation: (3, 3), whose columns are ahead, left and up.
            height: Pixels, 1 to 8192.
            width: Pixels, 1 to 8192.
        """
        check_shape("origin", origin, "3")
        check_shape("rotation", rotation, "3 3")
        return self._view(origin, rotation, height, width, _HALL)

    def _view(
        self,
        origin: np.ndarray,
        rotation: np.ndarray,
        height: int,
        width: int,
        groups: np.ndarray | None = None,
    ) -> View:
        check_size(height, width)
        fov = np.radians(FOV_DEGREES)
        rays = ray_fan(height, width, fov) @ rotation.T
        geoms, distance, normals = cast(self.model, self.data, origin, rays, self._head, groups)
        points = origin + rays * distance[:, None] - self.data.geom_xpos[geoms]
        turn = self.data.geom_xmat.reshape(-1, 3, 3)[geoms]  # textures turn with what carries them
        points, turned = (np.einsum("pij,pi->pj", turn, v) for v in (points, normals))
        ids = self.ids[geoms]
        footprint = distance * (2 * np.tan(fov / 2) / width)
        surface = texture.luminance(points, turned, ids, footprint)
        rgb = lit(self.room.colours[ids], normals, surface)
        return View(
            rgb.reshape(height, width, 3),
            ids.astype(np.uint8).reshape(height, width),
            distance.astype(np.float32).reshape(height, width),
        )

    def project(self, points: np.ndarray, height: int = 64, width: int = 64) -> np.ndarray:
        """Where points lie in the picture: (P, 2) pixels, right and down; NaN behind it.

        Args:
            points: (P, 3) metres in the world.
            height: Pixels of the picture.
            width: Pixels of the picture.
        """
        check_shape("points", points, "P 3")
        origin, rotation = self.camera()
        ahead, left, up = ((points - origin) @ rotation).T
        scale = width / 2 / np.tan(np.radians(FOV_DEGREES) / 2) / np.where(ahead > 0, ahead, np.nan)
        return np.stack([width / 2 - left * scale - 0.5, height / 2 - up * scale - 0.5], 1)
