"""Models on a hub, which is a server on this machine: pushed, pulled, and every way that fails."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from egowm.commands import main as cli
from egowm.encoder import Encoder
from egowm.hub import located
from egowm.latent import RSSM
from egowm.latent import from_pretrained as open_world
from egowm.policies import BehaviourCloning
from egowm.policies import from_pretrained as open_policy
from egowm.world_model import WorldModel
from tests.fake_hub import TOKEN, FakeHub
from tests.test_export import imagine

REPO = "lab/robot"


@pytest.fixture
def hub(tmp_path, tiny_prior, monkeypatch) -> Iterator[FakeHub]:
    """A hub to which this process is logged in, an empty cache, and the base in the working folder,
    under the name by which it is published."""
    from huggingface_hub import constants

    found = FakeHub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", found.url)
    page = found.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", page)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    Path(tiny_prior.name).symlink_to(tiny_prior)
    yield found
    found.close()


def test_pushed_and_pulled_it_rolls_out_the_same_frames(obedient, hub, tmp_path):
    commit = obedient.push_to_hub(REPO)
    obedient.save_pretrained(tmp_path / "export")
    pulled = WorldModel.from_pretrained(REPO, revision=commit, download=True)
    here = WorldModel.from_pretrained(tmp_path / "export")
    weights = here.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in pulled.state_dict().items())
    assert torch.equal(imagine(pulled), imagine(here))
    assert imagine(here).std() > 0.05
    hub.asked.clear()
    for name, revision in ((REPO, commit), (f"{REPO}@{commit}", None)):  # from the cache
        again = WorldModel.from_pretrained(name, revision=revision)
        assert torch.equal(imagine(again), imagine(here))
    assert open_world(REPO, revision=commit).spec == here.spec
    assert hub.asked == []


@pytest.mark.long
def test_an_older_revision_stays_what_it_was(obedient, hub):
    first = obedient.push_to_hub(REPO)
    before = imagine(obedient)
    torch.nn.init.normal_(obedient.action_embedding.linear_2.weight, std=0.1)
    second = obedient.push_to_hub(REPO, message="Train on")
    assert first != second
    old, new = (
        WorldModel.from_pretrained(REPO, revision=revision, download=True)
        for revision in (first, "main")
    )
    torch.testing.assert_close(imagine(old), before, atol=1e-4, rtol=0)
    assert (imagine(new) - imagine(old)).abs().max() > 1e-2
    assert hub.heads[REPO]["main"] == second


EVALUATION = {
    "protocol": {"name": "egowm", "horizon": 16},
    "columns": [
        {"key": "scs", "label": "SCS", "digits": 1},
        {"key": "psnr", "label": "PSNR, dB", "digits": 2},
        {"key": "fvd", "label": "FVD", "digits": 0},
    ],
    "rows": [
        {
            "label": "robot",
            "role": "model",
            "cells": {
                "scs": {"value": 63.54, "ci95": [60.4, 66.5]},
                "psnr": {"value": 25.234},
                "fvd": {"value": None},
            },
        },
        {"label": "first frame", "role": "reference", "cells": {"scs": {"value": 30.4}}},
    ],
    "clips": ["a", "b"],
    "about": {"recipe": {"name": "rooms_svd.yaml"}},
}


def top_of(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_tells_base_licence_actions_and_metrics(obedient, hub, tmp_path):
    (tmp_path / "eval.json").write_text(json.dumps(EVALUATION))
    obedient.push_to_hub(
        REPO, base="maker/video", licence="apache-2.0", evaluation=tmp_path / "eval.json"
    )
    card = hub.files(REPO)["README.md"].decode()
    top = top_of(card)
    assert (top["license"], top["base_model"]) == ("apache-2.0", "maker/video")
    assert (top["library_name"], top["pipeline_tag"]) == ("egowm", "image-to-video")
    assert top["egowm"]["actions"]["names"] == ["dx", "dy", "dyaw"]
    assert top["egowm"]["actions"]["high"] == [0.3, 0.1, 0.1]
    (model,) = top["model-index"]
    (result,) = model["results"]
    assert model["name"] == "robot"
    assert result["dataset"]["name"] == "rooms_svd, 2 test clips"
    assert [(m["type"], m["value"]) for m in result["metrics"]] == [
        ("scs", 63.54),
        ("psnr", 25.234),
    ]
    assert "| robot | 63.5 [60.4 to 66.5] | 25.23 |" in card
    assert "| first frame | 30.4 |  |" in card
    assert "| dyaw | rad | -0.1 | 0.1 |" in card
    assert f'from_pretrained("{REPO}", revision="main", download=True)' in card
    assert "Base: `maker/video`" in card
    record = json.loads(hub.files(REPO)["world_model.json"])
    assert record["backbone_arguments"]["pretrained"] == "maker/video"


def test_no_path_of_this_machine_is_published(obedient, hub, tiny_prior):
    obedient.push_to_hub(REPO)
    for name in ("README.md", "world_model.json"):
        text = hub.files(REPO)[name].decode()
        assert f"./{tiny_prior.name}" in text
        assert str(tiny_prior) not in text
        assert "egowm-push-" not in text


def test_only_the_files_of_an_export_are_sent(obedient, hub, tmp_path):
    obedient.save_pretrained(tmp_path / "export")
    mine = ("notes.py", "weights.pt", ".env", ".cache/a.json", "key.json", "key.txt", "own/a.txt")
    for name in mine:
        (tmp_path / "export" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "export" / name).write_text("mine")
    assert cli.main(["push", str(tmp_path / "export"), REPO]) == 0
    assert hub.files(REPO).keys() - {".gitattributes"} == {
        "README.md",
        "weights.safetensors",
        "world_model.json",
    }
    assert (tmp_path / "export/notes.py").read_text() == "mine"


def test_the_verb_says_how_to_load_it(obedient, hub, tmp_path, capsys):
    obedient.save_pretrained(tmp_path / "export")
    assert cli.main(["push", "export", REPO, "--licence", "mit", "--private"]) == 0
    out = capsys.readouterr().out
    commit = hub.heads[REPO]["main"]
    assert f'from_pretrained("{REPO}", revision="{commit}", download=True)' in out
    assert top_of(hub.files(REPO)["README.md"].decode())["license"] == "mit"


# The other kinds ----------------------------------------------------------------------------------


def latent_model(spec) -> tuple:
    small = {"deterministic": 8, "categoricals": 2, "classes": 4, "depth": 4, "units": 8}
    model = RSSM(**small, size=16, spec=spec)
    return model, open_world, "egowm"


def policy(spec) -> tuple:
    return BehaviourCloning(depth=8, units=8, size=16, spec=spec), open_policy, "egowm"


def encoder(spec) -> tuple:
    from transformers import IJepaConfig, IJepaModel

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = IJepaModel(IJepaConfig(**shape, image_size=16, patch_size=4))
    return Encoder(network), Encoder.from_pretrained, "transformers"


@pytest.mark.parametrize("make", [latent_model, policy, encoder])
def test_every_kind_of_export_comes_back(make: Callable, hub, spec):
    model, opened, library = make(spec)
    if hasattr(model, "configure_model"):
        model.configure_model()
    commit = model.push_to_hub(REPO, licence="apache-2.0")
    loaded = opened(REPO, revision=commit, download=True)
    own = model.state_dict()
    assert type(loaded) is type(model)
    assert all(torch.equal(value, own[name]) for name, value in loaded.state_dict().items())
    card = hub.files(REPO)["README.md"].decode()
    assert top_of(card)["library_name"] == library
    assert f'.from_pretrained("{REPO}", revision="main", download=True)' in card


# What goes wrong ----------------------------------------------------------------------------------


def one_sentence(error: BaseException) -> str:
    """The text of an error, one line, as `egowm` prints it."""
    text = cli.explain(error)
    assert text is not None
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--base", "/models/mine"], "Expected the base by its id on the hub"),
        (["--base", "maker/video@main"], "Expected the base by its id on the hub"),
        (["--licence", "Apache 2.0"], "Expected a licence by the hub's name"),
        (["--evaluation", "nothing"], "nothing is missing: give a run of `egowm eval`"),
    ],
)
def test_what_the_hub_would_refuse_is_not_sent(obedient, hub, tmp_path, capsys, given, words):
    obedient.save_pretrained(tmp_path / "export")
    assert cli.main(["push", "export", REPO, *given]) == 2
    assert words in capsys.readouterr().err
    assert hub.asked == []


def test_without_a_token_nothing_is_asked(obedient, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PermissionError, match=r"lab/robot was not pushed.*hf auth login") as caught:
        obedient.push_to_hub(REPO)
    one_sentence(caught.value)
    assert hub.asked == []
    assert hub.commits == {}


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ("hf_wrong", REPO, "the hub does not know this token|has no such repository"),
        (TOKEN, "others/robot", "the hub does not let this token do so"),
    ],
)
def test_a_refused_repository(obedient, hub, monkeypatch, token, repo, words):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(OSError, match=words) as caught:
        obedient.push_to_hub(repo)
    assert "no file of it has changed" in one_sentence(caught.value)
    assert hub.commits == {}


@pytest.mark.long
def test_a_refused_commit_leaves_the_repository_as_it_was(obedient, hub):
    first = obedient.push_to_hub(REPO)
    before = dict(hub.files(REPO))
    hub.wrong.add("full")
    torch.nn.init.normal_(obedient.action_embedding.linear_2.weight, std=0.1)
    with pytest.raises(PermissionError, match="was not pushed") as caught:
        obedient.push_to_hub(REPO)
    one_sentence(caught.value)
    assert hub.heads[REPO]["main"] == first
    assert hub.files(REPO) == before


def test_a_new_repository_without_files_is_told(obedient, hub):
    """What the hub made before it refused the files stays; the same push goes on from there."""
    hub.wrong.add("full")
    with pytest.raises(PermissionError, match="the hub does not let this token do so") as caught:
        obedient.push_to_hub(REPO)
    made = "lab/robot was made and is empty (push again, or delete it on its page), for no file was"
    assert one_sentence(caught.value).startswith(made)
    assert hub.files(REPO).keys() == {".gitattributes"}
    with pytest.raises(PermissionError, match="was not pushed, and no file of it has changed"):
        obedient.push_to_hub(REPO)
    hub.wrong.clear()
    commit = obedient.push_to_hub(REPO)
    assert "weights.safetensors" in hub.files(REPO, commit)


def test_an_interrupted_push_is_told(obedient, hub, monkeypatch, caplog):
    from huggingface_hub import HfApi

    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(HfApi, "create_commit", interrupt)
    for words in ("was made and is empty", "no file of it has changed"):
        caplog.clear()
        with pytest.raises(KeyboardInterrupt):
            obedient.push_to_hub(REPO)
        assert words in caplog.text


@pytest.mark.parametrize("repo", ["robot", "a/b/c", "lab/ro bot", "lab/robot@v1", "lab/a--b", ""])
def test_a_repository_is_owner_and_name(world_model, hub, repo):
    with pytest.raises(ValueError, match="OWNER/NAME"):
        world_model.push_to_hub(repo)
    assert hub.asked == []


def test_a_folder_of_something_else_is_not_pushed(hub, tmp_path, capsys):
    (tmp_path / "letters").mkdir()
    assert cli.main(["push", "letters", REPO]) == 2
    assert "Expected an export in letters" in capsys.readouterr().err
    assert hub.asked == []


def test_nothing_is_downloaded_unless_asked(obedient, hub, capsys):
    commit = obedient.push_to_hub(REPO)
    hub.asked.clear()
    with pytest.raises(FileNotFoundError, match=r"hub cache does not hold.*hf download") as caught:
        WorldModel.from_pretrained(REPO, revision=commit)
    one_sentence(caught.value)
    with pytest.raises(ValueError, match="needs a pinned revision"):
        WorldModel.from_pretrained(REPO, download=True)
    rolled = ["rollout", "picture.png", "--actions", "ww", "--output", "o", "--model", REPO]
    (Path("picture.png")).write_bytes(
        (Path(__file__).parent.parent / "docs/rooms.png").read_bytes()
    )
    assert cli.main(rolled) == 2
    assert f"hf download {REPO}" in capsys.readouterr().err
    assert hub.asked == []


def test_an_export_cannot_ask_for_a_download(obedient, hub, tmp_path):
    """A stranger's record that says `download: true` of a base loads nothing."""
    obedient.save_pretrained(tmp_path / "export")
    path = tmp_path / "export/world_model.json"
    record = json.loads(path.read_text())
    told = {"pretrained": "stranger/base", "revision": "0" * 40, "download": True}
    record["backbone_arguments"] |= told
    path.write_text(json.dumps(record))
    with pytest.raises(FileNotFoundError, match="stranger/base is neither a folder nor in"):
        WorldModel.from_pretrained(tmp_path / "export")
    assert hub.asked == []
    with pytest.raises(FileNotFoundError, match="the hub has no such repository"):
        WorldModel.from_pretrained(tmp_path / "export", download=True)
    assert any("stranger/base" in asked for asked in hub.asked)


