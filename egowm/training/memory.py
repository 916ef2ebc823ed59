"""GPU memory of a training step, traced without a weight: shapes run, numbers do not.

The model is built from its configuration with fake tensors, one step is run forward and backward,
and the bytes alive at each moment are added up. No weight is read and no step computed, so a recipe
for a GPU of 80 GB is traced on a laptop.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from egowm.actions import ActionSpec
from egowm.backbones.codec import Codec
from egowm.backbones.codec_wrappers import Wrapped
from egowm.clip import Clip
from egowm.data.module import Window
from egowm.loading import untrained
from egowm.network.checkpointing import enable_gradient_checkpointing, standard
from egowm.network.optimizer import Optimizer, averages_bytes
from egowm.sizes import MOST_WEIGHTS
from egowm.world_model import WorldModel

TEXT_TOKENS = 512  # of a text's embedding, at most
_TEXT_WIDTHS = ("text_embed_dim", "text_dim", "caption_channels")  # in networks' configurations
_HALF = {"bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Memory:
    """Bytes that a step takes on the GPU.

    Args:
        weights: Of all parts but text encoders.
        frozen: Of VAE and encoders, a part of `weights`.
        gradients: Of the trained part.
        encoding: Most bytes besides these while frames become latents; without gradients.
        activations: Most bytes besides these in the network's forward and backward pass, at the
            moment at which activations and gradients together are most.
        sizes: Number of values of each trained tensor.
        kind: The optimizer.
        offload: Whether frozen parts are on the GPU only to encode.
    """

    weights: int
    frozen: int
    gradients: int
    encoding: int
    activations: int
    sizes: tuple[int, ...] = field(repr=False)
    kind: Optimizer = "adamw"
    offload: bool = False

    @property
    def parameters(self) -> int:
        """Number of the trained ones."""
        return sum(self.sizes)

    @property
    def optimizer(self) -> int:
        """AdamW's two averages."""
        width = self.gradients // max(1, self.parameters)
        return averages_bytes(self.kind, self.sizes, width)

    @property
    def resident(self) -> int:
        """Weights that are there all the time."""
        return self.weights - (self.frozen if self.offload else 0)

    @property
    def step(self) -> int:
        """The most at one moment of encoding, forward and backward pass."""
        training = self.resident + self.optimizer + self.gradients + self.activations
        return max(self.weights + self.optimizer + self.encoding, training)

    @property
    def peak(self) -> int:
        """The most at all: also where the optimizer takes its step, where torch's own has one
        temporary value for each trained parameter."""
        temporary = self.gradients if self.kind == "adamw" else 0
        return max(self.step, self.resident + self.optimizer + self.gradients + temporary)


class Live(TorchDispatchMode):
    """Adds up the bytes of all tensors made inside that are still alive; `peak` is the most since
    the last `mark`, `before` the most until then."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.peak, self.before = 0, 0, 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def mark(self) -> None:
        """Here something else begins."""
        self.before, self.peak = max(self.before, self.peak), self.bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._add, out)
        return out

    def _add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return tensor

        def gone(_: Any) -> None:
            del self._known[key]
            self.bytes -= size

        self._known[key] = weakref.ref(storage, gone)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        return tensor


class _Answers(TorchDispatchMode):
    """A fake tensor that code asks for its value is true, or 0. Its device, which is two thirds of
    what the backward pass asks for, is told without a detour through the other modes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            if args[0].dtype == torch.bool:
                return True
            return 0.0 if args[0].dtype.is_floating_point else 0
        return func(*args, **(kwargs or {}))


def traced(
    model: WorldModel,
    window: Window,
    batch_size: int,
    precision: str,
    beside: AbstractContextManager[Any] = nullcontext(),
) -> Memory:
    """The memory of one step of a model that has not loaded its weights.

    precision: as the trainer names it. beside: what else watches the step. Raises
        FileNotFoundError where the base's configuration files are not on this machine.
    """
    live = Live()
    fake_step(model, window, batch_size, precision, _both(beside, live), live.mark)
    return _sizes(model, live)


@contextmanager
def _both(one: AbstractContextManager[Any], other: AbstractContextManager[Any]) -> Iterator[None]:
    with one, other:
        yield


