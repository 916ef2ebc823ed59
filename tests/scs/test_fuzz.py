"""Broken inputs by the hundred: one line, exit status 2, and nothing half-written."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from egowm.commands.scs.main import main
from egowm.scs import score_folders
from egowm.scs.masks import write_palette
from egowm.scs.result import Result
from egowm.typed_json import RecordError
from egowm.video import read_frames, write_frames, write_mp4


def cut(path, rng):
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(0, len(data)))])


def noise(path, rng):
    path.write_bytes(rng.bytes(int(rng.integers(1, 400))))


def resized(path, rng):
    with Image.open(path) as image:
        image.resize((int(rng.integers(1, 40)), 24)).save(path)


def gone(path, rng):
    path.unlink()


def emptied(path, rng):
    for file in path.parent.iterdir():
        file.unlink()


def one_frame(path, rng):
    for file in sorted(path.parent.iterdir())[1:]:
        file.unlink()


def extra(path, rng):
    shutil.copyfile(path, path.with_name("00099.png"))


def no_folder(path, rng):
    shutil.rmtree(path.parent)


FRAMES = (cut, noise, resized, gone, emptied, one_frame, extra, no_folder)
MASKS = (cut, noise, resized, gone)


@pytest.fixture
def base(tmp_path):
    """Two clips with odd names: frames, and the same as masks."""
    root, rng = tmp_path / "base", np.random.default_rng(0)
    for name in ("a b", "ünï 世界/ç"):
        labels = np.zeros((3, 24, 24), np.uint8)
        labels[:, 2:12, 2:12], labels[:, 14:22, 4:20] = 1, 5  # a palette with gaps
        frames = rng.integers(0, 255, (3, 24, 24, 3), np.uint8)
        for half in ("pred", "gt"):
            write_frames(root / half / name, frames)
            for t, frame in enumerate(labels):
                write_palette(root / "masks" / half / name / f"{t:05d}.png", frame)
        write_palette(root / "annotations" / f"{name}.png", labels[0])
    return root


def command(root, masks, output):
    where = root / "masks" if masks else root
    argv = ["score", str(where / "pred"), str(where / "gt"), "--json", str(output / "scs.json")]
    argv += ["--csv", str(output / "f.csv"), "--report", str(output / "r.html")]
    if masks:
        return [*argv, "--tracker", "masks"]
    return [*argv, "--tracker", "copy", "--annotations", str(root / "annotations")]


def refused(argv, output, capsys, printed=False):
    """One line, nothing written; `printed`: what was computed is not lost."""
    assert main(argv) == 2, argv
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("egowm-scs: ")]
    assert ("prediction" in out) == printed
    assert printed or out == ""
    assert len(lines) == 1
    assert len(lines[0]) > 30
    assert list(output.iterdir()) == []


def test_odd_names_are_fine(base, tmp_path, capsys):
    output = tmp_path / "out put"
    output.mkdir()
    for masks in (False, True):
        assert main(command(base, masks, output)) == 0
    assert {p.name for p in output.iterdir()} == {"scs.json", "f.csv", "r.html"}
    assert "ünï 世界/ç" in (output / "r.html").read_text("utf-8")


@pytest.mark.parametrize("part", ["pred", "gt", "masks/pred", "masks/gt", "annotations"])
def test_damage_is_one_error(base, tmp_path, capsys, part):
    """80 inputs, each damaged in one file or folder; `make fuzz` tries more."""
    output = tmp_path / "output"
    output.mkdir()
    files = sorted((base / part).rglob("*.png"))
    kinds = MASKS if part == "annotations" else FRAMES
    for k in range(16):
        rng = np.random.default_rng(k)
        root = tmp_path / "now"
        shutil.copytree(base, root)
        kind = kinds[k % len(kinds)]
        file = root / files[int(rng.integers(len(files)))].relative_to(base)
        kind(file, rng)
        refused(command(root, part.startswith("masks"), output), output, capsys)
        shutil.rmtree(root)


@pytest.mark.long
def test_damaged_videos_npz_and_json(base, tmp_path, capsys):
    output = tmp_path / "output"
    output.mkdir()
    frames = np.repeat(read_frames(base / "gt" / "a b"), 4, axis=0)
    video = tmp_path / "videos"
    for half in ("pred", "gt"):
        write_mp4(video / half / "a.mp4", frames.repeat(2, 1).repeat(2, 2), 4)
        write_palette(video / "annotations" / "a.png", np.ones((48, 48), np.uint8))
    masks = np.ones((3, 1, 8, 8), bool)
    arrays = tmp_path / "arrays" / "masks"
    texts = tmp_path / "texts" / "masks"
    code = {"size": [8, 8], "counts": [0, 64]}
    for half in ("pred", "gt"):
        (arrays / half).mkdir(parents=True)
        (texts / half).mkdir(parents=True)
        np.savez(arrays / half / "a.npz", masks=masks)
        (texts / half / "a.json").write_text(json.dumps({"masklet": [[code]] * 3}))
    for root, name in ((video, "a.mp4"), (arrays, "a.npz"), (texts, "a.json")):
        for k in range(8):
            rng = np.random.default_rng(k)
            file = root / "pred" / name
            whole = file.read_bytes()
            if k % 2:
                file.write_bytes(whole[: int(rng.integers(0, len(whole) // 2))])
            else:
                noise(file, rng)
            top = root if root is video else root.parent
            refused(command(top, root is not video, output), output, capsys)
            file.write_bytes(whole)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"clips": 3}', '{"clips": [{}]}', "null"])
def test_damaged_scores_do_not_compare(tmp_path, capsys, text):
    file = tmp_path / "a.json"
    file.write_text(text)
    assert main(["compare", str(file), str(file)]) == 2
    assert "expected what `egowm-scs score --json` writes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"), [('"scs": ', '"scs": NaN, "was": '), ('"clips": [', '"clips": [3, ')]
)
def test_saved_scores_load_as_they_were_made_and_damaged_ones_do_not(base, tmp_path, old, new):
    result = score_folders(base / "pred", base / "gt", base / "annotations", tracker="palette")
    file = tmp_path / "scs.json"
    result.save(file)
    record = Result.load(file)
    assert record == json.loads(result.to_json())
    assert record["scs"] == pytest.approx(result.scs, abs=1e-4)
    assert [clip["name"] for clip in record["clips"]] == [clip.name for clip in result.clips]
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(RecordError, match=r"scs\.json: expected what .*expected a") as caught:
        Result.load(file)
    assert len(str(caught.value).splitlines()) == 1


def test_an_output_that_cannot_be_written(base, tmp_path, capsys, monkeypatch):
    output = tmp_path / "output"
    output.mkdir()
    argv = command(base, True, output)
    (output / "scs.json").mkdir()
    assert main(argv) == 2
    assert "is a folder" in capsys.readouterr().err
    (output / "scs.json").rmdir()

    def deny(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.write_text", deny)
    refused(argv, output, capsys, printed=True)
