"""Recordings that are missing: the error ends in how to get them, and misleads nobody."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from egowm.commands import main as cli
from egowm.data import DonkeyTub, Droid, LeRobot, OneX, Recon, TumRgbd
from egowm.data.inspect.check import check
from egowm.data.public_recordings import how_to_get, public_recordings
from egowm.shipped import recipes

ROOT = Path(__file__).resolve().parents[2]
MADE = (".Rooms", ".Clips", ".Replay")  # drawn, a user's own, driven by `egowm collect`
TUB = (
    "Donkey Car's sample tub: https://github.com/autorope/donkeycar (licence: MIT; size: 5 MB, "
    "1,000 pictures). Get it with: git clone https://github.com/autorope/donkeycar && "
)


def roots() -> list[tuple[str, Path, str]]:
    """Recipe, folder and class of all recordings that do not come along and are not a user's."""
    found = []
    for name, path in recipes().items():
        data = yaml.safe_load(path.read_text()).get("data", {})
        sources = data.get("init_args", {}).get("sources", {"": data})
        for source in sources.values():
            root = Path(source.get("init_args", {}).get("root", "my_videos"))
            if root.name != "my_videos" and not source["class_path"].endswith(MADE):
                found.append((name, root, source["class_path"].rpartition(".")[2]))
    return found


@pytest.mark.parametrize(("recipe", "root", "reader"), roots())
def test_the_recordings_of_a_recipe_are_known(recipe, root, reader, tmp_path):
    """Also into an empty folder; nothing is to be copied into one that holds something."""
    folder = tmp_path / root.name
    offer = how_to_get(folder, reader)
    folder.mkdir()
    assert how_to_get(folder, reader) == offer
    (folder / "mine.txt").touch()
    assert how_to_get(folder, reader) == ""
    assert re.search(
        r": https://\S+ \(licence: .+; size: .+\)\. .*(Get it with: |Download it)", offer
    )
    assert "Public recordings" in "".join((ROOT / f"recipes/{recipe}.yaml").open().readlines()[:3])


def test_eleven_recipes_lean_on_recordings():
    assert len({recipe for recipe, _, _ in roots()}) == 11


@pytest.mark.parametrize("data", [DonkeyTub, Droid, LeRobot, OneX, Recon, TumRgbd])
def test_an_error_ends_in_the_command(data, tmp_path):
    known = next(x for x in public_recordings() if data.__name__ in x.folders.values())
    root = tmp_path / "a b" / next(iter(known.folders))
    with pytest.raises(FileNotFoundError, match=r"--data\.root PATH") as caught:
        (lambda it: (it.episodes("train"), it.meaning))(data(str(root)))
    command = known.command_into(root)
    assert str(caught.value).endswith(f"Get it with: {command}")
    assert f"'{root}'" in command
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0


def test_a_users_own_folder_is_not_taken_for_a_public_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*/mine; pass --data\.root PATH\.$"):
        DonkeyTub(str(tmp_path / "mine")).episodes("train")
    assert how_to_get(Path("data/rover"), "VideoCSV") == ""
    assert how_to_get(Path("elsewhere"), "NWM") == ""
    assert how_to_get(Path("elsewhere"), "Recon").startswith("RECON: https://sites.google.com/")
    assert how_to_get(Path("elsewhere")) == ""
    (tmp_path / "recon").write_text("a file in the place of a folder")
    assert how_to_get(tmp_path / "recon", "NWM") == ""


@pytest.mark.parametrize(
    ("data", "own"),
    [
        (Droid, "annotation/train/0.json"),
        (OneX, "train_v2.0_raw/robot_states/mine.txt"),
        (Recon, "mine.bag"),
        (TumRgbd, "mine.txt"),
    ],
)
@pytest.mark.parametrize("public", [True, False])
def test_nothing_is_to_be_copied_into_a_folder_that_holds_something(data, own, public, tmp_path):
    """Whether it has the name of the public one or not: one half of a data set may be missing."""
    known = next(x for x in public_recordings() if data.__name__ in x.folders.values())
    root = tmp_path / (next(iter(known.folders)) if public else "mine")
    (root / own).parent.mkdir(parents=True)
    (root / own).write_text("{}")
    with pytest.raises(FileNotFoundError) as caught:
        data(str(root)).episodes("test")
    assert "Get it with" not in str(caught.value)


def test_commands_may_be_run_twice(tmp_path):
    """A second copy goes over the first, not into it; the clone is there already."""
    (tmp_path / "nwm/data_splits/recon").mkdir(parents=True)
    lists = next(x for x in public_recordings() if "traj_names.txt" in x.folders)
    copied = lists.command_into(tmp_path).partition(" && ")[2]
    for _ in range(2):
        subprocess.run(["bash", "-c", copied], cwd=tmp_path, check=True)
    assert [p.name for p in (tmp_path / "data/splits").iterdir()] == ["recon"]


def test_a_list_of_names_that_is_missing(tmp_path):
    names = str(tmp_path / "traj_names.txt")
    with pytest.raises(FileNotFoundError, match=r"one episode name a line\. NWM's lists .* BY-NC;"):
        Recon(str(tmp_path), train_names=names, test_names=names).splits.of("train", [], tmp_path)


def test_the_check_says_it_once(tmp_path, capsys):
    found = check(DonkeyTub(str(tmp_path / "donkeycar_tub")), progress=False)
    assert sum(TUB in finding.text for finding in found) == 1
    assert cli.main(["data", "check", str(tmp_path / "donkeycar_tub")]) == 2
    assert TUB in capsys.readouterr().err


def test_make_real_ends_before_it_installs(tmp_path):
    """The line comes of Python alone, from the checkout."""
    make = ["make", "-C", str(ROOT), "real", f"SHARED={tmp_path}", f"VENV={tmp_path}/venv"]
    planned = subprocess.run([*make, "-n"], capture_output=True, text=True).stdout
    assert 0 <= planned.index("how_to_get") < planned.index(".ci/install")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/.installed").touch()  # so that nothing is installed if the line is missing
    done = subprocess.run(make, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"make real: no folder {tmp_path}/data/donkeycar_tub. {TUB}" in done.stderr
