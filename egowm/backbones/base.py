"""The interface of a backbone, and where its weights come from."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from egowm.backbones.codec import Codec
from egowm.checks import counted
from egowm.conditioning.injection import inject
from egowm.diffusion import Generator, Process, randn
from egowm.hub import hub_folder
from egowm.loading import INDEX, weight_files
from egowm.paths import expanded

NONE = torch.zeros(0)
Start = Callable[[nn.Module, nn.Module], None]  # (network, VAE): sets the network's weights
PIPELINE_FILES = ("*.json", "*.txt", "*/*.jinja", "*/*.model", "*/*.safetensors")  # to download


class Condition(NamedTuple):
    """What the network is told besides noise and actions; the first axis is the batch.

    A field that a family does not use has no values, (0,).

    >>> condition = Condition(image=torch.ones(2, 1, 64), latents=torch.ones(2, 32, 16, 16))
    >>> condition.repeat(3).image.shape  # (B, tokens, D_image)
    torch.Size([6, 1, 64])
    """

    image: Tensor = NONE  # (B, tokens, D_image) for cross-attention
    latents: Tensor = NONE  # of the context; SVD: (B, c, h, w), DiTs: (B, t, c, h, w)
    ids: Tensor = NONE  # (B, n) added ids
    text: Tensor = NONE  # (B, tokens, D_text)
    text_mask: Tensor = NONE  # (B, tokens), 1 where a token counts

    def repeat(self, times: int) -> "Condition":
        """Each entry `times` times in a row along the batch, as `repeat_interleave` does."""
        return Condition(*(x.repeat_interleave(times, 0) if len(x) else x for x in self))

    def with_text(self, embedding: Tensor, mask: Tensor) -> "Condition":
        """The same with texts: embedding (B or 1, tokens, D_text), mask (B or 1, tokens)."""
        count = len(self.latents)
        return self._replace(text=embedding.expand(count, -1, -1), text_mask=mask.expand(count, -1))

    def stack(self, other: "Condition") -> "Condition":
        """This batch, then the other."""
        return Condition(*(torch.cat(pair) for pair in zip(self, other, strict=True)))

    def without_image(self, drop: Tensor) -> "Condition":
        """The image replaced by zeros where `drop` (B,) is true, in both places it enters."""
        keep = (~drop).to(self.latents)
        return self._replace(
            image=self.image * keep[:, None, None],
            latents=self.latents * keep[:, None, None, None],
        )


class Backbone(nn.Module, ABC):
    """A pretrained video diffusion network behind one interface, with the codec for its frames.

    `load` sets network, codec, process and folder; a family sets the others in its class body or
    its constructor.

    >>> from egowm import WorldModel
    >>> backbone = WorldModel.from_pretrained("rooms").backbone
    >>> backbone.context, backbone.latent_shape(64, 64)  # context frames; c, h, w
    (1, (16, 16, 16))
    """

    network: nn.Module  # the diffusers UNet or transformer, which is fine-tuned
    codec: Codec  # frames to latents and back
    process: Process  # noise levels, in training and in sampling
    folder: Path  # the pipeline's
    random: tuple[str, ...] = ()  # the parts that start from random weights
    context: int = 1  # frames K that the network is given
    noise_strength: float = 0.0  # of the noise on the context's pixels at sampling
    droppable: tuple[str, ...] = ()  # what guidance can drop besides the action, its default first
    jumps: bool = False  # whether each frame of a chunk is made by itself, from the context alone
    temporal_layers: tuple[str, ...] = ()  # names of the network's modules that only mix frames
    predicts: str = "frames"  # what the network's output means, or "changes" from the context

    @abstractmethod
    def load(self) -> None:
        """Load the weights; called once, from `configure_model`, never by the constructor."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """The diffusers and transformers modules by their folder's name, without text encoders."""

    def check_pipeline(self) -> None:
        """ValueError where a pipeline of diffusers would take the network's output for another."""
        if self.predicts != "frames":
            raise ValueError(
                f"The network predicts {self.predicts}, which diffusers' pipeline would show as "
                f"frames: save an export of egowm instead (save_pretrained, or egowm export "
                f"without --as), or pretrain with --model.backbone.predicts frames."
            )

    def save_settings(self, folder: Path) -> None:
        """Write what a pipeline's folder needs besides the parts and the base's own settings."""

    @cached_property
    def base_sha256(self) -> str:
        """Of the weights of all that the base brings, also of a VAE that lies elsewhere."""
        return weights_sha256(*self._folders)

    @property
    def _folders(self) -> list[Path]:
        folders = (self.folder, getattr(self, "vae_folder", ""))
        return [Path(str(folder)) for folder in folders if folder]

    def stands_on(self, sha256: str) -> bool:
        """Whether this hash is that of the base."""
        return sha256 == self.base_sha256 or are_weights(sha256, *self._folders)

    @property
    def blocks(self) -> list[nn.Module]:
        """The modules that the network computes one after the other, none of which takes the
        action's embedding itself: compiled and sharded one by one."""
        raise ValueError(
            f"{type(self).__name__} does not name the blocks of its network: leave --model.compile "
            f"and --trainer.strategy sharded out, or give the class a property `blocks`."
        )

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """D, the width of the timestep embedding that an action embedding is added to."""

    @property
    @abstractmethod
    def fps(self) -> int:
        """Frames per second that the network is told."""

    @property
    def context_latents(self) -> int:
        """Latent frames of the context at the start of each video; 0 where it enters by channel."""
        return self.codec.num_latents(self.context)

    @property
    def chains_latents(self) -> bool:
        """Whether a generated latent frame can be the next chunk's context as it is."""
        return self.codec.temporal_stride == 1 and self.context == 1

    @abstractmethod
    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(c, h, w) of a latent frame; ValueError for frames that cannot be halved evenly."""

    @abstractmethod
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
        """What the network is told, from context frames (B, K, 3, H, W) in [-1, 1].

        Args:
            context: The frames. One context (1, K, 3, H, W) serves a longer noise_strength: each
                draws noise of its own.
            noise_strength: (B,) standard deviation of the noise added to the context's pixels.
            generator: Of the noise, and of a context that is drawn from the VAE's posterior.
            known: The context's latents (B, c, h, w) as the network has them, where it was
                generated: taken in place of encoding its frames again, and no noise is added.
            text: One for each context, or one for all.
            num_frames: K + T of the video to be made.
            codec: In place of the backbone's own, for clips from a latent cache.
        """

    def training_noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Noise strengths of the context in training (count,)."""
        return torch.zeros(count)

    def noise(
        self, count: int, num_latents: int, size: tuple[int, int], generator: Generator
    ) -> Tensor:
        """Unit noise (count, t, c, h, w) for frames of `size` (H, W), drawn as the stock pipeline
        draws it."""
        device = next(self.network.parameters()).device
        return randn((count, num_latents, *self.latent_shape(*size)), generator, device)

    def process_for(self, num_latents: int, size: tuple[int, int]) -> Process:
        """The process of a video of t latent frames of (H, W) pixels: some families shift their
        noise levels by the number of latents."""
        return self.process

    @abstractmethod
    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """The clean latents estimated from `noisy` (B, t, c, h, w) at `sigma` (B,).

        A plain call of `network`: condition it on actions by `injecting` around it. Latents of a
        context that comes by time are replaced by the clean ones on the way in and out.
        """

    def injecting(self, embedding: Tensor) -> AbstractContextManager[nn.Module]:
        """The block in which the network is conditioned on an embedding (B, t, D)."""
        return inject(self.network, embedding)

    def check_lengths(self, num_context: int, horizon: int) -> None:
        """Refuse K context and T future frames that do not fill latent frames."""
        s, n = self.codec.temporal_stride, self.codec.frames_at_once
        if num_context < self.context:
            raise ValueError(
                f"{type(self).__name__} takes {counted(self.context, 'context frame')}, "
                f"got {num_context}: "
                f"set --data.window.context {self.context} (or --model.backbone.context)."
            )
        if (self.context - 1) % n or horizon % n:
            raise ValueError(
                f"A VAE of temporal stride {s} that takes {counted(n, 'frame')} at once needs K = "
                f"1 + a multiple of {n} as context and T = a multiple of {n} as future, got K = "
                f"{self.context}, T = {horizon}: set the window's context and horizon."
            )


