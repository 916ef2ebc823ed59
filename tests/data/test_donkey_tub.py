import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from egowm.data.donkey_tub import DonkeyTub
from egowm.data.module import Window

WINDOW = Window(context=2, horizon=2, stride=2, height=12, width=16)


def record(k: int) -> dict[str, object]:
    """Record k: its picture is grey k, its angle k / 1000, its throttle 0.5."""
    return {
        "_index": k,
        "_timestamp_ms": 1_600_000_000_000 + 50 * k,
        "cam/image_array": f"{k}_cam_image_array_.jpg",
        "user/angle": k / 1000,
        "user/throttle": 0.5,
        "user/mode": "user",
    }


def write_tub(root: Path, records: list[dict[str, object]], deleted: tuple[int, ...] = ()) -> Path:
    """A tub with two catalogs, as the car writes it."""
    (root / "images").mkdir(parents=True)
    half = len(records) // 2
    names = ["catalog_0.catalog", "catalog_1.catalog"]
    for name, part in zip(names, (records[:half], records[half:]), strict=True):
        (root / name).write_text("".join(json.dumps(r) + "\n" for r in part))
    for r in records:
        picture = Image.new("RGB", (16, 12), (int(r["_index"]),) * 3)
        picture.save(root / "images" / str(r["cam/image_array"]), quality=95)
    lines = [
        ["cam/image_array", "user/angle", "user/throttle", "user/mode"],
        ["image_array", "float", "float", "str"],
        {},
        {"created_at": 1.6e9},
        {"paths": names, "current_index": 99, "max_len": 1000, "deleted_indexes": list(deleted)},
    ]
    (root / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def spans(data: DonkeyTub, split: str) -> list[tuple[str, int]]:
    return [(e.name, e.num_frames) for e in data.split(split)]


def test_an_action_takes_its_frame_to_the_next(tmp_path: Path) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(100)])
    data = DonkeyTub(str(root), WINDOW, val_share=0, test_share=0.2)
    clip = data.windows("test", tiled=False)[3]
    assert clip.name == "tub_00080_00003"
    assert clip.frames[:, 0, 0, 0].tolist() == [83, 85, 87, 89]
    np.testing.assert_allclose(clip.past_actions, [[0.0835, 0.5]], atol=1e-6)
    np.testing.assert_allclose(clip.actions, [[0.0855, 0.5], [0.0875, 0.5]], atol=1e-6)


@pytest.mark.parametrize("latency", [0, 1, 4])
def test_latency_brings_the_earlier_command(tmp_path: Path, latency: int) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(100)])
    data = DonkeyTub(str(root), WINDOW, latency_frames=latency)
    for split, first in (("train", latency), ("val", 70), ("test", 80)):
        (episode,) = data.split(split)
        assert episode.name == f"tub_{first:05d}"
        shown = np.arange(first, first + episode.num_frames)
        assert (episode.read(range(episode.num_frames))[:, 0, 0, 0] == shown).all()
        np.testing.assert_allclose(episode.actions[:, 0], (shown[:-1] - latency) / 1000, atol=1e-6)


def test_splits_follow_in_time_and_cover_all(tmp_path: Path) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(100)])
    data = DonkeyTub(str(root), val_share=0.15, test_share=0.25)
    assert spans(data, "train") == [("tub_00000", 60)]
    assert spans(data, "val") == [("tub_00060", 15)]
    assert spans(data, "test") == [("tub_00075", 25)]
    assert spans(DonkeyTub(str(root), val_share=0, test_share=0), "train") == [("tub_00000", 100)]


def test_episodes_break_at_every_gap(tmp_path: Path) -> None:
    records = [record(k) for k in range(60) if k != 20]
    for r in records[29:]:  # the driver paused after record 29
        r["_timestamp_ms"] = int(r["_timestamp_ms"]) + 2000
    for r in records[44:]:  # another session
        r["_session_id"] = "2"
    root = write_tub(tmp_path / "tub", records, deleted=(5, 6))
    data = DonkeyTub(str(root), val_share=0, test_share=0, latency_frames=2)
    assert spans(data, "train") == [
        ("tub_00002", 3),
        ("tub_00009", 11),
        ("tub_00023", 7),
        ("tub_00032", 13),
        ("tub_00047", 13),
    ]
    for episode in data.split("train"):
        first = int(episode.name.split("_")[1])
        assert (np.diff(episode.read(range(episode.num_frames))[:, 0, 0, 0]) == 1).all()
        assert episode.actions[0, 0] == pytest.approx((first - 2) / 1000)
    wide = DonkeyTub(str(root), val_share=0, test_share=0, max_gap_s=3)
    assert ("tub_00021", 24) in spans(wide, "train")


