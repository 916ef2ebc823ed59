"""`egowm eval`: the run folder, one noise for all rows, the table, and mistakes in one line."""

import copy
import html
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.commands import main as cli
from egowm.data import DonkeyTub
from egowm.encoders import IJEPA
from egowm.evaluation import roll_out as module
from egowm.evaluation.evaluate import annotator, evaluate
from egowm.evaluation.record import load
from egowm.evaluation.roll_out import choose
from egowm.evaluation.rows import Row
from egowm.evaluation.run_folder import read_run
from egowm.recipe import open_recipe
from egowm.scs.masks import read_palette, write_palette
from egowm.video import read_frames

LABELS = {
    "pred": "plain",
    "pred_shuffled": "plain, shuffled",
    "pred_obedient": "obedient",
    "pred_obedient_shuffled": "obedient, shuffled",
}


@pytest.fixture(scope="module")
def obeys(_world_model_master):
    """A world model whose actions show; the master itself has an embedding of zeros."""
    model = copy.deepcopy(_world_model_master)
    generator = torch.Generator().manual_seed(1)
    weight = model.action_embedding.linear_2.weight
    weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def run(_world_model_master, obeys, rooms, tmp_path_factory):
    """Three clips of 6 frames, in chunks of 4 and 2, under true and shuffled actions."""
    folder = tmp_path_factory.mktemp("run")
    plain = _world_model_master
    rows = [
        Row("pred", "plain", plain),
        Row("pred_shuffled", "plain, shuffled", plain, "shuffled"),
        Row("pred_obedient", "obedient", obeys),
        Row("pred_obedient_shuffled", "obedient, shuffled", obeys, "shuffled"),
    ]
    options = {"annotate": rooms.annotation, "title": "Rooms"}
    record = evaluate(rows, rooms, folder, horizon=6, seeds=2, **options)
    return folder, rows, record


def clips(rooms):
    windows = rooms.windows("test", tiled=True)
    return [windows[k] for k in range(len(windows))]


def test_the_layout(run, rooms):
    folder = run[0]
    names = {clip.name for clip in clips(rooms)}
    assert len(names) == 3
    videos = {"gt", "codec", "mean_frame", *LABELS}
    scores = {"scs.json", *(f"scs_{f.removeprefix('pred_')}.json" for f in [*LABELS][1:])}
    others = {"annotations", "clips.json", "eval.json", "report.html", "seed_1", "videos"}
    assert {p.name for p in (folder / "seed_1").iterdir()} == {*LABELS, *scores}
    assert {p.name for p in folder.iterdir()} == videos | scores | others
    for name in videos:
        assert {p.name for p in (folder / name).iterdir()} == names
        for clip in (folder / name).iterdir():
            assert sorted(p.name for p in clip.iterdir()) == [f"{k:05d}.png" for k in range(7)]
    assert {p.name for p in (folder / "annotations").iterdir()} == {f"{n}.png" for n in names}
    assert "obedient, shuffled" in (folder / "report.html").read_text()


def test_what_the_folder_says(run, rooms):
    folder = run[0]
    described = read_run(folder)
    assert {v.folder: v.label for v in described.variants} == LABELS
    assert (described.title, described.model, described.fps) == ("Rooms", "plain", 4.0)
    for clip in clips(rooms):
        np.testing.assert_array_equal(described.actions[clip.name], clip.actions.numpy())
        frames = clip.frames.numpy().transpose(0, 2, 3, 1)
        assert np.array_equal(described.frames("gt", clip.name), frames)
        drawn = read_palette(folder / "annotations" / f"{clip.name}.png")
        assert np.array_equal(drawn, rooms.annotation(clip.name))
        for video in ("codec", *LABELS):
            assert np.array_equal(described.frames(video, clip.name)[0], frames[0])


def test_all_rows_start_from_the_same_noise(run, rooms):
    """A model whose actions do not enter yet makes one video, whatever it is told."""
    folder = run[0]
    for clip in clips(rooms):
        made = {name: read_frames(folder / name / clip.name) for name in LABELS}
        assert np.array_equal(made["pred"], made["pred_shuffled"])
        assert not np.array_equal(made["pred"], made["pred_obedient"])
        assert not np.array_equal(made["pred_obedient"], made["pred_obedient_shuffled"])


