"""The hall of the embedded humanoid: furniture, a table, and three things on it to move."""

from dataclasses import dataclass

import mujoco
import numpy as np

from egowm.worlds.rooms import NUM_HUES, colour, grey, thing, wall

# Ids in masks; walls follow, then furniture.
LEFT_HAND, RIGHT_HAND, LEFT_ARM, RIGHT_ARM, BODY, FIRST_OBJECT, TABLE, FIRST_WALL = (
    *(2, 3, 4, 5, 6, 7),
    *(10, 11),
)
NUM_OBJECTS = 3
_OWN_HUES = (0, 9, 3, 12, 6)  # of the hands, arms and body in every room: nothing else has them
DEPTH, WIDTH = 0.28, 0.5  # half the table's, metres
STANDING = 0.3 + DEPTH  # metres from the table's middle to the robot's


@dataclass(frozen=True)
class HumanoidRoom:
    """A hall before it is built.

    Args:
        geoms: Of the hall, as MJCF.
        objects: Of the things on the table, as MJCF, one body each.
        colours: (G, 3) in [0, 1], by id.
        half_size: Metres, of the hall.
        table: x, y, height in metres, and the yaw of who stands before it.
        furniture: (F, 2) metres.
    """

    geoms: tuple[str, ...]
    objects: tuple[str, ...]
    colours: np.ndarray
    half_size: tuple[float, float]
    table: tuple[float, float, float, float]
    furniture: np.ndarray


def plan_humanoid_room(seed: int) -> HumanoidRoom:
    """Draw a hall of 8 to 12 by 7 to 10 m with a table, three objects and 4 or 5 pieces more."""
    rng = np.random.default_rng([seed, 2])
    a, b, height = rng.uniform(4, 6), rng.uniform(3.5, 5), rng.uniform(2.4, 3.2)
    turn = int(rng.integers(4)) * np.pi / 2
    x, y = rng.uniform(-a + 2, a - 2), rng.uniform(-b + 2, b - 2)
    top = rng.uniform(0.86, 0.96)
    spots = _spots(rng, a, b, np.array([x, y]), int(rng.integers(4, 6)))
    sides = [(a, 0, np.pi / 2, b), (-a, 0, np.pi / 2, b), (0, b, 0, a), (0, -b, 0, a)]
    walls = [wall(px, py, yaw, half, height) for px, py, yaw, half in sides]
    things = [thing(rng, "robot", px, py) for px, py in spots]
    planes = (
        '<geom type="plane" size="30 30 0.1"/>',
        f'<geom type="plane" size="30 30 0.1" pos="0 0 {height:.3f}" euler="3.14159265 0 0"/>',
    )
    table = (x, y, top, turn)
    geoms = (*planes, *_table(*table), *walls, *things)
    colours = _colours(rng, NUM_OBJECTS + 1 + len(walls) + len(things))
    return HumanoidRoom(geoms, _objects(rng, *table), colours, (a, b), table, spots)


def ids_of(room: HumanoidRoom, model: mujoco.MjModel) -> np.ndarray:
    """The id (G,) of every geom; the hall's own come first, and its table has two."""
    rest = len(room.geoms) - 4
    hall = [0, 1, TABLE, TABLE, *range(FIRST_WALL, FIRST_WALL + rest)]
    moving = range(len(hall), model.ngeom)
    return np.array(hall + [_id_of(model.body(model.geom_bodyid[k]).name) for k in moving])


def _id_of(body: str) -> int:
    """The id of what a moving body belongs to."""
    if body.startswith("object"):
        return FIRST_OBJECT + int(body.removeprefix("object"))
    for side, hand, arm in (("left", LEFT_HAND, LEFT_ARM), ("right", RIGHT_HAND, RIGHT_ARM)):
        if body.startswith(side):
            return arm if body.endswith("arm") else hand
    return BODY


def _colours(rng: np.random.Generator, others: int) -> np.ndarray:
    free = [hue for hue in range(NUM_HUES) if hue not in _OWN_HUES]
    hues = [*_OWN_HUES, *rng.permutation(free)[:others].tolist()]
    floor = [grey(rng, 0.3, 0.5), grey(rng, 0.75, 0.85)]
    return np.array(floor + [colour(rng, hue, "robot") for hue in hues], np.float32)


def _spots(
    rng: np.random.Generator, a: float, b: float, table: np.ndarray, count: int
) -> np.ndarray:
    """Where furniture stands: away from the walls, from the table and from each other."""
    spots: list[np.ndarray] = []
    for _ in range(200):
        spot = rng.uniform((-a + 0.7, -b + 0.7), (a - 0.7, b - 0.7))
        apart = [np.linalg.norm(spot - other) for other in spots]
        if np.linalg.norm(spot - table) > 1.7 and min(apart, default=9.0) > 1.6:
            spots.append(spot)
    return np.array(spots[:count]).reshape(-1, 2)


def _table(x: float, y: float, top: float, turn: float) -> tuple[str, str]:
    """A top of 4 cm on a pedestal."""
    half = top / 2 - 0.02
    return (
        f'<geom type="box" size="{DEPTH} {WIDTH} 0.02" pos="{x:.3f} {y:.3f} {top - 0.02:.3f}" '
        f'euler="0 0 {turn:.4f}"/>',
        f'<geom type="box" size="0.12 0.3 {half:.3f}" pos="{x:.3f} {y:.3f} {half:.3f}" '
        f'euler="0 0 {turn:.4f}"/>',
    )


def _objects(
    rng: np.random.Generator, x: float, y: float, top: float, turn: float
) -> tuple[str, ...]:
    """Boxes and cylinders on the half of the table that a robot before it can reach."""
    sideways = rng.permutation([-0.22, 0.0, 0.22]) + rng.uniform(-0.04, 0.04, NUM_OBJECTS)
    return tuple(_object(rng, k, x, y, top, turn, side) for k, side in enumerate(sideways))


def _object(
    rng: np.random.Generator, k: int, x: float, y: float, top: float, turn: float, side: float
) -> str:
    ahead, half = rng.uniform(-0.2, -0.06), rng.uniform(0.05, 0.075)
    c, s = np.cos(turn), np.sin(turn)
    x, y, z = x + c * ahead - s * side, y + s * ahead + c * side, top + half + 0.001
    if rng.uniform() < 0.5:
        kind, size = "box", f"{rng.uniform(0.034, 0.044):.4f} {rng.uniform(0.034, 0.044):.4f}"
    else:
        kind, size = "cylinder", f"{rng.uniform(0.034, 0.044):.4f}"
    yaw = turn + rng.normal(0, 0.1)
    return (
        f'<body name="object{k}" pos="{x:.4f} {y:.4f} {z:.4f}" euler="0 0 {yaw:.4f}"><freejoint/>'
        f'<geom type="{kind}" size="{size} {half:.4f}" mass="0.15" group="1" '
        f'contype="2" conaffinity="7" friction="1 0.02 0.005" condim="6"/></body>'
    )
