"""The folder of `egowm demo`: a run, the training of its second model, a humanoid's run."""

from egowm.evaluation.run_folder import RUN
from egowm.files import FolderKind

TRAINING, HUMANOID = "training", "humanoid"
DEMO = FolderKind(
    "egowm demo",
    rf"{RUN.files}|{TRAINING}/(run\.json|(checkpoints|lightning_logs|pictures|export)(/.+)?)"
    rf"|{HUMANOID}/({RUN.files})",
    keeps=(TRAINING, HUMANOID),
)
