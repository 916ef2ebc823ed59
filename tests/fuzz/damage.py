"""Damage to files: drawn by a seed, told in JSON, done again from it.

An edit is a mapping with `do` (a key of EDITS), `file` (in the input's folder) and what it needs.
"""

import copy
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Edit = dict[str, Any]
TREES, TABLES = (".json", ".jsonl", ".yaml", ".catalog"), (".csv", ".txt")
LARGE = 10**400  # no float holds it
VALUES = (
    None, True, 0, -1, 1, 3, 0.5, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63, LARGE,
    "", "x", "NaN", "../../x", "/etc/passwd", "a\0b", "\ud800", "é" * 3000, [], {}, [[]], [None],
    [1, 2], {"a": 1},
)  # fmt: skip
CELLS = ("", "x", "nan", "inf", "-1", "1e999", "1e308", "9" * 400, "\0", '"', ";", "../../x", "é")
CONTENTS = {
    "nothing": b"",
    "no text": b"\xff\xfe\x80" * 9,
    "zeros": bytes(4096),
    "null": b"null",
    "list": b"[]",
    "mapping": b"{}",
    "number": b"7",
    "deep": b"[" * 100_000,
    "blank": b"\n\n",
}


def draw(root: Path, rng: np.random.Generator) -> list[Edit]:
    """One to three edits of files in a folder; each kind of file is as likely as the others."""
    kinds = defaultdict(list)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        parent = path.parent.relative_to(root).as_posix()
        kinds[parent, path.suffix if path.suffix in (".png", ".jpg") else path.name].append(path)
    found = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        paths = list(kinds.values())[rng.integers(len(kinds))]
        path = paths[rng.integers(len(paths))]
        found.append({"file": path.relative_to(root).as_posix()} | _edit(path, rng))
    return found


def do(root: Path, edits: list[Edit]) -> None:
    """Make the edits; one whose file or place another took away does nothing."""
    for edit in edits:
        path = root / edit["file"]
        if path.is_file() and not path.is_symlink():
            EDITS[edit["do"]](path, edit)


def _edit(path: Path, rng: np.random.Generator) -> Edit:
    size = path.stat().st_size
    tree = _read_tree(path) if path.suffix in TREES else None
    draws: list[Callable[[], Edit]] = []
    if tree is not None:
        draws += [lambda: _of_tree(tree, rng)] * 12
    if path.suffix in TABLES:
        draws += [lambda: _of_table(path, rng)] * 8
    if size:
        draws += [lambda: _of_bytes(size, rng)] * 5
    draws += [
        lambda: {"do": "hold", "what": str(rng.choice(list(CONTENTS)))},
        lambda: {"do": str(rng.choice(["remove", "folder", "pipe", "loop"]))},
    ]
    return draws[rng.integers(len(draws))]()


def _of_bytes(size: int, rng: np.random.Generator) -> Edit:
    # headers decide most, so half of all places are near the beginning
    at = int(rng.integers(min(size, 200) if rng.random() < 0.5 else size))
    length = int(rng.integers(1, 40))
    return [
        {"do": "flip", "at": at, "bit": int(rng.integers(8))},
        {"do": "flip", "at": at, "bit": int(rng.integers(8))},
        {"do": "write", "at": at, "hex": bytes(length).hex()},
        {"do": "write", "at": at, "hex": rng.bytes(length).hex()},
        {"do": "insert", "at": at, "hex": rng.bytes(length).hex()},
        {"do": "delete", "at": at, "length": length},
        {"do": "cut", "at": int(rng.integers(size))},
    ][rng.integers(7)]


def _of_tree(tree: Any, rng: np.random.Generator) -> Edit:
    places = list(_places(tree))
    where = list(places[rng.integers(len(places))])
    if not where or rng.random() < 0.75:
        return {"do": "set", "at": where, "value": VALUES[rng.integers(len(VALUES))]}
    return {"do": str(rng.choice(["unset", "rename", "double"])), "at": where}


def _of_table(path: Path, rng: np.random.Generator) -> Edit:
    rows = path.read_text("utf-8").splitlines()
    row = int(rng.integers(len(rows) if rng.random() < 0.5 else min(3, len(rows))))
    column = int(rng.integers(1 + sum(rows[row].count(mark) for mark in ",; ")))
    cell = {"do": "cell", "at": [row, column], "value": str(rng.choice(CELLS))}
    return [cell, cell, cell, {"do": "drop row", "at": row}, {"do": "double row", "at": row}][
        rng.integers(5)
    ]


