"""What comes later changes nothing that was imagined before.

Across chunks always, in every family. Within a chunk only where each frame is made by itself: the
other networks see the whole chunk at once, so its last action is felt in its first frame. (Cosmos 3
is asked the same in its own file.)
"""

import torch
from torch import Tensor

from egowm.sampling import Sampling

from .conftest import FAMILIES
from .test_families import clips, generator, obedient

# Families whose network attends to all frames of a chunk, as docs/backbones.md says.
SEE_THE_CHUNK = {"svd", "predict1", "predict2", "predict2.5", "wan2.1", "wan2.2", "ltx", "sana"}
SHOWN = 1e-3  # the least change that counts
HOW = Sampling(steps=2, decode="none")


def differences(plain: Tensor, other: Tensor) -> Tensor:
    """The largest of each latent frame (t,)."""
    return (plain - other).abs().flatten(1).amax(1)


def test_later_actions(model, family):
    """Those of a later chunk leave a chunk as it is, exactly. Its own last action is felt in each
    of its frames where the network sees the whole chunk, else in its last alone."""
    clip, length = clips(family, 1), family.horizon
    actions = torch.cat([clip.actions, clip.actions.flip(1)], 1)
    obedient(model)

    def imagined(changed: int | None = None) -> Tensor:
        given = actions.clone()
        if changed is not None:
            given[:, changed] = 0.1 - 2 * given[:, changed]
        return model.rollout(clip.frames[:, :1], given, HOW, generator=generator()).latents[0]

    plain, once = imagined(), length // family.stride
    assert len(plain) == 2 * once > 2
    later, last = (differences(plain, imagined(changed)) for changed in (length, length - 1))
    assert later[:once].tolist() == [0.0] * once
    assert later[once:].max() > SHOWN
    assert last[once - 1] > SHOWN
    if family.name in SEE_THE_CHUNK:
        assert last[:once].min() > 1e-5
    else:
        assert last[: once - 1].tolist() == [0.0] * (once - 1)


def test_the_recorded_future_is_not_looked_at(model, family):
    """A clip brings the frames that are to be imagined; only its context and actions count."""
    clip = clips(family, 1)
    obedient(model)

    def imagined(frames: Tensor) -> Tensor:
        return model.rollout_of(
            clip._replace(frames=frames), how=HOW, generator=generator()
        ).latents

    plain = imagined(clip.frames)
    future = torch.cat([clip.frames[:, :1], 255 - clip.frames[:, 1:]], 1)
    assert torch.equal(imagined(future), plain)
    assert (imagined(255 - clip.frames) - plain).abs().max() > SHOWN


def test_the_list_is_whole():
    assert set(FAMILIES) - SEE_THE_CHUNK == {"cdit"}
