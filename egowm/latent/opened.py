"""Any export, whichever kind of world model it holds."""

from pathlib import Path
from typing import NotRequired, TypedDict

from egowm.checks import checked
from egowm.export import EXPECTED, find
from egowm.hub import located
from egowm.latent.base import LatentDynamics
from egowm.latent.latent_model import LatentModel
from egowm.latent.rssm import RSSM
from egowm.module_export import load
from egowm.typed_json import read_json
from egowm.world_model import WorldModel


class _Kind(TypedDict):
    format: int
    latent: NotRequired[str]


KINDS: dict[str, type[LatentDynamics]] = {"RSSM": RSSM, "LatentModel": LatentModel}


@checked
def from_pretrained(
    folder: Path | str,
    base: str | None = None,
    *,
    revision: str | None = None,
    download: bool = False,
) -> WorldModel | LatentDynamics:
    """The world model of an export: a latent model, or a `WorldModel`.

    Args:
        folder: The export's folder, the name of a shipped model ("rooms"), or an id of the Hugging
            Face hub in the local cache, OWNER/NAME or OWNER/NAME@REVISION.
        base: Folder of what it stands on where that moved: a pipeline, or a frozen encoder.
        revision: Branch, tag or commit of a hub id; None takes main, as cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.

    >>> from_pretrained("rooms").num_context
    1
    """
    place = located(folder, revision, download)
    if "latent" in read_json(find(place) / "world_model.json", _Kind, EXPECTED):
        return load(place, base, KINDS)
    return WorldModel.from_pretrained(place, base=base, download=download)
