"""The whole chain in the embedded rooms, in seconds: videos, annotations, scores and a page.

Writes DIR/gt (a robot driving through rooms), DIR/pred (the same rooms, drawn under the actions of
another clip, as a world model that ignores its own would show them), DIR/annotations, DIR/scs.json
and DIR/report.html. Look at the page, then score your own folders the same way.
"""

import argparse
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.files import FolderKind, check_folder, filled

DEMO = FolderKind(
    "egowm-scs demo",
    r"(gt|pred)/[^/]+/\d{5}\.png|annotations/[^/]+\.png|scs\.json|report\.html",
)
NUM_CLIPS, NUM_FRAMES, SIZE = 3, 9, 64

EPILOG = """example:
  egowm-scs demo --output runs/scs-demo
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    default = Path("runs/scs-demo")
    about = f"folder to write (default: {default})"
    parser.add_argument("--output", type=Path, metavar="DIR", default=default, help=about)
    parser.add_argument("--force", action="store_true", help="replace a demo that is there")


def run(arguments: argparse.Namespace) -> int:
    """Make the folders, then do as `score` does."""
    from egowm.commands.scs.main import run as run_command

    output = arguments.output
    check_folder(output, DEMO, arguments.force)
    with filled(output, DEMO) as folder:
        _draw(folder)
        print(f"egowm-scs {' '.join(_command(output))}\n")
        status = run_command([*_command(folder), "--report", str(folder / "report.html")])
    print(f"\nOpen {output / 'report.html'} in a browser.")
    return status


def _command(folder: Path) -> list[str]:
    found = ["score", str(folder / "pred"), str(folder / "gt"), "--tracker", "palette"]
    found += ["--annotations", str(folder / "annotations")]
    return [*found, "--json", str(folder / "scs.json")]


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
