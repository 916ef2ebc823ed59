"""The published Ego4D checkpoint of MooG: its sizes, and the names that its arrays have.

Sizes and names are those of the modules in the notebook `moog_inference_demo` of the repository
representations4d (Apache-2.0); Flax names what has no name by class and number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egowm.arrays import read_npz
from egowm.network.finite import check_finite
from egowm.network.off_grid import OffGrid

EGO4D: dict[str, Any] = {
    "size": 256, "tokens": "off_grid", "num_tokens": 1024, "width": 512, "layers": (3, 2, 6),
    "heads": (4, 8, 2), "head_width": 64, "hidden": 2048,
    "channels": (64, 128, 128, 256, 256, 512), "strides": (2, 1, 1, 2, 1, 1), "bases": (20, 16),
    "layout": "ego4d",
}  # fmt: skip
ANCHOR = "encoder/backbone/Conv_0/kernel"  # what stands before it stands before every name
_PARTS = {"predictor": "predictor_sa", "corrector": "predictor_ca",
          "decoder": "decoder/transformer"}  # fmt: skip
_FEATURES = {"norm_maps": "encoder/backbone/LayerNorm_0", "enter": "encoder/transformer/Dense_0",
             "norm": "encoder/transformer/norm_encoder",
             "leave": "encoder/transformer/Dense_1"}  # fmt: skip
_BLOCK = {"norm_tokens": "norm_q", "norm_mlp": "norm_attn", "enter": "MLP_in", "leave": "MLP_out"}
_ATTENTION = {"query": "dense_query", "key": "dense_key", "value": "dense_value",
              "out": "dense_out", "norm_query": "norm_query", "norm_key": "norm_key"}  # fmt: skip


def read_ego4d(path: Path, network: OffGrid) -> dict[str, Tensor]:
    """The weights of an npz by the names that `network` has for them.

    Args:
        path: The npz.
        network: Of the layout "ego4d"; its shapes must be those of the file.

    Raises:
        ValueError: Arrays that are missing, unknown, of another shape or not finite.
    """
    arrays = read_npz(path)
    anchors = [name for name in arrays if name.endswith(ANCHOR)]
    before = anchors[0].removesuffix(ANCHOR) if anchors else ""
    found: dict[str, Tensor] = {}
    for name, weight in network.state_dict().items():
        key = before + name_of(name)
        if key not in arrays:
            raise ValueError(f"{path}: expected the array {key}, found none of this name.")
        value = as_ours(key, arrays.pop(key), tuple(weight.shape))
        if value is None:
            raise ValueError(f"{path}: {key} does not fit the shape {tuple(weight.shape)}.")
        found[name] = torch.from_numpy(np.array(value, np.float32, order="C"))
    if arrays:
        raise ValueError(f"{path}: {min(arrays)} is not an array of the Ego4D network.")
    check_finite(found, str(path), "Fetch the file again.")
    return found


def name_of(name: str) -> str:
    """The published name of one of our weights: "norm.weight" is "state_layer_norm/scale"."""
    *place, kind = name.split(".")
    is_scale = kind == "weight" and place[-1].startswith("norm")
    leaf = "scale" if is_scale else "kernel" if kind == "weight" else kind
    return "/".join([*_published(place), leaf])


def _published(place: list[str]) -> Iterator[str]:
    """The published modules of one of ours."""
    if place[0] == "features":
        number = place[-1]
        yield _FEATURES.get(place[1]) or f"encoder/backbone/Conv_{number}"
    elif place[0] in _PARTS:
        yield _PARTS[place[0]]
        if place[1] == "norm":
            yield "norm_encoder"
            return
        yield f"layer_{place[2]}"
        if place[3] in ("own", "cross"):
            yield "self_att" if place[3] == "own" else "cross_att"
            yield _ATTENTION[place[4]]
        else:
            yield _BLOCK[place[3]]
    else:
        yield {"norm": "state_layer_norm", "colour": "decoder/recon"}[place[0]]


def as_ours(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A Flax array as torch has it, inputs behind outputs; None where that does not give `shape`.

    Args:
        name: The published one.
        array: Of a convolution (h, w, in, out), of a layer (in, out), of an attention's layers (in,
            heads, d) and of its last layer (heads, d, out).
        shape: Of our weight.
    """
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 3:
        flat = (
            array.reshape(-1, array.shape[-1])
            if "dense_out" in name
            else array.reshape(len(array), -1)
        )
        array = flat.T
    elif array.ndim == 2:
        array = array.T
    return array if array.shape == shape else None
