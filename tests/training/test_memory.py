"""`egowm memory`: predicted without weights, against what a real step takes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from egowm import cli
from egowm.backbones import SVD
from egowm.data import Clip, Window
from egowm.optimisation import adamw
from egowm.training.memory import Live, Memory, traced
from egowm.training.memory_cli import Rung, choices
from egowm.world_model import WorldModel

ROOT = Path(__file__).resolve().parent.parent.parent
WINDOW = Window(1, 4, 1, 32, 32)


def test_what_is_alive_is_counted():
    with Live() as live:
        first = torch.zeros(1000)
        view = first[10:]
        second = first + 1
        assert live.bytes == 8000
        del first
        assert live.bytes == 8000  # the view still holds it
        del view, second
        assert live.bytes == 0
    assert live.peak == 8000


def real_peak(model: WorldModel, clip: Clip, precision: str) -> int:
    """Bytes of one training step after the first, by torch's profiler."""
    optimizer = adamw(model.parameters(), 1e-5, 1, 10)["optimizer"]
    half = torch.bfloat16 if precision == "bf16-mixed" else None
    for step in range(2):
        optimizer.zero_grad(set_to_none=True)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            with torch.autocast("cpu", half, enabled=half is not None):
                loss = model.loss(clip)[0]
            loss.backward()
        if step == 0:
            optimizer.step()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [t for state in optimizer.state.values() for t in state.values()]
    return peak + sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize(
    ("train", "checkpointing", "precision"),
    [
        ("full", False, "32-true"),
        ("full", True, "32-true"),
        ("lora", False, "32-true"),
        ("full", False, "bf16-mixed"),
    ],
)
def test_predicted_is_real_within_15_percent(tiny_prior, spec, train, checkpointing, precision):
    def build() -> WorldModel:
        options = {"train": train, "gradient_checkpointing": checkpointing, "lora_rank": 4}
        return WorldModel(SVD(str(tiny_prior)), spec=spec, **options)

    predicted = traced(build(), WINDOW, 4, precision)
    model = build()
    model.configure_model()
    model.train()
    frames = torch.randint(0, 256, (4, 5, 3, 32, 32), dtype=torch.uint8)
    rest = torch.zeros(4, 0, 3), torch.zeros(4, 0), [""] * 4, [""] * 4, [""] * 4
    found = real_peak(model, Clip(frames, torch.zeros(4, 4, 3), *rest), precision)
    print(train, checkpointing, precision, predicted.step / 1e6, found / 1e6)
    assert predicted.step == pytest.approx(found, rel=0.15)
    assert predicted.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert predicted.activations > 0.2 * predicted.step  # else this would test nothing


def test_no_weight_is_read(tiny_prior, tmp_path, spec):
    """Configurations are enough."""
    import shutil

    ignore = shutil.ignore_patterns("*.safetensors")
    folder = shutil.copytree(tiny_prior, tmp_path / "bare", ignore=ignore)
    with_weights, without = (
        traced(WorldModel(SVD(str(f)), spec=spec), WINDOW, 2, "32-true")
        for f in (tiny_prior, folder)
    )
    assert with_weights == without
    twice = traced(WorldModel(SVD(str(folder)), spec=spec), WINDOW, 4, "32-true")
    assert twice.activations == pytest.approx(2 * without.activations, rel=0.3)


def test_the_first_rung_that_fits_is_chosen():
    memory = Memory(parameters=1, weights=0, gradients=0, optimizer=0, activations=0)
    sizes = (("full", False, 60e9), ("full", True, 30e9), ("lora", True, 23e9))
    rungs = [Rung(t, c, replace(memory, activations=int(size))) for t, c, size in sizes]
    lines = choices(rungs, ("full", True))
    assert lines[0].startswith("  24 GB: nothing fits")
    assert lines[1].startswith("  40 GB: full, checkpointing, 30.00 GB: --model.train full")
    assert lines[1].endswith("true (as the recipe is)")
    assert [line.split(": ")[1].split(",")[0] for line in lines[2:]] == ["full", "full"]


def test_the_command(recipe, capsys):
    assert cli.main(["memory", "-c", str(recipe), "--trainer.precision", "bf16-mixed"]) == 0
    out = capsys.readouterr().out
    assert "1 + 3 frames of 16x16, batch 2, bf16-mixed" in out
    names = re.findall(r"^(full|temporal|lora|conditioning)(, checkpointing)? ", out, re.M)
    assert len(names) == 7
    assert "  24 GB: full, 0." in out
    assert "(as the recipe is)" in out
    assert cli.main(["memory", "-c", "none.yaml"]) == 2
