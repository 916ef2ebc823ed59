"""Packs: what was packed comes back to the frame, the label and the split; nothing else is read."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.commands import main as cli
from egowm.data import NWM, Mixture, Packed, Recon, VideoCSV, Window, packing
from egowm.data.packed import key_of, read_frames
from egowm.data.packing import pack
from egowm.video import VideoError, resize, write_mp4

SIZE = (12, 16)
WINDOW = Window(context=2, horizon=2, stride=2, height=12, width=16)


def numbered(root: Path, write_trajectory, count: int = 9, frames: int = 12) -> Path:
    """Trajectories whose frame k is grey 3 k and whose step k is 0.1 + 0.01 k forward."""
    step = 0.1 + 0.01 * np.arange(frames - 1)
    x = np.concatenate([[0], np.cumsum(step)])
    poses = np.stack([x, 0 * x, 0 * x], 1)
    for k in range(count):
        write_trajectory(root / f"run_{k}", poses)
    return root


@pytest.fixture
def folder(tmp_path, write_trajectory) -> Path:
    return numbered(tmp_path / "nwm", write_trajectory)


@pytest.fixture
def data(folder) -> NWM:
    return NWM(str(folder), WINDOW, val_share=0.3, test_share=0.3)


@pytest.fixture
def packed(data, tmp_path) -> Packed:
    pack(data, tmp_path / "pack", SIZE, 1, progress=False)
    return Packed(str(tmp_path / "pack"), WINDOW)


def test_every_clip_of_every_split_is_the_same(data, packed):
    assert (packed.meaning, packed.spec, packed.source) == (data.meaning, data.spec, "NWM")
    lengths = []
    for split in ("train", "val", "test"):
        ours, theirs = (d.windows(split, tiled=False) for d in (packed, data))
        assert len(ours) == len(theirs)
        lengths.append(len(ours))
        for mine, other in zip(ours, theirs, strict=True):
            assert mine[4:] == other[4:]
            assert all(torch.equal(a, b) for a, b in zip(mine[:4], other[:4], strict=True))
    assert min(lengths) > 0
    names = [{e.name for e in packed.split(s)} for s in ("train", "val", "test")]
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & names[2]


def test_frames_and_actions_are_of_one_time(packed):
    clip = packed.windows("train", tiled=False)[3]
    start = int(clip.name[-5:])
    shown = clip.frames[:, 0, 0, 0].numpy() / 3
    np.testing.assert_allclose(shown, start + 2 * np.arange(4), atol=0.4)
    second = start + 2  # step k to k+2 at stride 2
    np.testing.assert_allclose(clip.past_actions[0, 0], 0.2 + 0.01 * (2 * start + 1), atol=1e-6)
    np.testing.assert_allclose(clip.actions[0, 0], 0.2 + 0.01 * (2 * second + 1), atol=1e-6)
    assert clip.frames.is_contiguous()


@pytest.mark.parametrize("indices", [[0], [11, 3, 3, 4, 5, 0], range(2, 12, 3), range(12)])
def test_any_frames_in_any_order(data, packed, indices):
    (ours, *_), (theirs, *_) = packed.split("train"), data.split("train")
    np.testing.assert_array_equal(ours.read(indices), theirs.read(indices))


def test_frames_outside_are_refused(packed):
    (episode, *_) = packed.split("train")
    for indices in ([-1], [12], []):
        with pytest.raises(VideoError, match="expected frames from 0 to 11"):
            episode.read(indices)


def test_states_times_texts_and_latency(tmp_path):
    root = tmp_path / "drives"
    root.mkdir()
    for name in ("a", "b", "c"):
        rows = [f"{k / 10},{k},{100 - k}" for k in range(8)]
        (root / f"{name}.csv").write_text("\n".join(["time [s],turn,battery", *rows]) + "\n")
        write_mp4(root / f"{name}.mp4", np.full((8, 32, 32, 3), 90, np.uint8), 10)
    options = {"states": ["battery"], "latency_frames": 2, "val_share": 0, "test_share": 0}
    window = Window(horizon=2, height=16, width=16)
    data = VideoCSV(str(root), window, normaliser="quantile", **options)
    pack(data, tmp_path / "pack", (16, 16), 1, progress=False)
    packed = Packed(str(tmp_path / "pack"), window)
    assert (packed.spec, packed.state_spec) == (data.spec, data.state_spec)
    for ours, theirs in zip(packed.split("train"), data.split("train"), strict=True):
        assert (ours.name, ours.num_frames, ours.text) == (theirs.name, 6, "")
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.states[:, 0], 98 - np.arange(6))
        np.testing.assert_allclose(ours.times, 0.2 + np.arange(6) / 10)
        np.testing.assert_array_equal(ours.read([5, 1]), resize(theirs.read([5, 1]), 16, 16))
    assert packed.split("train")[0].actions[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_published_ranges_stay(tmp_path, write_recon):
    root = tmp_path / "recon"
    root.mkdir()
    for k in range(3):
        write_recon(root / f"run_{k}.hdf5", np.stack([np.arange(6.0)] * 3, 1))
    data = Recon(str(root), WINDOW, val_share=0, test_share=0, normaliser="recon")
    pack(data, tmp_path / "pack", SIZE, 1, progress=False)
    assert Packed(str(tmp_path / "pack"), WINDOW).spec == data.spec
    assert data.spec.high[0] == pytest.approx(5 * 0.25)


def checksums(folder: Path) -> dict[str, str]:
    """Whether the files that are listed are those that are there, as sha256sum -c says it."""
    found = {}
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        value, name = line.split("  ")
        same = hashlib.sha256((folder / name).read_bytes()).hexdigest() == value
        found[name] = "same" if same else "changed"
    return found


# Made for one size, resumed, refused -----------------------------------------------------------


def test_an_interrupted_packing_goes_on(data, tmp_path, monkeypatch):
    output, write, done = tmp_path / "pack", packing._write_episode, []

    def failing(size, episode, file):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(file.name)
        return write(size, episode, file)

    monkeypatch.setattr(packing, "_write_episode", failing)
    with pytest.raises(KeyboardInterrupt):
        pack(data, output, SIZE, 1, progress=False)
    with pytest.raises(FileNotFoundError, match=r"Packing stopped at frames-\w{16}: run it again"):
        Packed(str(output), WINDOW).split("train")
    (frames,) = output.glob("frames-*")
    half = sorted(frames.glob("*.npy"))[1]
    half.write_bytes(half.read_bytes()[:-7])  # as after a crash of the machine
    (frames / ".00008.npy").write_bytes(b"half")
    done.clear()
    monkeypatch.setattr(packing, "_write_episode", lambda *a: done.append(a[2].name) or write(*a))
    pack(data, output, SIZE, 1, progress=False)
    assert sorted(done) == [half.name, *(f"{k:05d}.npy" for k in range(4, 9))]
    assert sorted(p.name for p in frames.iterdir()) == [f"{k:05d}.npy" for k in range(9)]
    assert len(Packed(str(output), WINDOW).split("train")) == len(data.split("train"))
    assert checksums(output) == {f"{frames.name}/{k:05d}.npy": "same" for k in range(9)}


def test_another_size_another_pack(data, packed, tmp_path):
    with pytest.raises(FileExistsError, match=r"holds frames-\w+, which is not of this pack"):
        pack(data, packed.folder, (16, 16), 1, progress=False)
    packed.window = Window(height=16, width=16)
    with pytest.raises(ValueError, match=r"holds frames of 12x16 .* the window wants 16x16"):
        packed.windows("train", tiled=True)


def test_other_pictures_under_the_same_labels_are_another_pack(tmp_path, write_recon):
    root = tmp_path / "recon"
    root.mkdir()
    picture = lambda k: np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)  # noqa: E731
    write_recon(root / "run.hdf5", np.zeros((6, 3)) + np.arange(6)[:, None], picture)
    keys = [
        pack(
            Recon(str(root), WINDOW, camera=camera, val_share=0, test_share=0),
            tmp_path / camera,
            SIZE,
            1,
            progress=False,
        )["key"]
        for camera in ("rgb_left", "rgb_right")
    ]
    assert keys[0] != keys[1]


def cut(folder: Path) -> None:
    file = next(folder.glob("frames-*/00003.npy"))
    file.write_bytes(file.read_bytes()[:-1])


def lost(folder: Path) -> None:
    next(folder.glob("frames-*/00003.npy")).unlink()


def foreign_labels(folder: Path) -> None:
    np.save(folder / "actions.npy", np.load(folder / "actions.npy") * 2)


def no_labels(folder: Path) -> None:
    (folder / "times.npy").unlink()


def pickled_labels(folder: Path) -> None:
    (folder / "actions.npy").write_bytes(pickle.dumps([1]))


def edited(folder: Path, change, keyed: bool = False) -> None:
    index = json.loads((folder / "pack.json").read_text())
    change(index)
    if keyed:
        index["key"] = key_of(index)
    (folder / "pack.json").write_text(json.dumps(index))


def other_size(folder: Path) -> None:
    edited(folder, lambda index: index.update(size=[16, 12]))


def other_key(folder: Path) -> None:
    edited(folder, lambda index: index.update(source="Recon"), keyed=True)


def newer(folder: Path) -> None:
    edited(folder, lambda index: index.update(version=2), keyed=True)


def no_meaning(folder: Path) -> None:
    edited(folder, lambda index: index.pop("meaning"), keyed=True)


def odd_row(folder: Path) -> None:
    edited(folder, lambda index: index["episodes"][0].update(num_frames="12"), keyed=True)
    frames = next(folder.glob("frames-*"))
    frames.rename(folder / f"frames-{json.loads((folder / 'pack.json').read_text())['key']}")


def not_json(folder: Path) -> None:
    (folder / "pack.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut, r"00003\.npy: expected 7040 bytes, got 7039: it was cut or replaced"),
        (lost, r"00003\.npy: is missing"),
        (foreign_labels, r"actions\.npy: is not the one that was packed"),
        (pickled_labels, r"actions\.npy: is not the one that was packed"),
        (no_labels, r"times\.npy: is missing"),
        (other_size, r"pack\.json: was changed after it was written"),
        (other_key, r"00000\.npy: is missing"),
        (newer, r"pack\.json: expected a pack of version 1, got 2"),
        (no_meaning, r"pack\.json: has no meaning"),
        (odd_row, r"pack\.json: expected a row for each episode"),
        (not_json, r"pack\.json: expected the JSON of a pack"),
    ],
)
def test_a_cut_or_foreign_pack_is_refused(packed, change, words):
    change(packed.folder)
    with pytest.raises(ValueError, match=rf"{words}.*Copy the pack again"):
        packed.split("train")


def test_frames_that_changed_at_the_same_length_are_found_by_check(packed, capsys):
    command = ["data", "check", str(packed.folder), "--workers", "1"]
    assert cli.main(command) == 0
    assert "9 episodes: all frames are those that were packed" in capsys.readouterr().out
    file = next(packed.folder.glob("frames-*/00003.npy"))
    data = bytearray(file.read_bytes())
    data[4000] ^= 1
    file.write_bytes(data)
    name = packed.index["episodes"][3]["name"]
    assert Packed(str(packed.folder), WINDOW).split("train")  # loading compares lengths only
    assert cli.main([*command, "--json"]) == 1
    found = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["level"] == "error"]
    assert {f["where"] for f in found} == {name}
    (error,) = [f for f in found if f["kind"] == "checksum"]
    assert error["text"].startswith(f"{file.parent.name}/00003.npy: changed since it was packed")
    assert set(checksums(packed.folder).values()) == {"same", "changed"}


def test_checksums_that_are_missing_or_none(packed, capsys):
    command = ["data", "check", str(packed.folder), "--workers", "1"]
    sums = packed.folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("00002.npy", "../../00002.npy"))
    assert cli.main(command) == 1
    assert "00002.npy: changed since it was packed" in capsys.readouterr().out
    sums.write_bytes(b"\xff\x00")
    assert cli.main(command) == 1
    assert "SHA256SUMS: line 1: expected a sha256 and a file's name" in capsys.readouterr().out
    sums.unlink()
    assert cli.main(command) == 0
    assert "SHA256SUMS is missing: frames are not compared" in capsys.readouterr().out


def test_a_file_that_shrinks_while_it_is_read(packed):
    (episode, *_) = packed.split("train")
    cut(packed.folder)
    (packed.folder / "SHA256SUMS").unlink()  # which would tell before
    file = next(packed.folder.glob("frames-*/00003.npy"))
    with pytest.raises(VideoError, match=r"00003\.npy: ends before frame 11"):
        read_frames(file, (12, 3, *SIZE), range(12))
    assert episode.num_frames == 12


def test_what_is_not_packed(data, packed, tmp_path):
    with pytest.raises(ValueError, match="pack each of its sources"):
        pack(Mixture({"a": data}), tmp_path / "b", SIZE)
    with pytest.raises(ValueError, match="or a pack \\(it is packed already\\)"):
        pack(packed, tmp_path / "b", SIZE)
    with pytest.raises(ValueError, match="height and width are at least 1, got 0 and 16"):
        pack(data, tmp_path / "b", (0, 16))
    assert not (tmp_path / "b").exists()


def test_a_disk_that_is_too_small(data, tmp_path, monkeypatch):
    usage = packing.shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"are needed and 0\.0 GB are free; pack elsewhere"):
        pack(data, tmp_path / "pack", SIZE)


# The command ------------------------------------------------------------------------------------


def test_from_the_command_line(folder, tmp_path, capsys):
    output = tmp_path / "pack"
    command = ["data", "pack", str(folder), str(output)]
    assert cli.main(command) == 2
    assert "is no recipe: give --height and --width" in capsys.readouterr().err
    assert cli.main([*command, "--height", "12", "--width", "16"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{output}: 9 episodes, 108 frames of 12x16, 576 bytes a frame, ")
    assert f"--data egowm.data.Packed --data.root {output}" in out
    assert cli.main(["data", "check", str(output), "--workers", "1"]) == 0
    assert "NWM: 9 episodes (7 train, 0 val, 2 test), 108 frames" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
def test_a_recipe_is_packed_and_trained_from(folder, tiny_prior, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
model:
  class_path: egowm.WorldModel
  init_args:
    backbone:
      class_path: egowm.backbones.SVD
      init_args: {{pretrained: {tiny_prior}}}
data:
  class_path: egowm.data.NWM
  init_args:
    root: {folder}
    val_share: 0
    spacing: 0.5
    window: {{context: 1, horizon: 4, height: 16, width: 16}}
    batch_size: 2
trainer: {{accelerator: cpu, devices: 1, max_steps: 2, limit_val_batches: 0, logger: false}}
"""
    )
    output = tmp_path / "pack"
    assert cli.main(["data", "pack", str(recipe), str(output)]) == 0
    told = capsys.readouterr().out.splitlines()[-1].removeprefix("train from it: ").split()
    command = ["fit", "-c", str(recipe), *told, "--trainer.default_root_dir", str(tmp_path / "run")]
    assert cli.main([*command, "--trainer.enable_progress_bar", "false"]) == 0
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["egowm"]["spec"]["high"][0] == pytest.approx(2.5)
