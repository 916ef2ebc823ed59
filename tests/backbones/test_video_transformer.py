"""What video transformers share: measured strides, chains of latents, states, pretraining."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from lightning import Trainer
from safetensors.torch import load_file
from torch import Tensor, nn

from egowm.actions import ActionSpec
from egowm.backbones import LTX, Cosmos, Wan
from egowm.backbones.causal_codec import measured_stride
from egowm.backbones.texts import EMPTY
from egowm.data import Clip, Rooms, Window
from egowm.evaluation.evaluate import evaluate
from egowm.evaluation.rows import Row
from egowm.pretraining.prior import VideoPrior, save_pipeline
from egowm.sampling import Sampling
from egowm.video import read_frames
from egowm.world_model import WorldModel

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
SIZE = 16


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wan_vae(*temporal: bool) -> AutoencoderKLWan:
    """With 2x2 halvings of the sides, and of time where `temporal` says so."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1] * (len(temporal) + 1),
        num_res_blocks=1,
        temperal_downsample=list(temporal),
        latents_mean=[0.1] * 4,
        latents_std=[0.5] * 4,
    )
    for parameter in vae.parameters():
        if parameter.ndim > 1:
            parameter.data *= 1.3
    return vae


@pytest.fixture
def single(tiny, tmp_path) -> Path:
    """Predict2 with a VAE whose latent frames are single frames."""
    folder = tmp_path / "single"
    shutil.copytree(tiny("predict2"), folder)
    shutil.rmtree(folder / "vae")
    wan_vae(False, False).save_pretrained(folder / "vae")
    return folder


def build(folder: Path, spec: ActionSpec, chunk: int = 4, kind=Cosmos, **options) -> WorldModel:
    """A world model whose embeddings show."""
    torch.manual_seed(0)
    model = WorldModel(kind(str(folder)), steps=2, chunk=chunk, spec=spec, **options)
    model.configure_model()
    for name in ("action_embedding", "state_embedding"):
        if hasattr(model, name):
            weight = getattr(model, name).linear_2.weight
            nn.init.normal_(weight, std=0.3, generator=seeded(1))
    return model.eval()


def picture(count: int = 1) -> Tensor:
    return torch.randint(0, 256, (count, 1, 3, SIZE, SIZE), generator=seeded()).byte()


# What is measured ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temporal", "expected"),
    [((False, False), (1, 4)), ((False, True), (2, 4)), ((True, True), (4, 4))],
)
def test_a_vae_s_stride_and_the_frames_it_takes_at_once(temporal, expected):
    """Wan's VAE encodes four frames after the first whatever its stride."""
    assert measured_stride(wan_vae(*temporal)) == expected


def test_a_vae_of_single_frames(single, spec):
    """Every frame has a latent; groups of four are asked for, others are refused."""
    backbone = build(single, spec).backbone
    assert (backbone.codec.temporal_stride, backbone.codec.frames_at_once) == (1, 4)
    assert (backbone.context_latents, backbone.chains_latents) == (1, True)
    frames = torch.rand(2, 5, 3, SIZE, SIZE, generator=seeded()) * 2 - 1
    latents = backbone.codec.encode(frames)
    assert latents.shape == (2, 5, 4, 4, 4)
    assert backbone.codec.decode(latents).shape == frames.shape
    torch.testing.assert_close(backbone.codec.encode(frames[:, :1]), latents[:, :1])
    with pytest.raises(ValueError, match=r"1 \+ a multiple of 4 frames .* got 4"):
        backbone.codec.encode(frames[:, :4])
    with pytest.raises(ValueError, match="a multiple of 4 as future, got K = 1, T = 6"):
        backbone.check_lengths(1, 6)


