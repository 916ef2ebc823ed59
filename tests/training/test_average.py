"""The moving average: of what is trained, in closed form, worn in validation only."""

from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule
from torch import nn

from egowm.training.average import WeightAverage, averaged_weights, trained_parameters


class Two(LightningModule):
    """One trained and one frozen layer."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.trained, self.frozen = nn.Linear(3, 2).to(dtype), nn.Linear(3, 2)
        self.frozen.requires_grad_(False)


def at(step: int):
    return SimpleNamespace(global_step=step)


def trained_for(average: WeightAverage, model: Two, steps: int) -> list[torch.Tensor]:
    """Set the weight to 1, 2, ... as training would; what it was after each step."""
    average.on_train_start(at(0), model)
    seen = [model.trained.weight.detach().clone()]
    for step in range(1, steps + 1):
        model.trained.weight.data.fill_(float(step))
        average.on_train_batch_end(at(step), model)
        average.on_train_batch_end(at(step), model)  # a batch that only gathers gradients
        seen.append(model.trained.weight.detach().clone())
    return seen


@pytest.mark.parametrize("device", ["same", "cpu"])
def test_closed_form(device):
    model, average = Two(), WeightAverage(decay=0.5, device=device)
    seen = trained_for(average, model, 12)
    expected = seen[0]
    for n, weight in enumerate(seen[1:]):
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(average.weights["trained.weight"], expected)
    assert set(average.weights) == {"trained.weight", "trained.bias"}
    assert average.updates == 12


def test_it_is_worn_in_validation_only():
    """Weights of a lower precision come back to the bit."""
    model, average = Two(torch.bfloat16), WeightAverage(0.9)
    trained_for(average, model, 3)
    own = {name: p.detach().clone() for name, p in trained_parameters(model).items()}
    assert average.weights["trained.weight"].dtype == torch.float32
    average.on_validation_start(at(3), model)
    worn = model.trained.weight.detach().clone()
    assert torch.equal(worn, average.weights["trained.weight"].bfloat16())
    assert not torch.equal(worn, own["trained.weight"])
    average.on_validation_end(at(3), model)
    assert all(torch.equal(p, own[name]) for name, p in trained_parameters(model).items())


def test_it_goes_on_where_it_was():
    """Two halves make the same average as the whole."""
    torch.manual_seed(0)
    whole = WeightAverage(0.9)
    trained_for(whole, Two(), 6)
    torch.manual_seed(0)
    model, first, second = Two(), WeightAverage(0.9), WeightAverage(0.9)
    trained_for(first, model, 3)
    second.load_state_dict(first.state_dict())
    second.on_train_start(at(3), model)
    for step in (4, 5, 6):
        model.trained.weight.data.fill_(float(step))
        second.on_train_batch_end(at(step), model)
    assert second.updates == whole.updates == 6
    assert torch.equal(second.weights["trained.weight"], whole.weights["trained.weight"])
    checkpoint = {"callbacks": {"WeightAverage": second.state_dict(), "StepSeeds": {"seed": 1}}}
    assert averaged_weights(checkpoint) is second.weights
    assert averaged_weights({"callbacks": {"StepSeeds": {"seed": 1}}}) == {}


def test_an_average_of_other_parameters_is_refused():
    first, second = WeightAverage(), WeightAverage()
    trained_for(first, Two(), 2)
    second.load_state_dict(first.state_dict())
    model = Two()
    model.frozen.requires_grad_(True)
    with pytest.raises(ValueError, match="average is of 2 parameters, this model trains 4"):
        second.on_train_start(at(2), model)


@pytest.mark.parametrize(("decay", "device"), [(0.0, "same"), (1.0, "same"), (0.9, "gpu")])
def test_bad_arguments(decay, device):
    with pytest.raises(ValueError, match="WeightAverage: expected"):
        WeightAverage(decay, device)
