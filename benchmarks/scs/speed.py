"""How fast the `sam2` tracker follows structures beside transformers' own inference session.

The session takes one video after the other, and in it one object after the other. Both sides use
the same model, which is checked to give the same masks before anything is timed. The model
is random: by default a toy, whose speed says what batching saves and not what a GPU does, or one
of SAM 2.1's published sizes.
"""

import argparse
import gc
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import Sam2VideoInferenceSession

from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.scs.models import SIZE, SIZES, Clip, random_model
from benchmarks.tables import scs
from benchmarks.timing import compare
from egowm.scs.trackers.sam2.lockstep import follow
from egowm.scs.trackers.sam2.network import Network
from egowm.scs.trackers.sam2.pictures import to_pixels, to_prompts

TARGETS = {"cpu": 1.5, "cuda": 3.0}  # speed ratios
PARTS = ("vision_encoder", "memory_attention", "memory_encoder", "mask_decoder")


def ours(network: Network, clip: Clip) -> Tensor:
    """Logits (T, videos x objects, h, w) of frames 1..T."""
    masks = [clip.masks] * len(clip.videos)
    return torch.stack([step.logits for step in follow(network, clip.videos, masks)])


@torch.inference_mode()
def naive(network: Network, clip: Clip) -> Tensor:
    """As `ours`: one session for each video."""
    model, device = network.model, network.device
    found = []
    for video in clip.videos:
        session = Sam2VideoInferenceSession(
            video=to_pixels(video, network.side, device),
            video_height=SIZE[0],
            video_width=SIZE[1],
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        for k, prompt in enumerate(to_prompts(clip.masks, network.side, device)):
            session.add_mask_inputs(session.obj_id_to_idx(k), 0, prompt[None])
        session.obj_with_new_inputs = list(session.obj_ids)
        steps = list(model.propagate_in_video_iterator(session, start_frame_idx=0))[1:]
        found.append(torch.stack([step.pred_masks[:, 0].float() for step in steps]))
    return torch.cat(found, 1)


def check_same(one: Tensor, other: Tensor, least: float) -> dict[str, float]:
    """How far the masks agree; ValueError below an IoU of `least`."""
    both, either = ((one > 0) & (other > 0)).sum(), ((one > 0) | (other > 0)).sum()
    iou, difference = (both / either).item(), (one - other).abs().max().item()
    if not iou >= least or other.std() < 0.1:
        raise ValueError(
            f"Not timed: masks of both sides agree to an IoU of {iou:.5f}, expected {least}."
        )
    return {"iou": iou, "max_logit_difference": difference, "logit_std": other.std().item()}


def held_bytes(network: Network, clip: Clip) -> int:
    """Bytes of all tensors alive before the last frame is asked for, less those before the first.

    On a GPU, the allocator's peak.
    """
    if network.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        for _ in follow(network, clip.videos, [clip.masks] * len(clip.videos)):
            pass
        return torch.cuda.max_memory_allocated()
    before, last = _live_bytes(), 0
    steps = follow(network, clip.videos, [clip.masks] * len(clip.videos))
    for t, _ in enumerate(steps, 2):
        if t == len(clip.videos[0]) - 1:
            last = _live_bytes()
    return last - before


def shares(network: Network, clip: Clip) -> dict[str, float]:
    """Share of our own time in each part of the network, the device being waited for around it."""
    taken = dict.fromkeys(PARTS, 0.0)
    hooks = []
    for name in PARTS:
        part = getattr(network.model, name)
        start: list[float] = []
        hooks.append(part.register_forward_pre_hook(lambda *_, start=start: start.append(_now())))
        hooks.append(part.register_forward_hook(partial(_add, taken, name, start)))
    begin = _now()
    ours(network, clip)
    whole = _now() - begin
    for hook in hooks:
        hook.remove()
    return {name: value / whole for name, value in taken.items()}


def _add(taken: dict[str, float], name: str, start: list[float], *_: Any) -> None:
    taken[name] += _now() - start.pop()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _live_bytes() -> int:
    gc.collect()
    found = [x for x in gc.get_objects() if type(x) is Tensor]
    tensors = [x for x in found if x.layout is torch.strided]
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}
    return sum(storages.values())


def options(add: Callable[..., Any]) -> None:
    add("--size", choices=SIZES, default="toy", help="of the random model")
    add("--frames", type=positive, default=16, help="of a video, frame 0 included")
    add("--objects", type=positive, default=8)
    add("--predictions", type=int, default=4, help="videos besides the truth")
    add("--lengths", type=positive, nargs="+", default=[16, 64, 256], help="for memory")
    add("--repeats", type=positive, default=5, help="alternating runs of each side")
    add("--dtype", choices=("float32", "bfloat16"), default="float32")


def run(arguments: argparse.Namespace) -> Record:
    """The whole record: provenance, settings, speed, memory."""
    if arguments.frames < 3:
        raise ValueError("Expected --frames of at least 3.")
    if arguments.file == arguments.results / "scs-gpu.json":
        arguments.file = arguments.results / f"scs-gpu-{arguments.size}.json"
    # The prompted frame as the session has it, so that both sides do the same.
    model = random_model(arguments.size)
    network = Network(model.eval().to(arguments.device), "transformers")
    clip = Clip(arguments.frames, arguments.objects, arguments.predictions, arguments.seed)
    record = provenance(arguments.seed, arguments.device, ("torch", "transformers"))
    size = sum(p.numel() for p in model.parameters())
    record["settings"] = {"weights": f"{arguments.size}, random", "parameters": size}
    record["settings"] |= {"side": network.side, **picked(arguments, "frames", "objects")}
    record["settings"] |= {"videos": len(clip.videos), "dtype": arguments.dtype}
    torch.backends.cudnn.allow_tf32 = False  # or float32 is none, and batch sizes differ
    half = arguments.dtype == "bfloat16"
    with torch.autocast(arguments.device, torch.bfloat16, enabled=half):
        return record | measure(network, clip, arguments, 0.95 if half else 0.999)


def measure(network: Network, clip: Clip, arguments: argparse.Namespace, least: float) -> Record:
    """Agreement, speed, shares and memory."""
    mine, theirs = partial(ours, network, clip), partial(naive, network, clip)
    agreement = check_same(mine(), theirs(), least)
    timing = compare(mine, theirs, arguments.repeats)
    parts, lengths = shares(network, clip), {}
    for frames in tqdm(arguments.lengths, desc="memory", file=sys.stderr):
        long = Clip(frames, min(2, arguments.objects), 0, arguments.seed)
        lengths[str(frames)] = held_bytes(network, long)
    speed = timing._asdict() | {"clips_per_second_ours": 1 / timing.seconds_ours}
    speed |= {"clips_per_second_theirs": 1 / timing.seconds_theirs}
    speed |= {"target": TARGETS[arguments.device]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"bytes_by_frames": lengths, "peak_process_kib": peak}
    return {"agreement": agreement, "speed": speed, "shares": parts, "memory": memory}


main = benchmark(__file__, __doc__, "scs{gpu}.json", options, run, scs.speed)
if __name__ == "__main__":
    sys.exit(main())
