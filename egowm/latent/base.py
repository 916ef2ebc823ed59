"""What the latent world models share: `egowm.dynamics.Dynamics`, training, checkpoints, exports."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.checks import check_between, checked, counted
from egowm.clip import Clip
from egowm.diffusion import Generator, SharedNoise
from egowm.latent.exported import load, save
from egowm.metadata import specs_of
from egowm.network.optimizer import adamw, use_schedule
from egowm.pixels import check_unit, to_unit
from egowm.randomness import StepSeeds
from egowm.sampling import Actions, Rollout, Sampling, as_frames, as_sequences, takes_sampling

SEED = 0  # of a goal's latent, where a model draws one
MOST_PIXELS = 8192  # of a side


def check_halvings(size: int) -> None:
    """Refuse a size that convolutions of stride 2 do not halve down to 4."""
    if size < 8 or size & (size - 1):
        raise ValueError(f"Expected a size of 8, 16, 32, ... pixels, got {size}.")


class LatentDynamics(LightningModule, ABC):
    """A world model that predicts latents step by step.

    A class gives `build`, `embed`, `begin`, `step`, `latent`, `decode`, `losses` and `action_loss`.
    What a future goes on from is a NamedTuple of tensors whose first axis is N.

    Args:
        size: H and W of the frames that it is built for, at least 8.
        context: Frames K that a future starts from.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        spec: Meaning of each action; None takes it from the data.
    """

    makes_frames = True
    frames_at_once, jump, steps = 1, 0, 1
    state_spec: ActionSpec | None = None

    def __init__(
        self, size: int, context: int, learning_rate: float, warmup: int, spec: ActionSpec | None
    ) -> None:
        super().__init__()
        check_between("size", size, 8, MOST_PIXELS)
        if context < 1 or warmup < 0:
            raise ValueError(
                f"Expected a context of at least 1 frame and warmup of 0 or more, got {context} "
                f"and {warmup}."
            )
        self.size, self.context, self.spec = size, context, spec
        self.learning_rate, self.warmup = learning_rate, warmup
        self.specs: dict[str, ActionSpec] = {}
        self.strict_loading = False  # checkpoints leave frozen parts out

    # What a model gives -------------------------------------------------------------------------

    @abstractmethod
    def build(self, width: int) -> None:
        """Make the networks, for actions of so many dimensions; called once."""

    @abstractmethod
    def embed(self, frames: Tensor) -> Tensor:
        """Features (M, ...) of frames (M, 3, H, W) in [0, 1]."""

    @abstractmethod
    def begin(self, embedded: Tensor, generator: Generator) -> Any:
        """What N futures go on from, of embedded context frames (N, K, ...)."""

    @abstractmethod
    def step(self, before: Any, actions: Tensor, generator: Generator) -> Any:
        """The same after normalised actions (N, A)."""

    @abstractmethod
    def latent(self, state: Any) -> Tensor:
        """Of each future (N, c, h, w)."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Frames (M, 3, H, W) in [0, 1] of latents (M, c, h, w); M = 0 of a model without a
        decoder."""

    @abstractmethod
    def losses(self, clip: Clip, generator: torch.Generator | None) -> tuple[Tensor, Any]:
        """Scalar loss and logs of a batch that was checked."""

    @abstractmethod
    def action_loss(self, clip: Clip, seed: int) -> Tensor:
        """See `Dynamics.action_loss`."""

    # The contract ---------------------------------------------------------------------------------

    @property
    def num_context(self) -> int:
        """K, the context frames that it looks at."""
        return self.context

    @property
    def name(self) -> str:
        """Its class."""
        return type(self).__name__

    @property
    def base(self) -> str:
        """The folder of its frozen part; its class where it has none."""
        return self.name

    def about(self) -> dict[str, Any]:
        """What tables tell of it."""
        return {"base_sha256": None}

    def spec_of(self, source: str | None) -> ActionSpec:
        """See `Dynamics.spec_of`."""
        if self.spec is None:
            raise ValueError("This model has no ActionSpec yet: fit it on data or load an export.")
        if source is not None and source not in self.specs:
            known = ", ".join(self.specs) or "one data set without a name: leave source out"
            raise ValueError(f"Unknown source {source!r}; this model was fitted on {known}.")
        return self.spec if source is None else self.specs[source]

    def source_of(self, clip: Clip) -> str | None:
        """See `Dynamics.source_of`."""
        names = sorted(set(clip.source)) if self.specs else []
        if len(names) > 1:
            raise ValueError(f"Expected a batch of one source, got {', '.join(names)}.")
        return names[0] if names else None

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames of another size than that it is built for."""
        if (height, width) != (self.size, self.size):
            raise ValueError(
                f"{self.name} is built for frames of {self.size}x{self.size}, got {height}x{width}:"
                f" resize them, or train with --model.size."
            )

    @takes_sampling
    def rollout(
        self,
        context: Any,
        actions: Actions,
        how: Sampling = Sampling(),
        *,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
        source: str | None = None,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine what actions lead to; arguments as in `WorldModel.rollout`.

        Raises:
            ValueError: Another size or fewer frames than the model takes, guidance, state or text.
        """
        if state is not None or any([text] if isinstance(text, str) else text):
            raise ValueError(f"{self.name} takes neither state nor text: leave them out.")
        told = as_sequences(actions, self.spec_of(source), self.device)
        outside = self.spec_of(source).check(told, how.strict)
        frames, size = as_frames(context), how.micro_batch or len(told)
        known = frames.ndim == 5 and frames.shape[2] == 3 and len(frames) in (1, len(told))
        if not known or not frames.numel():
            raise ValueError(
                f"Expected a context (1 or {len(told)}, K, 3, H, W), got {tuple(frames.shape)}."
            )
        if isinstance(generator, Sequence) and len(generator) != len(told):
            raise ValueError(
                f"Expected one generator for each of {len(told)}, got {len(generator)}."
            )
        parts: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(told), size):
            here = slice(start, start + size)
            stepper = self.stepper(how, source, _part(generator, here))
            seen = frames if len(frames) == 1 else frames[here]
            parts.append(stepper.rollout(seen, told[here])[:2])
        frames, latents = (torch.cat([part[k] for part in parts]) for k in (0, 1))
        return Rollout(frames, latents, outside)

    def rollout_of(
        self,
        clip: Clip,
        actions: Tensor | None = None,
        how: Sampling = Sampling(),
        *,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine the future of a batch of clips, each from its own context."""
        clip.check()
        first = clip.frames[:, : clip.frames.shape[1] - clip.actions.shape[1]]
        told = clip.actions if actions is None else actions
        source = self.source_of(clip)
        return self.rollout(first, told, how, source=source, generator=generator)

    def stepper(self, how: Sampling, source: str | None, generator: Generator) -> "LatentStepper":
        """What steps imagined worlds."""
        if how.guidance != 1 or how.guide_on is not None:
            raise ValueError(f"{self.name} has no guidance: leave guidance and guide_on out.")
        if how.steps not in (None, 1) or how.chain is not None or how.decode_window is not None:
            raise ValueError(
                f"{self.name} makes a frame in one step, each from the latent before: leave steps, "
                f"chain and decode_window out."
            )
        self.check_built()
        return LatentStepper(self, how, self.spec_of(source), generator)

    @torch.no_grad()
    def encode_goal(self, frame: Tensor) -> Tensor:
        """The latent (c, h, w) of a scene (3, H, W) in [0, 1] that stands still."""
        self.check_built()
        self.check_size(*frame.shape[1:])
        embedded = self.embed(frame[None].to(self.device))[None].expand(1, self.context, *[-1] * 3)
        return self.latent(self.begin(embedded, torch.Generator().manual_seed(SEED)))[0]

    @torch.no_grad()
    def reconstruct(self, clip: Clip) -> Tensor:
        """The future frames (B, T, 3, H, W), each from the latent of that very frame."""
        frames = to_unit(clip.frames[:, -clip.actions.shape[1] :].to(self.device))
        embedded = self.embed(frames.flatten(0, 1))[:, None].expand(-1, self.context, *[-1] * 3)
        state = self.begin(embedded, torch.Generator().manual_seed(SEED))
        return self.decode(self.latent(state)).reshape(frames.shape)

    # Training -------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if data is None or not hasattr(data, "clip_meaning"):
            return
        if self.spec is None:
            self.spec, self.specs = data.spec, dict(getattr(data, "specs", {}))
        else:
            self.spec.compare(data.clip_meaning)
        self.check_size(data.window.height, data.window.width)

    def configure_model(self) -> None:
        if self.spec is None and self._trainer is None:
            return  # a checkpoint brings it
        if not hasattr(self, "built"):
            self.build(self.spec_of(None).width)
            self.built = True

    def check_built(self) -> None:
        """Refuse a model whose networks are not made yet."""
        if not hasattr(self, "built"):
            raise ValueError(
                f"{self.name} has no networks yet: call configure_model(), fit it or load an "
                f"export."
            )

    def configure_callbacks(self) -> list[Callback]:
        return [StepSeeds()]

    def loss(
        self, clip: Clip, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss and logs of a batch of clips of one source."""
        clip.check()
        if clip.is_cached:
            raise ValueError(f"{self.name} learns from frames: leave the latent cache out.")
        given = clip.frames.shape[1] - clip.actions.shape[1]
        if given < self.context:
            raise ValueError(
                f"{self.name} starts from {counted(self.context, 'frame')}, the clips give {given}:"
                f" set --data.window.context {self.context}."
            )
        self.check_size(*clip.frames.shape[-2:])
        self.spec_of(self.source_of(clip)).check(clip.actions)
        return self.losses(clip, generator)

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        total, logs = self.loss(clip)
        self.log("train/loss", total.detach(), prog_bar=True)
        for name, value in logs.items():
            self.log(f"train/{name}", value)
        return total

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        total, logs = self.loss(clip, torch.Generator().manual_seed(batch_idx))
        self.log("val/loss", total, batch_size=len(clip.frames), prog_bar=True)
        for name, value in logs.items():
            self.log(f"val/{name}", value, batch_size=len(clip.frames))

    test_step = validation_step

    def predict_step(self, clip: Clip, batch_idx: int) -> Rollout:
        return self.rollout_of(clip, generator=torch.Generator().manual_seed(batch_idx))

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adamw(self.parameters(), self.learning_rate, self.warmup, steps)

    def on_train_start(self) -> None:
        use_schedule(self.trainer, self.learning_rate)

    # Checkpoints and exports ----------------------------------------------------------------------

    def meaning(self) -> dict[str, Any]:
        """What actions mean, as plain values."""
        specs = {name: spec.record() for name, spec in self.specs.items()}
        return {"spec": self.spec_of(None).record(), "specs": specs}

    def mean(self, saved: Mapping[str, Any]) -> None:
        """Take what `meaning` wrote, and build the networks."""
        found = specs_of(saved)
        if self.spec is not None:
            found.spec.compare(self.spec)
        self.spec, self.specs = found.spec, found.specs
        self.configure_model()

    def trained_weights(self) -> dict[str, Tensor]:
        """All that is not frozen, by name."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        return {name: w for name, w in self.state_dict().items() if name in trained}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = self.trained_weights().keys()
        checkpoint["state_dict"] = {k: checkpoint["state_dict"][k] for k in names}
        checkpoint["egowm"] = {"latent": self.name} | self.meaning()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("egowm", {})
        if saved.get("latent") != self.name:
            raise ValueError(
                f"The checkpoint is not of {self.name}: give one that a fit of this recipe wrote."
            )
        self.mean(saved)
        own = {name: w.shape for name, w in self.trained_weights().items()}
        if own != {name: w.shape for name, w in checkpoint["state_dict"].items()}:
            raise ValueError(
                f"The checkpoint's {self.name} has other networks: give the arguments that it was "
                f"trained with (the run's config.yaml)."
            )

    @checked
    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write an export: trained weights, arguments, the actions' meaning; whole or not at all.

        Args:
            folder: New, or an export, which is replaced; another folder is refused.
            dtype: The weights are rounded to it; None keeps theirs.
        """
        save(self, Path(folder), dtype)

    @classmethod
    @checked
    def from_pretrained(cls, folder: Path | str, base: str | None = None) -> Self:
        """Load an export of this class.

        Args:
            folder: The export's folder.
            base: Folder of the frozen encoder where it moved.

        Raises:
            FileNotFoundError: No such folder or file.
            ValueError: An export of another class, or damaged files.
        """
        return load(Path(folder), base, {cls.__name__: cls})


@dataclass(frozen=True)
class LatentStepper:
    """Steps N futures of a latent model side by side (`egowm.dynamics.Stepper`)."""

    model: LatentDynamics
    how: Sampling
    spec: ActionSpec
    generator: Generator

    def rollout(self, context: Tensor, actions: Tensor) -> Rollout:
        """All of the future, of a context (1 or N, K, 3, H, W) and actions (N, T, A)."""
        how, model = self.how, self.model
        with torch.set_grad_enabled(how.gradient), self._precision:
            state, latents = self.begin(context, len(actions)), []
            for action in self.spec.normalise(actions).unbind(1):
                state = model.step(state, action, self.generator)
                latents.append(model.latent(state))
            made = torch.stack(latents, 1)
            first = {"all": 0, "last": made.shape[1] - 1, "none": made.shape[1]}[how.decode]
            frames = model.decode(made[:, first:].flatten(0, 1)).float()
        count = frames.shape[0] // len(actions)
        shape = (len(actions), count, 3, model.size, model.size)
        return Rollout(frames.reshape(shape), made.float(), 0)

    @property
    def _precision(self) -> AbstractContextManager[Any]:
        """With float32 no autocast is entered, so one that the caller opened stays in force."""
        if self.how.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.how.dtype)

    def begin(self, context: Tensor, count: int | None = None) -> Any:
        """What the futures go on from; one context is embedded once for all of them."""
        with torch.set_grad_enabled(self.how.gradient), self._precision:
            return self._begin(context, count)

    def _begin(self, context: Tensor, count: int | None) -> Any:
        last = context[:, -self.model.context :].to(self.model.device)
        if last.shape[1] < self.model.context:
            raise ValueError(
                f"{self.model.name} starts from {counted(self.model.context, 'frame')}, got a "
                f"context of {last.shape[1]}."
            )
        self.model.check_size(last.shape[-2], last.shape[-1])
        check_unit("context", last)
        frames = to_unit(last) if last.dtype == torch.uint8 else last.float()
        embedded = self.model.embed(frames.flatten(0, 1)).unflatten(0, last.shape[:2])
        if count is not None and len(embedded) == 1:
            embedded = embedded.expand(count, *embedded.shape[1:])
        return self.model.begin(embedded, self.generator)

    @torch.no_grad()
    def advance(
        self, before: Any, actions: Tensor, state: Tensor | None, texts: Sequence[str]
    ) -> tuple[Any, Rollout]:
        """One step under physical actions (N, 1, A)."""
        if state is not None or any(texts):
            raise ValueError(f"{self.model.name} takes neither state nor text: leave them out.")
        with self._precision:
            after = self.model.step(before, self.spec.normalise(actions)[:, 0], self.generator)
            latent = self.model.latent(after)
            frames = self.model.decode(latent).float()
        shape = (
            (len(latent), -1, *frames.shape[1:])
            if len(frames)
            else (len(latent), 0, 3, *frames.shape[2:])
        )
        return after, Rollout(frames.reshape(shape), latent[:, None].float(), 0)

    @torch.no_grad()
    def begin_again(self, before: Any, context: Tensor, here: Tensor) -> Any:
        """The futures where `here` (N,) is true start from their context again."""
        pairs = zip(self.begin(context), before, strict=True)
        at = here.to(self.model.device)
        found = (torch.where(at.reshape(-1, *[1] * (x.ndim - 1)), x, y) for x, y in pairs)
        return type(before)(*found)


def _part(generator: Generator, here: slice) -> Generator:
    """The generator of some of the sequences."""
    if isinstance(generator, SharedNoise):
        return generator.fresh()
    return generator[here] if isinstance(generator, Sequence) else generator
