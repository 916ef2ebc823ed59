"""DINOv2: losses against lightly and by hand, masks, schedules, distillation, runs that go on."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, Dinov2Config, Dinov2Model

from egowm import Encoder
from egowm.commands.main import main as cli
from egowm.encoder import standardised
from egowm.encoders import DINOv2
from egowm.encoders.layer_decay import layer_groups
from egowm.encoders.prototypes import Centre, Head, koleo, patch_loss, sinkhorn, view_loss
from egowm.encoders.views import MultiCrop, hidden_patches
from egowm.training.checkpoints import read_checkpoint
from tests.encoders.conftest import SIZE

SMALL = {"size": SIZE, "patch": 4, "width": 16, "layers": 2, "heads": 2, "local_size": 12}
SMALL |= {"local_crops": 2, "prototypes": 12, "hidden": 8, "bottleneck": 6}
SMALL |= {"photometric": False}
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


def dinov2(**options) -> DINOv2:
    """With weights large enough that features differ."""
    torch.manual_seed(0)
    model = DINOv2(**(SMALL | options))
    model.configure_model()
    for part in (model.student, model.scores):
        for weight in part.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.3)
    model.teach(0.5)
    return model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


# Losses and heads ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_losses_head_and_targets_are_those_of_lightly():
    """With centring; lightly has Sinkhorn-Knopp for SwAV alone."""
    loss = pytest.importorskip("lightly.loss")
    from lightly.loss.swav_loss import sinkhorn as swav
    from lightly.models.modules.heads import DINOProjectionHead

    theirs, own = loss.DINOLoss(12, teacher_temp=0.05), Centre(12)
    for seed in range(3):  # the centre moves after each
        teacher, student = drawn(2, 5, 12, seed=seed), drawn(6, 5, 12, seed=seed + 9)
        targets = own(teacher.flatten(0, 1), 0.05).unflatten(0, (2, 5))
        expected = theirs(list(teacher), list(student))
        torch.testing.assert_close(view_loss(targets, student), expected)
    torch.testing.assert_close(own.mean, theirs.center[0, 0])

    theirs, own = loss.IBOTPatchLoss(12, teacher_temp=0.05), Centre(12)
    masks = hidden_patches(6, 8, seeded())
    for seed in range(2):
        teacher, student = (drawn(int(masks.sum()), 12, seed=seed + k) for k in (0, 9))
        expected = theirs(teacher, student, masks.view(-1, 6, 6))
        torch.testing.assert_close(patch_loss(own(teacher, 0.05), student, masks), expected)

    torch.testing.assert_close(koleo(drawn(9, 4)), loss.KoLeoLoss()(drawn(9, 4)))
    torch.testing.assert_close(sinkhorn(drawn(9, 4), 0.5), swav(drawn(9, 4), 3, 0.5))

    theirs, own = DINOProjectionHead(7, 8, 5, 12), Head(7, 8, 5, 12)
    own.layers.load_state_dict(theirs.layers.state_dict())
    own.prototypes.data.copy_(theirs.last_layer.weight_v)
    torch.testing.assert_close(own(drawn(3, 7)), theirs(drawn(3, 7)))


def test_all_samples_and_all_prototypes_are_used_alike():
    scores = drawn(12, 4)
    shares = sinkhorn(scores, 0.5, iterations=200)
    torch.testing.assert_close(shares.sum(1), torch.ones(12))
    torch.testing.assert_close(shares.sum(0), torch.full((4,), 3.0))
    torch.testing.assert_close(sinkhorn(scores, 0.5).sum(1), torch.ones(12))  # after any number
    assert (sinkhorn(scores, 0.5).sum(0) - 3).abs().max() > 1e-4
    kernel = (scores / 0.5).exp()  # what is scaled is still the kernel: all cross-ratios stay
    ratio = kernel[0, 0] * kernel[1, 1] / (kernel[0, 1] * kernel[1, 0])
    found = shares[0, 0] * shares[1, 1] / (shares[0, 1] * shares[1, 0])
    torch.testing.assert_close(found, ratio)
    assert sinkhorn(1e4 * scores, 0.04).isfinite().all()


def test_the_loss_by_hand(frames):
    """From the networks' features, view by view and patch by patch: equations 3 and 2."""
    model = dinov2(ibot=0.7, koleo=0.2).eval()
    views = model.views(frames, True, seeded())
    heads, taught, features, shown = model.scores, model.teacher_scores, [], []
    with torch.no_grad():
        for crops, masks in zip(views.whole, views.masks, strict=True):
            seen = standardised(crops)
            features.append(model.student(seen, bool_masked_pos=masks).last_hidden_state)
            shown.append(model.teacher(seen).last_hidden_state)
        local = [model.student(standardised(crops)).pooler_output for crops in views.local]
        targets = sinkhorn(taught["cls"](torch.cat([x[:, 0] for x in shown])), 0.04).chunk(2)
        logs = [
            heads["cls"](x).div(0.1).log_softmax(1) for x in (*(x[:, 0] for x in features), *local)
        ]
        parts = [
            -(targets[t] * logs[v]).sum(1).mean() for t in range(2) for v in range(4) if t != v
        ]
        hidden = views.masks
        wanted = torch.cat([x[:, 1:][m] for x, m in zip(shown, hidden, strict=True)])
        wanted = iter(sinkhorn(taught["patch"](wanted), 0.04))
        patches = 0.0
        for x, masks in zip(features, hidden, strict=True):
            for row, mask in zip(x[:, 1:], masks, strict=True):
                made = heads["patch"](row[mask]).div(0.1).log_softmax(1)
                errors = [-(next(wanted) * made[k]).sum() for k in range(int(mask.sum()))]
                patches += sum(errors) / max(1, len(errors)) / 12
        unit = [F.normalize(x[:, 0], dim=1) for x in features]
        near = [(torch.cdist(x, x) + 9 * torch.eye(6)).amin(1) for x in unit]
        apart = sum(-distance.log().mean() for distance in near)
        total, found = model.loss(views)
    assert next(wanted, None) is None
    assert found["dino"] == pytest.approx(float(sum(parts)) / 6, rel=1e-4)
    assert found["ibot"] == pytest.approx(float(patches), rel=1e-4)
    assert found["koleo"] == pytest.approx(float(apart), rel=1e-3)
    expected = found["dino"] + 0.7 * found["ibot"] + 0.2 * found["koleo"]
    assert total == pytest.approx(float(expected), rel=1e-5)