@pytest.mark.long
def test_a_clip_does_not_depend_on_its_batch(run, obeys, rooms, tmp_path, monkeypatch):
    """Two at once instead of four: the same noise and the same other clip's actions."""
    folder = run[0]
    monkeypatch.setattr(module, "BATCH", 2)
    evaluate([Row("pred", "obedient", obeys, "shuffled")], rooms, tmp_path, horizon=6)
    for clip in clips(rooms):
        before = read_frames(folder / "pred_obedient_shuffled" / clip.name).astype(int)
        after = read_frames(tmp_path / "pred" / clip.name)
        assert np.abs(before - after).max() <= 1
    assert not (tmp_path / "scs.json").exists()  # without structures nothing is scored
    lacks = json.loads((tmp_path / "eval.json").read_text())["columns"][0]["lacks"]
    assert lacks.startswith("no structures are marked: frames of ")  # not: mark some in these
    assert not (tmp_path / "annotations").exists()


def test_the_ceiling_is_the_truth_through_the_vae_in_chunks(run, obeys, rooms):
    backbone = obeys.backbone
    for clip in clips(rooms):
        frames = clip.frames[None, 1:].float() / 127.5 - 1
        with torch.no_grad():
            parts = [
                backbone.codec.decode(backbone.codec.encode(p))
                for p in (frames[:, :4], frames[:, 4:])
            ]
        expected = (torch.cat(parts, 1)[0].clamp(-1, 1) + 1) * 127.5
        found = read_frames(run[0] / "codec" / clip.name)[1:].transpose(0, 3, 1, 2)
        assert np.abs(found - expected.numpy()).max() <= 1


def test_the_values(run, rooms):
    """By hand from the frames that were written; rows are means over both seeds."""
    folder, _, record = run
    rows = {row["folder"]: row for row in record["rows"]}
    assert list(rows) == [*LABELS, "copy", "mean_frame", "codec"]
    assert [row["role"] for row in rows.values()] == ["model"] * 4 + ["reference"] * 3
    places = {"pred_obedient": ["pred_obedient", "seed_1/pred_obedient"], "codec": ["codec"]}
    for name, folders in places.items():
        means = []
        for place in folders:
            errors = []
            for clip in clips(rooms):
                made = read_frames(folder / place / clip.name)[1:].astype(float)
                truth = clip.frames[1:].numpy().transpose(0, 2, 3, 1).astype(float)
                errors.append(((made - truth) ** 2).mean((1, 2, 3)))
            means.append(float((10 * np.log10(255**2 / np.array(errors))).mean()))
        cell = rows[name]["cells"]["psnr"]
        assert cell["seeds"] == pytest.approx(means, abs=1e-5)
        assert cell["value"] == pytest.approx(np.mean(means), abs=1e-5)
        spread = None if len(means) == 1 else pytest.approx(np.std(means, ddof=1), abs=1e-5)
        assert cell["spread"] == spread
        assert len(cell["clips"]) == 3
        assert len(cell["frames"]) == 6


def test_the_score_in_the_record_is_that_of_its_file(run):
    folder, _, record = run
    for row in record["rows"][:4]:
        suffix = row["folder"].removeprefix("pred")
        saved = [
            json.loads((folder / place / f"scs{suffix}.json").read_text())
            for place in ("", "seed_1")
        ]
        cell = row["cells"]["scs"]
        assert cell["seeds"] == pytest.approx([each["scs"] for each in saved], abs=1e-3)
        at = {k: np.mean([each["scs_at"][str(k)] for each in saved]) for k in (2, 4)}
        assert cell["at"] == pytest.approx(at, abs=1e-3)
    copy, codec = (record["rows"][k]["cells"]["scs"] for k in (4, 6))
    assert copy["value"] == pytest.approx(saved[0]["copy"]["scs"], abs=1e-3)
    assert copy["at"][2] == pytest.approx(saved[0]["copy"]["scs_at"]["2"], abs=1e-3)
    assert codec["value"] == pytest.approx(saved[0]["ceiling_codec"]["scs"], abs=1e-3)


