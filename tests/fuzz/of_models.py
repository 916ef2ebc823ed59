"""Targets: the commands of `egowm` that take recipes, checkpoints, exports and bases."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from egowm.actions import ActionSpec
from egowm.commands.main import guarded, main
from egowm.video import write_image
from tests.conftest import write_tiny_prior
from tests.fuzz.of_data import rooms
from tests.fuzz.place import Place, Target, command
from tests.test_hostile_records import Run

TO = ("--output", "OUT/made")
ROOT = ("--trainer.default_root_dir", "OUT/run")
ROOMS = ("--data.root", "KEPT/rooms")
CONFIG = ("-c", "IN/recipe.yaml")
SIZE = ("--size", "16", "16")
LEFT = r"^run/(run\.json|config\.yaml|lightning_logs/)"  # a run that failed says so


def prior(place: Place) -> Path:
    folder = place.kept / "prior"
    return folder if folder.exists() else write_tiny_prior(folder)


def recipe(place: Place) -> None:
    """A recipe of two steps on two rooms."""
    if not (place.kept / "rooms").exists():
        rooms(place.kept / "rooms").prepare_data()
    backbone = {
        "class_path": "egowm.backbones.SVD",
        "init_args": {"pretrained": str(prior(place))},
    }
    window = {"context": 1, "horizon": 2, "height": 16, "width": 16}
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 1, "num_frames": 4}
    told: dict[str, Any] = {
        "seed_everything": 0,
        "model": {
            "class_path": "egowm.WorldModel",
            "init_args": {"backbone": backbone, "steps": 1, "warmup": 1},
        },
        "data": {
            "class_path": "egowm.data.Rooms",
            "init_args": {"root": str(place.kept / "rooms"), "window": window, "batch_size": 2}
            | counts,
        },
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 1,
            "limit_val_batches": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    }
    (place.inputs / "recipe.yaml").write_text(yaml.safe_dump(told))


def trained(place: Place) -> Path:
    """What a fit of a step leaves: recipe, checkpoint, and an export of it."""
    root = place.kept / "trained"
    if not root.exists():
        root.mkdir()
        recipe(place._replace(inputs=root))
        words = ["fit", "-c", str(root / "recipe.yaml")]
        assert main([*words, "--trainer.default_root_dir", str(root / "run")]) == 0
        (root / "run/checkpoints/last.ckpt").resolve().rename(root / "step.ckpt")
        words = ["export", *words[1:], "--ckpt_path", str(root / "step.ckpt"), "--half"]
        assert main([*words, "--output", str(root / "export")]) == 0
    return root


def taken(*names: str) -> Callable[[Place], None]:
    """Parts of `trained` as the input."""

    def make(place: Place) -> None:
        for name in names:
            source, target = trained(place) / name, place.inputs / name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    return make


def make_picture(place: Place, name: str = "a.png") -> None:
    trained(place)
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    write_image(place.inputs / name, pixels)


def make_actions(kind: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        make_picture(place._replace(inputs=place.kept))
        path, rows = place.inputs / f"a.{kind}", [[0.1, 0.0, 0.05], [0.1, 0.0, -0.05]]
        if kind == "npy":
            np.save(path, np.array(rows))
        elif kind == "json":
            path.write_text(json.dumps(rows))
        else:
            lines = ["dx,dy,dyaw", *(",".join(map(str, row)) for row in rows)]
            path.write_text("\n".join(lines) + "\n")

    return make


def make_base(place: Place) -> None:
    make_picture(place._replace(inputs=place.kept))
    shutil.copytree(prior(place), place.inputs / "base")


def make_trained_base(place: Place) -> None:
    """And a recipe that starts from it: cases run in the folder beside it."""
    text = (trained(place) / "recipe.yaml").read_text()
    (place.kept / "from_base.yaml").write_text(text.replace(str(prior(place)), "../in/base"))
    make_base(place)


def make_spec(place: Place) -> None:
    names, units, high = ("dx", "dy", "dyaw"), ("m", "m", "rad"), (0.3, 0.1, 0.1)
    low = (-0.3, -0.1, -0.1)
    spec = ActionSpec(names, units, "body", "se2", 4.0, low, high, ("quantile",) * 3)
    spec.save(place.inputs / "spec.json")


def read_spec(place: Place) -> int:
    """An ActionSpec from a file, at work."""
    import torch

    def work() -> int:
        spec = ActionSpec.load(place.inputs / "spec.json")
        if spec.low:
            spec.denormalise(spec.normalise(torch.zeros(1, 2, spec.width)))
        spec.compare(spec)
        return 0

    return guarded("egowm", work)


def make_released(place: Place) -> None:
    from tests.commands.test_import_egowm import Released

    Released(prior(place), 3).write(place.inputs / "released.pth")


def make_run(place: Place) -> None:
    Run(place.inputs, "clips.json")


def make_latents(place: Place) -> None:
    from_here = trained(place) / "recipe.yaml"
    words = ["data", "cache", "-c", str(from_here), "--output", str(place.inputs / "latents")]
    assert main([*words, "--device", "cpu"]) == 0


SHARE = command(
    main, "plan", *TO, "--simulator", *SIZE, "--candidates", "2", "--rounds", "1",
    "--max_steps", "1", "--cache", "IN/cache",
)  # fmt: skip


def make_share(place: Place) -> None:
    """The row of a room, as a worker of a launch leaves it; films are copied as they are."""
    assert SHARE(place) == 0
    shutil.rmtree(place.output / "made")
    for film in (place.inputs / "cache").glob("*/room.*"):
        film.unlink()


def memory(*words: str) -> Callable[[Place], int]:
    """With the first ways of training; each of them takes seconds."""

    def run(place: Place) -> int:
        from egowm.commands.work import memory

        memory.LADDER = memory.LADDER[:1]
        return command(main, "memory", *words)(place)

    return run


def rollout(*words: str) -> Callable[[Place], int]:
    return command(main, "rollout", *words, *TO, *SIZE)


QUICK = ("action spec", "report")
TARGETS = {
    "action spec": Target(make_spec, read_spec),
    **{
        f"rollout, actions {kind}": Target(
            make_actions(kind),
            rollout("KEPT/a.png", "--actions", f"IN/a.{kind}", "--model", "KEPT/trained/export"),
        )
        for kind in ("csv", "json", "npy")
    },
    "rollout, picture": Target(
        make_picture, rollout("IN/a.png", "--actions", "w", "--model", "KEPT/trained/export")
    ),
    "rollout, export": Target(
        lambda place: (make_picture(place._replace(inputs=place.kept)), taken("export")(place)),
        rollout("KEPT/a.png", "--actions", "w", "--model", "IN/export"),
    ),
    "rollout, base": Target(
        lambda place: (trained(place), make_base(place)),
        rollout("KEPT/a.png", "--actions", "w", "--model", "KEPT/trained/export",
                "--base", "IN/base"),
    ),
    "plan": Target(
        taken("export"),
        command(main, "plan", *TO, "--model", "IN/export", *SIZE, "--candidates", "2",
                "--rounds", "1", "--horizon", "2", "--every", "2", "--max_steps", "1"),
    ),
    "plan, share": Target(make_share, SHARE, mends="^cache"),
    "fit": Target(recipe, command(main, "fit", *CONFIG, *ROOT), LEFT, trusted=True),
    "fit, checkpoint": Target(
        taken("step.ckpt"),
        command(main, "fit", "-c", "KEPT/trained/recipe.yaml", "--ckpt_path", "IN/step.ckpt",
                "--trainer.max_steps", "2", *ROOT),
        LEFT,
    ),
    "fit, cache": Target(
        make_latents,
        command(main, "fit", "-c", "KEPT/trained/recipe.yaml", "--cache", "IN/latents", *ROOT),
        LEFT,
    ),
    **{
        verb: Target(
            taken("recipe.yaml", "step.ckpt"),
            command(main, verb, *CONFIG, "--ckpt_path", "IN/step.ckpt", *ROOT),
            LEFT,
            trusted=True,
        )
        for verb in ("validate", "test", "predict")
    },
    "memory": Target(recipe, memory(*CONFIG), trusted=True),
    "memory, base": Target(
        make_trained_base,
        memory("-c", "KEPT/trained/recipe.yaml", "--model.backbone.pretrained", "IN/base"),
    ),
    "export": Target(
        taken("recipe.yaml", "step.ckpt"),
        command(main, "export", *CONFIG, "--ckpt_path", "IN/step.ckpt", *TO),
        trusted=True,
    ),
    "export, base": Target(
        make_trained_base,
        command(main, "export", "-c", "KEPT/from_base.yaml", "--ckpt_path",
                "KEPT/trained/step.ckpt", *TO),
    ),
    "import-egowm": Target(
        make_released,
        command(main, "import-egowm", "IN/released.pth", "--base", "KEPT/prior", *TO),
    ),
    "eval, recipe": Target(
        taken("recipe.yaml"),
        command(main, "eval", "--model", "KEPT/trained/export", *CONFIG, *TO, "--clips", "1",
                "--horizon", "2", "--actions", "true"),
        trusted=True,
    ),
    "eval, export": Target(
        taken("export"),
        command(main, "eval", "--model", "IN/export", "-c", "KEPT/trained/recipe.yaml", *TO,
                "--clips", "1", "--horizon", "2", "--actions", "true"),
    ),
    "report": Target(
        make_run, command(main, "report", "IN", "--no_videos", "--output", "OUT/page.html")
    ),
    "data cache": Target(
        recipe, command(main, "data", "cache", *CONFIG, *TO, "--device", "cpu"),
        leaves=r"^made/", trusted=True,
    ),
}  # fmt: skip
TARGETS = {k: v if k in QUICK else replace(v, turns=1) for k, v in TARGETS.items()}
