"""A folder of which a part is missing or damaged: the file is named, and nobody else is asked."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import egowm.backbones
from egowm.backbones import SVD, Cosmos
from egowm.backbones.texts import EMPTY, Texts
from egowm.commands import main as cli

from .conftest import BY_TOKEN, FAMILIES

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
TEXT_PARTS = [
    "tokenizer",
    "tokenizer/tokenizer_config.json",
    "tokenizer/tokenizer.json",
    "text_encoder",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
]


def breakages(folder: Path) -> Iterator[str]:
    """Everything that a pipeline's folder can lack: its files of settings and weights, and each of
    its folders."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name.endswith(("config.json", "index.json", ".safetensors")):
            yield path.relative_to(folder).as_posix()


def broken(folder: Path, target: Path, part: str) -> Path:
    """A copy without `part`."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(folder, target)
    path = target / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return target


def line_of(error: Exception) -> str:
    """What a command prints of it; no traceback."""
    line = cli.explain(error)
    assert line is not None
    assert str(error) == line
    return line


def ready(kind, folder: Path, **options) -> None:
    """Everything that is loaded before a first step."""
    backbone = kind(str(folder), **options)
    backbone.load()
    if backbone.codec.texts:
        backbone.codec.texts([""], CPU)


def test_each_part_of_each_family(family, tiny, tmp_path, online):
    kind, found = getattr(egowm.backbones, family.backbone), set()
    for part in breakages(tiny(family.name)):
        base = broken(tiny(family.name), tmp_path / "base", part)
        with pytest.raises((FileNotFoundError, ValueError)) as caught:
            ready(kind, base)
        line = line_of(caught.value)
        if part == EMPTY:
            assert line.startswith(f"{base} has no text encoder")
            assert EMPTY in line
        else:
            assert line.startswith(f"Expected {base / part}")
            assert "found none: copy the whole folder, nothing is downloaded" in line
        found.add(part)
    assert {"model_index.json", "vae", "vae/config.json", "scheduler"} < found
    assert "vae/diffusion_pytorch_model.safetensors" in found
    assert len(found) == {"svd": 14, "wan2.1": 15, "cdit": 9}.get(family.name, 10)


@pytest.mark.parametrize("name", BY_TOKEN)
def test_each_part_of_a_text_encoder(name, tiny, tokenizer, tmp_path, monkeypatch, online):
    from diffusers.pipelines.wan import pipeline_wan_i2v

    monkeypatch.setattr(pipeline_wan_i2v, "ftfy", object(), raising=False)
    whole = tmp_path / "whole"
    shutil.copytree(tiny(name), whole)
    tokenizer.save_pretrained(whole / "tokenizer")
    (whole / "text_encoder").mkdir()
    for file in ("config.json", "model.safetensors"):
        (whole / "text_encoder" / file).touch()
    backbone = getattr(egowm.backbones, FAMILIES[name].backbone)(str(whole))
    backbone.load()
    for part in TEXT_PARTS:
        base = broken(whole, tmp_path / "base", part)
        with pytest.raises((FileNotFoundError, ValueError)) as caught:
            Texts(base, backbone.codec.texts.embed)(["turn left"], CPU)
        line = line_of(caught.value)
        expected = f"{base} has no" if part == "text_encoder" else f"Expected {base / part}"
        assert line.startswith(expected)


@pytest.mark.parametrize("name", ["svd", "predict2"])
@pytest.mark.parametrize("part", [".", "config.json", "diffusion_pytorch_model.safetensors"])
def test_a_vae_that_lies_elsewhere(name, part, tiny, tmp_path, monkeypatch, online):
    """Given as a relative path of two words, which reads like the name of a repository."""
    monkeypatch.chdir(tmp_path)
    kind = {"svd": SVD, "predict2": Cosmos}[name]
    if part != ".":
        broken(tiny(name) / "vae", Path("runs/vae"), part)
    with pytest.raises(FileNotFoundError) as caught:
        ready(kind, tiny(name), vae_folder="runs/vae")
    lacking = "config.json" if part == "." else part
    assert line_of(caught.value).startswith(f"Expected runs/vae/{lacking}, found none")


@pytest.mark.parametrize(("name", "network"), [("svd", "unet"), ("predict2", "transformer")])
def test_a_network_from_scratch_needs_no_weights(name, network, tiny, tmp_path, online):
    kind = {"svd": SVD, "predict2": Cosmos}[name]
    weights = f"{network}/diffusion_pytorch_model.safetensors"
    ready(kind, broken(tiny(name), tmp_path / "base", weights), random=[network])
    base = broken(tiny(name), tmp_path / "base", f"{network}/config.json")
    with pytest.raises(FileNotFoundError, match=f"{base / network}/config.json, found none"):
        ready(kind, base, random=[network])


@pytest.mark.long
def test_weights_in_shards(tiny, tmp_path, online):
    """Each of them is needed; together they are what they were."""
    whole = broken(tiny("svd"), tmp_path / "whole", "unet")
    backbone = SVD(str(tiny("svd")))
    backbone.load()
    backbone.network.save_pretrained(whole / "unet", max_shard_size="500KB")
    again = SVD(str(whole))
    again.load()
    weights = again.network.state_dict()
    assert all(torch.equal(w, weights[k]) for k, w in backbone.network.state_dict().items())
    shards = sorted((whole / "unet").glob("*.safetensors"))
    assert len(shards) > 2
    for shard in shards:
        base = broken(whole, tmp_path / "base", f"unet/{shard.name}")
        with pytest.raises(FileNotFoundError, match=f"Expected {base}/unet/{shard.name}"):
            ready(SVD, base)


def test_weights_in_float16_by_name(tiny, tmp_path, online):
    """The published SVD comes so, too; a part in the plain form may stand beside."""
    backbone = SVD(str(tiny("svd")))
    backbone.load()
    base = broken(tiny("svd"), tmp_path / "base", "unet/diffusion_pytorch_model.safetensors")
    (base / "image_encoder/model.safetensors").unlink()
    backbone.network.half().save_pretrained(base / "unet", variant="fp16")
    backbone.image_encoder.half().save_pretrained(base / "image_encoder", variant="fp16")
    again = SVD(str(base))
    again.load()
    for name in ("network", "image_encoder"):
        weights = getattr(again, name).state_dict()
        for key, value in getattr(backbone, name).state_dict().items():
            assert weights[key].dtype in (torch.float32, torch.int64)
            assert torch.equal(weights[key], value.to(weights[key].dtype))


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("model_index.json", "model_index.json"),
        ("vae/config.json", "vae/config.json"),
        ("unet/config.json", "unet/config.json"),
        ("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"),
        ("image_encoder/model.safetensors", "image_encoder/model.safetensors"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json"),
        ("feature_extractor/preprocessor_config.json", "feature_extractor"),
    ],
)
def test_a_file_that_was_cut_short(part, named, tiny, tmp_path, online):
    base = tmp_path / "base"
    shutil.copytree(tiny("svd"), base)
    (base / part).write_bytes((base / part).read_bytes()[:-30])
    with pytest.raises(ValueError) as caught:
        ready(SVD, base)
    line = line_of(caught.value)
    assert line.startswith(f"{base / named} cannot be read (")
    assert line.endswith("): copy it again, as a whole.")


@pytest.mark.long
@pytest.mark.parametrize("part", ["image_encoder", "unet/diffusion_pytorch_model.safetensors"])
def test_commands_say_so_in_a_line(part, tiny, recipe, obedient, tmp_path, capsys, online):
    """`fit` from such a base, `rollout` from an export made on one."""
    base = broken(tiny("svd"), tmp_path / "base", part)
    words = f"egowm: Expected {base / part}"
    assert cli.main(["fit", "-c", str(recipe), "--model.backbone.pretrained", str(base)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(words)
    obedient.save_pretrained(tmp_path / "export")
    picture = tmp_path / "picture.png"
    Image.new("RGB", (16, 16), "grey").save(picture)
    asked = [str(picture), "--model", str(tmp_path / "export"), "--base", str(base)]
    out = ["--actions", "w", "--output", str(tmp_path / "walk")]
    assert cli.main(["rollout", *asked, *out]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(words)
    assert not (tmp_path / "walk").exists()


# They load by `locate`, or exports; a plain function of this name is egowm.latent's.
OURS = ("WorldModel", "Cosmos3", "RSSM", "LatentModel", "BehaviourCloning", "Dreamer")
OURS += ("Encoder", "MooG", "SingleLife", "egowm.latent")


@pytest.mark.parametrize("folder", ["egowm", "benchmarks"])
def test_no_other_code_can_ask(folder):
    """All calls of the libraries' own loaders say `local_files_only=True`; one place downloads."""
    downloading = []
    for path in (ROOT / folder).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(call, "func", None)
            name = getattr(name, "attr", getattr(name, "id", ""))
            if name in ("snapshot_download", "hf_hub_download"):
                downloading.append(path.relative_to(ROOT).as_posix())
            if name in ("from_pretrained", "load_config"):
                owner = getattr(getattr(call.func, "value", None), "id", "egowm.latent")
                said = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
                local = owner in OURS or said.get("local_files_only") is True
                assert local, f"{path}:{call.lineno}"
    assert downloading == (["egowm/hub.py"] if folder == "egowm" else [])