def test_the_pilot_commands_count_where_it_drove(tmp_path: Path) -> None:
    records = [record(k) | {"pilot/angle": -0.5, "pilot/throttle": 0.9} for k in range(6)]
    records[2]["user/mode"] = "local_angle"
    records[3]["user/mode"] = "local"
    root = write_tub(tmp_path / "tub", records)
    (episode,) = DonkeyTub(str(root), val_share=0, test_share=0).split("train")
    expected = [[0, 0.5], [0.001, 0.5], [-0.5, 0.5], [-0.5, 0.9], [0.004, 0.5]]
    np.testing.assert_allclose(episode.actions, expected, atol=1e-6)


def test_meaning(tmp_path: Path) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(100)])
    data = DonkeyTub(str(root), Window(horizon=2, stride=4), rate_hz=40, val_share=0)
    assert (data.spec.names, data.spec.kind, data.spec.frame) == (
        ("angle", "throttle"), "command", "command",
    )  # fmt: skip
    assert data.spec.rate_hz == 10
    assert DonkeyTub(str(root)).meaning.rate_hz == 20


def test_the_reader_travels_to_a_worker(tmp_path: Path) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(10)])
    (episode,) = DonkeyTub(str(root), val_share=0, test_share=0).split("train")
    assert pickle.loads(pickle.dumps(episode.read))([7]).max() == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user/angle": 1.5}, r"record 3: expected user/angle in \[-1, 1\], got 1.5"),
        ({"user/throttle": None}, "record 3: expected user/throttle .* got None"),
        ({"user/angle": float("nan")}, "record 3: expected user/angle .* got nan"),
        ({"user/mode": "dream"}, "record 3: unknown user/mode 'dream'"),
        ({"user/mode": "local"}, "record 3: expected pilot/angle .* got None"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    records = [record(k) | (change if k == 3 else {}) for k in range(6)]
    root = write_tub(tmp_path / "tub", records)
    with pytest.raises(ValueError, match=message):
        DonkeyTub(str(root), val_share=0, test_share=0).split("train")


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; pass --data\.root"):
        DonkeyTub(str(tmp_path / "nowhere")).episodes("train")
    with pytest.raises(FileNotFoundError, match=r"looked for .*manifest\.json and found none\.$"):
        DonkeyTub(str(tmp_path)).episodes("train")
    (tmp_path / "record_1.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="a tub of version 1: convert it"):
        DonkeyTub(str(tmp_path)).episodes("train")
    root = write_tub(tmp_path / "tub", [record(k) for k in range(6)])
    (root / "images" / "2_cam_image_array_.jpg").unlink()
    (episode,) = DonkeyTub(str(root), val_share=0, test_share=0).split("train")
    with pytest.raises(ValueError, match=r"2_cam_image_array_\.jpg: no such file"):
        episode.read([1, 2])
    with (root / "catalog_1.catalog").open("a") as out:
        out.write('{"_index": 6, "_time')
    with pytest.raises(ValueError, match=r"catalog_1\.catalog: line 4 is not JSON"):
        DonkeyTub(str(root)).episodes("train")
    (root / "catalog_1.catalog").unlink()
    with pytest.raises(FileNotFoundError, match=r"catalog_1\.catalog is missing"):
        DonkeyTub(str(root)).episodes("train")
    (root / "manifest.json").write_text("")
    with pytest.raises(ValueError, match="does not name the catalogs"):
        DonkeyTub(str(root)).episodes("train")


def test_everything_deleted_and_bad_options(tmp_path: Path) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(4)], deleted=(0, 1, 2, 3))
    with pytest.raises(ValueError, match="4 records, 4 deleted, none left"):
        DonkeyTub(str(root)).episodes("train")
    with pytest.raises(ValueError, match="latency_frames is 0 or more, got -1"):
        DonkeyTub(str(root), latency_frames=-1)
    with pytest.raises(ValueError, match=r"leave no training records"):
        DonkeyTub(str(root), val_share=0.5, test_share=0.5)


@pytest.mark.real_data
def test_the_sample_tub(shared_data: Path) -> None:
    root = shared_data / "donkeycar_tub"
    window = Window(context=1, horizon=8, stride=4, height=60, width=80)
    data = DonkeyTub(str(root), window, latency_frames=4)
    assert spans(data, "train") == [("tub_00004", 696)]
    assert spans(data, "test") == [("tub_00800", 200)]
    clips = data.windows("test", tiled=True)
    names = [clips[k].name for k in range(len(clips))]
    assert names == [f"tub_00800_{start:05d}" for start in (0, 33, 66, 99, 132, 165)]
    assert clips[0].frames.shape == (9, 3, 60, 80)
    assert data.spec.rate_hz == 5


