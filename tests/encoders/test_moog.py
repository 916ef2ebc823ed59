"""MooG: shapes of the paper, its recursion by hand, controls, read-outs, exports, the npz."""

import json

import numpy as np
import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file
from torch import nn

from egowm import off_grid
from egowm.clip import Clip
from egowm.encoders import DenseReadout, MooG, PointReadout, fit_dense, fit_points
from egowm.encoders.moog_npz import EGO4D, name_of
from egowm.network.attention import Attention, Heads, fourier, grid
from egowm.network.off_grid import OffGrid

SIZE = 16
SMALL = {"size": SIZE, "num_tokens": 4, "width": 12, "layers": (1, 1, 2), "heads": (2, 1, 2)}
SMALL |= {"head_width": 4, "hidden": 16, "channels": (4, 8), "strides": (2, 2), "bases": (3, 3)}
PAPER = EGO4D | {"strides": (1, 1, 1, 2, 1, 2), "layout": "paper"}


def moog(**options) -> MooG:
    torch.manual_seed(0)
    return MooG(**(SMALL | options))


def videos(count=2, length=3) -> torch.Tensor:
    return torch.rand(count, length, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def moving(count, length) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright square of 4 pixels that moves by 1 a frame: videos (B, F, 3, H, W), and the rows and
    columns (B, F, 2) of its centre in [-1, 1]."""
    generator = torch.Generator().manual_seed(2)
    start = torch.randint(0, SIZE - 3 - length, (count, 2), generator=generator)
    frames, centres = torch.zeros(count, length, 3, SIZE, SIZE), torch.zeros(count, length, 2)
    for k, (row, column) in enumerate(start.tolist()):
        for t in range(length):
            frames[k, t, :, row + t : row + t + 4, column + t : column + t + 4] = 1
            centres[k, t] = torch.tensor([row + t + 1.5, column + t + 1.5]) / (SIZE - 1) * 2 - 1
    return frames, centres


# The network ----------------------------------------------------------------------------------


def test_attention_has_the_shapes_of_the_paper():
    with torch.device("meta"):
        network = OffGrid(**PAPER)
    shapes = {
        name: (part.heads, part.query.out_features // part.heads, part.key.in_features)
        for name, part in network.named_modules()
        if isinstance(part, Attention)
    }
    wanted = {f"predictor.blocks.{k}.own": (4, 64, 512) for k in range(3)}
    for kind in ("own", "cross"):
        wanted |= {f"corrector.blocks.{k}.{kind}": (8, 64, 512) for k in range(2)}
    wanted |= {f"decoder.blocks.{k}.cross": (2, 64, 512) for k in range(6)}
    assert shapes == wanted
    convolutions = [(layer.out_channels, *layer.stride) for layer in network.features.convolutions]
    channels = (64, 128, 128, 256, 256, 512)
    assert convolutions == [(c, s, s) for c, s in zip(channels, (1, 1, 1, 2, 1, 2), strict=True)]
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 34_726_787  # 35 M in the paper


def test_attention_is_that_of_the_equation():
    torch.manual_seed(0)
    part = Attention(6, 5, Heads(2, 3, 8))
    tokens, read = torch.randn(1, 4, 6), torch.randn(1, 7, 5)
    found = torch.zeros(4, 6)
    for head in range(2):
        rows = slice(3 * head, 3 * head + 3)
        query, key = tokens[0] @ part.query.weight[rows].T, read[0] @ part.key.weight[rows].T
        query, key = (x / (x.square().mean(1, keepdim=True) + 1e-6).sqrt() for x in (query, key))
        weights = (query @ key.T / 3**0.5).softmax(1)
        found[:, rows] = weights @ (read[0] @ part.value.weight[rows].T)
    torch.testing.assert_close(part(tokens, read)[0], part.out(found))
    looks = part.weights(tokens, read)
    torch.testing.assert_close(looks.sum(-1), torch.ones(1, 4))


def test_places_are_sines_and_cosines():
    assert grid(2, 3).tolist() == [[-1, -1], [-1, 0], [-1, 1], [1, -1], [1, 0], [1, 1]]
    found = fourier(torch.tensor([[0.25, 0.5]]), 2)[0]
    row, column = 0.25 * np.pi, 0.5 * np.pi
    angles = np.array([row, column, 2 * row, 2 * column])
    np.testing.assert_allclose(found, [*np.sin(angles), *np.cos(angles)], atol=1e-6)


def test_a_convolution_of_stride_two_is_padded_as_in_jax():
    """Where a size is even, the one row and column that are added lie behind, not in front."""
    network = moog(channels=(4,), strides=(2,)).network.features
    layer = network.convolutions[0]
    layer.weight.data.zero_()
    layer.weight.data[:, :, 0, 0] = 1
    frames = torch.rand(1, 3, SIZE, SIZE)
    seen = []
    network.norm_maps = nn.Identity()
    network.place.weight.data.zero_()
    network.enter.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(frames)
    wanted = frames[0, :, ::2, ::2].sum(0).flatten()
    torch.testing.assert_close(seen[0][0, :, 0], wanted)


def test_the_recursion_is_that_of_the_paper():
    model, frames = moog().eval(), videos()
    network = model.network
    state = network.start(2, torch.Generator().manual_seed(0))
    unrolled = network.unroll(frames, state)
    for t in range(3):
        predicted = state + network.predictor(state)
        torch.testing.assert_close(unrolled.predicted[:, t], predicted)
        seen = network.features(frames[:, t])
        state = network.norm(predicted + network.corrector(predicted, seen))
        torch.testing.assert_close(unrolled.corrected[:, t], state)
    noise = torch.randn(500, 4, 12, generator=torch.Generator().manual_seed(0)) * 1e-4
    begun = network.start(500, torch.Generator().manual_seed(0))
    torch.testing.assert_close(begun, network.norm(noise))


def test_the_loss_is_the_error_of_predicted_pixels():
    model, frames = moog(share=1.0), videos()
    total, logs = model.losses(frames, torch.Generator().manual_seed(3))
    start = model.network.start(2, torch.Generator().manual_seed(3))
    tokens = model.network.unroll(frames, start).predicted.flatten(0, 1)
    made = model.network.decode(tokens).mT.unflatten(2, (SIZE, SIZE)).unflatten(0, (2, 3))
    torch.testing.assert_close(total, (made - frames).square().mean())
    torch.testing.assert_close(logs["next"], (made - frames)[:, 1:].square().mean())
    torch.testing.assert_close(logs["copy"], (frames[:, 1:] - frames[:, :-1]).square().mean())
    shown = model.network.picture(tokens)
    torch.testing.assert_close(shown, made.flatten(0, 1).clamp(0, 1))


def test_a_frame_is_predicted_before_it_is_seen():
    model, frames = moog().eval(), videos()
    tokens = model.tokens_of(frames)
    frames[:, 2] = 0.5
    other = model.tokens_of(frames)
    assert torch.equal(tokens[:, :2], other[:, :2])
    assert torch.equal(tokens[:, 2, :4], other[:, 2, :4])
    assert (tokens[:, 2, 4:] - other[:, 2, 4:]).abs().amax() > 1e-3


def test_grid_tokens_read_their_own_place_and_may_forget():
    """One token of a 2 x 2 grid; the corrector's attention is switched off, so it stands alone."""
    found = {}
    for tokens in ("grid", "recurrent_grid", "off_grid"):
        network = moog(tokens=tokens).network.eval()
        for block in network.corrector.blocks:
            block.own.out.weight.data.zero_()
        start, frames = network.start(1, torch.Generator().manual_seed(0)), videos(1, 2)
        first = network.unroll(frames, start).corrected
        far, before = frames.clone(), frames.clone()
        far[:, 1, :, 12:, 12:] = 0  # seen by the last token's place alone
        before[:, 0] = 0
        moved = [(network.unroll(v, start).corrected - first)[0, 1].abs() for v in (far, before)]
        found[tokens] = [bool(moved[0][0].amax() > 1e-5), bool(moved[1].amax() > 1e-5)]
    assert found == {
        "grid": [False, False], "recurrent_grid": [False, True], "off_grid": [True, True]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": "grid", "num_tokens": 9}, "divides that of the features, 4, got num_tokens 9"),
        ({"tokens": "mesh"}, "Expected tokens off_grid, grid or recurrent_grid, got 'mesh'"),
        ({"size": 18}, "4 in all, got 18"),
        ({"strides": (2,)}, "of 2 convolutions and 1 stride"),
        ({"layers": (1, 0, 1)}, "Expected each of layers from 1 to 65536, got 0"),
        ({"strides": (2, 0)}, "Expected each of strides from 1 to 65536, got 0"),
        ({"bases": (2, 33)}, "Expected each of bases from 1 to 32, got 33"),
        ({"width": 0}, "Expected width from 1 to 65536, got 0"),
        ({"share": 0.0}, "share from 1e-06 to 1, got 0"),
        ({"warmup": -1}, "warmup and weight_decay of 0 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        moog(**options)


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"Expected frames \(B, F, 3, 16, 16\), got"):
        moog().tokens_of(torch.zeros(1, 2, 3, 8, 8))


# Training and exports -------------------------------------------------------------------------


class Squares(torch.utils.data.Dataset):
    """Clips of the moving square."""

    frames = (moving(32, 4)[0] * 255).byte()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: int) -> Clip:
        none = torch.zeros(0)
        return Clip(self.frames[number], torch.zeros(3, 0), none, none, "", "test", str(number))


@pytest.mark.long
def test_it_learns_and_comes_back_from_a_checkpoint_and_an_export(tmp_path):
    model = moog(learning_rate=3e-3, warmup=5, share=0.25)
    frames = Squares.frames[:16].float() / 255
    first = model.losses(frames, torch.Generator().manual_seed(0))[1]["next"]
    loader = torch.utils.data.DataLoader(Squares(), batch_size=8)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_steps=40, accelerator="cpu", default_root_dir=tmp_path, **quiet,
                      enable_checkpointing=False, gradient_clip_val=1.0)  # fmt: skip
    trainer.fit(model, loader)
    assert trainer.optimizers[0].param_groups[0]["betas"] == (0.9, 0.95)
    last = model.losses(frames, torch.Generator().manual_seed(0))[1]["next"]
    assert last < 0.3 * first
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    again = moog()
    again.on_load_checkpoint(saved)
    again.load_state_dict(saved["state_dict"])
    with pytest.raises(ValueError, match="has other networks"):
        moog(width=8).on_load_checkpoint(saved)
    again.save_pretrained(tmp_path / "e")
    opened = MooG.from_pretrained(tmp_path / "e")
    wanted = model.eval().tokens_of(frames)
    assert wanted.std() > 0.1
    assert torch.equal(opened.tokens_of(frames), wanted)
    assert not opened.training
    again.save_pretrained(tmp_path / "e", torch.float16)  # replaced
    assert load_file(tmp_path / "e/model.safetensors")["norm.weight"].dtype == torch.float16


