"""`val/scs`: the score of imagined validation clips, logged and shared out over processes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer

from egowm.data import Rooms, Window
from egowm.scs import score_folders
from egowm.scs.masks import write_palette
from egowm.scs.metric import SCS
from egowm.training.structure import StructureScore
from egowm.video import write_frames
from egowm.world_model import Rollout, WorldModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.fixture
def rooms(tmp_path) -> Rooms:
    window = Window(horizon=1, height=64, width=64)
    episodes = {"episodes_train": 1, "episodes_val": 3, "episodes_test": 1, "num_frames": 9}
    data = Rooms(str(tmp_path / "rooms"), window, batch_size=4, **episodes)
    data.prepare_data()
    data.setup("fit")
    return data


def frozen(self, context, actions, how, **options) -> Rollout:
    """The first frame, repeated."""
    frames = context[:, -1:].expand(-1, actions.shape[1], -1, -1, -1).float() / 255
    return Rollout(frames, frames, 0)


def trainer_of(data, rank=0, world_size=1) -> SimpleNamespace:
    return SimpleNamespace(
        sanity_checking=False, datamodule=data, global_rank=rank, world_size=world_size
    )


def logged(score, model, trainer, monkeypatch) -> dict[str, float]:
    found = {}
    monkeypatch.setattr(model, "log", lambda name, value, **how: found.update({name: float(value)}))
    score.on_validation_epoch_end(trainer, model)
    return found


@pytest.mark.long
def test_it_is_the_score_of_the_folders(rooms, world_model, tmp_path, monkeypatch):
    """Three clips of 4 frames, one of each room, as `egowm-scs` would score them."""
    monkeypatch.setattr(WorldModel, "rollout", frozen)
    score = StructureScore(clips=3, horizon=4)
    found = logged(score, world_model, trainer_of(rooms), monkeypatch)
    windows = score.data.windows("val", tiled=True)
    for k in range(3):
        clip = windows[k * len(windows) // 3]
        frames = clip.frames.permute(0, 2, 3, 1).numpy()
        write_frames(tmp_path / "gt" / clip.name, frames)
        write_frames(tmp_path / "pred" / clip.name, frames[:1].repeat(5, 0))
        write_palette(tmp_path / "drawn" / f"{clip.name}.png", rooms.annotation(clip.name))
    folders = tmp_path / "pred", tmp_path / "gt", tmp_path / "drawn"
    want = score_folders(*folders, tracker="palette").prediction.summary
    assert 5 < want.scs < 99
    assert found["val/scs"] == pytest.approx(want.scs, abs=1e-3)
    assert found["val/scs_davis"] == pytest.approx(want.scs_davis, abs=1e-3)
    assert found["val/scs_visible"] == pytest.approx(want.scs_visible, abs=1e-3)
    drawn = StructureScore(clips=3, horizon=4, annotations=str(tmp_path / "drawn"))
    assert logged(drawn, world_model, trainer_of(rooms), monkeypatch) == found


def test_processes_share_the_clips_and_repeat_what_is_missing(rooms, world_model, monkeypatch):
    """Two processes, three clips: two each, and the number that comes again counts once."""
    monkeypatch.setattr(WorldModel, "rollout", frozen)
    metrics = []
    for rank in (0, 1, None):
        numbers, update = [], SCS.update

        def watched(self, *masks, numbers=numbers, update=update, **options):
            numbers.append(options["clip"])
            update(self, *masks, **options)

        with monkeypatch.context() as patched:
            patched.setattr(SCS, "update", watched)
            size = (0, 1) if rank is None else (rank, 2)
            score = StructureScore(clips=3, horizon=4)
            logged(score, world_model, trainer_of(rooms, *size), patched)
        metrics.append(numbers)
    assert metrics == [[0, 2], [1, 0], [0, 1, 2]]


def test_it_is_logged_in_a_fit(rooms, world_model, tmp_path):
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=1,
        val_check_interval=1,
        limit_val_batches=1,
        num_sanity_val_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[StructureScore(clips=1, horizon=2, steps=1)],
    )
    trainer.fit(world_model, rooms)
    assert 0 <= trainer.callback_metrics["val/scs"] <= 100


def test_a_longer_context_is_annotated_at_its_last_frame(rooms):
    name = rooms.windows("val", tiled=True)[0].name
    later = Rooms(rooms.root, Window(context=5, horizon=1, height=64, width=64), num_frames=9)
    episode, start = name.rsplit("_", 1)
    np.testing.assert_array_equal(
        later.annotation(name), rooms.annotation(f"{episode}_{int(start) + 4:05d}")
    )
    assert (later.annotation(name) != rooms.annotation(name)).any()


def test_what_cannot_be_scored_is_refused(rooms, world_model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"at least 1 clip .* got 0 and 0"):
        StructureScore(clips=0)
    with pytest.raises(ValueError, match="'masks' reads masks from disk"):
        StructureScore(tracker="masks")
    with pytest.raises(ValueError, match=r"data module of egowm\.data, got NoneType"):
        StructureScore().on_validation_epoch_end(trainer_of(None), world_model)
    monkeypatch.setattr(WorldModel, "rollout", frozen)
    rooms.annotation = None
    with pytest.raises(ValueError, match="Rooms does not know the structures of room_"):
        StructureScore(horizon=4).on_validation_epoch_end(trainer_of(rooms), world_model)


def test_nothing_to_judge_is_said(rooms, world_model, monkeypatch, caplog):
    monkeypatch.setattr(WorldModel, "rollout", frozen)
    empty = {f"val/{name}": torch.tensor(torch.nan) for name in ("scs", "scs_davis", "scs_visible")}
    monkeypatch.setattr(
        SCS, "compute", lambda self: {k.removeprefix("val/"): v for k, v in empty.items()}
    )
    score = StructureScore(clips=1, horizon=2)
    assert logged(score, world_model, trainer_of(rooms), monkeypatch) == {}
    assert "val/scs is undefined" in caplog.text
