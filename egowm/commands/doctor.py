"""`egowm doctor`: is this installation sound, and what does this machine offer?

Imports that may break or take seconds happen in fresh processes, so a broken torch is reported
rather than met.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Literal, NamedTuple

from egowm.checks import counted
from egowm.commands.parser import Parser

OK: Literal["ok"] = "ok"
NOTE: Literal["note"] = "note"
PROBLEM: Literal["problem"] = "problem"

PROBE_SECONDS = 120
GIGABYTE = 1e9
LITTLE_DISK, NO_DISK = 10.0, 1.0  # GB: a checkpoint of a large backbone; a rollout's frames
TORCH_PROBE = """
import json, torch, torchvision.ops
boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
torchvision.ops.nms(boxes, torch.ones(1), 0.5)
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "torchvision": torchvision.__version__,
                  "gpus": gpus, "mps": torch.backends.mps.is_available()}))
"""

TRACKERS = {  # what each imports, and what it is for
    "palette": (("cv2",), "simulated rooms, by hue"),
    "flow": (("cv2",), "any video, by optical flow; blind to structures that vanish"),
    "moog": (("cv2", "torch"), "tokens of a trained MooG; needs its folder"),
    "masks": ((), "masks made elsewhere"),
    "copy": ((), "a check of folders"),
    "oracle": ((), "a simulator's own masks"),
    "sam2": (("torch", "transformers"), "the reference; needs weights, never downloaded"),
}


class Line(NamedTuple):
    """One finding."""

    level: Literal["ok", "note", "problem"]
    text: str


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line per check; exit status 1 when any of them is a problem."""
    parser = Parser(prog="egowm doctor", description=__doc__, example="egowm doctor")
    parser.parse_args(argv)
    problems = 0
    checks = (python, packages, opencv, torch_family, optional, trackers, command, hub, disk)
    for check in checks:
        for line in check():
            print(f"{line.level:<8} {line.text}", flush=True)
            problems += line.level == PROBLEM
    return 1 if problems else 0


def python() -> Iterator[Line]:
    """The interpreter and the cores that training shares with everything else."""
    few = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if few else os.cpu_count() or 1
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Line(OK, f"{where}, {counted(cores, 'core')}")


def packages() -> Iterator[Line]:
    """Every package that egowm names, its version and the lower bound it must reach."""
    for requirement in metadata.requires("egowm") or []:
        name, bound, marker = _parse(requirement)
        if "extra ==" in marker:
            continue
        found = _version(name)
        if found is None and marker:
            yield Line(NOTE, f"{name} is not installed; it has wheels on some platforms only")
        elif found is None:
            yield Line(PROBLEM, f"{name} is missing: pip install '{name}>={bound}'")
        elif _numbers(found) < _numbers(bound):
            yield Line(PROBLEM, f"{name} {found} is older than {bound}: pip install -U {name}")
        else:
            yield Line(OK, f"{name} {found}")


def opencv() -> Iterator[Line]:
    """Two OpenCV wheels write the same folder `cv2`, and one of them needs libGL."""
    for name in ("opencv-python", "opencv-contrib-python"):
        if found := _version(name):
            advice = f"pip uninstall {name}, then reinstall opencv-python-headless"
            yield Line(PROBLEM, f"{name} {found} overwrites opencv-python-headless: {advice}")


def torch_family() -> Iterator[Line]:
    """Torch and torchvision must come from one family of builds, or operators are missing."""
    out, error = _probe(TORCH_PROBE)
    if out is None:
        builds = f"torch {_version('torch')} and torchvision {_version('torchvision')}"
        advice = "install both from one source (both ordinary, or both +cpu)"
        yield Line(PROBLEM, f"{builds} do not work together ({error}): {advice}")
        return
    found = json.loads(out)
    yield Line(OK, f"torch {found['torch']} and torchvision {found['torchvision']} work together")
    if found["gpus"]:
        yield Line(OK, f"device: {len(found['gpus'])} x {found['gpus'][0]}")
    else:
        yield Line(OK if found["mps"] else NOTE, f"device: {'mps' if found['mps'] else 'cpu only'}")


def optional() -> Iterator[Line]:
    """What may be absent: decord (then PyAV reads all videos) and sam2 (the native tracker)."""
    missing = {
        "decord": "PyAV reads all videos, somewhat slower",
        "sam2": "pip install sam2 (SAM2_BUILD_CUDA=0, --no-build-isolation) brings it",
    }
    for name, advice in missing.items():
        if util.find_spec(name) is None:
            yield Line(NOTE, f"{name} is not installed; {advice}")
            continue
        out, error = _probe(f"import {name}; print('fine')")
        yield Line(OK, f"{name} imports") if out else Line(PROBLEM, f"import {name}: {error}")


def trackers() -> Iterator[Line]:
    """Which trackers of SCS can run here, what each is for, and what the others lack."""
    for name, (needs, role) in TRACKERS.items():
        missing = [package for package in needs if util.find_spec(package) is None]
        lacks = f"; missing here: pip install {' '.join(missing)}" if missing else ""
        yield Line(NOTE if missing else OK, f"tracker {name}: {role}{lacks}")


def command() -> Iterator[Line]:
    """Who answers to `lightning` on the PATH: this package, another one, or nobody."""
    scripts = Path(sys.executable).parent
    path = shutil.which("lightning") or shutil.which("lightning", path=str(scripts))
    if path is None:
        yield Line(NOTE, f"no command `lightning` in {scripts}; `egowm fit` is the same")
    elif b"egowm.commands.main" not in Path(path).read_bytes():
        scripts_named = metadata.entry_points(group="console_scripts", name="lightning")
        owners = {entry.dist.name for entry in scripts_named if entry.dist} - {"egowm"}
        owner = ", ".join(sorted(owners)) or "another package"
        yield Line(NOTE, f"`lightning` belongs to {owner} ({path}); `egowm fit` is the same")
    elif shutil.which("lightning") is None:
        yield Line(NOTE, f"`lightning` is egowm's but not on the PATH: add {scripts}")
    else:
        yield Line(OK, f"`lightning` is egowm's ({path})")


def hub() -> Iterator[Line]:
    """Where pretrained weights are looked up, and whether the network may be asked."""
    home = Path(os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    models = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    held = counted(models, "model")
    yield Line(OK, f"hub cache {cache}: {held}" + (", offline" if offline else ""))


def disk() -> Iterator[Line]:
    """Free space where a run would write."""
    free = shutil.disk_usage(Path.cwd()).free / GIGABYTE
    level = PROBLEM if free < NO_DISK else NOTE if free < LITTLE_DISK else OK
    yield Line(level, f"{free:.0f} GB free in {Path.cwd()}")


def _probe(code: str) -> tuple[str | None, str]:
    """Runs code in a fresh interpreter: its output, or None and the last line of the error."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {PROBE_SECONDS} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return done.stdout.strip(), ""


def _parse(requirement: str) -> tuple[str, str, str]:
    """`name[extra]>=1.2; marker` as name, lower bound and marker."""
    specifier, _, marker = requirement.partition(";")
    name = re.match(r"[\w.-]+", specifier)
    bound = re.search(r">=\s*([\d.]+)", specifier)
    return name[0] if name else specifier, bound[1] if bound else "0", marker.strip()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
