"""Where a frame was seen from: its camera pose in a known scene, by alignment against renderings.

A frame, true or imagined, is compared with what the simulator draws at a pose; Gauss-Newton steps
with the drawn depth move the pose until both agree (direct image alignment, Lucas and Kanade 1981;
robust weights of Geman and McClure). Both pictures are low-passed first, and a gain and an offset
are fitted to each colour channel, so a blurred or tinted frame aligns as well as a sharp one. The
search around a frame begins at the poses of the frames before it and never looks at an action.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

# Of a frame with its rendering, both low-passed; less is not aligned. In validation rooms 60 of 60
# true frames are aligned in their own room, and 0 of 120 in another one, where 0.92 was the most.
MIN_CORRELATION = 0.93
MIN_CONTRAST = 4.0  # grey levels; a low-passed frame that deviates less shows nothing
MAX_COST = 0.33  # robust share that does not fit: 0.02 on true frames
MAX_DOUBT = 0.1  # metres, or tens of degrees: a larger standard error is not aligned
SIZES = (24, 32, 64)  # pixels of a side: of the first look, the coarse and the fine search
LOW_PASS = 1.0  # standard deviation, in pixels of each of these sizes
_BLURS = (0.0, 1.0, 2.0, 3.0)  # of a frame, pixels; the rendering gets the one that fits best
_KEPT = 2  # starts that the coarse search goes on with
_SCALE = 0.3  # of the residual's robust weight, in deviations of the frame
_NEAREST = 0.05  # metres ahead of the camera
_LEAST = 0.3  # share of the rendering that the frame must show
_NO_SPREAD = 1e-3  # squared grey levels, summed: what is left of a frame is of one colour
_REACH = 4.0  # a fit lies at most so many of the largest starts away from where it began
_SHOWN = 0.9  # share of a low-passed pixel that is not a body's


class Eye(NamedTuple):
    """A camera: place (3,) in metres, turn (3, 3) whose columns are ahead, left and up."""

    place: np.ndarray
    turn: np.ndarray

    def moved(self, motion: np.ndarray) -> "Eye":
        """After metres ahead, left and up, then radians around the same axes: (6,)."""
        return Eye(self.place + self.turn @ motion[:3], self.turn @ _rotation(motion[3:]))


class Scene(Protocol):
    """What frames are aligned to.

    axes: of the six motions of an `Eye`, those that its camera can make. starts: motions (S, 6)
    from the pose before, where the search begins.
    """

    axes: tuple[int, ...]
    starts: np.ndarray

    def draw(self, eye: Eye, size: int) -> tuple[np.ndarray, np.ndarray]:
        """RGB (size, size, 3) uint8, 90 degrees across, and metres along the rays."""
        ...

    def shown(self, frame: np.ndarray) -> np.ndarray:
        """Which pixels (H, W) of a frame show the scene, and not a body before it: 0 or 1."""
        ...


class Fit(NamedTuple):
    """A frame at a pose: robust cost from 0 to 1, correlation, and the pose's standard error in
    metres, or tens of degrees where that is more."""

    eye: Eye
    cost: float
    correlation: float
    doubt: float

    @property
    def good(self) -> bool:
        like = self.correlation >= MIN_CORRELATION and self.cost <= MAX_COST
        return like and self.doubt <= MAX_DOUBT


def align_frames(frames: np.ndarray, scene: Scene, start: Eye) -> Iterator[Fit]:
    """Every frame (T, H, W, 3) uint8 of a video that begins at a pose."""
    here, missed = start, 0
    for frame in frames:
        fit = align_frame(frame, scene, here, 1 + missed)
        yield fit
        here, missed = (fit.eye, 0) if fit.good else (here, missed + 1)


def align_frame(frame: np.ndarray, scene: Scene, near: Eye, steps: int = 1) -> Fit:
    """One frame (H, W, 3) uint8, at most `steps` actions away from a pose."""
    before = near
    look, coarse, fine = (_Target(frame, scene, size) for size in SIZES)
    if fine.contrast < MIN_CONTRAST:
        return Fit(near, 1.0, 0.0, np.inf)
    starts = [near.moved(steps * motion) for motion in scene.starts]
    starts.sort(key=lambda eye: look.fit(eye, 0).cost)
    best = min((coarse.fit(eye) for eye in starts[:_KEPT]), key=lambda fit: fit.cost)
    near = coarse.fit(best.eye).eye
    fine.blur_like_the_frame(near)
    fit = fine.fit(fine.fit(near).eye)
    return fit if _within(fit.eye, before, steps * scene.starts) else fit._replace(doubt=np.inf)


def _within(eye: Eye, before: Eye, starts: np.ndarray) -> bool:
    """Whether a pose can be reached from the one before it."""
    way = np.linalg.norm(eye.place - before.place)
    turn = np.arccos(np.clip((np.trace(before.turn.T @ eye.turn) - 1) / 2, -1, 1))
    most_way, most_turn = (np.linalg.norm(part, axis=1).max() for part in np.hsplit(starts, 2))
    return bool(way <= _REACH * most_way and turn <= _REACH * most_turn)


class _Target:
    """A low-passed frame at one size, to which renderings of a scene are fitted.

    Pictures are rows of pixels, (P, C).
    """

    def __init__(self, frame: np.ndarray, scene: Scene, size: int) -> None:
        import cv2

        self.scene, self.size, self.blur = scene, size, 0.0
        shown = scene.shown(frame).astype(np.float32)
        whole = shown.all()  # remap is spared
        small = cv2.resize(shown, (size, size), interpolation=cv2.INTER_AREA)
        self.shown = None if whole else (_low_passed(small) > _SHOWN).astype(np.float32)
        self.picture = _low_passed(cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA))
        visible = self.picture.reshape(-1, 3)
        if self.shown is not None and self.shown.any():
            visible = visible[self.shown.reshape(-1) > 0]
        self.contrast = float(visible.std(0).max())
        self.scale = _SCALE * max(float(visible.std(0).mean()), 1.0)
        across = 1 - (2 * np.arange(size, dtype=np.float32) + 1) / size
        up, left = np.meshgrid(across, across, indexing="ij")
        rays = np.stack([np.ones_like(left), left, up]).reshape(3, -1)
        self.rays = rays / np.linalg.norm(rays, axis=0)  # (3, P) ahead, left, up

    def fit(self, eye: Eye, steps: int = 3) -> Fit:
        """Gauss-Newton from a pose, on the one rendering there, to which the frame is warped."""
        rgb, points = self._draw(eye)
        drawn = _low_passed(rgb, self.blur)
        slopes = self._slopes(drawn, points) if steps else np.zeros(0)
        axes = list(self.scene.axes)
        motion, inverse = np.zeros(6), np.full((len(axes),) * 2, np.inf)
        match = self._match(drawn, points, motion)
        for _ in range(steps):
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite ends here
                leaning = slopes * match.gain[:, None]
                weighted = leaning * match.weight[:, None, None]
                normal = _dot(weighted, leaning)
            if not np.isfinite(normal).all():  # a wall that the camera all but touches
                return Fit(eye, 1.0, 0.0, np.inf)
            inverse = np.linalg.pinv(normal, hermitian=True)
            motion[axes] -= inverse @ _dot(weighted, match.residual[..., None])[:, 0]
            match = self._match(drawn, points, motion, match.weight)
        doubt = _doubt(inverse, np.array(axes) < 3, match)
        return Fit(eye.moved(motion), match.cost, match.correlation, doubt)

    def blur_like_the_frame(self, eye: Eye) -> None:
        """From now on renderings are as blurred as the frame is, seen from about this pose."""
        rgb, points = self._draw(eye)
        costs = {
            blur: self._match(_low_passed(rgb, blur), points, np.zeros(6)).cost for blur in _BLURS
        }
        self.blur = min(costs, key=costs.__getitem__)

    def _draw(self, eye: Eye) -> tuple[np.ndarray, np.ndarray]:
        """A rendering (H, W, 3) uint8, and what its pixels show: (3, P) metres."""
        rgb, depth = self.scene.draw(eye, self.size)
        return rgb, self.rays * depth.reshape(-1)

    def _slopes(self, drawn: np.ndarray, points: np.ndarray) -> np.ndarray:
        """How grey levels change with each of the motions: (P, C, axes)."""
        ahead, left, up = points
        focal = self.size / 2
        columns, rows = [], []
        for axis in self.scene.axes:
            a, b, c = _carried(axis, points)
            columns.append(focal * (left * a - ahead * b) / ahead**2)
            rows.append(focal * (up * a - ahead * c) / ahead**2)
        down, along = (g.reshape(-1, 3, 1) for g in np.gradient(drawn, axis=(0, 1)))
        column, row = (np.stack(np.broadcast_arrays(*x), -1) for x in (columns, rows))
        slopes: np.ndarray = along * column[:, None] + down * row[:, None]
        return slopes

    def _match(
        self, drawn: np.ndarray, points: np.ndarray, motion: np.ndarray, weight: Any = None
    ) -> "_Match":
        """The frame, warped from where a motion leads, less the rendering as it is tinted."""
        drawn = drawn.reshape(-1, 3)
        warped, valid, hidden = self._warped(points, motion)
        if valid.mean() < _LEAST:
            return _Match(warped - drawn, valid * 0.0, np.ones(3, np.float32), 1.0, 0.0)
        gain, offset = _tint(drawn, warped, valid if weight is None else valid * weight)
        residual = warped - gain * drawn - offset
        error = np.square(residual)
        square = error.mean(1) / self.scale**2
        unknown = 1 - np.maximum(valid, hidden)  # beyond the frame's edges
        cost = float((valid * square / (1 + square) + unknown).sum() / (valid + unknown).sum())
        middle = warped.mean(0) if self.shown is None else valid @ warped / valid.sum()
        spread = float((valid @ np.square(warped - middle)).sum())
        unlike = float((valid @ error).sum()) / spread if spread > _NO_SPREAD else 1.0
        correlation = float(np.sqrt(max(0.0, 1 - unlike)))
        return _Match(residual, valid / np.square(1 + square), gain, cost, correlation)

    def _warped(
        self, points: np.ndarray, motion: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The frame (P, C) where it shows the points after a motion; (P,) 1 where it does, and 1
        where a body hides them."""
        import cv2

        turn, way = _rotation(motion[3:]).astype(np.float32), motion[:3].astype(np.float32)
        ahead, left, up = turn.T @ (points - way[:, None])
        before = ahead > _NEAREST
        depth = np.where(before, ahead, np.float32(1))
        centre, focal = (self.size - 1) / 2, self.size / 2
        column, row = centre - focal * left / depth, centre - focal * up / depth
        edge = self.size / 2  # half a pixel beyond the last centre: there the border is repeated
        inside = (np.abs(column - centre) <= edge) & (np.abs(row - centre) <= edge)

        def there(picture: np.ndarray) -> np.ndarray:
            side, linear = (self.size, self.size), cv2.INTER_LINEAR
            at = column.reshape(side), row.reshape(side)
            return cv2.remap(picture, at[0], at[1], linear, borderMode=cv2.BORDER_REPLICATE)

        warped = there(self.picture).reshape(-1, 3)
        seen = (before & inside).astype(np.float32)
        if self.shown is None:
            return warped, seen, np.zeros_like(seen)
        open_ = (there(self.shown).reshape(-1) > 0.5).astype(np.float32)
        return warped, seen * open_, seen * (1 - open_)


