"""Training a part of the network: what trains, what checkpoints hold, and merged LoRAs."""

import copy
import sys

import numpy as np
import pytest
import torch
import yaml
from lightning import Trainer

from egowm.actions import ActionSpec
from egowm.backbones import SVD
from egowm.commands import main as cli
from egowm.data import Clip, ClipData, Episode, Window
from egowm.network.checkpointing import enable_gradient_checkpointing
from egowm.network.optimizer import adamw
from egowm.network.trained_part import TrainedPart, merged_weights
from egowm.world_model import WorldModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]
PARTS = ("full", "lora", "temporal", "conditioning")
# Attention over SVD's single image token is 1 whatever these give, so their gradient is zero.
ONE_TOKEN = ("attn2.to_q", "attn2.to_k", "norm2")
TEMPORAL = ("temporal_transformer_blocks", "temporal_res_block", "time_mixer", "time_pos_embed")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def make(tiny_prior, spec):
    """A world model that trains a part of the tiny prior."""

    def build(train: str, **options) -> WorldModel:
        torch.manual_seed(0)
        options = {"lora_rank": 4, "steps": 2, "chunk": 4, "spec": spec} | options
        model = WorldModel(SVD(str(tiny_prior)), train=train, **options)
        model.configure_model()
        return model

    return build


@pytest.fixture
def clip(spec) -> Clip:
    """A batch of two, 4 future frames."""
    frames = torch.randint(0, 256, (2, 5, 3, 16, 16), generator=seeded(0)).to(torch.uint8)
    actions = spec.denormalise(torch.rand(2, 4, 3, generator=seeded(1)) * 2 - 1)
    rest = torch.zeros(2, 0, 3), torch.zeros(2, 0), ["", ""], ["test"] * 2, ["a", "b"]
    return Clip(frames, actions, *rest)


def train(model: WorldModel, clip: Clip, steps: int, rate: float = 1e-2) -> None:
    model.train()
    optimizer = adamw(model.parameters(), rate, 1, 100)["optimizer"]
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(clip, seeded(step))[0].backward()
        optimizer.step()


def expected(part: str, name: str) -> bool:
    """Whether a fit of this part changes this parameter."""
    if name.startswith("action_embedding."):
        return True
    if not name.startswith("backbone.network."):
        return False
    if part == "temporal":
        return any(f".{layer}." in name for layer in TEMPORAL)
    return {"full": True, "lora": ".lora_" in name, "conditioning": False}[part]


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_gradient_reaches_exactly_the_part(make, clip, part):
    """After one step, as layers before those that start at zero have no gradient at first."""
    model = make(part)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wanted = {name for name in before if expected(part, name)}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == wanted
    train(model, clip, 1)
    model.zero_grad()
    sum(model.loss(clip, seeded(k))[0] for k in (7, 8)).backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == wanted
    still = {n for n, p in model.named_parameters() if n in wanted and not p.grad.any()}
    assert all(any(layer in name for layer in ONE_TOKEN) for name in still)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed <= wanted
    assert any(name.startswith("action_embedding.linear_2") for name in changed)
    assert (len(changed) > 10) == (part != "conditioning")


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS[1:])
def test_gradient_checkpointing_gives_the_same_gradients(make, clip, part):
    """The parts before a checkpointed block are frozen, the embedding is not."""
    gradients = []
    for checkpointed in (False, True):
        model = make(part)
        train(model, clip, 1)
        if checkpointed:
            enable_gradient_checkpointing(model.backbone.network)
        model.zero_grad()
        model.loss(clip, seeded(7))[0].backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert gradients[0][0].abs().max() > 1e-6
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_the_optimizer_gets_what_is_trained(make):
    model = make("lora")
    groups = adamw(model.parameters(), 1e-3, 1, 10)["optimizer"].param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.long
def test_frozen_parts_stay_in_eval_mode(make):
    for part in PARTS:
        backbone = make(part).train().backbone
        assert backbone.network.training == (part != "conditioning")
        assert not backbone.vae.training
        assert not backbone.image_encoder.training


@pytest.mark.long
def test_a_fresh_lora_changes_nothing_and_keeps_module_paths(make, clip):
    plain, adapted = make("full").eval(), make("lora").eval()
    own = {name for name, _ in adapted.backbone.network.named_modules()}
    assert {name for name, _ in plain.backbone.network.named_modules()} <= own
    losses = [model.loss(clip, seeded(2))[0] for model in (plain, adapted)]
    torch.testing.assert_close(*losses, atol=0, rtol=0)
    parts = sum("lora_A" in name for name, _ in adapted.named_parameters())
    assert parts == sum(n.endswith("to_q") for n in own) * 4
    adapted.configure_model()  # once more, as `validate` after `fit` does
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == parts


