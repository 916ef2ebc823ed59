"""Students: the closed form that consistency ends in, what is learned from whom, what is saved."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from egowm.backbones import SVD
from egowm.clip import Clip
from egowm.commands import main as cli
from egowm.diffusion import EDM, FlowMatching
from egowm.own_contexts import OwnContexts
from egowm.sampling import Sampling
from egowm.student import SMALLEST, Student, consistency_loss, gap_at, step_down
from egowm.world_model import WorldModel
from tests.training.test_resume import STATE, assert_same, losses, saved

MEAN, SPREAD = 0.4, 1.5  # of the Gaussian whose path is known in closed form
LINEAR = FlowMatching(lambda steps: torch.linspace(1, 0, steps + 1))
PROCESSES = {"edm": EDM(), "flow": LINEAR}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Paths of a Gaussian ------------------------------------------------------------------------------


def estimate(process, power):
    """Of a Gaussian: its mean plus a share of what the noisy latents are beside it. The power 1/2
    leads to the end of the path through them, 1 to the mean of all that they may come from."""

    def made(noisy, sigma):
        sigma = sigma.reshape(-1, *[1] * (noisy.ndim - 1))
        keeps = 1 - sigma if isinstance(process, FlowMatching) else torch.ones_like(sigma)
        variance = (keeps * SPREAD) ** 2 + sigma**2
        share = (SPREAD**2 / variance) ** power * keeps ** (2 * power - 1)
        return MEAN + share * (noisy - keeps * MEAN)

    return made


def drawn(process, count: int = 64):
    """Noisy latents (B, 1, 32), their levels, and the clean ones."""
    clean = MEAN + SPREAD * torch.randn(count, 1, 32, generator=seeded(1))
    sigma = torch.linspace(0.1, 0.9, count)
    sigma = sigma if isinstance(process, FlowMatching) else 20 * sigma**2
    noise = torch.randn(clean.shape, generator=seeded(2))
    return process.add(clean, noise, sigma), sigma, clean, noise


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_step_from_known_latents_has_less_of_the_same_noise(process):
    noisy, sigma, clean, noise = drawn(process)
    lower = step_down(noisy, clean, sigma, sigma / 4)
    torch.testing.assert_close(lower, process.add(clean, noise, sigma / 4), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_closed_form_is_consistent(process):
    """Its error is that of the Euler step, which falls with the square of the gap; that of the
    mean, which is not consistent, with the gap itself."""
    noisy, sigma, *_ = drawn(process)
    teacher = estimate(process, 1.0)

    def error(power, gap):
        student, clean = estimate(process, power), teacher(noisy, sigma)
        return consistency_loss(
            process, student, clean, noisy, sigma, (1 - gap) * sigma, 1e-9
        ).max()

    perfect = [float(error(0.5, gap).double()) for gap in (0.2, 0.1, 0.05)]
    other = [float(error(1.0, gap).double()) for gap in (0.2, 0.1, 0.05)]
    assert perfect[0] / perfect[1] == pytest.approx(4, rel=0.25)
    assert perfect[1] / perfect[2] == pytest.approx(4, rel=0.25)
    assert other[1] / other[2] == pytest.approx(2, rel=0.2)
    assert other[2] > 10 * perfect[2]


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_student_reaches_the_closed_form(process):
    """From its teacher, the mean, as the gap shrinks."""
    noisy, sigma, *_ = drawn(process)
    power = torch.tensor(1.0, requires_grad=True)
    clean = estimate(process, 1.0)(noisy, sigma)
    optimizer = torch.optim.Adam([power], lr=0.02)
    for step in range(300):
        student, gap = estimate(process, power), gap_at(step / 300, 6, 0.5)
        loss = consistency_loss(
            process, student, clean, noisy, sigma, (1 - gap) * sigma, 1e-3
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert power.item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_closed_form_has_no_gradient_as_the_levels_meet(process):
    """Beside that of the mean, whose estimates differ."""
    noisy, sigma = (x.double() for x in drawn(process)[:2])
    clean = estimate(process, 1.0)(noisy, sigma)

    def gradient(at, gap):
        power = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        student = estimate(process, power)
        loss = consistency_loss(
            process, student, clean, noisy, sigma, (1 - gap) * sigma, 1.0
        ).mean()
        return torch.autograd.grad(loss, power)[0].abs().item()

    shares = [gradient(0.5, gap) / gradient(1.0, gap) for gap in (1e-2, 1e-3)]
    assert gradient(1.0, 1e-3) > 1e-5
    assert shares[0] < 0.05
    assert shares[1] == pytest.approx(shares[0] / 10, rel=0.1)


def test_the_target_has_no_gradient():
    process, scale = EDM(), torch.tensor(0.7, requires_grad=True)
    noisy, sigma, clean, _ = drawn(process)
    asked = []

    def student(noisy, sigma):
        asked.append(torch.is_grad_enabled())
        return scale * noisy

    consistency_loss(process, student, clean, noisy, sigma, sigma / 2, 0.03).mean().backward()
    target = 0.7 * step_down(noisy, clean, sigma, sigma / 2)
    apart = (scale * noisy - target).square().flatten(1).mean(1)
    (expected,) = torch.autograd.grad(
        ((process.weight(sigma) * apart + 0.03**2).sqrt() - 0.03).mean(), scale
    )
    assert asked == [False, True]
    torch.testing.assert_close(scale.grad, expected)
    assert expected.abs() > 0.1


def test_where_a_path_has_ended_the_clean_end_is_the_target():
    """As for the regression on stored rollouts, whose paths end where they begin."""
    process, asked = EDM(), []
    noisy, sigma, clean, _ = drawn(process)

    def student(noisy, sigma):
        asked.append(sigma)
        return noisy

    found = consistency_loss(process, student, clean, noisy, sigma, sigma.max().expand(64), 0.03)
    apart = process.weight(sigma) * (noisy - clean).square().flatten(1).mean(1)
    torch.testing.assert_close(found, (apart + 0.03**2).sqrt() - 0.03)
    assert len(asked) == 1


def test_a_path_ends_where_sampling_does(tiny_prior, spec):
    """At the lowest level that sampling visits, and below, the target is the clean end alone; from
    above no step leads below it, however wide the gap (few teacher steps of a large shift)."""
    student = Student(SVD(str(tiny_prior), sampler_min=2.0), spec=spec, steps=2, stages=1)
    student.configure_model()
    process, asked = student.backbone.process, []

    def estimate(noisy, sigma):
        asked.append(sigma)
        return torch.zeros_like(noisy)

    clean, noisy = torch.ones(3, 1, 2), 3 * torch.ones(3, 1, 2)
    sigma = torch.tensor([1.0, 2.0, 6.0])
    lower = student._lower(process, sigma)
    assert lower.tolist() == [2.0, 2.0, 2.0]
    found = consistency_loss(process, estimate, clean, noisy, sigma, lower, 1e-9)
    expected = process.weight(sigma).sqrt()[:2]
    torch.testing.assert_close(found[:2], expected)  # to the clean end
    assert found[2] == 0  # to its own estimate below


@pytest.mark.parametrize("process", [EDM(), EDM(sigma_data=0.5, out_sign=1.0), LINEAR])
def test_every_estimate_is_the_identity_at_the_smallest_level(process):
    noisy, output = torch.randn(2, 3, 1, 8, generator=seeded()).unbind()
    found = process.denoised(output, noisy, torch.full((3,), SMALLEST))
    torch.testing.assert_close(found, noisy, atol=0.01, rtol=0)


def test_the_gap_halves():
    assert [gap_at(k / 8, 4, 0.5) for k in range(9)] == [
        *(0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.0625)
    ]
    assert [gap_at(k / 2, 2, 1.0) for k in range(3)] == [1, 0.5, 0.5]


# Teacher and student ------------------------------------------------------------------------------


def clips(horizon: int = 4, count: int = 2) -> Clip:
    frames = torch.randint(0, 256, (count, 1 + horizon, 3, 16, 16), generator=seeded()).byte()
    actions = torch.rand(count, horizon, 3, generator=seeded(1)) * 0.2 - 0.1
    names = [f"room_{k}_0" for k in range(count)]
    state = torch.zeros(count, 0)
    past = torch.zeros(count, 0, 3)
    return Clip(frames, actions, past, state, [""] * count, ["rooms"] * count, names)


def backbone(prior, **options) -> SVD:
    return SVD(str(prior), noise_strength=0.0, noise_mean=None, **options)


@pytest.fixture(scope="module")
def teacher(tiny_prior, tmp_path_factory, spec):
    """An export that follows actions, and knows a null action."""
    torch.manual_seed(0)
    model = WorldModel(backbone(tiny_prior), spec=spec, chunk=4, steps=3, drop_action=0.1)
    model.configure_model()
    torch.nn.init.normal_(model.action_embedding.linear_2.weight, std=0.3)
    torch.nn.init.normal_(model.null_embedding)
    with torch.no_grad():  # other weights than the base's
        for weight in model.backbone.network.parameters():
            weight.mul_(1.05)
    folder = tmp_path_factory.mktemp("teacher") / "export"
    model.save_pretrained(folder)
    return folder


def student_of(teacher, prior, **options) -> Student:
    student = Student(backbone(prior), teacher=str(teacher), chunk=4, **options)
    student.configure_model()
    return student


def made(model, how=Sampling(steps=2)):
    clip = clips()
    return model.rollout(clip.frames[:, :1], clip.actions, how, generator=seeded()).latents


def comes_upon(model, teacher):
    """A LoRA of zeros upon the teacher's very weights; its layers may round otherwise."""
    expected = WorldModel.from_pretrained(teacher)
    theirs = dict(expected.backbone.network.named_parameters())
    mine = dict(model.backbone.network.named_parameters())
    added = {name for name in mine if ".lora_" in name}
    kept = {name.replace(".base_layer.", "."): mine[name] for name in mine.keys() - added}
    assert added
    assert kept.keys() == theirs.keys()
    assert all(torch.equal(kept[name], theirs[name]) for name in theirs)
    assert not any(mine[name].any() for name in added if ".lora_B." in name)
    torch.testing.assert_close(made(model.eval()), made(expected), atol=1e-4, rtol=1e-3)


