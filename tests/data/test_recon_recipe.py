"""recipes/recon_svd.yaml, the paper's setting, run for two steps on generated RECON files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.commands import main as cli

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.mark.long
def test_the_recipe_fits_recon_files_with_the_small_prior(write_recon, tmp_path, monkeypatch):
    """The user's own command; root and pipeline are pointed elsewhere on the command line."""
    root = tmp_path / "recon_release"
    root.mkdir()
    poses = np.stack([0.2 * np.arange(12), np.zeros(12), 0.03 * np.arange(12)], 1)
    for number in range(12):
        write_recon(root / f"episode_{number}.hdf5", poses)
    monkeypatch.chdir(tmp_path)
    command = ["fit", "-c", str(ROOT / "recipes/recon_svd.yaml")]
    command += ["--data.root", str(root)]
    command += ["--model.backbone.pretrained", str(ROOT / "priors/rooms-svd")]
    command += ["--data.window.height", "64", "--data.window.width", "64"]
    command += ["--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    command += ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "0"]
    command += ["--trainer.devices", "1", "--trainer.enable_progress_bar", "false"]
    command += ["--trainer.default_root_dir", str(tmp_path / "run")]
    assert cli.main(command) == 0
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["egowm"]["chunk"] == 8
    assert saved["egowm"]["spec"]["names"] == ("dx", "dy", "dyaw")
    weights = saved["state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert weights["action_embedding.linear_2.weight"].abs().max() > 0