def test_damaged_and_other_folders_are_refused(tmp_path):
    model = moog()
    model.save_pretrained(tmp_path / "e")
    config = tmp_path / "e/config.json"
    record = json.loads(config.read_text())
    for change, said in (
        ({"kind": "Dinov2"}, "expected MooG in format 1, got Dinov2"),
        ({"arguments": record["arguments"] | {"width": "wide"}}, "width cannot be 'wide'"),
        ({"arguments": record["arguments"] | {"width": 60_000}}, "more than there are"),
        ({"weights_sha256": "0"}, "expected weights with sha256 0"),
    ):
        config.write_text(json.dumps(record | change))
        with pytest.raises(ValueError, match=said):
            MooG.from_pretrained(tmp_path / "e")
    with pytest.raises(FileNotFoundError, match=r"nowhere/config\.json, found none"):
        MooG.from_pretrained("nowhere")
    model.network.norm.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"Nothing was written: .* in norm\.weight"):
        model.save_pretrained(tmp_path / "f")
    assert not (tmp_path / "f").exists()


# The published checkpoint ---------------------------------------------------------------------


def flax(network: OffGrid) -> dict[str, np.ndarray]:
    """Arrays as Flax would hold the weights of a network, made apart from the converter's."""
    found = {}
    for name, weight in network.state_dict().items():
        key, value = name_of(name), weight.numpy()
        width, leaf = network.head_width, key.split("/")[-2]
        if value.ndim == 4:
            value = np.einsum("oihw->hwio", value)
        elif leaf in ("dense_query", "dense_key", "dense_value"):
            value = value.T.reshape(value.shape[1], -1, width)
        elif leaf == "dense_out" and value.ndim == 2:
            value = value.T.reshape(-1, width, len(value))
        elif value.ndim == 2:
            value = value.T
        found[key] = np.ascontiguousarray(value)
    return found


