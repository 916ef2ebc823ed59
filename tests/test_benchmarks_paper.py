"""The paper's tables beside those of rooms."""

import json

from benchmarks.measure import provenance
from benchmarks.tables import paper


def test_motion_that_most_frames_do_not_show_is_told_by_its_share(tmp_path):
    record = provenance(0, "cpu", (), ["benchmarks/experiment/rooms.py"])
    row = {"arm": "P", "actions": "true", "world": "rooms", "episodes": 64, "family": "svd"}
    row |= {"scs_at": {"2": 54.7, "4": 46.0, "8": 35.6, "16": 26.3}, "scs": 26.3, "run": "P-64"}
    row["following"] = {"aligned": 0.49, "error": [None, None, None]}
    told = record | {"learning_rates": {}, "training": [{"run": "P-64"} | record], "rows": [row]}
    (tmp_path / "rooms.json").write_text(json.dumps(told))
    assert "| 26.3 | 51% of steps lost |" in paper.tables(tmp_path)
    row["following"] = {"aligned": 0.9, "error": [0.0604, 0.0, 0.861]}
    (tmp_path / "rooms.json").write_text(json.dumps(told))
    assert "| 26.3 | 0.060 m, 0.86° |" in paper.tables(tmp_path)
