"""AdamW's schedule: linear warm-up, then a cosine to zero."""

import math

import torch

from egowm.optimisation import adamw


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
