"""Every command with an output, aimed at what is somebody else's: nothing changes, in one line.

The commands' inputs do not exist, so a line about the output shows that it was looked at first.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.commands.scs import main as scs_cli
from egowm.data.inspect import contact_sheet
from egowm.video import write_mp4

DATA = ["data", "{verb}", "nowhere"]
SCORE = ["score", "pred", "gt", "--tracker", "palette", "--annotations", "drawn"]
FOLLOW = ["track", "pred", "--tracker", "palette", "--annotations", "drawn"]
PAGE = ["report", "pred", "gt", "--tracker", "palette", "--scores", "scs.json"]
EGOWM = {
    "export": ["export", "-c", "{recipe}", "--ckpt_path", "a.ckpt", "--output"],
    "export --as diffusers": [
        "export",
        "--as",
        "diffusers",
        "-c",
        "{recipe}",
        "--ckpt_path",
        "a.ckpt",
        "--output",
    ],
    "import-egowm": ["import-egowm", "a.pth", "--base", "base", "--output"],
    "rollout": ["rollout", "a.png", "--actions", "ww", "--output"],
    "rollout --to lerobot": ["rollout", "a.png", "--to", "lerobot", "--actions", "ww", "--output"],
    "plan": ["plan", "--model", "model", "--output"],
    "collect": ["collect", "--rate", "0", "--steps", "1", "--output"],
    "align": ["align", "a", "b", "-c", "{recipe}", "--output"],
    "eval": ["eval", "--model", "model", "-c", "{recipe}", "--output"],
    "view": ["view", "nowhere", "--output"],
    "report": ["report", "run", "--output"],
    "demo": ["demo", "--quick", "--output"],
    "demo --real": ["demo", "--real", "nowhere", "--output"],
    "data stats": ["data", "stats", "nowhere", "--output"],
    "data show": ["data", "show", "nowhere", "--output"],
    "data convert": ["data", "convert", "nowhere"],
    "data pack": ["data", "pack", "nowhere", "--height", "8", "--width", "8"],
    "data cache": ["data", "cache", "-c", "{recipe}", "--data.root", "nowhere", "--output"],
}
SCS = {
    "score --json": [*SCORE, "--json"],
    "score --csv": [*SCORE, "--csv"],
    "score --report": [*SCORE, "--report"],
    "score --cache": [*SCORE, "--cache"],
    "compare --json": ["compare", "a.json", "b.json", "--json"],
    "report --output": [*PAGE, "--output"],
    "report --cache": [*PAGE, "--output", "new.html", "--cache"],
    "annotate": ["annotate", "gt", "--masks", "drawn", "--output"],
    "track": [*FOLLOW, "--output"],
    "track --cache": [*FOLLOW, "--output", "new", "--cache"],
    "export": ["export", "pred", "gt", "--davis"],
    "convert-sam2": ["convert-sam2", "nowhere.pt"],
    "demo": ["demo", "--output"],
}
COMMANDS = [(cli.main, name, words) for name, words in EGOWM.items()]
COMMANDS += [(scs_cli.main, name, words) for name, words in SCS.items()]
FORCED = {"export", "import-egowm", "rollout", "plan", "eval", "demo", "demo --real", "track"}
FORCED |= {"data show", "data convert", "export --as diffusers", "rollout --to lerobot"}
Place = Callable[[Path, pytest.MonkeyPatch], Path]


def documents(folder: Path) -> Path:
    (folder / "letters").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "letters/1.txt").write_text("mine too")
    return folder


def a_folder_of_ones_own(root: Path, patch: pytest.MonkeyPatch) -> Path:
    return documents(root / "own")


def a_run_with_checkpoints(root: Path, patch: pytest.MonkeyPatch) -> Path:
    run = root / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text('{\n  "command": "egowm fit"\n}\n')
    (run / "checkpoints/step=10.ckpt").write_bytes(b"weights")
    (run / "checkpoints/last.ckpt").symlink_to("step=10.ckpt")
    return run


def the_working_folder(root: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.chdir(documents(root / "here"))
    return Path()


def an_empty_working_folder(root: Path, patch: pytest.MonkeyPatch) -> Path:
    (root / "here").mkdir()
    patch.chdir(root / "here")
    return Path("../here")


def the_home_folder(root: Path, patch: pytest.MonkeyPatch) -> Path:
    (root / "home").mkdir()
    patch.setenv("HOME", str(root / "home"))
    return root / "home"


def a_file(root: Path, patch: pytest.MonkeyPatch) -> Path:
    (root / "letter.json").write_text('{"to": "you"}')
    return root / "letter.json"


def a_link_to_a_folder(root: Path, patch: pytest.MonkeyPatch) -> Path:
    documents(root / "own")
    (root / "link").symlink_to("own")
    return root / "link"


def a_link_to_an_empty_folder(root: Path, patch: pytest.MonkeyPatch) -> Path:
    (root / "own").mkdir()
    (root / "link").symlink_to("own")
    return root / "link"


def a_link_to_a_file(root: Path, patch: pytest.MonkeyPatch) -> Path:
    (root / "link").symlink_to(a_file(root, patch).name)
    return root / "link"


def a_name_below_a_file(root: Path, patch: pytest.MonkeyPatch) -> Path:
    return a_file(root, patch) / "new"


PLACES: list[Place] = [
    a_folder_of_ones_own,
    a_run_with_checkpoints,
    the_working_folder,
    an_empty_working_folder,
    the_home_folder,
    a_file,
    a_link_to_a_folder,
    a_link_to_an_empty_folder,
    a_link_to_a_file,
    a_name_below_a_file,
]


def digest(root: Path) -> str:
    """Of all names, links and contents below a folder."""
    found = []
    for path in sorted(root.rglob("*")):
        kept = str(path.readlink()) if path.is_symlink() else path.is_file() and path.read_bytes()
        found.append((path.relative_to(root).as_posix(), kept, path.is_dir()))
    return hashlib.sha256(repr(found).encode()).hexdigest()


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A recipe as far as it is read before the output is looked at."""
    backbone = {"class_path": "egowm.backbones.SVD", "init_args": {"pretrained": "./none"}}
    model = {"class_path": "egowm.WorldModel", "init_args": {"backbone": backbone}}
    data = {"class_path": "egowm.data.Rooms", "init_args": {"root": "./none"}}
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"model": model, "data": data}))
    return path


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize(
    ("main", "name", "words"), COMMANDS, ids=[f"{m.__module__[6:9]} {n}" for m, n, _ in COMMANDS]
)
def test_nothing_of_theirs_changes(main, name, words, place, given, tmp_path, monkeypatch, capsys):
    root = tmp_path / "theirs"
    root.mkdir()
    output = place(root, monkeypatch)
    command = [*(word.replace("{recipe}", str(given)) for word in words), str(output)]
    before = digest(root)
    for more in ([], ["--force"] if name in FORCED else []):
        assert main([*command, *more]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("egowm")
        assert err.count("\n") == 1
        assert str(output) in err
        assert digest(root) == before


def test_an_output_that_is_there_is_told_before_torch_is_loaded(given, tmp_path):
    """In one process of its own: each verb that imagines, trains or loads a network."""
    output = str(documents(tmp_path / "own"))
    names = ("export", "export --as diffusers", "import-egowm", "rollout", "plan", "eval", "demo")
    commands = [
        [*(word.replace("{recipe}", str(given)) for word in EGOWM[name]), output]
        for name in (*names, "align", "view")
    ]
    code = f"""
import sys
from egowm.commands.main import main
for words in {commands!r}:
    assert main(words) == 2, words
    assert "torch" not in sys.modules, words
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(output) == len(commands) == 9


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_predict_leaves_what_is_no_run(place, given, tmp_path, monkeypatch, capsys):
    """Its output is `predictions` in the run's folder."""
    found = place(tmp_path, monkeypatch)
    output = tmp_path / "runs" / "predictions"
    output.parent.mkdir()
    if place in (the_working_folder, an_empty_working_folder):
        monkeypatch.chdir(tmp_path)
    if place is the_home_folder:
        monkeypatch.setenv("HOME", str(output))
    if found.name == "new":
        output = found / "predictions"
    elif found.is_symlink():
        output.symlink_to(found.resolve())
    else:
        (tmp_path / "here" if place in PLACES[2:4] else found).rename(output)
    if place in PLACES[2:4]:
        monkeypatch.chdir(output)
    command = ["predict", "-c", str(given), "--ckpt_path", "none.ckpt"]
    command += ["--trainer.default_root_dir", str(output.parent)]
    before = digest(tmp_path)
    for more in ([], ["--force"]):
        assert cli.main([*command, *more]) == 2
        assert str(output) in capsys.readouterr().err.splitlines()[-1]
        assert digest(tmp_path) == before


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
def test_a_fit_leaves_anothers_record(recipe, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text('{"distance_km": 12}')
    before = digest(tmp_path / "run")
    assert cli.main(["fit", "-c", str(recipe)]) == 2
    assert "run.json is there and is not the record of a run" in capsys.readouterr().err
    assert digest(tmp_path / "run") == before


def test_every_command_is_here():
    verbs = {name.split()[0] for name in EGOWM} | {"predict", "recipes"}
    assert set(cli.VERBS) - verbs == {
        "fit", "validate", "test", "memory", "doctor", "walk", "push"
    }  # fmt: skip
    assert set(scs_cli.COMMANDS) - {name.split()[0] for name in SCS} == {"doctor"}


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """Six short recordings."""
    folder = tmp_path / "drives"
    folder.mkdir()
    for k in range(6):
        write_mp4(folder / f"run_{k}.mp4", np.full((8, 32, 32, 3), 40 * k, np.uint8), 10)
        rows = "".join(f"{t / 10},{np.sin(k + t):.3f}\n" for t in range(8))
        (folder / f"run_{k}.csv").write_text("time,turn [rad/s]\n" + rows)
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("main", "words", "output", "needs_force"),
    [
        (cli.main, ["data", "stats", "drives", "-o"], "spec.json", False),
        (cli.main, ["data", "show", "drives", "-o"], "sheet.png", False),
        (cli.main, ["data", "show", "drives", "-o"], "sheet.jpg", True),
        (cli.main, ["data", "pack", "drives", "--height", "8", "--width", "8"], "pack", False),
        (cli.main, ["plan", "--simulator", "--max_steps", "1", "--candidates", "5", "--output"],
         "plan", True),
        (scs_cli.main, ["demo", "--output"], "demo", True),
    ],
)  # fmt: skip
def test_its_own_result_is_replaced(
    main, words, output, needs_force, drives, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main([*words, output]) == 0
    made = tmp_path / output
    before = digest(tmp_path)
    if needs_force:
        assert main([*words, output]) == 2
        assert "--force replaces it" in capsys.readouterr().err
        assert digest(tmp_path) == before
    first = numbers(made)
    assert main([*words, output, *(["--force"] if needs_force else [])]) == 0
    again = numbers(made)
    assert again.keys() == first.keys()
    assert again != first
    assert not list(tmp_path.rglob(".egowm-*"))


FULL = [OSError(28, "No space left on device"), OSError(30, "Read-only file system")]
FULL += [OSError(27, "File too large"), MemoryError("7 GiB")]


@pytest.mark.parametrize("error", FULL, ids=str)
@pytest.mark.parametrize(
    ("main", "words", "output"),
    [
        (cli.main, ["data", "stats", "drives", "-o"], "spec.json"),
        (cli.main, ["data", "show", "drives", "-o"], "sheet.png"),
        (cli.main, ["plan", "--simulator", "--max_steps", "1", "--candidates", "5", "--output"],
         "plan"),
    ],
)  # fmt: skip
def test_a_full_machine_is_told_in_a_line(
    main, words, output, error, drives, tmp_path, monkeypatch, capsys
):
    """While the result waits for the disk; what was there before stays, and nothing else comes."""
    monkeypatch.chdir(tmp_path)
    assert main([*words, output]) == 0
    capsys.readouterr()

    def fail(number):
        raise error

    before = digest(tmp_path)
    monkeypatch.setattr("os.fsync", fail)
    assert main([*words, output, *(["--force"] if output == "plan" else [])]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    expected = "not enough memory (7 GiB)" if isinstance(error, MemoryError) else error.strerror
    assert line.startswith(f"egowm: {expected}")
    assert digest(tmp_path) == before


def numbers(made: Path) -> dict[Path, int]:
    """The number of every file: a file written anew has another."""
    files = made.rglob("*") if made.is_dir() else [made]
    return {path: path.stat().st_ino for path in files if path.is_file()}


def test_a_picture_that_is_no_sheet_stays(drives, tmp_path, capsys):
    """A photograph as a camera or another program wrote it."""
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(photo)
    before = photo.read_bytes()
    assert cli.main(["data", "show", str(drives), "-o", str(photo), "--force"]) == 2
    assert "is not a sheet of `egowm data show`" in capsys.readouterr().err
    assert photo.read_bytes() == before
    contact_sheet.write_sheet(photo, np.zeros((8, 8, 3), np.uint8))
    assert cli.main(["data", "show", str(drives), "-o", str(photo)]) == 0