def _places(tree: Any, where: tuple[str | int, ...] = (), most: int = 4) -> Iterator[tuple]:
    """The way to every value; of a long list to the first few."""
    yield where
    items = tree.items() if isinstance(tree, dict) else ()
    items = enumerate(tree[:most]) if isinstance(tree, list) else items
    for key, value in items:
        yield from _places(value, (*where, key), most)


# Trees -------------------------------------------------------------------------------------------


def _read_tree(path: Path) -> Any:
    text = path.read_text("utf-8")
    if path.suffix == ".yaml":
        return yaml.safe_load(text)
    if path.suffix in (".jsonl", ".catalog") or path.name == "manifest.json":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)


def _write_tree(path: Path, tree: Any) -> None:
    if path.suffix == ".yaml":
        text = yaml.safe_dump(tree)
    elif path.suffix in (".jsonl", ".catalog") or path.name == "manifest.json":
        lines = tree if isinstance(tree, list) else [tree]
        text = "\n".join(map(json.dumps, lines)) + "\n"
    else:
        text = json.dumps(tree)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _in_tree(path: Path, edit: Edit) -> None:
    try:
        tree = [_read_tree(path)]
        part, (*way, last) = tree, [0, *edit["at"]]
        for key in way:
            part = part[key]
        value = part[last]
    except (ValueError, LookupError, TypeError, RecursionError, yaml.YAMLError):
        return  # another edit was there before
    if edit["do"] == "set":
        part[last] = copy.deepcopy(edit["value"])
    elif isinstance(part, list):
        part[last : last + 1] = [value, value] if edit["do"] == "double" else []
    else:
        del part[last]
        if edit["do"] != "unset":
            part[f"{last}x"] = value
    _write_tree(path, tree[0] if tree else None)


# Tables ------------------------------------------------------------------------------------------


def _in_table(path: Path, edit: Edit) -> None:
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    row = edit["at"][0] if isinstance(edit["at"], list) else edit["at"]
    if row >= len(lines):
        return
    if edit["do"] != "cell":
        lines[row : row + 1] = [lines[row]] * 2 * (edit["do"] == "double row")
    else:
        mark = next((mark for mark in ";, " if mark in lines[row]), ",")
        cells = lines[row].split(mark)
        cells[min(edit["at"][1], len(cells) - 1)] = edit["value"]
        lines[row] = mark.join(cells)
    path.write_text("\n".join(lines) + "\n", "utf-8")


# Bytes -------------------------------------------------------------------------------------------


def _in_bytes(path: Path, edit: Edit) -> None:
    data, at, kind = path.read_bytes(), edit["at"], edit["do"]
    if kind == "flip" and at < len(data):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << edit["bit"])]) + data[at + 1 :])
        return
    new = bytes.fromhex(edit.get("hex", ""))
    skipped = {"write": len(new), "delete": edit.get("length", 0), "cut": len(data)}.get(kind, 0)
    path.write_bytes(data[:at] + new + data[at + skipped :])


def _replaced(path: Path, edit: Edit) -> None:
    path.unlink()
    if edit["do"] == "folder":
        path.mkdir()
    elif edit["do"] == "pipe":
        os.mkfifo(path)
    elif edit["do"] == "loop":
        path.symlink_to(path.name)


EDITS: dict[str, Callable[[Path, Edit], None]] = {
    **dict.fromkeys(("flip", "write", "insert", "delete", "cut"), _in_bytes),
    **dict.fromkeys(("set", "unset", "rename", "double"), _in_tree),
    **dict.fromkeys(("cell", "drop row", "double row"), _in_table),
    **dict.fromkeys(("remove", "folder", "pipe", "loop"), _replaced),
    "hold": lambda path, edit: path.write_bytes(CONTENTS[edit["what"]]),
}


def smaller(edits: list[Edit]) -> Iterator[list[Edit]]:
    """Tries at less damage: an edit left out, or a shorter one."""
    if len(edits) > 1:
        yield from (edits[:k] + edits[k + 1 :] for k in range(len(edits)))
    for k, edit in enumerate(edits):
        text = edit.get("hex", "")
        for part in ("", text[: len(text) // 4 * 2], text[len(text) // 4 * 2 :], "00"):
            if len(part) < len(text):
                yield [*edits[:k], edit | {"hex": part}, *edits[k + 1 :]]
