"""Public names: cheap to import, found under their old names, said once."""

import subprocess
import sys
import warnings
from importlib import import_module

import pytest

from egowm.moved import MOVED
from egowm.recipe import build

HEAVY = ("lightning", "mujoco", "diffusers", "transformers", "decord", "cv2", "h5py")
LIGHT = ("ActionSpec", "Clip", "Rollout", "Sampling", "Space")
FACES = ("egowm", "egowm.actions", "egowm.backbones", "egowm.data", "egowm.pretraining",
         "egowm.training", "egowm.backbones.cosmos3")  # fmt: skip


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh process has loaded after running `code`."""
    shown = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{shown}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_records_load_torch_and_nothing_heavier():
    code = "import egowm\n" + "\n".join(f"egowm.{name}" for name in LIGHT)
    loaded = modules_after(code)
    assert "torch" in loaded
    assert not loaded & set(HEAVY)


def test_the_face_alone_loads_no_torch():
    assert not modules_after("import egowm, egowm.data, egowm.backbones") & {"torch", *HEAVY}


@pytest.mark.parametrize("name", FACES)
def test_every_public_name_exists(name):
    face = import_module(name)
    assert set(face.__all__) - {"__version__"} <= set(dir(face))
    for word in face.__all__:
        assert getattr(face, word) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = face.Nothing


@pytest.mark.parametrize(("old", "new"), sorted(MOVED.items()))
def test_an_old_name_is_the_module_under_its_new_one(old, new):
    sys.modules.pop(old, None)
    with pytest.warns(FutureWarning, match=f"{old} is now {new}") as said:
        assert import_module(old) is import_module(new)
    assert len([w for w in said if w.category is FutureWarning]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_module(old)  # said once


def test_an_old_class_path_still_builds_a_recipe():
    from lightning import LightningModule

    backbone = {"class_path": "egowm.backbones.svd.SVD", "init_args": {"pretrained": "nowhere"}}
    arguments = {"learning_rate": 0.5, "backbone": backbone}
    sys.modules.pop("egowm.prior", None)
    with pytest.warns(FutureWarning, match=r"egowm\.prior is now egowm\.pretraining\.prior"):
        model = build(
            {"class_path": "egowm.prior.VideoPrior", "init_args": arguments},
            LightningModule,
        )
    assert model.learning_rate == 0.5
