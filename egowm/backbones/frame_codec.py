"""The codec of SVD and CDiT: a VAE that encodes each frame by itself; SVD's CLIP of the context."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from egowm.backbones.codec import Codec
from egowm.clip import Encodings
from egowm.loading import CONFIG, load_model, read_json

DECODED_PIXELS = {"cpu": 2**14, "gpu": 2**24}  # at once; a video of SVD XT has 2**23.8


VAES = ("AutoencoderKLTemporalDecoder", "AutoencoderKL")  # SVD's, and its image decoder


def load_vae(folder: Path, names: Sequence[str] = VAES) -> Any:
    """A VAE that encodes each frame by itself, of one of some classes of diffusers."""
    import diffusers

    name = str(read_json(folder, CONFIG).get("_class_name"))
    if name not in names:
        raise ValueError(f"{folder}: expected {' or '.join(names)}, got {name}.")
    return load_model(getattr(diffusers, name), folder)


class FrameCodec(Codec):
    """A VAE, and SVD's CLIP.

    Args:
        vae: `AutoencoderKLTemporalDecoder` or `AutoencoderKL`.
        image_encoder: `CLIPVisionModelWithProjection`; None in a family without.
        processor: Its `CLIPImageProcessor`.
        family: See `Codec`.
        folders: See `Codec`.
        vae_batch: Frames that the VAE encodes at once, and decodes in whole videos; 0 encodes all,
            and decodes as many videos as suit the device.
        noisy_context: Training adds fresh noise to the context's pixels.
    """

    def __init__(
        self,
        vae: Any,
        image_encoder: Any,
        processor: Any,
        family: str,
        folders: dict[str, Path],
        vae_batch: int = 0,
        noisy_context: bool = False,
    ) -> None:
        super().__init__(family, folders)
        self.vae = vae.requires_grad_(False).eval()
        self.image_encoder = image_encoder and image_encoder.requires_grad_(False).eval()
        self.processor, self.vae_batch = processor, vae_batch
        self.noisy_context, self.frame_wise = noisy_context, True
        # SVD's own decoder mixes frames, an image decoder does not.
        self.decodes_in_time = type(vae).__name__ == "AutoencoderKLTemporalDecoder"

    def latents(self, frames: Tensor) -> Tensor:
        flat = frames.flatten(0, 1).to(self.vae.dtype)
        parts = flat.split(self.vae_batch or len(flat))
        latents = torch.cat([self.vae.encode(part).latent_dist.mode() for part in parts])
        return latents.unflatten(0, frames.shape[:2])

    def scale(self, latents: Tensor) -> Tensor:
        scaled: Tensor = latents.to(self.vae.dtype) * self.vae.config.scaling_factor
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Whole videos, never parts of one: SVD's temporal decoder mixes frames.

        As many videos at once as suit the device: large activations cost memory everywhere, and
        on a CPU also up to half the speed.
        """
        num_frames, _, height, width = latents.shape[1:]
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        pixels = num_frames * height * width * factor**2
        budget = DECODED_PIXELS["cpu" if latents.device.type == "cpu" else "gpu"]
        videos = self.vae_batch // num_frames if self.vae_batch else budget // pixels
        options = {"num_frames": num_frames} if self.decodes_in_time else {}
        frames = []
        for part in latents.split(max(1, videos)):
            flat = part.flatten(0, 1).to(self.vae.dtype) / self.vae.config.scaling_factor
            frames.append(self.vae.decode(flat, **options).sample.float())
        return torch.cat(frames).unflatten(0, latents.shape[:2])

    def decode_frame(self, latents: Tensor, index: int, window: int | None = None) -> Tensor:
        """An image decoder sees one frame; SVD's own, which mixes frames, the whole video, or the
        `window` latent frames around it: all of them are exact, fewer are cheaper
        (`benchmarks/planning/decode_window.py` measures by how much, and the error)."""
        if not self.decodes_in_time:
            return self.decode(latents[:, index : index + 1])
        if window is None:
            return super().decode_frame(latents, index)
        length = latents.shape[1]
        start = min(max(0, index - window // 2), max(0, length - window))
        return self.decode(latents[:, start : start + window])[:, index - start, None]

    def embed_image(self, image: Tensor) -> Tensor:
        """CLIP's embedding of clean images (B, 3, H, W) in [-1, 1]: (B, 1, D)."""
        from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import (
            _resize_with_antialiasing,
        )

        pixels = (_resize_with_antialiasing(image.float(), (224, 224)) + 1) / 2
        mean = torch.tensor(self.processor.image_mean, device=image.device)[:, None, None]
        std = torch.tensor(self.processor.image_std, device=image.device)[:, None, None]
        pixels = ((pixels - mean) / std).to(self.image_encoder.dtype)
        embeds: Tensor = self.image_encoder(pixels).image_embeds
        return embeds.unsqueeze(1)

    def encode_for_cache(self, frames: Tensor, num_context: int) -> Encodings:
        latents = self.latents(frames[:, :1])
        if "image_encoder" not in self.encoders:
            return Encodings(latents)
        return Encodings(latents, image=self.embed_image(frames[:, 0]))

    @property
    def needs_pixels(self) -> bool:
        """For fresh noise on them, or for an image encoder that is not the pipeline's."""
        fresh = self.image_encoder is not None and "image_encoder" not in self.encoders
        return self.noisy_context or fresh
