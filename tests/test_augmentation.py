"""Mirrored and paused clips: what changes, what stays, and where neither is known."""

import pytest
import torch

from egowm.actions import ActionSpec
from egowm.augmentation import Augmentation
from egowm.clip import Clip, Encodings
from egowm.data.normalisers import WHEELED
from egowm.world_model import WorldModel
from egowm.worlds.recording import follow

STEERED = ActionSpec(("angle", "throttle"), ("1", "1"), "command", "command", rate_hz=20.0)


@pytest.fixture
def clip():
    frames = torch.randint(0, 256, (64, 4, 3, 2, 2), dtype=torch.uint8)
    none = torch.zeros(64, 0)
    return Clip(
        frames, torch.ones(64, 2, 3), torch.ones(64, 1, 3), none, [""] * 64, ["a"] * 64, ["b"] * 64
    )


def test_without_shares_a_clip_stays_as_it_is(clip):
    assert Augmentation().apply(clip, WHEELED) is clip


def test_a_mirrored_clip_has_left_and_right_exchanged(clip):
    seen = Augmentation(mirrored=1.0).apply(clip, WHEELED)
    assert torch.equal(seen.frames, clip.frames.flip(-1))
    for actions in (seen.actions, seen.past_actions):
        assert actions.unique(dim=1).squeeze(1).unique(dim=0).tolist() == [[1.0, -1.0, -1.0]]


def test_a_paused_robot_sees_one_frame_and_is_told_not_to_move(clip):
    seen = Augmentation(paused=1.0).apply(clip, WHEELED)
    assert (seen.frames == clip.frames[:, :1]).all()
    assert not seen.actions.any()
    assert not seen.past_actions.any()


def test_a_share_of_the_clips_is_changed_and_the_rest_is_untouched(clip):
    torch.manual_seed(0)
    seen = Augmentation(mirrored=0.25, paused=0.5).apply(clip, WHEELED)
    still = (seen.actions == 0).all((1, 2))
    turned = (seen.actions[:, :, 2] == -1).all(1)
    same = ~(still | turned)
    assert 16 < still.sum() < 48
    assert 0 < turned.sum() < 24
    assert torch.equal(seen.frames[same], clip.frames[same])
    assert torch.equal(seen.actions[same], clip.actions[same])


def test_steering_has_the_other_sign_in_a_mirror(clip):
    steered = clip._replace(actions=torch.ones(64, 2, 2), past_actions=torch.ones(64, 1, 2))
    seen = Augmentation(mirrored=1.0).apply(steered, STEERED)
    assert seen.actions[0].tolist() == [[-1.0, 1.0]] * 2


def test_the_mirrored_picture_moves_as_the_mirrored_actions_say():
    """Two frames of a real turn: their mirror images shift to the other side."""
    frames, _ = follow(20_000_000, torch.zeros(3).numpy(), torch.tensor([[0.0, 0.0, 0.1]]).numpy())

    def shift(pair):
        rows = pair.astype(float).mean((1, 3))
        offsets = range(-12, 13)
        errors = [((rows[1, 12:-12] - rows[0, 12 + k : 64 - 12 + k]) ** 2).mean() for k in offsets]
        return offsets[int(torch.tensor(errors).argmin())]

    assert shift(frames) < 0  # a left turn moves the picture to the right
    assert shift(frames[:, :, ::-1]) == -shift(frames)


@pytest.mark.parametrize(
    ("shares", "change", "meaning", "words"),
    [
        ({"mirrored": 0.5}, {"state": torch.ones(64, 2)}, WHEELED, "augmentation.mirrored 0"),
        ({"paused": 0.5}, {}, STEERED, "zero command .angle, throttle."),
        (
            {"paused": 0.5},
            {"encodings": Encodings(torch.ones(64, 4, 4, 1, 1))},
            WHEELED,
            "latent cache",
        ),
    ],
)
def test_what_has_no_mirror_image_or_no_pause_is_refused(clip, shares, change, meaning, words):
    with pytest.raises(ValueError, match=words):
        Augmentation(**shares).apply(clip._replace(**change), meaning)


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="Expected paused, a share of clips"):
        Augmentation(paused=1.5)


def test_only_training_clips_are_changed(tiny_prior, spec, clip, monkeypatch):
    from egowm.backbones import SVD

    model = WorldModel(SVD(str(tiny_prior)), augmentation=Augmentation(paused=1.0), spec=spec)
    seen = []

    def loss(clip, generator=None):
        seen.append(clip)
        return torch.zeros(()), {}

    monkeypatch.setattr(model, "loss", loss)
    monkeypatch.setattr(model, "log", lambda *args, **kwargs: None)
    model.training_step(clip, 0)
    model.validation_step(clip, 0)
    assert not seen[0].actions.any()
    assert seen[1] is clip
