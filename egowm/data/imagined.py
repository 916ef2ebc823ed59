"""Imagined episodes as a LeRobot data set: what a model made is told from what a camera saw."""

import json
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from torch import Tensor

from egowm.actions.spec import ActionSpec, SpecRecord
from egowm.checks import check_float, check_shape, checked
from egowm.data.lerobot_writer import LeRobotWriter
from egowm.pixels import check_unit, to_uint8, to_unit
from egowm.typed_json import read_json

MARK = "imagined"  # the column that tells which
CAMERA = "observation.images.front"
NOTES = Path("meta/egowm.json")  # beside the format's own files: what actions mean


class _Stats(TypedDict):
    mean: list[Any]  # of pictures, three lists in lists
    count: list[int]


class _Notes(TypedDict):
    action: SpecRecord


@checked
class ImaginedWriter(LeRobotWriter):
    """Write rollouts as episodes of a LeRobot data set of codebase 3.0.

    The column `imagined` is true where a model made the frame, false where a camera recorded it:
    the context. `meta/egowm.json` keeps what the actions mean, so that `LeRobot` reads them as the
    model does.

    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from egowm import WorldModel
    >>> from egowm.data import LeRobot
    >>> model = WorldModel.from_pretrained("rooms")
    >>> picture, actions = torch.zeros(1, 3, 64, 64), torch.zeros(8, 3)
    >>> made = model.rollout(picture[None], actions).frames[0]  # (T, 3, H, W)
    >>> with TemporaryDirectory() as root:
    ...     with ImaginedWriter(f"{root}/dreams", model.spec) as writer:
    ...         writer.add_rollout(picture, made, actions)
    ...     data = LeRobot(f"{root}/dreams", state="", val_share=0, test_share=0)
    ...     data.meaning.kind, [episode.num_frames for episode in data.split("train")]
    ('se2', [9])

    Args:
        root: Folder to write.
        spec: Meaning of the actions, the model's; frames come at its rate.
        camera: Name of the frames' feature.
        robot_type: The robot, for `meta/info.json`.
        force: Replace what was written there before.

    Raises:
        FileExistsError: The folder holds something else.
        ImportError: pyarrow is not installed.
    """

    def __init__(
        self,
        root: str | Path,
        spec: ActionSpec,
        *,
        camera: str = CAMERA,
        robot_type: str = "",
        force: bool = False,
    ) -> None:
        features = {"action": list(spec.names), MARK: [MARK]}
        super().__init__(root, features, spec.rate_hz, robot_type=robot_type, force=force)
        self.spec, self.camera = spec, camera

    def add_rollout(
        self,
        context: Tensor,
        frames: Tensor,
        actions: Tensor,
        past_actions: Tensor | None = None,
        task: str = "",
    ) -> None:
        """Append a rollout; the last row, which leads nowhere, repeats the action before.

        Args:
            context: Recorded frames (K, 3, H, W), uint8 or float in [0, 1].
            frames: Imagined ones (T, 3, H, W) in [0, 1], as of `rollout.frames[0]`.
            actions: (T, A) in physical units, which lead to the imagined frames.
            past_actions: (K-1, A), between the frames of the context; needed where K > 1.
            task: What the robot does, in words.

        Raises:
            ValueError: Shapes that do not belong together, numbers that are not finite.
        """
        check_shape("context", context, "K 3 H W")
        check_shape("frames", frames, "T 3 H W")
        check_shape("actions", actions, "T A", T=len(frames), A=self.spec.width)
        check_unit("context", context)
        check_unit("frames", frames)
        told = [actions, actions[-1:]]
        if len(context) > 1:
            if past_actions is None:
                raise ValueError(
                    f"Expected past_actions ({len(context) - 1}, {self.spec.width}), those between "
                    f"the frames of the context; or give its last frame alone."
                )
            check_shape("past_actions", past_actions, "K A", K=len(context) - 1, A=self.spec.width)
            told.insert(0, past_actions)
        seen = to_unit(context) if not context.is_floating_point() else context
        made = np.arange(len(context) + len(frames)) >= len(context)
        for name, part in zip(("past_actions", "actions"), told, strict=False):
            check_float(name, part)
        rows = [part.detach().float().cpu().numpy() for part in told]
        shown = np.concatenate([to_uint8(seen), to_uint8(frames)])
        self.add({"action": np.concatenate(rows), MARK: made}, {self.camera: shown}, task)

    def _finish(self) -> None:
        super()._finish()
        assert self._place is not None
        text = json.dumps({"action": self.spec.record()}, indent=2)
        (self._place / NOTES).write_text(f"{text}\n", encoding="utf-8")


def num_imagined(root: Path) -> int:
    """How many frames of a data set that `ImaginedWriter` wrote a model made; 0 of another's."""
    if not (root / NOTES).is_file():
        return 0
    stats: dict[str, _Stats] = read_json(
        root / "meta/stats.json", dict[str, _Stats], "statistics of LeRobot (copy them again)"
    )
    found = stats.get(MARK)
    return round(found["mean"][0] * found["count"][0]) if found else 0


def noted_meaning(root: Path) -> ActionSpec | None:
    """What `ImaginedWriter` noted of a data set's actions; None for another's data set."""
    if not (root / NOTES).is_file():
        return None
    notes: _Notes = read_json(root / NOTES, _Notes, "what ImaginedWriter writes (copy it again)")
    return ActionSpec.of_record(notes["action"])
