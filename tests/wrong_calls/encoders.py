"""Right calls of image encoders, their trainers, and what reads their features."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egowm import Encoder
from egowm.encoder import MEAN, STD
from egowm.encoders import (
    IJEPA,
    DenseReadout,
    DINOv2,
    MooG,
    Parts,
    PointReadout,
    SingleLife,
    alignment,
    attention_probe,
    fit_dense,
    fit_points,
    jaccard,
    linear_probe,
    nearest_neighbours,
    same_place,
    spread,
    structure_agreement,
)
from egowm.latent.straightening import step_cosines
from egowm.planning import features
from egowm.sampling import Rollout
from tests.wrong_calls.call import Call
from tests.wrong_calls.models import drawn

SIZES = {"size": 24, "patch": 4, "width": 8, "layers": 1, "heads": 2}
RATES = {"learning_rate": 1e-3, "warmup": 2, "weight_decay": 0.05}


def calls(folder: Path) -> Iterator[Call]:
    yield from _encoder(folder / "ijepa")
    yield from _trainers()
    yield from _probes()
    yield from _pairs()
    yield from _tokens()


def _encoder(folder: Path) -> Iterator[Call]:
    model = IJEPA(**SIZES, predictor_width=8)
    model.configure_model()
    model.save_pretrained(folder)
    encoder = model.encoder()
    right = {"network": encoder.network, "size": 24, "mean": MEAN, "std": STD}
    fine = ("size: None", "*: array", "*: first: *inf")
    yield Call("Encoder", Encoder, right, lambda right, made: made.patch == 4, fine)
    frames = {"frames": drawn(2, 3, 24, 24)}
    yield Call("Encoder.encode", encoder.encode, dict(frames), _one_vector_each, passes=True)
    yield Call("Encoder()", encoder, dict(frames), passes=True)
    saved = {"folder": str(folder), "size": 24}
    yield Call("Encoder.from_pretrained", Encoder.from_pretrained, saved, fine=("size: None",))
    yield Call("Encoder.save_pretrained", encoder.save_pretrained, {"folder": ""})
    rollout = Rollout(drawn(2, 4, 3, 24, 24), drawn(2, 4, 3, 4, 4), 0)

    def costs(**given: Any) -> Tensor:
        return features.encoder(**given)(rollout, drawn(2, 4, 3))

    right = {"goal": drawn(3, 24, 24), "folder": str(folder), "size": 24}
    yield Call("features.encoder", costs, right, lambda right, made: made.shape == (2,),
               ("size: None",), passes=True)  # fmt: skip


def _one_vector_each(right: dict[str, Any], made: Any) -> bool:
    return made.cls.shape == (len(right["frames"]), 8) and made.patches.shape[1:] == (6, 6, 8)


def _trainers() -> Iterator[Call]:
    yield Call("IJEPA", IJEPA, {
        **SIZES, **RATES, "targets": "features", "loss": "smooth_l1", "predictor_width": 8,
        "predictor_layers": 1, "crop": 0.6, "momentum": 0.99,
    })  # fmt: skip
    yield Call("DINOv2", DINOv2, {
        **SIZES, **RATES, "targets": "sinkhorn", "teacher": None, "prototypes": 16, "hidden": 8,
        "bottleneck": 4, "ibot": 1.0, "koleo": 0.1, "crop": 0.32, "local_crop": 0.05,
        "local_crops": 2, "local_size": 8, "photometric": True, "drop_path": 0.0, "momentum": 0.9,
        "layer_decay": 0.9, "last_weight_decay": 0.4,
    }, fine=("teacher: *",))  # fmt: skip
    yield Call("SingleLife", SingleLife, {
        **SIZES, **RATES, "pairs": "temporal+spatial", "gap": 4, "overlap": (0.3, 0.9),
        "masked": 0.9, "decoder_width": 8, "decoder_layers": 1, "crop": 0.6,
    })  # fmt: skip
    yield Call("MooG", MooG, {
        **RATES, "size": 16, "tokens": "off_grid", "num_tokens": 4, "width": 8,
        "layers": (1, 1, 1), "heads": (1, 1, 1), "head_width": 4, "hidden": 8,
        "channels": (4, 8), "strides": (2, 2), "bases": (2, 2), "layout": "paper", "share": 0.1,
    })  # fmt: skip
    moog = MooG(size=16, num_tokens=4, width=8, layers=(1, 1, 1), heads=(1, 1, 1))
    videos = {"frames": drawn(2, 3, 3, 16, 16), "seed": 0}
    yield Call("MooG.tokens_of", moog.tokens_of, videos,
               lambda right, made: made.shape[1:] == (right["frames"].shape[1], 8, 8),
               passes=True)  # fmt: skip


def _probes() -> Iterator[Call]:
    known, truth = (Parts(*drawn(3, 6, width, seed=width)) for width in (4, 2))
    right = {"features": known, "targets": truth, "ridges": (0.1, 1.0)}
    yield Call("linear_probe", linear_probe, right)
    right = {"patches": Parts(*drawn(3, 6, 4, 8)), "targets": truth, "width": 8, "heads": 2}
    more = {"steps": 1, "batch": 2, "learning_rate": 1e-3, "seed": 0}
    yield Call("attention_probe", attention_probe, {**right, **more})
    votes = {"known": drawn(6, 4), "labels": torch.arange(6) % 2, "asked": drawn(3, 4),
             "truth": torch.zeros(3, dtype=torch.int64), "count": 3}  # fmt: skip
    yield Call("nearest_neighbours", nearest_neighbours, votes,
               lambda right, made: 0 <= made <= 1)  # fmt: skip
    yield Call("spread", spread, {"embeddings": drawn(4, 8)}, passes=True)
    yield Call("step_cosines", step_cosines, {"latents": drawn(2, 4, 3)}, _two_of_each, passes=True)


def _two_of_each(right: dict[str, Any], made: Any) -> bool:
    return made.shape == (len(right["latents"]), right["latents"].shape[1] - 2)


def _pairs() -> Iterator[Call]:
    wall, camera = np.full((4, 4), 2.0), np.array([[4.0, 0, 1.5], [0, 4.0, 1.5], [0, 0, 1.0]])
    there = np.eye(4)
    there[0, 3] = 1.0
    right = {"depth_a": wall, "pose_a": np.eye(4), "depth_b": wall, "pose_b": there,
             "intrinsics": camera, "tolerance": 0.1}  # fmt: skip
    unknown = tuple(f"depth_?: {what}" for what in ("* NaN", "*inf"))  # depths that are not known
    yield Call("jaccard", jaccard, right, lambda right, made: 0 <= made <= 1, unknown)
    maps = {"a": drawn(2, 4, 4), "b": drawn(2, 4, 4, seed=1), "k": 2}
    yield Call("alignment", alignment, maps, lambda right, made: len(made.raw) == len(right["a"]))
    both = {"imagined": drawn(2, 4, 4), "true": drawn(2, 4, 4, seed=1), "k": 2}
    yield Call("structure_agreement", structure_agreement, both,
               lambda right, made: len(made.raw) == len(right["true"]))  # fmt: skip
    yield Call("same_place", same_place, {"side": 3},
               lambda right, made: made.shape == (right["side"] ** 2,) * 2)  # fmt: skip


def _tokens() -> Iterator[Call]:
    sizes = {"width": 8, "layers": 1, "heads": 1, "bases": 2}
    yield Call("DenseReadout", DenseReadout, {**sizes, "out": 1})
    yield Call("PointReadout", PointReadout, {**sizes, "state": 8})
    dense, points = DenseReadout(8, 1, 1, 1, 2), PointReadout(8, 8, 1, 1, 2)
    frames, videos = drawn(2, 4, 8), drawn(2, 3, 4, 8)
    places, visible = drawn(2, 3, 5, 2) * 2 - 1, torch.ones(2, 3, 5)
    yield Call("DenseReadout()", dense, {"tokens": frames, "places": places[:, 0]}, passes=True)
    picture = {"tokens": frames, "height": 4, "width": 5}
    yield Call("DenseReadout.picture", dense.picture, picture, passes=True)
    given = {"tokens": videos, "points": places[:, 0]}
    yield Call("PointReadout()", points, given, passes=True)
    how = {"steps": 1, "batch": 2, "learning_rate": 1e-3, "seed": 0}
    values = {"tokens": frames, "values": drawn(2, 1, 4, 4), "pixels": 3}
    yield Call("fit_dense", lambda **given: fit_dense(DenseReadout(8, 1, 1, 1, 2), **given),
               {**values, **how})  # fmt: skip
    followed = {"tokens": videos, "places": places, "visible": visible}
    yield Call("fit_points", lambda **given: fit_points(PointReadout(8, 8, 1, 1, 2), **given),
               {**followed, **how})  # fmt: skip
    yield Call("fit_dense of another", partial(fit_dense, **values, steps=1), {"readout": dense})
    yield Call("fit_points of another", partial(fit_points, **followed, steps=1),
               {"readout": points})  # fmt: skip
