"""The benchmark of scores by encoders: statistics by hand, what is scored, the tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.measure import provenance
from benchmarks.scs import encoder_scores
from benchmarks.scs.cases import OTHER_ROOM, Scene, predict, rooms
from benchmarks.scs.ranking import drawn, draws, of_means, pooled, summed_up, taus, within
from benchmarks.tables import encoder_scores as tables
from egowm.encoders import SingleLife
from egowm.evaluation.metrics.attention import AttentionStructure
from egowm.evaluation.metrics.perceptual import FeatureDrift
from egowm.video import write_frames

EXACT = np.array([[90.0, 80.0], [50.0, 60.0], [10.0, 20.0]])  # (cases, clips)


def test_rank_correlations_by_hand():
    assert [f(EXACT**2, EXACT) for f in (pooled, within, of_means)] == pytest.approx([1, 1, 1])
    assert [f(-EXACT, EXACT) for f in (pooled, within, of_means)] == pytest.approx([-1, -1, -1])
    swapped = np.array([[3.0, 3.0], [2.0, 1.0], [1.0, 2.0]])  # of the second clip, the last two
    np.testing.assert_allclose(taus(swapped, EXACT), [1, 1 / 3])
    assert within(swapped, EXACT) == pytest.approx(2 / 3)
    assert of_means(swapped, EXACT) == pytest.approx(3**0.5 / 2)  # two means tie
    # Ranks of the score 5.5 5.5 3.5 1.5 1.5 3.5, of the truth 6 5 3 4 1 2.
    ranks = np.array([[5.5, 5.5, 3.5, 1.5, 1.5, 3.5], [6, 5, 3, 4, 1, 2]])
    assert pooled(swapped, EXACT) == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_what_a_score_leaves_undefined_is_left_out_of_both():
    partial = EXACT.copy()
    partial[:, 1] = np.nan
    assert of_means(partial, EXACT) == pytest.approx(1)
    assert taus(partial, EXACT)[0] == 1
    assert np.isnan(taus(partial, EXACT)[1])
    nothing = np.full_like(EXACT, np.nan)
    assert all(np.isnan(f(nothing, EXACT)) for f in (pooled, within, of_means))
    assert summed_up(np.full(5, np.nan)) == (None, None)


def test_draws_are_of_clips_and_paired():
    chosen = draws(2, seed=1, resamples=200)
    assert chosen.shape == (201, 2)
    assert chosen[0].tolist() == [0, 1]
    swapped = np.array([[3.0, 3.0], [2.0, 1.0], [1.0, 2.0]])[None]
    found = drawn(within, swapped, EXACT, chosen)
    np.testing.assert_allclose(found, np.array([1, 1 / 3])[chosen].mean(1))
    assert set(found.round(6)) == {1.0, 0.333333, 0.666667}
    value, ends = summed_up(found)
    assert (value, ends) == (0.6667, (0.3333, 1.0))
    both = drawn(within, np.concatenate([swapped, EXACT[None]]), EXACT, chosen)
    np.testing.assert_allclose(both, (found + 1) / 2)  # the mean over two networks
    by_clip = drawn(pooled, swapped, EXACT, chosen[:3])
    expected = [pooled(swapped[0][:, k], EXACT[:, k]) for k in chosen[:3]]
    np.testing.assert_allclose(by_clip, expected)


def test_frames_are_scored_as_the_columns_do_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(encoder_scores, "ALL", ("truth", "frozen"))
    torch.manual_seed(0)
    model = SingleLife(size=16, patch=4, width=8, layers=1, heads=2, decoder_width=8)
    model.configure_model()
    model.save_pretrained(tmp_path / "life")
    drawn_ = np.random.default_rng(0).integers(0, 255, (2, 4, 16, 16, 3), np.uint8)
    for k, frames in enumerate(drawn_):
        write_frames(tmp_path / "truth" / f"clip{k:03d}", frames)
        write_frames(tmp_path / "frozen" / f"clip{k:03d}", frames[[0, 0, 0, 0]])
    found = encoder_scores.by_life(tmp_path / "life", tmp_path, 2)
    assert {kind: values.shape for kind, values in found.items()} == dict.fromkeys(
        encoder_scores.BY_LIFE, (1, 2, 2)
    )
    samples = list(encoder_scores.samples(tmp_path, "frozen", 2))
    seen, drift = AttentionStructure(tmp_path / "life"), FeatureDrift(tmp_path / "life")
    shown = [seen.clip(each)["attention_structure"].mean() for each in samples]
    off = [-drift.clip(each)["feature_drift"].mean() for each in samples]
    np.testing.assert_allclose(found["attention, centred"][0, 1], shown, atol=1e-6)
    np.testing.assert_allclose(found["feature drift"][0, 1], off, atol=1e-5)
    np.testing.assert_allclose(found["attention, raw"][0, 0], 1)
    np.testing.assert_allclose(found["attention, centred"][0, 0], 1)
    assert np.max(shown) < 0.9
    pixels = encoder_scores.by_pixels(tmp_path, 2)
    psnr, error = pixels["PSNR"], pixels["squared error"]
    off = [np.square(frames[1:] - frames[0].astype(float)).mean() for frames in drawn_]
    np.testing.assert_allclose(error[0], [[0, 0], np.negative(off)])
    assert psnr[0, 0].tolist() == [60, 60]
    assert psnr[0, 1].max() < 20


def test_the_longest_training_of_each_seed_is_taken(tmp_path: Path):
    for name in ("SingleLife-0-8-20", "SingleLife-0-8-100", "SingleLife-1-8-9", "I-JEPA-0-8-1",
                 "SingleLife-0-4-300",
                 "SingleLife-two-crops-of-one-frame-0-8-7", "MooG-off_grid-30",
                 "MooG-off_grid-200", "MooG-grid-900"):  # fmt: skip
        (tmp_path / name).mkdir()
    found = encoder_scores.longest(tmp_path)
    assert {name: [p.name for p in paths] for name, paths in found.items()} == {
        "": ["SingleLife-0-8-100", "SingleLife-1-8-9"],
        " (two crops of one frame)": ["SingleLife-two-crops-of-one-frame-0-8-7"],
    }
    assert encoder_scores.moog_of(tmp_path).name == "MooG-off_grid-200"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected exports SingleLife-SEED-ROOMS-STEPS"):
        encoder_scores.longest(tmp_path / "empty")
    with pytest.raises(ValueError, match="expected exports MooG-off_grid-STEPS"):
        encoder_scores.moog_of(tmp_path / "empty")


def test_another_room_shows_none_of_the_structures():
    scene, other = rooms(0), rooms(1)
    short = Scene(scene.room, scene.start, scene.actions[:2], 16, scene.scored)
    there = Scene(other.room, other.start, other.actions[:2], 16, other.scored)
    made, true = predict(OTHER_ROOM, short, there), predict("truth", short, there)
    np.testing.assert_array_equal(made.frames[0], true.frames[0])
    np.testing.assert_array_equal(made.frames[1:], predict("truth", there, short).frames[1:])
    assert made.ids[0].any()
    assert not made.ids[1:].any()


def record_of(tmp_path: Path) -> None:
    scores = {
        "oracle": EXACT[None], "squared error": EXACT[None] / 3, "attention": EXACT[None] / 100,
        "moog": np.full((1, 3, 2), np.nan),
    }  # fmt: skip
    record = provenance(0, "cpu", (), ["benchmarks/scs/encoder_scores.py"])
    made = record | encoder_scores.summarise(scores, 0)
    (tmp_path / tables.FILE).write_text(json.dumps(made))


def test_the_tables(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(encoder_scores, "ALL", ("truth", "frozen", "blur"))
    monkeypatch.setattr(encoder_scores, "draws", lambda clips, seed: draws(clips, seed, 20))
    assert "not yet measured" in tables.scores(tmp_path)
    assert tables.means(tmp_path).count("\n") == 2
    record_of(tmp_path)
    lines = [[c.strip() for c in x.split("|")[1:-1]] for x in tables.scores(tmp_path).split("\n")]
    assert lines[0][-1] == "minus that of squared error, within a clip"
    assert lines[2][:4] == ["squared error", "1", "2", "1.00 [1.00, 1.00]"]
    assert lines[3][:3] == ["attention", "1", "2"]
    assert lines[4] == ["moog", "1", "0", "-", "-", "-", "-"]
    means = [[c.strip() for c in x.split("|")[1:-1]] for x in tables.means(tmp_path).split("\n")]
    assert means[0] == ["error", "exact SCS", "squared error", "attention", "moog"]
    assert means[2] == ["truth", "85.0", "28.3", "0.850", "-"]


def test_the_table_of_moog(tmp_path: Path):
    assert "not yet measured" in tables.foretold(tmp_path)
    record = provenance(0, "cpu", (), ["benchmarks/experiment/moog.py"])
    error = {"mean": 0.0123, "interval": [0.011, 0.0136]}
    rows = [{"tokens": "grid", "steps": 1600, "next": error, "copy": error, "rooms": 64}]
    (tmp_path / tables.MOOG).write_text(json.dumps(record | {"rows": rows}))
    line = tables.foretold(tmp_path).split("\n")[2]
    assert line == "| grid | 1,600 | 12.3 [11.0, 13.6] | 12.3 [11.0, 13.6] |"
