"""Frozen image encoders in transformers' own folders: DINOv2, I-JEPA, and those trained here."""

import math
from collections.abc import Sequence
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, Self, TypedDict

import torch
from torch import Tensor, nn

from egowm.checks import check_between, check_float, check_shape, checked
from egowm.files import FolderKind, filled
from egowm.hub import located
from egowm.loading import load_model
from egowm.network.finite import check_finite, check_rounded
from egowm.on_hub import OnHub
from egowm.typed_json import read_json

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
MOST_PIXELS = 8192  # of a side
PREPROCESSOR = "preprocessor_config.json"
DECODER, DECODER_WEIGHTS = "decoder.json", "decoder.safetensors"  # of a SingleLife, beside it
ENCODER = FolderKind(
    "egowm export", r"config\.json|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?|"
    r"preprocessor_config\.json|decoder\.(json|safetensors)|README\.md"
)  # fmt: skip


class PatchFeatures(NamedTuple):
    """Features of B frames.

    cls: (B, D), one vector a frame: the cls token, or the mean of the patches in a network without
    one (I-JEPA). patches: (B, h, w, D).
    """

    cls: Tensor
    patches: Tensor


class _Preprocessor(TypedDict):
    image_mean: NotRequired[tuple[float, float, float] | None]
    image_std: NotRequired[tuple[float, float, float] | None]
    do_normalize: NotRequired[bool | None]
    do_rescale: NotRequired[bool | None]
    do_center_crop: NotRequired[bool | None]
    size: NotRequired[dict[str, int] | int | None]
    crop_size: NotRequired[dict[str, int] | int | None]


@checked
class Encoder(OnHub, nn.Module):
    """A frozen vision transformer that turns frames into features.

    Args:
        network: A vision transformer of transformers (`Dinov2Model`, `IJepaModel` ...).
        size: H and W to which frames are resized, a multiple of the patch size; None takes the size
            that the network was made for.
        mean: Of red, green and blue in [0, 1], subtracted from the frames; ImageNet's by default.
        std: By which the difference is divided.

    Raises:
        ValueError: A size that is no multiple of the patch size, or a network without patches.

    >>> from transformers import IJepaConfig, IJepaModel
    >>> shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> network = IJepaModel(IJepaConfig(**shape, image_size=16, patch_size=4))
    >>> Encoder(network).encode(torch.zeros(2, 3, 16, 16)).patches.shape
    torch.Size([2, 4, 4, 8])
    """

    def __init__(
        self,
        network: nn.Module,
        size: int | None = None,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__()
        config: Any = getattr(network, "config", None)
        patch = getattr(config, "patch_size", None)
        if not isinstance(patch, int) or patch < 1:
            raise ValueError(
                f"Expected a vision transformer with square patches, got {type(network).__name__}."
            )
        size = config.image_size if size is None else size
        if not isinstance(size, int) or size % patch:
            raise ValueError(f"Expected a size that is a multiple of {patch}, got {size}.")
        check_between("size", size, patch, MOST_PIXELS)
        finite = all(math.isfinite(x) for x in (*mean, *std))
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not finite:
            raise ValueError(
                f"Expected 3 means and 3 deviations above 0, all finite, got {mean} and {std}."
            )
        asked = signature(network.forward).parameters
        fixed = "interpolate_pos_encoding" in asked  # else positions are interpolated anyway
        self.options = {"interpolate_pos_encoding": True} if fixed else {}
        self.network = network.requires_grad_(False).eval()
        self.size, self.patch, self.width = size, patch, int(config.hidden_size)
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        size: int | None = None,
        *,
        revision: str | None = None,
        download: bool = False,
    ) -> Self:
        """Load a vision transformer; nothing is downloaded unless that is asked.

        Args:
            folder: In transformers' format, or an id of the Hugging Face hub in the local cache.
                Mean, deviation and size come from its preprocessor_config.json where there is one.
            size: H and W to which frames are resized, a multiple of the patch size; None takes the
                folder's.
            revision: Branch, tag or commit of a hub id; None takes main, as cached.
            download: Download a hub id that is not cached; needs a pinned `revision`.

        Raises:
            FileNotFoundError: A file, repository or revision that is missing.
            ValueError: Another size, another kind of model, or a damaged file.
            OSError: A download that failed, and why.
        """
        from transformers import AutoModel

        folder = located(folder, revision, download)
        found, mean, std = _preparation(folder / PREPROCESSOR)
        network = load_model(AutoModel, folder)
        return cls(network, found if size is None else size, mean, std)

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write a folder that `AutoModel` and `AutoImageProcessor` of transformers open, too.

        Args:
            folder: New, or one that was written so before, which is replaced.
            dtype: The weights are rounded to it; None keeps theirs.
        """
        folder = Path(folder)
        with filled(folder, ENCODER) as temporary:
            self.write(temporary, folder, dtype)

    def write(self, temporary: Path, folder: Path, dtype: torch.dtype | None = None) -> None:
        """Write the files of `save_pretrained` into a folder that takes another name later.

        Args:
            temporary: Where they are written; it exists.
            folder: Its later name, which the README tells.
            dtype: The weights are rounded to it; None keeps theirs.
        """
        from transformers import ViTImageProcessor

        exact = self.network.state_dict()
        check_finite(exact, "Nothing was written", "Export an earlier checkpoint.")
        network: Any = deepcopy(self.network).cpu()
        if dtype is not None:
            network = network.to(dtype)
            advice = "Export without rounding: no --half."
            check_rounded(network.state_dict(), exact.__getitem__, "Nothing was written", advice)
        sides = {"height": self.size, "width": self.size}
        processor = ViTImageProcessor(
            size=sides, resample=3, image_mean=list(self.mean), image_std=list(self.std)
        )
        network.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        (temporary / "README.md").write_text(self._readme(folder), encoding="utf-8")

    def encode(self, frames: Tensor) -> PatchFeatures:
        """Features of frames.

        Args:
            frames: (B, 3, H, W) in [0, 1], of any size.
        """
        check_shape("frames", frames, "B 3 H W")
        check_float("frames", frames)
        hidden = self.network(self.standardised(frames), **self.options).last_hidden_state
        side = self.size // self.patch
        patches = hidden[:, -(side**2) :]
        alone = hidden.shape[1] == side**2
        cls = patches.mean(1) if alone else hidden[:, 0]
        return PatchFeatures(cls, patches.unflatten(1, (side, side)))

    def forward(self, frames: Tensor) -> Tensor:
        """The patches alone, channels first: (B, D, h, w).

        Args:
            frames: (B, 3, H, W) in [0, 1], of any size.
        """
        return self.encode(frames).patches.movedim(-1, 1)

    def train(self, mode: bool = True) -> Self:
        """Nothing: it is frozen, and stays in eval mode.

        Args:
            mode: Of what it is a part of.
        """
        return super().train(False)

    def standardised(self, frames: Tensor) -> Tensor:
        """What the network sees: frames of its size, less the mean, over the deviation.

        Args:
            frames: (B, 3, H, W) in [0, 1], of any size.
        """
        if frames.shape[-2:] != (self.size, self.size):
            frames = nn.functional.interpolate(
                frames, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False
            )
        return standardised(frames, self.mean, self.std)

    def _readme(self, folder: Path) -> str:
        kind = type(self.network).__name__
        return f"""# Image encoder