@pytest.mark.parametrize(
    ("repo", "revision", "words"),
    [
        (REPO, "v9", "it has no revision v9"),
        (REPO, "f" * 40, "it has no revision f{40}"),
        ("lab/nothing", "main", "the hub has no such repository"),
    ],
)
def test_a_wrong_revision_or_repository(obedient, hub, tmp_path, repo, revision, words):
    obedient.push_to_hub(REPO)
    with pytest.raises(FileNotFoundError, match=words) as caught:
        WorldModel.from_pretrained(repo, revision=revision, download=True)
    one_sentence(caught.value)
    assert not list(tmp_path.glob("cache/*/snapshots/*/*"))


@pytest.mark.long
def test_an_interrupted_download_leaves_nothing_half_written(obedient, hub, tmp_path, monkeypatch):
    commit = obedient.push_to_hub(REPO)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the library's attempts
    hub.wrong.add("cut")
    with pytest.raises(
        ConnectionError, match=r"lab/robot was not downloaded \(.*Try again"
    ) as caught:
        WorldModel.from_pretrained(REPO, revision=commit, download=True)
    one_sentence(caught.value)
    assert not list(tmp_path.glob("cache/*/snapshots/*/*.safetensors"))
    with pytest.raises(FileNotFoundError, match="does not hold all of it"):
        WorldModel.from_pretrained(REPO, revision=commit)
    hub.wrong.clear()
    pulled = WorldModel.from_pretrained(REPO, revision=commit, download=True)
    torch.testing.assert_close(imagine(pulled), imagine(obedient), atol=1e-4, rtol=0)


def test_no_way_to_the_hub(obedient, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"HF_HUB_OFFLINE .* is set") as caught:
        WorldModel.from_pretrained(REPO, revision="main", download=True)
    one_sentence(caught.value)
    with pytest.raises(ConnectionError, match=r"HF_HUB_OFFLINE .* is set"):
        obedient.push_to_hub(REPO)


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab/robot").mkdir(parents=True)
    assert located("rooms") == Path("rooms")
    assert located(REPO) == Path(REPO)  # a folder goes first
    assert located("lab/another") == Path("lab/another")  # missing from a folder that is here
    assert located("./a/b") == Path("a/b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert located("~/lab/robot") == located(Path("~/lab/robot")) == tmp_path / "lab/robot"
    assert located("~") == tmp_path
    for name in (REPO, "./a/b", Path("x/y"), "/a/b"):
        with pytest.raises(ValueError, match="is a path, which has no revisions"):
            located(name, revision="v1")
    with pytest.raises(FileNotFoundError, match=re.escape("hf download x/y --revision v1, or")):
        located("x/y@v1")
