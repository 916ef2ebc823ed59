"""Bases with damaged files: every command works, or says why in one line that names the base.

In process: nothing hangs, for settings that ask for layers without end are refused while these are
counted. `make fuzz` tries many more ("rollout, base", "memory, base", "export, base").
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from egowm.commands import main as cli
from egowm.loading import load_model
from egowm.sizes import MOST_TENSORS, MOST_WEIGHTS, no_larger_than, room_for
from tests.fuzz.damage import do, draw

SETTINGS = (  # each asks for more than there is
    ("unet/config.json", {"layers_per_block": 10**6}, "ask for more than"),
    ("unet/config.json", {"layers_per_block": 10**8}, "layers_per_block 100000000 .*default 2"),
    ("unet/config.json", {"cross_attention_dim": 10**6}, "ask for more than"),
    ("unet/config.json", {"num_frames": float("inf")}, "num_frames inf .*default 25"),
    ("vae/config.json", {"layers_per_block": 10**6}, "ask for more than"),
    ("vae/config.json", {"latent_channels": 10**12}, "latent_channels 1000000000000 .*default 4"),
    ("vae/config.json", {"block_out_channels": [10**8]}, "block_out_channels .*default"),
    ("vae/config.json", {"scaling_factor": "x"}, "scaling_factor 'x' .*default 0.18215"),
    ("image_encoder/config.json", {"num_hidden_layers": 10**7}, "ask for more than"),
    ("image_encoder/config.json", {"image_size": 10**7}, "ask for more than"),
)


@pytest.fixture
def base(tiny_prior, tmp_path) -> Path:
    return shutil.copytree(tiny_prior, tmp_path / "base")


@pytest.fixture
def rollout(obedient, base, tmp_path) -> list[str]:
    """A command from an export and the base."""
    obedient.save_pretrained(tmp_path / "export")
    Image.new("RGB", (16, 16), "grey").save(tmp_path / "picture.png")
    words = ["rollout", str(tmp_path / "picture.png"), "--model", str(tmp_path / "export")]
    words += ["--base", str(base), "--actions", "w", "--steps", "1", "--size", "16", "16"]
    return [*words, "--output", str(tmp_path / "walk")]


def ends_well(command: list[str], capsys) -> str:
    """Status 0, or 2 with one line on the error stream; the line."""
    status = cli.main(command)
    lines = capsys.readouterr().err.splitlines()
    assert (status, len(lines)) == (2, 1) or status == 0, lines
    return lines[0] if lines else ""


def change(file: Path, changes: dict[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.long
def test_damaged_files(tiny_prior, base, rollout, tmp_path, capsys, online):
    """Seeded; some damage changes nothing that is read."""
    lines = []
    for seed in range(20):
        shutil.rmtree(base)
        shutil.copytree(tiny_prior, base)
        do(base, draw(base, np.random.default_rng(seed)))
        lines.append(ends_well(rollout, capsys))
        assert not lines[-1] or str(base) in lines[-1]
        shutil.rmtree(tmp_path / "walk", ignore_errors=True)
    assert "" in lines
    assert len({line.partition(str(base))[2] for line in lines}) > 10


@pytest.mark.long
@pytest.mark.parametrize(("name", "changes", "words"), SETTINGS)
def test_settings_that_ask_for_too_much(
    name, changes, words, base, rollout, recipe, capsys, online
):
    change(base / name, changes)
    memory = ["memory", "-c", str(recipe), "--model.backbone.pretrained", str(base)]
    for command in (rollout, memory):
        line = ends_well(command, capsys)
        assert re.search(words, line), line
        assert str(base / Path(name).parent) in line


@pytest.mark.long
def test_parts_that_do_not_fit_name_the_base(base, rollout, capsys, online):
    """Each can be read; together they fail."""
    changes = {"image_mean": [0.5, 0.5], "image_std": [0.5, 0.5]}
    change(base / "feature_extractor/preprocessor_config.json", changes)
    assert f"{base}: the parts cannot be used together" in ends_well(rollout, capsys)


@pytest.mark.long
def test_a_trace_of_such_parts_prints_no_more(base, recipe, capsys, caplog, online):
    change(base / "image_encoder/config.json", {"projection_dim": 512})
    memory = ["memory", "-c", str(recipe), "--model.backbone.pretrained", str(base)]
    assert f"{base}: the parts cannot be used together" in ends_well(memory, capsys)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_pipe_in_place_of_weights_is_not_waited_for(tmp_path):
    """A trace reads settings alone."""
    os.mkfifo(tmp_path / "model.safetensors")
    end = os.open(tmp_path / "model.safetensors", os.O_RDWR)  # or a fault would hang
    assert room_for([tmp_path / "model.safetensors"]) == (MOST_WEIGHTS, MOST_TENSORS)
    os.close(end)


def test_missing_weights_are_not_drawn_anew(base, online):
    """As transformers would, with a warning."""
    from safetensors.torch import load_file, save_file
    from transformers import CLIPVisionModelWithProjection

    file = base / "image_encoder/model.safetensors"
    weights = load_file(file)
    del weights["visual_projection.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 weight is missing, the first is visual_projection"):
        load_model(CLIPVisionModelWithProjection, base / "image_encoder")


def test_tied_weights_are_stored_once_and_load(tmp_path):
    """A text encoder that is hardly more than its vocabulary."""
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1}
    made = T5EncoderModel(T5Config(vocab_size=200_000, **sizes))
    made.save_pretrained(tmp_path)
    read = load_model(T5EncoderModel, tmp_path)
    assert read.encoder.embed_tokens.weight is read.shared.weight
    assert torch.equal(read.shared.weight, made.shared.weight)


def test_what_takes_anothers_place_is_not_counted(tmp_path):
    """Libraries make a network on no device, then put each weight that was read in its place."""
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(8)}, tmp_path / "a.safetensors")
    assert room_for([tmp_path / "a.safetensors"]) == (4 * 20 + 1_000_000, 4 * 2 + 1000)
    with no_larger_than(20, 2):
        layer = torch.nn.Linear(4, 4)
        for _ in range(9):
            layer.weight = torch.nn.Parameter(torch.zeros(4, 4))
    with (
        pytest.raises(ValueError, match="more than 19 weights in 2 tensors"),
        no_larger_than(19, 2),
    ):
        torch.nn.Linear(4, 4)
    with (
        pytest.raises(ValueError, match="more than 20 weights in 1 tensor"),
        no_larger_than(20, 1),
    ):
        torch.nn.Linear(4, 4)
    torch.nn.Linear(40, 40)  # outside nothing is counted