@pytest.mark.real_data
def test_latency_of_the_sample_tub(shared_data: Path) -> None:
    """Turning right moves the picture left, and the picture follows the command by 4 records."""
    import cv2

    frames, angle = {}, {}
    for latency in (0, 4, 8):
        data = DonkeyTub(str(shared_data / "donkeycar_tub"), latency_frames=latency)
        (test,) = data.split("test")
        frames, angle[latency] = test.read(range(test.num_frames)), test.actions[:, 0]
    upper = frames[:, :60].mean(-1, dtype=np.float32)
    hann = cv2.createHanningWindow((160, 60), cv2.CV_32F)
    shift = [cv2.phaseCorrelate(a, b, hann)[0][0] for a, b in pairwise(upper)]
    correlation = {k: np.corrcoef(shift, v)[0, 1] for k, v in angle.items()}
    assert correlation[4] < -0.9
    assert correlation[4] < correlation[0] - 0.05
    assert correlation[4] < correlation[8] - 0.05


@pytest.mark.parametrize("milliseconds", [50, 100, 40])
def test_the_rate_is_that_of_the_records_times(tmp_path: Path, milliseconds: int) -> None:
    records = [record(k) | {"_timestamp_ms": 1_000 + milliseconds * k} for k in range(40)]
    root = write_tub(tmp_path / "tub", records)
    data = DonkeyTub(str(root), WINDOW, test_share=0.5)
    assert data.meaning.rate_hz == 1000 / milliseconds
    np.testing.assert_allclose(np.diff(data.split("train")[0].times), milliseconds / 1000)
    assert DonkeyTub(str(root), WINDOW, rate_hz=20).meaning.rate_hz == 20


def test_a_tub_without_times_has_the_cars_own_rate(tmp_path: Path) -> None:
    records = [{k: v for k, v in record(n).items() if k != "_timestamp_ms"} for n in range(40)]
    data = DonkeyTub(str(write_tub(tmp_path / "tub", records)), WINDOW, test_share=0.5)
    assert data.meaning.rate_hz == 20
    assert data.split("train")[0].times.size == 0


def test_steering_is_another_name_of_the_angle(tmp_path: Path) -> None:
    records = [record(k) for k in range(40)]
    for one in records:
        one["user/steering"] = one.pop("user/angle")
    data = DonkeyTub(str(write_tub(tmp_path / "tub", records)), WINDOW, test_share=0.5)
    np.testing.assert_allclose(data.split("train")[0].actions[:3, 0], [0, 0.001, 0.002], atol=1e-7)


def test_times_that_no_camera_has_are_not_believed(tmp_path: Path, caplog) -> None:
    records = [record(k) | {"_timestamp_ms": 1_000 + 3 * k} for k in range(40)]
    data = DonkeyTub(str(write_tub(tmp_path / "tub", records)), WINDOW, test_share=0.5)
    assert data.meaning.rate_hz == 20
    assert "333.333 Hz, which is no camera's: 20 Hz is taken; set rate_hz" in caplog.text
    assert data.split("train")[0].times.size == 0


@pytest.mark.parametrize(
    "last", [5, ["paths"], {"paths": None}, {"paths": [], "deleted_indexes": 3}]
)
def test_a_manifest_that_ends_in_something_else(tmp_path: Path, last: object) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(4)])
    lines = (root / "manifest.json").read_text().splitlines()
    (root / "manifest.json").write_text("\n".join([*lines[:-1], json.dumps(last)]))
    with pytest.raises(ValueError, match="does not name the catalogs under 'paths', a list"):
        DonkeyTub(str(root), WINDOW).split("train")


@pytest.mark.parametrize(
    "change",
    [
        *({"_index": None}, {"_index": "1"}, {"cam/image_array": None}),
        *({"_timestamp_ms": None}, {"_timestamp_ms": "now"}, {"user/mode": ["user"]}),
    ],
)
def test_records_that_are_none(tmp_path: Path, change: dict[str, object]) -> None:
    root = write_tub(tmp_path / "tub", [record(k) for k in range(40)])
    lines = (root / "catalog_0.catalog").read_text().splitlines()
    for bad in (record(2) | change, [1, 2]):
        (root / "catalog_0.catalog").write_text("\n".join([*lines, json.dumps(bad)]))
        with pytest.raises(ValueError, match=r"tub: expected records with a number _index"):
            DonkeyTub(str(root), WINDOW).split("train")
    (root / "catalog_0.catalog").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="not a text file"):
        DonkeyTub(str(root), WINDOW).split("train")
