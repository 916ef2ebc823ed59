"""The meaning of actions, their composition, and wrong actions to compare with."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.actions.composition import compose, follows, integrate
    from egowm.actions.spec import ActionSpec, Kind, NormaliserName

__all__ = ["ActionSpec", "Kind", "NormaliserName", "compose", "follows", "integrate"]

__getattr__, __dir__ = face(__name__)
