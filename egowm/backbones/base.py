"""The interface of a backbone, and where its weights come from."""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from egowm.diffusion import EDM, Generator


class Condition(NamedTuple):
    """What the network is told besides noise and actions; the first axis is the batch."""

    image: Tensor  # (B, tokens, D_image) for cross-attention
    latents: Tensor  # (B, c, h, w) of the context
    ids: Tensor  # (B, n) added ids

    def repeat(self, times: int) -> "Condition":
        """Each entry `times` times in a row along the batch, as `repeat_interleave` does."""
        return Condition(*(x.repeat_interleave(times, 0) for x in self))

    def without_image(self, drop: Tensor) -> "Condition":
        """The image replaced by zeros where `drop` (B,) is true, in both places it enters."""
        keep = (~drop).to(self.latents)
        return Condition(
            self.image * keep[:, None, None], self.latents * keep[:, None, None, None], self.ids
        )


class Backbone(nn.Module, ABC):
    """A pretrained pipeline: encode, decode, condition, forward, and its process.

    network: the diffusers network (UNet or transformer), the part that is fine-tuned.
    temporal_stride: frames per latent frame. context_latents: clean latent frames the network
    is given by time (SVD: 0, its context enters by channel).
    """

    network: nn.Module
    process: EDM
    noise_strength: float  # of the noise on the context at sampling
    temporal_stride: int
    context_latents: int

    @abstractmethod
    def load(self) -> None:
        """Load the weights; called once, from `configure_model`, never by the constructor."""

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """D, the width of the timestep embedding that an action embedding is added to."""

    @property
    @abstractmethod
    def fps(self) -> int:
        """Frames per second that the network is told."""

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [-1, 1] to target latents (B, t, c, h, w)."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, t, c, h, w) to frames (B, T, 3, H, W), about [-1, 1]."""

    @abstractmethod
    def condition(
        self,
        context: Tensor,
        noise_strength: Tensor,
        generator: Generator = None,
        known: Tensor | None = None,
    ) -> Condition:
        """What the network is told, from context frames (B, K, 3, H, W) in [-1, 1].

        noise_strength: (B,) standard deviation of the noise added to the context's pixels. One
        context (1, K, 3, H, W) serves a longer noise_strength: each draws noise of its own.
        known: the context's target latents (B, c, h, w), where it was generated: they are taken in
        place of encoding its frames again, and no noise is added.
        """

    @abstractmethod
    def training_noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Noise strengths of the context in training (count,)."""

    @abstractmethod
    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """The clean latents estimated from `noisy` (B, t, c, h, w) at `sigma` (B,).

        A plain call of `network`: condition it on actions by `inject` around it.
        """


def locate(pretrained: str, revision: str | None = None, download: bool = False) -> Path:
    """The local folder of a pipeline: a path, or a hub id found in the local cache.

    A path starts with `.` or `/` or exists; a path that the working directory lacks is looked up
    beside the recipes that came with egowm (`./priors/NAME`). Anything else is a hub id, which is
    downloaded only with `download` and a pinned `revision`.
    Raises FileNotFoundError saying what to do.
    """
    path = Path(pretrained).expanduser()
    if path.is_dir():
        return path
    if pretrained.startswith(("./priors/", "priors/")):
        from egowm.share import share_folder

        shipped = share_folder("priors") / path.name
        if shipped.is_dir():
            return shipped
    if pretrained.startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"Expected a diffusers pipeline folder at {pretrained}, found none: give another with "
            f"--model.backbone.pretrained PATH_OR_ID."
        )
    if download and not revision:
        raise ValueError(f"Downloading {pretrained} needs a pinned revision (a commit hash).")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*/*.json", "*/*.txt", "*/*.safetensors"]
    try:
        found = snapshot_download(
            pretrained, revision=revision, local_files_only=not download, allow_patterns=patterns
        )
    except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{pretrained} is neither a folder nor in the local hub cache. Copy the pipeline's "
            f"folder here and pass --model.backbone.pretrained PATH, or allow a download with "
            f"--model.backbone.download true --model.backbone.revision COMMIT."
        ) from error
    return Path(found)


def weights_sha256(*folders: Path) -> str:
    """One hash over the safetensors files of some folders (names and contents)."""
    digest = hashlib.sha256()
    files = [(folder, file) for folder in folders for file in sorted(folder.rglob("*.safetensors"))]
    for folder, file in files:
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
