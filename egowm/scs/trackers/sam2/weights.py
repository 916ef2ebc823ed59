"""SAM 2's weights from a Meta checkpoint, a transformers folder or the hub cache; written, too.

Nothing is ever downloaded, and what does not fit is refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from egowm.files import whole
from egowm.hub import hub_folder
from egowm.paths import expanded
from egowm.readable import readable

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "egowm_config"  # our addition to a Meta checkpoint: transformers' configuration as JSON
_FILES = ("config.json", "model.safetensors")
MOST, MOST_LAYERS = 100_000, 1000
_BRING = (
    "Bring Meta's sam2.1_hiera_tiny.pt (or small, base_plus, large), or a folder with config.json "
    "and model.safetensors as in facebook/sam2.1-hiera-tiny, or name such a repository if it is in "
    "the local Hugging Face cache: --tracker_weights PATH. Without weights, --tracker flow gives a "
    "first look."
)


class Weights(NamedTuple):
    """A SAM 2 video model on the CPU."""

    config: Any  # transformers.Sam2VideoConfig
    tensors: dict[str, "Tensor"]  # under transformers' names

    @property
    def sha256(self) -> str:
        """Of the values: the same for the same weights in either file format."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.float().contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_weights(source: str | Path | None) -> Weights:
    """Weights from `source`: a .pt file, a folder, or the id of a repository in the local cache.

    Raises ValueError that says what to bring, for none and for what is no SAM 2 video model.
    """
    if source is None:
        raise ValueError(f"The tracker 'sam2' needs weights, and never downloads them. {_BRING}")
    path = expanded(source)
    if path.is_file():
        return _checked(_read_meta(path), str(path))
    if not path.is_dir():
        path = _cached(str(source))
    return _checked(_read_folder(path), str(path))


def _read_meta(path: Path) -> Weights:
    import torch
    from transformers import Sam2VideoConfig

    from egowm.scs.trackers.sam2.meta import read_architecture, to_transformers

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of the zip, the pickle, a text or a number in it
        raise ValueError(
            f"{path}: not a checkpoint that can be read without running code from it. {_BRING}"
        ) from error
    meta = held.get("model") if isinstance(held, dict) else None
    if not isinstance(meta, dict):
        raise ValueError(f"{path}: expected Meta's {{'model': tensors}}, got none. {_BRING}")
    known = CONFIG in held
    with readable(path, "Meta's names and shapes of a SAM 2"):
        if not known:
            return Weights(read_architecture(meta), to_transformers(meta))
        fields = json.loads(held[CONFIG])
        _check_sizes(fields, str(path))
        return Weights(Sam2VideoConfig(**fields), to_transformers(meta))


def _read_folder(folder: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import Sam2VideoConfig

    from egowm.scs.trackers.sam2.meta import share_position

    lacking = [name for name in _FILES if not (folder / name).is_file()]
    if lacking:
        raise ValueError(f"{folder}: {' and '.join(lacking)} not found in it. {_BRING}")
    file = folder / _FILES[0]
    with readable(file, "the configuration of a Sam2VideoModel"):
        held = json.loads(file.read_text(encoding="utf-8"))
        kind = held.get("model_type")
    if kind != "sam2_video":
        raise ValueError(f"{folder}: expected model_type 'sam2_video', got {kind!r}. {_BRING}")
    _check_sizes(held, str(file))
    try:
        tensors = load_file(folder / _FILES[1])
    except SafetensorError as error:
        raise ValueError(f"{folder / _FILES[1]}: not readable: {error}. {_BRING}") from error
    with readable(file, "the configuration of a Sam2VideoModel"):
        return Weights(Sam2VideoConfig.from_dict(held), share_position(tensors))


def _check_sizes(value: Any, owner: str, key: str = "") -> None:
    """Refuse numbers that no SAM 2 has, before as many layers are built."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else ((key, item) for item in value)
        for name, item in pairs:
            _check_sizes(item, owner, f"{key}.{name}" if isinstance(value, dict) else key)
    elif isinstance(value, int | float):
        most = MOST_LAYERS if "layers" in key or "blocks" in key else MOST
        if not abs(value) <= most:
            raise ValueError(f"{owner}: {key[1:]}: expected at most {most}, got {str(value)[:20]}.")


def _cached(name: str) -> Path:
    """The folder of a repository in the local cache."""
    found = hub_folder(name, (_FILES[0],)) if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None
    if found is None:
        raise ValueError(
            f"{name}: no such file, folder or repository in the local Hugging Face cache. {_BRING}"
        )
    return found


def _checked(weights: Weights, name: str) -> Weights:
    """Refuse tensors that are not exactly those of the configuration."""
    import torch
    from transformers import Sam2VideoModel

    with readable(Path(name), "a SAM 2 that can be built"), torch.device("meta"):
        expected: Mapping[str, Tensor] = Sam2VideoModel(weights.config).state_dict()
    held = weights.tensors
    wrong = [f"{k} is missing" for k in expected if k not in held]
    wrong += [f"{k} is not part of the model" for k in held if k not in expected]
    wrong += [
        f"{k} is {tuple(held[k].shape)}, expected {tuple(expected[k].shape)}"
        for k in expected
        if k in held and held[k].shape != expected[k].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{name}: not these weights: {', '.join(wrong[:3])}{more}. {_BRING}")
    return weights


def convert(source: str | Path, target: Path) -> None:
    """Write what `load_weights` reads as a Meta checkpoint (.pt) or a folder of transformers.

    Whole or not at all. Raises ValueError where `target` exists.
    """
    if target.exists():
        raise ValueError(f"{target}: exists already. Name another target.")
    if not target.parent.is_dir():
        raise ValueError(f"{target}: the folder {target.parent} does not exist.")
    weights = load_weights(source)
    with whole(target) as temporary:
        (write_meta if target.suffix == ".pt" else write_folder)(weights, temporary)


def write_meta(weights: Weights, path: Path) -> None:
    """Write Meta's format. The configuration goes with it, where Meta's own loader ignores it."""
    import torch

    from egowm.scs.trackers.sam2.meta import to_meta

    config = json.dumps(weights.config.to_diff_dict())
    with path.open("wb") as stream:  # torch would name what is in it after the file
        torch.save({"model": to_meta(weights.tensors), CONFIG: config}, stream)


def write_folder(weights: Weights, folder: Path) -> None:
    """Write config.json and model.safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights.config.architectures = ["Sam2VideoModel"]
    weights.config.save_pretrained(folder)
    tensors = {name: tensor.clone().contiguous() for name, tensor in weights.tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
