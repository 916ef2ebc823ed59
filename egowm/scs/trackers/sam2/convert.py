"""Convert SAM 2's weights: `python -m egowm.scs.trackers.sam2.convert SOURCE TARGET`.

SOURCE is whatever the tracker reads; TARGET is a Meta checkpoint if it ends in .pt, and otherwise
a folder that transformers reads.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from egowm.cli import explain
from egowm.scs.trackers.sam2.weights import CONFIG, Weights, load_weights


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


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 written, 2 bad input."""
    parser = argparse.ArgumentParser(prog="egowm.scs.trackers.sam2.convert", description=__doc__)
    parser.add_argument("source", help="a .pt file, a folder, or a repository in the local cache")
    parser.add_argument("target", type=Path, help="a .pt file or a folder; must not exist")
    arguments = parser.parse_args(argv)
    try:
        if arguments.target.exists():
            raise ValueError(f"{arguments.target}: exists already. Name another target.")
        write = write_meta if arguments.target.suffix == ".pt" else write_folder
        write(load_weights(arguments.source), arguments.target)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        print(f"convert: {line}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
