"""`egowm memory`: predicted without weights, against what a real step takes."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import WanTransformer3DModel
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.speed.training_row import traced_peak
from egowm.backbones import SVD
from egowm.commands import main as cli
from egowm.commands.work import memory as memory_cli
from egowm.commands.work.memory import LADDER, Rung, Way, choices
from egowm.data import Clip, Window
from egowm.loading import untrained
from egowm.network.optimizer import adamw
from egowm.shipped import recipes
from egowm.sizes import MOST_WEIGHTS
from egowm.training.memory import Live, Memory, traced
from egowm.training.published import published, sizes_of
from egowm.world_model import WorldModel

ROOT = Path(__file__).resolve().parent.parent.parent
WINDOW = Window(1, 4, 1, 32, 32)


def test_what_is_alive_is_counted():
    with Live() as live:
        first = torch.zeros(1000)
        view = first[10:]
        second = first + 1
        assert live.bytes == 8000
        del first
        assert live.bytes == 8000  # the view still holds it
        del view, second
        assert live.bytes == 0
    assert live.peak == 8000


@pytest.mark.long
@pytest.mark.parametrize(
    ("train", "checkpointing", "precision"),
    [
        ("full", False, "32-true"),
        pytest.param("full", True, "32-true", marks=pytest.mark.long),
        pytest.param("lora", False, "32-true", marks=pytest.mark.long),
        pytest.param("full", False, "bf16-mixed", marks=pytest.mark.long),
    ],
)
def test_predicted_is_real_within_15_percent(tiny_prior, spec, train, checkpointing, precision):
    def build() -> WorldModel:
        options = {"train": train, "gradient_checkpointing": checkpointing, "lora_rank": 4}
        return WorldModel(SVD(str(tiny_prior)), spec=spec, **options)

    predicted = traced(build(), WINDOW, 4, precision)
    model = build()
    model.configure_model()
    model.train()
    frames = torch.randint(0, 256, (4, 5, 3, 32, 32), dtype=torch.uint8)
    rest = torch.zeros(4, 0, 3), torch.zeros(4, 0), [""] * 4, [""] * 4, [""] * 4
    clip = Clip(frames, torch.zeros(4, 4, 3), *rest)
    optimizer = adamw(model.parameters(), 1e-5, 1, 10)["optimizer"]
    model.loss(clip)[0].backward()
    optimizer.step()
    found = traced_peak(model, optimizer, clip, precision)
    print(train, checkpointing, precision, predicted.step / 1e6, found / 1e6)
    assert predicted.step == pytest.approx(found, rel=0.15)
    assert predicted.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert predicted.activations > 0.2 * predicted.step  # else this would test nothing


@pytest.mark.long
def test_no_weight_is_read(tiny_prior, tmp_path, spec):
    """Configurations are enough."""
    ignore = shutil.ignore_patterns("*.safetensors")
    folder = shutil.copytree(tiny_prior, tmp_path / "bare", ignore=ignore)
    with_weights, without = (
        traced(WorldModel(SVD(str(f)), spec=spec), WINDOW, 2, "32-true")
        for f in (tiny_prior, folder)
    )
    assert with_weights == without
    twice = traced(WorldModel(SVD(str(folder)), spec=spec), WINDOW, 4, "32-true")
    assert twice.activations == pytest.approx(2 * without.activations, rel=0.3)


def memory(activations: float, encoding: float = 0.0, frozen: float = 0.0) -> Memory:
    """Of 2 GB of weights and a tensor of 1e9 trained values, in GB."""
    sizes = {"weights": 2, "gradients": 4, "activations": activations, "encoding": encoding}
    return Memory(
        **{name: int(1e9 * size) for name, size in sizes.items()},
        frozen=int(1e9 * frozen),
        sizes=(10**9,),
    )


def test_the_peak_in_closed_form():
    """Encoding, training, and torch's optimizer with its temporary values."""
    assert memory(1).optimizer == 8_000_000_000
    assert memory(1).peak == (2 + 8 + 4 + 4) * 10**9
    assert memory(7).peak == memory(7).step == (2 + 8 + 4 + 7) * 10**9
    assert memory(1, encoding=9).peak == (2 + 8 + 9) * 10**9
    away = replace(memory(7, encoding=3, frozen=1.5), offload=True)
    assert away.resident == 500_000_000
    assert away.peak == 19_500_000_000  # 0.5 + 8 + 4 + 7
    assert replace(away, encoding=10**10).peak == 20 * 10**9  # all of them are there then
    small = replace(memory(1), kind="adamw_8bit")
    assert small.optimizer == 2 * 10**9 + 8 * 3_906_250
    assert small.peak == (2 + 4 + 1) * 10**9 + small.optimizer
    assert replace(memory(1), kind="paged_adamw_8bit").peak == 7 * 10**9