def first_block(model: WorldModel, embedding: torch.Tensor) -> torch.Tensor:
    """What the network's first block makes of one call under an embedding."""
    seen: list[torch.Tensor] = []
    network = model.backbone.network
    handle = network.down_blocks[0].register_forward_hook(lambda m, a, out: seen.append(out[0]))
    sample, image = torch.randn(1, 4, 8, 8, 8, generator=seeded(0)), torch.ones(1, 1, 64)
    with torch.no_grad(), model.backbone.injecting(embedding):
        network(sample, torch.tensor([0.1]), image, torch.tensor([[6.0, 180.0, 0.1]]))
    handle.remove()
    return seen[0]


@pytest.mark.long
@pytest.mark.parametrize("targets", [None, ("to_q", "time_emb_proj", "linear_1")])
def test_actions_reach_the_first_block_under_a_lora(make, clip, targets):
    """Also where the LoRA wraps the layers that read the embedding."""
    model = make("lora", **({"lora_targets": targets} if targets else {}))
    train(model, clip, 2)
    unit = model.spec.normalise(clip.actions[:1])
    ours, other = (first_block(model.eval(), model.embed(x)) for x in (unit, -unit))
    assert (ours - other).abs().mean() > 1e-3 * ours.std()


@pytest.mark.parametrize(
    "part",
    ["lora", *(pytest.param(part, marks=pytest.mark.long) for part in PARTS if part != "lora")],
)
def test_export_is_the_trained_model(make, clip, part, tmp_path, monkeypatch):
    """A LoRA is merged; what comes back knows nothing of peft. The model in training stays."""
    model = make(part)
    train(model, clip, 2)
    kept = copy.deepcopy(model.state_dict())
    model.save_pretrained(tmp_path / "export")
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())
    if part == "lora":
        monkeypatch.setitem(sys.modules, "peft", None)  # an import of it now fails
    loaded = WorldModel.from_pretrained(tmp_path / "export")
    assert not any("lora" in name for name, _ in loaded.named_modules())
    with torch.no_grad():
        ours, theirs = (m.eval().loss(clip, seeded(9))[0] for m in (model, loaded))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        base = make("full").eval().loss(clip, seeded(9))[0]
    assert (base - ours).abs() > 1e-3


def test_merged_equals_unmerged(make, clip):
    model = make("lora")
    train(model, clip, 3)
    network = model.backbone.network.eval()
    merged = type(network).from_config(network.config).eval()
    merged.load_state_dict(merged_weights(network), strict=True)
    inputs = torch.randn(1, 4, 8, 8, 8), torch.tensor([0.1]), torch.randn(1, 1, 64)
    call = (*inputs, torch.tensor([[6.0, 180.0, 0.1]]))
    fresh = make("lora").backbone.network.eval()
    with torch.no_grad():
        ours, theirs, before = (n(*call).sample for n in (network, merged, fresh))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - before).abs().max() > 0.03


def test_a_lora_without_effect_is_no_export(make, clip, tmp_path):
    model = make("lora")
    with pytest.raises(ValueError, match="The LoRA changes no weight"):
        model.save_pretrained(tmp_path / "export")
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data.fill_(1e-9)  # their product is lost when added to a float32 weight
    with pytest.raises(ValueError, match="The LoRA changes no weight"):
        model.save_pretrained(tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.mark.long
def test_wrong_choices(make, tiny_prior, spec, monkeypatch):
    with pytest.raises(ValueError, match="train full, lora, temporal or conditioning, got"):
        make("some")
    with pytest.raises(ValueError, match="lora_rank of at least 1, got 0"):
        make("lora", lora_rank=0)
    with pytest.raises(ValueError, match=r"no linear layer of UNet.* is called 'to_z'"):
        make("lora", lora_targets=["to_q", "to_z"])
    for part in PARTS[1:]:
        model = WorldModel(SVD(str(tiny_prior), random=["unet"]), train=part, spec=spec)
        with pytest.raises(ValueError, match="Random weights that are frozen would be in no"):
            model.configure_model()
    monkeypatch.setattr(SVD, "temporal_layers", ())  # as a DiT
    with pytest.raises(ValueError, match="UNetSpatioTemporalConditionModel has no temporal layers"):
        make("temporal")


class Turning(ClipData):
    """Random pictures and three action dimensions, as `spec` has them."""

    meaning = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)

    def episodes(self, split: str) -> list[Episode]:
        steps = np.random.default_rng(0).uniform(-0.1, 0.1, (19, 3)).astype(np.float32)
        return [Episode(split, 20, pictures, steps)]


