"""SVD: parity with diffusers' own pipeline, and its conditioning point by point."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from egowm.backbones import SVD
from egowm.backbones import frame_codec as module
from egowm.backbones.codec_wrappers import Remembered
from egowm.pretraining import VideoPrior, copy_of_context
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

CPU = torch.device("cpu")


@pytest.fixture
def svd(world_model) -> SVD:
    return world_model.backbone


@pytest.fixture(scope="module")
def stock(tiny_prior):
    from diffusers import StableVideoDiffusionPipeline

    pipeline = StableVideoDiffusionPipeline.from_pretrained(tiny_prior)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    return Image.fromarray(noise)


def as_frame(picture: Image.Image) -> torch.Tensor:
    """(1, 1, 3, H, W) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None, None]


def as_image(picture: Image.Image) -> torch.Tensor:
    """(1, 3, H, W) in [-1, 1]."""
    return as_frame(picture)[0].float() / 127.5 - 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize(
    ("guidance", "num_frames", "changes"),
    [
        (1.0, 4, {}),
        (2.0, 4, {}),
        (2.0, 6, {"_fps": 11, "motion_bucket": 40, "noise_strength": 0.6}),
    ],
)
def test_rollout_is_the_stock_pipeline_s(
    world_model, stock, picture, guidance, num_frames, changes
):
    """Zero actions through an embedding that is zero: the same generator gives the same video."""
    for name, value in changes.items():
        setattr(world_model.backbone, name, value)
    world_model.chunk, backbone = num_frames, world_model.backbone
    found = world_model.rollout(
        as_frame(picture),
        torch.zeros(1, num_frames, 3),
        Sampling(steps=5, guidance=guidance),
        generator=generator(),
    ).frames
    expected = stock(
        picture,
        height=16,
        width=24,
        num_frames=num_frames,
        num_inference_steps=5,
        min_guidance_scale=guidance,
        max_guidance_scale=guidance,
        fps=backbone.fps,
        motion_bucket_id=backbone.motion_bucket,
        noise_aug_strength=backbone.noise_strength,
        decode_chunk_size=num_frames,
        generator=generator(),
        output_type="pt",
    ).frames
    assert found.shape == expected.shape == (1, num_frames, 3, 16, 24)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_an_image_decoder_is_the_stock_pipeline_s(tiny_prior, spec, picture, tmp_path):
    """SVD also comes with `AutoencoderKL`, which decodes each frame alone."""
    from diffusers import AutoencoderKL, StableVideoDiffusionPipeline

    folder = tmp_path / "base"
    shutil.copytree(tiny_prior, folder)
    shutil.rmtree(folder / "vae")
    index = json.loads((folder / "model_index.json").read_text())
    index["vae"] = ["diffusers", "AutoencoderKL"]
    (folder / "model_index.json").write_text(json.dumps(index))
    vae = AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        scaling_factor=0.5,
    )
    for parameter in vae.parameters():
        parameter.data *= 1.6
    vae.save_pretrained(folder / "vae")
    model = WorldModel(SVD(str(folder)), chunk=4, spec=spec)
    model.configure_model()
    found = model.rollout(
        as_frame(picture), torch.zeros(1, 4, 3), Sampling(steps=3), generator=generator()
    )
    stock = StableVideoDiffusionPipeline.from_pretrained(folder)
    expected = stock(
        picture,
        height=16,
        width=24,
        num_frames=4,
        num_inference_steps=3,
        max_guidance_scale=1.0,
        motion_bucket_id=180,
        noise_aug_strength=0.1,
        generator=generator(),
        output_type="pt",
    ).frames
    assert expected.std() > 0.1
    assert (found.frames - expected).abs().max() < 1e-4


@pytest.mark.long
def test_a_vae_that_lies_elsewhere(tiny_prior, svd, tmp_path):
    shutil.copytree(tiny_prior / "vae", tmp_path / "vae")
    found = SVD(str(tiny_prior), vae_folder=str(tmp_path / "vae"))
    found.load()
    assert torch.equal(next(found.vae.parameters()), next(svd.vae.parameters()))
    config = json.loads((tmp_path / "vae/config.json").read_text())
    (tmp_path / "vae/config.json").write_text(json.dumps(config | {"_class_name": "VQModel"}))
    with pytest.raises(ValueError, match="expected AutoencoderKLTemporalDecoder or AutoencoderKL"):
        SVD(str(tiny_prior), vae_folder=str(tmp_path / "vae")).load()


