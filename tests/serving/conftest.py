"""Servers of a tiny model, and a picture to walk in."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from egowm.serving.served import Served
from egowm.video import encode_image
from tests.serving.running import Running


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts servers, which end with the test."""
    running: list[Running] = []

    def begin(*arguments: Any, **options: Any) -> Running:
        running.append(Running(*arguments, **options))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture
def server(start, obedient) -> Running:
    """Of the tiny model, which makes 4 frames of 16x16 at once; walks begin in a room."""
    return start(Served(obedient, (16, 16), name="tiny"))


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)


@pytest.fixture
def file(picture) -> str:
    """The picture as a PNG in base64."""
    return base64.b64encode(encode_image(picture)).decode()
