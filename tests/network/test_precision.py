"""float32 in place of bf16-mixed, where and only where a processor has no bfloat16."""

import pytest

from egowm.network import precision


@pytest.mark.parametrize(
    ("asked", "accelerator", "has", "gets"),
    [
        ("bf16-mixed", "cpu", False, "32-true"),
        ("bf16", "cpu", False, "32-true"),
        ("bf16-mixed", "auto", False, "32-true"),
        ("bf16-mixed", "cpu", True, "bf16-mixed"),
        ("bf16-mixed", "cuda", False, "bf16-mixed"),
        ("bf16-true", "cpu", False, "bf16-true"),
        ("32-true", "cpu", False, "32-true"),
        (None, "cpu", False, None),
    ],
)
def test_the_precision_a_trainer_gets(monkeypatch, caplog, asked, accelerator, has, gets):
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device: has)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with caplog.at_level("INFO"):
        assert precision.trainer_precision(asked, accelerator) == gets
    assert ("float32" in caplog.text) == (asked != gets)


def test_a_gpu_in_the_machine_keeps_what_was_asked(monkeypatch):
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device: False)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    assert precision.trainer_precision("bf16-mixed", "auto") == "bf16-mixed"


def test_every_gpu_computes_in_bfloat16():
    assert precision.computes_in_bfloat16("cuda")
