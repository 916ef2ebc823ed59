"""Folders of trained MooG networks: weights and the arguments that the network is built with."""

import inspect
import json
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import save_file

from egowm.backbones.arguments import check_arguments
from egowm.checks import counted
from egowm.checksums import sum_of
from egowm.encoder import ENCODER
from egowm.exported_weights import EARLIER, read_weights
from egowm.files import check_folder, filled
from egowm.network.finite import check_finite, check_rounded
from egowm.network.off_grid import OffGrid
from egowm.readable import undamaged
from egowm.sizes import no_larger_than, room_for
from egowm.typed_json import read_json

KIND, FORMAT = "MooG", 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
EXPECTED = "what MooG's save_pretrained writes (copy the export again)"


class _Record(TypedDict):
    format: int
    kind: str
    arguments: dict[str, Any]
    weights_sha256: str


def save(network: OffGrid, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write a folder that `load` opens, whole or not at all.

    Args:
        network: With finite weights.
        folder: New, or one that was written so before, which is replaced.
        dtype: The weights are rounded to it; None keeps theirs.

    Raises:
        ValueError: Weights with NaN or infinity, or beyond what `dtype` holds.
    """
    check_folder(folder, ENCODER, force=True)
    exact = network.state_dict()
    check_finite(exact, "Nothing was written", f"{EARLIER}.")
    weights = {k: v.detach().cpu().to(dtype or v.dtype).contiguous() for k, v in exact.items()}
    check_rounded(
        weights, exact.__getitem__, "Nothing was written", "Export without rounding: no --half."
    )
    record = {"format": FORMAT, "kind": KIND, "arguments": arguments_of(network)}
    with filled(folder, ENCODER) as temporary:
        save_file(weights, temporary / WEIGHTS)
        record |= {"weights_sha256": sum_of(temporary / WEIGHTS)}
        (temporary / CONFIG).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(_readme(network, folder), encoding="utf-8")


def load(folder: Path) -> OffGrid:
    """The network of a folder, in eval mode.

    Args:
        folder: That `save` wrote.

    Raises:
        FileNotFoundError: A file that is missing.
        ValueError: A folder of something else, or damaged files.
    """
    path = folder / CONFIG
    for file in (path, folder / WEIGHTS):
        if not file.is_file():
            raise FileNotFoundError(
                f"Expected {file}, found none: give the folder of a trained MooG (egowm export)."
            )
    record: _Record = read_json(path, _Record, EXPECTED)
    if (record["kind"], record["format"]) != (KIND, FORMAT):
        raise ValueError(
            f"{path}: expected {KIND} in format {FORMAT}, got {record['kind']} in format "
            f"{record['format']}."
        )
    with undamaged(path):
        check_arguments(OffGrid, record["arguments"])
        with no_larger_than(*room_for([folder / WEIGHTS])):
            network = OffGrid(**record["arguments"])
    with undamaged(folder / WEIGHTS):
        weights = read_weights(folder / WEIGHTS, record["weights_sha256"])
        check_finite(weights, "its weights")
        network.load_state_dict(weights)
    return network.eval()


def arguments_of(network: OffGrid) -> dict[str, Any]:
    """The constructor's arguments, read back from the attributes of the same name."""
    names = [name for name in inspect.signature(OffGrid.__init__).parameters if name != "self"]
    return {name: getattr(network, name) for name in names}


def _readme(network: OffGrid, folder: Path) -> str:
    return f"""# MooG

{counted(network.num_tokens, "token")} ({network.tokens}) of width {network.width}, for frames of
{network.size}x{network.size}.

```python
import torch

from egowm.encoders import MooG

model = MooG.from_pretrained("{folder.as_posix()}")
tokens = model.tokens_of(torch.rand(1, 8, 3, {network.size}, {network.size}))  # (B, F, 2 K, D)
```

`egowm-scs score PRED GT --tracker moog --tracker_weights FOLDER --annotations DIR` follows
structures by it.
"""