def test_a_student_starts_as_its_teacher(teacher, tiny_prior):
    student = student_of(teacher, tiny_prior)
    expected = made(WorldModel.from_pretrained(teacher))
    assert torch.equal(made(student.eval()), expected)
    plain = WorldModel(backbone(tiny_prior), spec=student.spec, chunk=4)
    plain.configure_model()
    assert (made(plain) - expected).std() > 0.01 * expected.std()
    assert set(student.state_dict()) == set(plain.state_dict())
    assert student.spec.high == WorldModel.from_pretrained(teacher).spec.high


def test_the_teacher_stays_as_it_is(teacher, tiny_prior):
    student = student_of(teacher, tiny_prior).train()
    (held,) = student._opened
    before = {name: weight.clone() for name, weight in held.state_dict().items()}
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-2)
    loss, logs = student.loss(clips(), seeded())
    loss.backward()
    optimizer.step()
    assert loss > 0
    assert float(logs["gap"]) == 0.5
    assert student.action_embedding.linear_1.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in held.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in held.state_dict().items())
    changed = student.backbone.network.state_dict()
    assert any(
        not torch.equal(held.backbone.network.state_dict()[k], v) for k, v in changed.items()
    )


def start_and_task(student, clip, horizon: int = 4):
    """The noise at the start of a rollout under `seeded()`, and what the loss makes of the clip."""
    task, generator = student.task(clip, seeded()), seeded()
    torch.randn(len(clip.frames), 3, 16, 16, generator=generator)  # SVD's noise on the context
    noise = torch.randn(task.latents.shape, generator=generator)
    top = float(task.process.sigmas(1)[0])
    return task, task.process.initial(noise, top), torch.full((len(noise),), top)


