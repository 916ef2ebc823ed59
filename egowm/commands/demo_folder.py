"""The folder of `egowm demo`: a run, beside the training of its second model."""

from egowm.evaluation.run_folder import RUN
from egowm.files import FolderKind

TRAINING = "training"
DEMO = FolderKind(
    "egowm demo",
    rf"{RUN.files}|{TRAINING}/(run\.json|(checkpoints|lightning_logs|pictures|export)(/.+)?)",
    keeps=(TRAINING,),
)
