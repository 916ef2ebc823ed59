"""The benchmark of training: what it measures, its tables, and whether it counts what is real.

Nothing here depends on how fast anything is.
"""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from egowm.data import Clip, Window
from egowm.training.memory import fake_step
from egowm.training.published import published
from egowm.world_model import WorldModel

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.fixture
def load(monkeypatch):
    """Imports a module of benchmarks/."""

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_a_row_is_measured(load, tiny_prior, tmp_path, monkeypatch):
    """Small, in this process: every figure of a record, and what is foretold of it."""
    module, rows = load("benchmarks.speed.training_row"), load("benchmarks.speed.training_rows")
    monkeypatch.setattr(module, "pipeline", lambda model, folder: str(tiny_prior))
    monkeypatch.setattr(module, "matrix_rate", lambda device, dtype: 1e9)
    row = rows.Row("lora", train="lora", size=(32, 32), average=True)
    found = module.measure(row, 2, 1, "cpu", tmp_path, 0)
    assert found["steps"] == 2
    assert found["seconds_per_step"] > 0
    assert 0 <= found["waiting"] < 1
    assert found["predicted_bytes"] == pytest.approx(found["peak_bytes"], rel=0.15)
    assert found["process_peak_bytes"] > found["peak_bytes"] > 1e6
    assert 1e7 < found["operations"] < 1e12
    assert 1e4 < found["parameters"] < 1e6  # the LoRA and the embedding
    assert json.loads(json.dumps(found)) == found
    with pytest.raises(ValueError, match="expected data pixels or cache, got 'tape'"):
        module.measure(replace(row, data="tape"), 1, 1, "cpu", tmp_path, 0)


def test_a_row_from_a_cache(load, tiny_prior, tmp_path, monkeypatch):
    """It is the row from pixels but for the encoders, which are asked beforehand."""
    module, rows = load("benchmarks.speed.training_row"), load("benchmarks.speed.training_rows")
    monkeypatch.setattr(module, "pipeline", lambda model, folder: str(tiny_prior))
    monkeypatch.setattr(module, "matrix_rate", lambda device, dtype: 1e9)
    seen, loss = [], WorldModel.loss

    def watched(self, clip, *args, **kwargs):
        seen.append(clip.is_cached)
        return loss(self, clip, *args, **kwargs)

    monkeypatch.setattr(WorldModel, "loss", watched)
    row = rows.Row("cached", train="conditioning", size=(32, 32), data="cache")
    found = module.measure(row, 2, 1, "cpu", tmp_path, 0)
    assert found["steps"] == 2
    assert seen[:4] == [True] * 4  # three steps and the traced one


def test_operations_are_those_of_a_real_step(load, tiny_prior, spec):
    """Counted without values; recomputation does not count."""
    module, rows = load("benchmarks.speed.training_row"), load("benchmarks.speed.training_rows")
    row = rows.Row("full", gradient_checkpointing=True, batch_size=2, size=(16, 16))
    window = Window(1, 4, 1, 16, 16)
    told = module.foretold(row, str(tiny_prior), window, "cpu")["operations"]
    model = module.build(replace(row, gradient_checkpointing=False), str(tiny_prior), spec)
    model.configure_model()
    model.train()
    frames = torch.zeros(2, 5, 3, 16, 16, dtype=torch.uint8)
    rest = torch.zeros(2, 0, 3), torch.zeros(2, 0), [""] * 2, [""] * 2, [""] * 2
    counter, again = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with counter:
        model.loss(Clip(frames, torch.zeros(2, 4, 3), *rest))[0].backward()
    assert told == counter.get_total_flops()
    fake_step(module.build(row, str(tiny_prior), spec), window, 2, "32-true", again)
    assert again.get_total_flops() > told


