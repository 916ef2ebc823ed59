"""Writes golden.json beside this file: `make golden`, after a change of planners that is meant."""

import json

from tests.planning.conftest import PLANNERS
from tests.planning.test_planners import GOLDEN, golden_plan

if __name__ == "__main__":
    plans = {name: golden_plan(name) for name in sorted([*PLANNERS, "straight_line"])}
    rows = {
        name: {"actions": plan.actions.tolist(), "evaluations": plan.evaluations}
        for name, plan in plans.items()
    }
    GOLDEN.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