def test_a_step_of_the_teacher_s_own_sampling(teacher, tiny_prior):
    """From any level to the next one that it visits; at the last of them the path ends."""
    student = student_of(teacher, tiny_prior, stages=None, teacher_steps=3)
    process = student.backbone.process
    first, second, last, _ = process.sigmas(3).tolist()
    sigma = torch.tensor([first, (first + second) / 2, second, (second + last) / 2, last])
    expected = torch.tensor([second, second, last, last, last])
    torch.testing.assert_close(student._lower(process, sigma), expected)
    loss, logs = student.loss(clips(), seeded())
    assert loss > 0
    assert logs == {}
    with pytest.raises(ValueError, match="stages=null are a teacher's"):
        Student(backbone(tiny_prior), stages=None)


@pytest.mark.parametrize("asked", ["action", "image", ("image", "action")])
def test_the_guided_estimate_is_what_a_guided_rollout_takes(teacher, tiny_prior, asked):
    student = student_of(teacher, tiny_prior, guidance=2.0, guide_on=asked)
    task, start, top = start_and_task(student, clips())
    found = student._teachers(task)(start, top)
    model = WorldModel.from_pretrained(teacher)
    expected = made(model, Sampling(steps=1, guidance=2.0, guide_on=asked))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    plain = made(model, Sampling(steps=1))
    assert (plain - expected).std() > 1e-3 * expected.std()
    unguided = student_of(teacher, tiny_prior)._teachers(task)(start, top)
    torch.testing.assert_close(unguided, plain, atol=1e-4, rtol=1e-4)