EGO = SMALL | {"tokens": "off_grid", "layout": "ego4d"}


@pytest.mark.parametrize("before", ["", "pretrained_model/"])
def test_an_npz_of_the_published_names_is_read(before, tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = OffGrid(**EGO)
    for weight in network.parameters():
        nn.init.normal_(weight)
    arrays = {before + name: value for name, value in flax(network).items()}
    assert f"{before}encoder/transformer/Dense_1/kernel" in arrays
    assert arrays[f"{before}predictor_ca/layer_0/cross_att/dense_key/kernel"].shape == (20, 1, 4)
    assert arrays[f"{before}decoder/recon/kernel"].shape == (24, 3)
    np.savez(tmp_path / "a.npz", **arrays)
    monkeypatch.setattr("egowm.encoders.moog.EGO4D", EGO)
    model = MooG.from_npz(tmp_path / "a.npz")
    for name, weight in model.network.state_dict().items():
        assert torch.equal(weight, network.state_dict()[name]), name
    for change, said in (
        ({"more/kernel": np.zeros(1)}, "more/kernel is not an array of the Ego4D network"),
        ({f"{before}decoder/recon/bias": np.zeros(4)}, r"recon/bias does not fit the shape \(3,\)"),
    ):
        np.savez(tmp_path / "b.npz", **(arrays | change))
        with pytest.raises(ValueError, match=said):
            MooG.from_npz(tmp_path / "b.npz")
    del arrays[f"{before}state_layer_norm/scale"]
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(ValueError, match="state_layer_norm/scale, found none"):
        MooG.from_npz(tmp_path / "b.npz")


def test_the_names_of_the_published_network_are_its_modules():
    with torch.device("meta"):
        names = {name_of(name) for name in OffGrid(**EGO4D).state_dict()}
    assert len(names) == 223  # none twice
    places = {"/".join(name.split("/")[:2]) for name in names}
    assert places == {
        "encoder/backbone", "encoder/transformer", "state_layer_norm/scale", "decoder/transformer",
        "decoder/recon", *(f"predictor_sa/layer_{k}" for k in range(3)),
        *(f"predictor_ca/layer_{k}" for k in range(2)), "predictor_sa/norm_encoder",
        "predictor_ca/norm_encoder",
    }  # fmt: skip


# Read-outs ------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_dense_read_out_learns_what_tokens_say():
    """Each of four tokens says the depth of a quarter of the picture, and which quarter."""
    torch.manual_seed(0)
    depths = 1 + torch.rand(32, 2, 2, generator=torch.Generator().manual_seed(0))
    tokens = torch.cat([torch.eye(4).expand(32, -1, -1), depths.flatten(1)[..., None]], 2)
    values = depths.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    readout = DenseReadout(5, layers=1)
    unknown = fit_dense(readout, tokens, values, steps=1)
    assert fit_dense(readout, tokens, values, steps=150, pixels=32, learning_rate=1e-2) < 0.4
    assert unknown > 0.8
    made = readout.picture(tokens, 8, 8)
    assert (made - values).square().mean() < 0.4 * values.var()
    with pytest.raises(ValueError, match=r"Expected finite numbers up to 1e.15 in tokens"):
        fit_dense(readout, tokens / 0, values)


@pytest.mark.long
def test_a_point_read_out_follows_what_tokens_say():
    """Two objects; each token says which place its object had first and where it is now."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    first, speed = torch.rand(2, 64, 1, 2, 2, generator=generator)
    places = first - 0.5 + torch.arange(4)[:, None, None] * (speed - 0.5) / 3
    visible = torch.ones(64, 4, 2)
    visible[:, 3, 1] = 0
    home = fourier(places[:, :1], 2).expand(-1, 4, -1, -1)
    tokens = torch.cat([places, home, visible[..., None]], -1)
    readout = PointReadout(11, state=32, layers=1)
    before = fit_points(readout, tokens, places, visible, steps=1)
    after = fit_points(readout, tokens, places, visible, steps=120, learning_rate=5e-3)
    assert after < 0.6 * before
    found = readout(tokens, places[:, 0])
    error = (found.places - places).norm(dim=-1)[visible > 0].mean()
    still = (places - places[:, :1]).norm(dim=-1)[visible > 0].mean()
    assert error < still
    with pytest.raises(ValueError, match=r"Expected places \(2, 4, Q, 2\), got"):
        fit_points(readout, tokens[:2], places[:3], visible)


def test_off_grid_folders_are_the_network_alone(tmp_path):
    model = moog()
    off_grid.save(model.network, tmp_path / "e")
    network = off_grid.load(tmp_path / "e")
    assert off_grid.arguments_of(network) == off_grid.arguments_of(model.network)
    assert off_grid.arguments_of(network)["heads"] == (2, 1, 2)
