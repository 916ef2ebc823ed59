"""What `egowm memory` foretells of the rows that `training.py` measures on a card.

Traced from the published configurations without a weight, so this runs anywhere.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.measure import RESULTS, provenance, write
from benchmarks.speed.training_row import foretold, pipeline
from benchmarks.speed.training_rows import FORETOLD
from egowm.data.module import Window


def main(argv: Sequence[str] | None = None) -> int:
    """Trace each row, write the JSON file."""
    parser = argparse.ArgumentParser(prog=Path(__file__).stem, description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS / "foretold.json")
    arguments = parser.parse_args(argv)
    record, found = provenance(0, "cpu"), []
    with tempfile.TemporaryDirectory() as folder:
        for row in tqdm(FORETOLD, "traces"):
            window = Window(1, row.horizon, 1, *row.size)
            traced = foretold(row, pipeline(row.model, Path(folder)), window, "cuda")
            found.append({"name": row.name} | traced)
    write(arguments.json, record | {"rows": found})
    for row in found:
        print(f"{row['name']}: {row['predicted_bytes'] / 1e9:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
