"""I-JEPA: features of hidden blocks of a picture are predicted from the rest of it."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egowm.checks import check_between, checked
from egowm.encoder import standardised
from egowm.encoders.base import MOST, EncoderModule
from egowm.encoders.masks import Masks, multi_block
from egowm.encoders.positions import sine_cosine
from egowm.encoders.transformer import EPS, gathered, transformer


class IJEPA(EncoderModule):
    """An image encoder that predicts features of hidden blocks (I-JEPA, arXiv 2301.08243).

    The student sees the context of each picture; a narrow predictor makes of it, and of the places
    of a block, the features that the teacher has of that block in the whole picture. The loss is
    between prediction and features, each patch's normalised to mean 0 and variance 1. There is no
    augmentation but the crop. On `transformers.IJepaModel`; positions are fixed.

    Args:
        targets: "features" of the teacher, or "pixels", each patch's normalised in the same way:
            the ablation.
        loss: "smooth_l1", or "l2", the mean squared error.
        predictor_width: Channels of the predictor, a multiple of `heads` and of 4.
        predictor_layers: Its layers.
        size: H and W of the frames, a multiple of `patch`.
        patch: H and W of a patch in pixels; at least 6 patches lie along a side.
        width: Channels of the encoder, a multiple of `heads` and of 4.
        layers: Its layers.
        heads: Attention heads of encoder and predictor.
        crop: Smallest share of a frame's area that is cut out and enlarged in training, in (0, 1];
            1 leaves frames as they are.
        momentum: Share of itself that the teacher keeps in the first step, in [0, 1]; it rises
            to 1 linearly.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        weight_decay: AdamW's.

    >>> model = IJEPA(size=24, patch=4, width=8, layers=1, heads=2, predictor_width=8)
    >>> model.configure_model()
    >>> model.encoder().encode(torch.zeros(1, 3, 24, 24)).patches.shape
    torch.Size([1, 6, 6, 8])
    """

    @checked
    def __init__(
        self,
        targets: Literal["features", "pixels"] = "features",
        loss: Literal["smooth_l1", "l2"] = "smooth_l1",
        predictor_width: int = 64,
        predictor_layers: int = 2,
        size: int = 64,
        patch: int = 8,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        crop: float = 0.3,
        momentum: float = 0.996,
        learning_rate: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.04,
    ) -> None:
        super().__init__(
            size, patch, width, layers, heads, crop, momentum, learning_rate, warmup, weight_decay
        )
        check_between("patches along a side", size // patch, 6, 1024)
        check_between("predictor_layers", predictor_layers, 1, 1000)
        check_between("predictor_width", predictor_width, 4, MOST)
        if width % 4 or predictor_width % 4 or predictor_width % heads:
            raise ValueError(
                f"Expected a width that is a multiple of 4, and a predictor_width that is one of "
                f"4 and of the heads, {heads}; got {width} and {predictor_width}."
            )
        self.targets, self.loss = targets, loss
        self.predictor_width, self.predictor_layers = predictor_width, predictor_layers

    def network(self) -> nn.Module:
        return transformer(self.width, self.layers, self.heads, self.size, self.patch)

    def build(self) -> None:
        out = self.width if self.targets == "features" else 3 * self.patch**2
        self.predictor = Predictor(
            self.width, self.predictor_width, self.predictor_layers, self.heads, self.side, out
        )

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.size // self.patch

    def losses(
        self, frames: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        masks = Masks(
            *(x.to(frames.device) for x in multi_block(self.side, len(frames), generator))
        )
        made = self.predicted(frames, masks)
        wanted = gathered(self.wanted(frames), masks.targets.flatten(1)).view_as(made)
        if self.loss == "l2":
            return F.mse_loss(made, wanted), {}
        return F.smooth_l1_loss(made, wanted), {}

    def predicted(self, frames: Tensor, masks: Masks) -> Tensor:
        """Of frames (M, 3, H, W) in [0, 1], what the predictor makes of the targets' patches,
        (M, 4, Nt, D)."""
        student: Any = self.student
        hidden = gathered(student.embeddings(standardised(frames)), masks.context)
        attend = attendable(masks.seen).to(hidden.dtype)
        for layer in student.layers:
            hidden = layer(hidden, attend)
        made: Tensor = self.predictor(student.layernorm(hidden), masks)
        return made

    @torch.no_grad()
    def wanted(self, frames: Tensor) -> Tensor:
        """What is to be predicted of every patch of frames (M, 3, H, W) in [0, 1], (M, P, D), each
        with mean 0 and variance 1."""
        seen = standardised(frames)
        if self.targets == "features":
            teacher: Any = self.teacher
            found: Tensor = teacher(seen).last_hidden_state
        else:
            found = F.unfold(seen, self.patch, stride=self.patch).mT
        return F.layer_norm(found, found.shape[-1:], eps=EPS)


class Predictor(nn.Module):
    """A narrow transformer from the context's features and the places of a block to the block's.

    Args:
        width: Channels of the context's features.
        narrow: Channels inside.
        layers: Layers.
        heads: Attention heads.
        side: Patches along a side.
        out: Channels of what is predicted.
    """

    def __init__(
        self, width: int, narrow: int, layers: int, heads: int, side: int, out: int
    ) -> None:
        super().__init__()
        network: Any = transformer(narrow, layers, heads, side, 1)
        self.layers, self.norm = network.layers, network.layernorm
        self.enter, self.leave = nn.Linear(width, narrow), nn.Linear(narrow, out)
        self.token = nn.Parameter(0.02 * torch.randn(narrow))
        self.register_buffer("places", sine_cosine(narrow, side), persistent=False)
        self.places: Tensor

    def forward(self, context: Tensor, masks: Masks) -> Tensor:
        """Of features (M, Nc, D) of the context, predictions (M, 4, Nt, out); each block is
        predicted without the others."""
        blocks = masks.targets.shape[1]
        known = self.enter(context) + self.places[masks.context]
        asked = self.token + self.places[masks.targets.flatten(0, 1)]
        hidden = torch.cat([known.repeat_interleave(blocks, 0), asked], 1)
        seen = F.pad(masks.seen.repeat_interleave(blocks, 0), (0, asked.shape[1]), value=True)
        attend = attendable(seen).to(hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, attend)
        made = self.leave(self.norm(hidden[:, -asked.shape[1] :]))
        return made.unflatten(0, (-1, blocks))  # type: ignore[no-any-return]


def attendable(seen: Tensor) -> Tensor:
    """What is added to the attention, (M, 1, 1, N): minus infinity at tokens that are not seen."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)[:, None, None]
