"""decord brings a zlib of 2005: pictures are read and written whatever was loaded before it.

Each order is a process of its own, because libraries are never unloaded.
"""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from egowm import video, video_file
from egowm.scs.masks import write_palette
from egowm.video import write_frames
from tests.h264 import write_h264
from tests.shell import run_command

pytestmark = pytest.mark.skipif(not video_file.has_decord(), reason="decord has no wheel here")

ORDERS = {
    "decord first": "import decord",
    "decord, then the others": "import decord, cv2, torchvision, PIL.Image",
    "OpenCV first": "import cv2, decord",
    "torchvision first": "import torchvision, decord",
    "egowm decides": "",
}
READ_AND_WRITE = """
import json, sys
from pathlib import Path
import numpy as np
from egowm import video
root = Path("pictures")
assert video.read_frames("a.mp4", [0]).shape == (1, 32, 48, 3)
assert "decord" in sys.modules
truth, found = np.load("truth.npy"), {}
for file in sorted(root.iterdir()):
    found["read " + file.suffix] = video.read_image(file)
for ending in video.PICTURES:
    video.write_image("written" + ending, truth)
    found["write " + ending] = video.read_image("written" + ending)
video.write_frames("frames", np.stack([truth, 255 - truth]))
found["frames"] = video.read_frames("frames", [0])[0]
print(json.dumps({k: int(np.abs(v.astype(int) - truth).max()) for k, v in found.items()}))
"""
LEFT_ALONE = """
import ctypes, json, zlib
import numpy as np
from egowm import video
before = ctypes.RTLD_GLOBAL
video.read_frames("a.mp4", [0])
assert ctypes.RTLD_GLOBAL == before
import cv2, torch, torchvision
data, truth = np.fromfile("pictures/a.png", np.uint8), np.load("truth.npy")
by_opencv = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
by_torchvision = torchvision.io.decode_png(torch.from_numpy(data)).permute(1, 2, 0).numpy()
equal = [np.array_equal(truth, found) for found in (by_opencv, by_torchvision)]
print(json.dumps([*equal, zlib.ZLIB_RUNTIME_VERSION]))
"""


def run_python(code: str, folder: Path):
    """What it prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An H.264 recording, and one picture in every format."""
    truth = cv2.resize(np.arange(4 * 6, dtype=np.uint8).reshape(4, 6) * 10, (48, 32))
    truth = np.stack([truth, 255 - truth, truth // 2 + 60], -1)
    np.save(tmp_path / "truth.npy", truth)
    write_h264(tmp_path / "a.mp4", truth[None].repeat(3, 0), 10)
    (tmp_path / "pictures").mkdir()
    for ending in video.PICTURES:
        Image.fromarray(truth).save(tmp_path / f"pictures/a{ending}", quality=95)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS)
def test_pictures_are_read_and_written_in_every_order(folder: Path, order: str) -> None:
    errors = run_python(ORDERS[order] + READ_AND_WRITE, folder)
    assert len(errors) == 2 * len(video.PICTURES) + 1
    exact = {name for name in errors if name.endswith((".png", ".bmp", "frames"))}
    assert len(exact) == 5
    assert {name: errors[name] for name in exact} == dict.fromkeys(exact, 0)
    assert max(errors.values()) < 24, errors  # JPEG and WebP halve the colours' resolution


@pytest.mark.long
def test_other_libraries_keep_their_own_zlib(folder: Path) -> None:
    """torchvision's reader would end the process, OpenCV's would give nothing."""
    assert run_python(LEFT_ALONE, folder) == [True, True, zlib.ZLIB_RUNTIME_VERSION]


@pytest.mark.long
@pytest.mark.parametrize("first", ["", "decord", "cv2"])
def test_score_of_pictures_against_recordings(tmp_path: Path, first: str) -> None:
    square = np.random.default_rng(0).integers(0, 120, (6, 10), np.uint8).repeat(4, 0).repeat(3, 1)
    frames = np.full((4, 64, 96, 3), 160, np.uint8)
    for k in range(4):
        frames[k, 20:44, 20 + 2 * k : 50 + 2 * k] = square[..., None]
    labels = np.zeros((64, 96), np.uint8)
    labels[20:44, 20:50] = 1
    (tmp_path / "gt").mkdir()
    write_h264(tmp_path / "gt/a.mp4", frames, 10)
    write_frames(tmp_path / "pred/a", frames)
    write_palette(tmp_path / "annotations/a.png", labels)
    score = "egowm-scs score pred gt --tracker flow --annotations annotations --json scs.json"
    assert "prediction" in run_command(score.split(), tmp_path, first)
    assert json.loads((tmp_path / "scs.json").read_text())["scs"] > 90