def test_parts_of_the_loss_can_be_left_out(frames):
    whole, _ = dinov2().losses(frames, seeded())
    for options, lacks in (({"koleo": 0.0}, "koleo"), ({"ibot": 0.0}, "ibot")):
        model = dinov2(**options)
        total, logs = model.losses(frames, seeded())
        assert lacks not in logs
        assert abs(total - whole) > 1e-3
    assert not model.views(frames, model.hides).masks.any()
    assert list(model.scores) == ["cls"]
    assert dinov2(local_crops=0).losses(frames, seeded())[1]["dino"] > 0


@pytest.mark.parametrize("options", [{}, {"ibot": 0.0}, {"targets": "centring"}])
def test_no_gradient_reaches_the_teacher_and_every_trained_weight_has_one(options, frames):
    model = dinov2(**options)
    model.losses(frames, seeded())[0].backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is None for p in model.teacher_scores.parameters())
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    zero = [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.any()]
    assert {n.rpartition(".")[2] for n in zero if "k_proj.bias" not in n} <= {"mask_token"}
    assert any("mask_token" in n for n in zero) == (options == {"ibot": 0.0})


def test_koleo_needs_a_neighbour(frames):
    with pytest.raises(ValueError, match=r"at least 2 frames, got 1: raise the batch size, or"):
        dinov2().losses(frames[:1], seeded())


def test_the_centre_moves_in_training_alone(frames):
    model = dinov2(targets="centring").eval()
    model.losses(frames, seeded())
    assert not model.centres["cls"].mean.any()
    model.train()
    model.losses(frames, seeded())
    encoded = model.encoder().encode(model.views(frames, True, seeded()).whole.flatten(0, 1))
    expected = 0.1 * model.teacher_scores["cls"](encoded.cls).mean(0)
    torch.testing.assert_close(model.centres["cls"].mean, expected)


# Views --------------------------------------------------------------------------------------------


def test_half_of_the_pictures_hide_a_tenth_to_a_half_of_their_patches():
    masks = hidden_patches(16, 20, seeded())
    counts = masks.sum(1).sort().values.tolist()
    shares = [0.1 + 0.4 * k / 9 for k in range(10)]
    assert counts == [0] * 10 + [int(share * 256 + 1e-4) for share in shares]
    assert masks.sum(1).tolist() != counts  # in any order
    assert torch.equal(masks, hidden_patches(16, 20, seeded()))
    grid = masks.view(-1, 16, 16)
    beside = (grid[:, 1:] & grid[:, :-1]).sum() / grid[:, 1:].sum()
    alone = hidden_patches(16, 20, seeded(1)).view(-1, 16, 16)  # of another draw: chance
    assert beside > 0.7 > 2 * (grid[:, 1:] & alone[:, :-1]).sum() / grid[:, 1:].sum()
    assert hidden_patches(2, 2, seeded()).sum() == 1


