"""Protocols: which frames a model predicts, in what way, and at which of them values are read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from egowm.checks import checked, counted

if TYPE_CHECKING:
    from egowm.data.module import ClipData
    from egowm.dynamics import Dynamics

Name = Literal["egowm", "nwm-rollout", "nwm-time"]
HORIZONS = (2, 4, 8, 16, 64)  # frames, of EgoWM's tables and figures
SECONDS = (1, 2, 4, 8, 16)  # of NWM's tables
FRAMES = 16  # that EgoWM's protocol predicts by default


@checked
@dataclass(frozen=True)
class Protocol:
    """Which frames are predicted, and where values are read.

    >>> Protocol("nwm-rollout", 8, {4: "1 s", 8: "2 s"}).reads  # at 4 Hz
    {4: '1 s', 8: '2 s'}

    Args:
        name: "egowm" rolls out consecutive frames from one context; "nwm-rollout" too, and reads
            values at whole seconds; "nwm-time" jumps to each frame from the context.
        horizon: Predicted frames T.
        reads: Frames k, counted from 1, at which values are read, and what each is called.
    """

    name: Name
    horizon: int
    reads: dict[int, str]

    @property
    def is_cumulative(self) -> bool:
        """Whether a value at k is the mean over frames 1 to k (EgoWM) or that of frame k (NWM)."""
        return self.name == "egowm"

    def describe(self) -> dict[str, Any]:
        """What must agree between two tables."""
        return {
            "name": self.name,
            "horizon": self.horizon,
            "reads": list(self.reads),
            "value_at_k": "mean of frames 1 to k" if self.is_cumulative else "frame k",
            "shuffled": "clip i of N takes the actions of clip (i + N//2) mod N",
        }


def make_protocol(name: Name, data: "ClipData", horizon: int | None = None) -> Protocol:
    """The protocol on some data.

    horizon: future frames; None takes 16, or as many whole seconds as half of the test recordings
    reach. Raises ValueError where not even one second is reached.
    """
    if name == "egowm":
        frames = FRAMES if horizon is None else horizon
        reads = {k: counted(k, "frame") for k in HORIZONS if k <= frames}
        return Protocol(name, frames, reads or {frames: counted(frames, "frame")})
    rate = data.clip_meaning.rate_hz
    reached = _reached(data) if horizon is None else horizon
    reads = {round(s * rate): f"{s} s" for s in SECONDS if 1 <= round(s * rate) <= reached}
    if not reads:
        raise ValueError(
            f"--protocol {name} reads values at 1, 2, 4, 8 and 16 s: one second is "
            f"{counted(round(rate), 'frame')} at {rate:g} Hz, and there are {reached} after the "
            f"context. Take longer recordings or a larger --horizon, or --protocol egowm."
        )
    return Protocol(name, max(reads), reads)


def check_model(protocol: Protocol, model: "Dynamics") -> None:
    """Refuse a model that cannot predict as the protocol wants."""
    if not model.makes_frames:
        raise ValueError(
            f"{model.name} makes no frames, which scores compare: evaluate a model with a decoder; "
            f"this one can plan (egowm plan --by latents)."
        )
    if protocol.name != "nwm-time":
        return
    if not model.jump:
        raise ValueError(
            f"--protocol nwm-time predicts each frame in one jump from the context; "
            f"{model.name} makes frames one after the other: take --protocol "
            f"nwm-rollout, which reads the same seconds, or a model with the backbone CDiT."
        )
    if protocol.horizon > model.jump:
        raise ValueError(
            f"--protocol nwm-time jumps {counted(protocol.horizon, 'frame')} ahead; this model was "
            f"trained to jump at most {model.jump}: train it with --data.window.horizon "
            f"{protocol.horizon}, or give a smaller --horizon, or --protocol nwm-rollout."
        )


def _reached(data: "ClipData") -> int:
    """Future frames that at least half of the test recordings have."""
    window = data.window
    lengths = sorted(episode.num_frames for episode in data.split("test"))
    middle = lengths[(len(lengths) - 1) // 2] if lengths else 0
    return max(0, (middle - 1) // window.stride + 1 - window.context)