def test_published_sizes_are_drawn(load, tmp_path, monkeypatch):
    """Folders of configurations that the backbones load; here so small that drawing is quick."""
    files = published()["stabilityai/stable-video-diffusion-img2vid-xt"]["files"]
    small = {"block_out_channels": [32, 32, 64, 64], "num_attention_heads": [2, 2, 4, 4]}
    encoder = {"hidden_size": 64, "intermediate_size": 64, "projection_dim": 64}
    changes = {
        "unet": small | {"cross_attention_dim": 64},
        "vae": {"block_out_channels": [32] * 4, "layers_per_block": 1},
        "image_encoder": encoder | {"num_hidden_layers": 1, "patch_size": 56},
    }
    for part, change in changes.items():
        name = f"{part}/config.json"
        monkeypatch.setitem(files, name, files[name] | change)
    rows, module = load("benchmarks.speed.training_rows"), load("benchmarks.speed.training_row")
    row = rows.Row("svd", "svd", size=(64, 64), batch_size=1, horizon=2)
    monkeypatch.setattr(module, "matrix_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr(module, "traced_peak", lambda *about: 1)
    found = module.measure(row, 1, 1, "cpu", tmp_path, 0)
    assert 1e6 < found["parameters"] < 1e8
    assert not list(tmp_path.rglob("*.safetensors"))


def record(name: str, **changes) -> dict:
    row = {"name": name, "model": "rooms-svd", "seconds_per_step": 0.5, "waiting": 0.02}
    row |= {"peak_bytes": 1_000_000_000, "predicted_bytes": 1_100_000_000, "seconds_to_begin": 3.4}
    row |= {"size": [64, 64], "horizon": 4, "batch_size": 4, "operations": 4e9, "matrix_rate": 1e10}
    return row | changes


def write(path: Path, *rows: dict, **changes) -> None:
    about = {
        "command": "python x.py",
        "commit": "0123456789ab",
        "dirty": False,
    }
    about |= {"seed": 0, "date": "2026-11-20T12:00:00Z", "device_name": "Some CPU", "threads": 2}
    about |= {"versions": {"torch": "2.15.0"}, "settings": {"steps": 8, "warmup": 2}}
    about |= {"load_average": 1.5, "failed": {}, "rows": list(rows)}
    path.write_text(json.dumps(about | changes))


def test_the_table(load, tmp_path):
    """Each way against the first; what was not measured says so, what failed says why."""
    tables = load("benchmarks.tables.training")
    cells = tables.training(tmp_path).splitlines()[2:]
    assert len(cells) == len(load("benchmarks.speed.training_rows").CPU)
    assert all("| not yet measured |" in line for line in cells)
    slow = record("lora", seconds_per_step=1.0, predicted_bytes=800_000_000, waiting=0.5)
    write(tmp_path / "training.json", record("full"), slow, failed={"temporal": "temporal: no"})
    text = tables.training(tmp_path)
    assert "| full | 2.00 | 1.00 | 2% | 1.000 | +10% | 3 |" in text
    assert "| lora | 1.00 | 0.50 | 50% | 1.000 | -20%, **missed** | 3 |" in text
    assert "Load of the machine before it began: 1.5." in text
    assert text.endswith("temporal: no")


def test_the_table_of_a_card(load, tmp_path):
    tables = load("benchmarks.tables.training")
    kernels = [{"name": "gemm", "share": 0.5}, {"name": "copy", "share": 0.25}]
    good = record("SVD 512, full", model="svd", peak_bytes=39e9, predicted_bytes=39e9)
    bad = record("SVD 512, lora", model="svd", peak_bytes=17e9, predicted_bytes=17e9)
    bad |= {"operations": 1e9, "kernels": kernels}
    write(tmp_path / "training-gpu.json", good, bad)
    text = tables.card(tmp_path)
    assert "| SVD 512, full | 2.00 | 1.00 | 2% | 39.000 | +0% | 3 | 80% |" in text
    assert "| 17.000, **above 16** | +0% | 3 | 20%, missed |" in text
    assert text.endswith("SVD 512, lora: 50% `gemm`; 25% `copy`.")


def test_rows_are_named_once(load):
    rows = load("benchmarks.speed.training_rows")
    for group in (rows.CPU, rows.CUDA):
        assert len({row.name for row in group}) == len(group)
    assert set(rows.LIMITS) <= {row.name for row in rows.CUDA}
    assert {row.model for row in rows.CUDA} == set(rows.UTILISATION)


def test_a_row_that_fails_is_told(load, tmp_path, monkeypatch, capsys):
    module = load("benchmarks.speed.training")

    def fails(*arguments):
        raise ValueError("full: out of memory")

    monkeypatch.setattr(module, "measured", fails)
    options = ["--device", "cpu", "--json", str(tmp_path / "a.json")]
    assert module.main([*options, "--only", "compiled"]) == 2
    assert capsys.readouterr().err.endswith("benchmarks/speed/training.py: full: out of memory\n")
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == []
    assert module.main([*options, "--only", "no such row"]) == 2
    assert "expected --only to name a row" in capsys.readouterr().err


def test_what_is_foretold_of_a_card(load, tiny_prior, tmp_path, monkeypatch):
    """One small row in the place of large ones; then its line, and a limit that is not kept."""
    module, tables = load("benchmarks.speed.foretold"), load("benchmarks.tables.training")
    rows = load("benchmarks.speed.training_rows")
    row = rows.Row("SVD 512, lora", train="lora", size=(16, 16), precision="bf16-mixed")
    monkeypatch.setattr(module, "FORETOLD", (row,))
    monkeypatch.setattr(module, "pipeline", lambda *_: str(tiny_prior))
    assert "| SVD 512, lora | not yet measured | | |" in tables.foretold(tmp_path)
    path = tmp_path / "foretold.json"
    assert module.main(["--json", str(path)]) == 0
    (found,) = json.loads(path.read_text())["rows"]
    assert 1e5 < found["predicted_bytes"] < 1e8
    assert found["operations"] > 1e6
    write(path, found | {"predicted_bytes": 11.83e9, "operations": 3.2e12})
    assert "| SVD 512, lora | 11.8 | below 16 | 3.20 |" in tables.foretold(tmp_path)
    write(path, found | {"predicted_bytes": 17e9, "operations": 3.2e12})
    assert "| SVD 512, lora | 17.0 | below 16, **missed** | 3.20 |" in tables.foretold(tmp_path)
