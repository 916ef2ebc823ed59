"""Processes that begin as a copy of one that has imported everything, and has no threads."""

import multiprocessing
from multiprocessing.context import ForkServerContext

PRELOADED = [
    "egowm.backbones.svd",
    "av",
    "egowm.commands.fit",
    "egowm.data.convert.ros_bag",
    "egowm.data.inspect.checksums",
    "egowm.data.inspect.contact_sheet",
    "egowm.data.recon",
    "egowm.scs.annotation.prompts",
    "h5py",
    "pyarrow.parquet",
    "yaml",
    "egowm.scs.evaluate",
    "egowm.training.latents.shards",
    "egowm.worlds.store",
]


def forks() -> ForkServerContext:
    """The context of such processes: a plain fork of a test may wait for threads that it lacks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