@pytest.mark.parametrize("change", [{"_fps": 11}, {"motion_bucket": 40}, {"noise_strength": 0.6}])
def test_what_the_network_is_told_matters(world_model, picture, change):
    """Each number of the parity above moves the video: it is not an empty one."""
    videos, actions = [], torch.zeros(1, 4, 3)
    for values in ({}, change):
        for name, value in values.items():
            setattr(world_model.backbone, name, value)
        videos.append(world_model.rollout(as_frame(picture), actions, generator=generator()).frames)
    assert (videos[1] - videos[0]).abs().max() > 1e-3


def test_context_and_target_latents(svd, picture):
    """The context's latent comes without the scaling factor, a target's with it; both the mode."""
    image = as_image(picture)
    mode = svd.vae.encode(image).latent_dist.mode()
    condition = svd.condition(image[:, None], torch.zeros(1))
    torch.testing.assert_close(condition.latents, mode)
    assert svd.vae.config.scaling_factor == 0.5
    torch.testing.assert_close(svd.codec.encode(image[:, None])[:, 0], 0.5 * mode)


def test_noise_goes_to_the_latent_and_not_to_clip(svd, picture):
    image = as_image(picture)
    noise = torch.randn(image.shape, generator=generator(3))
    condition = svd.condition(image[:, None], torch.tensor([0.4]), generator(3))
    expected = svd.vae.encode(image + 0.4 * noise).latent_dist.mode()
    torch.testing.assert_close(condition.latents, expected)
    torch.testing.assert_close(condition.image, svd.codec.embed_image(image))
    torch.testing.assert_close(condition.ids, torch.tensor([[6.0, 180.0, 0.4]]))


def test_the_null_image_is_zeros(svd, picture):
    condition = svd.condition(as_image(picture)[:, None].repeat(2, 1, 1, 1, 1), torch.zeros(2))
    null = condition.without_image(torch.tensor([True, False]))
    assert null.image[0].abs().max() == null.latents[0].abs().max() == 0
    assert torch.equal(null.image[1], condition.image[1])
    assert torch.equal(null.latents[1], condition.latents[1])
    assert torch.equal(null.ids, condition.ids)


def test_clip_sees_a_tensor_as_it_sees_a_picture(svd, stock, picture):
    """The stock pipeline resizes pictures for CLIP, not tensors; ours resizes."""
    expected = stock._encode_image(picture, CPU, 1, do_classifier_free_guidance=False)
    assert expected.std() > 0.5
    torch.testing.assert_close(
        svd.codec.embed_image(as_image(picture)), expected, atol=1e-4, rtol=0
    )
    with pytest.raises(ValueError, match="doesn't match model"):
        stock._encode_image(as_image(picture), CPU, 1, do_classifier_free_guidance=False)


def test_decode_inverts_the_scaling_and_keeps_videos_apart(svd):
    latents = torch.randn(2, 4, 4, 8, 8, generator=generator())
    frames = svd.codec.decode(latents)
    assert frames.shape == (2, 4, 3, 16, 16)
    torch.testing.assert_close(svd.codec.decode(latents[1:])[0], frames[1], atol=1e-5, rtol=1e-5)
    expected = svd.vae.decode(latents[0] / 0.5, num_frames=4).sample
    torch.testing.assert_close(frames[0], expected, atol=1e-5, rtol=1e-5)


