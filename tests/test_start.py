"""Training that starts from an export: what is taken, what starts anew, and what is refused."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from egowm.actions import ActionSpec
from egowm.backbones import SVD, Cosmos
from egowm.checksums import sum_of
from egowm.commands.main import main
from egowm.world_model import WorldModel

ENDS = (-1.0,) * 4, (1.0,) * 4
JOINTS = ActionSpec(("a", "b", "c", "d"), ("rad",) * 4, "body", "difference", 4.0, *ENDS)
PRIORS = Path(__file__).parents[1] / "priors"


@pytest.fixture
def start(fitted, tmp_path) -> Path:
    fitted.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def begun(prior: Path, start: Path, **options) -> WorldModel:
    model = WorldModel(SVD(str(prior)), start=str(start), **options)
    model.configure_model()
    return model


def equal(model: WorldModel, other: WorldModel, part: str) -> bool:
    mine, theirs = model.state_dict(), other.state_dict()
    names = [name for name in mine if name.startswith(part)]
    return bool(names) and all(torch.equal(mine[name], theirs[name]) for name in names)


def test_the_same_robot_goes_on(fitted, start, tiny_prior, spec, caplog):
    """All weights, and the ranges that the embedding was trained with, not those of the data."""
    data = replace(spec, high=(0.5, 0.5, 0.5))
    with caplog.at_level(logging.INFO):
        model = begun(tiny_prior, start, spec=data)
    assert equal(model, fitted, "backbone.network")
    assert equal(model, fitted, "action_embedding")
    assert model.spec == fitted.spec != data
    assert caplog.messages[-1].endswith(
        "network, action_embedding; with its ranges, not the data's."
    )


def test_another_robot_keeps_the_network(fitted, start, tiny_prior, caplog):
    """Four joints where three numbers drove: no action is embedded yet, so none changes a thing."""
    with caplog.at_level(logging.INFO):
        model = begun(tiny_prior, start, spec=JOINTS, state_spec=JOINTS)
    assert equal(model, fitted, "backbone.network")
    assert model.spec == JOINTS
    assert not model.embed(torch.ones(1, 2, 4), torch.ones(1, 4)).any()
    assert caplog.messages[-1].endswith("network; anew: action_embedding, state_embedding.")


def test_the_state_of_the_same_body_is_taken(world_model, tiny_prior, tmp_path, spec):
    body = WorldModel(SVD(str(tiny_prior)), spec=spec, state_spec=JOINTS, drop_action=0.5)
    body.configure_model()
    for parameter in (*body.state_embedding.parameters(), body.null_embedding):
        torch.nn.init.ones_(parameter)
    body.save_pretrained(tmp_path / "body")
    model = begun(tiny_prior, tmp_path / "body", spec=spec, state_spec=JOINTS, drop_action=0.1)
    assert equal(model, body, "state_embedding")
    assert equal(model, body, "null_embedding")


@pytest.mark.parametrize("options", [{"features": "linear"}, {"alignment": "sum"}])
def test_an_embedding_of_other_features_starts_anew(options, start, tiny_prior, spec):
    model = begun(tiny_prior, start, spec=spec, **options)
    assert not model.embed(torch.ones(1, 2, 3)).any()
    assert model.spec is spec


def test_what_is_refused(start, fitted, tiny_prior, spec, tmp_path):
    def refused(words: str, kind: type[Exception] = ValueError, folder: Path = start, **options):
        with pytest.raises(kind, match=words):
            begun(tiny_prior, folder, **({"spec": spec} | options))

    refused("train full, got lora.*--as diffusers", train="lora")
    refused("Expected an export", FileNotFoundError, tmp_path / "nothing")
    fitted.save_pipeline(tmp_path / "pipeline")
    refused("is a pipeline.*backbone.pretrained", folder=tmp_path / "pipeline")
    random = WorldModel(SVD(str(tiny_prior), random=["unet"]), spec=spec, start=str(start))
    with pytest.raises(ValueError, match=r"leave --model.backbone.random \['unet'\] out"):
        random.configure_model()
    cosmos = WorldModel(Cosmos(str(PRIORS / "rooms-cosmos")), spec=spec, start=str(start))
    with pytest.raises(ValueError, match=r"export of .*SVD, this model has .*Cosmos"):
        cosmos.configure_model()
    record = start / "world_model.json"
    written = record.read_text()
    record.write_text(written.replace('"format": 1', '"format": 2'))
    refused("expected format 1, got 2")
    record.write_text(written)
    (start / "weights.safetensors").write_bytes(b"nothing")
    refused("weights.safetensors")


def test_an_export_without_its_embedding_is_damaged(start, tiny_prior, spec):
    """A second call does not go on with the base's weights, either."""
    record, file = start / "world_model.json", start / "weights.safetensors"
    weights = {k: v for k, v in load_file(file).items() if k != "action_embedding.linear_1.bias"}
    save_file(weights, file)
    told = json.loads(record.read_text()) | {"weights_sha256": sum_of(file)}
    record.write_text(json.dumps(told))
    model = WorldModel(SVD(str(tiny_prior)), spec=spec, start=str(start))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"action_embedding\.linear_1\.bias.*copy it again"):
            model.configure_model()


def test_a_network_that_predicts_another_thing_is_said(start, tiny_prior, spec, caplog):
    for predicts, lines in (("frames", 0), ("changes", 1)):
        backbone = SVD(str(tiny_prior), predicts=predicts)
        with caplog.at_level(logging.WARNING):
            WorldModel(backbone, spec=spec, start=str(start)).configure_model()
        told = [line for line in caplog.messages if "set --model.backbone.predicts frames" in line]
        assert len(told) == lines


def test_memory_needs_no_start(recipe, tmp_path, capsys):
    """A LoRA is among its ways to train, and no weight is read."""
    text = yaml.safe_load(recipe.read_text())
    text["model"]["init_args"]["start"] = str(tmp_path / "gone")
    recipe.write_text(yaml.safe_dump(text))
    assert main(["memory", "-c", str(recipe)]) == 0
    assert "lora" in capsys.readouterr().out


def test_another_base_is_refused(start, spec):
    rooms = SVD(str(PRIORS / "rooms-svd"))
    with pytest.raises(ValueError, match=r"another base.*Give its base as --model\.back"):
        WorldModel(rooms, spec=spec, start=str(start)).configure_model()


def test_fit_starts_from_it_and_an_export_needs_it_no_more(start, fitted, recipe, tmp_path, caplog):
    """A rate of almost nothing: what is trained is what training started from."""
    with caplog.at_level(logging.INFO):
        main(["fit", "-c", str(recipe), "--model.learning_rate=1e-12", f"--model.start={start}"])
    assert any("Training starts from" in line for line in caplog.messages)
    first = load_file(start.rename(tmp_path / "moved") / "weights.safetensors")
    config = next((tmp_path / "run").glob("lightning_logs/*/config.yaml"))
    last = tmp_path / "run/checkpoints/last.ckpt"
    main(["export", "-c", str(config), f"--ckpt_path={last}", f"--output={tmp_path / 'export'}"])
    weights = load_file(tmp_path / "export/weights.safetensors")
    options = ["--ckpt_path=last", f"--model.start={start}", "--trainer.max_steps=3"]
    assert main(["fit", "-c", str(recipe), *options]) == 0  # it goes on, and the start is gone
    assert main(["validate", "-c", str(config), f"--ckpt_path={last}"]) == 0
    assert weights.keys() == first.keys()
    assert all(torch.allclose(weights[name], first[name], atol=1e-6) for name in first)
