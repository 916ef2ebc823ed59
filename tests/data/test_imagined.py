"""Imagined episodes as a LeRobot data set: written, checked, trained from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pyarrow import parquet

from egowm.commands import main as cli
from egowm.data import ImaginedWriter, LeRobot, Window
from egowm.data.imagined import CAMERA
from egowm.data.inspect.check import check
from tests.data.test_one_x_writer import pictures

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]
WINDOW = Window(context=1, horizon=2, height=16, width=16)
COUNT, K, T = 4, 2, 9


def rollout(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Context (K, 3, H, W) uint8, frames (T, 3, H, W), actions (T, 3), past actions (K-1, 3)."""
    drawn = torch.Generator().manual_seed(number)
    shown = torch.from_numpy(pictures(K + T, 50 * number, 16, 16)).permute(0, 3, 1, 2)
    actions = torch.rand(T, 3, generator=drawn) * 0.2 - 0.1
    return shown[:K], shown[K:] / 255, actions, torch.full((K - 1, 3), 0.05)


@pytest.fixture(scope="module")
def root(spec, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("imagined") / "dreams"
    with ImaginedWriter(root, spec, robot_type="rover") as writer:
        for number in range(COUNT):
            context, frames, actions, past = rollout(number)
            writer.add_rollout(context, frames, actions, past, f"task {number % 2}")
    return root


def opened(root: Path) -> LeRobot:
    return LeRobot(str(root), WINDOW, state="", val_share=0, test_share=0)


def test_the_layout_is_the_formats_own(root, spec):
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 4, "rover")
    assert (info["total_episodes"], info["total_frames"]) == (COUNT, COUNT * (K + T))
    assert info["features"]["imagined"] == {"dtype": "bool", "shape": [1], "names": ["imagined"]}
    assert info["features"]["action"]["names"] == list(spec.names)
    assert info["features"][CAMERA]["dtype"] == "video"
    own = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    assert info["features"].keys() == {"action", "imagined", CAMERA, *own}
    table = parquet.read_table(root / "data/chunk-000/file-000.parquet")
    assert set(table.column_names) == {"action", "imagined", *own}
    assert str(table.schema.field("imagined").type) == "bool"
    assert table["imagined"].to_pylist() == ([False] * K + [True] * T) * COUNT
    assert table["frame_index"].to_pylist() == list(range(K + T)) * COUNT


def test_frames_and_actions_come_back(root, spec):
    data = opened(root)
    meaning = data.meaning
    assert (meaning.kind, meaning.frame, meaning.units) == (spec.kind, spec.frame, spec.units)
    assert (meaning.names, meaning.rate_hz) == (spec.names, spec.rate_hz)
    for number, episode in enumerate(data.split("train")):
        context, frames, actions, past = rollout(number)
        expected = torch.cat([past, actions]).numpy()  # the last row's leads nowhere
        np.testing.assert_array_equal(episode.actions, expected)
        read = episode.read(range(K + T)).transpose(0, 3, 1, 2).astype(float)
        shown = np.concatenate([context.numpy(), (frames * 255).round().numpy()])
        assert np.abs(read - shown).mean() < 4
        assert episode.text == f"task {number % 2}"
    largest = max(float(torch.cat(rollout(k)[2:]).abs().max()) for k in range(COUNT))
    assert max(data.spec.high) == pytest.approx(largest)


def test_check_tells_what_is_imagined(root, capsys):
    findings = check(opened(root), 1, progress=False)
    assert [f.text for f in findings if f.level == "error"] == []
    (found,) = [f for f in findings if f.kind == "imagined"]
    assert found.text == f"{COUNT * T} frames are a model's (column imagined)"
    assert cli.main(["data", "check", str(root), "--json"]) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert any(row["kind"] == "imagined" for row in told["findings"])


def recipe_on(root: Path, recipe: Path, **options: object) -> Path:
    """The recipe of a few steps, on a LeRobot data set."""
    content = yaml.safe_load(recipe.read_text())
    window = {"context": 1, "horizon": 2, "height": 16, "width": 16}
    arguments = {"root": str(root), "window": window, "batch_size": 2, "state": ""}
    shares = {"divide": "time", "val_share": 0.3, "test_share": 0.3}
    content["data"] = {
        "class_path": "egowm.data.LeRobot",
        "init_args": arguments | shares | options,
    }
    recipe.write_text(yaml.safe_dump(content))
    return recipe


