"""Where a frame was seen from: its camera pose in a known room, by alignment against renderings.

A frame, true or imagined, is compared with what the simulator draws at a pose; Gauss-Newton steps
with the drawn depth move the pose until both agree (direct image alignment, Lucas and Kanade 1981;
robust weights of Geman and McClure). Both pictures are low-passed first, and a gain and an offset
are fitted to each colour channel, so a blurred or tinted frame aligns as well as a sharp one. The
search around a frame begins at the poses of the frames before it and never looks at an action.
"""

from typing import Any, NamedTuple

import numpy as np

from egowm.checks import check_shape, checked
from egowm.worlds.motion import ROBOT_HEIGHT, step
from egowm.worlds.rooms import Camera, Room

# Of a frame with its rendering, both low-passed; less is not aligned. In validation rooms 60 of 60
# true frames are aligned in their own room, and 0 of 120 in another one, where 0.92 was the most.
MIN_CORRELATION = 0.93
MIN_CONTRAST = 4.0  # grey levels; a low-passed frame that deviates less shows nothing
MAX_COST = 0.33  # robust share that does not fit: 0.02 on true frames
MAX_DOUBT = 0.1  # metres, or tens of degrees: a larger standard error is not aligned
# Where the search begins, relative to the pose before: metres ahead, and degrees of turn.
AHEAD, TURNS = (0.0, 0.15, 0.3), (-6.0, -2.0, 2.0, 6.0)
SIZES = (24, 32, 64)  # pixels of a side: of the first look, the coarse and the fine search
LOW_PASS = 1.0  # standard deviation, in pixels of each of these sizes
_BLURS = (0.0, 1.0, 2.0, 3.0)  # of a frame, pixels; the rendering gets the one that fits best
_KEPT = 2  # starts that the coarse search goes on with
_SCALE = 0.3  # of the residual's robust weight, in deviations of the frame
_NEAREST = 0.05  # metres ahead of the camera
_LEAST = 0.3  # share of the rendering that the frame must show

Pose = tuple[float, float, float]  # x, y, yaw; metres, radians


class Alignment(NamedTuple):
    """Camera poses of frames.

    poses: (T, 3) x, y, yaw in metres and radians, NaN where not aligned. aligned: (T,) bool.
    correlation: (T,) of each frame with its rendering, both low-passed.
    """

    poses: np.ndarray
    aligned: np.ndarray
    correlation: np.ndarray


class Fit(NamedTuple):
    """A frame at a pose: robust cost from 0 to 1, correlation, and the pose's standard error in
    metres, or tens of degrees where that is more."""

    pose: Pose
    cost: float
    correlation: float
    doubt: float

    @property
    def good(self) -> bool:
        like = self.correlation >= MIN_CORRELATION and self.cost <= MAX_COST
        return like and self.doubt <= MAX_DOUBT


@checked
def align(frames: np.ndarray, room: Room, start: np.ndarray) -> Alignment:
    """The pose of every frame of a video in its room.

    Args:
        frames: (T, H, W, 3) uint8, of a camera at the robot's height that sees 90 degrees across.
        room: the room that they show, or should.
        start: (3,) x, y, yaw where the video begins; metres, radians.

    Raises:
        ValueError: frames or a start of another shape.

    >>> from egowm.worlds.recording import record, seed_of
    >>> seen = record(seed_of("test", 0), num_frames=3)
    >>> start, end = seen.cameras[[0, 2]][:, [0, 1, 3]]
    >>> found = align(seen.frames[1:], Room(seed_of("test", 0)), start)
    >>> bool(np.abs(found.poses[-1] - end).max() < 0.02)
    True
    """
    check_shape("frames", frames, "T H W 3")
    check_shape("start", start, "3")
    here, missed = (float(start[0]), float(start[1]), float(start[2])), 0
    fits = []
    for frame in frames:
        fit = align_frame(frame, room, here, 1 + missed)
        fits.append(fit)
        here, missed = (fit.pose, 0) if fit.good else (here, missed + 1)
    aligned = np.array([fit.good for fit in fits])
    poses = np.where(aligned[:, None], [fit.pose for fit in fits], np.nan)
    return Alignment(poses, aligned, np.array([fit.correlation for fit in fits]))