def test_few_or_many_videos_are_decoded_alike(svd, monkeypatch):
    """However many videos are decoded at once, no video is cut and none mixes with another."""
    latents = torch.randn(5, 4, 4, 8, 8, generator=generator())
    decode, sizes = svd.vae.decode, []

    def counted(flat, num_frames):
        sizes.append(len(flat))
        return decode(flat, num_frames=num_frames)

    monkeypatch.setattr(svd.vae, "decode", counted)
    whole = svd.codec.decode(latents)
    video = 4 * 16 * 16  # pixels
    for pixels, expected in ((2 * video, [8, 8, 4]), (video // 2, [4] * 5)):
        sizes.clear()
        monkeypatch.setitem(module.DECODED_PIXELS, "cpu", pixels)
        torch.testing.assert_close(svd.codec.decode(latents), whole, atol=1e-5, rtol=1e-5)
        assert sizes == expected


def test_one_context_for_many_strengths(svd, picture):
    """Each draws noise of its own, as it would alone."""
    context = as_image(picture)[:, None]
    strengths = torch.tensor([0.1, 0.3, 0.1])
    together = svd.condition(context, strengths, [generator(k) for k in (1, 2, 3)])
    for k in range(3):
        alone = svd.condition(context, strengths[k : k + 1], generator(k + 1))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[k : k + 1], b, atol=1e-5, rtol=1e-5)
    assert (together.latents[0] - together.latents[2]).abs().max() > 0.01


def test_memo_is_the_encoder_and_encodes_each_frame_once(svd, monkeypatch):
    frames = torch.randint(0, 256, (2, 4, 3, 16, 16), generator=generator()).float() / 127.5 - 1
    frames[1, 0] = frames[0, 3]  # windows overlap
    frames[1, 2] = frames[1, 1]  # a robot stands still
    plain, encoded, encode = svd.codec.encode(frames), [], svd.vae.encode

    def counted(batch):
        encoded.append(len(batch))
        return encode(batch)

    monkeypatch.setattr(svd.vae, "encode", counted)
    svd.codec = Remembered(svd.codec, 100)
    for _ in range(2):
        found = svd.codec.encode(frames)
        torch.testing.assert_close(found, plain, atol=2e-3, rtol=2e-3)  # kept in float16
    assert sum(encoded) == 6
    assert plain.std() > 0.2


def test_memo_embeds_each_image_once_while_the_encoder_is_frozen(svd, monkeypatch):
    images = torch.rand(2, 1, 3, 16, 16, generator=generator()) * 2 - 1
    images = ((images + 1) * 127.5).round() / 127.5 - 1  # as frames are
    plain, embedded, embed = svd.condition(images, torch.zeros(2)).image, [], svd.codec.embed_image

    def counted(batch):
        embedded.append(len(batch))
        return embed(batch)

    monkeypatch.setattr(svd.codec, "embed_image", counted)
    svd.codec = Remembered(svd.codec, 100)
    for _ in range(2):
        torch.testing.assert_close(svd.condition(images, torch.zeros(2)).image, plain)
    assert embedded == [2]
    svd.image_encoder.requires_grad_(True)
    assert svd.condition(images, torch.zeros(2)).image.requires_grad
    assert embedded == [2, 2]


def test_a_context_without_noise_is_remembered_like_a_target(svd, monkeypatch):
    frames = torch.randint(0, 256, (2, 1, 3, 16, 16), generator=generator()).float() / 127.5 - 1
    plain, encoded, encode = svd.condition(frames, torch.zeros(2)).latents, [], svd.vae.encode

    def counted(batch):
        encoded.append(len(batch))
        return encode(batch)

    monkeypatch.setattr(svd.vae, "encode", counted)
    svd.codec = Remembered(svd.codec, 100)
    svd.codec.encode(frames)
    torch.testing.assert_close(svd.condition(frames, torch.zeros(2)).latents, plain)
    assert encoded == [2]
    noisy = svd.condition(frames, torch.full((2,), 0.3)).latents
    assert encoded == [2, 2]
    assert (noisy - plain).abs().max() > 0.01


def test_known_latents_take_the_place_of_encoding(svd):
    """Targets carry the scaling factor, contexts do not."""
    frames = torch.randint(0, 256, (2, 1, 3, 16, 16), generator=generator()).float() / 127.5 - 1
    plain = svd.condition(frames, torch.zeros(2))
    known = svd.condition(frames, torch.ones(2), generator(), svd.codec.encode(frames)[:, 0])
    torch.testing.assert_close(known.latents, plain.latents)
    torch.testing.assert_close(known.image, plain.image)


def test_a_network_that_predicts_changes_draws_what_is_added_to_the_context(tiny_prior, svd):
    """An output of zero is the same picture; the rest is the stock reading of the output, shifted
    to the context's latents as targets carry them."""
    frames = torch.randint(0, 256, (2, 1, 3, 16, 16), generator=generator()).float() / 127.5 - 1
    condition, target = svd.condition(frames, torch.zeros(2)), svd.codec.encode(frames)
    noise = torch.randn(2, 3, *target.shape[2:], generator=generator())
    changes = SVD(str(tiny_prior), predicts="changes")
    changes.load()
    sigma = torch.tensor([0.7, 90.0])
    with torch.no_grad():
        stock = svd(noise, sigma, condition)
        found = changes(target + noise, sigma, condition)
        torch.testing.assert_close(found, target + stock, atol=1e-4, rtol=1e-4)
        changes.network.conv_out.requires_grad_(False)
        for weight in changes.network.conv_out.parameters():
            weight.zero_()
        still = changes(1e3 * noise, torch.full((2,), 1e3), condition)
    torch.testing.assert_close(still, target.expand_as(still), atol=0.01, rtol=0)


def test_only_stock_predictions_make_a_pipeline(tiny_prior, fitted, tmp_path):
    with pytest.raises(ValueError, match='"frames" or "changes", got \'residuals\''):
        SVD(str(tiny_prior), predicts="residuals")
    with pytest.raises(ValueError, match="the context would be added once more: leave start out"):
        SVD(str(tiny_prior), random=["unet"], start=copy_of_context, predicts="changes")
    with pytest.raises(ValueError, match="predicts changes, which diffusers' pipeline would show"):
        VideoPrior(SVD(str(tiny_prior), predicts="changes"))
    fitted.backbone.predicts = "changes"
    with pytest.raises(ValueError, match="save an export of egowm instead"):
        fitted.save_pipeline(tmp_path / "pipeline")
    assert not list(tmp_path.iterdir())
    fitted.save_pretrained(tmp_path / "export")
    assert WorldModel.from_pretrained(tmp_path / "export").backbone.predicts == "changes"


def test_training_noise_can_be_left_out(svd):
    assert svd.training_noise(5, None).min() > 0
    svd.noise_mean = None
    assert torch.equal(svd.training_noise(5, None), torch.zeros(5))


def test_memo_holds_no_more_than_asked(svd):
    plain = svd.codec
    svd.codec = Remembered(plain, 3)
    frames = torch.randint(0, 256, (3, 2, 3, 16, 16), generator=generator()).float() / 127.5 - 1
    found = svd.codec.encode(frames)
    assert len(svd.codec.videos.held) == 3
    torch.testing.assert_close(found, plain.encode(frames), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("size", [(16, 20), (12, 16)])
def test_frame_sizes_that_cannot_be_halved(svd, size):
    words = f"multiples of 8, got {size[0]}x{size[1]}: set the window's"
    with pytest.raises(ValueError, match=words):
        svd.condition(torch.zeros(1, 1, 3, *size), torch.zeros(1))


def test_two_context_frames_are_refused(svd):
    with pytest.raises(ValueError, match="one context frame, got 2"):
        svd.condition(torch.zeros(1, 2, 3, 16, 16), torch.zeros(1))


def test_loading(tiny_prior):
    svd = SVD(str(tiny_prior))
    assert not hasattr(svd, "network")  # the constructor reads nothing
    svd.load()
    network = svd.network
    svd.load()
    assert svd.network is network
    assert svd.embedding_dim == 128
    torch.testing.assert_close(svd.process.sigmas(2), torch.tensor([80.0, 0.02, 0.0]))
    assert all(p.requires_grad for p in network.parameters())
    frozen = [*svd.vae.parameters(), *svd.image_encoder.parameters()]
    assert not any(p.requires_grad for p in frozen)
    assert not svd.vae.training


def test_random_parts_start_elsewhere(tiny_prior, svd):
    scratch = SVD(str(tiny_prior), random=["unet", "image_encoder"])
    scratch.load()
    for part in ("network", "image_encoder", "vae"):
        mine, theirs = (next(getattr(b, part).parameters()) for b in (scratch, svd))
        assert mine.shape == theirs.shape
        assert torch.equal(mine, theirs) == (part == "vae")
    assert not any(p.requires_grad for p in scratch.image_encoder.parameters())
