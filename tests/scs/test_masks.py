import numpy as np
import pytest
from PIL import Image

from egowm.scs.masks import davis_palette, read_masks, read_palette, resize_nearest, write_palette


def labels(size=8):
    found = np.zeros((size, size), np.uint8)
    found[:2], found[2:4], found[4, 4] = 1, 7, 255
    return found


def test_palette_png_keeps_ids(tmp_path):
    write_palette(tmp_path / "a.png", labels())
    np.testing.assert_array_equal(read_palette(tmp_path / "a.png"), labels())
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((0, 0)) == (128, 0, 0)  # id 1 in DAVIS


def test_palette_of_davis():
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert davis_palette()[:5].tolist() == first
    assert davis_palette()[8].tolist() == [64, 0, 0]
    assert davis_palette()[255].tolist() == [224, 224, 192]


def test_few_colours_are_read_as_ids_too(tmp_path):
    """Other tools store few ids in 1, 2 or 4 bits per pixel."""
    image = Image.fromarray(labels() % 4)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", bits=2)
    np.testing.assert_array_equal(read_palette(tmp_path / "a.png"), labels() % 4)


def test_folder_is_read_in_natural_order(tmp_path):
    for t in range(11):
        frame = np.zeros((4, 4), np.uint8)
        frame[0, 0], frame[1, :2] = 1, 3
        frame[3] = (t == 10) * 3
        write_palette(tmp_path / f"{t}.png", frame)
    found = read_masks(tmp_path)
    assert found.ids == (1, 3)
    assert found.masks.shape == (11, 2, 4, 4)
    assert found.masks[:, 1].sum((1, 2)).tolist() == [2] * 10 + [6]


def test_void_is_no_object(tmp_path):
    write_palette(tmp_path / "a.png", labels())
    found = read_masks(tmp_path / "a.png")
    assert found.ids == (1, 7)
    assert np.argwhere(found.void[0]).tolist() == [[4, 4]]


def test_wanted_ids_may_be_absent(tmp_path):
    write_palette(tmp_path / "a.png", labels())
    assert read_masks(tmp_path / "a.png", [7, 9]).masks.sum((0, 2, 3)).tolist() == [16, 0]


def test_npz_keeps_masks_that_overlap(tmp_path):
    masks = np.random.default_rng(0).random((3, 2, 5, 6)) < 0.5
    np.savez(tmp_path / "a.npz", masks=masks, ids=[4, 2])
    np.testing.assert_array_equal(read_masks(tmp_path / "a.npz").masks, masks)
    found = read_masks(tmp_path / "a.npz", [2, 3])
    np.testing.assert_array_equal(found.masks[:, 0], masks[:, 1])
    assert not found.masks[:, 1].any()
    np.savez(tmp_path / "b.npz", masks=masks[0])
    assert read_masks(tmp_path / "b.npz").ids == (1, 2)


def test_resize_takes_the_nearest_pixel():
    mask = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(resize_nearest(mask, 6, 8), mask.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resize_nearest(resize_nearest(mask, 9, 12), 3, 4), mask)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_colours_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"a\.png: expected a palette PNG .* got mode {mode}"):
        read_palette(tmp_path / "a.png")


def test_unreadable_masks_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a readable picture"):
        read_masks(tmp_path / "a.png")
    write_palette(tmp_path / "b.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="no object in the first frame"):
        read_masks(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError, match="no masks here"):
        read_masks(tmp_path / "c")
    np.savez(tmp_path / "d.npz", labels=np.zeros(3))
    with pytest.raises(ValueError, match="expected an array `masks`"):
        read_masks(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", masks=np.zeros((3, 4, 5)))
    with pytest.raises(ValueError, match="bool"):
        read_masks(tmp_path / "e.npz")
    write_palette(tmp_path / "f" / "0.png", labels(8))
    write_palette(tmp_path / "f" / "1.png", labels(9))
    with pytest.raises(ValueError, match="one size, got 8x8, 9x9"):
        read_masks(tmp_path / "f")
    with pytest.raises(ValueError, match="uint8"):
        write_palette(tmp_path / "g.png", np.zeros((4, 4)))
