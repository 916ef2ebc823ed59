"""CDiT: what is its own beside the questions asked of every family."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from egowm.backbones import CDiT
from egowm.backbones.cdit import SIZES
from egowm.clip import Clip
from egowm.commands import main as cli
from egowm.network.cdit import CDiTTransformer2DModel
from egowm.pretraining.prior import save_pipeline
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

PUBLISHED = {"S": 33, "B": 130, "L": 458, "XL": 675}  # millions of weights of DiT (2212.09748)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def remembering(tiny, spec):
    """Four context frames, an action embedding that is not zero."""
    torch.manual_seed(0)
    model = WorldModel(CDiT(str(tiny("cdit"))), steps=3, chunk=4, spec=spec)
    model.configure_model()
    torch.nn.init.normal_(model.action_embedding.linear_2.weight, std=0.3)
    return model.eval()


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def weights(size: str, channels: int = 4) -> int:
    with torch.device("meta"):
        network = CDiTTransformer2DModel(channels, 2, *SIZES[size])
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    ("size", "count"),
    [("S", 48_693_920), ("B", 194_118_944), ("L", 684_842_016), ("XL", 1_010_026_400)],
)
def test_sizes(size, count):
    """DiT's, and in each block cross-attention and five more modulations; XL is 1 billion."""
    assert weights(size) == count
    blocks, width, _ = SIZES[size]
    more = blocks * (4 * width**2 + 4 * width + 5 * width**2 + 5 * width)
    assert (count - more) / 1e6 == pytest.approx(PUBLISHED[size], rel=0.02)


def test_the_small_size_is_that_of_the_rooms_prior():
    assert weights("XS", channels=16) == pytest.approx(5_517_657, rel=0.03)


def test_the_context_is_only_read(remembering):
    """Its tokens are keys of cross-attention alone, so a step's cost is linear in their number."""
    from torch.utils.flop_counter import FlopCounterMode

    network, seen = remembering.backbone.network, []
    for block in network.blocks:
        for name in ("attn1", "attn2"):
            hook = lambda module, args, name=name: seen.append((name, *[x.shape[1] for x in args]))  # noqa: E731
            getattr(block, name).register_forward_pre_hook(hook)
    costs = []
    for num_context in (1, 2, 3, 4):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            (output,) = network(
                torch.ones(2, 3, 4, 8, 8), torch.ones(2), torch.ones(2, num_context, 4, 8, 8)
            )
        assert output.shape == (2, 3, 8, 8, 8)
        costs.append(counter.get_total_flops())
        tokens = 16  # of 8x8 latents
        assert seen == [("attn1", tokens), ("attn2", tokens, num_context * tokens)] * 2
        seen.clear()
    assert costs[0] < costs[1]
    assert costs[3] - costs[2] == costs[2] - costs[1] == costs[1] - costs[0]


@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("changed", [0, 2, 5])
def test_later_actions_change_no_frame(remembering, chunk, changed):
    """One frame after the other, and in jumps from one context: within a chunk and across."""
    remembering.chunk = chunk
    frames = torch.rand(1, 4, 3, 16, 16, generator=generator())
    actions = torch.rand(1, 6, 3, generator=generator()) * 0.2 - 0.1
    others = actions.clone()
    others[:, changed] *= -1
    found, other = (
        remembering.rollout(frames, each, Sampling(steps=2), generator=generator(1)).frames[0]
        for each in (actions, others)
    )
    moved = (found != other).flatten(1).any(1).nonzero().flatten().tolist()
    assert moved == list(range(changed, 6))