def fake_step(
    model: WorldModel,
    window: Window,
    batch_size: int,
    precision: str,
    watch: AbstractContextManager[Any],
    encoded: Callable[[], None] = lambda: None,
) -> None:
    """The forward and backward pass of one step inside `watch`, without weights and values.

    encoded: called where frames have become latents.
    """
    if model.spec is None:
        raise ValueError("Expected a model with spec=ActionSpec(...), which sets its width.")
    with FakeTensorMode(allow_non_fake_inputs=True), without_weights():
        whole, mixed = _dtypes(precision)
        with _default_dtype(whole):
            model.configure_model()
        _prepare(model)
        model.train()
        clip = _clip(window, batch_size, model.spec, model.state_spec)
        autocast: AbstractContextManager[Any] = nullcontext()
        if mixed is not None:
            autocast = torch.autocast("cpu", mixed)
        model.backbone.codec = _Marked(model.backbone.codec.fresh, encoded)
        with watch, _Answers(), autocast:
            model.loss(clip)[0].backward()


class _Marked(Wrapped):
    """Calls `encoded` where the block ends in which the encoders are ready."""

    def __init__(self, codec: Codec, encoded: Callable[[], None]) -> None:
        super().__init__(codec)
        self.encoded = encoded

    @contextmanager
    def ready(self) -> Iterator[None]:
        yield
        self.encoded()


def _sizes(model: WorldModel, live: Live) -> Memory:
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = _bytes(trained)
    frozen = model.backbone.codec.frozen.values()
    return Memory(
        weights=_bytes([*model.parameters(), *model.buffers()]),
        frozen=sum(_bytes([*part.parameters(), *part.buffers()]) for part in frozen),
        gradients=gradients,
        encoding=live.before,
        activations=max(0, live.peak - gradients),
        sizes=tuple(p.numel() for p in trained),
        kind=model.optimizer,
        offload=model.offload,
    )


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


@contextmanager
def without_weights() -> Iterator[None]:
    """Inside, `from_pretrained` of diffusers and transformers reads configurations only."""
    from diffusers import ModelMixin
    from transformers import PreTrainedModel

    def without(cls: Any, folder: Any, **options: Any) -> Any:
        return untrained(cls, Path(folder), MOST_WEIGHTS), {}

    def unchanged(module: nn.Module, *args: Any, **options: Any) -> nn.Module:
        return module  # modules of fake tensors cannot be moved or converted, and need not be

    def copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
        """Torch would copy the memory that a fake tensor has not."""
        made = tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, tensor.requires_grad)
        return memo.setdefault(id(tensor), made)

    with (
        patch.object(FakeTensor, "__deepcopy__", copied, create=True),
        patch.object(nn.Module, "_apply", unchanged),
        patch("egowm.loading.variant_of", lambda folder, stem: ""),
        patch.object(ModelMixin, "from_pretrained", classmethod(without)),
        patch.object(PreTrainedModel, "from_pretrained", classmethod(without)),
    ):
        yield


def _dtypes(precision: str) -> tuple[torch.dtype, torch.dtype | None]:
    """Of the weights, and of what is computed in mixed precision; as the trainer names them."""
    name, _, kind = precision.partition("-")
    half = _HALF.get(name)
    if half is not None and kind == "true":
        return half, None
    return torch.float32, half  # "bf16" alone means "bf16-mixed"


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What modules are made in: fake ones cannot be converted afterwards."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _prepare(model: WorldModel) -> None:
    """What needs values: the text "" has zeros for an embedding. Checkpointed blocks draw nothing,
    so random states, which are values, are not kept."""
    network: Any = model.backbone.network
    if texts := model.backbone.codec.texts:
        width = next(network.config[name] for name in _TEXT_WIDTHS if name in network.config)
        texts.remember("", torch.zeros(TEXT_TOKENS, width), torch.ones(TEXT_TOKENS))
    if model.gradient_checkpointing:
        enable_gradient_checkpointing(network, partial(standard, preserve_rng_state=False))


def _clip(window: Window, count: int, spec: ActionSpec, state_spec: ActionSpec | None) -> Clip:
    """A batch as the loader gives it."""
    num_frames, width = window.context + window.horizon, state_spec.width if state_spec else 0
    frames = torch.zeros(count, num_frames, 3, window.height, window.width, dtype=torch.uint8)
    actions = torch.zeros(count, num_frames - 1, spec.width)
    words: Any = [""] * count
    future, past = actions[:, window.context - 1 :], actions[:, : window.context - 1]
    state, later = torch.zeros(count, width), torch.zeros(count, window.horizon, width)
    return Clip(frames, future, past, state, words, words, words, later)
