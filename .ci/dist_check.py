"""Builds the wheel, installs it in an empty environment elsewhere, and uses it there.

Run by `make dist`. What it proves: the wheel carries everything it needs (recipes and priors too),
names all its dependencies, and works away from the checkout.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
log = logging.getLogger("dist")

# Runs in a folder that holds only what `egowm recipes copy all` brought there.
FIT = [
    "lightning",
    "fit",
    "-c",
    "recipes/rooms_svd.yaml",
    "--data.episodes_train=2",
    "--data.batch_size=4",
    "--trainer.max_steps=2",
    "--trainer.accelerator=cpu",
    "--trainer.limit_val_batches=0",
    "--trainer.enable_progress_bar=false",
    "--trainer.default_root_dir=run",
    "--data.root=rooms",
]
# Two objects of 8x8 pixels: one predicted exactly, one 4 pixels aside, whose IoU is 1/3.
MASKS = """
from pathlib import Path
import numpy as np
from PIL import Image
for side, shift in (("gt", 0), ("pred", 4)):
    folder = Path(side, "clip")
    folder.mkdir(parents=True)
    for frame in range(3):
        mask = np.zeros((32, 32), np.uint8)
        mask[2:10, 2:10] = 1
        aside = shift if frame else 0
        mask[20:28, 10 + aside : 18 + aside] = 2
        picture = Image.fromarray(mask).convert("P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(folder / f"{frame:05d}.png")
"""
EXPECTED_SCS = 100 * (1 + 1 / 3) / 2


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="==> %(message)s", stream=sys.stdout)
    wheel = build()
    inspect(wheel)
    with tempfile.TemporaryDirectory(prefix="egowm-dist-") as folder:
        binaries = install(wheel, Path(folder, "env"))
        use(binaries, Path(folder, "work"))
    log.info("%s (%.1f MB) works elsewhere", wheel.name, wheel.stat().st_size / 1e6)
    return 0


def build() -> Path:
    """Builds the sdist and from it the wheel, so that nothing comes from outside the sdist."""
    log.info("building the wheel into dist/")
    shutil.rmtree(DIST, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the build failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return next(DIST.glob("*.whl"))


def inspect(wheel: Path) -> None:
    """Every file of the package, every recipe and prior is in the wheel, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    folders = {"egowm": "", "recipes": "egowm/", "priors": "egowm/"}
    expected = {
        prefix + path.relative_to(ROOT).as_posix()
        for folder, prefix in folders.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if inside != expected:
        missing, strange = sorted(expected - inside), sorted(inside - expected)
        sys.exit(f"{wheel.name}: missing {missing}; not in the checkout: {strange}")
    log.info("%s holds all %d files of the checkout", wheel.name, len(inside))


def install(wheel: Path, environment: Path) -> Path:
    """An empty environment with the wheel and its dependencies; returns its folder of scripts."""
    log.info("installing it with its dependencies into %s", environment)
    uv = Path(sys.executable).with_name("uv")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    asked = ["install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    by_uv = [str(uv), "pip", *asked, "--python", str(python)]
    if not uv.exists() or subprocess.run(by_uv).returncode:  # as in .ci/install
        subprocess.run([str(python), "-m", "pip", *asked], check=True)
    return python.parent


def use(binaries: Path, work: Path) -> None:
    """Help, doctor, recipes, a score of known value, two steps of a recipe."""
    work.mkdir()
    run(binaries, work, ["egowm", "--help"])
    run(binaries, work, ["egowm", "doctor"])
    run(binaries, work, ["egowm", "recipes", "copy", "all"])
    run(binaries, work, ["python", "-c", MASKS])
    run(
        binaries,
        work,
        ["egowm-scs", "score", "pred", "gt", "--tracker", "masks", "--json", "s.json"],
    )
    score = json.loads((work / "s.json").read_text())["scs"]
    if abs(score - EXPECTED_SCS) > 0.01:
        sys.exit(f"egowm-scs score: expected {EXPECTED_SCS:.2f}, got {score}")
    run(binaries, work, FIT)
    if not list((work / "run").rglob("last.ckpt")):
        sys.exit("lightning fit left no last.ckpt under --trainer.default_root_dir")


def run(binaries: Path, work: Path, command: list[str]) -> None:
    """Runs one command of the new environment, away from the checkout; its output on failure."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"PATH": f"{binaries}:{environment['PATH']}", "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    full = [str(binaries / command[0]), *command[1:]]
    done = subprocess.run(full, cwd=work, env=environment, capture_output=True, text=True)
    shown = "python -c ..." if command[0] == "python" else " ".join(command)
    if done.returncode:
        sys.exit(f"{shown}: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    log.info("%s: fine, %.1f s", shown, time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
