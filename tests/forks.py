"""Processes that begin as a copy of one that has imported everything, and has no threads."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

PRELOADED = [
    "av",
    "diffusers.models.autoencoders.autoencoder_kl_temporal_decoder",
    "diffusers.models.unets.unet_spatio_temporal_condition",
    "diffusers.schedulers.scheduling_euler_discrete",
    "egowm.backbones.svd",
    "egowm.checksums",
    "egowm.commands.work.fit",
    "egowm.commands.work.import_egowm",
    "egowm.commands.work.memory",
    "egowm.commands.work.rollout",
    "egowm.data.convert.convert",
    "egowm.data.convert.ros_bag",
    "egowm.data.inspect.contact_sheet",
    "egowm.data.packing",
    "egowm.data.recon",
    "egowm.evaluation.evaluate",
    "egowm.evaluation.navigation",
    "egowm.evaluation.report.scs_page",
    "egowm.scs.annotation.prompts",
    "egowm.scs.compare",
    "egowm.scs.evaluate",
    "egowm.scs.trackers.flow",
    "egowm.scs.trackers.sam2.tracker",
    "egowm.scs.write_masks",
    "egowm.training.latents.writer",
    "egowm.worlds.store",
    "h5py",
    "pyarrow.parquet",
    "tests.fuzz.targets",
    "transformers.models.clip.modeling_clip",
    "transformers.models.sam2_video.modeling_sam2_video",
    "yaml",
    "tests.frozen",  # last
]
ROOT = Path(__file__).parent.parent


def dying(renames: int) -> Callable[[Path, Path], Path]:
    """A `Path.rename` that ends its process in place of a rename, after so many of them."""
    left, rename = [renames], Path.rename

    def killed(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            os._exit(0)
        return rename(path, target)

    return killed


def forks() -> ForkServerContext:
    """The context of such processes: a plain fork of a test may wait for threads that it lacks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with contextlib.chdir(ROOT):  # it finds `tests` by where it starts, and a test may be elsewhere
        forkserver.ensure_running()
    return context
