"""Public names: cheap to import, two levels deep, found under their old names, said once."""

import ast
import inspect
import pydoc
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from egowm.moved import MOVED
from egowm.recipe import build

HEAVY = ("lightning", "mujoco", "diffusers", "transformers", "decord", "cv2", "h5py")
LIGHT = ("ActionSpec", "Clip", "Rollout", "Sampling", "Space")
FACES = ("egowm", "egowm.actions", "egowm.backbones", "egowm.backbones.cosmos3",
         "egowm.conditioning", "egowm.data", "egowm.encoders", "egowm.latent", "egowm.network",
         "egowm.planning", "egowm.policies", "egowm.pretraining", "egowm.scs", "egowm.training",
         "egowm.worlds")  # fmt: skip
TEACHING = ("egowm", "egowm.actions", "egowm.conditioning", "egowm.evaluation", "egowm.planning",
            "egowm.scs", "egowm.worlds")  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES += [*sorted(ROOT.glob("priors/*/README.md")), *sorted(ROOT.glob("recipes/*.yaml"))]


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh process has loaded after running `code`."""
    shown = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{shown}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_records_load_torch_and_nothing_heavier():
    code = "import egowm\n" + "\n".join(f"egowm.{name}" for name in LIGHT)
    loaded = modules_after(code)
    assert "torch" in loaded
    assert not loaded & set(HEAVY)


def test_the_face_alone_loads_no_torch():
    code = "import egowm, egowm.data, egowm.backbones, egowm.scs; egowm.training, egowm.scs.scs"
    assert not modules_after(code) & {"torch", *HEAVY}


def test_help_of_a_page_loads_no_torch():
    assert not modules_after("import egowm.commands.report") & {"torch", *HEAVY}


@pytest.mark.parametrize("name", FACES)
def test_every_public_name_exists(name):
    face = import_module(name)
    assert set(face.__all__) - {"__version__"} <= set(dir(face))
    for word in face.__all__:
        assert getattr(face, word) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = face.Nothing


@pytest.mark.parametrize(("old", "new"), sorted(MOVED.items()))
def test_an_old_name_is_the_module_under_its_new_one(old, new):
    sys.modules.pop(old, None)
    with pytest.warns(FutureWarning, match=f"{old} is now {new}") as said:
        assert import_module(old) is import_module(new)
    assert len([w for w in said if w.category is FutureWarning]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_module(old)  # said once


def test_an_old_class_path_still_builds_a_recipe():
    from lightning import LightningModule

    backbone = {"class_path": "egowm.backbones.svd.SVD", "init_args": {"pretrained": "nowhere"}}
    arguments = {"learning_rate": 0.5, "backbone": backbone}
    sys.modules.pop("egowm.prior", None)
    with pytest.warns(FutureWarning, match=r"egowm\.prior is now egowm\.pretraining\.prior"):
        model = build(
            {"class_path": "egowm.prior.VideoPrior", "init_args": arguments},
            LightningModule,
        )
    assert model.learning_rate == 0.5


# What `help()` teaches ---------------------------------------------------------------------------


def taught(face: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions and classes of a face, and the public methods that its classes define."""
    from lightning import LightningModule

    room = import_module(face)
    for word in room.__all__:
        value = getattr(room, word)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue  # names of types
        yield word, value
        methods = vars(value) if inspect.isclass(value) else {}
        for name, held in methods.items():
            method = getattr(held, "__func__", held)  # of a class method
            hook = issubclass(value, LightningModule) and hasattr(LightningModule, name)
            if inspect.isfunction(method) and not hook and not name.startswith("_"):
                yield f"{word}.{name}", method


def untold(value: Callable[..., Any]) -> list[str]:
    """The parameters that the `Args:` of a docstring do not name."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    block = re.search(r"^Args:\n((?:    .*\n?)+)", inspect.getdoc(value) or "", re.MULTILINE)
    told = re.findall(r"^    (\w+(?:, \w+)*): \S", block[1] if block else "", re.MULTILINE)
    named = {name for names in told for name in names.split(", ")}
    return [
        name
        for name, parameter in inspect.signature(value).parameters.items()
        if name not in {"self", "cls", *named} and parameter.kind not in several
    ]


@pytest.mark.parametrize("face", TEACHING)
def test_a_docstring_names_every_parameter(face):
    missing = {name: lacks for name, value in taught(face) if (lacks := untold(value))}
    assert missing == {}


def test_a_parameter_that_is_not_told_is_found():
    def drive(metres: float, turn: float, gain: float, *rest: float) -> None:
        """Drive metres: ahead.

        Args:
            metres: Ahead.

                turn: Deeper than a parameter lies.

        gain: After the block.
        """

    assert untold(drive) == ["turn", "gain"]
    assert untold(lambda metres: metres) == ["metres"]


def test_methods_are_among_what_is_taught_and_hooks_are_not():
    names = {name for name, _ in taught("egowm")}
    assert {"WorldModel.rollout", "WorldModel.from_pretrained", "Clip.to"} <= names
    assert not {"WorldModel.setup", "WorldModel.training_step", "WorldModel.train"} & names


def test_help_shows_what_a_rollout_takes():
    from egowm import WorldModel

    shown = pydoc.plain(pydoc.render_doc(WorldModel.rollout))
    assert "rollout(self, context:" in shown
    assert re.search(r"Args:\n +context: Clean frames \(B, K, 3, H, W\)", shown)


def test_the_planning_face_lists_the_environment():
    assert "WorldModelEnv" in dir(import_module("egowm.planning"))


# What pages and recipes name ----------------------------------------------------------------------


def classes_in(tree: Any) -> Iterator[str]:
    """The dotted names among a YAML file's values, and those of its overrides."""
    for value in (
        tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    ):
        if isinstance(value, str) and re.fullmatch(r"egowm(\.\w+)+", value):
            yield value
        yield from classes_in(value)


def names_in(code: str) -> Iterator[str]:
    """What Python imports from egowm, and what it takes by its dotted name."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "egowm":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("egowm."))


def written_in(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        return [*classes_in(yaml.safe_load(text))]
    blocks = re.findall(r"^ *```(python|yaml)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    code = [names_in(block) for kind, block in blocks if kind == "python"]
    recipes = [classes_in(yaml.safe_load(block)) for kind, block in blocks if kind == "yaml"]
    return [name for found in (*code, *recipes) for name in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_what_is_public(page):
    for name in written_in(page):
        room, _, word = name.rpartition(".")
        assert room in FACES, f"{name} is not the name of a face"
        assert word in import_module(room).__all__, f"{name} is not public"
    deep = re.findall(r"\begowm(?:\.[A-Za-z]\w*){3,}", page.read_text(encoding="utf-8"))
    assert deep == []


def test_the_pages_name_much():
    assert len({name for page in PAGES for name in written_in(page)}) > 20


PARTS = sorted({name for page in PAGES if page.suffix == ".yaml" for name in written_in(page)})


@pytest.mark.parametrize("name", PARTS)
def test_a_run_records_the_name_that_a_recipe_gives(name):
    from jsonargparse._util import get_import_path, import_object

    assert get_import_path(import_object(name)) == name
