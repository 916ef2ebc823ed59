"""A laboratory's own package of three files: a backbone, a data set and a tracker, by class path.

No entry point and no registration: the package lies on Python's path, a recipe and a command name
its classes.
"""

import json
import sys
from pathlib import Path

import pytest
import yaml

from egowm.commands import main as cli
from egowm.commands.scs.main import main as egowm_scs

BACKBONE = '''
"""SVD that is told another frame rate."""

from egowm.backbones import SVD


class Ours(SVD):
    """SVD as our laboratory takes it."""
'''

LOGS = '''
"""A rover's logs: a folder of .npz with `frames (N, H, W, 3)` and `commands (N-1, 2)`."""

from functools import partial
from pathlib import Path

import numpy as np

from egowm.actions import ActionSpec
from egowm.data import ClipData, Episode, Window


def read(file, indices):
    with np.load(file) as log:
        return log["frames"][list(indices)]


class Logs(ClipData):
    """Logs of our rover.

    Args:
        root: Folder of train, val and test.
        window: How clips are cut.
        batch_size: Clips in a batch.
    """

    meaning = ActionSpec(("speed", "turn"), ("m/s", "rad/s"), "command", "command", rate_hz=4.0)

    def __init__(self, root: str, window: Window = Window(), batch_size: int = 8) -> None:
        super().__init__(root, window, batch_size)

    def episodes(self, split: str) -> list[Episode]:
        found = []
        for file in sorted((self.folder / split).glob("*.npz")):
            with np.load(file) as log:
                commands = log["commands"].astype(np.float32)
            found.append(Episode(file.stem, len(commands) + 1, partial(read, file), commands))
        return found
'''

TRACKER = '''
"""Follows a structure to the pixels whose colour is nearest to its mean colour in frame 0."""

import numpy as np

from egowm.scs import Tracker
from egowm.scs.trackers import Tracks


class Nearest(Tracker):
    """Colours, frame by frame."""

    name = "nearest"
    memory = False

    def track(self, frames, masks):
        colours = np.stack([frames[0][mask].mean(0) for mask in masks])
        apart = np.abs(frames[:, None].astype(float) - colours[:, None, None]).max(-1)
        found = apart < 30
        found[0] = masks
        return Tracks(found, np.ones(found.shape[:2], np.float32))
'''


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "path" / "my_lab"
    folder.mkdir(parents=True)
    for name, text in {"backbone": BACKBONE, "logs": LOGS, "tracker": TRACKER}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    for name in [name for name in sys.modules if name.startswith("my_lab")]:
        del sys.modules[name]


def write_logs(root: Path) -> None:
    """Three logs of 6 frames for each split, of squares that move."""
    import numpy as np

    for seed, split in enumerate(("train", "val", "test")):
        (root / split).mkdir(parents=True)
        for number in range(3):
            frames = np.full((6, 16, 16, 3), 40, np.uint8)
            for k in range(6):
                frames[k, 4:12, k + number : k + number + 6] = 200, 30, 30
            rng = np.random.default_rng([seed, number])
            commands = rng.uniform(-1, 1, (5, 2))
            np.savez(root / split / f"log{number}.npz", frames=frames, commands=commands)


def write_recipe(root: Path, prior: Path) -> Path:
    window = {"context": 1, "horizon": 3, "height": 16, "width": 16}
    backbone = {"class_path": "my_lab.backbone.Ours", "init_args": {"pretrained": str(prior)}}
    text = {
        "model": {
            "class_path": "egowm.WorldModel",
            "init_args": {"backbone": backbone, "steps": 1, "warmup": 1},
        },
        "data": {
            "class_path": "my_lab.logs.Logs",
            "init_args": {"root": str(root / "logs"), "window": window, "batch_size": 2},
        },
        "trainer": {
            "default_root_dir": str(root / "run"),
            "accelerator": "cpu",
            "max_steps": 1,
            "limit_val_batches": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(text))
    return root / "recipe.yaml"


@pytest.mark.long
def test_all_three_are_used_by_their_class_paths(package, tiny_prior, tmp_path, capsys):
    """Trained, exported, evaluated with the laboratory's tracker, and scored by it from files."""
    from egowm.scs.masks import write_palette
    from egowm.video import read_frames

    write_logs(tmp_path / "logs")
    recipe = str(write_recipe(tmp_path, tiny_prior))
    assert cli.main(["fit", "-c", recipe]) == 0
    last = next((tmp_path / "run").rglob("last.ckpt"))
    export = str(tmp_path / "export")
    assert cli.main(["export", "-c", recipe, "--ckpt_path", str(last), "--output", export]) == 0
    for number in range(3):
        frame = read_frames_of(tmp_path / f"logs/test/log{number}.npz")[0]
        write_palette(
            tmp_path / f"drawn/log{number}_00000.png", (frame[..., 0] > 100).astype("uint8")
        )
    run = str(tmp_path / "eval")
    words = ["eval", "-c", recipe, "--model", export, "--output", run, "--horizon", "3"]
    words += ["--tracker", "my_lab.tracker.Nearest", "--annotations", str(tmp_path / "drawn")]
    assert cli.main([*words, "--actions", "true"]) == 0
    record = json.loads((tmp_path / "eval/eval.json").read_text())
    assert record["protocol"]["scs"]["tracker"]["name"] == "nearest"
    assert len(record["clips"]) == 3
    score = ["score", f"{run}/gt", f"{run}/gt", "--annotations", str(tmp_path / "drawn")]
    score += ["--tracker", "my_lab.tracker.Nearest", "--json", str(tmp_path / "scs.json")]
    assert egowm_scs(score) == 0
    assert json.loads((tmp_path / "scs.json").read_text())["scs"] == 100.0
    assert len(read_frames(tmp_path / "eval/pred/log0_00000")) == 4


def read_frames_of(log: Path):
    import numpy as np

    with np.load(log) as held:
        return held["frames"]
