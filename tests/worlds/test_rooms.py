"""Rooms: a hue for each structure, depth that agrees with pose, targets of a fair miniature."""

import colorsys

import numpy as np
import pytest

from egowm.video import write_image
from egowm.worlds import texture
from egowm.worlds.recording import FIRST_SEED, Recording, follow, record, seed_of, structures
from egowm.worlds.rooms import FIRST_STRUCTURE, NUM_HUES, Camera, Room, plan_room

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def runs() -> list[Recording]:
    """40 unseen robot rooms up to frame 16."""
    return [record(seed_of("test", k), num_frames=17) for k in range(40)]


def hsv(pixels: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 to hue in degrees, saturation and value in [0, 1]."""
    import cv2

    return cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0]


def test_the_same_seed_is_the_same_run():
    first, second, other = (record(seed, num_frames=6) for seed in (5, 5, 6))
    for a, b in zip(vars(first).values(), vars(second).values(), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(first.frames, other.frames)
    passive = [record(seed, "passive", num_frames=3).frames for seed in (5, 5)]
    assert np.array_equal(*passive)
    assert not np.array_equal(passive[0], first.frames[:3])


def test_shapes_and_any_resolution():
    run = record(1, num_frames=3, height=24, width=40)
    assert run.frames.shape == (3, 24, 40, 3)
    assert run.frames.dtype == run.ids.dtype == np.uint8
    assert run.ids.shape == (3, 24, 40)
    assert (run.cameras.shape, run.commanded.shape, run.realised.shape) == ((3, 6), (2, 3), (2, 3))
    small, large = (record(1, num_frames=1, height=n, width=n).ids[0] for n in (32, 96))
    assert (small == large[1::3, 1::3]).mean() > 0.99  # the same view, sampled at pixel centres


@pytest.mark.long
def test_hue_tells_the_structure(runs):
    """Every pixel of a structure is within 10 degrees of its hue; hues are 20 degrees apart."""
    for k, run in enumerate(runs[:15]):
        colours = Room(seed_of("test", k)).colours
        own = np.array([colorsys.rgb_to_hsv(*colour) for colour in colours.tolist()])
        places = own[FIRST_STRUCTURE:, 0] * NUM_HUES
        assert np.abs(places - places.round()).max() < 1e-3
        assert len(np.unique(places.round() % NUM_HUES)) == len(places)
        assert own[FIRST_STRUCTURE:, 1].min() >= 0.5
        on = run.ids >= FIRST_STRUCTURE
        off = hsv(run.frames[on])[:, 0] - 360 * own[run.ids[on], 0]
        assert np.abs((off + 180) % 360 - 180).max() < 10
        assert hsv(run.frames[on])[:, 1].min() > 0.4
        assert hsv(run.frames[~on])[:, 1].max() < 0.15


def test_every_ray_meets_something(runs):
    passive = [record(seed_of("passive", k), "passive", num_frames=3) for k in range(20)]
    assert max(run.ids.max() for run in (*runs, *passive)) < NUM_HUES + FIRST_STRUCTURE


def pixel_rays(height: int, width: int, fov_degrees: float) -> np.ndarray:
    """Camera rays (H, W, 3), written apart from the renderer: x forward, y left, z up."""
    rays = np.zeros((height, width, 3))
    focal = width / 2 / np.tan(np.radians(fov_degrees) / 2)
    for row in range(height):
        for column in range(width):
            rays[row, column] = focal, width / 2 - column - 0.5, height / 2 - row - 0.5
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def to_world(camera: Camera) -> np.ndarray:
    """Rotation from axis rotations: yaw about z, pitch up about -y, roll about x."""

    def about(axis: int, angle: float) -> np.ndarray:
        c, s, out = np.cos(angle), np.sin(angle), np.eye(3)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        out[[i, j, i, j], [i, j, j, i]] = c, c, -s, s
        return out

    return about(2, camera.yaw) @ about(1, -camera.pitch) @ about(0, camera.roll)


def test_depth_and_pose_agree():
    """Pixels of one view, carried by depth and pose into another, land on the same structure."""
    room, size, fov = Room(3), (48, 64), 80.0
    cameras = Camera(0.3, 0.2, 0.6, 0.4), Camera(-0.1, 0.5, 0.9, 0.55, 0.08, -0.05)
    first, second = (room.render(camera, *size, fov) for camera in cameras)
    start, end = (np.array(camera[:3]) for camera in cameras)
    points = start + (pixel_rays(*size, fov) @ to_world(cameras[0]).T) * first.depth[..., None]
    seen = (points - end) @ to_world(cameras[1])
    focal = size[1] / 2 / np.tan(np.radians(fov) / 2)
    ahead = np.maximum(seen[..., 0], 1e-6)
    column = np.floor(size[1] / 2 - focal * seen[..., 1] / ahead).astype(int)
    row = np.floor(size[0] / 2 - focal * seen[..., 2] / ahead).astype(int)
    inside = (seen[..., 0] > 0) & (row >= 0) & (row < size[0]) & (column >= 0)
    inside &= column < size[1]
    assert inside.mean() > 0.6
    there = row[inside], column[inside]
    distance = np.linalg.norm(seen[inside], axis=-1)
    agree = np.abs(second.depth[there] - distance) < 0.05 * distance + 0.05
    assert agree.mean() > 0.85  # the rest is hidden, or on an edge or a grazing floor
    same = second.ids[there][agree] == first.ids[inside][agree]
    assert same.mean() > 0.97  # the rest is on an edge


def test_floor_depth_in_closed_form():
    view = Room(3).render(Camera(0, 0, 0.6, 0.0), 32, 32)
    down = pixel_rays(32, 32, 90.0)[..., 2]
    floor = view.ids == 0
    assert floor.mean() > 0.1
    np.testing.assert_allclose(view.depth[floor], -0.6 / down[floor], rtol=1e-4)


def test_the_signs_of_a_camera_s_angles():
    """Yaw turns left, pitch looks up."""
    forward, left, up = np.eye(3)
    assert (to_world(Camera(0, 0, 0, 0.1)) @ forward) @ left > 0
    assert (to_world(Camera(0, 0, 0, 0, pitch=0.1)) @ forward) @ up > 0
    room = Room(3)
    floor = [
        (room.render(Camera(0, 0, 0.6, 0.0, pitch), 32, 32).ids == 0).mean()
        for pitch in (-0.2, 0, 0.2)
    ]
    assert floor[0] > floor[1] > floor[2]
    straight = room.render(Camera(0, 0, 0.6, 0.0), 32, 64)
    turned = room.render(Camera(0, 0, 0.6, np.radians(5)), 32, 64)
    moved = turned.ids[16, 4:] == straight.ids[16, :-4]  # to the left: what is seen moves right
    still = turned.ids[16, 4:] == straight.ids[16, 4:]
    assert moved.mean() > still.mean()


def test_texture_is_band_limited():
    points = np.random.default_rng(0).uniform(-4, 4, (4000, 3))
    normals, ids = np.tile([0.0, 0.0, 1.0], (4000, 1)), np.full(4000, 3)
    spread = [
        texture.luminance(points, normals, ids, np.full(4000, width)).std()
        for width in (1e-4, 0.1, 0.3, 10.0)
    ]
    assert 0.08 < spread[0] < 0.2
    assert spread[0] > spread[1] > spread[2] > 0
    assert spread[3] == 0  # all octaves are finer than two pixels: plain colour
    u = np.linspace(-80, 80, 5001)
    noise = texture.value_noise(u, 0.3 * u)
    assert np.abs(noise).max() <= 1
    assert np.abs(np.diff(noise)).max() < 0.15  # continuous, also across the lattice's period
    np.testing.assert_allclose(texture.value_noise(u + 64, 0.3 * u), noise, atol=1e-5)


def test_enough_structures(runs):
    """4 to 8 scored structures of at least 1% of the first frame in 9 of 10 rooms."""
    counts = np.array([len(structures(run.ids[0])) for run in runs])
    assert ((counts >= 4) & (counts <= 8)).mean() >= 0.9
    for run in runs[:10]:
        found = structures(run.ids[0])
        areas = [(run.ids[0] == value).mean() for value in found]
        assert min(areas) >= 0.01
        assert areas == sorted(areas, reverse=True)
        assert min(found) >= FIRST_STRUCTURE


def share_out_of_view(runs: list[Recording]) -> float:
    """Of the scored structures, those with no pixel left at frame 16; mean over rooms."""
    gone = [
        np.mean([not (run.ids[16] == value).any() for value in structures(run.ids[0])])
        for run in runs
    ]
    return float(np.mean(gone))


def test_most_structures_stay_in_view(runs):
    assert share_out_of_view(runs) <= 0.25


def test_sets_of_rooms_are_disjoint():
    starts = sorted(FIRST_SEED.values())
    assert np.diff(starts).min() >= 10_000_000
    sets = {name: {seed_of(name, k) for k in (0, 1, 9_999_999)} for name in FIRST_SEED}
    assert len(set.union(*sets.values())) == 3 * len(sets) == 12
    with pytest.raises(ValueError, match="got 'tests'"):
        seed_of("tests", 0)
    with pytest.raises(ValueError, match="between 0 and 9,999,999, got 10000000"):
        seed_of("train", 10_000_000)


@pytest.mark.long
def test_the_two_worlds_differ():
    """Other shapes, plans and palettes; moving things in a third of the passive rooms."""
    robot, passive = ([plan_room(k, style) for k in range(200)] for style in ("robot", "passive"))

    def kinds(plans) -> set[str]:
        return {geom.split('type="')[1].split('"')[0] for plan in plans for geom in plan.geoms[2:]}

    assert kinds(robot) == {"box", "cylinder"}
    assert kinds(passive) == {"box", "ellipsoid", "capsule"}  # its boxes are walls
    lengths = [2 * max(plan.half_size) for plan in robot]
    assert min(lengths) >= 10
    assert max(lengths) <= 20
    assert {plan.moving for plan in robot} == {0}
    assert 0.25 < np.mean([plan.moving > 0 for plan in passive]) < 0.42
    hues = [
        np.array([colorsys.rgb_to_hsv(*c)[0] for plan in plans for c in plan.colours[2:].tolist()])
        for plans in (robot, passive)
    ]
    off_grid = [np.abs(h * NUM_HUES - (h * NUM_HUES).round()) for h in hues]
    assert off_grid[0].max() < 1e-6 < 0.2 < off_grid[1].min()


def test_passive_things_move():
    seed = next(k for k in range(50) if plan_room(k, "passive").moving)
    room = Room(seed, "passive")
    before = room.data.geom_xpos.copy()
    room.move(room.data.mocap_pos[:, :2] + 0.5)
    moved = np.abs(room.data.geom_xpos - before).max(1) > 0.4
    assert moved.sum() == room.plan.moving
    assert moved[-room.plan.moving :].all()  # the last geoms, as the plan says


def test_the_simulator_follows_actions():
    run = record(seed_of("test", 1), num_frames=9)
    frames, ids = follow(seed_of("test", 1), run.cameras[0, [0, 1, 3]], run.realised)
    assert np.abs(frames.astype(int) - run.frames).mean() < 0.5  # poses are stored in float32
    assert (ids == run.ids).mean() > 0.995
    wrong = follow(seed_of("test", 1), run.cameras[0, [0, 1, 3]], -run.realised)[1]
    assert (wrong[8] == run.ids[8]).mean() < 0.9


def test_outside_the_hall_is_floor():
    """A wrong action sequence leaves the hall; rays that meet nothing are no structure."""
    actions = np.tile([3.0, 0.0, 0.3], (12, 1))
    frames, ids = follow(seed_of("test", 0), np.zeros(3), actions)
    assert ids.max() < NUM_HUES + FIRST_STRUCTURE
    assert hsv(frames[ids == 0])[:, 1].max() < 0.15


def picture(columns: int = 64) -> np.ndarray:
    """Luminance (32, columns): dark on the left, bright on the right."""
    return np.linspace(0, 255, columns)[None].repeat(32, 0)


def test_papers_show_the_picture_where_it_hangs():
    """On a wall seen from near: brighter towards the right end, the mean is kept."""
    papers = texture.Papers([picture()])
    u = np.linspace(0.01, 3.99, 200)  # a picture of 64 x 32 texels is 4 m wide
    points = np.stack([u, np.zeros(200), np.full(200, 0.7)], 1)
    normals = np.tile([0.0, 1.0, 0.0], (200, 1))
    ids = np.full(200, 3)
    near = papers.luminance(points, normals, ids, np.full(200, 0.001))
    assert np.corrcoef(near, u)[0, 1] > 0.999
    assert abs(near.mean() - 1) < 0.01
    assert near.std() == pytest.approx(0.22, rel=0.02)
    again = papers.luminance(points + np.array([4.0, 0, 2.0]), normals, ids, np.full(200, 0.001))
    np.testing.assert_allclose(again, near)  # repeated across and up


def test_papers_do_not_alias():
    """Stripes finer than a pixel on the surface turn into their mean."""
    stripes = np.tile([0.0, 255.0], 64)[None].repeat(64, 0)
    papers = texture.Papers([stripes])
    points = np.random.default_rng(0).uniform(0, 4, (500, 3))
    normals, ids = np.tile([1.0, 0.0, 0.0], (500, 1)), np.full(500, 2)
    far = papers.luminance(points, normals, ids, np.full(500, 0.3))
    near = papers.luminance(points, normals, ids, np.full(500, 0.004))
    assert far.std() < 0.02 < 0.15 < near.std()


def test_structures_carry_different_pictures():
    papers = texture.Papers([picture(), 255 - picture()])
    points = np.stack([np.linspace(0.1, 3.9, 50), np.zeros(50), np.ones(50)], 1)
    normals, pixel = np.tile([0.0, 1.0, 0.0], (50, 1)), np.full(50, 0.001)
    one, other = (papers.luminance(points, normals, np.full(50, k), pixel) for k in (2, 3))
    assert np.corrcoef(one, other)[0, 1] < -0.999


def test_a_narrow_picture_has_fewer_levels():
    """Seen from far away, a narrow and a wide one both turn into their mean."""
    narrow = np.linspace(0, 255, 64)[:, None].repeat(4, 1)
    papers = texture.Papers([picture(), narrow])
    assert len(papers.pyramids[0]) > len(papers.pyramids[1])
    points = np.random.default_rng(0).uniform(0, 4, (400, 3))
    normals, ids = np.tile([0.0, 1.0, 0.0], (400, 1)), np.arange(400)
    far = papers.luminance(points, normals, ids, np.full(400, 5.0))
    assert 0.4 <= far.min() <= far.max() <= 1.6


def test_papers_of_a_folder_are_its_pictures_in_grey(tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    write_image(tmp_path / "a.png", frame)
    write_image(tmp_path / "b.png", frame.repeat(2, 1))
    papers = texture.load_papers(str(tmp_path))
    grey = frame @ np.array([0.299, 0.587, 0.114])
    expected = texture.Papers([grey, grey.repeat(2, 1)])
    for found, wanted in zip(papers.pyramids, expected.pyramids, strict=True):
        np.testing.assert_allclose(found[0], wanted[0], atol=0.01)


def test_a_damaged_paper_is_named(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"b\.png: not a readable picture"):
        texture.load_papers(str(tmp_path))
