"""Folders that are linked into themselves: the search for clips ends, and finds each once. Pipes in
place of clips are named."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from egowm.scs.annotation.annotations import find_annotations, read_annotation
from egowm.scs.clips import find_clips
from egowm.video import write_frames

FRAMES = np.zeros((2, 8, 8, 3), np.uint8)


def twice_into_itself(root: Path) -> None:
    for name in ("here", "there"):
        (root / "some" / name).symlink_to(root / "some")


def to_the_root(root: Path) -> None:
    for name in ("0", "some/up", "some/more/up"):
        (root / name).symlink_to(root)


def above_the_root(root: Path) -> None:
    (root / "some/up").symlink_to(root.parent)


def each_to_the_others(root: Path) -> None:
    for k in range(12):
        (root / f"f{k}").mkdir()
        for other in range(12):
            (root / f"f{k}/to{other}").symlink_to(root / f"f{other}")


def outside_and_back(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    for name in ("a", "b"):
        (outside / name).symlink_to(root / "some")
        (outside / f"{name}-again").symlink_to(outside)
        (root / f"out-{name}").symlink_to(outside)


def broken(root: Path) -> None:
    (root / "none").symlink_to(root / "nothing")
    (root / "itself").symlink_to(root / "itself")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "link",
    [twice_into_itself, to_the_root, above_the_root, each_to_the_others, outside_and_back, broken],
)
def test_links_in_circles(link: Callable[[Path], None], tmp_path: Path) -> None:
    root = tmp_path / "root"
    expected = {"one", "some/two", "some/more/three"}
    for name in expected:
        write_frames(root / name, FRAMES)
    link(root)
    assert set(find_clips(root)) == expected


def test_a_clip_may_be_a_link(tmp_path: Path) -> None:
    write_frames(tmp_path / "elsewhere/a", FRAMES)
    write_frames(tmp_path / "root/b", FRAMES)
    (tmp_path / "root/a").symlink_to(tmp_path / "elsewhere/a")
    (tmp_path / "root/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/c").symlink_to("b")
    assert set(find_clips(tmp_path / "root")) == {"a", "b", "c", "more/a"}


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_clip_or_an_annotation(tmp_path: Path) -> None:
    write_frames(tmp_path / "a", FRAMES)
    for name in ("b.mp4", "a.png"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=r"b\.mp4: expected an ordinary file, got a pipe"):
        find_clips(tmp_path)
    found = find_annotations(tmp_path, ["a"])
    with pytest.raises(ValueError, match=r"a\.png: expected an ordinary file, got a pipe"):
        read_annotation(found["a"], (8, 8))