`{kind}` of transformers: patches of {self.patch}x{self.patch}, width {self.width}, frames of
{self.size}x{self.size}.

```python
import torch

from egowm import Encoder

encoder = Encoder.from_pretrained("{folder.as_posix()}")
cls, patches = encoder.encode(torch.rand(1, 3, {self.size}, {self.size}))  # (B, D), (B, h, w, D)
```
"""


def standardised(
    frames: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
) -> Tensor:
    """Frames (B, 3, H, W) in [0, 1] less the mean of each channel, over its deviation."""
    parts = (torch.tensor(v, device=frames.device)[:, None, None] for v in (mean, std))
    less, over = parts
    return (frames - less) / over


def patch_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """1 minus the mean cosine (B,) between patches of one place: 0 for equal frames, at most 2.

    Args:
        made: Patches (B, h, w, D) of `Encoder.encode`.
        wanted: Those of other frames, as many or one.
    """
    return 1 - torch.cosine_similarity(made, wanted, dim=-1).mean((1, 2))


def _preparation(path: Path) -> tuple[int | None, Sequence[float], Sequence[float]]:
    """Size, mean and deviation of a folder's frames; ImageNet's, and no size, without the file."""
    if not path.is_file():
        return None, MEAN, STD
    expected = "settings of an image processor of transformers"
    told: _Preprocessor = read_json(path, _Preprocessor, expected, partial=True)
    size = told.get("crop_size") if told.get("do_center_crop") else told.get("size")
    if isinstance(size, dict):
        sides = {size[key] for key in ("height", "width", "shortest_edge") if key in size}
        if len(sides) > 1:
            raise ValueError(f"{path}: expected frames that are square, got {size}.")
        size = sides.pop() if sides else None
    if told.get("do_rescale") is False:
        raise ValueError(f"{path}: expected an encoder of pixels in [0, 1], not of 0 to 255.")
    if told.get("do_normalize") is False:
        return size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return size, told.get("image_mean") or MEAN, told.get("image_std") or STD