def test_crops_have_their_sizes_and_shares():
    """Of a picture whose channels are its columns and rows, the corners tell the box."""
    ramp = (torch.arange(64.0) + 0.5) / 64
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)])
    crop = MultiCrop(64, 8, 0.32, 0.05, 4, 32, photometric=False)
    views = crop(picture.expand(50, -1, -1, -1), True, seeded())
    assert views.whole.shape == (2, 50, 3, 64, 64)
    assert views.local.shape == (4, 50, 3, 32, 32)
    assert views.masks.shape == (2, 50, 64)
    for crops, low, high in ((views.whole, 0.28, 1.0), (views.local, 0.03, 0.34)):
        size = crops.shape[-1]
        sides = crops.amax((-2, -1)) - crops.amin((-2, -1))
        area = sides[..., :2].prod(-1) * (size / (size - 1)) ** 2
        assert low < area.min() < low + 0.1
        assert high - 0.1 < area.max() < high + 0.01


def test_photometric_changes_are_drawn_for_each_crop_and_leave_other_numbers_alone(frames):
    crop = MultiCrop(SIZE, 4, 1.0, 1.0, 0, 12, photometric=True)
    torch.manual_seed(5)
    views, after = crop(frames[:1].expand(6, -1, -1, -1), True, seeded()), torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))
    assert torch.equal(views.whole, crop(frames[:1].expand(6, -1, -1, -1), True, seeded()).whole)
    assert views.local.shape == (0, 6, 3, 12, 12)
    assert 0 <= views.whole.min() < views.whole.max() <= 1
    assert len(set(views.whole.mean((2, 3, 4)).flatten().tolist())) > 9


# Schedules ----------------------------------------------------------------------------------------


def test_schedules_go_from_their_first_to_their_last_value(monkeypatch):
    model = dinov2()
    assert [model.keeps(done) for done in (0, 0.5, 1)] == pytest.approx([0.992, 0.996, 1.0])
    options = torch.optim.SGD([{"params": [torch.ones(1)], "decays": d} for d in (True, False)], 1)
    seen = []
    monkeypatch.setattr("lightning.LightningModule.optimizer_step", lambda *args: None)
    monkeypatch.setattr(model, "teach", lambda keeps: None)
    for step in (0, 15, 50, 100):
        run = {"estimated_stepping_batches": 100, "global_step": step, "strategy": None}
        model._trainer = type("T", (), run | {"optimizers": [options]})()
        model.optimizer_step()
        seen.append((model.temperature, *(g["weight_decay"] for g in options.param_groups)))
    temperatures, decays, none = zip(*seen, strict=True)
    assert temperatures == pytest.approx((0.04, 0.055, 0.07, 0.07))
    middle = 0.4 - 0.18 * (1 + math.cos(0.15 * math.pi))
    assert decays == pytest.approx((0.04, middle, 0.22, 0.4))
    assert set(none) == {0.0}


def test_lower_layers_learn_more_slowly():
    model = dinov2()
    groups = layer_groups(model.named_parameters(), layers=2, decay=0.9)
    rates = {id(p): (g["scale"], g["decays"]) for g in groups for p in g["params"]}
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len(rates) == sum(len(g["params"]) for g in groups) == len(trained)
    for name, expected in (
        ("student.embeddings.patch_embeddings.projection.weight", (0.9**3, True)),
        ("student.embeddings.cls_token", (0.9**3, True)),
        ("student.encoder.layer.0.mlp.fc1.weight", (0.9**2, True)),
        ("student.encoder.layer.1.layer_scale1.lambda1", (0.9, False)),
        ("student.layernorm.weight", (1.0, False)),
        ("scores.patch.prototypes", (1.0, True)),
    ):
        assert rates[id(trained[name])] == expected, name


# Distillation -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> str:
    """A wider transformer with patches of another size."""
    torch.manual_seed(1)
    shape = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
    network = Dinov2Model(Dinov2Config(**shape, image_size=28, patch_size=7))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    Encoder(network).save_pretrained(tmp_path / "large")
    return str(tmp_path / "large")


def test_a_larger_frozen_encoder_teaches(folder, frames):
    model = dinov2(teacher=folder)
    views = model.views(frames, model.hides, seeded())
    assert not views.masks.any()
    total, logs = model.loss(views)
    total.backward()
    assert all(p.grad is None for p in model.guide.parameters())

    seen = Encoder.from_pretrained(folder, 42).encode(views.whole.flatten(0, 1))
    assert seen.patches.shape == (12, 6, 6, 24)
    prototypes = F.normalize(model.teacher_scores["patch"].prototypes, dim=1)
    scores = F.normalize(seen.patches.flatten(0, 2), dim=1) @ prototypes.T
    targets = sinkhorn(scores, 0.04).view(12, 36, 12)
    hidden = model.student(standardised(views.whole.flatten(0, 1))).last_hidden_state[:, 1:]
    made = model.scores["patch"](hidden).div(0.1).log_softmax(-1)
    expected = -(targets * made).sum(-1).mean()
    torch.testing.assert_close(logs["ibot"], expected.detach())

    saved = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(saved)
    assert not any(name.startswith("guide") for name in saved["state_dict"])
    other = DINOv2(**SMALL, teacher=folder)
    other.on_load_checkpoint(saved)
    other.load_state_dict(saved["state_dict"])
    for name, weight in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight), name
    assert other.encoder().width == 16  # the student's average is what is exported


