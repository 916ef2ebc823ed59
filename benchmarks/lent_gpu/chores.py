"""What a call on a lent GPU needs that no command does: a look at the packages, and rooms."""

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

NEEDED = ("torch", "lightning", "jsonargparse", "diffusers", "transformers", "safetensors", "cv2")
WINDOW: Any = {"context": 1, "horizon": 1, "height": 64, "width": 64}


def imports() -> None:
    """Prints versions; raises ImportError with all that is missing."""
    missing = []
    for name in NEEDED:
        try:
            print(name, getattr(import_module(name), "__version__", ""))
        except ImportError as error:
            missing.append(f"{name} ({error})")
    if missing:
        raise ImportError(f"Missing: {'; '.join(missing)}. Bring wheels, see --wheels.")


def rooms(root: str, counts: dict[str, Any]) -> None:
    """Draw the rooms of both worlds, on all cores."""
    from egowm.data import Rooms, Window

    Rooms(root, Window(**WINDOW), **counts).prepare_data()
    passive = counts | {"episodes_train": 2 * counts["episodes_train"]}
    Rooms(root, Window(**WINDOW), world="passive", **passive).prepare_data()


def main(argv: Sequence[str]) -> int:
    if argv[0] == "imports":
        imports()
    else:
        rooms(argv[1], json.loads(argv[2]))
    return 0