class Counting(nn.Module):
    """A VAE that makes as many latent frames as a table says."""

    def __init__(self, counts: dict[int, int]) -> None:
        super().__init__()
        self.counts, self.weight = counts, nn.Parameter(torch.zeros(1))

    def encode(self, video: Tensor):
        latents = torch.zeros(1, 1, self.counts[video.shape[2]], 1, 1)
        mode = type("Mode", (), {"mode": lambda self: latents})()
        return type("Encoded", (), {"latent_dist": mode})()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({1: 1, 2: 2, 9: 9, 17: 17}, (1, 1)),
        ({1: 1, 2: 1, 3: 3, 9: 9, 17: 17}, (1, 2)),
        ({1: 1, 2: 1, 3: 2, 9: 5, 17: 9}, (2, 2)),
        ({1: 1, 5: 2, 9: 3, 17: 5}, (4, 4)),
        ({1: 1, 9: 2, 17: 3}, (8, 8)),
    ],
)
def test_counts_of_latents(counts, expected):
    assert measured_stride(Counting(counts)) == expected


@pytest.mark.parametrize("counts", [{1: 1, 9: 9, 17: 16}, {1: 2, 9: 4, 17: 6}, {1: 1, 9: 4, 17: 7}])
def test_vaes_that_are_not_causal_are_refused(counts):
    words = f"Counting makes .{', '.join(map(str, counts.values()))}. latent frames of 1, 9 and 17"
    with pytest.raises(ValueError, match=words):
        measured_stride(Counting(counts))


# Chains of latents --------------------------------------------------------------------------------


def test_the_network_is_given_the_latent_that_was_generated(single, spec, monkeypatch):
    """To the bit, as the clean first frame of the second chunk; pixels are never encoded again."""
    model = build(single, spec)
    backbone, seen, encoded, encode = model.backbone, [], [], model.backbone.vae.encode
    monkeypatch.setattr(backbone.vae, "encode", lambda x: (encoded.append(len(x)), encode(x))[1])
    backbone.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["hidden_states"][:, :, 0].clone()),
        with_kwargs=True,
    )
    actions = torch.rand(2, 8, 3, generator=seeded()) * 0.2 - 0.1
    made = model.rollout(picture(), actions, generator=None)
    assert made.latents.shape == (2, 8, 4, 4, 4)
    assert encoded == [1]
    assert len(seen) == 4  # two chunks of two steps
    for given in seen[2:]:
        assert torch.equal(given, made.latents[:, 3])
    first = backbone.codec.encode(picture().float() / 127.5 - 1)[:, 0]
    torch.testing.assert_close(seen[0], first.expand(2, -1, -1, -1))
    assert (made.latents[0] - made.latents[1]).abs().max() > 0.01


@pytest.mark.long
def test_latents_and_pixels_differ_from_the_second_chunk_on(single, spec):
    model, actions = build(single, spec), torch.zeros(1, 8, 3)
    found = [
        model.rollout(picture(), actions, Sampling(chain=chain), generator=seeded()).frames
        for chain in (None, "latents", "pixels")
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1][:, :4], found[2][:, :4])
    assert (found[1][:, 4:] - found[2][:, 4:]).abs().max() > 1e-3


def test_folded_latents_cannot_be_chained(tiny, spec):
    model = build(tiny("predict2"), spec, 8)
    with pytest.raises(ValueError, match=r"Expected chain pixels: .* its latents hold 4"):
        model.rollout(picture(), torch.zeros(1, 16, 3), Sampling(chain="latents"))


def test_a_context_by_channel_starts_again_from_pixels(tiny, spec, tmp_path):
    """Wan 2.1's context is a whole video's latents, whatever the VAE's stride."""
    folder = tmp_path / "channel"
    shutil.copytree(tiny("wan2.1"), folder)
    shutil.rmtree(folder / "vae")
    wan_vae(False, False).save_pretrained(folder / "vae")
    shutil.rmtree(folder / "transformer")
    from diffusers import WanTransformer3DModel

    config = WanTransformer3DModel.load_config(tiny("wan2.1") / "transformer")
    one = WanTransformer3DModel.from_config({**config, "in_channels": 9})  # a mask of one channel
    one.save_pretrained(folder / "transformer")
    model = build(folder, spec, kind=Wan)
    assert model.backbone.codec.temporal_stride == 1
    made = model.rollout(picture(), torch.zeros(1, 8, 3), generator=seeded())
    assert made.frames.shape == (1, 8, 3, SIZE, SIZE)
    with pytest.raises(ValueError, match="Expected chain pixels"):
        model.rollout(picture(), torch.zeros(1, 8, 3), Sampling(chain="latents"))


