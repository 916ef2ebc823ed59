"""I-JEPA: masks, a loss by hand, gradients, runs that go on, exports that transformers opens."""

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel

from egowm import Encoder
from egowm.commands import main as cli
from egowm.encoder import standardised
from egowm.encoders import IJEPA, spread
from egowm.encoders.base import follow
from egowm.encoders.crops import random_crops
from egowm.encoders.masks import multi_block
from egowm.encoders.positions import sine_cosine
from egowm.training.checkpoints import read_checkpoint
from tests.encoders.conftest import SIZE, SMALL, ijepa

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loud(model: IJEPA) -> None:
    """Weights with which predictions differ."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)


# Masks --------------------------------------------------------------------------------------------


def test_blocks_have_the_papers_sizes_and_never_meet_the_context():
    """ViT-H/14 at 224: 16 patches along a side. Rounding moves a side by half a patch at most."""
    side, heights, places = 16, set(), torch.zeros(16 * 16)
    for seed in range(40):
        masks = multi_block(side, 6, seeded(seed))
        for context, seen, targets in zip(*masks, strict=True):
            kept = set(context[seen].tolist())
            assert len(kept) == seen.sum() >= 10
            assert not kept & set(targets.flatten().tolist())
            for block in targets:
                rows, columns = block // side, block % side
                height, width = (int(x.max() - x.min()) + 1 for x in (rows, columns))
                assert len(set(block.tolist())) == height * width == len(block)
                assert (height + 0.5) * (width + 0.5) >= 0.15 * 256
                assert (height - 0.5) * (width - 0.5) <= 0.2 * 256
                assert (height + 0.5) / (width - 0.5) >= 0.75
                assert (height - 0.5) / (width + 0.5) <= 1.5
                heights.add(height)
                places[block] += 1
            hidden = 256 - len(kept | set(targets.flatten().tolist()))
            assert hidden <= 256 - 15**2  # what lies outside a context block of 0.85 or more
    assert heights == {6, 7, 8}
    assert (places > 0).all()  # corners, too


def test_a_small_grid_keeps_ten_patches_of_context():
    masks = multi_block(8, 200, seeded())
    counts = masks.seen.sum(1)
    assert counts.min() >= 10
    assert counts.max() == masks.context.shape[1] > counts.min()
    again = multi_block(8, 200, seeded())
    assert all(torch.equal(x, y) for x, y in zip(masks, again, strict=True))
    with pytest.raises(ValueError, match=r"at least 10 of 9 patches beside the targets"):
        multi_block(3, 1)


# The loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"loss": "l2"}, {"targets": "pixels"}])
def test_the_loss_by_hand(options, frames):
    """Picture by picture, block by block, without padding: the equations of section 3."""
    model = ijepa(**options).eval()
    loud(model)
    masks, errors = multi_block(6, len(frames), seeded(3)), []
    for k, frame in enumerate(standardised(frames)):
        context = masks.context[k][masks.seen[k]]
        hidden = model.student.embeddings(frame[None])[:, context]
        for layer in model.student.layers:
            hidden = layer(hidden)
        known = model.predictor.enter(model.student.layernorm(hidden))
        wanted = model.teacher(frame[None]).last_hidden_state[0]
        if model.targets == "pixels":
            cells = frame.unfold(1, 4, 4).unfold(2, 4, 4)  # (3, 6, 6, 4, 4)
            wanted = cells.permute(1, 2, 0, 3, 4).reshape(36, 48)
        wanted = (wanted - wanted.mean(1, keepdim=True)) / (
            wanted.var(1, correction=0, keepdim=True) + 1e-6
        ).sqrt()
        places = sine_cosine(8, 6)
        for block in masks.targets[k]:
            asked = (model.predictor.token + places[block])[None]
            hidden = torch.cat([known + places[context], asked], 1)
            for layer in model.predictor.layers:
                hidden = layer(hidden)
            made = model.predictor.leave(model.predictor.norm(hidden[0, -len(block) :]))
            off = (made - wanted[block]).abs()
            smooth = torch.where(off < 1, 0.5 * off**2, off - 0.5)
            errors.append((off**2 if model.loss == "l2" else smooth).mean())
    loss, _ = model.losses(frames, seeded(3))
    torch.testing.assert_close(loss, torch.stack(errors).mean(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("targets", ["features", "pixels"])
def test_no_gradient_reaches_the_teacher_and_every_trained_weight_has_one(targets, frames):
    model = ijepa(targets=targets)
    model.losses(frames, seeded())[0].backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.any()]
    assert [n for n in lacking if "k_proj.bias" not in n] == []  # which attention cannot see
    assert not model.student.embeddings.position_embeddings.requires_grad


def test_what_the_context_hides_does_not_reach_the_prediction(frames):
    model = ijepa().eval()
    loud(model)
    masks = multi_block(6, len(frames), seeded(3))
    made = model.predicted(frames, masks)
    hidden = torch.ones(len(frames), 36)
    for row, context, seen in zip(hidden, masks.context, masks.seen, strict=True):
        row[context[seen]] = 0
    mask = F.interpolate(hidden.view(-1, 1, 6, 6), scale_factor=4)
    torch.testing.assert_close(model.predicted(frames * (1 - mask), masks), made)
    assert (model.predicted(frames * mask, masks) - made).abs().max() > 1e-3


def test_positions_average_and_spread_are_those_of_lightly(frames):
    utils = pytest.importorskip("lightly.models.utils")
    from lightly.utils.debug import std_of_l2_normalized

    theirs = utils.get_2d_sine_cosine_positional_embedding(16, 6, cls_token=False)
    torch.testing.assert_close(sine_cosine(16, 6), torch.from_numpy(theirs).float())
    found = std_of_l2_normalized(frames.flatten(1)).item() * frames[0].numel() ** 0.5
    assert spread(frames.flatten(1)) == pytest.approx(found, rel=1e-5)
    model, other = ijepa(), ijepa()
    for parameter in model.student.parameters():
        torch.nn.init.normal_(parameter)
    follow(model.teacher, model.student, 0.9)
    utils.update_momentum(model.student, other.teacher, 0.9)
    for name, weight in other.teacher.state_dict().items():
        torch.testing.assert_close(model.teacher.state_dict()[name], weight)


def test_crops_have_their_share_and_their_shape():
    """Of a picture whose channels are its columns and rows, the corners tell the box."""
    ramp = (torch.arange(64.0) + 0.5) / 64
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)])
    made = random_crops(picture.expand(200, -1, -1, -1), 32, (0.3, 1.0), seeded())
    assert made.shape == (200, 3, 32, 32)
    low, high = made[:, :2].amin((2, 3)), made[:, :2].amax((2, 3))
    width, height = ((high - low) * 32 / 31).unbind(1)
    assert low.min() >= 0
    assert high.max() <= 1
    assert (width * height).min() > 0.27  # border pixels are cut to the picture's
    assert (width * height).max() > 0.8
    assert (width / height).min() > 0.7
    assert (width / height).max() < 1.4
    torch.testing.assert_close(made[:, 0, 0], made[:, 0, -1])  # no turn


# A run --------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(recipe_of) -> str:
    return recipe_of("IJEPA", SMALL, SIZE)


@pytest.mark.long
def test_a_run_goes_on_to_the_bit_and_its_teacher_is_exported(recipe, frames, tmp_path, capsys):
    fit = ["fit", "-c", recipe, "--save_every", "2"]
    assert cli.main(fit) == 0
    whole = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    again = [*fit, "--trainer.default_root_dir", str(tmp_path / "again")]
    middle = tmp_path / "run/checkpoints/step=2.ckpt"
    assert cli.main([*again, "--ckpt_path", str(middle)]) == 0
    resumed = read_checkpoint(tmp_path / "again/checkpoints/last.ckpt")
    assert resumed["global_step"] == whole["global_step"] == 4
    before = read_checkpoint(middle)["state_dict"]
    moved = 0
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
        moved += not torch.equal(weight, before[name])
    assert moved > 20
    key = "layernorm.weight"  # of step 3, in which the teacher keeps 0.996 + 0.004 * 2 / 4
    assert not torch.equal(whole["state_dict"][f"teacher.{key}"], before[f"teacher.{key}"])

    out = tmp_path / "export"
    export = ["export", "-c", recipe, "--output", str(out), "--ckpt_path"]
    assert cli.main([*export, str(tmp_path / "run/checkpoints/last.ckpt")]) == 0
    theirs = AutoModel.from_pretrained(out, local_files_only=True)
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weight, whole["state_dict"][f"teacher.{name}"]), name
    with torch.no_grad():
        hidden = theirs(standardised(frames)).last_hidden_state
    found = Encoder.from_pretrained(out).encode(frames)
    torch.testing.assert_close(found.patches.flatten(1, 2), hidden)

    assert cli.main([*export, str(tmp_path / "run/checkpoints/last.ckpt")]) == 2
    assert "--force replaces what `egowm export` wrote before" in capsys.readouterr().err
    other = whole | {"egowm": {"encoder": "DINOv2"}}
    torch.save(other, tmp_path / "other.ckpt")
    assert cli.main([*export, str(tmp_path / "other.ckpt"), "--force"]) == 2
    assert "The checkpoint is not of IJEPA" in capsys.readouterr().err


def test_the_teacher_keeps_more_and_more_of_itself(monkeypatch):
    """0.9 in the first step, 1 at the end, in a straight line."""
    model, kept = ijepa(momentum=0.9), []
    monkeypatch.setattr(model, "teach", kept.append)
    monkeypatch.setattr("lightning.LightningModule.optimizer_step", lambda *args: None)
    for step in (0, 5, 10):
        model._trainer = type(
            "T", (), {"estimated_stepping_batches": 10, "global_step": step, "strategy": None}
        )()
        model.optimizer_step()
    assert kept == pytest.approx([0.9, 0.95, 1.0])


def test_what_does_not_fit_is_refused(clip):
    model = ijepa()
    assert model.frames_of(clip).shape == (6, 3, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"built for frames of 24x24, got 16x16: set --model"):
        model.frames_of(clip._replace(frames=clip.frames[..., :16, :16]))
    with pytest.raises(ValueError, match="Expected a clip of uint8 frames"):
        model.frames_of(clip._replace(frames=clip.frames.float()))
    with pytest.raises(ValueError, match=r"no networks yet: call configure_model\(\)"):
        IJEPA().save_pretrained("nowhere")
    model.configure_model()
    saved = {"egowm": {"encoder": "IJEPA"}, "state_dict": ijepa(layers=1).state_dict()}
    with pytest.raises(ValueError, match=r"has other networks: give the arguments"):
        model.on_load_checkpoint(saved)
    for options, words in (
        ({"size": 30, "patch": 8}, "a multiple of the patch, got 30 and 8"),
        ({"patch": 16}, "patches along a side from 6 to 1024, got 4"),
        ({"width": 30}, "a multiple of the heads"),
        ({"patch": 0}, "patch from 1 to 65536, got 0"),
        ({"heads": 0}, "heads from 1 to 65536, got 0"),
        ({"width": 10**7}, "width from 1 to 65536, got 1e\\+07"),
        ({"predictor_width": 10**8}, "predictor_width from 4 to 65536, got 1e\\+08"),
        ({"predictor_width": 6}, "predictor_width that is one of 4 and of the heads"),
        ({"crop": 0.0}, "Expected crop from 0.01 to 1"),
        ({"momentum": 1.5}, "Expected momentum from 0 to 1"),
        ({"targets": "edges"}, "Expected targets features or pixels"),
        ({"weight_decay": -1.0}, "weight_decay of 0 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            IJEPA(**options)


def test_embeddings_that_are_all_alike_raise_an_alarm(clip, caplog):
    model = ijepa()
    for parameter in model.teacher.parameters():
        parameter.data.zero_()
    model._trainer = type("T", (), {"sanity_checking": False})()
    model.log = lambda *args, **rest: None
    model.validation_step(clip, 0)
    model.on_validation_epoch_end()
    assert "nearly the same (spread 0.000, expected above" in caplog.text
