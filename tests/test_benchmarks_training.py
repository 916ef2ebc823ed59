"""The benchmark of training: what it measures, its tables, and whether it counts what is real.

Nothing here depends on how fast anything is.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import foretold, rooms_step, training, training_row
from benchmarks.speed.training_rows import CPU, CUDA, LIMITS, UTILISATION, Row
from benchmarks.tables import training as tables
from egowm.data import Clip, Window
from egowm.network.single_frames import TemporalConv
from egowm.training.published import published
from egowm.world_model import WorldModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.mark.long
def test_a_row_is_measured(tiny_prior, tmp_path, monkeypatch):
    """Small, in this process: every figure of a record, and what is foretold of it."""
    monkeypatch.setattr(training_row, "pipeline", lambda model, folder: str(tiny_prior))
    monkeypatch.setattr(training_row, "matrix_rate", lambda device, dtype: 1e9)
    row = Row("lora", train="lora", size=(32, 32), average=True)
    found = training_row.measure(row, 2, 1, "cpu", tmp_path, 0)
    assert found["steps"] == 2
    assert found["seconds_per_step"] > 0
    assert 0 <= found["waiting"] < 1
    assert found["predicted_bytes"] == pytest.approx(found["peak_bytes"], rel=0.15)
    assert found["process_peak_bytes"] > found["peak_bytes"] > 1e6
    assert 1e7 < found["operations"] < 1e12
    assert 1e4 < found["parameters"] < 1e6  # the LoRA and the embedding
    assert json.loads(json.dumps(found)) == found
    with pytest.raises(ValueError, match="expected data pixels or cache, got 'tape'"):
        training_row.measure(replace(row, data="tape"), 1, 1, "cpu", tmp_path, 0)


@pytest.mark.long
def test_a_row_from_a_cache(tiny_prior, tmp_path, monkeypatch):
    """It is the row from pixels but for the encoders, which are asked beforehand."""
    monkeypatch.setattr(training_row, "pipeline", lambda model, folder: str(tiny_prior))
    monkeypatch.setattr(training_row, "matrix_rate", lambda device, dtype: 1e9)
    seen, loss = [], WorldModel.loss

    def watched(self, clip, *args, **kwargs):
        seen.append(clip.is_cached)
        return loss(self, clip, *args, **kwargs)

    monkeypatch.setattr(WorldModel, "loss", watched)
    monkeypatch.setattr(training_row, "foretold", lambda *about: {})  # as from pixels
    row = Row("cached", train="conditioning", size=(32, 32), data="cache")
    found = training_row.measure(row, 2, 1, "cpu", tmp_path, 0)
    assert found["steps"] == 2
    assert seen[:4] == [True] * 4  # three steps and the traced one


@pytest.mark.long
def test_operations_are_those_of_a_real_step(tiny_prior, spec, monkeypatch):
    """Counted without values; recomputation does not count."""
    none = SimpleNamespace(step=0, parameters=0)
    monkeypatch.setattr(training_row, "traced", lambda *about: none)  # memory has its own tests
    row = Row("full", gradient_checkpointing=True, batch_size=2, size=(16, 16))
    window = Window(1, 4, 1, 16, 16)
    told = training_row.foretold(row, str(tiny_prior), window, "cpu")["operations"]
    model = training_row.build(replace(row, gradient_checkpointing=False), str(tiny_prior), spec)
    model.configure_model()
    model.train()
    frames = torch.zeros(2, 5, 3, 16, 16, dtype=torch.uint8)
    rest = torch.zeros(2, 0, 3), torch.zeros(2, 0), [""] * 2, [""] * 2, [""] * 2
    counter = FlopCounterMode(display=False)
    with counter:
        model.loss(Clip(frames, torch.zeros(2, 4, 3), *rest))[0].backward()
    assert told == counter.get_total_flops()


def test_published_sizes_are_drawn(tmp_path, monkeypatch):
    """Folders of configurations that the backbones load; here so small that drawing is quick."""
    files = published()["stabilityai/stable-video-diffusion-img2vid-xt"]["files"]
    small = {"block_out_channels": [32, 32, 64, 64], "num_attention_heads": [2, 2, 4, 4]}
    small["layers_per_block"] = 1
    encoder = {"hidden_size": 64, "intermediate_size": 64, "projection_dim": 64}
    changes = {
        "unet": small | {"cross_attention_dim": 64},
        "vae": {"block_out_channels": [32] * 4, "layers_per_block": 1},
        "image_encoder": encoder | {"num_hidden_layers": 1, "patch_size": 56},
    }
    for part, change in changes.items():
        name = f"{part}/config.json"
        monkeypatch.setitem(files, name, files[name] | change)
    row = Row("svd", "svd", size=(64, 64), batch_size=1, horizon=2)
    monkeypatch.setattr(training_row, "matrix_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr(training_row, "foretold", lambda *about: {})  # `egowm memory` has tests
    drawn = []
    monkeypatch.setattr(training_row, "traced_peak", lambda model, *about: drawn.append(model))
    assert training_row.measure(row, 1, 1, "cpu", tmp_path, 0)["steps"] == 1
    assert 1e6 < sum(p.numel() for p in drawn[0].parameters() if p.requires_grad) < 1e8
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


def test_the_table_of_a_card(tmp_path):
    kernels = [{"name": "gemm", "share": 0.5}, {"name": "copy", "share": 0.25}]
    good = record("SVD 512, full", model="svd", peak_bytes=39e9, predicted_bytes=39e9)
    bad = record("SVD 512, lora", model="svd", peak_bytes=17e9, predicted_bytes=17e9)
    bad |= {"operations": 1e9, "kernels": kernels}
    write(tmp_path / "training-gpu.json", good, bad)
    text = tables.card(tmp_path)
    assert "| SVD 512, full | 2.00 | 1.00 | 2% | 39.000 | +0% | 3 | 80% |" in text
    assert "| 17.000, **above 16** | +0% | 3 | 20%, missed |" in text
    assert text.endswith("SVD 512, lora: 50% `gemm`; 25% `copy`.")


def test_rows_are_named_once():
    for group in (CPU, CUDA):
        assert len({row.name for row in group}) == len(group)
    assert set(LIMITS) <= {row.name for row in CUDA}
    assert {row.model for row in CUDA} == set(UTILISATION)


def test_a_row_that_fails_is_told(tmp_path, monkeypatch, capsys):

    def fails(*arguments):
        raise ValueError("full: out of memory")

    monkeypatch.setattr(training, "measured", fails)
    options = ["--device", "cpu", "--results", str(tmp_path)]
    assert training.main([*options, "--only", "compiled"]) == 2
    assert capsys.readouterr().err.endswith("training: full: out of memory\n")
    assert json.loads((tmp_path / "training.json").read_text())["rows"] == []
    assert training.main([*options, "--only", "no such row"]) == 2
    assert "Expected --only to name a row" in capsys.readouterr().err


@pytest.mark.long
def test_a_row_has_a_process_of_its_own(tmp_path, monkeypatch, capsys):
    """Its command carries all of the row, and its last line is the record or what went wrong."""
    asked, row = SimpleNamespace(steps=2, warmup=1, device="cpu", seed=3), Row("tape", data="tape")
    wrong = "tape: ValueError: tape: expected data pixels or cache, got 'tape'."
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        training.measured(row, asked, str(tmp_path))

    def here(command, **options):
        assert command[:3] == [sys.executable, "-m", "benchmarks.speed.training_row"]
        status = training_row.main(command[3:])
        return SimpleNamespace(returncode=status, stdout=capsys.readouterr().out)

    monkeypatch.setattr(training.subprocess, "run", here)
    given = []
    monkeypatch.setattr(training_row, "measure", lambda *about: given.extend(about) or {"steps": 2})
    found = training.measured(row, asked, str(tmp_path))
    assert found == row.key | {"steps": 2}
    assert given == [row, 2, 1, "cpu", tmp_path, 3]


@pytest.mark.long
def test_what_is_foretold_of_a_card(tiny_prior, tmp_path, monkeypatch):
    """One small row in the place of large ones; then its line, and a limit that is not kept."""
    row = Row("SVD 512, lora", train="lora", size=(16, 16), precision="bf16-mixed")
    monkeypatch.setattr(foretold, "FORETOLD", (row,))
    monkeypatch.setattr(foretold, "pipeline", lambda *_: str(tiny_prior))
    assert "| SVD 512, lora | not yet measured | | |" in tables.foretold(tmp_path)
    path = tmp_path / "foretold.json"
    assert foretold.main(["--results", str(tmp_path)]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert 1e5 < row["predicted_bytes"] < 1e8
    assert row["operations"] > 1e6
    write(path, row | {"predicted_bytes": 11.83e9, "operations": 3.2e12})
    assert "| SVD 512, lora | 11.8 | below 16 | 3.20 |" in tables.foretold(tmp_path)
    write(path, row | {"predicted_bytes": 17e9, "operations": 3.2e12})
    assert "| SVD 512, lora | 17.0 | below 16, **missed** | 3.20 |" in tables.foretold(tmp_path)


@pytest.mark.long
def test_steps_of_the_rooms_world_model_take_turns(tiny_prior, tmp_path, monkeypatch):
    """Each way differs from the first as its row says, and its ratio is to the first's seconds.

    Without bfloat16, whose rows take minutes on a CPU that does not compute in it.
    """
    monkeypatch.setattr(rooms_step, "computes_in_bfloat16", lambda kind: False)
    seen, step, latents = {}, rooms_step.Trainee.step, AutoencoderKLTemporalDecoder.encode

    def watched(self, way):
        encoded.clear()
        loss = step(self, way)
        kinds = {type(convolution) for convolution in self.convolutions}
        seen[rooms_step.ways([1, 3], False).index(way)] = (kinds, len(encoded), float(loss))
        return loss

    def encode(self, *given, **options):
        encoded.append(1)
        return latents(self, *given, **options)

    encoded: list[int] = []
    monkeypatch.setattr(rooms_step.Trainee, "step", watched)
    monkeypatch.setattr(AutoencoderKLTemporalDecoder, "encode", encode)
    argv = ["--prior", str(tiny_prior), "--size", "16", "--batches", "3", "1", "--rounds", "1"]
    argv += ["--calls", "1", "--device", "cpu", "--results", str(tmp_path)]
    assert rooms_step.main(argv) == 0
    rows = json.loads((tmp_path / "rooms-step.json").read_text())["rows"]
    assert [row["clips"] for row in rows] == [1, 1, 1, 3, 1, 3]
    assert not any(row["half"] for row in rows)
    assert [way.half for way in rooms_step.ways([1], True)] == [False, False, True, False, True]
    assert rows[0]["ratio_min"] == rows[0]["ratio_max"] == 1
    for number, row in enumerate(rows):
        kinds, encodings, loss = seen[number]
        assert kinds == {TemporalConv if row["single"] else nn.Conv3d}
        assert (encodings == 0) == row["kept"]
        assert loss > 0
        assert row["seconds"] > 0


def test_the_table_of_those_steps(tmp_path):
    assert "| not yet measured | | | | | |" in tables.rooms_step(tmp_path)
    rows = [{"name": "first", "clips": 8, "seconds": 0.5}, {"clips": 16, "seconds": 0.8}]
    ends = {"ratio_median": 1.0, "ratio_min": 1.0, "ratio_max": 1.0}
    write(tmp_path / "rooms-step.json", rows[0] | ends, rows[0] | rows[1] | ends)
    text = tables.rooms_step(tmp_path)
    assert "| first | 8 | 2.00 | 1.00 (1.00 to 1.00) | 16.0 | 1.00 (1.00 to 1.00) |" in text
    assert "| 16 | 1.25 | 1.00 (1.00 to 1.00) | 20.0 | 2.00 (2.00 to 2.00) |" in text
