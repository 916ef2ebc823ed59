"""What the latency is measured of: models as their authors run them, at equal size, at equal
network calls, and ours with one choice after the other.

Sizes are those of the papers, or about an eighth of them for a CPU.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch

from egowm.sampling import Sampling

Family = Literal["cdit", "svd", "cosmos"]
Scale = Literal["toy", "reduced", "paper"]
Size = tuple[int, int]
CHUNK: dict[Family, int] = {"cdit": 1, "svd": 8, "cosmos": 16}  # frames that are made at once
SIZES: dict[Scale, dict[Family, Size]] = {  # H, W
    "toy": {"cdit": (32, 32), "svd": (32, 32), "cosmos": (32, 32)},  # whose times say nothing
    "reduced": {"cdit": (32, 32), "svd": (64, 64), "cosmos": (64, 80)},
    "paper": {"cdit": (224, 224), "svd": (512, 512), "cosmos": (480, 640)},
}
EQUAL: dict[Scale, Size] = {"toy": (32, 32), "reduced": (64, 64), "paper": (256, 256)}
SOME = 16  # frames of the rows that are compared at one length
STEPS = {"cdit": 250, "svd": 25, "cosmos": 35}  # those of Cosmos are its stock pipeline's
PAPER, SIZE, CALLS, CHOICES = "as published", "equal size", "equal calls", "one choice more"
AS_TRAINED = "as trained in rooms"
NWM, NWM_FEW = "NWM (CDiT), 250 steps", "NWM (CDiT), 25 steps"
SVD, COSMOS, ALL_ON = "EgoWM on SVD", "EgoWM on Cosmos", "on SVD, everything on"
TRAINED_CDIT, TRAINED_SVD, SHIPPED, TRAINED_COSMOS = "CDiT", "SVD", "SVD, shipped", "Cosmos"
MODELS = (NWM, NWM_FEW, SVD, COSMOS, ALL_ON)  # of the figure


class Case(NamedTuple):
    """One model, and how it imagines.

    Args:
        group: PAPER, SIZE, CALLS, CHOICES or AS_TRAINED: what it is compared with.
        name: Unique in its group.
        family: Whose network.
        size: Frames' (H, W).
        how: The settings of a rollout.
        chunk: Future frames made at once.
        whole: Chunks are always made whole, as by the authors' programs; ours stop at the last
            frame that is wanted.
        kept: What was encoded before is not encoded again.
        compiled: The network's blocks are.
    """

    group: str
    name: str
    family: Family
    size: Size
    how: Sampling
    chunk: int
    whole: bool = True
    kept: bool = False
    compiled: bool = False

    def frames(self, wanted: int) -> int:
        """Frames that are made where `wanted` are asked for."""
        return _chunks(wanted, self.chunk) * self.chunk if self.whole else wanted

    def calls(self, frames: int) -> int:
        """Passes of one video through the network; guidance takes two a step."""
        assert self.how.steps is not None
        branches = 1 if self.how.guidance == 1 else 2
        return _chunks(frames, self.chunk) * self.how.steps * branches

    @property
    def work(self) -> "Case":
        """What is measured: alike for cases of other names."""
        return self._replace(group="", name="")


def cases(scale: Scale, dtype: torch.dtype, compiled: bool, other: bool) -> list[Case]:
    """All of them; the first are those of the figure.

    Args:
        dtype: What networks compute in.
        compiled: With a case whose network is compiled.
        other: With a case in the other of float32 and bfloat16.
    """
    sizes, base = SIZES[scale], Sampling(chain="pixels", dtype=dtype)
    published = [
        _case(PAPER, NWM, "cdit", sizes["cdit"], base, 250),
        _case(PAPER, NWM_FEW, "cdit", sizes["cdit"], base, 25),
        _case(PAPER, SVD, "svd", sizes["svd"], replace(base, guidance=2.0), STEPS["svd"]),
        _case(PAPER, COSMOS, "cosmos", sizes["cosmos"], base, STEPS["cosmos"]),
    ]
    choices = _choices(sizes["svd"], base, compiled, other)
    ours = next(case for case in choices if case.name == "context encoded once")
    figure = [*published, ours._replace(group=PAPER, name=ALL_ON)]
    same = [case._replace(group=SIZE, size=EQUAL[scale]) for case in figure]
    in_rooms = replace(base, chain=Sampling().chain)
    trained = _as_trained(EQUAL[scale], in_rooms) if scale != "paper" else []
    return [*figure, *same, *_equal_calls(EQUAL[scale], base), *choices, *trained]


def _as_trained(size: Size, base: Sampling) -> list[Case]:
    """As the recipes of rooms imagine: their sampling steps, and frames made at once."""
    found = {
        TRAINED_CDIT: _case(AS_TRAINED, TRAINED_CDIT, "cdit", size, base, 25),
        TRAINED_SVD: _case(AS_TRAINED, TRAINED_SVD, "svd", size, base, 3),
        SHIPPED: _case(AS_TRAINED, SHIPPED, "svd", size, base, 1),
        TRAINED_COSMOS: _case(AS_TRAINED, TRAINED_COSMOS, "cosmos", size, base, 5),
    }
    chunks = {TRAINED_SVD: 1, SHIPPED: 1, TRAINED_COSMOS: 4}
    return [c._replace(chunk=chunks.get(name, c.chunk), whole=False) for name, c in found.items()]


def _equal_calls(size: Size, base: Sampling) -> list[Case]:
    """As many network calls as frames, without guidance."""
    families: Sequence[tuple[str, Family]] = (
        ("CDiT", "cdit"),
        ("SVD", "svd"),
        ("Cosmos", "cosmos"),
    )
    return [_case(CALLS, name, each, size, base, CHUNK[each]) for name, each in families]


def _choices(size: Size, base: Sampling, compiled: bool, other: bool) -> list[Case]:
    """SVD as published; each of the next with one choice more; then others than the last."""
    first = _case(CHOICES, "as published", "svd", size, replace(base, guidance=2.0), STEPS["svd"])
    made = [first]
    for name, change in (
        ("without guidance", {"guidance": 1.0}),
        ("one sampling step", {"steps": 1}),
        ("latents go from chunk to chunk", {"chain": "latents"}),
        ("and the first picture's embedding", {"chain": "latents_only"}),
    ):
        made.append(first._replace(name=name, how=replace(made[-1].how, **change)))
    last = made[-1]._replace(name="context encoded once", kept=True, whole=False)
    made.append(last)
    made += [last._replace(name=f"chunks of {n}", chunk=n) for n in (1, SOME)]
    made.append(last._replace(name="last frame alone", how=replace(last.how, decode="last")))
    if compiled:
        made.append(last._replace(name="compiled", compiled=True))
    if other:
        half = base.dtype == torch.float32
        changed = replace(last.how, dtype=torch.bfloat16 if half else torch.float32)
        made.append(last._replace(name="bfloat16" if half else "float32", how=changed))
    return made


def _chunks(frames: int, chunk: int) -> int:
    return -(-frames // chunk)


def _case(group: str, name: str, family: Family, size: Size, base: Sampling, steps: int) -> Case:
    return Case(group, name, family, size, replace(base, steps=steps), CHUNK[family])
