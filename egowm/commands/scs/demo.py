"""The whole chain in the embedded rooms, in seconds: videos, annotations, scores and a page.

Writes DIR/gt (a robot driving through rooms), DIR/pred (the same rooms, drawn under the actions of
another clip, as a world model that ignores its own would show them), DIR/annotations, DIR/scs.json
and DIR/report.html. Look at the page, then score your own folders the same way.
"""

import argparse
from pathlib import Path

NUM_CLIPS, NUM_FRAMES, SIZE = 3, 9, 64


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    default = Path("runs/scs-demo")
    about = f"folder to write (default: {default})"
    parser.add_argument("--output", type=Path, metavar="DIR", default=default, help=about)


def run(arguments: argparse.Namespace) -> int:
    """Make the folders, then do as `score` does."""
    from egowm.commands.scs.main import main

    folder = arguments.output
    _draw(folder)
    command = ["score", str(folder / "pred"), str(folder / "gt"), "--tracker", "palette"]
    command += ["--annotations", str(folder / "annotations"), "--json", str(folder / "scs.json")]
    print(f"egowm-scs {' '.join(command)}\n")
    status = main([*command, "--report", str(folder / "report.html")])
    print(f"\nOpen {folder / 'report.html'} in a browser.")
    return status


def _draw(folder: Path) -> None:
    import numpy as np

    from egowm.scs.masks import write_palette
    from egowm.video import write_frames
    from egowm.worlds.recording import follow, record, seed_of, structures

    runs = [record(seed_of("test", k), num_frames=NUM_FRAMES) for k in range(NUM_CLIPS)]
    for k, recording in enumerate(runs):
        name = f"room{k}"
        camera = recording.cameras[0]
        start = np.array([camera[0], camera[1], camera[3]])
        wrong, _ = follow(seed_of("test", k), start, runs[(k + 1) % NUM_CLIPS].realised)
        labels = np.zeros(recording.ids[0].shape, np.uint8)
        for number, value in enumerate(structures(recording.ids[0]), 1):
            labels[recording.ids[0] == value] = number
        write_frames(folder / "gt" / name, recording.frames)
        write_frames(folder / "pred" / name, wrong)
        write_palette(folder / "annotations" / f"{name}.png", labels)