def test_the_first_rung_that_fits_is_chosen():
    ways = (Way(), Way(checkpointing=True), Way("lora", True, "adamw_8bit", True, 1))
    rungs = [Rung(w, memory(a)) for w, a in zip(ways, (60, 16, 4), strict=True)]
    lines = choices(rungs, Way(checkpointing=True))
    assert lines[0] == (
        "  24 GB: lora, checkpointing, adamw_8bit, offload, VAE by 1, 18.00 GB: --model.train lora "
        "--model.gradient_checkpointing true --model.optimizer adamw_8bit --model.offload true "
        "--model.backbone.vae_batch 1"
    )
    assert lines[1].startswith("  40 GB: full, checkpointing, 30.00 GB: --model.train full")
    assert lines[1].endswith("true (as the recipe is)")
    assert [line.split(": ")[1].split(",")[0] for line in lines[2:]] == ["full", "full"]
    assert choices([Rung(Way(), memory(200))], Way())[3].startswith(" 141 GB: nothing fits")


def rows(out: str) -> dict[str, list[float]]:
    """The numbers of the printed table, by the name of the way."""
    found = {}
    for line in out.splitlines():
        if match := re.match(r"(\S.*?)\s{2,}([\d.]+) M((?:\s+[\d.]+)+)$", line):
            found[match[1]] = [float(x) for x in (match[2], *match[3].split())]
    return found


@pytest.mark.long
def test_the_command(recipe, capsys, monkeypatch):
    ladder = (Way(), Way("conditioning", True))
    monkeypatch.setattr(memory_cli, "LADDER", ladder)
    assert cli.main(["memory", "-c", str(recipe), "--trainer.precision", "bf16-mixed"]) == 0
    out = capsys.readouterr().out
    assert "1 + 3 frames of 16x16, batch 2, bf16-mixed" in out
    assert list(rows(out)) == [way.name for way in ladder]
    assert "  24 GB: full, 0." in out
    assert "(as the recipe is)" in out
    assert cli.main(["memory", "-c", "none.yaml"]) == 2


@pytest.mark.long
def test_a_base_in_float16(tmp_path, capsys, monkeypatch):
    """Whatever a folder says of itself: it is loaded in float32, and computes in bfloat16."""
    monkeypatch.setattr(memory_cli, "LADDER", (Way(),))
    folder = shutil.copytree(ROOT / "priors/rooms-svd", tmp_path / "base")
    config = folder / "image_encoder/config.json"
    said = config.read_text()
    config.write_text(said.replace('"dtype": "float32"', '"dtype": "float16"'))
    assert config.read_text() != said
    options = ["--model.backbone.pretrained", str(folder)]
    assert cli.main(["memory", "-c", str(ROOT / "recipes/rooms_svd.yaml"), *options]) == 0
    out = capsys.readouterr().out
    assert "1 + 1 frame of 64x64, batch 16, bf16-mixed" in out
    assert rows(out)["full"][0] == 5.7


@pytest.mark.long
def test_a_recipe_that_is_no_rung_comes_first(recipe, capsys, monkeypatch):
    ladder = (Way("conditioning", True),)
    monkeypatch.setattr(memory_cli, "LADDER", ladder)
    text = yaml.safe_load(recipe.read_text())
    arguments = text["model"]["init_args"]
    arguments |= {"train": "conditioning", "gradient_checkpointing": True}
    arguments |= {"optimizer": "adamw_8bit", "compile": "inductor"}
    arguments["backbone"]["init_args"]["vae_batch"] = 1
    recipe.write_text(yaml.safe_dump(text))
    assert cli.main(["memory", "-c", str(recipe)]) == 0
    out = capsys.readouterr().out
    own = "conditioning, checkpointing, adamw_8bit, VAE by 1"
    assert list(rows(out)) == [own, *(way.name for way in ladder)]
    assert f"24 GB: {own}, 0." in out


