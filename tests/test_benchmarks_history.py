"""The comparison of pasts: what each network reads, and the table's paired differences."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from benchmarks.experiment import history
from benchmarks.experiment.room_clips import RoomClips
from benchmarks.measure import provenance
from benchmarks.tables.history import history as table_of
from egowm.clip import Clip


def test_the_pasts_are_as_long_as_unisim_says():
    pasts = history.PASTS.items()
    read = {name: list(range(0, -past.context, -past.context_stride)) for name, past in pasts}
    assert read == {
        "1 frame": [0],
        "4 recent frames": [0, -1, -2, -3],
        "4 distant frames": [0, -4, -8, -12],
    }


@pytest.mark.long
def test_trained_on_clips_of_one_length_and_scored_on_first_frames(tmp_path):
    """All pasts are trained on the same clips; the first loss does not see later frames."""
    data = history.rooms(2, 2)
    data.root = str(tmp_path)
    data.counts |= {"val": 1}
    data.batch_size = 2
    seen = []
    for past in history.PASTS.values():
        model, row = history.train(past, data, 1, seed=0)
        assert row["steps"] == 1
        assert model.num_context == past.context
        seen.append(row["train_loss"])
    assert max(seen) - min(seen) < 1e-3  # networks that begin without effect
    clips = RoomClips(data, 2, history.HORIZON)
    clip = clips.clips[0]
    assert len(clip.frames) == history.LONGEST + history.HORIZON
    found = history.first_loss(model, clip)
    later = clip.frames.clone()
    later[history.LONGEST + 1 :] = 0
    assert history.first_loss(model, clip._replace(frames=later)) == found
    later[history.LONGEST] = 0
    assert history.first_loss(model, clip._replace(frames=later)) != found
    batch = Clip(*default_collate([clip]))
    assert torch.equal(batch.frames[0], clip.frames)


def test_differences_are_paired_by_clip(tmp_path):
    record = provenance(0, "cpu", (), ["benchmarks/experiment/history.py"])
    ours = np.linspace(20, 30, 12)
    base = {"seed": 0, "steps": 7}
    rows = [
        {"row": "last frame, repeated", "psnr_1": 20.0, "each": {"psnr_1": [20.0] * 12}},
        {"row": "1 frame", "psnr_1": 25.0, "each": {"psnr_1": list(ours)}} | base,
        {"row": "4 recent frames", "psnr_1": 26.5, "each": {"psnr_1": list(ours + 1.5)}} | base,
    ]
    (tmp_path / "history.json").write_text(json.dumps(record | {"rows": rows}))
    lines = table_of(tmp_path).splitlines()
    assert lines[2].split("|")[3].strip() == "20.0"
    assert lines[3].split("|")[3].strip() == "25.0"
    assert lines[4].split("|")[3].strip() == "26.5 (+1.5, +1.5 to +1.5)"
    assert "7 steps of 16 clips each" in lines[6]


def test_nothing_measured_yet(tmp_path):
    assert "not yet measured" in table_of(tmp_path)
