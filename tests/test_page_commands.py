"""The bash blocks of the guides are typed from top to bottom, by a real bash, in an empty folder.

What a page takes for granted is put there by the function of its name in `GIVEN`; what is to be
there in the end stands in `LEFT`. Only sizes differ (tests/terminal.py).

Left out are `git`, `curl`, `azcopy`, `pip` and `hf download`: they are other people's and need a
network. docs/reproduce.md needs 5 GB of weights: its commands are parsed alone, as are those of
pages that are not in `LEFT` (tests/test_page_words.py); `benchmarks.lent_gpu --dry-run` is run by
tests/test_benchmarks_lent_gpu.py.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from egowm.scs.masks import write_palette
from egowm.video import read_frames
from tests.conftest import write_recipe, write_tiny_prior
from tests.fake_hub import OWNER
from tests.pages import ROOT, blocks
from tests.terminal import Terminal, smaller
from tests.test_your_robot import record

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(1200)]
ROBOT = """
egowm fit -c my_robot.yaml
egowm export -c my_robot.yaml --output exports/my_robot --ckpt_path \\
    runs/my_robot/checkpoints/last.ckpt
egowm eval -c my_robot.yaml --model exports/my_robot --output runs/score
"""


@pytest.fixture(scope="module")
def terminal(tmp_path_factory) -> Iterator[Terminal]:
    found = Terminal(tmp_path_factory.mktemp("home"))
    yield found
    found.close()


def furnish(folder: Path) -> None:
    """What a checkout brings, with smaller recipes, and pictures."""
    (folder / "recipes").mkdir()
    for recipe in ROOT.glob("recipes/*.yaml"):
        (folder / "recipes" / recipe.name).write_text(smaller(recipe.read_text("utf-8")))
    for name in ("priors", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "pictures").mkdir()
    picture = Image.open(ROOT / "docs/rooms.png").crop((0, 0, 200, 120)).convert("RGB")
    for name in ("picture.png", "painting.jpg", "pictures/now.png"):
        picture.save(folder / name)


@pytest.fixture(scope="module")
def robot(terminal, tmp_path_factory) -> Path:
    """Recordings and a recipe as docs/your-robot.md has them, a model of them and its score."""
    folder = tmp_path_factory.mktemp("robot")
    (folder / "my_robot").mkdir()
    (folder / "priors").symlink_to(ROOT / "priors")
    for number in range(1, 11):
        record(folder / "my_robot", f"kitchen_{number:02d}", number, frames=16)
    (recipe,) = blocks(ROOT / "docs/your-robot.md", "yaml")
    (folder / "my_robot.yaml").write_text(smaller(recipe))
    terminal.type(ROBOT, folder)
    return folder


# What pages take for granted ----------------------------------------------------------------------


def robot_of(folder: Path, request: pytest.FixtureRequest) -> None:
    """A robot's recordings, recipe, run, export and score."""
    robot, brought = request.getfixturevalue("robot"), shutil.ignore_patterns("priors")
    shutil.copytree(robot, folder, dirs_exist_ok=True, symlinks=True, ignore=brought)


def export_of(folder: Path, request: pytest.FixtureRequest) -> None:
    """The export of a robot, in the place where docs/your-robot.md leaves it."""
    export = request.getfixturevalue("robot") / "exports/my_robot"
    shutil.copytree(export, folder / "runs/my_robot/export")


def scored(folder: Path, request: pytest.FixtureRequest) -> None:
    """Videos, the true ones, and of each the one structure that a MooG of two steps knows: all."""
    demo = "egowm-scs demo --output demo && mv demo/pred demo/gt demo/annotations ."
    request.getfixturevalue("terminal").type(demo, folder)
    for path in (folder / "annotations").glob("*.png"):
        write_palette(path, np.ones((64, 64), np.uint8))


def recordings(folder: Path, request: pytest.FixtureRequest) -> None:
    """A robot's, and those that `git clone` would bring."""
    robot_of(folder, request)
    rover = request.getfixturevalue("shared_data") / "udacity_rover_sim"
    shutil.copytree(rover, folder / "RoboND-Rover-Project/test_dataset")


