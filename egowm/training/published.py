"""The sizes of published pipelines: what a run on them needs is told without their weights.

`published.json` holds their configurations by hub id, as far as they set a size: public facts of
diffusers' model repositories. Statistics of latents are left at 0 and 1, which change no size.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file


@cache
def published() -> dict[str, dict[str, Any]]:
    """The configurations of each pipeline by its hub id."""
    text = files("egowm.training").joinpath("published.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


def write_sizes(name: str, folder: Path) -> Path:
    """Write a pipeline's configurations, in diffusers' layout and without weights; the folder.

    Args:
        name: hub id, one of `published()`.
        folder: made where it is missing.
    """
    pipeline = published()[name]
    for path, content in pipeline["files"].items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    if pipeline["empty_text"]:  # in place of a text encoder
        tokens, width = pipeline["empty_text"]
        empty = {"embedding": torch.zeros(tokens, width), "mask": torch.ones(tokens)}
        save_file(empty, folder / "empty_text.safetensors")
    return folder


@contextmanager
def sizes_of(name: str) -> Iterator[Path]:
    """A folder with the sizes of a published pipeline, gone after the block."""
    with TemporaryDirectory(prefix="egowm-sizes-") as folder:
        yield write_sizes(name, Path(folder))
