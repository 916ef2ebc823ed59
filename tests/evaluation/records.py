"""Made-up evaluations for tests of tables, pages and comparisons."""

from collections.abc import Sequence

import numpy as np

from egowm.evaluation.metrics.metric import Values
from egowm.evaluation.metrics.pixel import PSNR, SSIM
from egowm.evaluation.metrics.structure import COLUMN
from egowm.evaluation.protocol import Protocol
from egowm.evaluation.record import EvalRecord, column_record, make_cell

PROTOCOL = Protocol("egowm", 4, {2: "2 frames", 4: "4 frames"})


def made_up(
    psnr: np.ndarray,
    ssim: np.ndarray | None = None,
    labels: Sequence[str] = ("mine",),
    protocol: Protocol = PROTOCOL,
) -> EvalRecord:
    """An evaluation whose first row has these values (seeds, N, T), or (N, T) under one seed."""
    columns = [*PSNR.columns, *SSIM.columns]
    given = {"psnr": psnr, "ssim": psnr if ssim is None else ssim}
    clips = [f"room_{k}_00000" for k in range(psnr.shape[-2])]
    recordings = [name.rsplit("_", 1)[0] for name in clips]
    cells = {}
    for column in columns:
        table = given[column.key]
        seeds = [Values(each) for each in (table if table.ndim == 3 else table[None])]
        cells[column.key] = make_cell(seeds, protocol, recordings, column.digits)
    rows = [
        {"folder": f"pred_{k}", "label": label, "role": "model", "cells": cells}
        for k, label in enumerate(labels)
    ]
    copy = {"folder": "copy", "label": "Copy of the first frame", "role": "reference", "cells": {}}
    rows[0] |= {"seconds_per_frame": 0.25, "peak_bytes": 3 << 29}
    return {
        "protocol": protocol.describe() | {"metrics": {"psnr": {}, "ssim": {}}, "scs": None},
        "fingerprint": "f" * 64,
        "reads": dict(protocol.reads),
        "columns": [
            column_record(COLUMN, "no structures are marked"),
            *map(column_record, columns),
        ],
        "rows": [*rows, copy],
        "clips": clips,
        "recordings": recordings,
        "seeds": list(range(psnr.shape[0] if psnr.ndim == 3 else 1)),
        "device": "cpu",
    }