def not_negative(**counts: int) -> None:
    """ValueError for a count below 0, by its name."""
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"Expected {name} of 0 or more, got {count}.")


def locate(pretrained: str, revision: str | None = None, download: bool = False) -> Path:
    """The local folder of a pipeline: a path, or a hub id found in the local cache.

    A path starts with `.` or `/` or exists; a path that the working directory lacks is looked up
    beside the recipes that came with egowm (`./priors/NAME`). Anything else is a hub id, which is
    downloaded only with `download` and a pinned `revision`.
    Raises FileNotFoundError saying what to do.
    """
    path = expanded(pretrained)
    if path.is_dir():
        return path
    if pretrained.startswith(("./priors/", "priors/")):
        from egowm.shipped import share_folder

        shipped = share_folder("priors") / path.name
        if shipped.is_dir():
            return shipped
    if pretrained.startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"Expected a diffusers pipeline folder at {pretrained}, found none: give another with "
            f"--model.backbone.pretrained PATH_OR_ID, or fetch one: hf download ID --local-dir "
            f"{quote(pretrained)} (docs/reproduce.md has ids, sizes and licences)."
        )
    if download and not revision:
        raise ValueError(f"Downloading {pretrained} needs a pinned revision (a commit hash).")
    wanted = PIPELINE_FILES if download else (INDEX,)  # of a cached one, what is missing is named
    found = hub_folder(pretrained, wanted, revision, download)
    if found is None:
        raise FileNotFoundError(
            f"{pretrained} is neither a folder nor in the local hub cache. {_advice(pretrained)}"
        )
    return found


def _advice(pretrained: str) -> str:
    """What to do where it was not found: it may be an id, OWNER/NAME, or a folder."""
    owner, _, name = pretrained.partition("/")
    is_id = owner and name and not {"/", "\\"} & {*name, *owner} and not Path(owner).exists()
    if not is_id:
        return (
            "Give the folder of a diffusers pipeline with --model.backbone.pretrained PATH, as "
            "./NAME where it lies here, or an id, OWNER/NAME; docs/reproduce.md has ids, sizes, "
            "licences and the commands that fetch them."
        )
    return (
        f"If it is a folder, write {quote(f'./{pretrained}')}. If it is an id, fetch it where "
        f"there is internet (size and licence: docs/reproduce.md), hf download "
        f"{quote(pretrained)} --local-dir PATH, and pass --model.backbone.pretrained PATH, or "
        f"allow a download with --model.backbone.download true --model.backbone.revision COMMIT."
    )


def weights_sha256(*folders: Path) -> str:
    """One hash over the weights that are read from some folders (names and contents)."""
    return _sha256([(folder, file) for folder in folders for file in weight_files(folder)])


def are_weights(sha256: str, *folders: Path) -> bool:
    """Whether a hash is that of some folders: of what is read, or, in older records, of all."""
    everything = [(f, file) for f in folders for file in sorted(f.rglob("*.safetensors"))]
    return sha256 in (weights_sha256(*folders), _sha256(everything))


def _sha256(files: Iterable[tuple[Path, Path]]) -> str:
    digest = hashlib.sha256()
    for folder, file in files:
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
