"""Pictures of what encoders see: colours of patches, completed views, tokens that are followed."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from egowm.checks import (
    MOST_SEED,
    check_alike,
    check_between,
    check_float,
    check_shape,
    checked,
    counted,
)
from egowm.encoders.moog import MooG
from egowm.encoders.single_life import SingleLife
from egowm.encoders.transformer import EPS
from egowm.pixels import check_unit

GREY = 0.5  # of hidden patches
TAILS = 0.02  # share of the patches that is cut off at each end of a colour's range


class Completed(NamedTuple):
    """Views that were completed from another one, (P, 3, H, W) in [0, 1].

    seen: the targets with grey in place of what was hidden. completed: the hidden patches as the
    model makes them. It was taught their contrast alone, so brightness and contrast of each hidden
    patch are those of the true one.

    >>> Completed(seen=torch.zeros(1, 3, 8, 8), completed=torch.ones(1, 3, 8, 8)).completed.mean()
    tensor(1.)
    """

    seen: Tensor
    completed: Tensor


@checked
def patch_colours(patches: Tensor) -> Tensor:
    """Colours of patches by their first three principal components, over all frames together, as in
    figure 1 of DINOv2 (arXiv 2304.07193): like colours are like features.

    Args:
        patches: (N, h, w, D), of frames that are shown together; finite.

    Returns:
        (N, 3, h, w) in [0, 1]. The first component is red; each is turned so that the feature that
        counts most in it counts positively.

    >>> shades = torch.linspace(0, 1, 4).reshape(1, 2, 2, 1) * torch.eye(3)[0]
    >>> patch_colours(shades)[0, 0]
    tensor([[0.0000, 0.3264],
            [0.6736, 1.0000]])
    """
    check_shape("patches", patches, "N h w D")
    check_float("patches", patches)
    if not patches.isfinite().all():
        raise ValueError("Expected patches of finite numbers, got NaN or infinity.")
    flat = patches.flatten(0, 2).double()
    flat = flat - flat.mean(0)
    _, axes = torch.linalg.eigh(flat.mT @ flat)  # the strongest comes last
    axes = axes[:, -3:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    told = F.pad(flat @ axes, (0, 3 - axes.shape[1]))
    low, high = (torch.quantile(told[:: 1 + len(told) // 10**6], q, 0) for q in (TAILS, 1 - TAILS))
    shades = ((told - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return shades.float().unflatten(0, patches.shape[:3]).movedim(-1, 1)


@checked
@torch.no_grad()
def completions(
    model: SingleLife, sources: Tensor, targets: Tensor, masked: float = 0.9, seed: int = 0
) -> Completed:
    """Hide patches of the targets and let a model complete them from the sources.

    Args:
        model: A trained one.
        sources: (P, 3, H, W) in [0, 1], of the model's size.
        targets: As sources.
        masked: Share of the patches that are hidden, in (0, 1).
        seed: Of which are hidden.

    >>> model = SingleLife(size=16, width=24, layers=1, heads=2, decoder_width=16, masked=0.5)
    >>> model.configure_model()
    >>> seen, _ = completions(model, *torch.zeros(2, 1, 3, 16, 16), masked=0.75)
    >>> seen.mean()  # 3 of 4 patches are grey
    tensor(0.3750)
    """
    check_shape("sources", sources, "P 3 H W", H=model.size, W=model.size)
    check_float("sources", sources)
    check_alike("targets", targets, "sources", sources)
    for name, frames in (("sources", sources), ("targets", targets)):
        check_unit(name, frames)
    check_between("masked", masked, 0.0, 1.0)
    check_between("seed", seed, -MOST_SEED, MOST_SEED)
    count = round(masked * model.count)
    if not 1 <= count < model.count:
        total = counted(model.count, "patch", "patches")
        raise ValueError(
            f"Expected a share masked that hides some of {total}, not all, got {masked:g}."
        )
    noise = torch.rand(len(targets), model.count, generator=torch.Generator().manual_seed(seed))
    order = noise.argsort(1).to(targets.device)
    seen, hidden = order[:, count:], order[:, :count]
    made = model.decoder(model.features(sources), model.features(targets, seen), seen)
    pixels = F.unfold(targets, model.patch, stride=model.patch).mT  # (P, N, 3 p p)
    mean, spread = pixels.mean(2, keepdim=True), pixels.var(2, keepdim=True, correction=0)
    shown = (made * (spread + EPS).sqrt() + mean).clamp(0, 1)
    index = hidden[..., None].expand(-1, -1, pixels.shape[2])
    views = (pixels.scatter(1, index, GREY), pixels.scatter(1, index, shown.gather(1, index)))
    size = (model.size, model.size)
    return Completed(*(F.fold(v.mT, size, model.patch, stride=model.patch) for v in views))


@checked
@torch.no_grad()
def token_maps(model: MooG, frames: Tensor, seed: int = 0) -> Tensor:
    """Which token each pixel is decoded from most, (B, F, H, W): a token that is bound to a thing
    moves with it.

    Args:
        model: A trained one.
        frames: Videos (B, F, 3, H, W) in [0, 1], of the model's size.
        seed: Of the noise that the tokens begin as.

    >>> model = MooG(size=16, num_tokens=4, width=8, layers=(1, 1, 1), heads=(1, 1, 1))
    >>> token_maps(model, torch.zeros(1, 2, 3, 16, 16)).shape
    torch.Size([1, 2, 16, 16])
    """
    tokens = model.tokens_of(frames, seed).flatten(0, 1)
    corrected = tokens[:, tokens.shape[1] // 2 :]
    most = torch.stack([model.network.looks(each[None])[0].argmax(1) for each in corrected])
    return most.unflatten(1, (model.size, model.size)).unflatten(0, frames.shape[:2])
