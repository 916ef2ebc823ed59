"""What a model did, measured and shown: run folders, reports, and robots that go to a picture."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.evaluation.navigation import Oracle, Task, act_out, make_task
    from egowm.evaluation.report.run_page import write_report
    from egowm.evaluation.rows import derangement
    from egowm.evaluation.run_folder import RunFolder, read_run

__all__ = [
    "Oracle",
    "RunFolder",
    "Task",
    "act_out",
    "derangement",
    "make_task",
    "read_run",
    "write_report",
]

__getattr__, __dir__ = face(__name__)
