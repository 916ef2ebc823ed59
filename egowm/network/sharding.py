"""Sharding over processes (FSDP2): each holds its part of weights, gradients and optimizer state.

`WorldModel.configure_model` shards the network block by block, and the embeddings: a block's
weights are gathered when it computes, and let go again. Frozen encoders are whole everywhere.
`DINOv2` shards student, teacher and heads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only


class Sharded(ModelParallelStrategy):
    """Lightning's FSDP2 over all processes, with the checkpoints of a run of one process.

    A checkpoint is gathered, and written by one process through the run's own `CheckpointIO`; it is
    read by any number of processes, sharded or not.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        assert self.model is not None
        if not any(isinstance(module, FSDPModule) for module in self.model.modules()):
            raise ValueError(
                f"{type(self.model).__name__} cannot be sharded, only a WorldModel and DINOv2 can: "
                f"use --trainer.strategy ddp."
            )
        loops = trainer.validate_loop, trainer.test_loop, trainer.predict_loop
        for loop in (*loops, trainer.fit_loop.epoch_loop.val_loop):
            loop.inference_mode = False  # weights gathered in it could not be trained afterwards
        super().setup(trainer)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """What is trained, whole, in the first process, nothing in the others; of a model with a
        teacher, all of it."""
        assert self.model is not None
        held = self.model.state_dict()
        if not hasattr(self.model, "teacher"):
            trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
            held = {name: p for name, p in held.items() if name in trained}
        return {name: gathered(p) for name, p in held.items()}

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.model is not None
        own = self.model.state_dict()
        for name, value in checkpoint["state_dict"].items():
            own[name].copy_(placed(value, own[name]))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As `Optimizer.state_dict` of one process: parameters are numbered in their order."""
        state = getattr(optimizer, "_optimizer", optimizer).state_dict()
        whole_state: dict[str, Any] = tree_map_only(DTensor, gathered, state)
        return whole_state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            own = [p for group in optimizer.param_groups for p in group["params"]]
            numbers = [k for group in saved["param_groups"] for k in group["params"]]
            state = {
                k: {name: _like(value, p) for name, value in saved["state"][k].items()}
                for k, p in zip(numbers, own, strict=True)
                if k in saved["state"]
            }
            optimizer.load_state_dict({**saved, "state": state})

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        """Read by every process."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path)


def shard(
    model: nn.Module, network: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh
) -> None:
    """Shard a network's blocks, the rest of it, and what else a model trains, over all processes.

    The embeddings belong to the model itself, whose parameters are gathered for `embed`; it is
    called before the network at every step.

    Args:
        model: has the method `embed`.
        network: the diffusers network inside it.
        blocks: the network's modules that are gathered one by one.
        mesh: the devices, as Lightning's `ModelParallelStrategy` arranges them.
    """
    line = shard_network(network, blocks, mesh)
    frozen = {p for p in model.parameters() if not p.requires_grad} - set(network.parameters())
    # FSDP2 keeps the root module gathered after its forward by default; sharded again here, or its
    # parameters would stay whole after validation.
    fully_shard(model, mesh=line, reshard_after_forward=True, ignored_params=frozen)
    register_fsdp_forward_method(model, "embed")


def shard_network(network: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh) -> DeviceMesh:
    """Shard a network's blocks one by one, and the rest of it; gives the processes that share them.

    Args:
        network: what is called as a whole.
        blocks: its modules that are gathered one by one.
        mesh: the devices, as Lightning's `ModelParallelStrategy` arranges them.
    """
    if mesh["tensor_parallel"].size() > 1:
        raise ValueError(
            "egowm shards over data alone: expected tensor_parallel_size 1, got "
            f"{mesh['tensor_parallel'].size()}. Use --trainer.strategy "
            f"sharded."
        )
    line = mesh["data_parallel"]
    for block in blocks:
        fully_shard(block, mesh=line)
    fully_shard(network, mesh=line, reshard_after_forward=True)
    return line


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """The same for a checkpoint: on the CPU of the first process, and nothing in the others."""
    if not isinstance(tensor, DTensor):
        return tensor
    gathered_tensor = whole(tensor)
    return gathered_tensor.cpu() if torch.distributed.get_rank() == 0 else torch.empty(0)


def placed(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor as its parameter lies: on its device, and sharded where it is."""
    tensor = tensor.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)


def _like(value: Any, parameter: Tensor) -> Any:
    """A value of an optimizer's state: an average of the parameter's shape, or a step number."""
    same = isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim > 0
    return placed(value, parameter) if same else value
