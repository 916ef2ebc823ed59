"""Latency: what is measured, what is extrapolated, and what table and chart make of it."""

import argparse
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.measure import RESULTS, ROOT
from benchmarks.speed import latency
from benchmarks.speed.latency_cases import (
    ALL_ON,
    AS_TRAINED,
    CALLS,
    CHOICES,
    COSMOS,
    MODELS,
    NWM,
    PAPER,
    SHIPPED,
    SIZE,
    SVD,
    TRAINED_CDIT,
    TRAINED_COSMOS,
    TRAINED_SVD,
    cases,
)
from benchmarks.speed.latency_chart import latency_chart
from benchmarks.speed.latency_models import Models, pipeline
from benchmarks.speed.training_row import random_weights
from benchmarks.tables import latency as tables
from egowm.backbones import CDiT
from egowm.shipped import default_model, recipes

KNOWN = cases("reduced", torch.float32, compiled=True, other=True)
FIGURE = {case.name: case for case in KNOWN if case.group == PAPER}
ASKED = argparse.Namespace(frames=[64, 1, 16], rounds=2, limit=30.0)


class Clock:
    """In the place of models: a network call takes a tenth of a second, and nothing else does."""

    def imagine(self, case, frames):
        return case.calls(frames) / 10

    def parameters(self, case):
        return 5_000_000


@pytest.fixture
def record(monkeypatch):
    ways = {"rounds": 2, "limit": 30.0, "most_steps": None, "scale": "reduced"}
    monkeypatch.setattr(
        latency, "take_turns", lambda runs, rounds: {k: [run()] * rounds for k, run in runs.items()}
    )
    about = {"command": "python x", "commit": "c" * 40, "dirty": False, "seed": 0, "threads": 1}
    about |= {"date": "2026-11-28T00:00:00Z", "device_name": "a core", "versions": {"torch": "2"}}
    rows = [r for rows in latency.measure(Clock(), KNOWN, ASKED) for r in rows]
    return about | {"settings": ways, "load_average": [0.5, 1.0], "cores": 2, "rows": rows}


def found(record, group: str, name: str, frames: int):
    wanted = (group, name, frames)
    (row,) = [r for r in record["rows"] if (r["group"], r["name"], r["frames"]) == wanted]
    return row


@pytest.mark.parametrize(
    ("name", "frames", "calls"),
    [(NWM, 64, 16_000), (SVD, 64, 400), (SVD, 1, 50), (COSMOS, 64, 140), (ALL_ON, 64, 8)],
)
def test_network_calls_by_hand(name, frames, calls):
    case = FIGURE[name]
    assert case.calls(case.frames(frames)) == calls


@pytest.mark.parametrize(
    ("name", "recipe", "calls"),
    [
        (TRAINED_CDIT, "rooms_cdit", 16 * 25),
        (TRAINED_SVD, "rooms_svd", 16 * 3),
        (TRAINED_COSMOS, "rooms_cosmos", 4 * 5),
        (SHIPPED, None, 16),
    ],
)
def test_rooms_models_are_timed_as_they_imagine(name, recipe, calls):
    """The sampling steps and the frames at once of their recipes, or of the export."""
    (case,) = [case for case in KNOWN if (case.group, case.name) == (AS_TRAINED, name)]
    assert case.calls(case.frames(16)) == calls
    if recipe is None:
        told = json.loads((default_model() / "world_model.json").read_text())
        assert (told["steps"], told["chunk"]) == (case.how.steps, case.chunk)
        return
    told = yaml.safe_load(recipes()[recipe].read_text())
    assert told["model"]["init_args"]["steps"] == case.how.steps
    assert told["data"]["init_args"]["window"]["horizon"] == case.chunk


def test_as_many_calls_as_frames():
    alike = [case for case in KNOWN if case.group == CALLS]
    assert {case.calls(16) for case in alike} == {16}
    assert {case.how.guidance for case in alike} == {1.0}
    assert len({case.size for case in KNOWN if case.group in (SIZE, CALLS)}) == 1


