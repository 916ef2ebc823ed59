"""An exponential moving average of the trained parameters: what is validated and exported."""

from typing import Any, Literal, get_args

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from egowm.checks import counted
from egowm.network.sharding import gathered, placed

Device = Literal["same", "cpu"]


class WeightAverage(Callback):
    """Keeps a moving average of the trained parameters, for validation and exports.

    Training goes on with the weights themselves, and a checkpoint holds both. In the first steps
    the decay is min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten.

    Args:
        decay: share of the average that each optimizer step keeps, between 0 and 1.
        device: "same" keeps the average where the parameters are; "cpu" keeps it off the GPU, at
            the price of a copy per step.

    >>> WeightAverage(decay=0.9995).decay
    0.9995
    """

    def __init__(self, decay: float = 0.999, device: Device = "same") -> None:
        if not 0 < decay < 1:
            raise ValueError(f"WeightAverage: expected a decay between 0 and 1, got {decay}.")
        if device not in get_args(Device):
            raise ValueError(f"WeightAverage: expected device same or cpu, got {device!r}.")
        self.decay, self.device = decay, device
        self.updates = 0
        self.weights: dict[str, Tensor] = {}
        self._step = -1
        self._own: dict[str, Tensor] = {}  # the model's weights while it wears the average

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trained = trained_parameters(pl_module)
        if self.weights and set(self.weights) != set(trained):
            raise ValueError(
                f"The checkpoint's average is of {counted(len(self.weights), 'parameter')}, this "
                f"model trains {len(trained)}: give the recipe that it was trained with."
            )
        start = self.weights or {name: p.detach().clone() for name, p in trained.items()}
        self.weights = {name: self._placed(start[name], p) for name, p in trained.items()}
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        if trainer.global_step == self._step:
            return  # gradients are still being gathered
        self._step = trainer.global_step
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in trained_parameters(pl_module).items():
            average = self.weights[name]
            average.lerp_(parameter.detach().to(average), weight)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        weights = self.weights
        if any(isinstance(weight, DTensor) for weight in weights.values()):
            weights = {name: gathered(weight) for name, weight in weights.items()}
        return {"updates": self.updates, "weights": weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates, self.weights = state_dict["updates"], dict(state_dict["weights"])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap_in(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap_out(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap_in(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap_out(pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap_in(pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap_out(pl_module)

    @torch.no_grad()
    def _swap_in(self, model: LightningModule) -> None:
        """Put the average in the place of the weights; before the first step they are the same."""
        if not self.updates:
            return
        for name, parameter in trained_parameters(model).items():
            self._own[name] = parameter.detach().to(self.weights[name].device, copy=True)
            parameter.copy_(self.weights[name])

    @torch.no_grad()
    def _swap_out(self, model: LightningModule) -> None:
        trained = trained_parameters(model)
        for name, own in self._own.items():
            trained[name].copy_(own)
        self._own.clear()

    def _placed(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        """In float32, since small steps would be lost below it."""
        sharded = isinstance(parameter, DTensor)
        if sharded and self.device == "cpu" and parameter.device.type != "cpu":
            raise ValueError(
                "WeightAverage: a sharded run keeps its average where the weights are, a part in "
                "each process: expected device same, got cpu."
            )
        if sharded and not isinstance(tensor, DTensor):  # from a checkpoint
            tensor = placed(tensor, parameter)
        device = torch.device("cpu") if self.device == "cpu" else parameter.device
        return tensor.to(device, torch.float32, copy=True)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the optimizer changes, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def averaged_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The average that a checkpoint holds, by parameter name; empty where it holds none."""
    for name, state in checkpoint.get("callbacks", {}).items():
        if name.startswith(WeightAverage.__qualname__) and state["updates"]:
            weights: dict[str, Tensor] = state["weights"]
            return weights
    return {}