def test_all_of_the_context_counts(remembering):
    frames = torch.rand(1, 4, 3, 16, 16, generator=generator())
    actions = torch.zeros(1, 2, 3)

    def imagined(context: Tensor) -> Tensor:
        return remembering.rollout(context, actions, generator=generator()).latents

    plain = imagined(frames)
    assert torch.equal(imagined(torch.cat([frames[:, :1], frames], 1)), plain)  # the last four
    for number in range(4):
        other = frames.clone()
        other[:, number] = 1 - other[:, number]
        assert (imagined(other) - plain).abs().max() > 1e-3
    assert (imagined(frames[:, [1, 0, 2, 3]]) - plain).abs().max() > 1e-3  # in this order
    with pytest.raises(ValueError, match="CDiT takes 4 context frames, got 3"):
        imagined(frames[:, 1:])


def test_of_a_long_past_every_so_many_th_frame_is_read(tiny, spec):
    """Also of what was imagined: 5 frames with a stride of 2 are read as the 3 at their places."""
    torch.manual_seed(0)
    backbone = CDiT(str(tiny("cdit")), context=5, context_stride=2)
    model = WorldModel(backbone, steps=2, chunk=1, spec=spec)
    model.configure_model()
    frames, actions = torch.rand(1, 5, 3, 16, 16, generator=generator()), torch.zeros(1, 4, 3)

    def imagined(context: Tensor) -> Tensor:
        return model.eval().rollout(context, actions, generator=generator()).frames[0]

    plain, read = imagined(frames), []
    for number in range(5):
        other = frames.clone()
        other[:, number] = 1 - other[:, number]
        moved = (imagined(other) - plain).abs().flatten(1).amax(1) > 1e-4
        read.append(int(moved.nonzero()[0]))  # in which step it is first looked at
    assert read == [0, 1, 0, 1, 0]


def test_the_ages_of_a_distant_context_are_true(remembering):
    """Three frames two steps apart are those of five of which the others are hidden."""
    network = remembering.backbone.network
    given, seen = torch.rand(1, 3, 4, 8, 8, generator=generator()), []
    network.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    long = torch.zeros(1, 5, 4, 8, 8)
    long[:, ::2] = given
    for context, stride in ((given, 2), (long, 1), (given, 1)):
        network(torch.zeros(1, 1, 4, 8, 8), torch.ones(1), context, stride)
    distant, every, recent = (tokens.unflatten(1, (-1, 16)) for tokens in seen)
    assert torch.equal(distant, every[:, ::2])
    assert torch.equal(recent[:, -1], distant[:, -1])
    assert not torch.allclose(recent[:, 0], distant[:, 0], atol=1e-3)


def test_guidance_leaves_the_spread(remembering, monkeypatch):
    """It moves the clean latents away from the null branch's; the spread is the action's own."""
    remembering.drop_action, backbone = 0.1, remembering.backbone
    remembering.null_embedding = torch.nn.Parameter(torch.ones(backbone.embedding_dim))
    seen, called = [], []
    monkeypatch.setattr(
        type(backbone.process), "split", watched(type(backbone.process).split, seen)
    )
    monkeypatch.setattr(CDiT, "forward", watched(CDiT.forward, called))
    frames, actions = torch.rand(1, 4, 3, 16, 16), torch.zeros(1, 1, 3)
    remembering.chunk = 1
    how = Sampling(steps=1, guidance=3.0, guide_on="action")
    remembering.rollout(frames, actions, how, generator=generator())
    without, with_all = called[0].chunk(2)
    (clean, spread), channels = seen[-1], with_all.shape[2] // 2
    assert torch.equal(spread, with_all[:, :, channels:])
    assert not torch.equal(spread, without[:, :, channels:])
    expected = without + 3 * (with_all - without)
    torch.testing.assert_close(clean, expected[:, :, :channels])


def watched(function, kept: list):
    """The function, whose results are kept."""

    def call(*arguments, **options):
        kept.append(function(*arguments, **options))
        return kept[-1]

    return call


