"""The announced layout of a run gives the score of the run."""

import numpy as np
import pytest

from egowm.evaluation.announced import write_announced
from egowm.scs import score_folders
from egowm.scs.masks import write_palette
from egowm.video import write_frames


def test_a_run_in_the_announced_layout(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.zeros((16, 16), np.uint8)
    labels[2:9, 3:12] = 1
    for name in ("room_7_00032", "picture"):
        for half in ("gt", "pred"):
            write_frames(tmp_path / half / name, rng.integers(0, 255, (4, 16, 16, 3), np.uint8))
        write_palette(tmp_path / "annotations" / f"{name}.png", labels)
    output = tmp_path / "announced"
    assert write_announced(tmp_path, output) == 2
    with pytest.raises(FileExistsError):
        write_announced(tmp_path, output)
    files = {path.relative_to(output).as_posix() for path in (output / "room_7").rglob("*.png")}
    frames = {f"room_7/32_35/{half}/frames/f_{k}.png" for half in ("GT", "pred") for k in (1, 2, 3)}
    assert files == {"room_7/32_35/f_32.png"} | frames
    drawn = tmp_path / "announced_annotations"
    found = score_folders(output, output, drawn, tracker="flow")
    want = score_folders(tmp_path / "pred", tmp_path / "gt", tmp_path / "annotations",
                         tracker="flow")  # fmt: skip
    assert [clip.name for clip in found.clips] == ["picture/0_3", "room_7/32_35"]
    assert [clip.trajectory for clip in found.clips] == ["picture", "room_7"]
    scores = [[clip.score() for clip in result.clips] for result in (found, want)]
    np.testing.assert_array_equal(*scores)
