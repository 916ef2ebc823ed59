"""What is measured of walking, and what its tables make of it."""

import argparse

import pytest

from benchmarks import measure
from benchmarks.experiment import domain
from benchmarks.speed import streaming, walking
from benchmarks.tables import streaming as tables
from egowm.serving.domain import Domain


@pytest.fixture
def asked(tiny_prior) -> argparse.Namespace:
    return argparse.Namespace(
        prior=str(tiny_prior), steps=1, frames=2, rounds=2, compile=False, device="cpu", seed=0
    )


@pytest.mark.long
def test_frames_by_every_way_are_timed(asked, tmp_path):
    """The stock pipeline's first frame is ours, or nothing is timed."""
    record = streaming.run(asked)
    names = [name for name in tables.WAYS if "compiled" not in name]
    assert [row["name"] for row in record["rows"]] == names
    by_name = {row["name"]: row for row in record["rows"]}
    assert by_name["stock"]["ratio_median"] == 1
    for row in record["rows"]:
        assert 0 < row["first_frame_s"] < 30
        assert row["ratio_min"] <= row["ratio_median"] <= row["ratio_max"]
        assert row["frames_a_second"] > 0
    measure.write(tmp_path / "streaming.json", record)
    page = tables.streaming(tmp_path)
    assert page.count("\n| CPU |") == 5
    assert "| GPU | not yet measured |" in page
    assert "with 1 sampling step each" in page


def test_minutes_of_walking_as_a_table(tmp_path):
    rows = [
        {"minutes": k / 2, "megabytes": 900.0 + k, "frames_a_second": float(k)}
        for k in range(1, 41)
    ]
    record = measure.provenance(0, "cpu") | {
        "rows": rows,
        "frames": 4000,
        "status": 0,
        "core_seconds_a_frame": 0.12,
        "load_average": [0.4, 1.2],
    }
    measure.write(tmp_path / "walking.json", record)
    page = tables.walking(tmp_path)
    lines = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert [line.split("|")[1].strip() for line in lines][:1] == ["1.0"]
    assert lines[-1] == "| 20.0 | 940 |"
    assert len(lines) == 8
    assert "4000 frames in 20.0 minutes, 40 walks" in page
    assert "beside other work" not in page
    busy = record | {"load_average": [0.4, 9.0]}
    measure.write(tmp_path / "walking.json", busy)
    assert "**beside other work** (load 0.4 to 9)" in tables.walking(tmp_path)


def test_nothing_measured_is_said(tmp_path):
    for make in (tables.walking, tables.domain):
        assert make(tmp_path) == "not yet measured"


def test_memory_and_work_of_a_process():
    import os

    assert 10 < walking.resident(os.getpid()) < 100_000
    assert walking.cores(os.getpid()) > 0


def test_a_domain_is_measured_and_written(tmp_path, monkeypatch):
    monkeypatch.setenv("EGOWM_SHARED", str(tmp_path))  # no recordings there
    monkeypatch.setattr(Domain, "of", staticmethod(lambda pictures, about: Domain.of_rooms()))
    asked = argparse.Namespace(seed=0, rooms=2, unseen=2, most=4, domain=tmp_path / "domain.json")
    record = domain.run(asked)
    assert [row["name"] for row in record["rows"]] == [
        "unseen rooms",
        "plain colours, a ramp, noise",
    ]
    assert record["rows"][1]["unlike"] == record["rows"][1]["pictures"] == 5
    assert asked.domain.read_text() == domain.FILE.read_text()
    measure.write(tmp_path / "domain.json", record)
    assert "| plain colours, a ramp, noise | 5 | 5 |" in tables.domain(tmp_path)
