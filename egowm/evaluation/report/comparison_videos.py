"""Truth and predictions side by side as video files, for players and slides."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from egowm.evaluation.film import beside, panel
from egowm.evaluation.run_folder import TRUTH, RunFolder


def write_comparison(run: RunFolder, clip: str, videos: Mapping[str, np.ndarray]) -> Path:
    """Write RUN/videos/<clip>.mp4: the truth and each variant side by side under their labels.

    videos: folder -> frames (T+1, H, W, 3) uint8 of one shape, the truth among them.
    """
    from egowm.video import write_mp4

    labels = {TRUTH: "truth"} | {v.folder: v.label for v in run.variants}
    panels = [panel(videos[folder], label) for folder, label in labels.items()]
    path = run.path / "videos" / f"{clip.replace('/', '_')}.mp4"
    write_mp4(path, beside(panels), run.fps)
    return path
