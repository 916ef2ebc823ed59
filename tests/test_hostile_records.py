"""Records that try to run in the pages made of them: a text stays a text, a number must be one."""

import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egowm.commands import report
from egowm.commands.scs import main as scs
from egowm.scs.masks import write_palette
from egowm.video import read_frames, write_frames
from tests.scs.conftest import World

SCRIPT = "<script>alert(1)</script>"
# It leaves quotes of either kind, opens a tag, and names a place of the template.
EVIL = f"x' onload=alert(1) \" onload=alert(1) >{SCRIPT}{{{{cards}}}}"
FREE = ("protocol", "environment")  # shown as they are, whatever they hold

Where = tuple[str | int, ...]


class Page(HTMLParser):
    """How often each element is there, with attributes of what could run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.handlers: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.handlers += [str(v) for k, v in attrs if k in ("href", "src") and "script:" in str(v)]

    handle_startendtag = handle_starttag


def check_dead(html: str) -> Page:
    """The page, in which nothing runs but its own script."""
    page = Page(html)
    assert SCRIPT not in html
    assert page.elements.count("script") == 1
    assert page.handlers == []
    return page


def leaves(value: Any, where: Where = ()) -> Iterator[tuple[Where, Any]]:
    """Every text, number and null of a record, and where it is."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, (*where, key))
    else:
        yield where, value


def changed(record: Any, where: Where, value: Any) -> Any:
    record = copy.deepcopy(record)
    part = record
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    return record


def renamed(record: Any, where: Where) -> Any:
    """With another name for a key, in its place."""
    record = copy.deepcopy(record)
    part = record
    for key in where[:-1]:
        part = part[key]
    items = [(EVIL if key == where[-1] else key, value) for key, value in part.items()]
    part.clear()
    part.update(items)
    return record


def keys(value: Any, where: Where = ()) -> Iterator[Where]:
    """Every key of every mapping."""
    for key, item in value.items() if isinstance(value, dict) else []:
        yield (*where, key)
        yield from keys(item, (*where, key))


def written(where: Where) -> str:
    """A place as errors name it."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in where)
    return text.removeprefix(".")


class Scoring:
    """`egowm-scs report` over three scored clips, one of them with a name that is a script."""

    def __init__(self, root: Path) -> None:
        world = World(root, num_clips=2, num_frames=3)
        for half in (world.pred, world.gt):
            write_frames(half / SCRIPT, read_frames(half / "clip0"))
        write_palette(world.annotations / f"{SCRIPT}.png", world.truth["clip0"][0])
        self.file, self.page = root / "scores.json", root / "page.html"
        (root / "t.json").write_text(json.dumps(dict.fromkeys([*world.truth, SCRIPT], SCRIPT)))
        self.argv = [str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
        self.argv += ["--tracker", "palette", "--ceiling_codec", str(world.gt)]
        more = ["--trajectories", str(root / "t.json"), "--ceiling_tracker"]
        assert scs.main(["score", *self.argv, *more, "--json", str(self.file)]) == 0
        self.record = json.loads(self.file.read_text())
        self.record |= {"warning": "a note", "ci95": [10.0, 90.0]}
        clip = self.record["clips"][0]
        clip["doubtful"] = [{"id": 4, "cycle_iou": 0.2, "motion": 40.0}]
        clip["samples"] = [{"scs": 1.0, "objects": copy.deepcopy(clip["objects"])}]
        self.record["scs_reanchored"] = {"scs": 1.0, "ci95": [0.0, 2.0], "copy": 1.0}

    def make(self, record: Any) -> int:
        self.file.write_text(json.dumps(record))
        self.page.unlink(missing_ok=True)
        out = ["--scores", str(self.file), "--output", str(self.page), "--each", "1"]
        return scs.main(["report", *self.argv, *out])


class Run:
    """`egowm report` over a run of two clips; `name` is the record that is attacked."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.file, self.page = root, root / name, root / "report.html"
        frames = np.full((3, 32, 32, 3), 90, np.uint8)
        frames[1:, 8:20, 4:12] = 200
        labels = np.zeros((32, 32), np.uint8)
        labels[8:20, 4:12] = 1
        rows = {"pred": SCRIPT, "pred_shuffled": "another clip's"}
        for clip in ("plain", SCRIPT):
            for folder in ("gt", *rows):
                write_frames(root / folder / clip, frames)
            write_palette(root / "annotations" / f"{clip}.png", labels)
        described = {
            "title": "a title", "fps": 4.0, "context": 1, "source": "a source", "model": "a model",
            "action_names": ["dx", "dy", "dyaw"], "action_units": ["m", "m", "rad"],
            "action_frame": "body", "variants": rows,
            "clips": {name: {"actions": [[0.2, 0.0, 0.1]] * 2} for name in ("plain", SCRIPT)},
        }  # fmt: skip
        (root / "clips.json").write_text(json.dumps(described))
        argv = ["--annotations", str(root / "annotations"), "--tracker", "copy", "--json"]
        for folder, file in (("pred", "scs.json"), ("pred_shuffled", "scs_shuffled.json")):
            pair = [str(root / folder), str(root / "gt")]
            assert scs.main(["score", *pair, *argv, str(root / file)]) == 0
        self.record = json.loads(self.file.read_text())

    def make(self, record: Any) -> int:
        self.file.write_text(json.dumps(record))
        self.page.unlink(missing_ok=True)
        return report.main([str(self.root), "--no_videos"])