@pytest.mark.parametrize(
    "text",
    ["", "model: 3", "{", "model: {class_path: WorldModel}", "model: {init_args: {}}", "- 1"],
)
def test_what_is_no_recipe_is_refused(tmp_path, capsys, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert cli.main(["memory", "-c", str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{path}: expected a recipe" in line


TRAINED = {  # parameters in millions, where all of the network is trained
    "donkeycar_svd": 5.7, "droid_wrist_svd": 6.0, "gr1_humanoid_svd": 6.3,
    "humanoid_manip_svd": 6.4, "humanoid_nav_svd": 6.4, "rooms_cdit": 5.6,
    "rooms_cosmos": 1.7, "rooms_cosmos_scratch": 1.7, "rooms_svd": 5.7, "rooms_svd_scratch": 5.7,
    "rover_svd": 5.7, "tum_svd": 5.7,
}  # fmt: skip
PEAKS = {"recon_svd": 9.02, "recon_cosmos": 8.35}  # GB of weights; 40 GB with checkpointing
SHALLOW = {  # by `make_shallow`
    "nwm_joint_svd": 1016.7, "onex_svd": 1020.2, "recon_wan": 264.4, "recon_sana": 158.9,
}  # fmt: skip
PUBLISHED = {"recon_svd": 1526, "recon_cosmos": 1961} | SHALLOW
LADDERED = (*PEAKS, "recon_wan")  # which trains a LoRA
RECORDED = {"gr1_humanoid_svd": "gr1_humanoid_sim", "tum_svd": "tum_fr1_rpy_excerpt"}
SLOW = [pytest.mark.long, pytest.mark.timeout(600)]
RECIPES = [pytest.param(n, marks=SLOW if n in PUBLISHED else ()) for n in recipes()]


def make_shallow(patch: pytest.MonkeyPatch) -> None:
    """All published networks: a trace takes as long as they have layers."""
    for pipeline in published().values():
        for part in {"unet/config.json", "transformer/config.json"} & pipeline["files"].keys():
            config = pipeline["files"][part]
            for key in {"layers_per_block", "num_layers"} & config.keys():
                patch.setitem(config, key, 1)


def test_a_published_network_is_counted_whole():
    with sizes_of("Wan-AI/Wan2.2-TI2V-5B-Diffusers") as folder, FakeTensorMode():
        network = untrained(WanTransformer3DModel, folder / "transformer", MOST_WEIGHTS)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(5.0e9, rel=0.005)


@pytest.mark.long
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_answered(name, request, tmp_path, capsys, monkeypatch, online):
    """No large base is here, and none is asked for: configurations are enough, as the number of
    parameters says. Two recipes need recordings, which alone know how many actions there are."""
    monkeypatch.setattr(memory_cli, "LADDER", LADDER[1:2] if name in LADDERED else ())
    if name in SHALLOW:
        make_shallow(monkeypatch)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    command = ["memory", "-c", str(ROOT / f"recipes/{name}.yaml")]
    if name in RECORDED:
        command += ["--data.root", str(request.getfixturevalue("shared_data") / RECORDED[name])]
    expected = (TRAINED | PUBLISHED).get(name)
    assert cli.main(command) == (2 if expected is None else 0)
    out, err = capsys.readouterr()
    if expected is None:  # what trains no world model
        assert re.search(r"expected (a recipe whose model|a recipe with a sec|a WorldModel)", err)
        assert len(err.splitlines()) == 1
        return
    assert ("Sizes as published: " in out) == (name in PUBLISHED)
    found = rows(out)
    row = found.get("full, checkpointing", next(iter(found.values())))
    trained, weights, gradients, optimizer, *_ = row
    assert trained == pytest.approx(expected, rel=0.005, abs=0.05)
    assert gradients == pytest.approx(4e-3 * trained, abs=0.01)
    assert optimizer == pytest.approx(8e-3 * trained, abs=0.01)
    if name in PEAKS:
        assert weights == pytest.approx(PEAKS[name], abs=0.05)
        assert found["full, checkpointing"][-1] < 40 < found["full"][-1]


def test_an_unknown_base_is_asked_for(recipe, capsys):
    options = ["--model.backbone.pretrained", "nobody/knows-this"]
    assert cli.main(["memory", "-c", str(recipe), *options]) == 2
    assert "nobody/knows-this is neither a folder nor in the local" in capsys.readouterr().err
