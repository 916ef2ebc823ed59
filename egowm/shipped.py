"""The recipes, priors and world models that come with egowm, in a checkout or an installation."""

from pathlib import Path


def share_folder(kind: str) -> Path:
    """The folder `recipes` or `priors`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"expected the folder '{kind}' in {package} or {package.parent}, found neither: "
        "reinstall egowm, or run from a complete checkout"
    )


def recipes() -> dict[str, Path]:
    """Every recipe by name, sorted."""
    return {path.stem: path for path in sorted(share_folder("recipes").glob("*.yaml"))}


def existing_recipe(path: Path) -> Path:
    """The path of a recipe; FileNotFoundError where there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"No recipe at {path}: `egowm recipes` lists those that exist.")
    return path


def default_model() -> Path:
    """The fine-tuned export that comes with egowm."""
    return share_folder("priors") / "rooms-world-model"


def world_models() -> dict[str, Path]:
    """Every shipped world model by its short name: `rooms` lies in `priors/rooms-world-model`."""
    records = sorted(share_folder("priors").glob("*/world_model.json"))
    return {path.parent.name.replace("-world-model", ""): path.parent for path in records}
