"""The world model: a pretrained video backbone that follows actions. Loss, rollout, steps."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from lightning import LightningModule
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.backbones.base import Backbone, Condition
from egowm.conditioning.embedding import ActionEmbedding, Features
from egowm.conditioning.injection import inject
from egowm.data.clip import Clip
from egowm.diffusion import Generator, denoising_loss, euler, randn
from egowm.optimisation import adamw

log = logging.getLogger(__name__)
Chain = Literal["latents", "pixels"]


class Rollout(NamedTuple):
    """Imagined frames.

    frames: (B, T, 3, H, W) float in [0, 1]. latents: (B, t, c, h, w), scaled.
    num_outside: action values beyond 1.5 times the training range.
    """

    frames: Tensor
    latents: Tensor
    num_outside: int


class WorldModel(LightningModule):
    """`F(Z_t + Z_a)`: the backbone's network with an action embedding in its timestep embedding.

    backbone: the pretrained pipeline. features, zero_init: of the action embedding.
    chunk: future frames made at once; longer rollouts restart from the last frame; set from the
    data's horizon when fitting. steps: sampling steps by default. drop_image: share of training
    samples without their image, for guidance. spec: what actions mean; taken from the data.
    """

    def __init__(
        self,
        backbone: Backbone,
        features: Features = "fourier",
        zero_init: bool = True,
        learning_rate: float = 1e-4,
        warmup: int = 200,
        drop_image: float = 0.1,
        steps: int = 25,
        chunk: int = 8,
        spec: ActionSpec | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.features, self.zero_init = backbone, features, zero_init
        self.learning_rate, self.warmup, self.drop_image = learning_rate, warmup, drop_image
        self.steps, self.chunk, self.spec = steps, chunk, spec
        self.familiar_psnr: float | None = None  # dB; see `egowm.rollout.familiarity`
        self.strict_loading = False  # checkpoints leave the frozen parts out

    # Loading -----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if data is None or not hasattr(data, "clip_meaning"):
            return
        if self.spec is None:
            self.spec = data.spec
        else:
            self.spec.compare(data.clip_meaning)
        if stage == "fit":
            self.chunk = data.window.horizon
            self._refuse_wrong_gradients()

    def configure_model(self) -> None:
        self.backbone.load()
        if self.spec is None and self._trainer is None:
            return  # `load_from_checkpoint`: the checkpoint brings it, see on_load_checkpoint
        if self.spec is None:
            raise ValueError(
                "The model does not know what its actions mean: fit it on data, load an export, "
                "or pass spec=ActionSpec(...)."
            )
        if not hasattr(self, "action_embedding"):
            self.action_embedding = ActionEmbedding(
                self.spec.width, self.backbone.embedding_dim, self.features, self.zero_init
            )

    def train(self, mode: bool = True) -> "WorldModel":
        """Frozen parts stay in eval mode."""
        super().train(mode)
        for module in self.backbone.children():
            if not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def on_fit_start(self) -> None:
        self.train()  # weights are loaded in eval mode, and Lightning keeps modes as they are

    # The three calls everything is built on -----------------------------------------------------

    def embed(self, actions: Tensor) -> Tensor:
        """Normalised actions (B, T, A) to one vector per latent frame (B, t, D)."""
        embedding: Tensor = self.action_embedding(actions)
        return embedding

    def loss(
        self, clip: Clip, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Denoise the future frames of a batch of clips; scalar loss and logs."""
        spec = self._known_spec()
        spec.check(clip.actions)
        frames = clip.frames.float() / 127.5 - 1
        num_context = frames.shape[1] - clip.actions.shape[1]
        with torch.no_grad():
            latents = self.backbone.encode(frames[:, num_context:])
            strength = self.backbone.training_noise(len(frames), generator).to(frames)
            condition = self.backbone.condition(
                frames[:, num_context - 1 : num_context], strength, generator
            )
            drop = torch.rand(len(frames), generator=generator).to(frames) < self.drop_image
            condition = condition.without_image(drop)
        embedding = self.embed(spec.normalise(clip.actions))

        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            clean: Tensor = self.backbone(noisy, sigma, condition)
            return clean

        with inject(self.backbone.network, embedding):
            return denoising_loss(self.backbone.process, estimate, latents, generator)

    @torch.no_grad()
    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
        generator: Generator = None,
        strict: bool = False,
        chain: Chain = "latents",
    ) -> Rollout:
        """Imagine the frames that `actions` lead to.

        context: (B, K, 3, H, W) uint8, or float in [0, 1]; with B = 1 it is shared by all action
        sequences (encoded once). actions: (N, T, A) in physical units; T may exceed `chunk`.
        guidance: on the image, `null + g (cond - null)`; 1 is off. generator: one, or one for each
        sequence, which makes a rollout independent of its batch. strict: refuse actions beyond
        1.5 times the training range. chain: how a chunk starts from the last frame of the one
        before: from its "latents" as they were generated, or from its decoded "pixels", encoded
        again; each such pass through the VAE costs sharpness, and they add up.
        Raises ValueError for shapes, NaN and sizes, saying what was expected.
        """
        spec = self._known_spec()
        actions = torch.as_tensor(actions, dtype=torch.float32, device=self.device)
        if chain not in get_args(Chain):
            raise ValueError(f"Expected chain {' or '.join(get_args(Chain))}, got {chain!r}.")
        if actions.ndim != 3 or not actions.shape[1]:
            raise ValueError(f"Expected actions (N, T, {spec.width}), got {tuple(actions.shape)}.")
        num_outside = spec.check(actions, strict)
        frame = self._context(context, len(actions))
        embedding = self.embed(spec.normalise(actions))
        steps = self.steps if steps is None else steps
        frames, latents = [], []
        known = None
        for part in embedding.split(self.chunk, 1):
            made = self._chunk(frame, known, part, steps, guidance, generator)
            decoded = self.backbone.decode(made).clamp(-1, 1)
            frames.append(decoded)
            latents.append(made)
            frame, known = decoded[:, -1:], made[:, -1] if chain == "latents" else None
        return Rollout((torch.cat(frames, 1) + 1) / 2, torch.cat(latents, 1), num_outside)

    # Lightning's steps ----------------------------------------------------------------------------

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        total, logs = self.loss(clip)
        self.log("train/loss", total.detach(), prog_bar=True)
        for name, value in logs.items():
            self.log(f"train/{name}", value)
        return total

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        generator = torch.Generator().manual_seed(batch_idx)
        size = len(clip.frames)
        self.log("val/loss", self.loss(clip, generator)[0], batch_size=size, prog_bar=True)

    test_step = validation_step

    def predict_step(self, clip: Clip, batch_idx: int) -> Rollout:
        generator = torch.Generator().manual_seed(batch_idx)
        num_context = clip.frames.shape[1] - clip.actions.shape[1]
        return self.rollout(clip.frames[:, :num_context], clip.actions, generator=generator)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adamw(self.parameters(), self.learning_rate, self.warmup, steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Only what was trained, and what the actions mean; plain values, no pickled classes."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if k in trained}
        checkpoint["egowm"] = {"spec": dict(self._known_spec().__dict__), "chunk": self.chunk}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["egowm"]
        spec = ActionSpec(**saved["spec"])
        if self.spec is not None:
            spec.compare(self.spec)
        self.spec, self.chunk = spec, saved["chunk"]
        self.configure_model()

    def save_pretrained(self, folder: Path | str) -> None:
        """Write an export: see `egowm.export.save`."""
        from egowm.export import save

        save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: Path | str, base: str | None = None) -> "WorldModel":
        """Load an export: see `egowm.export.load`."""
        from egowm.export import load

        return load(Path(folder), base)

    # Parts of a rollout ---------------------------------------------------------------------------

    def _refuse_wrong_gradients(self) -> None:
        """torch 2.15 on a CPU: the bfloat16 weight gradient of SVD's temporal convolution (kernel
        3 in time) is garbage for exactly 2 frames, and the loss NaN after some steps."""
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        if on_cpu and self.chunk == 2 and "bf16" in str(self.trainer.precision):
            raise ValueError(
                "Expected another horizon than 2 for bfloat16 training on a CPU (torch computes "
                "wrong gradients there): set --data.window.horizon 1, 3 or more, or "
                "--trainer.precision 32-true."
            )

    def _known_spec(self) -> ActionSpec:
        if self.spec is None:
            raise ValueError("This model has no ActionSpec yet: fit it on data or load an export.")
        return self.spec

    def _context(self, context: Tensor, count: int) -> Tensor:
        """The last context frame (1 or N, 1, 3, H, W) in [-1, 1]."""
        if context.ndim != 5 or context.shape[2] != 3 or context.shape[0] not in (1, count):
            raise ValueError(
                f"Expected a context of shape (1 or {count}, K, 3, H, W), got "
                f"{tuple(context.shape)}."
            )
        last = context[:, -1:].to(self.device)
        if last.dtype == torch.uint8:
            return last.float() / 127.5 - 1
        if last.min() < 0 or last.max() > 1:
            raise ValueError("Expected a float context in [0, 1] (or uint8 frames).")
        return last.float() * 2 - 1

    def _chunk(
        self,
        frame: Tensor,
        known: Tensor | None,
        embedding: Tensor,
        steps: int,
        guidance: float,
        generator: Generator,
    ) -> Tensor:
        """Latents (N, t, c, h, w) of one chunk after `frame` (1 or N, 1, 3, H, W), whose latents
        are `known` where it was generated."""
        backbone, count = self.backbone, len(embedding)
        draws = count if isinstance(generator, Sequence) else len(frame)
        strength = torch.full((draws,), backbone.noise_strength, device=self.device)
        condition = backbone.condition(frame, strength, generator, known)
        if draws < count:
            condition = condition.repeat(count)
        if guidance != 1.0:
            null = condition.without_image(torch.ones(count, dtype=torch.bool, device=self.device))
            condition = Condition(*(torch.cat(pair) for pair in zip(null, condition, strict=True)))
            embedding = torch.cat([embedding, embedding])
        channels, height, width = condition.latents.shape[1:]
        shape = (count, embedding.shape[1], channels, height, width)
        noise = randn(shape, generator, torch.device(self.device))

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            if guidance == 1.0:
                clean: Tensor = backbone(noisy, sigma, condition)
                return clean
            both = backbone(torch.cat([noisy, noisy]), torch.cat([sigma, sigma]), condition)
            without, with_image = both.chunk(2)
            return without + guidance * (with_image - without)

        with inject(backbone.network, embedding):
            return euler(denoise, backbone.process.initial(noise), backbone.process.sigmas(steps))
