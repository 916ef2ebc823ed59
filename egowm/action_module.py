"""What latent world models and policies share: training, checkpoints, exports."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.checks import check_between, checked, counted
from egowm.clip import Clip
from egowm.export import EXPORT
from egowm.hub import located
from egowm.metadata import specs_of
from egowm.module_export import ExportFile, load, save
from egowm.network.optimizer import adamw, use_schedule
from egowm.on_hub import OnHub
from egowm.randomness import StepSeeds

MOST_PIXELS = 8192  # of a side


class ActionModule(OnHub, LightningModule, ABC):
    """A network for frames and actions, whose actions' meaning comes from the data.

    A class gives `build`, `losses` and `export_file`.

    Args:
        size: H and W of the frames that it is built for, at least 8.
        context: Frames K that it looks at.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        spec: Meaning of each action; None takes it from the data.
    """

    export_file: ClassVar[ExportFile]
    export_kind = EXPORT

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

    @abstractmethod
    def build(self, width: int) -> None:
        """Make the networks, for actions of so many dimensions; called once."""

    @abstractmethod
    def losses(self, clip: Clip, generator: torch.Generator | None) -> tuple[Tensor, Any]:
        """Scalar loss and logs of a batch that was checked."""

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
        self.check_clip(clip)
        return self.losses(clip, generator)

    def check_clip(self, clip: Clip) -> None:
        """Refuse a batch that it cannot learn from."""
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
        checkpoint["egowm"] = {self.export_file.word: self.name} | self.meaning()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("egowm", {})
        if saved.get(self.export_file.word) != self.name:
            raise ValueError(
                f"The checkpoint is not of {self.name}: give one that a fit of this recipe wrote."
            )
        self.mean(saved)
        own = {name: w.shape for name, w in self.trained_weights().items()}
        if own != {name: w.shape for name, w in checkpoint["state_dict"].items()}:
            raise ValueError(
                f"The checkpoint's {self.name} has other networks: give the arguments that it was "
                f"trained with (config.yaml in the run's lightning_logs/version_N)."
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
    def from_pretrained(
        cls,
        folder: Path | str,
        base: str | None = None,
        *,
        revision: str | None = None,
        download: bool = False,
    ) -> Self:
        """Load an export of this class.

        Args:
            folder: The export's folder, or an id of the Hugging Face hub in the local cache.
            base: Folder of the frozen encoder where it moved.
            revision: Branch, tag or commit of a hub id; None takes main, as cached.
            download: Download a hub id that is not cached; needs a pinned `revision`.

        Raises:
            FileNotFoundError: No such folder, repository, revision or file.
            ValueError: An export of another class, or damaged files.
            OSError: A download that failed, and why.
        """
        return load(located(folder, revision, download), base, {cls.__name__: cls})