def test_the_control_regresses_stored_rollouts(teacher, tiny_prior):
    student = student_of(teacher, tiny_prior, regression=True, teacher_steps=2)
    asked = []
    network = student._opened[0].backbone.network
    network.register_forward_pre_hook(lambda *_: asked.append(1))
    first, second = (student.loss(clips(), seeded(k))[0] for k in range(2))
    assert len(asked) == 2  # steps of one rollout, which the second batch finds stored
    assert torch.equal(first, second)
    assert first > 0
    assert set(student._stored) == {"rooms/room_0_0", "rooms/room_1_0"}


def test_tuning_learns_from_the_recorded_frames(teacher, tiny_prior, monkeypatch):
    """The same loss whoever is asked, where the teacher's estimate is the recorded frame."""
    tuned = Student(backbone(tiny_prior), start=str(teacher), chunk=4)
    tuned.configure_model()
    distilled = student_of(teacher, tiny_prior)
    assert (tuned.gap, distilled.gap) == (1, 0.5)
    monkeypatch.setattr(Student, "gap", 0.5)
    latents = tuned.task(clips(), seeded()).latents
    expected = tuned.loss(clips(), seeded(3))[0]
    assert distilled.loss(clips(), seeded(3))[0] != expected
    distilled._teachers = lambda task: lambda noisy, sigma: latents
    assert torch.equal(distilled.loss(clips(), seeded(3))[0], expected)


@pytest.mark.parametrize("steps", [1, 2])
def test_half_of_the_levels_are_the_sampler_s_and_the_path_s_end(teacher, tiny_prior, steps):
    """Also in one step: a target of a level that is never learned would drift."""
    student = student_of(teacher, tiny_prior, steps=steps)
    task = student.task(clips(count=2), seeded())
    task = task._replace(latents=task.latents[:1].expand(4000, -1, -1, -1, -1))
    levels = student._levels(task, seeded())
    top, low = task.process.sigmas(2)[:2].tolist()
    at_top, at_low = (levels == top).float().mean(), (levels == low).float().mean()
    assert at_low == pytest.approx(0.25, abs=0.03)
    assert at_top > 0.22
    assert levels.min() >= SMALLEST
    assert levels.max() == top


def test_own_contexts_are_the_student_s(teacher, tiny_prior):
    student = student_of(teacher, tiny_prior, own_contexts=OwnContexts(1.0, 1, steps=1))
    loss, _ = student.train().loss(clips(horizon=8), seeded())
    loss.backward()
    assert loss.isfinite()
    assert student.action_embedding.linear_2.weight.grad.abs().max() > 0


def test_a_lora_comes_upon_the_teacher_s_weights(teacher, tiny_prior, tmp_path):
    student = student_of(teacher, tiny_prior, train="lora", lora_rank=2)
    comes_upon(student, teacher)
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    assert all(".lora_" in name or name.startswith("action_embedding") for name in trained)
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if ".lora_B." in name:
                weight.normal_(std=0.05, generator=seeded())
    student.save_pretrained(tmp_path / "export")
    exported = WorldModel.from_pretrained(tmp_path / "export")
    torch.testing.assert_close(made(exported), made(student), atol=1e-3, rtol=1e-3)


def test_an_export_is_a_world_model_s(teacher, tiny_prior, tmp_path):
    student = student_of(teacher, tiny_prior, steps=2)
    student.save_pretrained(tmp_path / "export")
    record = json.loads((tmp_path / "export/world_model.json").read_text())
    assert (record["steps"], record["chunk"], record["drop_action"]) == (2, 4, 0.0)
    weights = load_file(tmp_path / "export/weights.safetensors")
    assert len(weights) == len(load_file(teacher / "weights.safetensors")) - 1  # null_embedding
    exported = WorldModel.from_pretrained(tmp_path / "export")
    assert torch.equal(made(exported, Sampling()), made(student.eval(), Sampling(steps=2)))


def test_a_student_means_the_same_as_its_teacher(teacher, tiny_prior):
    student = Student(backbone(tiny_prior, predicts="changes"), str(teacher), chunk=4)
    with pytest.raises(ValueError, match=r"predicts frames, the student's changes: set --model\."):
        student.configure_model()


