"""Boxes of what a text names, by OWLv2 (Minderer et al. 2023): prompts for a segmenter.

Nothing is downloaded. Walls and floors box badly; furniture, doors and windows do well.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egowm.hub import hub_folder
from egowm.loading import (
    CONFIG,
    expect_tokenizer,
    load_model,
    load_processor,
)
from egowm.paths import expanded
from egowm.scs.annotation.prompts import MOVING, Prompt

THRESHOLD = 0.1  # score below which a box is no find, as in the model's own examples
MOST = 16  # boxes of a picture, the best first
_SHARED = 0.7  # IoU above which two boxes are one thing
_BRING = (
    "Bring a folder with OWLv2 as transformers saves it (google/owlv2-base-patch16-ensemble, its "
    "config, weights, tokenizer and preprocessor_config.json), or name such a repository if it is "
    "in the local Hugging Face cache: --detector PATH. Without it, give --prompts or --masks."
)


class Detector:
    """OWLv2 from a folder or the local cache; threshold: of the score, in [0, 1]."""

    def __init__(self, weights: str | Path, threshold: float = THRESHOLD) -> None:
        from transformers import Owlv2ForObjectDetection, Owlv2Processor

        self.threshold = threshold
        folder: Path | None = expanded(weights)
        if folder is not None and not folder.is_dir():
            folder = hub_folder(str(weights), (CONFIG,))
        if folder is None:
            raise ValueError(f"{weights}: no OWLv2 that can be read here. {_BRING}")
        try:
            self.model = load_model(Owlv2ForObjectDetection, folder, "auto").eval()
            expect_tokenizer(folder)
            self.processor = load_processor(Owlv2Processor, folder)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{error} {_BRING}") from error

    def find(self, frame: np.ndarray, names: Sequence[str]) -> list[Prompt]:
        """A box prompt for every thing in `frame (H, W, 3)` uint8 that one of `names` fits."""
        import torch

        height, width = frame.shape[:2]
        given = self.processor(images=frame, text=[list(names)], return_tensors="pt")
        with torch.inference_mode():
            outputs = self.model(**given)
        found = self.processor.post_process_grounded_object_detection(
            outputs, self.threshold, [(height, width)], [list(names)]
        )[0]
        boxes, scores = found["boxes"].numpy().astype(float), found["scores"].numpy()
        boxes = boxes.clip(0, [width, height, width, height])
        kept = [
            k for k in np.argsort(-scores, kind="stable") if (boxes[k, 2:] > boxes[k, :2]).all()
        ]
        return [
            Prompt(number, found["text_labels"][k], np.zeros((0, 2)), np.zeros(0, int), boxes[k],
                   (height, width))
            for number, k in enumerate(distinct(boxes, kept)[:MOST], 1)
        ]  # fmt: skip


def read_names(text: str) -> list[str]:
    """The names in "chair, door, window"; ValueError for none, and for what moves by itself."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (moving := sorted(MOVING & {name.lower() for name in names})):
        said = f"got {', '.join(moving)}" if names else "got none"
        raise ValueError(
            f'--text: expected names of static things, such as "chair, door, window", {said}.'
        )
    return names


def distinct(boxes: np.ndarray, order: Sequence[int]) -> list[int]:
    """Those of `order` that share at most 70% IoU with any before; boxes (N, 4) x0 y0 x1 y1."""
    kept: list[int] = []
    for k in order:
        if all(_iou(boxes[k], boxes[other]) <= _SHARED for other in kept):
            kept.append(int(k))
    return kept


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)
