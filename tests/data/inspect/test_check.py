"""`egowm data check` on recordings that are right, and on copies with one planted fault each."""

import csv
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.commands import main as cli
from egowm.data import (
    NWM,
    ClipData,
    DonkeyTub,
    Droid,
    LeRobot,
    Mixture,
    Rooms,
    TumRgbd,
    VideoCSV,
    Videos,
    Window,
)
from egowm.data.episode import Episode
from egowm.data.inspect.check import check
from egowm.data.inspect.findings import Finding
from egowm.data.inspect.lag import Lag, judge
from egowm.video import write_mp4
from tests.h264 import CODECS, write_h264

WINDOW = Window(height=64, width=64)


def named(findings: list[Finding], level: str) -> dict[str, Finding]:
    return {f.kind: f for f in findings if f.level == level}


def complaints(data: ClipData) -> set[str]:
    """Errors and warnings, but for splits that a few recordings leave empty."""
    found = [f for f in check(data, 1, progress=False) if f.level != "note"]
    return {f"{f.level} {f.kind}" for f in found} - {"warning empty"}


class Changed(ClipData):
    """A data set whose episodes went through a function."""

    def __init__(self, data: ClipData, change) -> None:
        super().__init__(data.root, data.window)
        self.meaning, self.data, self.change = data.meaning, data, change

    def episodes(self, split: str) -> list[Episode]:
        return [self.change(episode) for episode in self.data.split(split)]


def later(rows: int, episode: Episode) -> Episode:
    """Labels `rows` frames late: action k is the one of step k - rows."""
    return replace(episode, actions=np.roll(episode.actions, rows, axis=0))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Rooms:
    counts = {"episodes_train": 8, "episodes_val": 1, "episodes_test": 1, "num_frames": 33}
    data = Rooms(str(tmp_path_factory.mktemp("rooms")), WINDOW, **counts)
    data.prepare_data()
    return data


@pytest.mark.long
def test_rooms_are_right(rooms):
    findings = check(rooms, 1, progress=False)
    assert [f.line() for f in findings if f.level != "note"] == []
    notes = named(findings, "note")
    assert notes["alignment"].values["strength"] > 0.5
    assert abs(notes["alignment"].values["frames"]) < 0.25
    assert notes["yaw"].values["agreement"] > 0.95
    assert "4 Hz is taken as given" in notes["rate"].text


@pytest.mark.parametrize("rows", [1, -1])
def test_actions_shifted_by_one_in_rooms(rooms, rows):
    found = named(check(Changed(rooms, partial(later, rows)), 1, progress=False), "error")
    assert set(found) == {"shifted"}
    assert found["shifted"].values["frames"] == pytest.approx(-rows, abs=0.3)
    assert f"shift the labels by {rows:+d} rows" in found["shifted"].text


def mirrored_yaw(episode: Episode) -> Episode:
    """Its actions as poses with yaw negated would give them."""
    yaw = np.concatenate([[0.3], 0.3 + np.cumsum(episode.actions[:-1, 2].astype(float))])
    c, s = np.cos(2 * yaw), np.sin(2 * yaw)
    dx, dy, turn = episode.actions.astype(float).T
    return replace(episode, actions=np.stack([c * dx - s * dy, s * dx + c * dy, -turn], 1))


def test_yaw_negated_in_rooms(rooms):
    found = named(check(Changed(rooms, mirrored_yaw), 1, progress=False), "error")
    assert set(found) == {"yaw"}


def test_yaw_from_another_axis_in_rooms(rooms):
    def turned(episode: Episode) -> Episode:
        dx, dy, turn = episode.actions.T
        return replace(episode, actions=np.stack([dy, -dx, turn], 1))

    found = named(check(Changed(rooms, turned), 1, progress=False), "error")
    assert set(found) == {"yaw"}
    assert abs(found["yaw"].values["degrees"]) == pytest.approx(90, abs=5)