def test_a_frame_knows_how_far_it_jumps(remembering):
    """At the same noise, context and action: by its place in the chunk."""
    network = remembering.backbone.network
    sample, context = torch.ones(1, 3, 4, 4, 4), torch.ones(1, 4, 4, 4, 4)
    with torch.no_grad():
        near, _, far = network(sample, torch.ones(1), context)[0][0]
        (alone,) = network(sample[:, :1], torch.ones(1), context)[0][0]
    assert (near - far).abs().max() > 1e-3
    torch.testing.assert_close(alone, near)


def two_ways(copies: int) -> Clip:
    """Clips of one context, from which opposite actions lead to two different frames."""
    frames = torch.randint(0, 256, (2, 5, 3, 16, 16), generator=generator()).byte()
    frames[1, :4] = frames[0, :4]
    actions = torch.tensor([[[0.3, 0.0, 0.1]], [[-0.3, 0.0, -0.1]]]).repeat(copies, 1, 1)
    count = 2 * copies
    none = torch.zeros(count, 3, 3), torch.zeros(count, 0)
    return Clip(frames.repeat(copies, 1, 1, 1, 1), actions, *none, *[[""] * count] * 3)


@pytest.mark.long
def test_it_learns_what_actions_do(tiny, spec, tmp_path):
    """150 steps on two clips; each action then leads to its own frame in 20 ancestral steps."""
    base = shutil.copytree(tiny("cdit"), tmp_path / "base")
    change(base / "vae/config.json", scaling_factor=3.4)  # of this VAE's latents to unit power
    torch.manual_seed(0)
    CDiTTransformer2DModel(4, 2, 2, 64, 2).save_pretrained(base / "transformer")
    model = WorldModel(CDiT(str(base)), steps=20, chunk=1, spec=spec)
    model.configure_model()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    losses, clips = [], two_ways(4)
    for _ in range(150):
        optimizer.zero_grad()
        loss, _ = model.loss(clips, generator(len(losses)))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])
    clip = two_ways(1)
    made = model.eval().rollout_of(clip, generator=generator()).latents[:, 0]
    true = model.backbone.codec.encode(clip.frames[:, 4:] / 127.5 - 1)[:, 0]
    errors = (made[:, None] - true[None]).square().flatten(2).mean(2)
    assert errors.diagonal().max() < 0.5 * errors.fliplr().diagonal().min()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::DeprecationWarning:lightning")
def test_it_is_fitted_evaluated_and_plans(recipe, tiny, tmp_path):
    """With four context frames all the way, from the pixels of rooms and from their latents."""
    content = yaml.safe_load(recipe.read_text())
    arguments = {
        "class_path": "egowm.backbones.CDiT",
        "init_args": {"pretrained": str(tiny("cdit"))},
    }
    content["model"]["init_args"]["backbone"] = arguments
    content["data"]["init_args"] |= {"episodes_test": 2}
    content["data"]["init_args"]["window"] |= {"context": 4, "horizon": 1}
    recipe.write_text(yaml.safe_dump(content))
    told, run, cache = ["-c", str(recipe)], tmp_path / "run", str(tmp_path / "cache")
    export = str(tmp_path / "export")
    assert cli.main(["data", "cache", *told, "--output", cache, "--dtype", "float32"]) == 0
    losses = []
    for more in ([], ["--cache", cache, "--trainer.default_root_dir", str(tmp_path / "again")]):
        assert cli.main(["fit", *told, *more]) == 0
        found = next(Path(more[-1] if more else run).rglob("metrics.csv")).read_text()
        losses.append([row["train/loss"] for row in csv.DictReader(found.splitlines())])
    assert len(losses[0]) == 2
    assert np.allclose(*np.array(losses, float), rtol=1e-4)
    checkpoint = ["--ckpt_path", str(run / "checkpoints/last.ckpt")]
    assert cli.main(["export", *told, *checkpoint, "--output", export]) == 0
    few = ["--horizon", "2", "--steps", "1"]
    command = ["eval", "--model", export, *told, "--output", str(tmp_path / "scored")]
    command += ["--clips", "2"]
    assert cli.main([*command, *few]) == 0
    command = ["plan", "--model", export, "--output", str(tmp_path / "plan"), "--size", "16", "16"]
    command += ["--candidates", "2", "--rounds", "1", "--max_steps", "3", "--every", "2"]
    assert cli.main([*command, *few]) == 0
    (row,) = json.loads((tmp_path / "plan/plan.json").read_text())
    assert len(row["poses"]) == 4