class _Match(NamedTuple):
    """A warped frame against a rendering."""

    residual: np.ndarray  # (P, C) grey levels
    weight: np.ndarray  # (P,), 0 where the frame shows nothing of it
    gain: np.ndarray  # (C,)
    cost: float
    correlation: float


def _rotation(turn: np.ndarray) -> np.ndarray:
    """(3, 3) of a rotation vector (3,) in radians; OpenCV's takes microseconds."""
    import cv2

    matrix: np.ndarray = cv2.Rodrigues(np.asarray(turn, float))[0]
    return matrix


def _carried(axis: int, points: np.ndarray) -> np.ndarray:
    """How points (3, P) change in the camera's view, per metre or radian of one of six motions."""
    ahead, left, up = points
    nothing = np.zeros_like(ahead)
    if axis < 3:
        return -np.eye(3, dtype=points.dtype)[axis, :, None]
    turned = ((nothing, up, -left), (-up, nothing, ahead), (left, -ahead, nothing))
    return np.stack(turned[axis - 3])


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sums over pixels and channels, (m, n), of products of (P, C, m) and (P, C, n)."""
    product: np.ndarray = left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])
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


def _doubt(inverse: np.ndarray, ways: np.ndarray, match: _Match) -> float:
    """Standard error of the pose, in metres (of the `ways`) or tens of degrees; neighbours' errors
    are alike."""
    if not np.isfinite(inverse).all() or match.correlation == 0 or not match.gain.any():
        return float("inf")
    weight = match.weight[:, None]
    variance = float((weight * np.square(match.residual)).sum() / (3 * weight.sum()))
    alike = 4 * np.pi * LOW_PASS**2
    errors = np.sqrt(np.maximum(np.diag(inverse), 0) * variance * alike)
    return float(np.where(ways, errors, np.degrees(errors) / 10).max())
