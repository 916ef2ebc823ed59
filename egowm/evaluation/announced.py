"""The layout that EgoWM's authors announced for test videos; `egowm-scs score` reads it.

`<episode>/<start>_<end>/{GT,pred}/frames/f_{1..T}.png`, and frame 0 as `f_<start>.png` beside them.
The structures of frame 0, where the run has them, go to a second folder, `<output>_annotations`.
"""

import re
import shutil
from pathlib import Path

from egowm.evaluation.run_folder import PRIMARY, TRUTH
from egowm.video import picture_paths


def write_announced(run: Path, output: Path) -> int:
    """Copy the frames of `run` (gt/ and pred/) to a new folder `output`; the number of clips.

    A clip is called by its episode and the number of its first frame (`room_7_32`); without a
    number it starts at 0.
    """
    output.mkdir(parents=True)
    clips = sorted(path for path in (run / TRUTH).iterdir() if path.is_dir())
    drawings = output.with_name(f"{output.name}_annotations")
    for truth in clips:
        numbered = re.fullmatch(r"(.+)_(\d+)", truth.name)
        episode, start = (numbered[1], int(numbered[2])) if numbered else (truth.name, 0)
        frames = picture_paths(truth)
        folder = output / episode / f"{start}_{start + len(frames) - 1}"
        for half, source in (("GT", truth), ("pred", run / PRIMARY / truth.name)):
            (folder / half / "frames").mkdir(parents=True)
            for number, path in enumerate(picture_paths(source)[1:], 1):
                shutil.copyfile(path, folder / half / "frames" / f"f_{number}.png")
        shutil.copyfile(frames[0], folder / f"f_{start}.png")
        drawn = run / "annotations" / f"{truth.name}.png"
        if drawn.is_file():
            kept = drawings / episode / f"{folder.name}.png"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(drawn, kept)
    return len(clips)
