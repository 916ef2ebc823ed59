"""Every writer of the package, killed, out of space and met by another: whole, or as it was."""

import errno
import platform
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from egowm import files
from egowm.evaluation import evaluate
from egowm.evaluation.rows import Row
from tests.kills import examined
from tests.writers import WRITERS, Told, compare, predicted, score, some_clip, two_scores, wheeled

MOST = 1  # kills of each start; `python -m tests.kills` tries every call
OFTEN = (  # one of each way of writing; the tests of the others are long
    "frames",
    "mp4",
    "checkpoint",
    "record of a run",
    "cache of tracks",
    "run of clips",
    "label index",
    "shard of latents",
    "export of a model",
    "pack",
    "score",
    "annotate",
    "data convert",
    "predictions that are kept",
    "eval",
)

TRACED = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="the system calls of Linux on x86-64 are counted",
)


@TRACED
@pytest.mark.parametrize(
    "writer",
    [
        pytest.param(
            name, id=name.replace(" ", "_"), marks=[pytest.mark.long] * (name not in OFTEN)
        )
        for name in WRITERS
    ],
)
def test_a_writer(writer: str, tmp_path: Path) -> None:
    found = examined(writer, tmp_path, MOST)
    assert found.losses == []
    assert found.tried["killed"] == 2 * MOST
    assert found.tried.keys() >= {"torn", "disk full", "read-only", "twice at once"}


@TRACED
@pytest.mark.parametrize(
    "writer", ["predict", pytest.param("export of a model", marks=pytest.mark.long)]
)
def test_a_killed_container_starts_again(writer: str, tmp_path: Path) -> None:
    """The same number of a process is no sign that the one that was killed still writes."""
    found = examined(writer, tmp_path, 0)
    assert found.losses == []
    assert found.tried["killed"] >= 6  # old entries go, new ones come


@pytest.mark.parametrize("command", ["score", "compare", "eval"])
def test_a_table_is_printed_where_its_file_cannot_be_written(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of work are not lost to a disk that became full meanwhile."""
    root = tmp_path / "place"
    root.mkdir()
    two_scores(root)
    capsys.readouterr()
    sync = files._sync

    def full(path: Path) -> None:
        if path.suffix == ".json" or path.name.endswith("run"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sync(path)

    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises((Told, OSError), match="No space left"):
        {"score": score, "compare": compare, "eval": evaluated}[command](root, 1)
    assert "scs " in capsys.readouterr().out.lower()


def evaluated(root: Path, version: int) -> None:
    """All of `evaluate` but the model."""
    clip = some_clip(version)

    def roll_out(rows: Any, chosen: Any, others: Any, run: Any, *rest: Any) -> dict[str, Any]:
        predicted(run, clip)
        return {}

    window = SimpleNamespace(stride=1, context=1)
    data: Any = SimpleNamespace(
        source="rooms", clip_meaning=None, window=window, with_horizon=lambda n: data
    )
    model = SimpleNamespace(spec=wheeled(), device=torch.device("cpu"), makes_frames=True)
    row = Row("pred", "prediction", model)  # type: ignore[arg-type]
    with patch.multiple(
        evaluate,
        roll_out=roll_out,
        choose=lambda *given: [clip.one(0)],
        check_rows=lambda *given: [0],
    ):
        drawn = np.ones((16, 16), np.uint8)
        options: Any = {"horizon": 2, "tracker": "copy", "annotate": lambda name: drawn}
        evaluate.evaluate([row], data, root / "run", **options)
