"""From a folder of videos to a prior, and from the prior to a world model, by the recipe."""

from pathlib import Path

import pytest
import torch

from egowm.commands import main as cli
from tests.test_your_robot import record

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--data.window.height", "16", "--data.window.width", "16", "--data.batch_size", "2"]
QUICK = ["--trainer.accelerator", "cpu", "--trainer.max_steps", "2"]
QUICK += ["--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", "1"]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
def test_from_videos_to_a_world_model(tiny_prior, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("my_videos", 1), ("my_robot", 2)):
        Path(name).mkdir()
        record(Path(name), "drive", seed, frames=120)
    Path("my_videos/drive.csv").unlink()
    recipe = str(ROOT / "recipes/passive_video_svd.yaml")
    first = ["--model.backbone.pretrained", str(tiny_prior), "--trainer.val_check_interval", "2"]
    assert cli.main(["fit", "-c", recipe, *first, *SMALL, *QUICK]) == 0
    prior = Path("runs/passive_video_svd/prior")
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert (prior / weights).read_bytes() != (tiny_prior / weights).read_bytes()
    page = (ROOT / "docs/your-robot.md").read_text()
    Path("my_robot.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    again = ["--model.backbone.pretrained", str(prior), "--data.divide", "time"]
    again += ["--trainer.val_check_interval", "2", "--pictures_every", "0"]
    assert cli.main(["fit", "-c", "my_robot.yaml", *again, *SMALL, *QUICK]) == 0
    saved = torch.load("runs/my_robot/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["egowm"]["spec"]["names"] == ("turn", "speed")