def pictures(indices) -> np.ndarray:
    size = (len(indices), 16, 16, 3)
    return np.random.default_rng(list(indices)).integers(0, 256, size, np.uint8)


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_checkpoints_hold_what_is_trained(tiny_prior, tmp_path, part):
    def build(train: str, rank: int = 4) -> WorldModel:
        backbone = SVD(str(tiny_prior))
        return WorldModel(backbone, train=train, lora_rank=rank, learning_rate=1e-2, warmup=1)

    def fit(model: WorldModel, steps: int, **options) -> Trainer:
        trainer = Trainer(
            default_root_dir=tmp_path,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            limit_val_batches=0,
            max_steps=steps,
        )
        trainer.fit(model, Turning("", Window(1, 3, 1, 16, 16), batch_size=2), **options)
        return trainer

    model, path = build(part), tmp_path / "model.ckpt"
    fit(model, 2).save_checkpoint(path)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(torch.load(path, weights_only=True)["state_dict"]) == names

    def load(train: str, rank: int = 4) -> WorldModel:
        options = {"train": train, "lora_rank": rank, "weights_only": True}
        return WorldModel.load_from_checkpoint(path, backbone=SVD(str(tiny_prior)), **options)

    again, weights = load(part), model.state_dict()
    assert all(torch.equal(p, weights[name]) for name, p in again.named_parameters())
    other = "temporal" if part == "full" else "full"
    with pytest.raises(ValueError, match=f"trained with train {part}.*set to train {other}"):
        load(other)
    if part == "lora":
        with pytest.raises(ValueError, match=r"lora_rank 4, .* lora_rank 8"):
            load("lora", 8)
    resumed = build(part)
    assert fit(resumed, 4, ckpt_path=path, weights_only=True).global_step == 4
    assert not torch.equal(
        resumed.action_embedding.linear_2.weight, model.action_embedding.linear_2.weight
    )


def test_checkpoints_from_before_are_of_the_whole_network():
    TrainedPart().compare(None)
    with pytest.raises(ValueError, match="trained with train full"):
        TrainedPart("temporal").compare(None)


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS[1:])
def test_from_a_recipe_to_an_export(tiny_prior, tmp_path, part, capsys):
    """`--model.train` on the command line; the run's config.yaml then describes the checkpoint."""
    backbone = {"class_path": "egowm.backbones.SVD", "init_args": {"pretrained": str(tiny_prior)}}
    options = {"backbone": backbone, "steps": 2, "warmup": 1, "learning_rate": 1e-2}
    rooms = {
        "root": str(tmp_path / "rooms"),
        "window": {"context": 1, "horizon": 1, "height": 16, "width": 16},
        "batch_size": 2,
        "episodes_train": 2,
        "episodes_val": 2,
        "episodes_test": 1,
        "num_frames": 6,
    }
    trainer = {
        "default_root_dir": str(tmp_path / "run"),
        "accelerator": "cpu",
        "max_steps": 2,
        "limit_val_batches": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    recipe = tmp_path / "recipe.yaml"
    sections = {
        "model": {"class_path": "egowm.WorldModel", "init_args": options},
        "data": {"class_path": "egowm.data.Rooms", "init_args": rooms},
        "trainer": trainer,
    }
    recipe.write_text(yaml.safe_dump(sections))
    assert cli.main(["fit", "-c", str(recipe), f"--model.train={part}"]) == 0
    last = tmp_path / "run/checkpoints/last.ckpt"
    command = ["export", "--ckpt_path", str(last), "--output", str(tmp_path / "export")]
    assert cli.main([*command, "-c", str(recipe)]) == 2
    assert f"trained with train {part}" in capsys.readouterr().err
    config = next((tmp_path / "run").rglob("config.yaml"))
    assert cli.main([*command, "-c", str(config)]) == 0
    loaded = WorldModel.from_pretrained(tmp_path / "export").state_dict()
    saved = torch.load(last, weights_only=True)["state_dict"]
    plain = {name: value for name, value in saved.items() if "lora_" not in name}
    assert all(torch.equal(loaded[name], value) for name, value in plain.items())
