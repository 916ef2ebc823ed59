"""Whether a picture is like those that a model was trained on."""

import torch
from torch import Tensor

from egowm.pixels import psnr, to_unit
from egowm.world_model import WorldModel


def is_measurable(model: WorldModel) -> bool:
    """Not where actions have no "stand still", nor where the model asks for the body's state,
    which a picture does not show."""
    assert model.spec is not None
    return model.spec.kind != "command" and model.state_spec is None


def familiarity(model: WorldModel, context: Tensor, seed: int) -> float | None:
    """PSNR in dB between a picture (1, 1, 3, H, W) and what the model sees when standing still.

    High for pictures as it was trained on. None where it is not measurable.
    """
    if not is_measurable(model):
        return None
    assert model.spec is not None
    still = torch.zeros(1, model.chunk, model.spec.width)
    generator = torch.Generator().manual_seed(seed)
    before = context.expand(-1, model.backbone.context, -1, -1, -1)  # it stood still before, too
    frames = model.rollout(before, still, generator=generator).frames
    target = to_unit(context).to(frames).expand_as(frames)
    return psnr(frames.flatten()[None], target.flatten()[None], peak=1.0)
