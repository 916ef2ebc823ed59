"""Pictures that are unlike those that a model learned from are called so, others are not."""

import numpy as np
import pytest

from egowm.serving.domain import Domain, features
from egowm.video import read_image, resize
from egowm.worlds import Camera, Room
from egowm.worlds.motion import find_start

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
RAMP = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (64, 64, 3))


def seen_in(seed: int, **style: str) -> np.ndarray:
    room = Room(seed, **style)
    x, y, yaw = find_start(room, np.random.default_rng([seed, 7]))
    return room.render(Camera(x, y, 0.6, yaw)).rgb


def test_unseen_rooms_are_within():
    rooms = Domain.of_rooms()
    found = [rooms.unlike(seen_in(seed)) for seed in range(20_000_500, 20_000_512)]
    assert sum(one is not None for one in found) <= 1


@pytest.mark.parametrize(
    "picture",
    [
        np.full((64, 64, 3), (0, 160, 0), np.uint8),
        np.full((64, 64, 3), 128, np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        NOISE,
        RAMP.copy(),
    ],
    ids=["green", "grey", "black", "noise", "ramp"],
)
def test_pictures_of_nothing_are_outside(picture):
    said = Domain.of_rooms().unlike(picture)
    assert said is not None
    assert "unlike those that the model learned from (rooms drawn by a simulator)" in said
    assert float(said.split("simulator): ")[1].split(" times")[0]) > 2


@pytest.mark.real_data
def test_paintings_and_photographs_are_outside(shared_data):
    rooms = Domain.of_rooms()
    paths = [*shared_data.glob("paintings/*.jpg"), *shared_data.glob("paintings/*.png")]
    paths += sorted(shared_data.glob("donkeycar_tub/**/*.jpg"))[::200]
    assert len(paths) > 6
    for path in paths:
        assert rooms.unlike(resize(read_image(path)[None], 64, 64)[0]) is not None, path


@pytest.mark.long
def test_the_limit_lets_ninety_nine_of_a_hundred_through():
    """Of pictures that were drawn as those on which it was measured."""
    rng = np.random.default_rng(0)

    def drawn(count: int) -> list[np.ndarray]:
        slope = np.linspace(0, 1, 32)[:, None, None]
        bases = rng.uniform(60, 160, (count, 1, 1, 3)) + slope * rng.uniform(
            10, 60, (count, 1, 1, 1)
        )
        noise = rng.normal(0, rng.uniform(3, 9, (count, 1, 1, 1)), (count, 32, 32, 3))
        return list((bases + noise).clip(0, 255).astype(np.uint8))

    found = Domain.of(drawn(400), "slopes")
    outside = np.mean([found.unlike(one) is not None for one in drawn(400)])
    assert outside < 0.04
    assert found.unlike(NOISE) is not None


def test_features_are_of_the_picture_alone():
    small = NOISE[:32, :32]
    large = small.repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(features(small), features(large), atol=1e-9)
    assert np.isfinite(features(np.zeros((1, 1, 3), np.uint8))).all()
    assert features(small).shape == (28,)


def test_few_pictures_make_no_domain():
    with pytest.raises(ValueError, match="at least 40 pictures like those"):
        Domain.of([NOISE] * 39, "noise")


def test_a_record_is_the_domain():
    found = Domain.of([seen + np.uint8(k) for k, seen in enumerate([NOISE // 2] * 40)], "x")
    record = found.record()
    again = Domain(np.array(record["mean"]), np.array(record["whitening"]), record["limit"], "x")
    assert again.distance(NOISE) == pytest.approx(found.distance(NOISE), rel=1e-2)
