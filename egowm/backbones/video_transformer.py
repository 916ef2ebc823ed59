"""What video transformers share: a causal VAE, a context that comes by time, and texts.

A family's file says which classes it loads, its process, and how its network is called.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from egowm.backbones.base import Backbone, Condition, check_vae_batch, locate
from egowm.backbones.memo import Memo
from egowm.backbones.texts import Texts
from egowm.clip import Known
from egowm.diffusion import Generator, randn
from egowm.loading import load_model, untrained


class VideoTransformer(Backbone):
    """A backbone whose latents are (B, t, c, h, w) with the context first.

    pretrained, revision, download: see `locate`. context: K, one more than a multiple of the VAE's
    temporal stride. fps: what the network is told, where it is told any. random: ["transformer"]
    for a run from scratch, which takes the network's configuration alone from the folder.
    vae_folder: a folder whose VAE replaces the pipeline's. memo_frames: remember the latents of up
    to that many videos, and of as many contexts, in memory. vae_batch: videos that the VAE encodes
    or decodes at once; 0 is all of a batch.
    """

    droppable = ("text",)
    takes_text = True
    samples_context = False  # whether the context is a draw from the VAE's posterior, or its mode
    draws_whole_video = True  # whether that draw is of the padded video, or of the context alone

    vae: Any
    texts: Texts
    latents_mean: Tensor
    latents_std: Tensor

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        download: bool = False,
        context: int = 1,
        fps: int = 16,
        random: Sequence[Literal["transformer"]] = (),
        vae_folder: str = "",
        memo_frames: int = 0,
        vae_batch: int = 0,
    ) -> None:
        super().__init__()
        self.pretrained, self.revision, self.download = pretrained, revision, download
        self.context, self._fps, self.random = context, fps, tuple(random)
        self.vae_folder, self.memo_frames = vae_folder, memo_frames
        self.vae_batch = check_vae_batch(vae_batch)
        self._videos, self._contexts = Memo(memo_frames), Memo(memo_frames)

    @property
    def parts(self) -> dict[str, Any]:
        return {"vae": self.vae, "transformer": self.network}

    @property
    def fps(self) -> int:
        return self._fps

    def load(self) -> None:
        """Load VAE, transformer and scheduler in float32 (idempotent), and measure the stride."""
        if hasattr(self, "network"):
            return
        self.folder = locate(self.pretrained, self.revision, self.download)
        self.load_parts(self.folder)
        self.vae.requires_grad_(False).eval()
        self.temporal_stride, self.frames_at_once = measured_stride(self.vae)
        self.check_lengths(self.context, self.frames_at_once)
        mean, std = self.statistics()
        self.register_buffer("latents_mean", mean.float(), persistent=False)
        self.register_buffer("latents_std", std.float(), persistent=False)

    @abstractmethod
    def load_parts(self, folder: Path) -> None:
        """Set vae, network, process and texts from a pipeline's folder."""

    def load_network(self, network: Any, folder: Path) -> Any:
        """The transformer of a diffusers class, pretrained or (see `random`) from scratch."""
        return (untrained if self.random else load_model)(network, folder / "transformer")

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's latents, (1, c, 1, 1) each, or (t, c, 1, 1)
        where they differ between latent frames: the network's latents are (z - mean) / std."""
        config, shape = self.vae.config, (1, -1, 1, 1)
        mean, std = torch.tensor(config.latents_mean), torch.tensor(config.latents_std)
        return mean.reshape(shape), std.reshape(shape)

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** len(self.vae.config.temperal_downsample)

    @property
    def patch(self) -> int:
        """Latents per token along each side."""
        config: Any = self.network.config
        size = config.patch_size
        return int(size if isinstance(size, int) else size[-1])

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's weights; what it sees is cast to it, as the stock pipelines do."""
        return next(self.network.parameters()).dtype

    @property
    def latent_channels(self) -> int:
        return self.latents_mean.shape[1]

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        factor = self.spatial_stride * self.patch
        if height % factor or width % factor:
            raise ValueError(
                f"Expected frames whose height and width are multiples of {factor}, got "
                f"{height}x{width}: set the window's height and width."
            )
        return self.latent_channels, height // self.spatial_stride, width // self.spatial_stride

    def encode(self, frames: Tensor) -> Tensor:
        self._check_whole(frames.shape[1])
        known = None if self.known is None else self.known.latents
        return self._scaled(self._videos(frames, self._encode, known))

    def _encode(self, frames: Tensor) -> Tensor:
        """Latents (B, t, c, h, w) as the VAE has them."""
        videos = frames.transpose(1, 2).to(self.vae.dtype).split(self.vae_batch or len(frames))
        latents = torch.cat([self.vae.encode(part).latent_dist.mode() for part in videos])
        return latents.transpose(1, 2).float()

    @property
    def encoders(self) -> dict[str, Path]:
        found = {"vae": Path(self.vae_folder or self.folder / "vae")}
        texts = self.folder / "text_encoder"
        return found | ({"text_encoder": texts} if texts.is_dir() else {})

    def survey(self, frames: Tensor) -> Known:
        """Its context is the spread of the context's posterior, where a family draws from it."""
        self._check_whole(frames.shape[1])
        posterior = self.vae.encode(frames.transpose(1, 2).to(self.vae.dtype)).latent_dist
        latents = posterior.mode().transpose(1, 2).float()
        if not self.samples_context:
            return Known(latents)
        spread = posterior.std[:, :, : self.context_latents].transpose(1, 2).float()
        return Known(latents, spread)

    def decode(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        z = latents.float() * std + mean
        videos = z.transpose(1, 2).to(self.vae.dtype).split(self.vae_batch or len(z))
        frames = torch.cat([self.vae.decode(part).sample for part in videos])
        return frames.transpose(1, 2).float()

    def condition(
        self,
        context: Tensor,
        noise_strength: Tensor,
        generator: Generator = None,
        known: Tensor | None = None,
        text: Sequence[str] = ("",),
        num_frames: int = 0,
    ) -> Condition:
        if context.shape[1] != self.context:
            raise ValueError(f"Expected {self.context} context frames, got {context.shape[1]}.")
        self.latent_shape(*context.shape[-2:])
        count = len(noise_strength)
        if known is None:
            latents = self.encode_context(context, count, generator, num_frames)
        else:
            latents = known[:, None]
        embedding, mask = self.texts(text, context.device)
        return Condition(
            latents=latents,
            text=embedding.expand(count, -1, -1),
            text_mask=mask.expand(count, -1),
        )

    def encode_context(
        self, context: Tensor, count: int, generator: Generator, num_frames: int
    ) -> Tensor:
        """Latents (count, t, c, h, w) of context frames (1 or count, K, 3, H, W)."""
        # A causal VAE says the same of the context alone and at the start of a video.
        first = None if self.known is None else self.known.latents[:, : self.context_latents]
        if not self.samples_context or generator is None:
            latents = self._contexts(context, self._encode, first)
            return self._scaled(latents.expand(count, -1, -1, -1, -1))
        if first is not None and self.known is not None:
            mode, std = (x.transpose(1, 2).float() for x in (first, self.known.context))
        else:
            posterior = self.vae.encode(context.transpose(1, 2).to(self.vae.dtype)).latent_dist
            mode, std = posterior.mode().float(), posterior.std.float()
        given = mode.shape[2]
        whole = 1 + (num_frames - 1) // self.temporal_stride
        drawn = max(whole, given) if self.draws_whole_video else given
        shape = (count, mode.shape[1], drawn, *mode.shape[3:])
        noise = randn(shape, generator, context.device)[:, :, :given]
        return self._scaled((mode + std * noise).transpose(1, 2))

    def without_text(self, condition: Condition) -> Condition:
        embedding, mask = self.texts([""], condition.text.device)
        count = len(condition.text)
        return condition._replace(
            text=embedding.expand(count, -1, -1), text_mask=mask.expand(count, -1)
        )

    def noise(
        self, count: int, num_latents: int, size: tuple[int, int], generator: Generator
    ) -> Tensor:
        channels, height, width = self.latent_shape(*size)
        shape = (count, channels, num_latents, height, width)
        device = next(self.network.parameters()).device
        return randn(shape, generator, device).transpose(1, 2)

    def with_context(self, latents: Tensor, condition: Condition) -> Tensor:
        """`latents` (B, t, ...) with the clean context in its place."""
        given = condition.latents.to(latents)
        return torch.cat([given, latents[:, given.shape[1] :]], 1)

    def times(self, sigma: Tensor, num_latents: int, of_context: float) -> Tensor:
        """The network's time of each latent frame (B, t): that of the context is fixed."""
        time = self.process.time(sigma)[:, None].repeat(1, num_latents)
        time[:, : self.context_latents] = of_context
        return time

    def _scaled(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Those of as many latent frames; ValueError for more than the VAE has numbers for."""
        known, asked = len(self.latents_mean), latents.shape[1]
        if 1 < known < asked:
            raise ValueError(
                f"{self.folder} has statistics for {known} latent frames, a video of {asked} was "
                f"asked for: set a smaller horizon."
            )
        return self.latents_mean[:asked], self.latents_std[:asked]

    def _check_whole(self, num_frames: int) -> None:
        """Some VAEs drop frames that do not fill a group, silently."""
        if (num_frames - 1) % self.frames_at_once:
            raise ValueError(
                f"Expected 1 + a multiple of {self.frames_at_once} frames (the VAE takes so many "
                f"at once), got {num_frames}."
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
