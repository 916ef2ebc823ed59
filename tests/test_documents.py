"""All Python on the pages that egowm brings runs as it stands, on the weights that it brings.

That of the tutorials runs when the site is built (docs/site/tutorial.py), with their commands.
A page is read from top to bottom, so its blocks share what they define. What a page takes for given
(a picture, a fitted model) is made by the function of its name below, before.
"""

import re
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import torch
from PIL import Image

from egowm.picture_file import decode_image
from tests.pages import PAGES, ROOT, TUTORIALS


def code_blocks(page: Path) -> list[CodeType]:
    """Its Python, compiled so that a traceback names the page and the line."""
    text, found = page.read_text(encoding="utf-8"), []
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        above = text[: block.start(1)].count("\n")
        found.append(compile("\n" * above + block[1], str(page), "exec"))
    return found


RUN = [str(page.relative_to(ROOT)) for page in PAGES if page not in TUTORIALS and code_blocks(page)]


# What a page takes for given ----------------------------------------------------------------------


def picture() -> dict[str, Any]:
    """Any picture, of another shape than the model's."""
    source = Image.open(ROOT / "docs/rooms.png")
    source.crop((0, 0, 200, 120)).save("picture.png")
    return {}


def walk() -> dict[str, Any]:
    """The server that `egowm walk` starts, and a picture."""
    from egowm.serving.served import Served
    from egowm.world_model import WorldModel
    from tests.serving.running import Running

    served = Served(WorldModel.from_pretrained("rooms").eval(), (64, 64))
    return picture() | {"running": Running(served, port=8750)}


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/walk.md": walk,
    "priors/rooms-svd/README.md": picture,
}


# What comes of it ---------------------------------------------------------------------------------


def check_readme(scope: dict[str, Any]) -> None:
    frames = scope["rollout"].frames
    assert frames.shape == (1, 8, 3, 64, 64)
    assert frames.std() > 0.01
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for line in block.splitlines() if line and "import" not in line]
    assert len(lines) == 5  # "Five lines of Python"


def check_backbones(scope: dict[str, Any]) -> None:
    assert scope["embedding"].shape == (1, 1, scope["model"].backbone.embedding_dim)


def check_data(scope: dict[str, Any]) -> None:
    data = scope["data"]
    assert data.meaning.names == ("shoulder", "elbow", "vx", "wz")
    assert sum(len(data.split(split)) for split in ("train", "val", "test")) == 20


def check_encoders(scope: dict[str, Any]) -> None:
    assert scope["patches"].shape == (2, 8, 8, scope["encoder"].width)
    assert scope["found"].r2 > 0.99


def check_latent_models(scope: dict[str, Any]) -> None:
    assert scope["plan"].actions.shape == (8, 3)
    assert scope["plan"].evaluations == 160


def check_policies(scope: dict[str, Any]) -> None:
    assert scope["actions"].shape == (2, 3)
    assert scope["actions"][:, 0].abs().max() <= 0.3


def check_planning(scope: dict[str, Any]) -> None:
    assert scope["plan"].actions.shape == (2, 3)
    assert scope["plan"].evaluations == 8
    assert scope["found"] < 0.01
    body = (ROOT / "docs/planning.md").read_text().split("def hill_climb")[1].split("\n\n\n")[0]
    assert len(body.splitlines()) <= 11  # "Ten lines of your own"


def check_sharing(scope: dict[str, Any]) -> None:
    assert scope["frames"].shape == (1, 4, 3, 64, 64)
    assert scope["frames"].std() > 0.01
    own = scope["again"].backbone.network.state_dict()
    stock = scope["pipeline"].unet.state_dict()
    assert all(torch.equal(weight, own[name]) for name, weight in stock.items())


def check_scs(scope: dict[str, Any]) -> None:
    assert scope["score"] == pytest.approx(60.0)
    assert scope["found"]["scs"].item() == pytest.approx(80.0)
    assert scope["found"]["PeakSignalNoiseRatio"] > 10


def check_students(scope: dict[str, Any]) -> None:
    assert scope["levels"].tolist() == pytest.approx([80, 2, 0])
    assert scope["student"].spec.width == 3


def check_prior(scope: dict[str, Any]) -> None:
    frames = scope["frames"]
    assert [frame.size for frame in frames] == [(64, 64)] * 5
    first, last = (torch.frombuffer(bytearray(f.tobytes()), dtype=torch.uint8) for f in frames[::4])
    assert first.float().std() > 5
    assert not torch.equal(first, last)
    pipeline = scope["pipeline"]
    parts = (pipeline.unet, pipeline.vae, pipeline.image_encoder)
    assert {part.dtype for part in parts} == {torch.float32}


def check_export(scope: dict[str, Any]) -> None:
    assert scope["frames"].shape == (1, 1, 3, 64, 64)
    assert scope["frames"].std() > 0.01


def check_walk(scope: dict[str, Any]) -> None:
    scope["running"].stop()
    futures, found = scope["futures"], [decode_image(scope[x]) for x in ("imagined", "truth")]
    assert [len(future) for future in futures] == [4, 4]
    assert decode_image(futures[0][3]).shape == (64, 64, 3)
    assert futures[0][3] != futures[1][3]
    assert found[0].std() > 5
    assert found[0].shape == found[1].shape == (64, 64, 3)
    assert scope["frames"].shape == (1, 3, 64, 64)
    page = (ROOT / "docs/walk.md").read_text()
    client = page.split("A client:\n\n```python\n")[1].split("\n\nahead")[0]
    assert len(client.splitlines()) <= 10


RESULT: dict[str, Callable[[dict[str, Any]], None]] = {
    "README.md": check_readme,
    "docs/backbones.md": check_backbones,
    "docs/data.md": check_data,
    "docs/encoders.md": check_encoders,
    "docs/latent-models.md": check_latent_models,
    "docs/policies.md": check_policies,
    "docs/planning.md": check_planning,
    "docs/scs.md": check_scs,
    "docs/sharing.md": check_sharing,
    "docs/students.md": check_students,
    "docs/walk.md": check_walk,
    "priors/rooms-svd/README.md": check_prior,
    "priors/humanoid-world-model/README.md": check_export,
    "priors/rooms-world-model/README.md": check_export,
}


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
@pytest.mark.parametrize("page", RUN)
def test_the_code_of_a_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("priors").symlink_to(ROOT / "priors")
    torch.manual_seed(0)
    scope = GIVEN.get(page, dict)()
    for code in code_blocks(ROOT / page):
        exec(code, scope)
    RESULT[page](scope)


def test_every_page_with_code_is_run():
    assert set(RESULT) == set(RUN)
    assert set(GIVEN) <= set(RUN)