def test_the_mean_frame_has_no_structure_of_any_one_clip(run, rooms):
    shared = np.stack([clip.frames[0].numpy() for clip in clips(rooms)]).astype(float)
    expected = shared.mean(0).round().transpose(1, 2, 0)
    for clip in clips(rooms):
        made = read_frames(run[0] / "mean_frame" / clip.name)
        assert np.array_equal(made[1:], np.stack([expected] * 6))


def test_the_file_is_the_record(run):
    folder, _, record = run
    kept = load(folder / "eval.json")
    assert kept.keys() == record.keys()
    assert kept["reads"] == {2: "2 frames", 4: "4 frames"}
    for saved, row in zip(kept["rows"], record["rows"], strict=True):
        for key, cell in row["cells"].items():
            assert saved["cells"][key] == {**cell, "ci95": None}
    assert record["seeds"] == [0, 1]
    assert record["device"] == "cpu"
    assert record["recordings"] == [name.rsplit("_", 1)[0] for name in record["clips"]]
    for row in record["rows"]:
        timed = row["role"] == "model"
        assert (row["seconds_per_frame"] is not None) == timed
        assert (row["peak_bytes"] is not None) == timed


@pytest.mark.long
def test_other_videos_have_another_fingerprint(run, obeys, rooms, tmp_path):
    """The same clips and protocol give the same one, whatever the model; fewer clips do not."""
    record = run[2]
    options = {"horizon": 6, "annotate": rooms.annotation, "steps": 1}
    rows = [Row("pred", "obedient", obeys)]
    again = evaluate(rows, rooms, tmp_path / "again", **options)
    fewer = evaluate(rows, rooms, tmp_path / "fewer", clips=2, **options)
    assert again["fingerprint"] == record["fingerprint"]
    assert fewer["fingerprint"] != record["fingerprint"]


def test_clips_are_spread_over_the_rooms(rooms):
    """Two clips of 3 frames fit into each of the three rooms."""
    shorter = rooms.with_horizon(2)
    assert (shorter.window.horizon, rooms.window.horizon) == (2, 6)
    assert [clip.name[-7:] for clip in choose(shorter, 3)] == ["0_00000", "1_00000", "2_00000"]
    assert [clip.name[-7:] for clip in choose(shorter, 9)][:3] == ["0_00000", "0_00003", "1_00000"]
    assert len(choose(shorter, 9)) == 6


