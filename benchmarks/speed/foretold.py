"""What `egowm memory` foretells of the rows that `training.py` measures on a card.

Traced from the published configurations without a weight, so this runs anywhere.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from benchmarks.measure import Record, benchmark, provenance
from benchmarks.speed.training_row import foretold, pipeline
from benchmarks.speed.training_rows import FORETOLD
from benchmarks.tables import training as tables
from egowm.data import Window


def run(arguments: argparse.Namespace) -> Record:
    record, found = provenance(arguments.seed, "cpu"), []
    with tempfile.TemporaryDirectory() as folder:
        for row in tqdm(FORETOLD, "traces"):
            window = Window(1, row.horizon, 1, *row.size)
            traced = foretold(row, pipeline(row.model, Path(folder)), window, "cuda")
            found.append({"name": row.name} | traced)
    return record | {"rows": found}


main = benchmark(
    __file__, __doc__, "foretold.json", lambda add: None, run, tables.foretold, device=False
)
if __name__ == "__main__":
    sys.exit(main())