def align_frame(frame: np.ndarray, room: Room, near: Pose, steps: int = 1) -> Fit:
    """One frame (H, W, 3) uint8, at most `steps` actions away from a pose."""
    look, coarse, fine = (_Target(frame, room, size) for size in SIZES)
    if fine.contrast < MIN_CONTRAST:
        return Fit(near, 1.0, 0.0, np.inf)
    starts = [
        step(*near, np.array([steps * ahead, 0.0, np.radians(steps * turn)]))
        for ahead in AHEAD
        for turn in TURNS
    ]
    starts.sort(key=lambda pose: look.fit(pose, 0).cost)
    best = min((coarse.fit(pose) for pose in starts[:_KEPT]), key=lambda fit: fit.cost)
    near = coarse.fit(best.pose).pose
    fine.blur_like_the_frame(near)
    return fine.fit(fine.fit(near).pose)


class _Target:
    """A low-passed frame at one size, to which renderings of a room are fitted.

    Pictures are rows of pixels, (P, C).
    """

    def __init__(self, frame: np.ndarray, room: Room, size: int) -> None:
        import cv2

        self.room, self.size, self.blur = room, size, 0.0
        self.picture = _low_passed(cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA))
        self.contrast = float(self.picture.std((0, 1)).max())
        self.scale = _SCALE * max(float(self.picture.std((0, 1)).mean()), 1.0)
        across = 1 - (2 * np.arange(size, dtype=np.float32) + 1) / size
        up, left = np.meshgrid(across, across, indexing="ij")
        rays = np.stack([np.ones_like(left), left, up]).reshape(3, -1)
        self.rays = rays / np.linalg.norm(rays, axis=0)  # (3, P) ahead, left, up

    def fit(self, pose: Pose, steps: int = 3) -> Fit:
        """Gauss-Newton from a pose, on the one rendering there, to which the frame is warped."""
        rgb, points = self._draw(pose)
        drawn = _low_passed(rgb, self.blur)
        slopes = self._slopes(drawn, points) if steps else np.zeros(0)
        action, inverse = np.zeros(3), np.full((3, 3), np.inf)
        match = self._match(drawn, points, action)
        for _ in range(steps):
            leaning = slopes * match.gain[:, None]
            weighted = leaning * match.weight[:, None, None]
            normal = _dot(weighted, leaning)
            if not np.isfinite(normal).all():  # a wall that the camera all but touches
                return Fit(pose, 1.0, 0.0, np.inf)
            inverse = np.linalg.pinv(normal, hermitian=True)
            action = action - inverse @ _dot(weighted, match.residual[..., None])[:, 0]
            match = self._match(drawn, points, action, match.weight)
        doubt = _doubt(inverse, match)
        return Fit(step(*pose, action), match.cost, match.correlation, doubt)

    def blur_like_the_frame(self, pose: Pose) -> None:
        """From now on renderings are as blurred as the frame is, seen from about this pose."""
        rgb, points = self._draw(pose)
        costs = {
            blur: self._match(_low_passed(rgb, blur), points, np.zeros(3)).cost for blur in _BLURS
        }
        self.blur = min(costs, key=costs.__getitem__)

    def _draw(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """A rendering (H, W, 3) uint8, and what its pixels show: (3, P) metres."""
        camera = Camera(pose[0], pose[1], ROBOT_HEIGHT, pose[2])
        view = self.room.render(camera, self.size, self.size)
        return view.rgb, self.rays * view.depth.reshape(-1)

    def _slopes(self, drawn: np.ndarray, points: np.ndarray) -> np.ndarray:
        """How grey levels change with dx, dy and dyaw: (P, C, 3)."""
        ahead, left, up = points
        focal = self.size / 2
        # A point comes nearer, moves to the right, and turns to the right around the camera.
        by = ((-1.0, 0.0), (0.0, -1.0), (left, -ahead))
        column = np.stack([focal * (left * a - ahead * b) / ahead**2 for a, b in by], -1)
        row = np.stack([focal * up * a / ahead**2 + 0 * ahead for a, _ in by], -1)
        down, along = (g.reshape(-1, 3, 1) for g in np.gradient(drawn, axis=(0, 1)))
        slopes: np.ndarray = along * column[:, None] + down * row[:, None]
        return slopes

    def _match(
        self, drawn: np.ndarray, points: np.ndarray, action: np.ndarray, weight: Any = None
    ) -> "_Match":
        """The frame, warped from where an action leads, less the rendering as it is tinted."""
        drawn = drawn.reshape(-1, 3)
        warped, valid = self._warped(points, action)
        if valid.mean() < _LEAST:
            return _Match(warped - drawn, valid * 0.0, np.ones(3, np.float32), 1.0, 0.0)
        gain, offset = _tint(drawn, warped, valid if weight is None else valid * weight)
        residual = warped - gain * drawn - offset
        error = np.square(residual)
        square = error.mean(1) / self.scale**2
        cost = float(np.where(valid, square / (1 + square), 1).mean())
        unlike = float((valid @ error).sum() / (valid @ np.square(warped - warped.mean(0))).sum())
        correlation = float(np.sqrt(max(0.0, 1 - unlike)))
        return _Match(residual, valid / np.square(1 + square), gain, cost, correlation)

    def _warped(self, points: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The frame (P, C) where it shows the points after an action; (P,) 1 where it does."""
        import cv2

        dx, dy, turn = map(float, action)
        cosine, sine = float(np.cos(turn)), float(np.sin(turn))
        x, y = points[0] - dx, points[1] - dy
        ahead, left = cosine * x + sine * y, cosine * y - sine * x
        before = ahead > _NEAREST
        depth = np.where(before, ahead, np.float32(1))
        centre, focal = (self.size - 1) / 2, self.size / 2
        column, row = centre - focal * left / depth, centre - focal * points[2] / depth
        edge = self.size / 2  # half a pixel beyond the last centre: there the border is repeated
        inside = (np.abs(column - centre) <= edge) & (np.abs(row - centre) <= edge)
        side = (self.size, self.size)
        warped = cv2.remap(
            self.picture,
            column.reshape(side),
            row.reshape(side),
            interpolation=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(-1, 3)
        return warped, (before & inside).astype(np.float32)


class _Match(NamedTuple):
    """A warped frame against a rendering."""

    residual: np.ndarray  # (P, C) grey levels
    weight: np.ndarray  # (P,), 0 where the frame shows nothing of it
    gain: np.ndarray  # (C,)
    cost: float
    correlation: float


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sums over pixels and channels, (3, n), of products of (P, C, 3) and (P, C, n)."""
    product: np.ndarray = left.reshape(-1, 3).T @ right.reshape(-1, right.shape[-1])
    return product


def _low_passed(picture: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """As float32; blur: pixels by which it is blurred besides."""
    import cv2

    deviation = float(np.hypot(LOW_PASS, blur))
    smooth: np.ndarray = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), deviation)
    return smooth


def _tint(
    drawn: np.ndarray, warped: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gain from 0 to 3 and offset of each channel (C,) that make the rendering like the frame."""
    share = weight / weight.sum()
    here, there = share @ drawn, share @ warped
    spread = share @ np.square(drawn) - here**2
    common = share @ (drawn * warped) - here * there
    gain = np.clip(common / np.maximum(spread, 1e-3), 0, 3)
    return gain, there - gain * here


def _doubt(inverse: np.ndarray, match: _Match) -> float:
    """Standard error of the pose, in metres or tens of degrees; neighbours' errors are alike."""
    if not np.isfinite(inverse).all() or match.correlation == 0:
        return float("inf")
    weight = match.weight[:, None]
    variance = float((weight * np.square(match.residual)).sum() / (3 * weight.sum()))
    alike = 4 * np.pi * LOW_PASS**2
    errors = np.sqrt(np.maximum(np.diag(inverse), 0) * variance * alike)
    return float(max(errors[0], errors[1], np.degrees(errors[2]) / 10))
