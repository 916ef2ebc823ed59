"""Any policy's export, whichever kind it is of."""

from pathlib import Path

from egowm.checks import checked
from egowm.module_export import load
from egowm.policies.behaviour_cloning import BehaviourCloning
from egowm.policies.dreamer import Dreamer
from egowm.policies.reinforce import Reinforce

KINDS: dict[str, type[BehaviourCloning | Dreamer | Reinforce]] = {
    "BehaviourCloning": BehaviourCloning,
    "Dreamer": Dreamer,
    "Reinforce": Reinforce,
}


@checked
def from_pretrained(folder: Path | str) -> BehaviourCloning | Dreamer | Reinforce:
    """The policy of an export.

    Args:
        folder: The export's folder.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: Another export, or damaged files.

    >>> from tempfile import TemporaryDirectory
    >>> from egowm import ActionSpec
    >>> spec = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
    >>> policy = BehaviourCloning(depth=8, units=8, size=8, spec=spec)
    >>> policy.configure_model()
    >>> with TemporaryDirectory() as folder:
    ...     policy.save_pretrained(f"{folder}/clone")
    ...     from_pretrained(f"{folder}/clone").size
    8
    """
    return load(Path(folder), None, KINDS)
