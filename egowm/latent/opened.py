"""Any export, whichever kind of world model it holds."""

from pathlib import Path
from typing import NotRequired, TypedDict

from egowm.checks import checked
from egowm.export import EXPECTED, find
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
def from_pretrained(folder: Path | str, base: str | None = None) -> WorldModel | LatentDynamics:
    """The world model of an export: a latent model, or a `WorldModel`.

    Args:
        folder: The export's folder, or the name of a shipped model ("rooms").
        base: Folder of what it stands on where that moved: a pipeline, or a frozen encoder.

    >>> from_pretrained("rooms").num_context
    1
    """
    path = find(Path(folder)) / "world_model.json"
    if "latent" in read_json(path, _Kind, EXPECTED):
        return load(Path(folder), base, KINDS)
    return WorldModel.from_pretrained(folder, base=base)
