"""recipes/nwm_joint_svd.yaml and recipes/onex_svd.yaml, run for two steps on generated files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.commands import main as cli
from egowm.data.normalisers import published_spacing

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


def run(verb: str, recipe: str, prior: Path, folder: Path, *options: str) -> None:
    """A verb with a recipe as shipped; the pipeline, and what costs time, are small."""
    command = [verb, "-c", str(ROOT / "recipes" / recipe)]
    command += ["--model.backbone.pretrained", str(prior), "--model.steps", "2"]
    command += ["--data.window.height", "16", "--data.window.width", "16"]
    command += ["--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    command += ["--trainer.devices", "1", "--trainer.enable_progress_bar", "false"]
    command += ["--trainer.default_root_dir", str(folder / "run")]
    assert cli.main([*command, *options]) == 0


def fit(recipe: str, prior: Path, folder: Path) -> dict:
    """Run a recipe's first two steps in `folder`, and predict with them; the checkpoint."""
    run("fit", recipe, prior, folder, "--trainer.max_steps=2", "--trainer.limit_val_batches=0")
    checkpoint = folder / "run/checkpoints/last.ckpt"
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["global_step"] == 2
    assert saved["egowm"]["chunk"] == 8
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())
    run("predict", recipe, prior, folder, f"--ckpt_path={checkpoint}")
    return saved


def predicted(folder: Path) -> set[str]:
    return {path.name for path in (folder / "run/predictions/pred").iterdir()}


@pytest.mark.long
def test_three_data_sets_each_with_its_spacing(write_trajectory, tiny_prior, tmp_path, monkeypatch):
    poses = np.stack([0.2 * np.arange(12), np.zeros(12), 0.03 * np.arange(12)], 1)
    for name in ("recon", "scand", "tartan_drive"):
        for split in ("train", "test"):
            write_trajectory(tmp_path / "data" / name / f"{split}_0", poses)
            names = tmp_path / "data/splits" / name / split / "traj_names.txt"
            names.parent.mkdir(parents=True)
            names.write_text(f"{split}_0\n")
    monkeypatch.chdir(tmp_path)
    saved = fit("nwm_joint_svd.yaml", tiny_prior, tmp_path)["egowm"]
    assert list(saved["specs"]) == ["recon", "scand", "tartandrive"]
    for name, fields in saved["specs"].items():
        spacing = published_spacing(name)
        np.testing.assert_allclose(fields["low"], [-2.5 * spacing, -4 * spacing, -1])
        np.testing.assert_allclose(fields["high"], [5 * spacing, 4 * spacing, 1])
    assert saved["spec"] == saved["specs"]["recon"]
    clips = {f"{name}_test_0_00000" for name in ("recon", "scand", "tartandrive")}
    assert predicted(tmp_path) == clips


@pytest.mark.long
def test_a_humanoid_with_its_state(write_one_x, tiny_prior, tmp_path, monkeypatch):
    write_one_x(tmp_path / "data/1x", [[52, 52]] * 3, val=50)
    monkeypatch.chdir(tmp_path)
    saved = fit("onex_svd.yaml", tiny_prior, tmp_path)
    spec, state_spec = saved["egowm"]["spec"], saved["egowm"]["state_spec"]
    assert (spec["kind"], spec["rate_hz"]) == ("difference", 5.0)
    assert len(spec["names"]) == 25
    assert spec["names"] == state_spec["names"]
    weights = saved["state_dict"]
    assert weights["action_embedding.linear_1.weight"].shape[1] == 25 * 32
    assert weights["state_embedding.linear_1.weight"].shape[1] == 25 * 32
    assert predicted(tmp_path) == {"val_0_000000_00000"}