@pytest.mark.long
def test_a_student_comes_nearer_to_its_frozen_teacher(folder, frames):
    """Its heads' targets are those that the prototypes give the teacher's features."""
    model = dinov2(teacher=folder, koleo=0.0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    found = []
    for step in range(40):
        total, _ = model.losses(frames, seeded(step % 4))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        model.teach(0.9)
        found.append(total.item())
    assert sum(found[-8:]) < 0.9 * sum(found[:8])


# A run --------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(recipe_of) -> str:
    return recipe_of("DINOv2", SMALL | {"targets": "centring", "drop_path": 0.1}, SIZE)


@pytest.mark.long
def test_a_run_goes_on_to_the_bit_and_its_teacher_is_exported(recipe, frames, tmp_path):
    fit = ["fit", "-c", recipe, "--save_every", "2"]
    assert cli(fit) == 0
    whole = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    again = [*fit, "--trainer.default_root_dir", str(tmp_path / "again")]
    middle = tmp_path / "run/checkpoints/step=2.ckpt"
    assert cli([*again, "--ckpt_path", str(middle)]) == 0
    resumed = read_checkpoint(tmp_path / "again/checkpoints/last.ckpt")
    assert resumed["global_step"] == whole["global_step"] == 4
    before = read_checkpoint(middle)["state_dict"]
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
    for name in ("centres.cls.mean", "teacher_scores.patch.prototypes", "scores.cls.prototypes",
                 "teacher.layernorm.weight", "student.embeddings.mask_token"):  # fmt: skip
        assert not torch.equal(whole["state_dict"][name], before[name]), name
    for k, state in whole["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, resumed["optimizer_states"][0]["state"][k][name])

    out = tmp_path / "export"
    last = str(tmp_path / "run/checkpoints/last.ckpt")
    assert cli(["export", "-c", recipe, "--output", str(out), "--ckpt_path", last]) == 0
    theirs = AutoModel.from_pretrained(out, local_files_only=True)
    assert type(theirs) is Dinov2Model
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weight, whole["state_dict"][f"teacher.{name}"]), name
    with torch.no_grad():
        hidden = theirs.eval()(standardised(frames)).last_hidden_state
    found = Encoder.from_pretrained(out).encode(frames)
    torch.testing.assert_close(found.patches.flatten(1, 2), hidden[:, 1:])
    torch.testing.assert_close(found.cls, hidden[:, 0])


def test_embeddings_that_are_all_alike_raise_an_alarm(clip, caplog):
    model = dinov2()
    model.log = lambda *args, **rest: None
    run = {"sanity_checking": False, "global_step": 0, "estimated_stepping_batches": 9}
    model._trainer = type("T", (), run)()
    model.validation_step(clip, 0)
    model.on_validation_epoch_end()
    assert not caplog.text
    for parameter in model.teacher.parameters():
        parameter.data.zero_()
    model.validation_step(clip, 0)
    model.on_validation_epoch_end()
    assert "nearly the same (spread 0.000, expected above" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"local_size": 10}, "local_size that is a multiple of the patch, got 10 and 4"),
        ({"local_size": 32}, "Expected local_size from 4 to 24, got 32"),
        ({"crop": 0.0}, "Expected crop from 0.01 to 1"),
        ({"local_crop": 0.4}, "Expected local_crop from 0.001 to 0.32, got 0.4"),
        ({"local_crops": -1}, "Expected local_crops from 0"),
        ({"koleo": -1.0}, "Expected koleo from 0"),
        ({"layer_decay": 1.5}, "Expected layer_decay from 0.01 to 1"),
        ({"prototypes": 0}, "prototypes from 1 to 1e\\+06, got 0"),
        ({"hidden": 10**7}, "hidden from 1 to 65536, got 1e\\+07"),
        ({"bottleneck": 0}, "bottleneck from 1 to 65536, got 0"),
        ({"targets": "mean"}, "Expected targets sinkhorn or centring"),
        ({"teacher": "x", "drop_path": 0.1}, "learned without drop_path: set it to 0"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DINOv2(**(SMALL | options))


def test_a_teacher_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/config\.json, found none"):
        DINOv2(**SMALL, teacher=str(tmp_path / "nowhere")).configure_model()
