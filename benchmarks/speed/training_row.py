"""Measures one way of training in a process of its own, and prints a JSON line.

`training_row '{"name": "full", ...}' STEPS WARMUP DEVICE FOLDER SEED`; see `training_rows.Row`.
`training.py` calls it once for each row.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.training_rows import Row
from egowm.actions import ActionSpec
from egowm.backbones import SVD, Cosmos
from egowm.backbones.base import Backbone
from egowm.data import Clip, Episode, Rooms, Window
from egowm.data.module import ClipData
from egowm.loading import untrained
from egowm.training.average import WeightAverage
from egowm.training.latents.callback import FromCache
from egowm.training.latents.writer import LatentWriter
from egowm.training.memory import fake_step, traced
from egowm.training.published import write_sizes
from egowm.world_model import WorldModel

KERNELS = 5  # named, where a card is used badly
PUBLISHED = {  # whose sizes are trained, with random weights
    "svd": "stabilityai/stable-video-diffusion-img2vid-xt",
    "cosmos": "nvidia/Cosmos-Predict2-2B-Video2World",
}


class MadeUp(ClipData):
    """Random frames, as large as asked for: what they show costs no time."""

    meaning = Rooms.meaning

    def episodes(self, split: str) -> list[Episode]:
        rng, w = np.random.default_rng(0), self.window
        shape = (w.span + 8, w.height, w.width, 3)
        frames = rng.integers(0, 256, shape, np.uint8)
        actions = rng.uniform(-0.1, 0.1, (len(frames) - 1, 3)).astype(np.float32)
        return [Episode("made_up", len(frames), lambda numbers: frames[list(numbers)], actions)]


class Clock(Callback):
    """Seconds of each step and of waiting in it; a card is waited for."""

    def __init__(self, warmup: int) -> None:
        self.warmup, self.steps = warmup, 0
        self.seconds: list[float] = []
        self.waited: list[float] = []
        self._last = (0.0, 0.0)
        self.clip: Clip | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Clip, *rest: Any
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        loader: Any = trainer.train_dataloader
        now = time.perf_counter(), loader.waited
        self.steps += 1
        if self.steps > self.warmup:
            self.seconds.append(now[0] - self._last[0])
            self.waited.append(now[1] - self._last[1])
        elif self.steps == self.warmup and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._last, self.clip = now, batch


def measure(row: Row, steps: int, warmup: int, device: str, folder: Path, seed: int) -> Any:
    """The row's figures: time, waiting, memory as it was and as foretold, operations."""
    if row.data not in ("pixels", "cache"):
        raise ValueError(f"{row.name}: expected data pixels or cache, got {row.data!r}.")
    seed_everything(seed, verbose=False)
    pretrained = pipeline(row.model, folder)
    data = clips(row, folder)
    clock = Clock(warmup)
    extra: list[Callback] = [WeightAverage(0.999, "cpu")] if row.average else []
    if row.data == "cache":
        extra.append(FromCache(str(cached(build(row, pretrained), data, folder, device))))
    settings: dict[str, Any] = {"precision": row.precision, "max_steps": warmup + steps}
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        callbacks=[clock, *extra],
        default_root_dir=folder,
        limit_val_batches=0,
        **settings | dict.fromkeys(off, False),
    )
    model = build(row, pretrained)
    drawn = nullcontext() if row.model not in PUBLISHED else random_weights(device)
    started = time.perf_counter()
    with drawn:
        trainer.fit(model, data)
    took = time.perf_counter() - started
    assert clock.clip is not None
    found: dict[str, Any] = {
        "seconds_per_step": median(clock.seconds),
        "waiting": sum(clock.waited) / sum(clock.seconds),
        "seconds_to_begin": took - sum(clock.seconds),  # loading, compiling, the first steps
        "steps": len(clock.seconds),
        "process_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    if device == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
        found["kernels"] = largest_kernels(model, clock.clip)
    else:
        found["peak_bytes"] = traced_peak(model, trainer.optimizers[0], clock.clip, row.precision)
    rate = matrix_rate(device, torch.bfloat16 if "bf16" in row.precision else torch.float32)
    return found | foretold(row, pretrained, data.window, device) | {"matrix_rate": rate}


def build(row: Row, pretrained: str, spec: ActionSpec | None = None) -> WorldModel:
    """The model, before any weight is loaded."""
    kind: Any = Cosmos if row.model == "cosmos" else SVD
    backbone: Backbone = kind(pretrained, vae_batch=row.vae_batch)
    names = ("train", "gradient_checkpointing", "optimizer", "offload")
    options: dict[str, Any] = {name: getattr(row, name) for name in names}
    options["compile"] = row.compiler
    return WorldModel(backbone, spec=spec, warmup=1, **options)


def cached(model: WorldModel, data: ClipData, folder: Path, device: str) -> Path:
    """What the frozen encoders say of the clips, on disk in float16."""
    model.spec = data.spec
    model.configure_model()
    output = folder / "cache"
    LatentWriter(model.backbone, data, "float16", device).write(output, progress=False)
    return output


def pipeline(model: str, folder: Path) -> str:
    """The folder of a pipeline, or of the configuration of a published one."""
    if model not in PUBLISHED:
        return f"./priors/{model}"
    target = folder / model
    target.mkdir(parents=True, exist_ok=True)
    return str(write_sizes(PUBLISHED[model], target))


@contextmanager
def random_weights(device: str) -> Iterator[None]:
    """Inside, `from_pretrained` of diffusers and transformers draws weights, on `device`."""
    from diffusers import ModelMixin
    from transformers import PreTrainedModel

    def drawn(cls: Any, folder: Any, **options: Any) -> Any:
        with torch.device(device):
            return untrained(cls, Path(folder)), {}  # and what it says of the loading

    with (
        patch("egowm.loading.variant_of", lambda folder, stem: ""),
        patch.object(ModelMixin, "from_pretrained", classmethod(drawn)),
        patch.object(PreTrainedModel, "from_pretrained", classmethod(drawn)),
    ):
        yield


def clips(row: Row, folder: Path) -> ClipData:
    """The committed prior sees rooms; large networks made-up frames."""
    window = Window(1, row.horizon, 1, *row.size)
    common: dict[str, Any] = {"batch_size": row.batch_size, "num_workers": row.num_workers}
    if row.model in PUBLISHED:
        return MadeUp("", window, **common)
    common |= {"episodes_train": 4, "episodes_val": 1, "episodes_test": 1, "num_frames": 33}
    return Rooms(str(folder / "rooms"), window, **common)


def foretold(row: Row, pretrained: str, window: Window, device: str) -> dict[str, Any]:
    """What `egowm memory` says of the row, and the operations of a step, none of them twice.

    One step is traced for both, unless its blocks are recomputed, which does not count."""
    spec = replace(Rooms.meaning, low=(-1.0,) * 3, high=(1.0,) * 3)  # the range changes no size
    row = replace(row, compiler=None)
    counter, again = FlopCounterMode(display=False), row.gradient_checkpointing
    about = window, row.batch_size, row.precision
    beside = nullcontext() if again else counter
    memory = traced(build(row, pretrained, spec), *about, beside)
    if again:
        once = replace(row, gradient_checkpointing=False)
        fake_step(build(once, pretrained, spec), *about, counter)
    return {
        "predicted_bytes": memory.peak if device == "cuda" else memory.step,
        "parameters": memory.parameters,
        "operations": counter.get_total_flops(),
    }


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Operations a second of the best of some products of large square matrices."""
    side = 8192 if device == "cuda" else 1024
    one = torch.randn(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        one @ one
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def traced_peak(model: WorldModel, optimizer: Any, clip: Clip, precision: str) -> int:
    """Bytes at most of one training step after the first on a CPU, by torch's profiler."""
    half = torch.bfloat16 if precision == "bf16-mixed" else None
    optimizer.zero_grad(set_to_none=True)
    model.train()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        with torch.autocast("cpu", half, enabled=half is not None):
            loss = model.loss(clip)[0]
        loss.backward()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [t for state in optimizer.state.values() for t in state.values()]
    return peak + sum(t.numel() * t.element_size() for t in tensors)


def largest_kernels(model: WorldModel, clip: Clip) -> list[dict[str, Any]]:
    """Those that a card spends most of a step in, with their share of its time."""
    model.to("cuda").train()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        with torch.autocast("cuda", torch.bfloat16):
            loss = model.loss(clip.to("cuda"))[0]
        loss.backward()
        torch.cuda.synchronize()
    events = [e for e in found.key_averages() if e.self_device_time_total]
    whole = sum(e.self_device_time_total for e in events)
    events.sort(key=lambda e: e.self_device_time_total, reverse=True)
    return [
        {"name": e.key[:120], "share": e.self_device_time_total / whole} for e in events[:KERNELS]
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one row."""
    text, steps, warmup, device, folder, seed = sys.argv[1:] if argv is None else argv
    fields = json.loads(text)
    row = Row(**(fields | {"size": tuple(fields["size"])}))
    found = measure(row, int(steps), int(warmup), device, Path(folder), int(seed))
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
