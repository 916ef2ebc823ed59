"""Pages of the reference: one for each package with public names, from `__all__` and docstrings."""

import ast

from tutorial import ROOT


def faces() -> list[str]:
    """The packages whose public names stand in `__all__`."""
    rooms = sorted(path.parent.name for path in ROOT.glob("egowm/*/__init__.py"))
    return ["egowm", *(f"egowm.{room}" for room in rooms if listed(f"egowm.{room}"))]


def listed(face: str) -> list[str]:
    """`__all__` of a package, which is not imported for it."""
    tree = ast.parse((ROOT / face.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def public(face: str) -> list[str]:
    """The public functions, classes and types of a package."""
    folder = ROOT / face.replace(".", "/")
    return [name for name in listed(face) if name != "__version__" and not (folder / name).is_dir()]


def path_of(face: str, name: str) -> str:
    """Where a public name is found: its package, unless a module there has the same name."""
    module = (ROOT / face.replace(".", "/") / f"{name}.py").is_file()
    return f"{face}.{name}.{name}" if module else f"{face}.{name}"


def reference(face: str) -> str:
    """A page: what the package is for, then each of its public names."""
    bare = "members: false, show_root_heading: false, show_root_toc_entry: false"
    parts = [f"# {face}", f"::: {face}\n    options: {{{bare}}}"]
    for name in public(face):
        named = f"heading: {face}.{name}, toc_label: {name}"
        parts.append(f"::: {path_of(face, name)}\n    options: {{{named}}}")
    return "\n\n".join(parts)
