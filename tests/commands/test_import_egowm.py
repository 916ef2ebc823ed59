"""`egowm import-egowm`: the imported model is the released network, and wrong files are refused.

The released weights are not at hand, so the tests write files of their format, and the reference
is built from diffusers' own modules as the format's description says.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.embeddings import TimestepEmbedding, Timesteps

from egowm.actions import ActionSpec
from egowm.commands import main as cli
from egowm.commands.work.import_egowm import published
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

from ..test_documents import code_blocks

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")


class Released(torch.nn.Module):
    """SVD's UNet with the authors' embeddings, stage by stage, without egowm's hooks."""

    def __init__(self, folder: Path, width: int, state_width: int = 0) -> None:
        super().__init__()
        self.unet = UNetSpatioTemporalConditionModel.from_pretrained(folder / "unet")
        dim = self.unet.time_embedding.linear_2.out_features
        self.scalars = Timesteps(32, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.add_action_embedding = TimestepEmbedding(32 * width, dim)
        if state_width:
            self.add_state_embedding = TimestepEmbedding(32 * state_width, dim)

    def forward(self, sample, time, image, ids, actions, state=None):
        unet, (count, num_frames, width) = self.unet, actions.shape
        emb = unet.time_embedding(unet.time_proj(time))
        emb = emb + unet.add_embedding(unet.add_time_proj(ids.flatten()).reshape(count, -1))
        if state is not None:
            features = self.scalars(state.flatten()).reshape(count, -1)
            emb = emb + self.add_state_embedding(features)
        features = self.scalars(actions.flatten()).reshape(count * num_frames, width * 32)
        emb = emb.repeat_interleave(num_frames, 0) + self.add_action_embedding(features)
        image = image.repeat_interleave(num_frames, 0)
        rest = {"temb": emb, "image_only_indicator": torch.zeros(count, num_frames)}
        hidden = unet.conv_in(sample.flatten(0, 1))
        skips = (hidden,)
        for block in unet.down_blocks:
            with_image = {"encoder_hidden_states": image} if hasattr(block, "attentions") else {}
            hidden, more = block(hidden, **rest, **with_image)
            skips += more
        hidden = unet.mid_block(hidden, **rest, encoder_hidden_states=image)
        for block in unet.up_blocks:
            with_image = {"encoder_hidden_states": image} if hasattr(block, "attentions") else {}
            taken = skips[-len(block.resnets) :]
            skips = skips[: -len(block.resnets)]
            hidden = block(hidden, res_hidden_states_tuple=taken, **rest, **with_image)
        hidden = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
        return hidden.unflatten(0, (count, num_frames))

    def write(self, path: Path, **changes) -> Path:
        """A checkpoint file in the released format."""
        own = {k: v for k, v in self.state_dict().items() if not k.startswith("unet.")}
        whole = {
            "unet": self.unet.state_dict() | own,
            "epoch": 7,
            "args": argparse.Namespace(lr=1e-5, data=["recon"], resume=None, size=(512, 512)),
        }
        torch.save(whole | changes, path)
        return path


@pytest.fixture(scope="module")
def released(tiny_prior) -> Released:
    """3 dimensions; trained weights, so not those of the base."""
    return _trained(Released(tiny_prior, 3))


def _trained(reference: Released) -> Released:
    torch.manual_seed(3)
    for name, parameter in reference.named_parameters():
        with torch.no_grad():
            parameter += 0.02 * torch.randn_like(parameter)
            if "add_" in name and "linear_2.weight" in name:
                parameter *= 4.0
    return reference.eval()


@pytest.fixture
def file(released, tmp_path) -> Path:
    return released.write(tmp_path / "svd_3dof_nav.pth")


@pytest.fixture
def run(tiny_prior, tmp_path):
    """The verb on a file: its status."""

    def call(file: Path, *more: str, base: Path = tiny_prior) -> int:
        out = ["--base", str(base), "--output", str(tmp_path / "export")]
        return cli.main(["import-egowm", str(file), *out, *more])

    return call


def outputs(model: WorldModel, reference: Released, actions, state=None):
    """Of egowm's network, of the reference, and of egowm's for other actions; physical units."""
    torch.manual_seed(5)
    count, num_frames = actions.shape[:2]
    sample, time = torch.randn(count, num_frames, 8, 8, 8), torch.tensor([0.3, -0.2])[:count]
    image, ids = torch.randn(count, 1, 64), torch.tensor([[6.0, 180.0, 0.1]]).repeat(count, 1)
    unit = model.spec.normalise(actions)
    unit_state = None if state is None else model.state_spec.normalise(state)

    def ours(unit, unit_state):
        with model.backbone.injecting(model.embed(unit, unit_state)):
            return model.backbone.network(sample, time, image, ids, return_dict=False)[0]

    with torch.no_grad():
        theirs = reference(sample, time, image, ids, unit, unit_state)
        other_state = None if state is None else -unit_state
        return ours(unit, unit_state), theirs, ours(-unit, unit_state), ours(unit, other_state)


@pytest.mark.long
def test_three_dimensions(released, file, run, tmp_path, capsys):
    assert run(file) == 0  # recon, by its width
    printed = capsys.readouterr().out
    model = WorldModel.from_pretrained(tmp_path / "export")
    actions = torch.tensor([0.3, 0.2, 0.1]) * torch.randn(2, 4, 3)
    ours, theirs, other, _ = outputs(model, released, actions)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert theirs.std() > 0.1
    assert (ours - other).abs().max() > 0.1
    assert (model.chunk, model.steps, model.features) == (8, 25, "sinusoidal")
    backbone = model.backbone
    assert (backbone.fps, backbone.motion_bucket, backbone.noise_strength) == (7, 180, 0.1)
    card = (tmp_path / "export/README.md").read_text()
    for words in ("guidance 2.0 on the image", "epoch 7", "512x512"):
        assert words in card
        assert words in printed


def test_published_ranges(file, run, tmp_path):
    """RECON's steps are in units of 0.25 m; "no motion" is (-1/3, 0) and yaw enters in radians."""
    assert run(file, "--actions", "recon") == 0
    spec = WorldModel.from_pretrained(tmp_path / "export").spec
    unit = spec.normalise(torch.tensor([[0.0, 0.0, 0.0], [0.25 * 5, -0.25 * 4, 0.3]]))
    torch.testing.assert_close(unit, torch.tensor([[-1 / 3, 0.0, 0.0], [1.0, -1.0, 0.3]]))
    assert published("scand").action.high == pytest.approx((1.9, 1.52, 1.0))
    assert published("tartandrive").action.low == pytest.approx((-1.8, -2.88, -1.0))


@pytest.fixture
def onex(tmp_path) -> Path:
    """A file of measured ranges for 25 dimensions, not symmetric."""
    names, units = [f"q{k}" for k in range(25)], ["rad"] * 25
    shared = {"names": names, "units": units, "frame": "joint", "kind": "difference", "rate_hz": 5}
    action = shared | {"low": [-0.1 - 0.01 * k for k in range(25)], "high": [0.2] * 25}
    state = shared | {"low": [-1.0] * 25, "high": [2.0 + k for k in range(25)]}
    path = tmp_path / "onex.json"
    path.write_text(json.dumps({"action": action, "state": state}))
    return path


@pytest.mark.long
def test_25_dimensions_and_state(tiny_prior, onex, run, tmp_path):
    reference = _trained(Released(tiny_prior, 25, 25))
    file = reference.write(tmp_path / "svd_25dof_nav.pth")
    assert run(file, "--actions", str(onex)) == 0
    model = WorldModel.from_pretrained(tmp_path / "export")
    assert model.state_spec.width == 25
    actions, state = 0.1 * torch.randn(2, 4, 25), torch.randn(2, 25)
    ours, theirs, other, other_state = outputs(model, reference, actions, state)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - other).abs().max() > 0.1
    assert (ours - other_state).abs().max() > 0.1
    context = torch.rand(1, 1, 3, 16, 16)
    ahead = actions[:1].repeat(1, 3, 1)  # two chunks of 8: the second one's state follows
    made = model.rollout(context, ahead, Sampling(steps=1, guidance=2.0), state=state[:1])
    assert made.frames.shape == (1, 12, 3, 16, 16)
    [code], scope = code_blocks(tmp_path / "export/README.md"), {}
    exec(code, scope)  # the card's, with a state
    assert scope["frames"].shape == (1, 8, 3, 64, 64)


