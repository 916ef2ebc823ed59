"""Bases and exports with damaged bytes: every command works, or says why in one line.

Seeded flips, cuts and values; what these cannot reach is tried by name. In process: nothing hangs,
for settings that ask for layers without end are refused while they are counted.
"""

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from egowm.commands import main as cli

FILES = (
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "image_encoder/config.json",
    "scheduler/scheduler_config.json",
    "feature_extractor/preprocessor_config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "image_encoder/model.safetensors",
)
STRANGE = ("null", "-1", "0", "1e30", '"x"', "[]", "{}", "true", "[1, 2]", "123456789012", "0.5")
ABSURD = [
    ("unet/config.json", {"layers_per_block": 10**7}, "ask for more than"),
    ("unet/config.json", {"cross_attention_dim": 10**8}, "cannot be read"),
    ("vae/config.json", {"layers_per_block": 10**7}, "ask for more than"),
    ("vae/config.json", {"latent_channels": 10**12}, "latent_channels 1000000000000 .*like .* 4"),
    ("vae/config.json", {"scaling_factor": "x"}, "scaling_factor 'x' .*like the default 0.18215"),
    ("image_encoder/config.json", {"num_hidden_layers": 10**7}, "ask for more than"),
    ("image_encoder/config.json", {"image_size": 10**7}, "ask for more than"),
]


def damaged(data: bytes, text: bool, rng: random.Random) -> bytes:
    """With a bit flipped, the end cut off or, in text, another value somewhere."""
    kind = rng.choice(("flip", "cut", "value", "value") if text else ("flip", "cut"))
    if kind == "cut":
        return data[: rng.randrange(len(data))]
    if kind == "value":
        words = data.decode()
        values = list(re.finditer(r':\s*("[^"]*"|[-\d.e]+|true|false|null|\[[^\[\]]*\])', words))
        start, end = rng.choice(values).span(1)
        return (words[:start] + rng.choice(STRANGE) + words[end:]).encode()
    place = rng.randrange(min(len(data), 3000))  # of weights: their header and the first of them
    flipped = bytearray(data)
    flipped[place] ^= 1 << rng.randrange(8)
    return bytes(flipped)


@pytest.fixture
def export(obedient, tmp_path) -> Path:
    obedient.save_pretrained(tmp_path / "export")
    return tmp_path / "export"


def rollout(model: Path, base: Path, folder: Path) -> list[str]:
    Image.new("RGB", (16, 16), "grey").save(folder / "picture.png")
    out = ["--actions", "w", "--steps", "1", "--size", "16", "16", "--output", str(folder / "walk")]
    return [
        "rollout",
        str(folder / "picture.png"),
        "--model",
        str(model),
        "--base",
        str(base),
        *out,
    ]


def ends_well(command: list[str], capsys) -> str:
    """Status 0, or 2 with one line on the error stream; the line."""
    status = cli.main(command)
    lines = capsys.readouterr().err.splitlines()
    assert (status, len(lines)) == (2, 1) or status == 0, lines
    return lines[0] if lines else ""


@pytest.mark.parametrize("name", FILES)
def test_rollouts_from_a_damaged_base(name, tiny_prior, export, tmp_path, capsys, online):
    base = shutil.copytree(tiny_prior, tmp_path / "base")
    rng, whole = random.Random(name), (base / name).read_bytes()
    for _ in range(4):
        (base / name).write_bytes(damaged(whole, name.endswith(".json"), rng))
        shutil.rmtree(tmp_path / "walk", ignore_errors=True)
        ends_well(rollout(export, base, tmp_path), capsys)


@pytest.mark.parametrize("name", ["world_model.json", "weights.safetensors"])
def test_rollouts_from_a_damaged_export(name, tiny_prior, export, tmp_path, capsys, online):
    rng, whole = random.Random(name), (export / name).read_bytes()
    for _ in range(8):
        (export / name).write_bytes(damaged(whole, name.endswith(".json"), rng))
        shutil.rmtree(tmp_path / "walk", ignore_errors=True)
        line = ends_well(rollout(export, tiny_prior, tmp_path), capsys)
        assert line or name.endswith(".json")  # damaged weights are never believed


@pytest.mark.parametrize(("name", "changes", "words"), ABSURD)
def test_absurd_sizes_are_refused(
    name, changes, words, tiny_prior, export, recipe, tmp_path, capsys, online
):
    base = shutil.copytree(tiny_prior, tmp_path / "base")
    settings = json.loads((base / name).read_text()) | changes
    (base / name).write_text(json.dumps(settings))
    memory = ["memory", "-c", str(recipe), "--model.backbone.pretrained", str(base)]
    for command in (rollout(export, base, tmp_path), memory):
        line = ends_well(command, capsys)
        assert re.search(words, line), line
        assert str(base / Path(name).parent) in line


def test_missing_weights_are_not_drawn_anew(tiny_prior, tmp_path, online):
    """As transformers would, with a warning."""
    from safetensors.torch import load_file, save_file

    from egowm.backbones import SVD

    base = shutil.copytree(tiny_prior, tmp_path / "base")
    file = base / "image_encoder/model.safetensors"
    weights = load_file(file)
    del weights["visual_projection.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 weights are missing, the first is visual_projection"):
        SVD(str(base)).load()