# A state ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["single", "predict2"])
def test_a_state_reaches_context_and_future(name, tiny, single, spec):
    """An action takes no context latent, a state takes all."""
    folder, chunk = (single, 4) if name == "single" else (tiny(name), 8)
    posture = ActionSpec(("hip",), ("rad",), "joint", "command", 4.0, (-1.0,), (1.0,))
    model = build(folder, spec, chunk, state_spec=posture)
    values, state = torch.rand(2, chunk, 3), torch.rand(2, 1)
    plain = model.embed(values)
    assert not plain[:, : model.backbone.context_latents].any()
    difference = model.embed(values, state) - plain
    each = model.state_embedding(state)
    assert difference.shape[1] == 1 + chunk // model.backbone.codec.temporal_stride
    torch.testing.assert_close(difference, each[:, None].expand_as(difference), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="embeds the body's state"):
        model.rollout(picture(), torch.zeros(1, chunk, 3))
    videos = [
        model.rollout(picture(), torch.zeros(1, chunk, 3), state=s, generator=seeded()).frames
        for s in (torch.tensor([[0.9]]), torch.tensor([[-0.9]]))
    ]
    assert (videos[0] - videos[1]).abs().max() > 1e-3


# Pretraining --------------------------------------------------------------------------------------


@pytest.fixture
def rooms(tmp_path) -> Rooms:
    window = Window(context=1, horizon=4, height=SIZE, width=SIZE)
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 2, "num_frames": 7}
    data = Rooms(str(tmp_path / "rooms"), window, 2, world="passive", **counts)
    data.prepare_data()
    return data


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")
def test_a_prior_of_cosmos(single, rooms, spec, tmp_path):
    """A step trains the transformer alone; the folder it leaves is a Cosmos of the same videos."""
    backbone = Cosmos(str(single), random=["transformer"], memo_frames=4)
    module = VideoPrior(backbone, warmup=1)
    module.configure_model()
    before = {name: p.clone() for name, p in module.named_parameters()}
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, rooms)
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert {name.split(".")[1] for name in moved} == {"network"}
    assert len(moved) > 0.8 * len(list(backbone.network.parameters()))
    folder = tmp_path / "prior"
    for part in ("transformer", "vae"):
        files = [load_file(path) for path in (folder / part).glob("*.safetensors")]
        assert {value.dtype for file in files for value in file.values()} == {torch.float16}
    backbone.network.half().float()  # as the folder has it
    backbone.vae.half().float()
    backbone.codec = backbone.codec.fresh
    actions = torch.rand(1, 8, 3, generator=seeded()) * 0.2 - 0.1
    torch.manual_seed(1)
    known = WorldModel(backbone, zero_init=False, steps=2, chunk=4, spec=spec)
    torch.manual_seed(1)
    again = WorldModel(Cosmos(str(folder)), zero_init=False, steps=2, chunk=4, spec=spec)
    for model in (known, again):
        model.configure_model()
    nn.Module.load_state_dict(again.action_embedding, known.action_embedding.state_dict())
    expected, found = (
        m.eval().rollout(picture(), actions, generator=seeded()).frames for m in (known, again)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.05


def test_a_prior_gives_the_context_and_counts_the_rest(single, rooms, monkeypatch):
    """The first latent of every video; the loss is told that one does not count."""
    module, seen = VideoPrior(Cosmos(str(single))), {}
    module.configure_model()

    def loss(process, estimate, latents, given):
        seen["given"], seen["latents"] = given, latents
        seen["clean"] = estimate(torch.zeros_like(latents), torch.ones(len(latents)))
        return latents.mean(), {}

    monkeypatch.setattr("egowm.pretraining.prior.denoising_loss", loss)
    clip = next(iter(rooms.val_dataloader()))
    module.loss(clip)
    assert seen["given"] == 1
    assert seen["latents"].shape == (1, 5, 4, 4, 4)
    torch.testing.assert_close(seen["clean"][:, 0], seen["latents"][:, 0])
    assert (seen["clean"][:, 1:] - seen["latents"][:, 1:]).abs().max() > 0.1


def test_a_prior_draws_the_noise_levels_of_its_videos(tiny, monkeypatch):
    """LTX shifts them by the number of tokens."""
    module, seen = VideoPrior(LTX(str(tiny("ltx")))), {}
    module.configure_model()

    def loss(process, estimate, latents, given):
        seen["process"] = process
        return latents.mean(), {}

    monkeypatch.setattr("egowm.pretraining.prior.denoising_loss", loss)
    window = torch.zeros(1, 9, 3, 32, 32, dtype=torch.uint8)
    rest = torch.zeros(1, 8, 3), torch.zeros(1, 0, 3), torch.zeros(1, 0)
    module.loss(Clip(window, *rest, *[[""]] * 3))
    expected = module.backbone.process_for(2, (32, 32)).shift
    assert seen["process"].shift == expected
    assert expected != module.backbone.process.shift


@pytest.mark.parametrize("name", ["predict2", "wan2.1", "wan2.2", "ltx"])
def test_a_saved_pipeline_loads_without_its_base(name, tiny, tmp_path):
    """Also where "" came from a text encoder, which stays behind."""
    base, folder = tmp_path / "base", tmp_path / "saved"
    shutil.copytree(tiny(name), base)
    (base / EMPTY).unlink()
    (base / "text_encoder").mkdir()
    kind = {"predict2": Cosmos, "ltx": LTX}.get(name, Wan)
    backbone = kind(str(base))
    backbone.load()
    backbone.codec.texts.embed = lambda folder, new: (torch.full((1, 5, 32), 3.0), torch.ones(1, 5))
    save_pipeline(backbone, folder)
    again = kind(str(folder))
    again.load()
    embedding, mask = again.codec.texts([""], torch.device("cpu"))
    assert torch.equal(embedding, torch.full((1, 5, 32), 3.0))
    assert torch.equal(mask, torch.ones(1, 5))
    weights = backbone.network.state_dict()
    for key, value in again.network.state_dict().items():
        assert torch.equal(value, weights[key].half().float())
    index = json.loads((folder / "model_index.json").read_text())
    assert index == json.loads((base / "model_index.json").read_text())


# Scoring ------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("name", ["single", "predict2"])
def test_the_ceiling_goes_through_the_vae_as_rollouts_do(name, tiny, single, rooms, spec, tmp_path):
    """Each chunk starts with its context, which is left out again; the last is filled up."""
    folder, chunk = (single, 4) if name == "single" else (tiny(name), 4)
    model = build(folder, rooms.spec, chunk)
    evaluate([Row("pred", "plain", model)], rooms, tmp_path / "run", horizon=6, steps=2)
    windows = rooms.split("test")
    for number, episode in enumerate(windows):
        video = torch.from_numpy(episode.read(range(7))).permute(0, 3, 1, 2)[None] / 127.5 - 1
        last = video[:, -1:].expand(-1, 2, -1, -1, -1)
        parts = [video[:, :5], torch.cat([video[:, 4:], last], 1)]
        with torch.no_grad():
            made = [
                model.backbone.codec.decode(model.backbone.codec.encode(part))[:, 1:]
                for part in parts
            ]
        expected = ((torch.cat(made, 1)[0, :6].clamp(-1, 1) + 1) * 127.5).round()
        clip = sorted((tmp_path / "run/codec").iterdir())[number]
        found = torch.from_numpy(read_frames(clip)).permute(0, 3, 1, 2)
        assert found.shape[0] == 7
        assert (found[1:].float() - expected).abs().max() <= 1
