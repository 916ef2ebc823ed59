"""What travels in the wheel, and what is pinned."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import egowm

ROOT = Path(__file__).resolve().parent.parent
# The module's name where it is not the distribution's.
MODULES = {"pillow": "PIL", "pyyaml": "yaml", "opencv-python-headless": "cv2"}
MODULES |= {"scikit-image": "skimage", "cd-fvd": "cdfvd", "rerun-sdk": "rerun"}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower()


def test_every_package_is_listed(project):
    folders = {path.parent for path in (ROOT / "egowm").rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    listed = set(project["tool"]["setuptools"]["packages"])
    assert listed - {"egowm.recipes", "egowm.priors"} == found


def test_the_citation_is_of_this_version(project):
    """The keys that CFF 1.2.0 requires, the version that is installed, and the method's paper."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == egowm.__version__
    assert cited["license"] == project["project"]["license"]
    (paper,) = cited["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert paper["url"] == "https://arxiv.org/abs/2601.15284"


def test_every_package_has_its_init():
    folders = {path.parent for path in (ROOT / "egowm").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_recipes_and_priors_travel(project):
    setuptools = project["tool"]["setuptools"]
    assert setuptools["package-dir"] == {"egowm.recipes": "recipes", "egowm.priors": "priors"}
    patterns = setuptools["package-data"]
    for folder, allowed in (
        ("priors", patterns["egowm.priors"]),
        ("egowm", [*patterns["*"], ".py"]),
    ):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        kinds = {path.suffix or path.name for path in files if "__pycache__" not in path.parts}
        assert kinds - {".typed"} <= {Path(pattern).suffix or pattern for pattern in allowed}


def test_every_data_file_of_a_package_travels(project):
    """Patterns are relative to a package: one for a package's files leaves out a folder's in it."""
    patterns = project["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "egowm").rglob("*"):
        if path.is_dir() or path.suffix == ".py" or "__pycache__" in path.parts:
            continue
        package = next(parent for parent in path.parents if (parent / "__init__.py").is_file())
        name = ".".join(package.relative_to(ROOT).parts)
        allowed = [*patterns["*"], *patterns.get(name, [])]
        inside = path.relative_to(package)
        assert any(
            inside.match(pattern) and len(inside.parts) == len(Path(pattern).parts)
            for pattern in allowed
        ), path


@pytest.mark.parametrize("folder", ["egowm", "tests", "benchmarks"])
def test_every_import_is_a_declared_dependency(project, folder):
    table = project["project"]
    extras = table["optional-dependencies"]
    optional = [r for extra in extras if extra != "dev" for r in extras[extra]]
    required = table["dependencies"] + optional + (extras["dev"] if folder != "egowm" else [])
    declared = {MODULES.get(name(r), name(r)).replace("-", "_") for r in required}
    imported = set()
    for path in (ROOT / folder).rglob("*.py"):
        imported |= imports(ast.parse(path.read_text(encoding="utf-8")))
    own = {"egowm", "tests", "benchmarks"}
    assert imported - set(sys.stdlib_module_names) - own <= declared


def imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_constraints_are_plain_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(lines) > 50
    for line in lines:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.]*( ; .+)?", line), line


def test_constraints_pin_every_direct_dependency(project):
    table = project["project"]
    wanted = {name(r) for r in table["dependencies"]}
    extras = table["optional-dependencies"]
    wanted |= {name(r) for extra in extras for r in extras[extra]} - {"egowm"}  # its own extras
    pinned = {name(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert wanted <= pinned
    assert "opencv-python" not in pinned


def test_console_scripts(project):
    assert project["project"]["scripts"] == {
        "egowm": "egowm.commands.main:main",
        "egowm-scs": "egowm.commands.scs.main:main",
        "lightning": "egowm.commands.main:main",
    }


def test_changelog_knows_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{egowm.__version__}]" in text


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("target", ["real", "results"])
def test_a_folder_of_recordings_may_have_spaces(target):
    """Each path that `SHARED` begins is one word of the commands."""
    words = ["make", "-n", target, "SHARED=../with spaces"]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    found = [word for word in shlex.split(ran.stdout, comments=True) if "with spaces" in word]
    assert len(found) == ran.stdout.count("../with spaces") >= 2
    assert all(word.startswith("../with spaces/data/") for word in found)
