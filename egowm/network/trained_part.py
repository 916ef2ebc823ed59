"""Which part of a pretrained network is trained: all, its temporal layers, a LoRA, or nothing.

egowm's own embeddings are trained in every case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Train = Literal["full", "lora", "temporal", "conditioning"]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")  # the projections, in every diffusers network


@dataclass(frozen=True)
class TrainedPart:
    """The part of a backbone's network that a fit changes; the rest is frozen.

    Args:
        how: "full", the whole network; "temporal", the layers that mix frames, where the family
            keeps them apart; "lora", low-rank additions (Hu et al. 2021, arXiv 2106.09685) to
            linear layers; "conditioning", nothing.
        rank: Rank of the LoRA, at least 1; its scale is 1 (alpha = rank).
        targets: Last parts of the names of the layers that get one.
    """

    how: Train = "full"
    rank: int = 16
    targets: tuple[str, ...] = ATTENTION

    def __post_init__(self) -> None:
        if self.how not in get_args(Train):
            raise ValueError(f"Expected train {', '.join(get_args(Train))}, got {self.how!r}.")
        if self.how == "lora" and self.rank < 1:
            raise ValueError(f"Expected lora_rank of at least 1, got {self.rank}.")

    def select(
        self, network: nn.Module, temporal_layers: Sequence[str] = (), random: Sequence[str] = ()
    ) -> None:
        """Freeze the network's other parameters, and insert the LoRA (idempotent).

        Args:
            network: a diffusers network.
            temporal_layers: names of its modules that mix frames, where these are apart.
            random: the pipeline's parts that start from random weights.
        """
        if self.how != "full" and {"unet", "transformer"} & set(random):
            raise ValueError(
                f"Random weights that are frozen would be in no checkpoint: expected train full "
                f"with --model.backbone.random {list(random)}, got {self.how}."
            )
        if self.how == "lora":
            if not has_lora(network):
                self._insert(network)
        elif self.how == "temporal":
            layers = set(temporal_layers)
            if not layers:
                raise ValueError(
                    f"{type(network).__name__} has no temporal layers of their own (its blocks "
                    f"mix time and space): expected train full, lora or conditioning."
                )
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(not layers.isdisjoint(name.split(".")))
        elif self.how == "conditioning":
            network.requires_grad_(False)

    @property
    def record(self) -> dict[str, Any]:
        """Plain values for a checkpoint, which holds this part's weights only."""
        if self.how != "lora":
            return {"train": self.how}
        return {"train": "lora", "lora_rank": self.rank, "lora_targets": list(self.targets)}

    def compare(self, saved: Mapping[str, Any] | None) -> None:
        """Refuse a checkpoint of another part: its weights would be left out without a word."""
        theirs = dict(saved or {"train": "full"})  # the first checkpoints do not say
        if theirs != self.record:
            raise ValueError(
                f"The checkpoint was trained with {_words(theirs)}, this model is set to "
                f"{_words(self.record)}: give the recipe it was trained with (config.yaml in the "
                f"run's lightning_logs/version_N), or WorldModel(..., train={theirs['train']!r}, "
                f"...)."
            )

    def _insert(self, network: nn.Module) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        linear = [name for name, m in network.named_modules() if isinstance(m, nn.Linear)]
        for target in self.targets:
            if not any(f".{name}".endswith(f".{target}") for name in linear):
                raise ValueError(
                    f"lora_targets: no linear layer of {type(network).__name__} is called "
                    f"{target!r}; its layers are called, for example, {linear[0]}."
                )
        config = LoraConfig(
            r=self.rank, lora_alpha=self.rank, target_modules=list(self.targets), bias="none"
        )
        inject_adapter_in_model(config, network)


def has_lora(network: nn.Module) -> bool:
    """Whether a LoRA was inserted into this network."""
    return any(".lora_A." in name for name, _ in network.named_parameters())


@torch.no_grad()
def merged_weights(network: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The network's weights under diffusers' names, a LoRA added to those it belongs to.

    The network stays as it is. dtype: what the weights are rounded to, after the addition.
    Raises ValueError where a LoRA changes no weight.
    """
    if not has_lora(network):
        return {k: v.to(dtype or v.dtype) for k, v in network.state_dict().items()}
    from peft.tuners.lora import LoraLayer

    state = {k: v for k, v in network.state_dict().items() if ".lora_" not in k}
    plain = {k.replace(".base_layer.", "."): v.to(dtype or v.dtype) for k, v in state.items()}
    changed = 0
    for name, layer in network.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        base, key = layer.get_base_layer().weight, f"{name}.weight"
        added = layer.get_delta_weight("default").float()
        merged = (base.float() + added).to(plain[key].dtype)
        changed += not torch.equal(merged, plain[key])
        plain[key] = merged
    if not changed:
        raise ValueError(
            "The LoRA changes no weight of the network: train it before saving an export (and "
            "where it was trained, save without rounding to float16)."
        )
    return plain


def _words(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())
