"""Old module names: exports, recipes and scripts that name them go on working.

Each says its new name once, as a FutureWarning.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "egowm.data.clip": "egowm.clip",
    "egowm.data.paths": "egowm.paths",
    "egowm.poses": "egowm.actions.poses",
    "egowm.wrong_actions": "egowm.actions.contrast",
    "egowm.adapters": "egowm.network.trained_part",
    "egowm.gradient_checkpointing": "egowm.network.checkpointing",
    "egowm.compilation": "egowm.network.compilation",
    "egowm.training.sharding": "egowm.network.sharding",
    "egowm.optimisation": "egowm.network.optimizer",
    "egowm.training.seeds": "egowm.randomness",
    "egowm.imagination": "egowm.sampling",
    "egowm.training.checkpoint_record": "egowm.metadata",
    "egowm.backbones.memo": "egowm.backbones.codec_wrappers",
    "egowm.backbones.offload": "egowm.backbones.codec_wrappers",
    "egowm.backbones.cosmos3_frames": "egowm.backbones.cosmos3.frames",
    "egowm.backbones.cosmos3_pose": "egowm.backbones.cosmos3.pose",
    "egowm.inspection.check": "egowm.data.inspect.check",
    "egowm.inspection.checksums": "egowm.data.inspect.checksums",
    "egowm.inspection.contact_sheet": "egowm.data.inspect.contact_sheet",
    "egowm.inspection.findings": "egowm.data.inspect.findings",
    "egowm.inspection.labels": "egowm.data.inspect.labels",
    "egowm.inspection.pictures": "egowm.data.inspect.pictures",
    "egowm.inspection.opening": "egowm.data.inspect.opening",
    "egowm.inspection.alignment": "egowm.data.inspect.lag",
    "egowm.inspection.convert": "egowm.data.convert.drive",
    "egowm.inspection.ros_bag": "egowm.data.convert.ros_bag",
    "egowm.inspection.rover": "egowm.data.convert.rover",
    "egowm.inspection.packing": "egowm.data.packing",
    "egowm.inspection.caching": "egowm.training.latents.writer",
    "egowm.data.latent_cache": "egowm.training.latents.cache",
    "egowm.data.cached_clips": "egowm.training.latents.clips",
    "egowm.data.shards": "egowm.training.latents.shards",
    "egowm.training.from_cache": "egowm.training.latents.callback",
    "egowm.planning.agents": "egowm.evaluation.agents",
    "egowm.planning.navigation": "egowm.evaluation.navigation",
    "egowm.autoencoder": "egowm.pretraining.autoencoder",
    "egowm.prior": "egowm.pretraining.prior",
    "egowm.initialisation.convolutions": "egowm.pretraining.starts.convolutions",
    "egowm.initialisation.transformer": "egowm.pretraining.starts.transformer",
    "egowm.initialisation": "egowm.pretraining.starts",
    "egowm.evaluation.clip_card": "egowm.evaluation.report.clip_card",
    "egowm.evaluation.line_chart": "egowm.evaluation.report.line_chart",
    "egowm.evaluation.path_drawing": "egowm.evaluation.report.path_drawing",
    "egowm.evaluation.comparison_videos": "egowm.evaluation.report.comparison_videos",
    "egowm.evaluation.score_table": "egowm.evaluation.report.score_table",
    "egowm.evaluation.scores": "egowm.scs.record",
    "egowm.scs.annotations": "egowm.scs.annotation.annotations",
    "egowm.scs.annotate": "egowm.scs.annotation.annotate",
    "egowm.scs.candidates": "egowm.scs.annotation.proposals",
    "egowm.scs.prompts": "egowm.scs.annotation.prompts",
    "egowm.scs.detector": "egowm.scs.annotation.detector",
    "egowm.scs.table": "egowm.scs.text",
    "egowm.scs.per_frame": "egowm.scs.text",
    "egowm.scs.checks": "egowm.scs.tracking",
    "egowm.scs.geometry": "egowm.scs.clip_result",
    "egowm.scs.trackers.copy": "egowm.scs.trackers.simple",
    "egowm.scs.trackers.masks": "egowm.scs.trackers.simple",
    "egowm.scs.trackers.oracle": "egowm.scs.trackers.simple",
    "egowm.scs.trackers.sam2.architecture": "egowm.scs.trackers.sam2.meta",
    "egowm.scs.trackers.sam2.names": "egowm.scs.trackers.sam2.meta",
    "egowm.scs.trackers.sam2.memory": "egowm.scs.trackers.sam2.lockstep",
    "egowm.scs.trackers.sam2.preprocess": "egowm.scs.trackers.sam2.pictures",
    "egowm.scs.trackers.sam2.segment": "egowm.scs.trackers.sam2.pictures",
    "egowm.scs.trackers.sam2.convert": "egowm.scs.trackers.sam2.weights",
    "egowm.scs.trackers.options": "egowm.commands.tracker_options",
    "egowm.scs.videos": "egowm.scs.clips",
    "egowm.scs.layouts": "egowm.scs.clips",
    "egowm.scs.report": "egowm.evaluation.report.scs_page",
    "egowm.scs.report_parts": "egowm.evaluation.report.scs_parts",
    "egowm.scs.overlay": "egowm.evaluation.report.overlay",
    "egowm.inspection": "egowm.data.inspect",
    "egowm.scs.commands": "egowm.commands.scs",
    "egowm.scs.commands.annotate": "egowm.commands.scs.annotate",
    "egowm.scs.commands.compare": "egowm.commands.scs.compare",
    "egowm.scs.commands.convert_sam2": "egowm.commands.scs.convert_sam2",
    "egowm.scs.commands.demo": "egowm.commands.scs.demo",
    "egowm.scs.commands.doctor": "egowm.commands.scs.doctor",
    "egowm.scs.commands.export": "egowm.commands.scs.export",
    "egowm.scs.commands.report": "egowm.commands.scs.report",
    "egowm.scs.commands.score": "egowm.commands.scs.score",
    "egowm.scs.commands.track": "egowm.commands.scs.track",
    "egowm.cli": "egowm.commands.main",
    "egowm.fit": "egowm.commands.fit",
    "egowm.rollout": "egowm.commands.rollout",
    "egowm.export_checkpoint": "egowm.commands.export",
    "egowm.doctor": "egowm.commands.doctor",
    "egowm.demo": "egowm.commands.demo",
    "egowm.share": "egowm.commands.recipes",
    "egowm.import_egowm": "egowm.commands.import_egowm",
    "egowm.training.memory_cli": "egowm.commands.memory",
    "egowm.inspection.cli": "egowm.commands.data",
    "egowm.inspection.cache_cli": "egowm.commands.data_cache",
    "egowm.planning.cli": "egowm.commands.plan",
    "egowm.scs.cli": "egowm.commands.scs.main",
    "egowm.commands.plan_pictures": "egowm.commands.work.plan_pictures",
}


class _OldNames(MetaPathFinder, Loader):
    """Finds a module under its old name and answers with the one under the new name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}.", FutureWarning, stacklevel=2)
        return import_module(new)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module ran under its new name."""


def answer_old_names() -> None:
    """Let `import` find the modules of `MOVED` under their old names."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OldNames())  # before folders are searched for the last word