def test_black_repeated_frozen_and_far_values_in_rooms(rooms):
    def still(episode: Episode) -> Episode:
        frames = episode.read(range(episode.num_frames))
        frames[20:] = 0
        frames[6:12] = frames[5]
        actions = episode.actions.copy()
        if episode.name == rooms.split("train")[0].name:
            actions[7, 0] = 90.0
        return replace(episode, read=lambda chosen: frames[list(chosen)], actions=actions)

    findings = check(Changed(rooms, still), 1, progress=False)
    found = named(findings, "warning")
    assert set(found) == {"black", "repeated", "range"}
    assert "black frames: 13 of 33, the first is frame 20" in found["black"].text
    assert "frames 5 to 11 are one picture" in found["repeated"].text
    assert "action 7, dx = 90" in found["range"].text
    still_one = named(findings, "note")["frozen"]  # wheels do not slide sideways
    assert "no change in 1 of 3 dimensions: dy" in still_one.text


# Video and table ---------------------------------------------------------------------------------


def write_drive(root: Path, name: str, frames: int = 60, fps: float = 10.0, seed: int = 0) -> Path:
    """A picture that slides by what the column `turn` says, at 10 Hz; returns its table."""
    rng = np.random.default_rng(seed)
    turn = np.convolve(rng.normal(size=frames + 8), np.ones(9) / 9, "valid") * 12
    wall = rng.integers(0, 255, (8, 40, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    offset = np.round(np.concatenate([[0], np.cumsum(turn[:-1])])).astype(int)
    pictures = np.stack([np.roll(wall, k, axis=1)[:, :96] for k in offset])
    root.mkdir(parents=True, exist_ok=True)
    write_mp4(root / f"{name}.mp4", pictures, fps)
    rows = [f"{k / 10:.3f},{value:.5f},{k % 7}" for k, value in enumerate(turn)]
    table = root / f"{name}.csv"
    table.write_text("\n".join(["time [s],turn [px],other", *rows]) + "\n")
    return table


@pytest.fixture
def drives(tmp_path) -> Path:
    for k in range(3):
        write_drive(tmp_path / "drives", f"drive_{k}", seed=k)
    return tmp_path / "drives"


def test_a_clean_folder_of_videos_and_tables(drives, capsys):
    assert complaints(VideoCSV(str(drives))) == set()
    assert cli.main(["data", "check", str(drives), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "VideoCSV: 3 episodes (2 train, 0 val, 1 test), 180 frames" in out
    assert "warning empty      split val: no recording is in this split. val_share: " in out
    assert "actions and pictures agree" in out
    assert "positive turn moves the picture right, so it turns left" in out
    assert out.endswith("0 errors, 1 warning, 1 note\n")


@pytest.mark.parametrize("skip_corrupt", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_corrupt_recordings_are_findings_and_the_rest_is_read(drives, mixed, skip_corrupt, caplog):
    (drives / "drive_1.csv").write_text("time [s],turn [px],other\n0,1,2\n1,nan,3\n")
    data = VideoCSV(str(drives), val_share=0, test_share=0, skip_corrupt=skip_corrupt)
    findings = check(Mixture({"cars": data}) if mixed else data, 1, progress=False)
    (corrupt,) = [finding for finding in findings if finding.kind == "nan"]
    assert corrupt.text.startswith(
        f"{drives / 'drive_1.csv'}: row 1, column turn: expected a finite"
    )
    assert len(data.split("train")) == 2
    assert "left out" not in caplog.text
    fresh = VideoCSV(str(drives), val_share=0, test_share=0, skip_corrupt=skip_corrupt)
    data._episodes.clear()
    for read in (data, fresh):  # checking leaves no trace
        if skip_corrupt:
            assert len(read.split("train")) == 2
        else:
            with pytest.raises(ValueError, match="skip_corrupt: true"):
                read.split("train")


def test_videos_without_a_table_are_named(drives):
    """They are not read, and may be what was meant."""
    (drives / "drive_2.csv").unlink()
    data = VideoCSV(str(drives))
    (found,) = [finding for finding in check(data, progress=False) if finding.kind == "no table"]
    assert found.level == "warning"
    assert found.text == "1 video without a table of the same name: drive_2.mp4"


def test_the_sign_of_turning_is_said_and_not_judged(drives):
    for table in drives.glob("*.csv"):
        rewrite(table, lambda cells: [[t, str(-float(turn)), *rest] for t, turn, *rest in cells])
    data = VideoCSV(str(drives))
    assert complaints(data) == set()
    found = named(check(data, 1, progress=False), "note")["alignment"]
    assert "positive turn moves the picture left, so it turns right" in found.text
    assert found.values["signed"] == pytest.approx(-found.values["strength"], abs=1e-3)


def rewrite(table: Path, change) -> None:
    head, *rows = table.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    lines = [",".join(row) for row in change(cells)]
    table.write_text("\n".join([head, *lines]) + "\n")


def not_a_number(cells):
    cells[7][1] = "nan"
    return cells


def slower(cells):
    return [[str(2 * float(row[0])), *row[1:]] for row in cells]


def backwards(cells):
    cells[30][0] = cells[10][0]
    return cells


def paused(cells):
    return [*cells[:20], *([str(float(row[0]) + 3), *row[1:]] for row in cells[20:])]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (not_a_number, "error nan", "drive_1.csv: row 7, column turn"),
        (slower, "error rate", "5.00 Hz, the data set 10 Hz"),
        (backwards, "error times", "does not rise after frame 29"),
        (paused, "warning gap", "3.10 s after frame 19"),
        (lambda cells: cells[:-4], "error length", "video holds 60 frames, the labels 56"),
    ],
)
def test_a_fault_in_one_table_is_named(drives, change, kind, words):
    rewrite(drives / "drive_1.csv", change)
    found = check(VideoCSV(str(drives)), 1, progress=False)
    findings = [f for f in found if f.level != "note" and f.kind != "empty"]
    assert {f"{f.level} {f.kind}" for f in findings} == {kind}
    assert all("drive_1" in f.line() for f in findings)
    assert words in findings[0].text


def test_a_truncated_video_is_named(drives, capsys):
    video = drives / "drive_2.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert cli.main(["data", "check", str(drives), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] == 1
    (error,) = [f for f in found["findings"] if f["level"] == "error"]
    assert error["where"] == "drive_2"
    assert "drive_2.mp4: not a readable video" in error["text"]


@pytest.mark.parametrize("codec", CODECS)
def test_damage_that_players_paint_over_is_named(tmp_path, codec):
    wall = np.random.default_rng(0).integers(0, 255, (12, 24, 3), np.uint8)
    frames = [np.roll(wall.repeat(8, 0).repeat(8, 1), 2 * k, 1) for k in range(60)]
    write_h264(tmp_path / "a.mp4", np.stack(frames), 10, codec)
    rows = [f"{k / 10},{k % 5}" for k in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["time,turn", *rows]) + "\n")
    assert "error unreadable" not in complaints(VideoCSV(str(tmp_path)))
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    for packet in (packets[20], packets[44]):
        data[packet.pos + packet.size // 3 : packet.pos + packet.size] = bytes(
            packet.size - packet.size // 3
        )
    (tmp_path / "a.mp4").write_bytes(data)
    found = named(check(VideoCSV(str(tmp_path)), 1, progress=False), "error")["unreadable"]
    assert found.where == "a"
    _, _, numbers = found.text.partition("a.mp4: damaged frames: ")
    first, second = [int(part.split()[0]) for part in numbers.split(" (of")[0].split(", ")]
    assert 14 <= first <= 20
    assert 38 <= second <= 44


def test_a_video_at_another_rate(tmp_path):
    for k in range(2):
        write_drive(tmp_path, f"drive_{k}", fps=30, seed=k)
    found = named(check(VideoCSV(str(tmp_path)), 1, progress=False), "warning")
    assert "plays at 30 Hz, its labels say 10 Hz" in found["rate"].text


def test_commands_that_lead_are_a_latency(drives):
    def lead(cells):
        values = [row[1] for row in cells]
        moved = [*values[3:], *values[-3:]]
        return [[row[0], value, row[2]] for row, value in zip(cells, moved, strict=True)]

    for table in drives.glob("*.csv"):
        rewrite(table, lead)
    found = named(check(VideoCSV(str(drives)), 1, progress=False), "note")
    assert found["latency"].values["latency_frames"] == 3
    corrected = named(check(VideoCSV(str(drives), latency_frames=3), 1, progress=False), "note")
    assert "agree" in corrected["alignment"].text


def test_what_cannot_be_opened(tmp_path, capsys):
    assert cli.main(["data", "check", str(tmp_path)]) == 2
    assert "no format was recognised" in capsys.readouterr().err
    assert cli.main(["data", "check", str(tmp_path / "nowhere")]) == 2
    assert "expected a folder of recordings or a recipe" in capsys.readouterr().err
    recipe = tmp_path / "evil.yaml"
    recipe.write_text("data: !!python/object/apply:os.system ['touch evil']\n")
    assert cli.main(["data", "check", str(recipe)]) == 2
    assert "expected a recipe" in capsys.readouterr().err
    assert not Path("evil").exists()


# Real recordings ---------------------------------------------------------------------------------


@pytest.fixture
def rover(shared_data, tmp_path):
    """Converts a copy of the rover's log, changed by a function, to an NWM folder."""

    def make(change=lambda rows: rows, rate: float = 0) -> NWM:
        source = tmp_path / "log"
        shutil.copytree(shared_data / "udacity_rover_sim", source)
        log = source / "robot_log.csv"
        log.chmod(0o644)
        with log.open(newline="") as stream:
            reader = csv.DictReader(stream, delimiter=";")
            rows, fields = change(list(reader)), reader.fieldnames
        with log.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fields, delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
        output = tmp_path / "nwm"
        command = ["data", "convert", str(source), str(output), "--rate", str(rate)]
        assert cli.main([*command, *([] if rate else ["--keep_backward"])]) == 0
        return NWM(str(output), WINDOW, rate_hz=rate or 20.83)

    return make


def shifted_rows(rows):
    pose = ("X_Position", "Y_Position", "Yaw")
    before = [rows[0], *rows[:-1]]
    return [row | {k: old[k] for k in pose} for row, old in zip(rows, before, strict=True)]


def negated(rows):
    return [row | {"Yaw": str(-float(row["Yaw"]) % 360)} for row in rows]


@pytest.mark.real_data
@pytest.mark.parametrize("rate", [0, 4])
def test_the_rover_is_right(rover, rate):
    data = rover(rate=rate)
    assert complaints(data) == set()


@pytest.mark.long
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("change", "kind"), [(shifted_rows, "error shifted"), (negated, "error yaw")]
)
def test_a_fault_in_the_rovers_log(rover, change, kind):
    assert kind in complaints(rover(change))


@pytest.fixture
def tub(shared_data, tmp_path):
    """A copy of the tub whose angles went through a function."""

    def make(change) -> Path:
        root = tmp_path / "tub"
        root.mkdir()
        source = shared_data / "donkeycar_tub"
        (root / "images").symlink_to(source / "images")
        shutil.copy(source / "manifest.json", root)
        lines = (source / "catalog_0.catalog").read_text().splitlines()
        records = [json.loads(line) for line in lines if line]
        for record, angle in zip(records, change([r["user/angle"] for r in records]), strict=True):
            record["user/angle"] = angle
        text = "\n".join(json.dumps(record) for record in records)
        (root / "catalog_0.catalog").write_text(text + "\n")
        return root

    return make


@pytest.mark.long
@pytest.mark.real_data
def test_the_tubs_commands_lead_by_four_records(shared_data):
    findings = check(DonkeyTub(str(shared_data / "donkeycar_tub"), WINDOW), 1, progress=False)
    assert [f.line() for f in findings if f.level != "note"] == []
    assert named(findings, "note")["latency"].values["latency_frames"] == 4
    corrected = DonkeyTub(str(shared_data / "donkeycar_tub"), WINDOW, latency_frames=4)
    assert "agree" in named(check(corrected, 1, progress=False), "note")["alignment"].text


@pytest.mark.real_data
def test_the_tubs_commands_delayed_by_twelve(tub):
    root = tub(lambda angles: angles[:12] + angles[:-12])
    found = named(check(DonkeyTub(str(root), WINDOW), 1, progress=False), "error")
    assert set(found) == {"shifted"}
    assert found["shifted"].values["frames"] == pytest.approx(-8, abs=1)


@pytest.mark.long
@pytest.mark.real_data
def test_the_arms_and_the_hand_held_camera_are_right(shared_data):
    for data in (
        Droid(str(shared_data / "droid_subset_ctrlworld"), WINDOW),
        TumRgbd(str(shared_data / "tum_fr1_rpy_excerpt"), WINDOW),
    ):
        findings = check(data, 1, progress=False)
        assert complaints(data) == set()
        assert "agree" in named(findings, "note")["alignment"].text


@pytest.mark.long
@pytest.mark.real_data
def test_the_humanoids_times_begin_late_and_most_of_its_dimensions_rest(shared_data):
    pytest.importorskip("pyarrow")
    findings = check(LeRobot(str(shared_data / "gr1_humanoid_sim"), WINDOW), 1, progress=False)
    assert [f.line() for f in findings if f.level == "error"] == []
    warnings, notes = named(findings, "warning"), named(findings, "note")
    assert set(warnings) == {"frozen", "empty"}
    assert "no change in 25 of 44 dimensions" in warnings["frozen"].text
    assert "times of 5 episodes begin at 0.05 s" in notes["times"].text
    assert "not compared" in notes["alignment"].text


def test_milliseconds_without_their_unit_are_named(tmp_path):
    write_drive(tmp_path, "drive")
    table = tmp_path / "drive.csv"
    head, *rows = table.read_text().splitlines()
    assert head.startswith("time")
    times = [f"{1000 * float(row.partition(',')[0]):g},{row.partition(',')[2]}" for row in rows]
    table.write_text("\n".join(["time," + head.partition(",")[2], *times]))
    findings = check(VideoCSV(str(tmp_path)), 1, progress=False)
    assert (
        "are its times milliseconds? Write the unit in the" in named(findings, "error")["unit"].text
    )
    notes = named(findings, "note")  # a lag in seconds, of a clock of another unit, means nothing
    assert notes["alignment"].text == "not judged: it takes the unit of the times"
    assert "magnitude" not in notes
    assert not any("at a lag" in finding.text for finding in findings)


def test_where_nothing_can_be_read_no_split_is_called_empty(tmp_path):
    write_drive(tmp_path, "drive")
    (tmp_path / "drive.mp4").rename(tmp_path / "other.mp4")
    findings = check(VideoCSV(str(tmp_path)), 1, progress=False)
    assert [finding.kind for finding in findings] == ["empty", "unreadable"]
    assert findings[0].text == "no episode could be read"


def test_a_split_of_broken_recordings_is_not_called_empty(drives):
    """The one recording of the test split is there, and cannot be read."""
    (drives / "drive_1.csv").write_text("time [s],turn [px],other\n0,1,2\n1,nan,3\n")
    for name in ("train", "test"):
        chosen = ["drive_1"] if name == "test" else ["drive_0", "drive_2"]
        (drives / f"{name}.txt").write_text("\n".join(chosen))
    names = {f"{name}_names": str(drives / f"{name}.txt") for name in ("train", "test")}
    findings = check(VideoCSV(str(drives), val_share=0, **names), 1, progress=False)
    assert [f.kind for f in findings if f.level == "error"] == ["nan"]
    assert [f.where for f in findings if f.kind == "empty"] == ["split val"]


def test_a_spreadsheet_beside_videos_is_named_and_a_prior_needs_no_test(tmp_path):
    write_drive(tmp_path, "drive")
    (tmp_path / "drive.csv").rename(tmp_path / "drive.xlsx")
    found = check(Videos(str(tmp_path), divide="time", val_share=0.2, test_share=0), 1, False)
    assert [(f.level, f.kind) for f in found] == [("warning", "no table"), ("note", "actions")]
    assert "drive.xlsx: a spreadsheet's own format is not read" in found[0].text


def test_a_lag_that_may_be_none_is_no_agreement():
    spec = ActionSpec(("steering",), ("deg",), "command", "command", 10.0)
    found = judge(spec, Lag(0.55, -0.8, 0.8, 0.5, 0.4))
    assert (found.level, found.kind) == ("note", "alignment")
    assert found.text.startswith("too few turns to say what leads: ")


@pytest.mark.parametrize(
    ("frames", "latency", "kind", "words"),
    [
        (3.8, 0, "latency", "set latency_frames: 4 ("),
        (-0.6, 4, "alignment", "actions and pictures agree"),  # what 4 in place of 3.8 leaves
        (0.4, 3, "alignment", "actions and pictures agree"),
        (-0.6, 0, "shifted", "shift the labels by +1 rows"),
        (-2.1, 4, "shifted", "; set latency_frames: 2"),
        (-2.1, 1, "shifted", "; set latency_frames: 0 and shift the labels by +1 rows"),
    ],
)
def test_what_a_lag_of_commands_asks_for(frames, latency, kind, words):
    spec = ActionSpec(("steering",), ("deg",), "command", "command", 10.0)
    lag = Lag(frames / 10, frames / 10 - 0.02, frames / 10 + 0.02, 0.9, 0.8)
    found = judge(spec, lag, latency)
    assert found.kind == kind
    assert words in found.text
