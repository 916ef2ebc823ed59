"""The floor plan: ground <- core <- wings <- commands. Nothing imports upwards."""

import ast
from collections import defaultdict
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "egowm"
FACE = "egowm"  # `egowm/__init__.py` names what others define, and imports it when asked
GROUND = (
    "actions", "arrays", "augmentation", "beside", "checks", "checksums", "clip", "conditioning",
    "ddpm", "decord_library", "diffusion", "files", "hub", "hub_card", "lazy", "limits", "loading",
    "moved", "network", "on_hub", "paths", "picture_file", "pixels", "publish", "randomness",
    "readable", "shares", "shipped", "sizes", "typed_json", "unfinished", "video", "video_encoder",
    "video_end", "video_file", "video_packets",
)  # fmt: skip
CORE = (
    "action_module", "backbones", "dynamics", "encoder", "export", "exported_weights",
    "metadata", "module_export", "off_grid", "own_contexts", "pipeline_folder", "sampler",
    "sampling", "session", "start", "student", "world_model",
)  # fmt: skip
# Wings stand side by side; each with the other wings that it may know.
WINGS = {
    "data": ("worlds",),
    "encoders": (),
    "evaluation": ("data", "encoders", "latent", "planning", "scs", "worlds"),
    "latent": ("planning",),
    "planning": ("scs",),
    "policies": ("data", "evaluation", "latent", "planning", "worlds"),
    "pretraining": ("data",),
    "recipe": ("data",),
    "scs": (),
    "serving": ("data", "evaluation", "worlds"),
    "training": ("data", "scs"),
    "worlds": (),
}


def room_of(module: str) -> str:
    """The first name below the package: a folder, or a file that lies in the hall."""
    return module.split(".")[1] if "." in module else FACE


def may_know(room: str) -> set[str]:
    below = {FACE, "commands", *GROUND, *CORE, *WINGS}
    if room in GROUND:
        below = set(GROUND)
    elif room in CORE:
        below = {*GROUND, *CORE}
    elif room in WINGS:
        below = {*GROUND, *CORE, *WINGS[room]}
    return below | {room, FACE}


@cache
def imports() -> dict[str, set[str]]:
    """Every module of the package with those it imports, also lazily and for types."""
    files = {_name(path): path for path in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        named = set(chain.from_iterable(map(_imported, nodes)))
        found[name] = {_module(word, files) for word in named} - {"", name}
    return found


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are written in full"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _module(word: str, files: dict[str, Path]) -> str:
    """The module that a dotted name lies in; "" for other packages."""
    while word and word not in files:
        word = word.rpartition(".")[0]
    return word


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other."""
    reach: dict[str, set[str]] = {}
    for start in arrows:
        seen, waiting = set(), [start]
        while waiting:
            for after in arrows.get(waiting.pop(), ()):
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)
        reach[start] = seen
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in reach}
    return sorted(sorted(group) for group in groups if len(group) > 1)


@pytest.mark.long
def test_every_room_has_a_floor():
    rooms = {room_of(name) for name in imports()}
    assert rooms == {FACE, "commands", *GROUND, *CORE, *WINGS}


@pytest.mark.parametrize("room", [*GROUND, *CORE, *WINGS])
def test_no_import_goes_up_or_into_a_strange_wing(room):
    wrong = [
        f"{name} -> {other}"
        for name, others in sorted(imports().items())
        for other in sorted(others)
        if room_of(name) == room and room_of(other) not in may_know(room)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_files():
    arrows = {name: others - {FACE} for name, others in imports().items() if name != FACE}
    assert circles(arrows) == []


def test_no_circle_of_rooms():
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, others in imports().items():
        if name != FACE:
            arrows[room_of(name)] |= {room_of(other) for other in others} - {room_of(name), FACE}
    assert circles(arrows) == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]
