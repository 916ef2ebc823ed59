"""The weights of an export: what is written of a model, and how it comes back."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from egowm.backbones.base import Backbone
from egowm.checksums import sum_of
from egowm.metadata import Described
from egowm.network.finite import check_finite, check_rounded
from egowm.network.trained_part import merged_weights

EARLIER = "Train on from an earlier checkpoint with a lower learning rate, and export that"


def weights_of(model: Described, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """All that an export holds, under the names that it has there.

    Raises ValueError for weights with NaN or infinity, and for those that `dtype` cannot hold.
    """
    backbone = model.backbone
    trained = _of_network(backbone.network.state_dict()) | _embeddings(model)
    check_finite(trained, "Nothing was written", f"{EARLIER}.")
    weights = _of_network(merged_weights(backbone.network, dtype))
    weights |= _embeddings(model) | _empty_text(backbone)
    rounded = {k: v.detach().cpu().to(dtype or v.dtype).contiguous() for k, v in weights.items()}

    def exact(name: str) -> torch.Tensor:
        return _of_network(merged_weights(backbone.network)).get(name, weights[name])

    advice = "Export without rounding: no --half, or no dtype."
    check_rounded(rounded, exact, "Nothing was written", advice)
    return rounded


def _of_network(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"network.{name}": weight for name, weight in state.items()}


def read_weights(file: Path, sha256: str | None) -> dict[str, torch.Tensor]:
    """Older exports name no sha256."""
    if sha256 not in (None, sum_of(file)):
        raise ValueError(f"expected weights with sha256 {str(sha256)[:12]}...")
    weights: dict[str, torch.Tensor] = load_file(file)
    return weights


def take_weights(model: Any, weights: dict[str, torch.Tensor], in_pipeline: bool = False) -> None:
    """All that `save` wrote, and nothing else. in_pipeline: the network's lie in the base."""
    backbone = model.backbone
    network = {k: v for k, v in weights.items() if k.startswith("network.")}
    if network or not in_pipeline:
        own = {k.removeprefix("network."): v for k, v in network.items()}
        backbone.network.load_state_dict(own)
    if "text.embedding" in weights:
        texts = backbone.codec.texts
        texts.remember("", weights["text.embedding"], weights["text.mask"])
    own = {k: v for k, v in weights.items() if not k.startswith(("network.", "text."))}
    left = model.load_state_dict(own, strict=False)
    missing = set(_embeddings(model)) & set(left.missing_keys)
    if missing or left.unexpected_keys:
        raise ValueError(
            f"Missing key(s) {sorted(missing)}, unexpected key(s) {left.unexpected_keys}"
        )


def _embeddings(model: Described) -> dict[str, torch.Tensor]:
    """What egowm adds to the backbone: the weights of the embeddings."""
    state = model.state_dict()
    return {k: v for k, v in state.items() if not k.startswith("backbone.")}


def _empty_text(backbone: Backbone) -> dict[str, torch.Tensor]:
    """What "" means to the backbone: an export needs no text encoder for it."""
    if backbone.codec.texts is None:
        return {}
    embedding, mask = backbone.codec.texts([""], torch.device("cpu"))
    return {"text.embedding": embedding[0], "text.mask": mask[0]}