def test_25_dimensions_need_measured_ranges(tiny_prior, onex, run, tmp_path, capsys):
    file = Released(tiny_prior, 25, 25).write(tmp_path / "svd_25dof_nav.pth")
    assert run(file) == 2
    words = capsys.readouterr().err
    assert "measured from data" in words
    assert "--actions FILE.json" in words
    alone = tmp_path / "action.json"
    alone.write_text(json.dumps(json.loads(onex.read_text())["action"]))
    assert run(file, "--actions", str(alone)) == 2
    assert "state has 25 dimensions" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_other_widths_need_a_file(tiny_prior, run, tmp_path, capsys):
    file = Released(tiny_prior, 2).write(tmp_path / "two.pth")
    assert run(file) == 2
    assert "actions have 2 dimensions" in capsys.readouterr().err
    assert run(file, "--actions", "scand") == 2
    assert "has 2 dimensions, --actions scand describes 3" in capsys.readouterr().err
    for name in ("sacson", "onex"):
        assert run(file, "--actions", name) == 2
        words = f"expected recon, scand, tartandrive or an existing FILE.json, got {name}"
        assert words in capsys.readouterr().err
    path, limits = tmp_path / "spec.json", {"low": (-1, -1), "high": (1, 1)}
    path.write_text('{"names": ["steer"], "unit": 3}')
    assert run(file, "--actions", str(path)) == 2
    assert "expected an ActionSpec as JSON" in capsys.readouterr().err
    ActionSpec(("a", "b"), ("1", "1"), "command", "command", 4.0).save(path)
    assert run(file, "--actions", str(path)) == 2
    assert "needs low and high" in capsys.readouterr().err
    ActionSpec(("a", "b"), ("1", "1"), "command", "command", 4.0, **limits).save(path)
    assert run(file, "--actions", str(path)) == 0


