"""Procedural rooms in MuJoCo, drawn by ray casting: RGB, instance ids and depth, without OpenGL.

Every structure has its own hue from a grid of 18, 20 degrees apart; luminance carries shading and
texture. So a structure can be told by hue in any frame, true or generated. Floor and ceiling are
nearly grey. `robot` rooms are rectangular halls of boxes and cylinders; `passive` rooms, which
stand for internet video, have polygonal plans, ellipsoids and capsules, and other palettes.
"""

import colorsys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import mujoco
import numpy as np

from egowm.checks import MOST_SEED, check_between, check_shape, checked
from egowm.worlds import texture
from egowm.worlds.drawing import Hits, View, cast, check_size, lit, ray_fan

Style = Literal["robot", "passive"]
NUM_HUES = 18
CEILING, FIRST_STRUCTURE = 1, 2


class Camera(NamedTuple):
    """Where a camera is and looks.

    Args:
        x: Metres, forward at yaw 0.
        y: Metres, left at yaw 0.
        z: Metres above the floor.
        yaw: Radians, left turns are positive.
        pitch: Radians, above 0 looks up.
        roll: Radians about the direction of view.

    >>> Camera(x=0.0, y=0.0, z=0.6, yaw=0.5).pitch
    0.0
    """

    x: float
    y: float
    z: float
    yaw: float
    pitch: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A room before it is built: geoms as MJCF, their colours, and where a camera may start."""

    geoms: tuple[str, ...]
    colours: np.ndarray  # (G, 3) in [0, 1]
    half_size: tuple[float, float]  # metres, of the free rectangle around the origin
    moving: int  # how many of the last geoms move (passive rooms)


def colour(rng: np.random.Generator, hue_index: int, style: Style) -> tuple[float, float, float]:
    """RGB in [0, 1] of a structure; robot rooms keep to the hues of the grid."""
    if style == "robot":
        hue, saturation, value = hue_index / NUM_HUES, rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.75)
    else:
        hue = (hue_index + rng.uniform(0.25, 0.75)) / NUM_HUES
        saturation, value = rng.uniform(0.35, 1.0), rng.uniform(0.4, 0.8)
    return colorsys.hsv_to_rgb(hue, saturation, value)


def grey(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    """RGB of a floor or ceiling, its value between low and high."""
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.02, 0.12), rng.uniform(low, high))


def wall(x: float, y: float, yaw: float, half: float, height: float) -> str:
    """A wall of 0.2 m around (x, y): half its length, its height, metres."""
    return (
        f'<geom type="box" size="{half:.3f} 0.1 {height / 2:.3f}" '
        f'pos="{x:.3f} {y:.3f} {height / 2:.3f}" euler="0 0 {yaw:.4f}"/>'
    )


def _walls(rng: np.random.Generator, style: Style, height: float) -> tuple[list[str], float, float]:
    """Walls of a hall of 10-20 m (robot) or of a polygon of 3-7 sides (passive)."""
    if style == "robot":
        a, b = rng.uniform(5, 10), rng.uniform(3.5, 6)
        sides = [(a, 0, np.pi / 2, b), (-a, 0, np.pi / 2, b), (0, b, 0, a), (0, -b, 0, a)]
        return [wall(x, y, yaw, half, height) for x, y, yaw, half in sides], a, b
    count, radius = int(rng.integers(3, 8)), rng.uniform(3, 7)
    turn, walls = rng.uniform(0, 2 * np.pi), []
    for k in range(count):
        angle = turn + 2 * np.pi * k / count
        half = radius * np.tan(np.pi / count)
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        walls.append(wall(x, y, angle + np.pi / 2, half, height))
    return walls, radius * 0.7, radius * 0.7


def thing(rng: np.random.Generator, style: Style, x: float, y: float, body: str = "") -> str:
    """One piece of furniture standing at (x, y)."""
    radius, half = rng.uniform(0.25, 0.7), rng.uniform(0.35, 1.0)
    yaw = rng.uniform(0, np.pi)
    if style == "robot":
        if rng.uniform() < 0.6:
            size, kind = f"{radius:.3f} {rng.uniform(0.25, 0.7):.3f} {half:.3f}", "box"
        else:
            size, kind = f"{radius:.3f} {half:.3f}", "cylinder"
    elif rng.uniform() < 0.5:
        size, kind = f"{radius:.3f} {rng.uniform(0.2, 0.8):.3f} {half:.3f}", "ellipsoid"
    else:
        size, kind = f"{radius * 0.7:.3f} {half:.3f}", "capsule"
    at = "0 0 0" if body else f"{x:.3f} {y:.3f} {half:.3f}"
    geom = f'<geom type="{kind}" size="{size}" pos="{at}" euler="0 0 {yaw:.4f}"/>'
    if body:
        return f'<body name="{body}" mocap="true" pos="{x:.3f} {y:.3f} {half:.3f}">{geom}</body>'
    return geom


def plan_room(seed: int, style: Style = "robot") -> Plan:
    """Draw a room: floor, ceiling, walls, then 8 to 12 things (robot) or 5 to 10 (passive)."""
    rng = np.random.default_rng([seed, 0 if style == "robot" else 1])
    height = rng.uniform(2.4, 3.4)
    walls, a, b = _walls(rng, style, height)
    count = int(rng.integers(8, 13) if style == "robot" else rng.integers(5, 11))
    moving = int(rng.integers(1, 3)) if style == "passive" and rng.uniform() < 1 / 3 else 0
    spots: list[tuple[float, float]] = []
    for _ in range(200):
        x, y = rng.uniform(-a + 0.6, a - 0.6), rng.uniform(-b + 0.6, b - 0.6)
        free = all(np.hypot(x - p, y - q) > 1.9 for p, q in spots)
        if free and np.hypot(x, y) > 1.2 and len(spots) < count:
            spots.append((x, y))
    moving = min(moving, len(spots))
    things = []
    for k, (x, y) in enumerate(spots):
        body = f"mover{k}" if k >= len(spots) - moving else ""
        things.append(thing(rng, style, x, y, body))
    hues = rng.permutation(NUM_HUES)[: len(walls) + len(things)]
    colours = [grey(rng, 0.3, 0.5), grey(rng, 0.75, 0.85)]
    colours += [colour(rng, int(hue), style) for hue in hues]
    planes = [
        '<geom type="plane" size="30 30 0.1"/>',
        f'<geom type="plane" size="30 30 0.1" pos="0 0 {height:.3f}" euler="3.14159265 0 0"/>',
    ]
    return Plan(tuple(planes + walls + things), np.array(colours), (a, b), moving)


def rotation(camera: Camera) -> np.ndarray:
    """Camera-to-world rotation: yaw, then pitch (up), then roll."""
    cy, sy = np.cos(camera.yaw), np.sin(camera.yaw)
    cp, sp = np.cos(camera.pitch), np.sin(camera.pitch)
    cr, sr = np.cos(camera.roll), np.sin(camera.roll)
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pitch = np.array([[cp, 0, -sp], [0, 1, 0], [sp, 0, cp]])
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return yaw @ pitch @ roll


@checked
class Room:
    """A room that can be looked at. One per process: the ray caster works in its own `MjData`.

    Args:
        seed: Of the room.
        style: "robot", a rectangular hall of boxes and cylinders, or "passive", a polygonal room of
            ellipsoids and capsules.
        papers: Folder of pictures that take the place of the texture; "" for none.

    >>> view = Room(seed=20_000_000).render(Camera(0.0, 0.0, 0.6, 0.0))
    >>> view.rgb.shape, view.depth.shape
    ((64, 64, 3), (64, 64))
    """

    def __init__(self, seed: int, style: Style = "robot", papers: str | Path = "") -> None:
        check_between("seed", seed, 0, MOST_SEED)
        self.luminance = texture.load_papers(str(papers)).luminance if papers else texture.luminance
        self.plan = plan_room(seed, style)
        xml = (
            '<mujoco><compiler angle="radian"/><worldbody>'
            + "".join(self.plan.geoms)
            + "</worldbody></mujoco>"
        )
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)
        # Geoms of the world body come before those of moving bodies, as they do in the plan.
        self.colours = self.plan.colours.astype(np.float32)

    def move(self, positions: np.ndarray) -> None:
        """Place the moving things.

        Args:
            positions: (M, 2) in metres, x and y of each.
        """
        check_shape("positions", positions, f"{len(self.data.mocap_pos)} 2")
        self.data.mocap_pos[:, :2] = positions
        mujoco.mj_kinematics(self.model, self.data)

    def cast(self, origin: np.ndarray, rays: np.ndarray) -> Hits:
        """The first surface along unit rays; a geom's number is its structure's id.

        A ray that meets nothing, as happens outside the hall, is the floor at 100 metres.

        Args:
            origin: (3,) in metres, where all rays begin.
            rays: (P, 3) unit vectors.
        """
        check_shape("origin", origin, "3")
        check_shape("rays", rays, "P 3")
        if not np.isfinite(origin).all() or not np.isfinite(rays).all():
            raise ValueError("Expected an origin and rays of finite numbers, got NaN or inf.")
        return cast(self.model, self.data, origin, rays)

    def render(
        self, camera: Camera, height: int = 64, width: int = 64, fov_degrees: float = 90.0
    ) -> View:
        """Draw one frame.

        Args:
            camera: Where it is and looks.
            height: Pixels, 1 to 8192.
            width: Pixels, 1 to 8192.
            fov_degrees: Horizontal field of view, 1 to 179.
        """
        check_size(height, width)
        check_between("fov_degrees", fov_degrees, 1.0, 179.0)
        if not np.isfinite(camera).all():
            raise ValueError(f"Expected a camera of finite numbers, got {camera}.")
        fov = np.radians(fov_degrees)
        rays = ray_fan(height, width, fov) @ rotation(camera).T
        origin = np.array([camera.x, camera.y, camera.z])
        ids, distance, normals = self.cast(origin, rays)
        points = origin + rays * distance[:, None] - self.data.geom_xpos[ids]
        footprint = distance * (2 * np.tan(fov / 2) / width)
        rgb = lit(self.colours[ids], normals, self.luminance(points, normals, ids, footprint))
        return View(
            rgb.reshape(height, width, 3),
            ids.astype(np.uint8).reshape(height, width),
            distance.astype(np.float32).reshape(height, width),
        )