@pytest.mark.long
@pytest.mark.parametrize("name", [NWM, SVD, COSMOS])
def test_the_network_is_called_as_often(name, tmp_path):
    """One video of two chunks at most, in two steps, beside the closed form."""
    case = FIGURE[name]._replace(size=(32, 32))
    case = case._replace(how=replace(case.how, steps=2), chunk=min(case.chunk, 4))
    models, passes = Models("reduced", "cpu", tmp_path, 0), []
    backbone = models.model(case).backbone
    backbone.register_forward_pre_hook(lambda module, given: passes.append(len(given[0])))
    frames = case.frames(2)
    assert models.imagine(case, frames).shape == (1, frames, 3, 32, 32)
    assert sum(passes) == case.calls(frames)


@pytest.mark.long
def test_the_baseline_at_its_published_size(tmp_path):
    """From sizes alone: CDiT-XL, and latents of 28 x 28 from pictures of 224 x 224."""
    case = cases("paper", torch.bfloat16, compiled=False, other=False)[0]
    backbone = CDiT(pipeline("cdit", "paper", tmp_path), size="XL")
    with FakeTensorMode(), random_weights("cpu"):
        backbone.load()
    assert sum(weight.numel() for weight in backbone.network.parameters()) == 1_010_026_400
    assert backbone.latent_shape(*case.size) == (4, 28, 28)


def test_what_takes_too_long_is_extrapolated(record):
    """By its calls, from the longest that was made; the shortest is made in any case."""
    long = found(record, PAPER, NWM, 64)
    assert (long["seconds"], long["extrapolated_from"]) == (1600.0, 1)
    assert "rounds" not in long
    shortest = found(record, PAPER, NWM, 1)
    assert (shortest["seconds"], shortest["rounds"]) == (25.0, 2)
    whole = found(record, PAPER, SVD, 1)  # of a whole chunk
    assert (whole["frames_made"], whole["network_calls"], whole["seconds"]) == (8, 50, 5.0)
    assert found(record, PAPER, SVD, 16)["seconds"] == 10.0
    assert found(record, CHOICES, "as published", 16)["seconds"] == 10.0  # the same work
    assert found(record, PAPER, SVD, 64)["extrapolated_from"] == 16
    assert {r["frames"] for r in record["rows"] if r["group"] != PAPER} == {1, 16}


def test_the_table(record, tmp_path):
    (tmp_path / "latency.json").write_text(json.dumps(record))
    text = tables.latency(tmp_path)
    assert "| NWM (CDiT), 250 steps | 5.0 M | 32x32 | 16,000 | 25 | ≈ 400 | ≈ 1,600 |" in text
    assert "| EgoWM on SVD | 5.0 M | 64x64 | 400 | 5 | 10 | ≈ 40 |" in text
    assert "takes 40.0 times as long as EgoWM on SVD, 114.3 times as long as EgoWM on C" in text
    assert "| without guidance | 50 | 5 | 2.0 |" in text
    assert "| equal calls | SVD | 64x64 | 16 | 1.6 | 10 |" in text
    assert "other work" not in text
    assert "GPU: not yet measured" in text
    assert text.count("](latency.svg)") == 1
    (tmp_path / "latency.json").write_text(json.dumps(record | {"load_average": [9.0, 1.0]}))
    assert "**beside other work** (load 9 to 1): only" in tables.latency(tmp_path)


def test_the_chart(record):
    """A line for each model, falling or level with length; extrapolated points are hollow."""
    tree = ET.fromstring(latency_chart(record))
    dots = [dot.attrib for dot in tree.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(dots) == 3 * len(MODELS)
    hollow = [r for r in record["rows"] if r["group"] == PAPER and "extrapolated_from" in r]
    assert sum(dot["fill"] == "#ffffff" for dot in dots) == len(hollow) > 0
    first = [float(dot["cy"]) for dot in dots[:3]]
    assert first == sorted(first, reverse=True)  # SVG counts downwards


def test_the_committed_chart_is_of_the_committed_record():
    record, chart = RESULTS / "latency.json", ROOT / "docs/latency.svg"
    assert chart.is_file() == record.is_file()
    if record.is_file():
        made = latency_chart(json.loads(record.read_text()))
        assert chart.read_text() == made, "run `make bench`"
