import json
from pathlib import Path

import numpy as np
import pytest

from egowm.data.polygons import coverage, draw_overlay, read_polygons, write_annotations
from egowm.scs.masks import read_masks, read_palette

DRAWN = Path(__file__).parents[2] / "recipes" / "annotations" / "donkeycar"
SQUARE = [[2, 1], [6, 1], [6, 4], [2, 4]]


def write(file: Path, structures: list[dict[str, object]]) -> Path:
    clips = {"clip_00000": {"frame": 7, "structures": structures}}
    file.write_text(json.dumps({"size": [8, 10], "clips": clips}))
    return file


def test_edges_lie_between_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [{"name": "box", "parts": [SQUARE]}])
    (drawing,) = read_polygons(path).values()
    assert (drawing.size, drawing.frame) == ((8, 10), 7)
    expected = np.zeros((8, 10), np.uint8)
    expected[1:4, 2:6] = 1
    assert np.array_equal(drawing.labels(8, 10), expected)
    assert np.array_equal(drawing.labels(16, 20), expected.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(drawing.labels(8, 20), expected.repeat(2, 1))


def test_area_is_kept_at_every_size() -> None:
    """A circle of radius 30 covers pi 900 square pixels; rounding outwards would add about 94."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = 50 + 30 * np.stack([np.cos(angle), np.sin(angle)], -1)
    for size in (25, 50, 100, 300):
        share = coverage([circle * size / 100], size, size).mean()
        assert share == pytest.approx(np.pi * 0.09, rel=0.02)


def test_parts_holes_and_what_lies_in_front(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.json",
        [
            {"name": "line", "parts": [[[0, 6], [3, 6], [3, 8], [0, 8]], SQUARE]},
            {"name": "cone", "parts": [[[5, 0], [8, 0], [8, 3], [5, 3]]]},
        ],
    )
    labels = read_polygons(path)["clip_00000"].labels(8, 10)
    assert (labels == 1).sum() == 6 + 12 - 2
    assert (labels == 2).sum() == 9
    assert labels[2, 5] == 2


def test_annotations_are_what_scoring_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [{"name": "box", "parts": [SQUARE]}])
    write_annotations(path, tmp_path / "masks", 16, 20)
    found = read_masks(tmp_path / "masks" / "clip_00000.png")
    assert found.ids == (1,)
    assert found.masks.sum() == 48


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ([[1, 1], [2, 2]], r"clip_00000: box: expected 3 or more points x, y, got \(2, 2\)"),
        ([[1, 1], [2, 2], [11, 3]], "clip_00000: box: a point lies outside the 10x8 picture"),
        ([[1, 1], [2, 2], [-1, 3]], "a point lies outside"),
    ],
)
def test_bad_polygons_are_named(tmp_path: Path, part: list[list[int]], message: str) -> None:
    path = write(tmp_path / "p.json", [{"name": "box", "parts": [part]}])
    with pytest.raises(ValueError, match=message):
        read_polygons(path)


def test_overlay_outlines_and_names() -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[4:16, 5:25] = 1
    frame = np.full((20, 30, 3), 90, np.uint8)
    picture = draw_overlay(frame, labels, ["box"], scale=4)
    assert picture.shape == (80 + 20, 120, 3)
    assert (picture[16, 20:100] == (255, 0, 255)).all()  # the upper edge, in magenta
    assert (picture[:15, :] == 90).all()
    assert (picture[80:] != 24).any()


def test_committed_masks_match_their_polygons() -> None:
    drawings = read_polygons(DRAWN / "polygons.json")
    assert len(drawings) == 6
    for clip, drawing in drawings.items():
        labels = drawing.labels(120, 160)
        assert np.array_equal(read_palette(DRAWN / f"{clip}.png"), labels)
        small = drawing.labels(60, 80)
        for number in range(1, len(drawing.structures) + 1):
            assert (labels == number).sum() >= 50
            assert (small == number).sum() >= 10


@pytest.mark.real_data
def test_committed_masks_are_named_as_the_clips(shared_data: Path) -> None:
    from egowm.data.donkey_tub import DonkeyTub
    from egowm.data.module import Window
    from egowm.video import read_image

    root = shared_data / "donkeycar_tub"
    window = Window(context=1, horizon=8, stride=4, height=120, width=160)
    clips = DonkeyTub(str(root), window, latency_frames=4).windows("test", tiled=True)
    drawings = read_polygons(DRAWN / "polygons.json")
    assert [clips[k].name for k in range(len(clips))] == list(drawings)
    for k, drawing in enumerate(drawings.values()):
        picture = read_image(root / "images" / f"{drawing.frame}_cam_image_array_.jpg")
        assert np.array_equal(clips[k].frames[0].permute(1, 2, 0), picture)
