"""Wrappers of a codec, which do less work or need less memory for the same latents.

`Remembered` keeps what was encoded before, `Cached` takes encodings from a latent cache, and
`Offloaded` keeps the weights in main memory until they are needed.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import blake2b
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from egowm.backbones.codec import Codec
from egowm.clip import Encodings


class Wrapped(Codec):
    """A codec of which some methods do something else; all others are those of `codec`."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def __getattr__(self, name: str) -> Any:
        if name == "codec":  # while it is copied
            raise AttributeError(name)
        return getattr(self.codec, name)

    def latents(self, frames: Tensor) -> Tensor:
        return self.codec.latents(frames)

    def context(self, frames: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        return self.codec.context(frames, num_frames)

    def embed_image(self, image: Tensor) -> Tensor:
        return self.codec.embed_image(image)

    def scale(self, latents: Tensor) -> Tensor:
        return self.codec.scale(latents)

    def decode(self, latents: Tensor) -> Tensor:
        return self.codec.decode(latents)

    def decode_frame(self, latents: Tensor, index: int, window: int | None = None) -> Tensor:
        return self.codec.decode_frame(latents, index, window)

    def encode_for_cache(self, frames: Tensor, num_context: int) -> Encodings:
        return self.codec.encode_for_cache(frames, num_context)

    def cached_context(self, encodings: Encodings, num_context: int) -> tuple[Tensor, ...]:
        return self.codec.cached_context(encodings, num_context)

    @property
    def needs_pixels(self) -> bool:
        return self.codec.needs_pixels

    @property
    def modules(self) -> dict[str, nn.Module]:
        return self.codec.modules

    def ready(self) -> AbstractContextManager[None]:
        return self.codec.ready()

    @property
    def fresh(self) -> Codec:
        return self.codec.fresh


class Memo:
    """Up to `size` results in main memory; the oldest leave first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held: OrderedDict[tuple[Any, ...], Tensor] = OrderedDict()

    def __call__(
        self, pictures: Tensor, compute: Callable[[Tensor], Tensor], *about: int
    ) -> Tensor:
        """`compute` of pictures or videos (N, ...) in [-1, 1], only for those not met before.

        about: what the results depend on besides.
        """
        if pictures.requires_grad:  # what is remembered has no gradient
            return compute(pictures)
        pixels = ((pictures + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        keys = [(*about, blake2b(pic.tobytes(), digest_size=16).digest()) for pic in pixels]
        missing = {key: k for k, key in enumerate(keys) if key not in self.held}
        if missing:
            made = compute(pictures[list(missing.values())]).cpu()
            self.held.update(zip(missing, made, strict=True))
        results = torch.stack([self.held[key] for key in keys]).to(pictures)
        while len(self.held) > self.size:
            self.held.popitem(last=False)
        return results


class Remembered(Wrapped):
    """A codec that encodes what it has met before only once: a data set that fits, in one epoch.

    Args:
        codec: Whose results are kept.
        size: Number of videos (of frames, where each is encoded by itself), of contexts and of
            images of which they are kept.
    """

    def __init__(self, codec: Codec, size: int) -> None:
        super().__init__(codec)
        self.videos, self.contexts, self.images = Memo(size), Memo(size), Memo(size)

    def latents(self, frames: Tensor) -> Tensor:
        if not self.frame_wise:
            return self.videos(frames, self.codec.latents)
        each = self.videos(frames.flatten(0, 1)[:, None], self.codec.latents)
        return each.flatten(0, 1).unflatten(0, frames.shape[:2])

    def context(self, frames: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        if self.frame_wise:
            return (self.latents(frames),)

        def compute(videos: Tensor) -> Tensor:
            return torch.stack(self.codec.context(videos, num_frames), 1)

        return self.contexts(frames, compute, num_frames).unbind(1)

    def embed_image(self, image: Tensor) -> Tensor:
        return self.images(image, self.codec.embed_image)


class Cached(Wrapped):
    """A codec for a batch of clips whose encodings come from a latent cache.

    Frames are not looked at, except where the cache holds no encodings of them.

    Args:
        codec: The one that the cache was made with.
        encodings: Those of the batch, each with a first axis B.
    """

    def __init__(self, codec: Codec, encodings: Encodings) -> None:
        super().__init__(codec)
        self.encodings = encodings

    def latents(self, frames: Tensor) -> Tensor:
        return self.encodings.latents[:, -self.num_latents(frames.shape[1]) :].float()

    def context(self, frames: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        held = self.codec.cached_context(self.encodings, frames.shape[1])
        return tuple(tensor.float() for tensor in held)

    def embed_image(self, image: Tensor) -> Tensor:
        held = self.encodings.image
        return held.float() if held.numel() else self.codec.embed_image(image)

    def ready(self) -> AbstractContextManager[None]:
        return self.codec.ready() if self.needs_pixels else nullcontext()


class Offloaded(Wrapped):
    """A codec whose weights lie in main memory, and come to the GPU while they are needed.

    Moving the model does not move them; changing its type does change theirs.

    Args:
        codec: Whose weights are kept off the GPU.
        network: The network beside it, to whose device they come.
    """

    def __init__(self, codec: Codec, network: nn.Module) -> None:
        super().__init__(codec)
        self.network = network
        for part in self.frozen.values():
            part._apply = MethodType(_change_type, part)  # type: ignore[method-assign]

    def ready(self) -> AbstractContextManager[None]:
        return brought_to(next(self.network.parameters()).device, list(self.frozen.values()))


def _change_type(module: nn.Module, move: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
    """As `nn.Module._apply`, but tensors stay on their device."""
    return type(module)._apply(module, lambda t: t.to(move(t.new_empty(0)).dtype), recurse)


@contextmanager
def brought_to(device: torch.device, modules: list[nn.Module]) -> Iterator[None]:
    """Inside, the weights of frozen modules are on `device`; afterwards where they were.

    The weights in main memory stay there, so only the way to the device takes time.
    Raises ValueError where a gradient is to flow through them: the way back would miss them.
    """
    if torch.is_grad_enabled():
        raise ValueError(
            "A gradient through the VAE needs it on the GPU all the time: set "
            "--model.offload false (WorldModel(..., offload=False))."
        )
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    homes = [tensor.data for tensor in tensors]
    try:
        for tensor, home in zip(tensors, homes, strict=True):
            tensor.data = home.to(device, non_blocking=True)
        yield
    finally:
        for tensor, home in zip(tensors, homes, strict=True):
            tensor.data = home