def videos(folder: Path, request: pytest.FixtureRequest) -> None:
    """A folder of them, and a robot."""
    robot_of(folder, request)
    (folder / "my_videos/phone").mkdir(parents=True)
    for number, name in enumerate(("corridor", "phone/stairs", "phone/kitchen")):
        record(folder / "my_videos", name, number, frames=120)


def any_recipe(folder: Path, request: pytest.FixtureRequest) -> None:
    """RECIPE, of a tiny model, whose run is in runs/a; my_robot.yaml, of the base of `rooms`."""
    made = folder / "made"  # a folder `rooms` here would stand before the model of that name
    made.mkdir()
    text = write_recipe(made, write_tiny_prior(folder / "tiny")).read_text("utf-8")
    (folder / "RECIPE").write_text(smaller(text.replace(str(made / "run"), "runs/a")))
    shutil.copy(folder / "recipes/rooms_svd.yaml", folder / "my_robot.yaml")


GIVEN: dict[str, Callable[[Path, pytest.FixtureRequest], None]] = {
    "docs/data.md": recordings,
    "docs/encoders.md": scored,
    "docs/passive-video.md": videos,
    "docs/sharing.md": robot_of,
    "docs/training.md": any_recipe,
    "docs/walk.md": export_of,
}
STANDS_FOR = {"OWNER": OWNER, "s3://bucket/": "packed/"}

# What is there in the end -------------------------------------------------------------------------

LEFT = {  # files, or patterns of some
    "docs/data.md": "data/rover/rover_0/traj_data.pkl packed/my_robot/*/index.json",
    "docs/encoders.md": "runs/ijepa/model.safetensors runs/rooms_latent/run.json runs/lives.json "
    "runs/control/export/decoder.safetensors runs/moog/*.safetensors",
    "docs/humanoid.md": "runs/hands/score/eval.json humanoid/*/*",
    "docs/latent-models.md": "runs/rssm-eval/eval.json runs/rssm-plan/plan.json runs/rssm-walk/*",
    "docs/passive-video.md": "my_videos.png runs/passive_video_svd/prior/model_index.json "
    "runs/my_robot_passive/score/eval.json",
    "docs/policies.md": "runs/drive/plan.json runs/proposed/plan.json runs/drive/room_0.mp4 "
    "runs/rooms_dreamer/policy/*.safetensors",
    "docs/sharing.md": "pipelines/my_robot/model_index.json dreams/meta/info.json "
    "runs/my_robot/imagined/meta/info.json",
    "docs/students.md": "runs/students/*/export/weights.safetensors "
    "runs/students/tuned-long-recorded/run.json runs/students/regression/run.json",
    "docs/training.md": "runs/a/run.json latents/cache.json runs/b/checkpoints/last.ckpt",
    "docs/walk.md": "",
    "priors/rooms-cosmos/README.md": "runs/pretrain_rooms_cosmos/prior/model_index.json",
    "priors/rooms-svd/README.md": "runs/pretrain_rooms_svd/prior/model_index.json",
}


def look_at(path: Path) -> None:
    """Open a file by what reads its kind."""
    if path.suffix == ".json":
        assert json.loads(path.read_text("utf-8"))
    elif path.suffix == ".mp4":
        assert read_frames(path).std() > 1
    elif path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".safetensors":
        assert all(weight.isfinite().all() for weight in load_file(path).values())
    else:
        assert path.stat().st_size


@pytest.mark.parametrize("page", LEFT)
def test_the_commands_of_a_page(page, tmp_path, terminal, request):
    furnish(tmp_path)
    if page in GIVEN:
        GIVEN[page](tmp_path, request)
    for block in blocks(ROOT / page):
        for word, meaning in STANDS_FOR.items():
            block = block.replace(word, meaning)
        print(terminal.type(block, tmp_path))
    for pattern in LEFT[page].split():
        found = sorted(tmp_path.glob(pattern))
        assert found, pattern
        for path in found:
            look_at(path)
    if page == "docs/sharing.md":
        pushed = terminal.hub.files(f"{OWNER}/my_robot") or {}
        assert {"README.md", "weights.safetensors", "world_model.json"} <= set(pushed)
