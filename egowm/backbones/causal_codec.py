"""The codec of video transformers: a causal VAE that encodes several frames as one latent frame."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from egowm.backbones.codec import Codec
from egowm.backbones.texts import Texts
from egowm.checks import counted
from egowm.clip import Encodings


class CausalCodec(Codec):
    """A causal VAE with a text encoder, in which the context is the start of the video.

    Args:
        vae: A diffusers VAE of videos; its temporal stride is measured.
        mean: Mean of its latents, (1, c, 1, 1), or (t, c, 1, 1) where it differs between latent
            frames: the network's latents are (z - mean) / std.
        std: Their standard deviation, of the same shape.
        texts: Embeddings of texts.
        family: See `Codec`.
        folder: The pipeline's.
        vae_folder: The folder of the VAE where it is not the pipeline's; "" otherwise.
        vae_batch: Videos that the VAE encodes or decodes at once; 0 is all of a batch.
        samples_context: The context is a draw from the VAE's posterior, not its mode.
    """

    def __init__(
        self,
        vae: Any,
        mean: Tensor,
        std: Tensor,
        texts: Texts,
        family: str,
        folder: Path,
        vae_folder: str = "",
        vae_batch: int = 0,
        samples_context: bool = False,
    ) -> None:
        folders = {"vae": Path(vae_folder or folder / "vae")}
        if (folder / "text_encoder").is_dir():
            folders["text_encoder"] = folder / "text_encoder"
        super().__init__(family, folders)
        self.vae = vae.requires_grad_(False).eval()
        self.mean, self.std, self.texts, self.folder = mean.float(), std.float(), texts, folder
        self.vae_batch, self.samples_context = vae_batch, samples_context
        self.temporal_stride, self.frames_at_once = measured_stride(vae)

    def latents(self, frames: Tensor) -> Tensor:
        return self._posterior(frames)[0]

    def context(self, frames: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        return self._posterior(frames)

    def _posterior(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Mode (B, t, c, h, w), and standard deviation where contexts are drawn."""
        self._check_whole(frames.shape[1])
        videos = frames.transpose(1, 2).to(self.vae.dtype).split(self.vae_batch or len(frames))
        posteriors = [self.vae.encode(part).latent_dist for part in videos]
        moments = [[posterior.mode() for posterior in posteriors]]
        if self.samples_context:
            moments.append([posterior.std for posterior in posteriors])
        return tuple(torch.cat(parts).transpose(1, 2).float() for parts in moments)

    def scale(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def unscale(self, latents: Tensor) -> Tensor:
        """Videos (B, c, t, h, w) for the VAE, from latents (B, t, c, h, w) of the network."""
        mean, std = self._statistics(latents)
        video: Tensor = (latents.float() * std + mean).transpose(1, 2).to(self.vae.dtype)
        return video

    def decode(self, latents: Tensor) -> Tensor:
        parts = self.unscale(latents).split(self.vae_batch or len(latents))
        frames = torch.cat([self.vae.decode(part).sample for part in parts])
        return frames.transpose(1, 2).float()

    def encode_for_cache(self, frames: Tensor, num_context: int) -> Encodings:
        """`context` holds the standard deviation of the context, where a family draws from it."""
        latents, *spread = self._posterior(frames)
        return Encodings(latents, *(s[:, : self.num_latents(num_context)] for s in spread))

    def cached_context(self, encodings: Encodings, num_context: int) -> tuple[Tensor, ...]:
        mode = super().cached_context(encodings, num_context)
        return (*mode, encodings.context) if self.samples_context else mode

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Those of as many latent frames; ValueError for more than the VAE has numbers for."""
        held, asked = len(self.mean), latents.shape[1]
        if 1 < held < asked:
            raise ValueError(
                f"{self.folder} has statistics for {counted(held, 'latent frame')}, a video of "
                f"{asked} was asked for: set a smaller horizon."
            )
        place = {"device": latents.device, "dtype": self.vae.dtype}
        return self.mean[:asked].to(**place), self.std[:asked].to(**place)

    def _check_whole(self, num_frames: int) -> None:
        """Some VAEs drop frames that do not fill a group, silently."""
        if (num_frames - 1) % self.frames_at_once:
            raise ValueError(
                f"Expected 1 + a multiple of {counted(self.frames_at_once, 'frame')} (the VAE "
                f"takes so many at once), got {num_frames}."
            )


@torch.no_grad()
def measured_stride(vae: Any) -> tuple[int, int]:
    """Frames per latent frame of a causal VAE, and how many frames it takes at once after the
    first, from encoding up to 17 black frames.

    Raises ValueError for a VAE whose latents do not grow by a divisor of 8.
    """
    side = 32
    weight = next(vae.parameters())
    video = torch.zeros(1, 3, 17, side, side, device=weight.device, dtype=weight.dtype)

    def count(num_frames: int) -> int:
        return int(vae.encode(video[:, :, :num_frames]).latent_dist.mode().shape[2])

    counts = [count(n) for n in (1, 9, 17)]
    grown = counts[2] - counts[1]
    if counts[0] != 1 or grown not in (1, 2, 4, 8) or counts[1] - counts[0] != grown:
        raise ValueError(
            f"{type(vae).__name__} makes {counts} latent frames of 1, 9 and 17: expected a causal "
            f"VAE with one latent for the first frame and then one for every 1, 2, 4 or 8."
        )
    stride = 8 // grown
    smaller = (n for n in (1, 2, 4) if n >= stride and count(1 + n) == 1 + n // stride)
    return stride, next(smaller, 8)