class Backdoor:
    """Unpickling it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return shutil.copyfile, (__file__, str(self.target))


@pytest.mark.parametrize("place", ["args", "epoch"])
def test_code_in_a_file_is_refused_before_it_runs(released, run, tmp_path, capsys, place):
    """Also inside the Namespace, and where the weights themselves are fine."""
    bad = Backdoor(tmp_path / "was_run")
    bad = argparse.Namespace(hook=bad) if place == "args" else bad
    file = released.write(tmp_path / "bad.pth", **{place: bad})
    assert run(file) == 2
    assert "names shutil.copyfile: expected tensors" in capsys.readouterr().err
    assert not (tmp_path / "was_run").exists()
    assert not (tmp_path / "export").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "was_run").exists()  # the file does what it was made to do


def test_the_allowance_for_namespaces_ends_with_the_import(file, run):
    assert run(file) == 0
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.long
def test_wrong_contents(released, run, tmp_path, capsys):
    path, whole = tmp_path / "wrong.pth", released.unet.state_dict()
    embedding = {k: v for k, v in released.state_dict().items() if k.startswith("add_")}
    cases: list[tuple[dict, str]] = [
        ({"unet": None}, "expected a dict with the UNet's weights under 'unet', got unet, epoch"),
        ({"unet": whole}, "this is no action-conditioned checkpoint"),
        ({"unet": whole | embedding | {"more": torch.zeros(1)}}, "1 weight (first more) unexpect"),
    ]
    short = whole | embedding
    short.pop("conv_in.bias")
    cases.append(({"unet": short}, "1 weight (first conv_in.bias) missing, 0 weights unexpected"))
    odd = {"add_action_embedding.linear_1.weight": torch.zeros(128, 95)}
    cases.append(({"unet": whole | embedding | odd}, "expected (D, 32 x dimensions), got (128, 95"))
    for changes, words in cases:
        assert run(released.write(path, **changes)) == 2
        assert words in capsys.readouterr().err
    torch.save(torch.zeros(3), path)
    assert run(path) == 2
    assert "got Tensor" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_a_base_of_other_sizes(released, run, tmp_path, capsys):
    changed = released.unet.state_dict() | {
        k: v for k, v in released.state_dict().items() if k.startswith("add_")
    }
    changed["conv_in.weight"] = torch.zeros(64, 8, 3, 3)
    assert run(released.write(tmp_path / "wide.pth", unet=changed)) == 2
    words = "conv_in.weight is (64, 8, 3, 3), expected (32, 8, 3, 3)"
    assert words in capsys.readouterr().err


@pytest.mark.long
def test_every_choice_that_the_help_names_works(file, run, tmp_path, capsys):
    """A name that can only fail is no choice."""
    with pytest.raises(SystemExit):
        cli.main(["import-egowm", "--help"])
    options = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    choices = re.search(r"--actions ACTIONS (.*?), which have", options)[1]
    names = re.findall(r"\w+", choices.replace("(default)", "").replace(" or ", " "))
    assert names == ["recon", "scand", "tartandrive"]
    for name in names:
        assert run(file, "--actions", name, "--output", str(tmp_path / name)) == 0


def test_damaged_and_absent_files(file, run, tmp_path, capsys):
    file.write_bytes(file.read_bytes()[:-1000])
    assert run(file) == 2
    assert "is not a whole file of torch.save" in capsys.readouterr().err
    file.write_text("hello")
    assert run(file) == 2
    assert "is not a whole file of torch.save" in capsys.readouterr().err
    assert run(tmp_path / "none.pth") == 2
    assert "No checkpoint at" in capsys.readouterr().err