@pytest.mark.long
def test_a_model_is_trained_from_imagined_episodes(root, recipe, spec, tmp_path):
    assert cli.main(["fit", "-c", str(recipe_on(root, recipe))]) == 0
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    meaning = saved["egowm"]["spec"]
    assert (meaning["kind"], tuple(meaning["units"])) == ("se2", spec.units)
    assert all(weight.isfinite().all() for weight in saved["state_dict"].values())


@pytest.mark.long
def test_predicted_clips_become_episodes(root, recipe, tmp_path):
    """Trained from one data set, it imagines another, which is checked and trained from again."""
    command = ["-c", str(recipe_on(root, recipe))]
    assert cli.main(["fit", *command]) == 0
    predict = ["predict", *command, "--ckpt_path", "last", "--lerobot", "true"]
    assert cli.main(predict) == 0
    made = tmp_path / "run/imagined"
    data = opened(made)
    clips = len(list((tmp_path / "run/predictions/pred").iterdir()))
    assert [e.num_frames for e in data.split("train")] == [3] * clips
    assert data.meaning.kind == "se2"
    assert cli.main(predict) == 2  # both are there already
    assert cli.main([*predict, "--force"]) == 0
    content = yaml.safe_load(recipe.read_text())
    content["trainer"]["default_root_dir"] = str(tmp_path / "again")
    content["trainer"]["limit_val_batches"] = 0
    recipe.write_text(yaml.safe_dump(content))
    recipe_on(made, recipe, divide="names", val_share=0, test_share=0)
    assert cli.main(["fit", "-c", str(recipe)]) == 0


def test_a_rollout_from_a_picture(tmp_path, obedient, monkeypatch, capsys):
    from PIL import Image

    obedient.save_pretrained(tmp_path / "export")
    Image.fromarray(pictures(1, 3, 16, 16)[0]).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    command = ["rollout", "picture.png", "--actions", "wwwaaw", "wwd", "--size", "16", "16"]
    command += ["--model", "export", "--steps", "1", "--to", "lerobot", "--output", "dreams"]
    assert cli.main(command) == 0
    assert "2 episodes of LeRobot 3.0" in capsys.readouterr().out
    episodes = opened(tmp_path / "dreams").split("train")
    assert [e.num_frames for e in episodes] == [7, 4]
    table = parquet.read_table(tmp_path / "dreams/data/chunk-000/file-000.parquet")
    assert table["imagined"].to_pylist() == [False, *[True] * 6, False, *[True] * 3]
    assert cli.main(command) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0
    assert cli.main(["data", "check", "dreams"]) == 1  # its splits are empty, and nothing else
    out = capsys.readouterr().out
    assert "9 frames are a model's" in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": torch.zeros(T, 3, 16, 16) + 2}, r"float frames in \[0, 1\]"),
        ({"frames": torch.zeros(T - 1, 3, 16, 16)}, r"actions \(8, 3\), got \(9, 3\)"),
        ({"actions": torch.zeros(T, 2)}, r"actions \(9, 3\), got \(9, 2\)"),
        ({"past_actions": None}, r"Expected past_actions \(1, 3\)"),
        ({"past_actions": torch.zeros(3, 3)}, r"past_actions \(1, 3\), got \(3, 3\)"),
        ({"actions": torch.full((T, 3), float("nan"))}, "finite numbers of action"),
    ],
)
def test_a_wrong_rollout_is_refused_and_nothing_is_lost(change, words, spec, tmp_path):
    right = dict(zip(("context", "frames", "actions", "past_actions"), rollout(0), strict=True))
    with ImaginedWriter(tmp_path / "dreams", spec) as writer:
        writer.add_rollout(**right)
        with pytest.raises(ValueError, match=words):
            writer.add_rollout(**right | change)
    assert [e.num_frames for e in opened(tmp_path / "dreams").split("train")] == [K + T]
