"""SAM 2's weights written in either file format; `egowm-scs convert-sam2` is the command."""

import json
import os
import shutil
from pathlib import Path

from egowm.scs.trackers.sam2.weights import CONFIG, Weights, load_weights


def convert(source: str | Path, target: Path) -> None:
    """Write what `load_weights` reads as a Meta checkpoint (.pt) or a folder of transformers.

    Whole or not at all. Raises ValueError where `target` exists.
    """
    if target.exists():
        raise ValueError(f"{target}: exists already. Name another target.")
    if not target.parent.is_dir():
        raise ValueError(f"{target}: the folder {target.parent} does not exist.")
    weights = load_weights(source)
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    write = write_meta if target.suffix == ".pt" else write_folder
    try:
        write(weights, temporary)
        temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_meta(weights: Weights, path: Path) -> None:
    """Write Meta's format. The configuration goes with it, where Meta's own loader ignores it."""
    import torch

    from egowm.scs.trackers.sam2.names import to_meta

    config = json.dumps(weights.config.to_diff_dict())
    torch.save({"model": to_meta(weights.tensors), CONFIG: config}, path)


def write_folder(weights: Weights, folder: Path) -> None:
    """Write config.json and model.safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights.config.architectures = ["Sam2VideoModel"]
    weights.config.save_pretrained(folder)
    tensors = {name: tensor.clone().contiguous() for name, tensor in weights.tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