def test_the_sampler_s_least_level_travels_with_the_export(teacher, tiny_prior, tmp_path):
    student = Student(backbone(tiny_prior, sampler_min=2.0), str(teacher), chunk=4)
    student.configure_model()
    student.save_pretrained(tmp_path / "export")
    exported = WorldModel.from_pretrained(tmp_path / "export")
    assert exported.backbone.process.sigmas(2).tolist() == pytest.approx([80, 2, 0])
    stock = WorldModel.from_pretrained(teacher).backbone.process.sigmas(2)
    assert stock.tolist() == pytest.approx([80, 0.02, 0])
    with pytest.raises(ValueError, match="Expected sampler_min, a noise level, above 0, got 0"):
        SVD(str(tiny_prior), sampler_min=0.0)


# Runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def short(recipe, teacher):
    """The recipe of a student: chunks of 4 as the teacher's."""
    text = recipe.read_text()
    recipe.write_text(text.replace("egowm.WorldModel", "egowm.Student"))
    return recipe, ["--model.teacher", str(teacher), "--data.window.horizon", "4"]


def test_a_lora_comes_upon_the_weights_that_tuning_starts_from(teacher, tiny_prior):
    tuned = Student(backbone(tiny_prior), start=str(teacher), chunk=4, train="lora", lora_rank=2)
    tuned.configure_model()
    comes_upon(tuned, teacher)


def fit(short, root, *options: str) -> int:
    recipe, given = short
    run = ["fit", "-c", str(recipe), *given, "--trainer.default_root_dir", str(root)]
    run += ["--trainer.max_steps", "4", "--trainer.val_check_interval", "3", "--save_every", "2"]
    return cli.main([*run, "--trainer.callbacks", "egowm.training.WeightAverage", *options])


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
def test_resuming_changes_nothing(short, tmp_path, teacher, capsys):
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert fit(short, whole) == 0
    expected, checkpoint = losses(whole), whole / "checkpoints/step=2.ckpt"
    assert fit(short, again, "--ckpt_path", str(checkpoint)) == 0
    assert list(losses(again).values()) == [expected[k] for k in (2, 3)]
    for part in STATE:
        assert_same(saved(whole, 4)[part], saved(again, 4)[part], part)
    held = saved(whole, 4)["state_dict"]
    assert len(held) == len(load_file(teacher / "weights.safetensors")) - 1
    export = ["export", "-c", str(short[0]), "--ckpt_path", str(whole / "checkpoints/last.ckpt")]
    assert cli.main([*export, "--output", str(tmp_path / "export")]) == 0
    assert WorldModel.from_pretrained(tmp_path / "export").steps == 2
    capsys.readouterr()
    assert fit(short, again, "--ckpt_path", str(checkpoint), "--model.teacher", "null") == 2
    assert "of a student of another teacher or start" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_other_chunks_than_the_teacher_s_are_refused(short, tmp_path, capsys):
    assert fit(short, tmp_path / "run", "--data.window.horizon", "3") == 2
    assert "Expected chunks of 4 future frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": 2.0}, "are a teacher's: give --model.teacher EXPORT"),
        ({"regression": True}, "are a teacher's: give --model.teacher EXPORT"),
        ({"teacher_steps": 3}, "are a teacher's: give --model.teacher EXPORT"),
        ({"guide_on": "action", "start": "rooms"}, "or leave them out"),
        ({"teacher": "rooms", "start": "rooms"}, "starts as the teacher: leave start out"),
        (
            {"teacher": "rooms", "regression": True, "own_contexts": OwnContexts()},
            "Stored rollouts",
        ),
        ({"teacher": "rooms", "guidance": 2.0, "guide_on": "text"}, "SVD can be guided on image"),
        ({"stages": 0}, "stages"),
        ({"huber": 0.0}, "huber"),
        ({"visited": 1.5}, "visited"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_prior, options, message):
    with pytest.raises(ValueError, match=message):
        Student(SVD(str(tiny_prior)), **options)


def test_a_teacher_of_another_base_or_meaning_is_refused(teacher, tiny_prior, spec):
    other = replace(spec, units=("m", "m", "deg"))
    with pytest.raises(ValueError, match="deg"):
        student_of(teacher, tiny_prior, spec=other)
    with pytest.raises(ValueError, match="Expected the ranges of actions"):
        student_of(teacher, tiny_prior, spec=replace(spec, high=tuple(2 * x for x in spec.high)))
    with pytest.raises(ValueError, match="Expected the body's state in both or neither"):
        student_of(teacher, tiny_prior, spec=spec, state_spec=spec)
    with pytest.raises(ValueError, match="belongs to"):
        Student(SVD(str(tiny_prior)), teacher="rooms").configure_model()
    with pytest.raises(FileNotFoundError, match="Expected an export"):
        Student(SVD(str(tiny_prior)), teacher="nowhere").configure_model()