# Folders -----------------------------------------------------------------------------------------


def test_a_size_needs_a_vae_alone_and_makes_a_folder(tiny, spec, tmp_path):
    """Of any pipeline; what is saved is a folder that diffusers reads part by part."""
    from diffusers import AutoencoderKL, DDPMScheduler

    (tmp_path / "base").mkdir()
    shutil.copytree(tiny("cdit") / "vae", tmp_path / "base/vae")
    backbone = CDiT(str(tmp_path / "base"), size="XS", context=2)
    model = WorldModel(backbone, steps=2, chunk=2, spec=spec)
    model.configure_model()
    torch.nn.init.normal_(backbone.network.proj_out.weight, std=0.1)
    frames, actions = torch.rand(1, 2, 3, 16, 16), torch.zeros(1, 3, 3)

    def imagined(model: WorldModel) -> Tensor:
        return model.rollout(frames, actions, generator=generator()).frames

    model.save_pretrained(tmp_path / "export")
    again = WorldModel.from_pretrained(tmp_path / "export")
    assert again.backbone.size == "XS"
    assert torch.equal(imagined(again), imagined(model))

    folder = tmp_path / "pipeline"
    (tmp_path / "base/model_index.json").write_text("{}")
    save_pipeline(backbone, folder)
    assert {p.name for p in folder.iterdir()} == {
        "model_index.json", "scheduler", "transformer", "vae",
    }  # fmt: skip
    index = json.loads((folder / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "DDPMScheduler"]
    assert DDPMScheduler.from_pretrained(folder / "scheduler").config.beta_end == 0.02
    assert AutoencoderKL.from_pretrained(folder / "vae").config.latent_channels == 4
    network = CDiTTransformer2DModel.from_pretrained(folder / "transformer")
    own = network.state_dict()
    for name, weight in backbone.network.state_dict().items():
        assert torch.equal(own[name], weight.half().float())
    loaded = CDiT(str(folder), context=2)
    loaded.load()
    assert loaded.random == ()
    assert loaded.embedding_dim == SIZES["XS"][1]


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("vae", {"_class_name": "AutoencoderKLTemporalDecoder"}, "expected AutoencoderKL, got"),
        ("transformer", {"hidden_size": 30}, "4 and num_attention_heads=2 divide, got 30"),
    ],
)
def test_parts_that_do_not_fit(part, values, words, tiny, tmp_path):
    base = shutil.copytree(tiny("cdit"), tmp_path / "base")
    change(base / part / "config.json", **values)
    with pytest.raises(ValueError, match=words):
        CDiT(str(base)).load()


def test_a_network_for_other_latents(tiny, tmp_path):
    base = shutil.copytree(tiny("cdit"), tmp_path / "base")
    CDiTTransformer2DModel(8, 2, 1, 32, 2).save_pretrained(base / "transformer")
    with pytest.raises(ValueError, match="in_channels 4, as the VAE's latents have, got 8"):
        CDiT(str(base)).load()


def test_no_context_is_refused():
    with pytest.raises(ValueError, match="at least 1 context frame, got 0"):
        CDiT("./priors/rooms-svd", context=0)


@pytest.mark.parametrize(("context", "stride"), [(4, 2), (4, 0), (4, 4)])
def test_a_stride_that_does_not_fit_is_refused(context, stride):
    with pytest.raises(ValueError, match=f"divides context - 1 = 3, got {stride}"):
        CDiT("./priors/rooms-svd", context=context, context_stride=stride)
