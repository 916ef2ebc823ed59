"""MooG: tokens off the grid, learned by predicting the next frame."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from egowm.checks import MOST_SEED, check_between, check_float, check_shape, checked
from egowm.clip import Clip
from egowm.encoder import ENCODER
from egowm.encoders.frames import FrameModule
from egowm.encoders.moog_npz import EGO4D, read_ego4d
from egowm.hub import located
from egowm.network.off_grid import Layout, OffGrid, Tokens
from egowm.off_grid import arguments_of, load, save
from egowm.pixels import check_unit


class MooG(FrameModule):
    """Tokens that are bound to what is seen and not to places of the picture (MooG, arXiv
    2411.05927).

    For each frame a predictor moves the tokens on, `zp[t] = zc[t-1] + P(zc[t-1])`; a decoder makes
    of them the colours of pixels, by attention from the pixels' places; then a corrector reads the
    frame, `zc[t] = LN(zp[t] + C(zp[t], E(x[t])))`. The loss is the squared error of the predicted
    frames. The defaults are for frames of 64x64; `MooG.from_npz` has the published sizes.

    Args:
        size: H and W of the frames, a multiple of the product of the strides.
        tokens: "off_grid", or one of two controls whose tokens lie on a grid and read the features
            at their own place only: "recurrent_grid", which carries them on, and "grid", which
            forgets those of the frame before.
        num_tokens: K; of a grid, a square number.
        width: Channels D of a token.
        layers: Of predictor, corrector and decoder.
        heads: Attention heads of predictor, corrector and decoder.
        head_width: Channels of a head.
        hidden: Channels between the two layers of an MLP.
        channels: Of the convolutions that make the features.
        strides: Of these convolutions.
        bases: Frequencies of the places of features and of pixels.
        layout: "paper", or "ego4d" as the published checkpoint is arranged: tokens are normalised
            before the predictor and decoded before it, pixels attend to each other, and the places
            of features are joined in place of being added.
        share: Share of a frame's pixels, drawn anew for each frame, of which the loss is made.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        weight_decay: AdamW's.

    >>> model = MooG(size=16, num_tokens=4, width=8, layers=(1, 1, 1), heads=(1, 1, 1))
    >>> model.tokens_of(torch.zeros(1, 5, 3, 16, 16)).shape  # predicted and corrected ones
    torch.Size([1, 5, 8, 8])
    """

    export_kind = ENCODER
    beta2 = 0.95

    @checked
    def __init__(
        self,
        size: int = 64,
        tokens: Tokens = "off_grid",
        num_tokens: int = 64,
        width: int = 96,
        layers: tuple[int, int, int] = (2, 1, 2),
        heads: tuple[int, int, int] = (4, 8, 2),
        head_width: int = 24,
        hidden: int = 192,
        channels: tuple[int, ...] = (16, 32, 64, 96),
        strides: tuple[int, ...] = (2, 1, 2, 1),
        bases: tuple[int, int] = (6, 6),
        layout: Layout = "paper",
        share: float = 1 / 32,
        learning_rate: float = 5e-4,
        warmup: int = 100,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(size, learning_rate, warmup, weight_decay)
        check_between("share", share, 1e-6, 1.0)
        self.network = OffGrid(
            size, tokens, num_tokens, width, layers, heads, head_width, hidden, channels, strides,
            bases, layout,
        )  # fmt: skip
        self.share = share

    # Training -------------------------------------------------------------------------------------

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        frames = self.videos_of(clip)
        total, logs = self.losses(frames, None)
        self.log_losses("train", total, logs, len(frames))
        return total

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        frames = self.videos_of(clip)
        total, logs = self.losses(frames, torch.Generator().manual_seed(batch_idx))
        self.log_losses("val", total, logs, len(frames))

    test_step = validation_step

    def losses(
        self, frames: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of predicted frames, and beside it that of all but the first ("next"),
        and of the frame before in their place ("copy"); videos (B, F, 3, H, W) in [0, 1]."""
        unrolled = self.network.unroll(frames, self.network.start(len(frames), generator))
        tokens, pixels = unrolled.predicted.flatten(0, 1), frames.flatten(0, 1).flatten(2).mT
        count = max(1, round(self.share * pixels.shape[1]))
        drawn = torch.rand(pixels.shape[:2], generator=generator).topk(count).indices
        here = drawn.to(frames.device)[..., None]
        places = self.network.places.expand(len(pixels), -1, -1)  # type: ignore[operator,union-attr]
        made = self.network.decode(tokens, places.gather(1, here.expand(-1, -1, 2)))
        off = made - pixels.gather(1, here.expand(-1, -1, 3))
        error = off.square().unflatten(0, (-1, frames.shape[1]))
        if frames.shape[1] < 2:
            return error.mean(), {}
        copied = (frames[:, 1:] - frames[:, :-1]).square().mean()
        return error.mean(), {"next": error[:, 1:].mean().detach(), "copy": copied}

    # Use ------------------------------------------------------------------------------------------

    @checked
    @torch.no_grad()
    def tokens_of(self, frames: Tensor, seed: int = 0) -> Tensor:
        """Tokens of videos for read-outs, (B, F, 2 K, D): first the predicted ones of a frame, then
        the corrected ones.

        Args:
            frames: (B, F, 3, H, W) in [0, 1], of the model's size.
            seed: Of the noise that the tokens begin as.
        """
        size = self.size
        check_shape("frames", frames, "B F 3 H W", H=size, W=size)
        check_float("frames", frames)
        check_between("seed", seed, -MOST_SEED, MOST_SEED)
        check_unit("frames", frames)
        start = self.network.start(len(frames), torch.Generator().manual_seed(seed))
        return torch.cat(self.network.unroll(frames.to(start), start), 2)

    # Exports --------------------------------------------------------------------------------------

    @checked
    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write an export: weights, and the arguments of the network.

        Args:
            folder: New, or an export, which is replaced.
            dtype: The weights are rounded to it; None keeps theirs.
        """
        save(self.network, Path(folder), dtype)

    @classmethod
    @checked
    def from_pretrained(
        cls, folder: Path | str, *, revision: str | None = None, download: bool = False
    ) -> Self:
        """Load an export, in eval mode.

        Args:
            folder: That `save_pretrained` or `egowm export` wrote, or an id of the Hugging Face hub
                in the local cache.
            revision: Branch, tag or commit of a hub id; None takes main, as cached.
            download: Download a hub id that is not cached; needs a pinned `revision`.

        Raises:
            FileNotFoundError: A file that is missing.
            ValueError: A folder of something else, or damaged files.
            OSError: A download that failed, and why.
        """
        network = load(located(folder, revision, download))
        model = cls(**arguments_of(network))
        model.network = network
        return model.eval()

    @classmethod
    @checked
    def from_npz(cls, path: Path | str) -> Self:
        """The published Ego4D checkpoint: 1024 tokens of 512, for frames of 256x256.

        The names of its arrays follow from the published notebook that opens it; the file itself
        was never opened here.

        Args:
            path: The backbone's npz, whose arrays are named as `encoder/backbone/Conv_0/kernel`.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Arrays that are missing, unknown, of another shape or not finite.
        """
        model = cls(**EGO4D)
        model.network.load_state_dict(read_ego4d(Path(path), model.network))
        return model.eval()
