"""Damaged inputs: fine, or one line and status 2. `make fuzz` tries thousands more."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import faulty
from tests.fuzz.cases import FAULTS, edits_of, make, try_out
from tests.fuzz.damage import EDITS, do, draw

# Every fault that was found is kept here as small as it goes, and is none now.
KEPT = json.loads((Path(__file__).parent / "fuzz/kept.json").read_text())
OFTEN = (  # quick ones; `make fuzz` takes all
    "action spec",
    "data convert rover",
    "read DonkeyTub",
    "read Droid",
    "read NWM",
    "read OneX",
    "read Packed",
    "read TumRgbd",
    "read VideoCSV",
    "scs annotate",
    "scs compare",
    "scs convert-sam2, folder",
    "scs report",
    "scs score, run lengths",
    "scs score, trajectories",
)
EACH = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def tried(root, name, edits, seconds=60.0):
    if not (root / name).exists():
        make(name, root)
    return try_out(name, root, edits, seconds)


@pytest.mark.parametrize("name", OFTEN)
def test_damaged_inputs_are_read_or_refused(root, name):
    assert tried(root, name, []).kind == "fine"
    for number in range(EACH):
        edits = edits_of(root, name, number)
        verdict = tried(root, name, edits)
        assert verdict.kind not in FAULTS, (number, verdict, edits)


@pytest.mark.parametrize("target", sorted({row["target"] for row in KEPT}))
def test_what_was_a_fault_is_none(root, target):
    for row in KEPT:
        if row["target"] == target:
            assert tried(root, target, row["edits"]).kind not in FAULTS, row


@pytest.mark.parametrize("name", faulty.RUNS)
def test_every_fault_is_seen(root, name):
    assert tried(root, name, [], 3.0 if name == "loops" else 60.0).kind == faulty.RUNS[name][0]


@pytest.mark.long
def test_a_number_is_always_the_same_damage(tmp_path):
    """Of every kind; done twice, it gives the same files."""
    files = {
        "a.json": b'{"a": [1, 2], "b": {"c": "x"}}',
        "b.csv": b"x,y\n1,2\n3,4\n",
        "c.yaml": b"a: 1\nb: [1, 2]\n",
        "d.bin": bytes(range(200)),
        "e.jsonl": b'{"a": 1}\n{"a": 2}\n',
    }
    seen, changed = set(), 0
    for number in range(400):
        states = []
        for again in range(2):
            folder = tmp_path / f"{number} {again}"
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
            edits = draw(folder, np.random.default_rng(number))
            do(folder, json.loads(json.dumps(edits)))  # as it is kept
            states.append(
                {
                    p.name: p.is_file() and not p.is_symlink() and p.read_bytes()
                    for p in folder.iterdir()
                }
            )
        assert states[0] == states[1]
        seen |= {edit["do"] for edit in edits}
        changed += states[0] != files
    assert seen == set(EDITS)
    assert changed > 300
