"""Packages and weights that a metric needs; neither is ever downloaded."""

from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from egowm.checksums import sum_of
from egowm.evaluation.metrics.metric import Unavailable
from egowm.limits import ordinary

PAGE = "docs/evaluation.md"


def library(name: str, package: str) -> Any:
    """A module of an optional package. Raises Unavailable where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        missing = error.name.partition(".")[0] if error.name else ""
        needs = "" if missing in ("", name.partition(".")[0]) else f" with {missing}"
        raise Unavailable(
            f"needs the package {package}{needs}: pip install 'egowm[metrics]'"
        ) from error


def file_of(folder: Path | None, name: str) -> Path:
    """A file or folder of weights. Raises Unavailable where it is missing."""
    if folder is None:
        raise Unavailable(f"needs the weights {name}: give their folder by --weights ({PAGE})")
    if not (folder / name).exists():
        raise Unavailable(f"{folder / name} is missing ({PAGE} says where it comes from)")
    return folder / name


def tensors(path: Path) -> Any:
    """What a file of weights holds: tensors alone, so that no code in it can run.

    Raises ValueError for other content.
    """
    import torch

    ordinary(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a file of weights that torch.load reads with weights_only=True "
            f"({str(error).splitlines()[0][:80]}): copy it again."
        ) from error


def described(path: Path) -> dict[str, str]:
    """The name and sha256 of a file of weights, for a metric's settings."""
    return {path.name: sum_of(path)}
