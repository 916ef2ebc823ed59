"""The signs of actions in words, and the page that draws them."""

from pathlib import Path
from xml.etree import ElementTree

import torch

from egowm.actions import ActionSpec
from egowm.actions.files import read_actions
from egowm.data.donkey_tub import DonkeyTub
from egowm.data.inspect.conventions import conventions
from egowm.data.inspect.signs import SIGNS
from egowm.data.normalisers import WHEELED

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "data.md").read_text(encoding="utf-8")


def test_a_wheeled_robot_s_signs():
    assert conventions(WHEELED)[1:] == [
        "dx [m]: + forward, - back",
        "dy [m]: + left, - right",
        "dyaw [rad]: + counter-clockwise (left)",
    ]


def test_a_turn_is_only_spoken_of_where_a_name_says_so():
    for names, words in (
        (("speed", "turn"), "says which way a positive turn goes"),
        (("left wheel", "right wheel"), "the signs are those of its log"),
    ):
        spec = ActionSpec(names, ("", ""), "command", "command", rate_hz=10)
        assert conventions(spec)[0].endswith(words)


def test_a_donkey_s_angle_is_positive_to_the_right():
    assert "angle [full scale]: + right, - left" in conventions(
        DonkeyTub("tub", rate_hz=20).meaning
    )


def test_the_page_shows_every_format():
    assert [name for name in [*SIGNS, "VideoCSV", "Videos"] if f"| `{name}` |" not in PAGE] == []


def test_the_drawing_is_a_picture():
    root = ElementTree.parse(DOCS / "conventions.svg").getroot()
    assert root.tag.endswith("svg")
    assert "conventions.svg" in PAGE


def test_the_file_of_actions_on_the_page_is_read(tmp_path):
    text = PAGE.split("```csv\n")[1].split("```")[0]
    (tmp_path / "walk.csv").write_text(text)
    found = read_actions(str(tmp_path / "walk.csv"), WHEELED)
    assert torch.equal(found, torch.tensor([[0.25, 0, 0], [0.25, 0, 0], [0.2, 0, 0.1]]))