@pytest.fixture(params=["scores of egowm-scs", "clips.json", "scs.json"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Scoring | Run:
    """A page, the record that it is made of, and the command that makes it."""
    if request.param == "scores of egowm-scs":
        return Scoring(tmp_path)
    return Run(tmp_path, request.param)


@pytest.mark.long
def test_every_text_is_shown_as_a_text(made: Scoring | Run, capsys) -> None:
    assert made.make(made.record) == 0
    expected = check_dead(made.page.read_text()).elements
    texts = [where for where, value in leaves(made.record) if isinstance(value, str)]
    shown = 0
    for where in texts:
        capsys.readouterr()
        status, error = made.make(changed(made.record, where, EVIL)), capsys.readouterr().err
        if status:  # the name of a clip, which is no other clip's
            assert status == 2, written(where)
            assert len(error.strip().splitlines()[-1]) > 20
            continue
        html = made.page.read_text()
        elements = check_dead(html).elements
        shown += "onload=alert(1)" in html
        if not str(where[0]).startswith("action_"):  # which decide how actions are drawn
            assert elements == expected, written(where)
    assert shown >= 5


@pytest.mark.long
def test_every_number_must_be_one(made: Scoring | Run, capsys) -> None:
    places = [(where, value) for where, value in leaves(made.record) if not isinstance(value, str)]
    numbers = [
        where
        for where, value in places
        if value is not None
        and (where[0] not in FREE or written(where) == "protocol.semantics.min_area")
        and written(where) != "context"  # nobody reads it
    ]
    assert len(numbers) > 10
    for where in numbers:
        for value in (EVIL, [EVIL], {EVIL: EVIL}, True):
            assert made.make(changed(made.record, where, value)) == 2, written(where)
            error = capsys.readouterr().err.strip().splitlines()[-1]
            assert f"{made.file}: expected what" in error
            assert f"; {written(where)}: expected a" in error
            assert not made.page.exists()
    for where, value in places:
        free = value is None or where[0] in FREE
        if free and made.make(changed(made.record, where, EVIL)) == 0:
            check_dead(made.page.read_text())


@pytest.mark.long
def test_every_key_is_shown_as_a_text(made: Scoring | Run, capsys) -> None:
    for where in keys(made.record):
        capsys.readouterr()
        if made.make(renamed(made.record, where)) == 0:
            check_dead(made.page.read_text())
        else:
            assert re.search(r"^egowm(-scs| report): ", capsys.readouterr().err, re.MULTILINE)
            assert not made.page.exists()
