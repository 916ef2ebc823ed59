"""What video transformers share: a causal VAE, a context that comes by time, and texts.

A family's file says which classes it loads, its process, and how its network is called.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from egowm.backbones.base import Backbone, Condition, locate, not_negative
from egowm.backbones.causal_codec import CausalCodec
from egowm.backbones.codec import Codec
from egowm.backbones.codec_wrappers import Remembered
from egowm.backbones.texts import Embed, Texts
from egowm.checks import counted
from egowm.diffusion import Generator, randn
from egowm.loading import load_model, untrained

Kind = TypeVar("Kind", bound=CausalCodec)


class VideoTransformer(Backbone):
    """A backbone whose latents are (B, t, c, h, w) with the context first.

    The parameters are explained where a family's class takes them.

    >>> from egowm.backbones import LTX, Cosmos, SanaWM, Wan
    >>> sum(issubclass(family, VideoTransformer) for family in (Cosmos, Wan, LTX, SanaWM))
    4
    """

    droppable = ("text",)
    draws_whole_video = True  # whether a context's draw is of the padded video, or of it alone

    vae: Any

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
        not_negative(memo_frames=memo_frames, vae_batch=vae_batch)
        self.vae_folder, self.memo_frames, self.vae_batch = vae_folder, memo_frames, vae_batch

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
        codec = self.load_parts(self.folder)
        self.codec = Remembered(codec, self.memo_frames) if self.memo_frames else codec
        self.latent_channels = codec.mean.shape[1]
        self.check_lengths(self.context, codec.frames_at_once)

    @abstractmethod
    def load_parts(self, folder: Path) -> CausalCodec:
        """Set vae, network and process from a pipeline's folder, and make the codec."""

    def load_network(self, network: Any, folder: Path) -> Any:
        """The transformer of a diffusers class, pretrained or (see `random`) from scratch."""
        return (untrained if self.random else load_model)(network, folder / "transformer")

    def make_codec(
        self, kind: type[Kind], embed: Embed, family: str = "", samples_context: bool = False
    ) -> Kind:
        """The codec of the parts that were loaded."""
        return kind(
            self.vae,
            *self.statistics(),
            Texts(self.folder, embed),
            f"{type(self).__name__} {family}".rstrip(),
            self.folder,
            self.vae_folder,
            self.vae_batch,
            samples_context,
        )

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's latents, as `CausalCodec` takes them."""
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

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        factor = self.spatial_stride * self.patch
        if height % factor or width % factor:
            raise ValueError(
                f"Expected frames whose height and width are multiples of {factor}, got "
                f"{height}x{width}: set the window's height and width."
            )
        return self.latent_channels, height // self.spatial_stride, width // self.spatial_stride

    def condition(
        self,
        context: Tensor,
        noise_strength: Tensor,
        generator: Generator = None,
        known: Tensor | None = None,
        text: Sequence[str] = ("",),
        num_frames: int = 0,
        codec: Codec | None = None,
    ) -> Condition:
        if context.shape[1] != self.context:
            expected = counted(self.context, "context frame")
            raise ValueError(f"Expected {expected}, got {context.shape[1]}.")
        self.latent_shape(*context.shape[-2:])
        codec, count = codec or self.codec, len(noise_strength)
        assert codec.texts is not None
        if known is None:
            latents = self.encode_context(codec, context, count, generator, num_frames)
        else:
            latents = known[:, None]
        embedding, mask = codec.texts(text, context.device)
        condition = Condition(latents=latents).with_text(embedding, mask)
        return self.completed(condition, codec, context, generator)

    def completed(
        self, condition: Condition, codec: Codec, context: Tensor, generator: Generator
    ) -> Condition:
        """The condition with what a family adds to text and latents."""
        return condition

    def encode_context(
        self, codec: Codec, context: Tensor, count: int, generator: Generator, num_frames: int
    ) -> Tensor:
        """Latents (count, t, c, h, w) of context frames (1 or count, K, 3, H, W)."""
        # A causal VAE encodes the context alone as it does at the start of a video.
        mode, *spread = codec.context(context, num_frames)
        if not spread or generator is None:
            return codec.scale(mode.expand(count, -1, -1, -1, -1))
        given = mode.shape[1]
        drawn = max(codec.num_latents(num_frames), given) if self.draws_whole_video else given
        shape = (count, mode.shape[2], drawn, *mode.shape[3:])
        noise = randn(shape, generator, context.device)[:, :, :given].transpose(1, 2)
        return codec.scale(mode + spread[0] * noise)

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
