"""The recipes of the shared recordings, run for two steps with a pipeline of toy size."""

from pathlib import Path

import pytest
import torch

from egowm.commands import main as cli

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]
RECIPES = {
    "gr1_humanoid_svd": ("gr1_humanoid_sim", 19, 5.0),
    "rover_svd": ("udacity_rover_sim", 3, 4.166),
    "droid_wrist_svd": ("droid_subset_ctrlworld", 7, 5.0),
    "tum_svd": ("tum_fr1_rpy_excerpt", 6, 7.3555),
}


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_steps(recipe, shared_data, tiny_prior, tmp_path):
    folder, width, rate = RECIPES[recipe]
    root = shared_data / folder
    if recipe.startswith("rover"):
        root = tmp_path / "rover"
        command = ["data", "convert", str(shared_data / folder), str(root)]
        assert cli.main([*command, "--rate", "0", "--keep_backward"]) == 0
    command = ["fit", "-c", str(ROOT / f"recipes/{recipe}.yaml"), "--data.root", str(root)]
    command += ["--model.backbone.pretrained", str(tiny_prior)]
    command += ["--data.window.height", "16", "--data.window.width", "16"]
    command += ["--data.batch_size", "2", "--trainer.accelerator", "cpu"]
    command += ["--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false"]
    command += ["--trainer.default_root_dir", str(tmp_path / "run")]
    assert cli.main(command) == 0
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert len(saved["egowm"]["spec"]["names"]) == width
    assert saved["egowm"]["spec"]["rate_hz"] == pytest.approx(rate, abs=1e-3)
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())
