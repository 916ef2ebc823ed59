"""Wrong columns, and outputs that are there, are told before torch is loaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.commands.fit import check_predictions, check_tables
from egowm.commands.tables_first import check_recipe_tables
from egowm.data.inspect.signs import SIGNS, format_of
from egowm.data.one_x import TRAIN, VAL
from egowm.data.packed import INDEX
from egowm.video import write_frames

RECIPE = """
model: {{class_path: egowm.WorldModel}}
data:
  class_path: {kind}
  init_args: {{root: {root}, actions: [turn, speeed]}}
"""


def recordings(root: Path) -> Path:
    root.mkdir()
    rows = "".join(f"{k / 10},{k / 100},0.5,9,auto\n" for k in range(12))
    for name in ("a", "b"):
        (root / f"{name}.csv").write_text(f"stamp,turn,speed,frame,mode\n{rows}")
        write_frames(root / name, np.full((12, 32, 32, 3), 90, np.uint8))
    return root


def recipe(root: Path, kind: str = "egowm.data.VideoCSV") -> Path:
    file = root.with_suffix(".yaml")
    file.write_text(RECIPE.format(kind=kind, root=root))
    return file


def refused(words: list[str]) -> str:
    """What a command says that is refused before torch is loaded."""
    code = (
        f"import sys; from egowm.commands.main import main; status = main({words!r}); "
        "print(status, sorted({'torch', 'lightning', 'cv2'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "2 []\n", ran.stderr
    return ran.stderr


@pytest.mark.parametrize("verb", ["check", "stats", "show", "fit"])
def test_no_verb_waits_for_torch(tmp_path, verb):
    file = recipe(recordings(tmp_path / "mine"))
    words = ["fit", "-c", str(file)] if verb == "fit" else ["data", verb, str(file)]
    assert "a.csv: no column 'speeed', perhaps 'speed' is meant" in refused(words)


def test_predictions_that_are_there_are_told_before_torch_is_loaded(tmp_path):
    old = tmp_path / "run/predictions/gt/clip"
    write_frames(old, np.zeros((2, 8, 8, 3), np.uint8))
    (old.parents[1] / "clips.json").write_text('{"title": "a", "fps": 4, "clips": {}}')
    file = tmp_path / "a.yaml"
    file.write_text(f"trainer: {{default_root_dir: {tmp_path / 'run'}}}")
    said = refused(["predict", "-c", str(file)])
    assert "holds what `egowm predict` wrote before: --force" in said
    words = ["predict", "-c", str(file), "--trainer.default_root_dir"]
    check_predictions([*words, str(tmp_path / "new")])
    (old.parents[1] / "mine.txt").write_text("mine")
    file.write_text("trainer: {}")
    with pytest.raises(FileExistsError, match=r"mine\.txt"):
        check_predictions([*words, str(tmp_path / "run")])
    check_predictions(["predict", "-c", str(file)])
    check_predictions(["predict", "-c", str(tmp_path / "none.yaml")])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "mine.html"], "mine.html"),
        (["--max_clips", "0"], "--max_clips 0"),
        ([], "clips.json"),
    ],
)
def test_a_report_that_cannot_be_is_told_before_torch_is_loaded(
    tmp_path, monkeypatch, options, words
):
    (tmp_path / "mine.html").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert words in refused(["report", str(tmp_path), *options])


def test_a_command_line_with_other_data_is_left_to_its_parser(tmp_path):
    root = recordings(tmp_path / "mine")
    file = str(recipe(root))
    with pytest.raises(ValueError, match="no column 'speeed'"):
        check_tables(["fit", "-c", file, "--trainer.max_steps", "3"])
    for root_of in (["--data.root", str(root)], [f"--data.root={root}"]):
        with pytest.raises(ValueError, match="no column 'speeed'"):
            check_tables(["fit", "-c", file, *root_of])
    for others in (
        ["--data.root", str(tmp_path)],
        ["--data", "egowm.data.Packed", "--data.root", str(root)],
        ["--data.actions", "[turn]"],
        ["-c", file],
        ["--config=other.yaml"],
    ):
        check_tables(["fit", "-c", file, *others])


@pytest.mark.parametrize(
    "text",
    ["", "data: 3", "data: {class_path: [1]}", "data: {class_path: egowm.data.VideoCSV}", "a: ["],
)
def test_a_recipe_that_is_none_is_left_to_its_reader(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    check_recipe_tables(tmp_path / "a.yaml")
    check_recipe_tables(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    "value", ["actions: turn", "actions: [1]", "time: 3", "rate_hz: fast", "kind: poses"]
)
def test_values_of_another_type_are_left_to_the_parser(tmp_path, value):
    file = recipe(recordings(tmp_path / "mine"))
    file.write_text(file.read_text().replace("actions: [turn, speeed]", f"{value}"))
    check_recipe_tables(file)


def test_other_classes_are_not_looked_at(tmp_path):
    check_recipe_tables(recipe(recordings(tmp_path / "mine"), "egowm.data.Videos"))


def test_a_folder_s_columns_are_named_on_the_command_line(tmp_path, capsys, caplog):
    root = str(recordings(tmp_path / "mine"))
    assert cli.main(["data", "stats", root]) == 2
    assert "column mode holds no numbers ('auto')" in capsys.readouterr().err
    words = ["--actions", "turn", "speed", "--time", "stamp"]
    assert cli.main(["data", "stats", root, *words, "-o", str(tmp_path / "s.json")]) == 0
    assert "2 dimensions at 10 Hz, turn, speed" in capsys.readouterr().out
    assert not caplog.records
    assert cli.main(["data", "stats", str(recipe(tmp_path / "mine")), "--time", "stamp"]) == 2
    assert "--time is for a folder; write time: under data into" in capsys.readouterr().err


def test_columns_that_nobody_named_are_told(tmp_path, caplog):
    root = tmp_path / "mine"
    for file in recordings(root).glob("*.csv"):
        head, *rows = file.read_text().splitlines()
        rows = [row.removesuffix(",auto") for row in rows]
        file.write_text("\n".join([head.replace(",mode", ""), *rows]))
    words = ["data", "stats", str(root), "--time", "stamp", "-o", str(tmp_path / "s.json")]
    assert cli.main(words) == 0
    assert "are taken for actions: turn, speed, frame. --actions NAME" in caplog.text


def test_what_is_no_folder_is_told_before_torch_is_loaded(tmp_path):
    (tmp_path / "laps.xlsx").write_bytes(b"PK")
    said = refused(["data", "check", str(tmp_path / "laps.xlsx")])
    assert "expected a folder of recordings or a recipe (.yaml). This is a file: give the" in said
    said = refused(["data", "pack", str(tmp_path), str(tmp_path / "out")])
    assert "is no recipe: give --height and --width" in said


def test_a_folder_of_another_format_keeps_its_own_word(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("words\nonly\n")
    (tmp_path / "manifest.json").write_text("{}")
    assert format_of(tmp_path) == "DonkeyTub"
    assert cli.main(["data", "check", str(tmp_path), "--actions", "turn"]) == 2
    assert "this is DonkeyTub, which knows what its actions" in capsys.readouterr().err
    assert SIGNS["OneX"] == (TRAIN, VAL)
    assert SIGNS["Packed"] == (INDEX,)
