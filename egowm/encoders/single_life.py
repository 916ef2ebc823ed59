"""SingleLife: hidden patches of a frame are completed from another frame of the same video."""

import json
from pathlib import Path
from typing import Any, Self, TypedDict

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from egowm.checks import check_alike, check_between, check_shape, checked
from egowm.clip import Clip
from egowm.encoder import DECODER, DECODER_WEIGHTS, ENCODER, Encoder, standardised
from egowm.encoders.base import MOST, EncoderModule, follow
from egowm.encoders.crops import random_crops
from egowm.encoders.cross_view import Decoder
from egowm.encoders.pairs import draw, kinds_of
from egowm.encoders.transformer import EPS, gathered, transformer
from egowm.files import filled
from egowm.hub import located
from egowm.network.finite import check_finite, check_rounded
from egowm.readable import undamaged
from egowm.sizes import no_larger_than, room_for
from egowm.typed_json import read_json

FEW = 0.5  # share of hidden patches that any grid allows, where nothing is trained


class _Decoder(TypedDict):
    width: int
    layers: int


class SingleLife(EncoderModule):
    """An image encoder that completes one view of a scene from another (Han et al. 2025).

    Source and target are two frames of one video. Most of the target's patches are hidden. One
    encoder sees the source and what is left of the target; a decoder looks from the target at the
    source and gives the hidden pixels. The loss is their mean squared error, each patch's pixels
    normalised to mean 0 and variance 1. On `transformers.IJepaModel`: a vision transformer without
    cls token, which no loss would train; positions are fixed. AdamW with betas 0.9 and 0.95.

    Args:
        pairs: "temporal", near in time; "spatial", of the same points (of `egowm.data.Rooms`, which
            give depth and pose); "random", any two frames of a clip; "augmented", two crops of one
            frame, the control; or several of them joined by "+", drawn evenly. A clip of F frames
            gives F // 2 pairs.
        gap: Most frames of the clip between the two of a temporal pair, at least 1.
        overlap: Least and largest Jaccard index of a spatial pair's points, in [0, 1].
        masked: Share of the target's patches that are hidden, in (0, 1).
        decoder_width: Channels of the decoder, a multiple of `heads` and of 4.
        decoder_layers: Its layers.
        size: H and W of the frames, a multiple of `patch`.
        patch: H and W of a patch in pixels.
        width: Channels of the encoder, a multiple of `heads` and of 4.
        layers: Its layers.
        heads: Attention heads of encoder and decoder.
        crop: Smallest share of a frame's area that is cut out and enlarged, in (0, 1], source and
            target each on its own, also in validation; 1 leaves frames as they are.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        weight_decay: AdamW's.

    >>> model = SingleLife(size=16, patch=4, width=8, layers=1, heads=2, decoder_width=8)
    >>> model.configure_model()
    >>> model.attention(*torch.zeros(2, 1, 3, 16, 16)).shape
    torch.Size([1, 16, 16])
    """

    beta2 = 0.95

    @checked
    def __init__(
        self,
        pairs: str = "temporal",
        gap: int = 4,
        overlap: tuple[float, float] = (0.3, 0.9),
        masked: float = 0.9,
        decoder_width: int = 64,
        decoder_layers: int = 2,
        size: int = 64,
        patch: int = 8,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        crop: float = 0.6,
        learning_rate: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__(
            size, patch, width, layers, heads, crop, 0.0, learning_rate, warmup, weight_decay
        )
        self.kinds = kinds_of(pairs)
        check_between("gap", gap, 1, 10**6)
        check_between("decoder_layers", decoder_layers, 1, 1000)
        if not 0 <= overlap[0] <= overlap[1] <= 1:
            raise ValueError(
                f"Expected an overlap of two numbers that rise in [0, 1], got {overlap}."
            )
        check_between("decoder_width", decoder_width, 4, MOST)
        if width % 4 or decoder_width % 4 or decoder_width % heads:
            raise ValueError(
                f"Expected a width that is a multiple of 4, and a decoder_width that is one of 4 "
                f"and of the heads, {heads}; got {width} and {decoder_width}."
            )
        if "augmented" in self.kinds and crop == 1:
            raise ValueError("Expected a crop below 1: augmented pairs are two crops of one frame.")
        self.count = (size // patch) ** 2
        check_between("masked", masked, 0.0, 1.0)
        self.hidden = round(masked * self.count)
        if not 1 <= self.hidden < self.count:
            raise ValueError(
                f"Expected a share masked that hides some of {self.count} patches and leaves some, "
                f"got {masked:g}."
            )
        self.gap, self.overlap = gap, overlap
        self.decoder_width, self.decoder_layers = decoder_width, decoder_layers

    def network(self) -> nn.Module:
        return transformer(self.width, self.layers, self.heads, self.size, self.patch)

    def build(self) -> None:
        narrow, side, out = self.decoder_width, self.size // self.patch, 3 * self.patch**2
        self.decoder = Decoder(self.width, narrow, self.decoder_layers, self.heads, side, out)

    def teach(self, momentum: float) -> None:
        """Copy the student, which is exported as it is.

        Args:
            momentum: Not used: nothing is averaged.
        """
        follow(self.teacher, self.student, 0.0)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.check_data(getattr(self.trainer, "datamodule", None))

    def check_data(self, data: Any) -> None:
        """Refuse data without depth and pose where spatial pairs are drawn."""
        if "spatial" in self.kinds and not hasattr(data, "geometry"):
            raise ValueError(
                f"Spatial pairs need depth and pose, which egowm.data.Rooms has, got "
                f"{type(data).__name__}: leave spatial out of the pairs."
            )

    def losses_of(
        self, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss and logs of pairs of frames of a batch of clips."""
        data = getattr(self.trainer, "datamodule", None) if self._trainer is not None else None
        return self.losses(torch.cat(self.paired(clip, data, generator)), generator)

    def paired(
        self, clip: Clip, data: Any, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Sources and targets, each (P, 3, H, W) in [0, 1], of a batch of clips of some data."""
        videos = self.videos_of(clip)

        def geometry(number: int) -> Any:
            return data.geometry(clip.name[number])

        clips, frames = videos.shape[:2]
        rows = draw(self.kinds, clips, frames, self.gap, self.overlap, geometry, generator)
        rows = rows.to(videos.device)
        made = []
        for column in (1, 2):
            pictures = videos[rows[:, 0], rows[:, column]]
            if self.crop < 1:
                pictures = random_crops(pictures, self.size, (self.crop, 1.0), generator)
            made.append(pictures)
        return made[0], made[1]

    def losses(
        self, frames: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss of pairs: all sources (P, 3, H, W), and after them their targets."""
        sources, targets = frames.chunk(2)
        seen, hidden = self.masks(len(targets), generator)
        seen, hidden = seen.to(frames.device), hidden.to(frames.device)
        made = self.decoder(self.features(sources), self.features(targets, seen), seen)
        pixels = F.unfold(standardised(targets), self.patch, stride=self.patch).mT
        wanted = F.layer_norm(pixels, pixels.shape[-1:], eps=EPS)
        return F.mse_loss(gathered(made, hidden), gathered(wanted, hidden)), {}

    def masks(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Numbers of the patches that are seen and of those that are hidden, each (count, ...)."""
        order = torch.rand(count, self.count, generator=generator).argsort(1)
        return order[:, self.hidden :], order[:, : self.hidden]

    def features(self, frames: Tensor, seen: Tensor | None = None) -> Tensor:
        """The student's features (M, N, width) of frames, or of the patches (M, N) alone that are
        seen."""
        student: Any = self.student
        hidden: Tensor = student.embeddings(standardised(frames))
        if seen is not None:
            hidden = gathered(hidden, seen)
        for layer in student.layers:
            hidden = layer(hidden)
        return student.layernorm(hidden)  # type: ignore[no-any-return]

    @torch.no_grad()
    def attention(self, sources: Tensor, targets: Tensor) -> Tensor:
        """Where the patches of each target look in its source, (P, N, N), rows of sum 1: the
        decoder's cross-attention, averaged over its layers and heads. Nothing is hidden.

        Args:
            sources: (P, 3, H, W) in [0, 1].
            targets: As sources.
        """
        check_shape("sources", sources, "P 3 H W", H=self.size, W=self.size)
        check_alike("targets", targets, "sources", sources)
        return self.looks(self.features(sources), self.features(targets))

    @torch.no_grad()
    def looks(self, sources: Tensor, targets: Tensor) -> Tensor:
        """The same of features (P, N, width) of sources and targets, or of one source (1, N, width)
        for all targets."""
        maps: list[Tensor] = []
        everything = torch.arange(self.count, device=targets.device).expand(len(targets), -1)
        self.decoder(sources.expand_as(targets), targets, everything, maps)
        return torch.stack(maps).mean(0)

    @checked
    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the encoder as a folder that `Encoder.from_pretrained` and transformers open, and
        the decoder beside it.

        Args:
            folder: New, or one that was written so before, which is replaced.
            dtype: The weights are rounded to it; None keeps theirs.
        """
        folder, encoder = Path(folder), self.encoder()
        exact = self.decoder.state_dict()
        check_finite(exact, "Nothing was written", "Export an earlier checkpoint.")
        rounded = {k: v.detach().cpu().to(dtype or v.dtype) for k, v in exact.items()}
        advice = "Export without rounding: no --half."
        check_rounded(rounded, exact.__getitem__, "Nothing was written", advice)
        shape: _Decoder = {"width": self.decoder_width, "layers": self.decoder_layers}
        with filled(folder, ENCODER) as temporary:
            encoder.write(temporary, folder, dtype)
            save_file(rounded, temporary / DECODER_WEIGHTS)
            (temporary / DECODER).write_text(json.dumps(shape) + "\n")

    @classmethod
    def from_pretrained(
        cls, folder: Path | str, *, revision: str | None = None, download: bool = False
    ) -> Self:
        """Load encoder and decoder of an export.

        Args:
            folder: Written by `egowm export`, or an id of the Hugging Face hub in the local cache.
            revision: Branch, tag or commit of a hub id; None takes main, as cached.
            download: Download a hub id that is not cached; needs a pinned `revision`.

        Raises:
            FileNotFoundError: A file that is missing, such as the decoder of another encoder.
            ValueError: Another kind of model, or a damaged file.
            OSError: A download that failed, and why.
        """
        folder = located(folder, revision, download)
        for file in (folder / DECODER, folder / DECODER_WEIGHTS):
            if not file.is_file():
                raise FileNotFoundError(
                    f"Expected {file}, found none: give the export of a SingleLife, as a whole "
                    f"(egowm export)."
                )
        shape: _Decoder = read_json(folder / DECODER, _Decoder, "the decoder of a SingleLife")
        encoder = Encoder.from_pretrained(folder)
        config: Any = encoder.network.config
        if config.model_type != "ijepa":
            raise ValueError(f"{folder}: expected a SingleLife, got {config.model_type}.")
        weights = folder / DECODER_WEIGHTS
        files = [*folder.glob("model*.safetensors"), weights]
        with undamaged(folder), no_larger_than(*room_for(files)):
            model = cls(
                masked=FEW,
                size=config.image_size,
                patch=config.patch_size,
                width=config.hidden_size,
                layers=config.num_hidden_layers,
                heads=config.num_attention_heads,
                decoder_width=shape["width"],
                decoder_layers=shape["layers"],
            )
            model.configure_model()
            model.student.load_state_dict(encoder.network.state_dict())
            model.teach(0.0)
            model.decoder.load_state_dict(load_file(weights))
        check_finite(model.decoder.state_dict(), str(weights), "Export an earlier checkpoint.")
        return model.eval()
