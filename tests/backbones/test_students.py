"""A student of every family takes a step, and its export is a world model's."""

import pytest
import torch

import egowm.backbones
from egowm.sampling import Sampling
from egowm.student import Student
from egowm.world_model import WorldModel

from .test_families import clips, context, generator, obedient


@pytest.mark.long
@pytest.mark.parametrize("guide_on", [None, "action"])
def test_a_student_s_step(model, family, tiny, tmp_path, guide_on):
    """Its loss falls on the batch that it learned from."""
    obedient(model).save_pretrained(tmp_path / "teacher")
    options = {"context": 1} if family.name == "cdit" else {}
    backbone = getattr(egowm.backbones, family.backbone)(str(tiny(family.name)), **options)
    guidance = 1.0 if guide_on is None else 1.5
    student = Student(
        backbone,
        teacher=str(tmp_path / "teacher"),
        guidance=guidance,
        guide_on=guide_on,
        teacher_steps=20,
        chunk=family.horizon,
        steps=2,
        stages=1,
    )
    student.configure_model()
    student.train()
    trained = [p for p in student.parameters() if p.requires_grad]

    def loss():
        torch.manual_seed(0)  # some families draw noise without a generator
        return student.loss(clips(family), generator())[0]

    first = loss()
    first.backward()
    norm = torch.stack([p.grad.norm() for p in trained if p.grad is not None]).norm()
    assert norm.isfinite()
    assert student.action_embedding.linear_2.weight.grad.abs().max() > 0
    with torch.no_grad():
        for weight in trained:
            if weight.grad is not None:
                weight -= 0.01 * first.detach() / norm**2 * weight.grad
    assert 0 < loss() < first
    student.save_pretrained(tmp_path / "student")
    made = WorldModel.from_pretrained(tmp_path / "student")
    actions = torch.zeros(1, family.horizon, 3)
    frames = made.rollout(context(family), actions, Sampling(decode="none"), generator=generator())
    assert made.steps == 2
    assert frames.latents.isfinite().all()
