"""AdamW: its schedule, linear warm-up and then a cosine to zero; its kinds, and what they take."""

import math
import sys
from types import ModuleType

import pytest
import torch

from egowm.network.optimizer import adamw, averages_bytes


def test_schedule_in_closed_form():
    trained = torch.nn.Parameter(torch.ones(2))
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    parts = adamw([trained, frozen], learning_rate=0.4, warmup=4, total_steps=12)
    optimizer, schedule = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    assert optimizer.param_groups[0]["params"] == [trained]
    assert parts["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(14):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [0.1, 0.2, 0.3, 0.4]
    expected += [0.2 * (1 + math.cos(math.pi * k / 8)) for k in range(8)] + [0.0, 0.0]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor(expected))


def test_no_warmup():
    parts = adamw([torch.nn.Parameter(torch.ones(1))], 0.4, warmup=0, total_steps=1)
    assert parts["optimizer"].param_groups[0]["lr"] == 0.4


@pytest.fixture
def bitsandbytes(monkeypatch):
    """A package of that name whose optimizers are torch's, under its names."""
    package, inner = ModuleType("bitsandbytes"), ModuleType("bitsandbytes.optim")
    for name in ("AdamW8bit", "PagedAdamW", "PagedAdamW8bit"):
        setattr(inner, name, type(name, (torch.optim.AdamW,), {}))
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", inner)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("adamw", "AdamW"),
        ("adamw_8bit", "AdamW8bit"),
        ("paged_adamw", "PagedAdamW"),
        ("paged_adamw_8bit", "PagedAdamW8bit"),
    ],
)
def test_each_kind_is_its_class(bitsandbytes, kind, name):
    """With the same settings and the same schedule."""
    device = "cpu" if kind == "adamw" else "meta"  # a GPU, as far as this goes
    parts = adamw([torch.nn.Parameter(torch.ones(1, device=device))], 0.4, 4, 12, kind)
    [group] = parts["optimizer"].param_groups
    assert type(parts["optimizer"]).__name__ == name
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (0.1, 0.4, 1e-2)


def test_where_a_kind_is_missing(monkeypatch):
    on_gpu = [torch.nn.Parameter(torch.ones(1, device="meta"))]
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    words = r"paged_adamw needs the package bitsandbytes, .* pip install 'egowm\[bitsandbytes\]'"
    with pytest.raises(ValueError, match=words):
        adamw(on_gpu, 0.4, 4, 12, "paged_adamw")
    with pytest.raises(ValueError, match="adamw_8bit needs a GPU, and this run is on the CPU"):
        adamw([torch.nn.Parameter(torch.ones(1))], 0.4, 4, 12, "adamw_8bit")
    with pytest.raises(ValueError, match=r"Expected an optimizer of adamw, .* got 'sgd'"):
        adamw(on_gpu, 0.4, 4, 12, "sgd")


def test_what_the_averages_take():
    """Two bytes a value and two scales a block of 256; tensors below 4096 values in float32."""
    sizes = (4095, 4096, 10_000)
    assert averages_bytes("adamw", sizes) == 8 * 18_191
    assert averages_bytes("adamw", sizes, width=2) == 4 * 18_191
    expected = 8 * 4095 + (2 * 4096 + 8 * 16) + (2 * 10_000 + 8 * 40)
    assert averages_bytes("adamw_8bit", sizes) == expected == 61_400
    assert averages_bytes("paged_adamw", sizes) == averages_bytes("paged_adamw_8bit", sizes) == 0
