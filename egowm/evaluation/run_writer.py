"""Writing a run folder: truth, predictions, annotations and clips.json."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.clip import Clip
from egowm.evaluation.run_folder import RUN
from egowm.files import FolderKind, filled, whole
from egowm.paths import inside
from egowm.pixels import to_uint8
from egowm.video import write_frames

CODEC = "codec"  # folder of the truth through the model's VAE
MEAN = "mean_frame"  # folder of the mean of all shared frames, repeated
COPY = "copy"  # the row of the shared frame repeated, which is not written


@contextmanager
def new_run(
    folder: Path,
    spec: ActionSpec,
    source: str,
    model: str,
    variants: Mapping[str, str],
    kind: FolderKind = RUN,
) -> Iterator["RunWriter"]:
    """A run to fill, which stands in `folder` when the block ends well, in place of an earlier one.

    On any error an earlier run stays as it was. Annotations that a person drew are kept. kind: what
    may be replaced. Raises FileExistsError for a folder that is no run. The rest: see `RunWriter`.
    """
    with filled(folder, kind) as temporary:
        yield RunWriter(temporary, spec, source, model, variants)
        _keep(folder / "annotations", temporary / "annotations")


class RunWriter:
    """Fills a new `folder`.

    variants: folder -> label of each row of predictions; the first is scored as `scs.json`.
    """

    def __init__(
        self, folder: Path, spec: ActionSpec, source: str, model: str, variants: Mapping[str, str]
    ) -> None:
        self.folder, self.spec, self.variants = folder, spec, dict(variants)
        self.source, self.model = source, model
        self.clips: dict[str, dict[str, Any]] = {}

    def truth(self, clip: Clip, index: int) -> None:
        """The true frames of clip `index` of a batch: the last context frame, then the future."""
        name = clip.name[index]
        frames = clip.frames[index][-len(clip.actions[index]) - 1 :]
        write_frames(self._place("gt", name), frames.numpy().transpose(0, 2, 3, 1))
        self.clips[name] = {"actions": clip.actions[index].tolist()}

    def told(self, variant: str, name: str, actions: Tensor, clip: str) -> None:
        """Note that a variant of a clip was told the actions (T, A) of `clip`, or of none ("")."""
        entry = {"actions": actions.tolist(), "clip": clip}
        self.clips[name].setdefault("told", {})[variant] = entry

    def prediction(self, variant: str, clip: Clip, index: int, frames: Tensor | np.ndarray) -> None:
        """Predicted frames (T, 3, H, W) in [0, 1], or (T, H, W, 3) in uint8; the shared context
        frame is put before them."""
        context = clip.frames[index][-len(clip.actions[index]) - 1]
        shared = context.numpy().transpose(1, 2, 0)[None]
        shown = to_uint8(frames) if isinstance(frames, Tensor) else frames
        both = np.concatenate([shared, shown])
        write_frames(self._place(variant, clip.name[index]), both)

    def annotation(self, name: str, ids: np.ndarray) -> None:
        """Structures of the frame that a clip's truth and predictions share, (H, W) uint8."""
        from egowm.scs.masks import write_palette

        write_palette(self._place("annotations", f"{name}.png"), ids)

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
            "clips": self.clips,
        }
        with whole(self.folder / "clips.json") as temporary:
            temporary.write_text(json.dumps(described, indent=1) + "\n")

    def _place(self, folder: str, name: str) -> Path:
        """Of a clip: its name may come from a file, and stays inside."""
        return inside(self.folder / folder, name, f"the clips of {self.source}")


def _keep(old: Path, new: Path) -> None:
    """Copy what an earlier run had and the new one has not."""
    for file in sorted(path for path in old.rglob("*") if path.is_file()):
        copy = new / file.relative_to(old)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
