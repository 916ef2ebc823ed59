"""Any policy's export, whichever kind it is of."""

from pathlib import Path

from egowm.checks import checked
from egowm.hub import located
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
def from_pretrained(
    folder: Path | str, *, revision: str | None = None, download: bool = False
) -> BehaviourCloning | Dreamer | Reinforce:
    """The policy of an export.

    Args:
        folder: The export's folder, or an id of the Hugging Face hub in the local cache.
        revision: Branch, tag or commit of a hub id; None takes main, as cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.

    Raises:
        FileNotFoundError: No such folder, repository, revision or file.
        ValueError: Another export, or damaged files.
        OSError: A download that failed, and why.

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
    return load(located(folder, revision, download), None, KINDS)
