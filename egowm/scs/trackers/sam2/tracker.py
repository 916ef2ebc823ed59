"""SAM 2: the reference tracker of the Structural Consistency Score."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from egowm.scs.annotation.prompts import Prompt
from egowm.scs.trackers import DType, Implementation
from egowm.scs.trackers.base import Tracker, Tracks, check_input
from egowm.scs.trackers.sam2.weights import load_weights

if TYPE_CHECKING:
    from egowm.scs.trackers.sam2.lockstep import Step

_PROMPT_SCORE = 10.0  # SAM 2's own score of an object that a mask shows it


class Sam2Tracker(Tracker):
    """Follows structures with SAM 2 (Ravi et al. 2024), each prompted by its mask in frame 0.

    Evidence is SAM 2's object score, a logit: below 0 it says that the object is not in view.

    weights: a Meta checkpoint, a transformers folder, or a repository in the local cache; never
    downloaded. implementation: "transformers" computes all objects of all videos at once, "native"
    is Meta's own package, object by object; their masks agree. dtype: what the network computes in.
    device: by default a GPU if there is one. batch_images, batch_tracks: how many frames and how
    many objects at once; they change speed and memory only.
    """

    name = "sam2"

    def __init__(
        self,
        weights: str | Path | None = None,
        implementation: Implementation = "transformers",
        dtype: DType = "float32",
        device: str | None = None,
        batch_images: int = 16,
        batch_tracks: int = 64,
    ) -> None:
        _expect("implementation", implementation, get_args(Implementation))
        _expect("dtype", dtype, get_args(DType))
        if min(batch_images, batch_tracks) < 1:
            raise ValueError(
                f"Expected batch_images and batch_tracks of at least 1, got {batch_images} and "
                f"{batch_tracks}."
            )
        held = load_weights(weights)  # first: it says what to bring where there are none
        import torch

        self.implementation, self.dtype = implementation, dtype
        self.batch_images, self.batch_tracks = batch_images, batch_tracks
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.sha256 = held.sha256
        if implementation == "native":
            from egowm.scs.trackers.sam2.native import build_native

            self._native = build_native(held).to(self.device)
        else:
            from transformers import Sam2VideoModel

            from egowm.scs.trackers.sam2.network import Network

            model = Sam2VideoModel(held.config)
            model.load_state_dict(held.tensors)
            self._network = Network(model.eval().to(self.device))

    def options(self) -> dict[str, float | int | str]:
        """sha256 of the weights' values, and the dtype; the implementation is environment."""
        from egowm.scs.trackers.sam2.pictures import RESIZE

        return {
            "weights": self.sha256,
            "dtype": self.dtype,
            "resize": RESIZE,
            "min_evidence": self.min_evidence,
        }

    def environment(self) -> dict[str, str | None]:
        """Where it ran, and on whose code."""
        import torch

        cuda = torch.device(self.device).type == "cuda"
        name = torch.cuda.get_device_name(self.device) if cuda else self.device
        return {"device": name, "implementation": self.implementation}

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """Masks (T+1, O, H, W) and object scores; frame 0 is the annotation itself."""
        return self.track_many([frames], [masks])[0]

    def track_many(self, videos: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[Tracks]:
        """As `track`, for many videos: those of one shape are computed together.

        Videos of other lengths are not, since SAM 2 measures time by the length of the video.
        """
        shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for k, (video, found) in enumerate(zip(videos, masks, strict=True)):
            check_input(video, found)
            shapes[video.shape].append(k)
        tracks: dict[int, Tracks] = {}
        for alike in shapes.values():
            made = self._together([videos[k] for k in alike], [masks[k] for k in alike])
            tracks |= dict(zip(alike, made, strict=True))
        return [tracks[k] for k in range(len(videos))]

    def segment(self, frame: np.ndarray, prompts: list[Prompt]) -> tuple[np.ndarray, np.ndarray]:
        """Masks (P, H, W) of points and boxes, and the IoU (P,) that SAM 2 expects of each."""
        if self.implementation == "native":
            raise ValueError(
                "Points and boxes are for --tracker_implementation transformers, which reads the "
                "same weights; native only follows masks."
            )
        from egowm.scs.trackers.sam2.pictures import segment

        with self._precision():
            return segment(self._network, frame, prompts, self.batch_tracks)

    def _together(self, videos: list[np.ndarray], masks: list[np.ndarray]) -> list[Tracks]:
        """Videos of one shape."""
        if self.implementation == "transformers":
            return self._collect(videos, masks)
        pairs = zip(videos, masks, strict=True)
        return [track for video, found in pairs for track in self._collect([video], [found])]

    def _collect(self, videos: list[np.ndarray], masks: list[np.ndarray]) -> list[Tracks]:
        from egowm.scs.trackers.sam2.pictures import to_masks

        num_frames, *size, _ = videos[0].shape
        started = np.concatenate(masks)
        found = np.empty((num_frames, *started.shape), bool)
        scores = np.full(found.shape[:2], _PROMPT_SCORE, np.float32)
        found[0] = started
        with self._precision():
            for t, step in enumerate(self._steps(videos, masks), 1):
                found[t] = to_masks(step.logits, (size[0], size[1]))
                scores[t] = step.scores.cpu().numpy()
        ends = np.cumsum([len(some) for some in masks])[:-1]
        parts = zip(np.split(found, ends, 1), np.split(scores, ends, 1), strict=True)
        return [Tracks(part, score) for part, score in parts]

    def _steps(self, videos: list[np.ndarray], masks: list[np.ndarray]) -> "Iterator[Step]":
        if self.implementation == "native":
            from egowm.scs.trackers.sam2.native import follow_native

            return follow_native(self._native, videos[0], masks[0])
        from egowm.scs.trackers.sam2.lockstep import follow

        return follow(
            self._network,
            videos,
            masks,
            batch_images=self.batch_images,
            batch_tracks=self.batch_tracks,
        )

    def _precision(self) -> AbstractContextManager[None]:
        import torch

        if self.dtype == "bfloat16":
            return torch.autocast(torch.device(self.device).type, torch.bfloat16)
        # TensorFloat-32, cuDNN's default, is no float32, and differs between batch sizes.
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _expect(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"Expected {name} of {', '.join(allowed)}, got {value!r}.")
