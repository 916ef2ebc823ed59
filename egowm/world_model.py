"""The world model: a pretrained video backbone that follows actions. Loss, rollout, steps."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from egowm import export, pipeline_folder
from egowm.actions import ActionSpec
from egowm.augmentation import Augmentation
from egowm.backbones.base import Backbone, Condition
from egowm.backbones.codec_wrappers import Cached, Offloaded
from egowm.checks import check_between, check_shape, checked, counted
from egowm.clip import Clip
from egowm.conditioning.alignment import Alignment, align, aligned_width
from egowm.conditioning.embedding import ActionEmbedding, Features
from egowm.diffusion import Generator, Process, denoising_loss
from egowm.hub import located
from egowm.metadata import apply, describe
from egowm.network.checkpointing import enable_gradient_checkpointing
from egowm.network.compilation import Compiler, compile_blocks
from egowm.network.optimizer import Optimizer, adamw, use_schedule
from egowm.network.sharding import shard
from egowm.network.trained_part import ATTENTION, Train, TrainedPart
from egowm.on_hub import OnHub
from egowm.own_contexts import OwnContexts
from egowm.pixels import to_model
from egowm.randomness import StepSeeds
from egowm.sampler import Sampler
from egowm.sampling import Actions, Rollout, Sampling, takes_sampling
from egowm.session import Session
from egowm.start import start_from

log = logging.getLogger(__name__)


class Task(NamedTuple):
    """What a batch of clips gives to learn.

    latents: (B, t, ...), clean. actions: (B, T, A), normalised. state: (B, S), normalised, of a
    model that embeds one. dropped: (B,) bool, where the null embedding stands in for the actions.
    """

    latents: Tensor
    condition: Condition
    actions: Tensor
    state: Tensor | None
    dropped: Tensor | None
    process: Process


class WorldModel(OnHub, LightningModule):
    """A video diffusion backbone that follows actions.

    Actions, and the initial state of the body where there is one, are embedded and added to the
    timestep embedding: `F(Z_t + Z_a + Z_s)` (EgoWM, arXiv 2601.15284).

    Args:
        backbone: The pretrained pipeline that is turned into a world model.
        features: Features of a normalised action before the embedding: "fourier", "sinusoidal" or
            "linear".
        zero_init: Start the last layer of the embeddings at zero, so that the model starts as the
            pretrained one.
        alignment: How the actions covered by one latent frame become one vector: "concatenate",
            "sum" or "last". No difference for a VAE without temporal stride.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        drop_image: Share of training samples without the context image, in [0, 1], for guidance.
        drop_action: Share of training samples without actions, in [0, 1], for guidance. Above 0,
            "no action" is a learned embedding (the zero action means to stand still).
        drop_text: Share of training samples without text, in [0, 1], for guidance.
        steps: Sampling steps of a rollout by default, at least 1.
        chunk: Future frames made at once, at least 1; longer rollouts restart from the last frame.
            Set from the horizon of the data when fitting.
        spec: Meaning of each action; null takes it from the data.
        state_spec: Meaning of the initial state of the body, if there is one; taken from the data
            together with `spec`.
        train: Part of the network that is trained: "full", "lora", "temporal" (layers that mix
            frames) or "conditioning" (only the embeddings).
        lora_rank: Rank of the low-rank additions with `train: lora`.
        lora_targets: Last parts of the names of the layers that get low-rank additions.
        gradient_checkpointing: Compute the activations of each block again in the backward pass,
            which saves memory and costs time.
        optimizer: "adamw" of torch, or "adamw_8bit", "paged_adamw" or "paged_adamw_8bit" of
            bitsandbytes, which need a GPU.
        offload: Keep VAE and encoders in main memory and move them to the GPU only to encode and
            decode.
        compile: Compiler for the blocks of the network, "inductor" or "aot_eager"; null leaves
            them as they are.
        own_contexts: Start some batches from frames that the model imagined, as the later chunks
            of a rollout do; null starts all from recorded frames.
        augmentation: Mirror some training clips, and let some robots stand still; null leaves all
            as recorded.
        start: Folder or hub id of an export, of this robot or of another, or the name of a shipped
            model ("rooms"): training starts from its weights, not the pipeline's. The embedding of
            the actions is taken too, with its ranges, where actions mean the same there.
        huber: Constant c of the pseudo-Huber loss, 1e-9 to 1e3, in units of the network's output:
            errors well above it count in proportion, not by their squares, so that of two futures
            that cannot be told apart the likelier is drawn, not their mean. Null counts squares.

    Raises:
        ValueError: A share outside [0, 1], steps or chunk below 1, a negative warmup, or a huber
            out of its range.
    """

    export_kind = export.EXPORT

    @checked
    def __init__(
        self,
        backbone: Backbone,
        features: Features = "fourier",
        zero_init: bool = True,
        alignment: Alignment = "concatenate",
        learning_rate: float = 1e-4,
        warmup: int = 200,
        drop_image: float = 0.1,
        drop_action: float = 0.0,
        drop_text: float = 0.1,
        steps: int = 25,
        chunk: int = 8,
        spec: ActionSpec | None = None,
        state_spec: ActionSpec | None = None,
        train: Train = "full",
        lora_rank: int = 16,
        lora_targets: Sequence[str] = ATTENTION,
        gradient_checkpointing: bool = False,
        optimizer: Optimizer = "adamw",
        offload: bool = False,
        compile: Compiler | None = None,
        own_contexts: OwnContexts | None = None,
        augmentation: Augmentation | None = None,
        start: str | None = None,
        huber: float | None = None,
    ) -> None:
        super().__init__()
        shares = {"drop_image": drop_image, "drop_action": drop_action, "drop_text": drop_text}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"Expected {name}, a share of samples, in [0, 1], got {share}.")
        if min(steps, chunk) < 1 or warmup < 0:
            raise ValueError(
                f"Expected steps and chunk of at least 1 and warmup of 0 or more, got {steps}, "
                f"{chunk} and {warmup}."
            )
        if huber is not None:
            check_between("huber", huber, 1e-9, 1e3)
        self.backbone, self.features, self.zero_init = backbone, features, zero_init
        self.alignment, self.learning_rate, self.warmup = alignment, learning_rate, warmup
        self.drop_image, self.drop_action, self.drop_text = drop_image, drop_action, drop_text
        self.steps, self.chunk, self.spec, self.state_spec = steps, chunk, spec, state_spec
        self.own_contexts, self.augmentation, self.start = own_contexts, augmentation, start
        self.huber = huber
        self.part = TrainedPart(train, lora_rank, tuple(lora_targets))
        self.gradient_checkpointing, self.optimizer = gradient_checkpointing, optimizer
        self.offload, self.compiler = offload, compile
        self.specs: dict[str, ActionSpec] = {}  # by source, where the data mix several
        self.sigma = torch.zeros(0)  # noise levels of the batch at hand, for messages about it
        self.strict_loading = False  # checkpoints leave the frozen parts out

    # Loading -----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if data is None or not hasattr(data, "clip_meaning"):
            return
        if self.spec is None:
            self.spec, self.state_spec = data.spec, getattr(data, "state_spec", None)
            self.specs = dict(getattr(data, "specs", {}))
        else:
            self.spec.compare(data.clip_meaning)
        if stage != "predict":  # of a checkpoint, which is read later, its own chunk holds
            horizon, own = data.window.horizon, self.own_contexts
            self.chunk = horizon if own is None else own.chunk(horizon)
        if stage == "fit":
            self._refuse_wrong_gradients()

    def configure_model(self) -> None:
        self.backbone.load()
        backbone = self.backbone
        self.part.select(backbone.network, backbone.temporal_layers, backbone.random)
        if self.gradient_checkpointing:
            enable_gradient_checkpointing(self.backbone.network)
        if self.compiler is not None:
            compile_blocks(backbone.blocks, self.compiler)
        if self.offload:
            self._offload()
        if self.spec is None and self._trainer is None:
            return  # `load_from_checkpoint`: the checkpoint brings it, see on_load_checkpoint
        if self.spec is None:
            raise ValueError(
                "The model does not know what its actions mean: fit it on data, load an export, "
                "or pass spec=ActionSpec(...)."
            )
        if hasattr(self, "action_embedding"):
            return
        wide, stride = self.backbone.embedding_dim, self.backbone.codec.temporal_stride
        width = aligned_width(self.spec.width, stride, self.alignment)
        self.action_embedding = ActionEmbedding(width, wide, self.features, self.zero_init)
        if self.state_spec is not None:
            width = self.state_spec.width
            self.state_embedding = ActionEmbedding(width, wide, self.features, self.zero_init)
        if self.drop_action:
            self.null_embedding = nn.Parameter(torch.zeros(wide))
        if self.start is not None:
            self._begin(self.start)
        if self.device_mesh is not None:  # a strategy that shards
            shard(self, backbone.network, backbone.blocks, self.device_mesh)

    def _begin(self, start: str) -> None:
        """Where the weights cannot be taken, another call of `configure_model` tries again."""
        try:
            start_from(self, located(start))
        except BaseException:
            del self.action_embedding
            raise

    def train(self, mode: bool = True) -> "WorldModel":
        """Frozen parts stay in eval mode."""
        super().train(mode)
        for module in self.backbone.children():
            if not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def configure_callbacks(self) -> list[Callback]:
        return [StepSeeds()]

    def on_fit_start(self) -> None:
        self.train()  # weights are loaded in eval mode, and Lightning keeps modes as they are

    def on_train_start(self) -> None:
        use_schedule(self.trainer, self.learning_rate)

    # The three calls everything is built on -----------------------------------------------------

    @checked
    def embed(
        self, actions: Tensor, state: Tensor | None = None, drop: Tensor | None = None
    ) -> Tensor:
        """One vector per latent frame (B, t, D); t counts the context's, which take no action.

        Args:
            actions: (B, T, A), normalised.
            state: (B, S), normalised; None for a model that embeds none.
            drop: (B,) bool, true where the learned null embedding stands in for the actions; none
                by default.
        """
        check_shape("actions", actions, "B T A")
        if state is not None and self.state_spec is None:
            raise ValueError("This model embeds no state: leave state out.")
        for name, given, axes in (("state", state, "B S"), ("drop", drop, "B")):
            if given is not None:
                check_shape(name, given, axes, B=len(actions))
        backbone = self.backbone
        z = self.action_embedding(align(actions, backbone.codec.temporal_stride, self.alignment))
        if self.drop_action:  # also where nothing is dropped: every step uses every parameter
            if drop is None:
                drop = torch.zeros(len(z), dtype=torch.bool, device=z.device)
            z = torch.where(drop[:, None, None].bool(), self.null_embedding.to(z.dtype), z)
        elif drop is not None:
            raise ValueError(
                "This model has no null embedding: train it with --model.drop_action 0.1 to drop "
                "actions."
            )
        if backbone.context_latents:
            z = torch.cat([z.new_zeros(len(z), backbone.context_latents, z.shape[-1]), z], 1)
        if state is not None:
            z = z + self.state_embedding(state)[:, None]
        embedding: Tensor = z
        return embedding

    @checked
    def loss(
        self,
        clip: Clip,
        generator: torch.Generator | None = None,
        level: float | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Denoise the future frames of a batch of clips; scalar loss and logs.

        Args:
            clip: The batch, of one source.
            generator: Of noise and dropout; torch's global one by default.
            level: One noise level above 0 for all samples; by default each is drawn.
        """
        clip.check()
        if level is not None:
            check_between("level", level, 1e-6, 1e6)
        task, backbone = self.task(clip, generator), self.backbone

        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            self.sigma = sigma.detach()
            clean: Tensor = backbone(noisy, sigma, task.condition)
            return clean

        given = backbone.context_latents
        with backbone.injecting(self.embed(task.actions, task.state, task.dropped)):
            return denoising_loss(
                task.process, estimate, task.latents, generator, given, level, self.huber
            )

    def task(self, clip: Clip, generator: torch.Generator | None = None) -> Task:
        """What a batch of clips gives to learn; draws the noise and the dropout of the context.

        Args:
            clip: The batch, of one source; checked.
            generator: As in `loss`.
        """
        backbone, spec = self.backbone, self.spec_of(self.source_of(clip))
        spec.check(clip.actions)
        imagined = None
        if self.own_contexts is not None:
            clip, imagined = self.own_contexts.start(self, clip, generator)
        count, horizon = clip.actions.shape[:2]
        if not clip.is_cached:
            backbone.check_lengths(clip.frames.shape[1] - horizon, horizon)
        frames, context = clip.scaled(backbone.context)
        known = None
        if imagined is not None:
            context, known = imagined
            frames = torch.cat([context, frames[:, backbone.context :]], 1)
        codec = Cached(backbone.codec, clip.encodings) if clip.is_cached else backbone.codec
        with torch.no_grad(), codec.ready():
            future = frames[:, backbone.context :]
            latents = codec.encode(frames if backbone.context_latents else future)
            strength = backbone.training_noise(count, generator).to(frames)
            texts = self._training_texts(clip.text, generator)
            num_frames = frames.shape[1]
            condition = backbone.condition(
                context, strength, generator, known, texts, num_frames, codec
            )
            if "image" in backbone.droppable:
                drop = torch.rand(count, generator=generator).to(frames) < self.drop_image
                condition = condition.without_image(drop)
        dropped = None
        if self.drop_action:
            dropped = torch.rand(count, generator=generator).to(frames) < self.drop_action
        process = backbone.process_for(latents.shape[1], (frames.shape[-2], frames.shape[-1]))
        actions, state = spec.normalise(clip.actions), self._state(clip.state)
        return Task(latents, condition, actions, state, dropped, process)

    @takes_sampling
    def rollout(
        self,
        context: Tensor | np.ndarray,
        actions: Actions,
        how: Sampling = Sampling(),
        *,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
        source: str | None = None,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine the frames that `actions` lead to.

        Args:
            context: Clean frames (B, K, 3, H, W), tensor or array, uint8 or float in [0, 1]; with
                B = 1 all action sequences share them (encoded once). One picture (H, W, 3) in uint8
                is one frame.
            actions: (N, T, A) in physical units, or (T, A) for one sequence; tensor, array or list.
                T may exceed `chunk`.
            how: The settings, see `Sampling`.
            state: The body's state (N or 1, S) at the last context frame in physical units, tensor
                or array, for models that embed it. Later chunks add the actions to it where these
                are differences of states; else give the state at the start of each chunk,
                (N or 1, chunks, S).
            text: One, or one for each context, where the backbone takes it.
            source: Whose ranges normalise the actions, of a model that was fitted on several data
                sets; the first by default.
            generator: One for all; one for each sequence, which makes a rollout independent of its
                batch; or a `SharedNoise`, whose numbers all sequences share.

        Raises:
            ValueError: Shapes, NaN and sizes that do not fit, saying what was expected.
        """
        sampler = Sampler(self, how, self.spec_of(source), generator)
        return sampler.rollout(context, actions, state, text)

    @takes_sampling
    def stream(
        self,
        context: Tensor | np.ndarray,
        actions: Actions,
        how: Sampling = Sampling(),
        *,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
        source: str | None = None,
        generator: Generator = None,
    ) -> Iterator[Rollout]:
        """The same frames as `rollout`, `chunk` at a time, each as soon as it is imagined.

        The next chunk is imagined meanwhile, beside what is done with this one (without `gradient`
        and `offload`), and draws its noise then: draw nothing else from the generator between
        chunks, or from torch's own where none is given. Micro-batches advance side by side, so a
        generator that they share draws other noise than in `rollout`.

        Args:
            context, actions, how, state, text, source, generator: As in `rollout`.
        """
        sampler = Sampler(self, how, self.spec_of(source), generator)
        return sampler.stream(context, actions, state, text)

    @takes_sampling
    def session(
        self,
        context: Tensor | np.ndarray,
        how: Sampling = Sampling(),
        *,
        state: Tensor | None = None,
        text: str = "",
        source: str | None = None,
        generator: Generator = None,
        block: int | None = None,
    ) -> Session:
        """A rollout whose actions come as they are decided: `session.step(actions)` gives frames.

        Args:
            context, how, state, text, source, generator: As in `rollout`, of one future.
            block: Actions imagined at once, see `Session`; None takes `chunk`.

        >>> model = WorldModel.from_pretrained("rooms")
        >>> walk = model.session(torch.zeros(64, 64, 3, dtype=torch.uint8))
        >>> walk.step([0.2, 0.0, 0.1]).shape  # (n, 3, H, W)
        torch.Size([1, 3, 64, 64])
        """
        return Session(
            self, context, how, state=state, text=text, source=source, generator=generator,
            block=block,
        )  # fmt: skip

    @takes_sampling
    def rollout_of(
        self,
        clip: Clip,
        actions: Tensor | None = None,
        how: Sampling = Sampling(),
        *,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine the future of a batch of clips of one source, each from its own context.

        Args:
            clip: The batch, with state and text where the model takes them.
            actions: (B, T, A) in place of the clips' own.
            how: The settings, see `Sampling`.
            generator: As in `rollout`.
        """
        clip.check()
        source, state = self.source_of(clip), None
        num_context = clip.frames.shape[1] - clip.actions.shape[1]
        clip = clip if actions is None else clip._replace(actions=actions)
        if self.state_spec is not None:
            state = clip.states(self.spec_of(source), self.state_spec, self.chunk)
        return self.rollout(
            clip.frames[:, :num_context],
            clip.actions,
            how,
            state=state,
            text=clip.text if self.backbone.codec.texts else "",
            source=source,
            generator=generator,
        )

    @checked
    def spec_of(self, source: str | None) -> ActionSpec:
        """What actions mean, with the ranges of one source.

        Args:
            source: Name of a data set that the model was fitted on; None for the first one.
        """
        if self.spec is None:
            raise ValueError("This model has no ActionSpec yet: fit it on data or load an export.")
        if source is None:
            return self.spec
        if source not in self.specs:
            known = ", ".join(self.specs) or "one data set without a name: leave source out"
            raise ValueError(f"Unknown source {source!r}; this model was fitted on {known}.")
        return self.specs[source]

    def source_of(self, clip: Clip) -> str | None:
        """The one source of a batch of clips; None for a model that was fitted on one data set.

        Args:
            clip: The batch.
        """
        if not self.specs:
            return None
        names = sorted(set(clip.source))
        if len(names) != 1:
            raise ValueError(
                f"Expected a batch of one source, since each has ranges of its own; got "
                f"{', '.join(names)}."
            )
        return names[0]

    # The rest of `egowm.dynamics.Dynamics` --------------------------------------------------------

    makes_frames = True

    @property
    def num_context(self) -> int:
        """K, the context frames that the backbone is given."""
        return self.backbone.context

    @property
    def frames_at_once(self) -> int:
        """How many actions a step takes."""
        return self.backbone.codec.frames_at_once

    @property
    def jump(self) -> int:
        """Frames that it goes ahead in one step; 0 where it makes frame after frame."""
        return self.chunk if self.backbone.jumps else 0

    @property
    def name(self) -> str:
        """The backbone's class."""
        return type(self.backbone).__name__

    @property
    def base(self) -> str:
        """The folder of the pretrained pipeline."""
        return str(self.backbone.folder)

    def about(self) -> dict[str, Any]:
        """What tables tell of it: the hash of its base."""
        return {"base_sha256": self.backbone.base_sha256}

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames of a size that the backbone does not take.

        Args:
            height: H, pixels.
            width: W, pixels.
        """
        self.backbone.latent_shape(height, width)

    def stepper(self, how: Sampling, source: str | None, generator: Generator) -> Sampler:
        """What steps imagined worlds.

        Args:
            how: The settings.
            source: Whose ranges normalise the actions.
            generator: As in `rollout`.
        """
        return Sampler(self, how, self.spec_of(source), generator)

    def stepper_of(self, clip: Clip, how: Sampling, generator: Generator) -> Sampler:
        """What steps the futures of a batch of clips.

        Args:
            clip: The batch, of one source.
            how: The settings.
            generator: As in `rollout`.
        """
        return self.stepper(how, self.source_of(clip), generator)

    @torch.no_grad()
    def encode_goal(self, frame: Tensor) -> Tensor:
        """The latent (c, h, w) of a scene that stands still, as the last one of a rollout.

        Args:
            frame: (3, H, W) in [0, 1].
        """
        backbone, length = self.backbone, 1
        if backbone.context_latents:
            length = backbone.context + backbone.codec.frames_at_once
        still = frame.to(self.device)[None, None].expand(1, length, -1, -1, -1) * 2 - 1
        return backbone.codec.encode(still)[0, -1]

    @torch.no_grad()
    def reconstruct(self, clip: Clip) -> Tensor:
        """The future frames (B, T, 3, H, W) in [0, 1] through the VAE, chunk by chunk.

        Args:
            clip: The batch.
        """
        backbone, horizon = self.backbone, clip.actions.shape[1]
        video = to_model(clip.frames.to(self.device))
        given = backbone.context if backbone.context_latents else 0  # that a video starts with
        decoded = []
        for start in range(video.shape[1] - horizon, video.shape[1], self.chunk):
            part = video[:, start - given : start + self.chunk]
            missing = (given - part.shape[1]) % backbone.codec.frames_at_once
            part = torch.cat([part, part[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
            decoded.append(backbone.codec.decode(backbone.codec.encode(part))[:, given:])
        return (torch.cat(decoded, 1)[:, :horizon].clamp(-1, 1) + 1) / 2

    @torch.no_grad()
    def action_loss(self, clip: Clip, seed: int) -> Tensor:
        """The mean loss over the high noise levels, with nothing dropped for guidance.

        Args:
            clip: The batch.
            seed: Of the noise, the same whatever the actions.
        """
        dropped = self.drop_image, self.drop_action
        self.drop_image = 0.0
        if self.drop_action:
            self.drop_action = 1e-12  # 0 would leave the null embedding out of the model
        try:
            found = [
                self.loss(clip, torch.Generator().manual_seed(seed), level)[0].detach().float()
                for level in self.backbone.process.high_levels
            ]
        finally:
            self.drop_image, self.drop_action = dropped
        return torch.stack(found).mean()

    # Lightning's steps ----------------------------------------------------------------------------

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        if self.augmentation is not None:
            clip = self.augmentation.apply(clip, self.spec_of(self.source_of(clip)))
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
        return self.rollout_of(clip, generator=torch.Generator().manual_seed(batch_idx))

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adamw(self.parameters(), self.learning_rate, self.warmup, steps, self.optimizer)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Lets go of the gradients, which Lightning would keep through the next forward pass."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Only what was trained, and what the actions mean; plain values, no pickled classes."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if k in trained}
        checkpoint["egowm"] = describe(self) | {"predicts": self.backbone.predicts}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fitting = self._trainer is not None and self.trainer.state.fn == "fit"
        if "egowm" not in checkpoint:
            raise ValueError(
                "The checkpoint is not of a WorldModel: give one that a fit of this recipe wrote."
            )
        self.start = None  # the checkpoint holds all of its weights as they are now
        apply(self, checkpoint["egowm"], fitting)
        unknown = set(checkpoint["state_dict"]) - {name for name, _ in self.named_parameters()}
        if unknown:
            raise ValueError(
                f"The checkpoint holds {counted(len(unknown), 'weight')} that this model has not, "
                f"the first is {min(unknown)}: give the arguments it was trained with (for "
                f"null_embedding, drop_action)."
            )

    @checked
    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write an export: the trained weights and the actions' meaning, whole or not at all.

        Args:
            folder: New, or an export, which is replaced; another folder is refused.
            dtype: The weights are rounded to it (float16 halves the file); None keeps theirs.

        Raises:
            ValueError: A model that has nothing to save yet.
        """
        export.save(self, Path(folder), dtype)

    @checked
    def save_pipeline(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the whole pipeline, for diffusers: the base with the fine-tuned network in place.

        The stock pipeline opens the folder and adds no action. The embeddings lie beside it, so
        that `from_pretrained` of the folder, which needs no base, gives this model again.

        Args:
            folder: New, or one that was written so before, which is replaced.
            dtype: The network's and the embeddings' weights are rounded to it; None keeps theirs.

        Raises:
            ValueError: A model that has nothing to save yet, or no pipeline of diffusers.
        """
        pipeline_folder.save(self, Path(folder), dtype)

    @classmethod
    @checked
    def from_pretrained(
        cls,
        folder: Path | str,
        base: str | None = None,
        *,
        revision: str | None = None,
        download: bool = False,
    ) -> "WorldModel":
        """Load an export, a pipeline that `save_pipeline` wrote, or a model that comes with egowm.

        Args:
            folder: The export's folder, the name of a shipped model ("rooms"), or an id of the
                Hugging Face hub, OWNER/NAME, in the local cache; a folder of that name goes first.
            base: Folder or id where the base pipeline lies now; None for where the export says.
            revision: Branch, tag or commit of a hub id; None takes main, as cached.
            download: Download a hub id that is not cached, and the base that the export names by an
                id and a revision; needs a pinned `revision`.

        Raises:
            FileNotFoundError: No such folder, model, repository, revision, file or base.
            ValueError: Another format or class, damaged files, or another base than it was fitted
                on.
            OSError: A download that failed, and why.

        >>> model = WorldModel.from_pretrained("rooms")
        >>> ahead = torch.tensor([[[0.2, 0.0, 0.0]] * 4])  # (B, T, A): metres, metres, radians
        >>> model.rollout(torch.zeros(1, 1, 3, 64, 64), ahead, Sampling(steps=1)).frames.shape
        torch.Size([1, 4, 3, 64, 64])
        """
        return export.load(located(folder, revision, download), base, cls, download)

    # Parts ------------------------------------------------------------------------------------

    def _offload(self) -> None:
        """Keep the frozen encoders off the GPU (idempotent), and list their parameters for DDP to
        ignore: it requires all others on one device."""
        backbone = self.backbone
        if isinstance(backbone.codec, Offloaded):
            return
        backbone.codec = Offloaded(backbone.codec, backbone.network)
        self._ddp_params_and_buffers_to_ignore = [
            f"backbone.{name}.{key}"
            for name, module in backbone.codec.frozen.items()
            for key, _ in (*module.named_parameters(), *module.named_buffers())
        ]

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

    def _state(self, state: Tensor) -> Tensor | None:
        """Normalised (B, S), None for a model without; refuses a wrong width and NaN."""
        if self.state_spec is None:
            return None
        self.state_spec.check(state[:, None] if state.ndim == 2 else state)
        return self.state_spec.normalise(state)

    def _training_texts(self, texts: Sequence[str], generator: torch.Generator | None) -> list[str]:
        """Some replaced by "", for guidance; refuses texts that the backbone would not see."""
        if self.backbone.codec.texts is None or not any(texts):
            return [""]  # a data set may bring texts to a backbone that takes none
        drop = torch.rand(len(texts), generator=generator) < self.drop_text
        return ["" if gone else text for text, gone in zip(texts, drop.tolist(), strict=True)]
