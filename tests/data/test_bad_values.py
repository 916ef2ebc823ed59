"""What no recording may hold, in every format: numbers that are not finite, text that is none."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from egowm.actions import ActionSpec
from egowm.commands import main as cli
from egowm.data import NWM, ClipData, DonkeyTub, Droid, OneX, Recon
from tests.data import test_donkey_tub, test_droid, test_lerobot, test_tum_rgbd, test_video_csv
from tests.data.convert import test_convert

POSES = np.stack([0.2 * np.arange(12), np.zeros(12), np.zeros(12)], 1)
WHOLE: dict[str, Any] = {"val_share": 0}
Bad = str  # how a file writes a number that is none


def csv_action(root: Path, bad: Bad, get: Any) -> ClipData:
    return csv(root, bad, "steering", 0.05)


def csv_state(root: Path, bad: Bad, get: Any) -> ClipData:
    return csv(root, bad, "battery", 95)


def csv(root: Path, bad: Bad, column: str, old: float) -> ClipData:
    values = [bad if k == 5 else old for k in range(12)]
    test_video_csv.write_episode(root, "run", **{column: values})
    test_video_csv.write_frames(root / "run", test_video_csv.bars(np.arange(12)))
    return test_video_csv.data(root, actions=["steering"], states=["battery"])


def lerobot(root: Path, bad: Bad, get: Any, key: str = "action") -> ClipData:
    test_lerobot.write_v2(root, write_table)
    table = test_lerobot.table_of(1, 12)
    table[key][5] = [float(bad), 0.0]
    write_table(root / "data/chunk-000/episode_000001.parquet", table)
    return test_lerobot.all_of(root)


def lerobot_state(root: Path, bad: Bad, get: Any) -> ClipData:
    return lerobot(root, bad, get, "observation.state")


def lerobot_last_state(root: Path, bad: Bad, get: Any) -> ClipData:
    """In a row that no clip takes as its context."""
    test_lerobot.write_v2(root, write_table)
    table = test_lerobot.table_of(1, 12)
    table["observation.state"][-1] = [float(bad), 0.0]
    write_table(root / "data/chunk-000/episode_000001.parquet", table)
    return test_lerobot.all_of(root)


def nwm(root: Path, bad: Bad, get: Any, key: str = "position") -> ClipData:
    get("write_trajectory")(root / "run", POSES)
    file = root / "run/traj_data.pkl"
    labels = pickle.loads(file.read_bytes()) | {"time": np.arange(12) / 4}
    labels[key][5] = float(bad)
    file.write_bytes(pickle.dumps(labels))
    return NWM(str(root), test_share=0, **WHOLE)


def nwm_yaw(root: Path, bad: Bad, get: Any) -> ClipData:
    return nwm(root, bad, get, "yaw")


def nwm_time(root: Path, bad: Bad, get: Any) -> ClipData:
    return nwm(root, bad, get, "time")


def recon(root: Path, bad: Bad, get: Any, key: str = "jackal/yaw") -> ClipData:
    root.mkdir()
    get("write_recon")(root / "run.hdf5", POSES)
    with h5py.File(root / "run.hdf5", "a") as file:
        file[key][5] = float(bad)
    return Recon(str(root), test_share=0, **WHOLE)


def recon_position(root: Path, bad: Bad, get: Any) -> ClipData:
    return recon(root, bad, get, "jackal/position")


def one_x(root: Path, bad: Bad, get: Any) -> ClipData:
    (states,) = get("write_one_x")(root, [[12]])
    states[5, 3] = float(bad)
    states.tofile(root / "train_v2.0_raw/robot_states/states_0.bin")
    return OneX(str(root), **WHOLE)


def droid(root: Path, bad: Bad, get: Any) -> ClipData:
    file = test_droid.write_episode(root, "train", "7")
    row = json.loads(file.read_text())
    row["states"][5][2] = float(bad)
    file.write_text(json.dumps(row))
    return Droid(str(root), **WHOLE)


def tub(root: Path, bad: Bad, get: Any, key: str = "user/angle") -> ClipData:
    records = [test_donkey_tub.record(k) | ({key: float(bad)} if k == 5 else {}) for k in range(12)]
    test_donkey_tub.write_tub(root, records)
    return DonkeyTub(str(root), test_share=0, **WHOLE)


def tub_time(root: Path, bad: Bad, get: Any) -> ClipData:
    return tub(root, bad, get, "_timestamp_ms")


def tum(root: Path, bad: Bad, get: Any) -> ClipData:
    file = test_tum_rgbd.write_sequence(root) / "groundtruth.txt"
    lines = file.read_text().splitlines()
    for k, (time, _, *rest) in enumerate(map(str.split, lines[12:16]), start=12):
        lines[k] = " ".join([time, bad, *rest])
    file.write_text("\n".join(lines))
    return test_tum_rgbd.all_of(root)


def write_table(file: Path, table: Any) -> None:
    parquet.write_table(pyarrow.table(table), file)


FORMATS: dict[str, Callable[..., ClipData]] = {
    f.__name__: f
    for f in (
        *(csv_action, csv_state, lerobot, lerobot_state, lerobot_last_state),
        *(nwm, nwm_yaw, nwm_time, recon, recon_position, one_x, droid, tub, tub_time, tum),
    )
}


STATES = {n for n in FORMATS if n.startswith(("csv", "lerobot", "one_x", "droid"))}
ANGLES = {"nwm_yaw", "recon", "nwm_time", "tub_time"}  # float64, or turned into steps before


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e39"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_number_that_is_none_is_named_and_enters_no_range(tmp_path, request, name, bad):
    bad = "nan" if bad == "1e39" and name in ANGLES else bad  # too large for float32
    data = FORMATS[name](tmp_path / "root", bad, request.getfixturevalue)
    asks = [lambda: data.split("train"), lambda: data.spec]
    asks += [lambda: data.state_spec] if name in STATES else []
    for ask in asks:
        with pytest.raises(ValueError, match=r"finite|number|in \[-1, 1\]") as caught:
            ask()
        assert "\n" not in str(caught.value)


def garbled(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"a", b"\xe9"))


TEXTS: dict[str, tuple[Callable[[Path, Any], object], str]] = {
    "VideoCSV": (lambda root, get: csv_action(root, "0", get), "run.csv"),
    "LeRobot's info": (lambda root, get: lerobot(root, "0", get), "meta/info.json"),
    "LeRobot's episodes": (lambda root, get: lerobot(root, "0", get), "meta/episodes.jsonl"),
    "OneX": (lambda root, get: one_x(root, "0", get), "train_v2.0_raw/metadata/metadata_0.json"),
    "Droid": (lambda root, get: droid(root, "0", get), "annotation/train/7.json"),
    "DonkeyTub's manifest": (lambda root, get: tub(root, "0", get), "manifest.json"),
    "DonkeyTub's catalog": (lambda root, get: tub(root, "0", get), "catalog_0.catalog"),
    "TumRgbd's poses": (lambda root, get: tum(root, "0", get), "groundtruth.txt"),
    "TumRgbd's pictures": (lambda root, get: tum(root, "0", get), "rgb.txt"),
    "the rover's log": (lambda root, get: test_convert.write_rover(root), "robot_log.csv"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_bytes_that_are_no_text_name_their_file(tmp_path, request, capsys, name):
    write, file = TEXTS[name]
    write(tmp_path / "root", request.getfixturevalue)
    garbled(tmp_path / "root" / file)
    path, output = str(tmp_path / "root"), str(tmp_path / "output")
    rover = name == "the rover's log"
    arguments = ["convert", path, output] if rover else ["stats", path, "-o", output]
    assert cli.main(["data", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert Path(file).name in line
    assert "text" in line or "utf-8" in line


@pytest.mark.parametrize("bad", ["nan", "inf"])
@pytest.mark.parametrize("normaliser", ["min-max", "quantile", "mean-std"])
def test_no_range_is_measured_from_it(bad, normaliser):
    spec = ActionSpec(("a", "b"), ("", ""), "command", "command", 4.0, normalisers=[normaliser] * 2)
    rows = np.zeros((9, 2))
    rows[7, 1] = float(bad)
    with pytest.raises(ValueError, match=r"row 7 of b is not a finite number"):
        spec.fitted([rows])