def test_load_data(write_recipe, rooms, tmp_path):
    recipe = write_recipe()
    data = open_recipe(recipe).data()
    assert (type(data), data.root) == (type(rooms), rooms.root)
    assert (data.window.horizon, data.window.height, data.counts["test"]) == (3, 16, 3)
    assert open_recipe(recipe).data("/elsewhere").root == "/elsewhere"
    tub = tmp_path / "tub.yaml"
    tub.write_text("data: {class_path: egowm.data.DonkeyTub}\n")
    assert isinstance(open_recipe(tub).data("/tub"), DonkeyTub)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: [", "expected a recipe, a YAML file"),
        ("model: 1", "expected a recipe with a section `data`"),
        ("data: 3", "expected a recipe with a section `data`"),
        ("data: {class_path: egowm.data.Halls}", "module 'egowm.data' has no attribute 'Halls'"),
        (
            "data: {class_path: egowm.data.Rooms, init_args: {rot: 1}}",
            "Option 'rot' is not accepted",
        ),
    ],
)
def test_a_wrong_recipe_is_one_line(text, words, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(Exception, match=words) as caught:
        open_recipe(recipe).data()
    assert words in cli.explain(caught.value)


def test_annotators(rooms, tmp_path):
    name = clips(rooms)[0].name
    assert np.array_equal(annotator(rooms, None)(name), rooms.annotation(name))
    drawn = np.eye(16, dtype=np.uint8)
    write_palette(tmp_path / f"{name}.png", drawn)
    assert np.array_equal(annotator(rooms, str(tmp_path))(name), drawn)
    assert annotator(DonkeyTub("/tub"), None) is None


@pytest.fixture
def export(obedient, tmp_path):
    obedient.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def image_encoder(tmp_path_factory):
    """A small I-JEPA of random weights."""
    model = IJEPA(size=24, patch=4, width=16, layers=1, heads=2, predictor_width=8)
    model.configure_model()
    folder: Path = tmp_path_factory.mktemp("encoder") / "ijepa"
    model.save_pretrained(folder)
    return folder


@pytest.mark.long
def test_the_command(export, image_encoder, write_recipe, rooms, tmp_path, capsys):
    """The recipe's data lie nowhere; `--data.root` says where they are."""
    recipe = write_recipe(root=str(tmp_path / "nowhere"))
    output = tmp_path / "out"
    options = ["--data.root", rooms.root, "--clips", "2", "--horizon", "2", "--steps", "1"]
    options += ["--encoder", str(image_encoder)]
    command = ["eval", "--model", str(export), "-c", str(recipe), "--output", str(output)]
    assert cli.main([*command, *options]) == 0
    out = capsys.readouterr().out.splitlines()
    rows = out[2:9]
    assert [re.split(" {2,}", line)[0] for line in rows] == [
        "model",
        "model, another clip's actions",
        "model, standing still",
        "model, mirrored actions",
        "Copy of the first frame",
        "Mean frame",
        "Codec ceiling",
    ]
    following = ["off, m", "off, °", "drift, m", "lost, %"]
    columns = ["SCS", "PSNR", "SSIM", "straight", "feature drift", *following, "s/frame", "GiB"]
    assert re.split(" {2,}", out[1].strip()) == columns
    assert out[-2:] == ["Rolled out on cpu.", f"report: {output / 'report.html'}"]
    said = [line for line in out if line.startswith(("LPIPS", "DreamSim", "FID", "FVD"))]
    assert len(said) == 4
    assert all("--weights" in line or "egowm[metrics]" in line for line in said)
    page = html.unescape((output / "report.html").read_text("utf-8"))
    assert len(page) > 10_000
    assert all(line.split("  ")[0] in page for line in rows)
    assert all(line.split(": ")[1] in page for line in said)
    assert len(read_run(output).clips) == 2
    assert not (tmp_path / "nowhere").exists()
    record = load(output / "eval.json")
    drifts = {row["folder"]: row["cells"]["feature_drift"]["value"] for row in record["rows"]}
    assert len(drifts) == 7
    assert all(0 < drift < 2 for drift in drifts.values())
    assert len(record["protocol"]["metrics"]["feature_drift"]["model.safetensors"]) == 64
    about = record["about"]
    assert about["recipe"]["name"] == recipe.name
    assert len(about["model"]["sha256"]) == len(about["model"]["base_sha256"]) == 64


@pytest.mark.long
def test_more_context_than_a_model_takes(export, write_recipe, rooms, tmp_path):
    """So that a model of one context frame and one of several are compared on the same clips."""
    output = tmp_path / "out"
    command = ["eval", "--model", str(export), "-c", str(write_recipe()), "--output", str(output)]
    options = ["--clips", "2", "--horizon", "3", "--steps", "1", "--context", "3"]
    assert cli.main([*command, *options, "--actions", "true"]) == 0
    names = load(output / "eval.json")["clips"]
    first = {clip.name: clip.frames for clip in clips(rooms)}[names[0]]
    found = read_frames(output / "gt" / names[0])
    assert np.array_equal(found, first[2:6].numpy().transpose(0, 2, 3, 1))


def test_the_old_name_says_the_new_one(capsys):
    assert cli.main(["evaluate", "model"]) == 2
    assert "'evaluate' is now `egowm eval -c RECIPE --model EXPORT" in capsys.readouterr().err


@pytest.mark.long
def test_a_run_again(export, write_recipe, rooms, tmp_path, capsys, monkeypatch):
    """Only with --force, and an older run stays as it was until the new one is whole."""

    def content() -> dict:
        return {p.relative_to(output): p.read_bytes() for p in output.rglob("*") if p.is_file()}

    def fail(run):
        raise ValueError("the page failed")

    output = tmp_path / "out"
    command = ["eval", "--model", str(export), "-c", str(write_recipe()), "--output", str(output)]
    command += ["--clips", "2", "--horizon", "2", "--steps", "1"]
    assert cli.main([*command, "--actions", "true,zero"]) == 0
    (output / "annotations/mine.png").write_bytes(b"drawn")
    before = content()
    assert not any(f"-{os.getpid()}-".encode() in text for text in before.values())
    command += ["--actions", "true,shuffled"]
    assert cli.main(command) == 2
    assert "holds what `egowm eval` wrote before: --force" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("egowm.evaluation.report.run_page.write_report", fail)
        with pytest.raises(ValueError, match="the page failed"):
            cli.main([*command, "--force"])
    assert content() == before
    assert cli.main([*command, "--force"]) == 0
    names = {p.name for p in output.iterdir()}
    assert names == {"annotations", "clips.json", "codec", "eval.json", "gt", "mean_frame", "pred",
                     "pred_shuffled", "report.html", "scs.json", "scs_shuffled.json",
                     "videos"}  # fmt: skip
    kept = ("scs.json", "annotations/mine.png")
    assert [content()[Path(name)] for name in kept] == [before[Path(name)] for name in kept]


@pytest.mark.parametrize(
    ("window", "options", "words"),
    [
        ({}, ["--actions", "true,backwards"], "--actions: expected some of true"),
        ({}, ["--clips", "1"], "expected at least 2 test clips, got 1"),
        ({}, ["--clips", "0"], "Expected at least 1 clip to evaluate, got 0"),
        ({}, ["--horizon", "9"], "no test clip: a window needs 10 frames"),
        ({}, ["--tracker", "fow"], "Expected a tracker of sam2, palette, moog, flow"),
        ({"stride": 2}, ["--horizon", "2"], "trained at 4 Hz, the data come at 2 Hz"),
        ({}, ["--base", "./none"], "Expected a diffusers pipeline folder at ./none"),
        ({}, ["--device", "gpu"], "--device: expected a device such as cpu or cuda, got 'gpu'"),
        ({}, ["--seeds", "0"], "Expected at least 1 seed, got 0"),
        ({}, ["--weights", "./none"], "No folder of weights at none"),
        ({}, ["--encoder", "./none"], "Expected none/config.json, found none"),
        ({}, ["--gate", "./none"], "none"),
        ({}, ["--protocol", "nwm-time", "--horizon", "4"], "SVD makes frames one after the other"),
        ({}, ["--protocol", "nwm-rollout"], "one second is 4 frames at 4 Hz, and there are 3"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    window, options, words, export, write_recipe, tmp_path, capsys
):
    output = tmp_path / "out"
    recipe = str(write_recipe(window))
    command = ["eval", "--model", str(export), "-c", recipe, "--output", str(output)]
    assert cli.main([*command, "--horizon", "3", *options]) == 2
    [line] = [row for row in capsys.readouterr().err.splitlines() if row.startswith("egowm: ")]
    assert words in line
    assert not output.exists()


def test_what_is_missing_is_one_line(export, write_recipe, tmp_path, capsys):
    recipe, none, out = str(write_recipe()), str(tmp_path / "none"), str(tmp_path / "out")
    assert cli.main(["eval", "--model", none, "-c", recipe, "--output", out]) == 2
    assert "Expected an export (world_model.json)" in capsys.readouterr().err
    assert cli.main(["eval", "--model", str(export), "-c", none, "--output", out]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"egowm: No recipe at {none}:")
    drawn = ["--annotations", none, "--horizon", "3"]
    assert cli.main(["eval", "--model", str(export), "-c", recipe, "--output", out, *drawn]) == 2
    assert none in capsys.readouterr().err
