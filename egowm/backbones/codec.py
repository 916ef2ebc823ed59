"""The interface of a codec: frames to latents and back, by the frozen encoders of a pipeline."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from torch import Tensor, nn

from egowm.backbones.texts import Texts
from egowm.clip import Encodings


class Codec(ABC):
    """VAE and other frozen encoders of a pipeline, which hold no trained weights.

    The encoders are attributes under the names of their folders ("vae", "image_encoder"), and
    attributes of the backbone under the same names.

    Args:
        family: Name shared by codecs that encode alike; part of what a latent cache is made by.
        folders: Folder of the weights of each frozen encoder whose outputs a latent cache holds;
            empty for a family that cannot train from one.

    >>> from egowm import WorldModel
    >>> codec = WorldModel.from_pretrained("rooms").backbone.codec
    >>> codec.encode(torch.zeros(1, 3, 3, 64, 64)).shape  # (B, t, c, h, w)
    torch.Size([1, 3, 16, 16, 16])
    """

    temporal_stride: int  # frames per latent frame
    frames_at_once: int  # the frames after the first come in groups of so many
    frame_wise: bool  # each frame is encoded by itself
    decodes_in_time: bool  # decoding mixes frames
    texts: Texts | None  # embeddings of texts, in a family that takes them

    def __init__(self, family: str = "", folders: dict[str, Path] | None = None) -> None:
        self.family, self.folders = family, folders or {}
        self.temporal_stride = self.frames_at_once = 1
        self.frame_wise, self.decodes_in_time, self.texts = False, True, None

    @abstractmethod
    def latents(self, frames: Tensor) -> Tensor:
        """A video (B, T, 3, H, W) in [-1, 1] to latents (B, t, c, h, w) as the VAE has them.

        Where the context comes by time, the video starts with it.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, t, c, h, w) of a whole video to frames (B, T, 3, H, W), about [-1, 1]."""

    def scale(self, latents: Tensor) -> Tensor:
        """Latents as the network has them, from those that the VAE has."""
        return latents

    def encode(self, frames: Tensor) -> Tensor:
        """A video (B, T, 3, H, W) in [-1, 1] to latents (B, t, c, h, w) as the network has them."""
        return self.scale(self.latents(frames))

    def context(self, frames: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        """Latents of context frames (B, K, 3, H, W) as the VAE has them, in a video of num_frames.

        A second tensor of their standard deviation follows, where a family draws from it.
        """
        return (self.latents(frames),)

    def embed_image(self, image: Tensor) -> Tensor:
        """Embeddings (B, tokens, D) of images (B, 3, H, W) in [-1, 1] for cross-attention."""
        raise ValueError(f"{type(self).__name__} has no image encoder.")

    def decode_frame(self, latents: Tensor, index: int, window: int | None = None) -> Tensor:
        """Frame `index` (B, 1, 3, H, W) of what `decode` makes of a whole video's latents.

        The whole video is decoded, unless a family can do with less: a causal VAE needs all that
        comes before a frame, and a rollout asks for a frame of the last group. window: decode so
        many latent frames alone, which is an approximation; ValueError where a family has none.
        """
        if window is not None:
            raise ValueError(
                f"{self.family} decodes a frame from all that come before it: leave decode_window "
                f"out."
            )
        return self.decode(latents)[:, index : index + 1]

    # Latent caches ------------------------------------------------------------------------------

    def encode_for_cache(self, frames: Tensor, num_context: int) -> Encodings:
        """All that training encodes of videos (B, K+T, 3, H, W) in [-1, 1] with K context frames;
        of single frames (B, 1, 3, H, W) where each is encoded by itself."""
        raise ValueError(f"{self.family} cannot train from a latent cache: leave it out.")

    def cached_context(self, encodings: Encodings, num_context: int) -> tuple[Tensor, ...]:
        """What `context` gives, out of what `encode_for_cache` gave."""
        return (encodings.latents[:, : self.num_latents(num_context)],)

    @property
    def encoders(self) -> dict[str, Path]:
        """The folders of the encoders that are frozen, by name."""
        trained = self.modules.keys() - self.frozen.keys()
        return {name: folder for name, folder in self.folders.items() if name not in trained}

    @property
    def needs_pixels(self) -> bool:
        """Whether training encodes the context's pixels also where its latents are cached."""
        return False

    # Weights ------------------------------------------------------------------------------------

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The encoders by name."""
        return {name: part for name, part in vars(self).items() if isinstance(part, nn.Module)}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The encoders of which nothing is trained."""
        return {
            name: part
            for name, part in self.modules.items()
            if not any(p.requires_grad for p in part.parameters())
        }

    def ready(self) -> AbstractContextManager[None]:
        """The block in which the encoders' weights lie where they are needed."""
        return nullcontext()

    @property
    def fresh(self) -> "Codec":
        """The codec without wrappers: encodes anew what it is given."""
        return self

    def num_latents(self, num_frames: int) -> int:
        """Latent frames of a video."""
        return 1 + (num_frames - 1) // self.temporal_stride
