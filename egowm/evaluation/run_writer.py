"""Writing a run folder: truth, predictions, annotations and clips.json."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.clip import Clip
from egowm.video import write_frames

CODEC = "codec"  # folder of the truth through the model's VAE
STARTED = ".unfinished"  # marks a run that is being written, or was interrupted


def to_uint8(frames: Tensor) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] to (T, H, W, 3) uint8."""
    array = frames.detach().clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


class RunWriter:
    """Fills `folder`; an earlier run there is replaced, annotations that a person drew are kept.

    variants: folder -> label of each row of predictions; the first is scored as `scs.json`.
    Raises FileExistsError where a folder to be replaced belongs to no run.
    """

    def __init__(
        self, folder: Path, spec: ActionSpec, source: str, model: str, variants: Mapping[str, str]
    ) -> None:
        self.folder, self.spec, self.variants = folder, spec, dict(variants)
        self.source, self.model = source, model
        self.actions: dict[str, Any] = {}
        old = [folder / name for name in ("gt", CODEC, *variants) if (folder / name).exists()]
        if old and not any((folder / name).exists() for name in (STARTED, "clips.json")):
            raise FileExistsError(
                f"{old[0]} is there, but {folder} holds no clips.json and so no run of egowm: "
                f"nothing was replaced. Give another --output folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STARTED).touch()
        for path in old:
            shutil.rmtree(path)
        for path in [*folder.glob("scs*.json"), *folder.glob("clips.json")]:
            path.unlink()

    def truth(self, clip: Clip, index: int) -> None:
        """The true frames of clip `index` of a batch: the last context frame, then the future."""
        name = clip.name[index]
        frames = clip.frames[index][-len(clip.actions[index]) - 1 :]
        write_frames(self.folder / "gt" / name, frames.numpy().transpose(0, 2, 3, 1))
        self.actions[name] = clip.actions[index].tolist()

    def prediction(self, variant: str, clip: Clip, index: int, frames: Tensor) -> None:
        """Predicted frames (T, 3, H, W) in [0, 1]; the shared context frame is put before them."""
        context = clip.frames[index][-len(clip.actions[index]) - 1]
        shared = context.numpy().transpose(1, 2, 0)[None]
        both = np.concatenate([shared, to_uint8(frames)])
        write_frames(self.folder / variant / clip.name[index], both)

    def annotation(self, name: str, ids: np.ndarray) -> None:
        """Structures of the frame that a clip's truth and predictions share, (H, W) uint8."""
        from egowm.scs.masks import write_palette

        path = self.folder / "annotations" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_palette(path, ids)

    def finish(self, title: str = "") -> None:
        """Write clips.json, which makes the folder a run."""
        spec = self.spec
        described = {
            "title": title,
            "fps": spec.rate_hz,
            "context": 1,
            "source": self.source,
            "model": self.model,
            "action_names": spec.names,
            "action_units": spec.units,
            "action_frame": spec.frame,
            "variants": self.variants,
            "clips": {name: {"actions": rows} for name, rows in self.actions.items()},
        }
        temporary = self.folder / f".clips.{os.getpid()}.json"
        temporary.write_text(json.dumps(described, indent=1) + "\n")
        temporary.rename(self.folder / "clips.json")
        (self.folder / STARTED).unlink()
