"""A video and a table for each episode."""

from pathlib import Path

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.data import VideoCSV, Window, csv_table
from egowm.video import write_frames, write_mp4

WINDOW = Window(context=2, horizon=2, stride=2, height=32, width=32)


def bars(numbers: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(numbers.astype(np.uint8)[:, None], axis=1).repeat(4, 1) * 255
    return np.ascontiguousarray(np.broadcast_to(bits[:, None, :, None], (len(bits), 32, 32, 3)))


def shown(frames: np.ndarray) -> list[int]:
    wide = frames[:, frames.shape[1] // 2, :, 0].reshape(len(frames), 8, -1).mean(-1) > 127
    return np.packbits(wide, axis=1)[:, 0].tolist()


def write_episode(root: Path, name: str, n: int = 12, separator: str = ",", **columns) -> Path:
    """At frame k: time k / 10, steering k / 100, speed 2, battery 100 - k."""
    k = np.arange(n)
    table = {"time [s]": k / 10, "steering": k / 100, "speed (m/s)": 2 + 0 * k, "battery": 100 - k}
    table |= columns
    root.mkdir(parents=True, exist_ok=True)
    lines = [
        separator.join(table),
        *(separator.join(map(str, row)) for row in zip(*table.values(), strict=True)),
    ]
    (root / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return root / f"{name}.csv"


def data(root: Path, **options) -> VideoCSV:
    return VideoCSV(str(root), WINDOW, val_share=0, test_share=0, **options)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("pictures", [True, False])
def test_row_k_belongs_to_frame_k(tmp_path, separator, pictures):
    write_episode(tmp_path, "run", separator=separator)
    frames = bars(np.arange(12))
    (
        write_frames(tmp_path / "run", frames)
        if pictures
        else write_mp4(tmp_path / "run.mp4", frames, 10)
    )
    found = data(tmp_path, actions=["steering", "speed"], states=["battery"])
    assert (found.meaning.names, found.meaning.units) == (("steering", "speed"), ("", "m/s"))
    assert (found.meaning.kind, found.meaning.rate_hz) == ("command", 10.0)
    (episode,) = found.split("train")
    assert shown(episode.read(range(12))) == list(range(12))
    np.testing.assert_allclose(episode.actions[:, 0], np.arange(11) / 100, atol=1e-7)
    np.testing.assert_allclose(episode.times, np.arange(12) / 10)
    clip = found.windows("train", tiled=True)[0]
    assert shown(clip.frames.permute(0, 2, 3, 1).numpy()) == [0, 2, 4, 6]
    np.testing.assert_allclose(clip.actions[:, 0], [0.025, 0.045], atol=1e-7)
    assert clip.state.tolist() == [98.0]


def test_all_columns_but_time_are_actions_unless_named(tmp_path):
    write_episode(tmp_path, "run")
    write_mp4(tmp_path / "run.mp4", bars(np.arange(12)), 10)
    assert data(tmp_path).meaning.names == ("steering", "speed", "battery")
    assert data(tmp_path, states=["speed"]).meaning.names == ("steering", "battery")


def test_poses_become_steps_in_the_body_frame(tmp_path):
    turn = np.linspace(0, np.pi / 2, 12)
    write_episode(tmp_path, "run", x=np.sin(turn), y=1 - np.cos(turn), yaw=turn)
    write_mp4(tmp_path / "run.mp4", bars(np.arange(12)), 10)
    found = data(tmp_path, kind="pose", actions=["x", "y", "yaw"])
    (episode,) = found.split("train")
    d = turn[1]
    expected = [np.sin(d), 1 - np.cos(d), d]  # every step of a circle is the same
    np.testing.assert_allclose(episode.actions, np.tile(expected, (11, 1)), atol=1e-6)
    assert (found.meaning.kind, found.meaning.frame) == ("se2", "body")
    with pytest.raises(ValueError, match="three action columns"):
        data(tmp_path, kind="pose", actions=["x", "y"])


def test_the_rate_is_asked_for_where_nothing_tells_it(tmp_path):
    (tmp_path / "run.csv").write_text("steering\n0.1\n0.2\n0.3\n")
    write_frames(tmp_path / "run", bars(np.arange(3)))
    with pytest.raises(
        ValueError, match=r"unknown\. Write rate_hz: HZ or time: NAME under .*: steering\.$"
    ):
        _ = data(tmp_path).meaning
    assert data(tmp_path, rate_hz=7.5).meaning.rate_hz == 7.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steering\n", "expected a header and rows"),
        ("steering,steering\n1,2\n3,4\n", "the header names a column twice"),
        ("time,steering\n0,1\n1\n", "row 1: 1 cell under a header of 2"),
        ("time,steering\n0,1\n1,\n", "row 1, column steering: expected a finite number, got ''"),
        ("time,steering\n0,1\n,\n1,1\n,\n", "row 1, column time: expected a finite number"),
        ("time;steering\n0,0;1\n0,1;1.234\n", r"numbers with a comma \('0,0'\) and with a point"),
        ('time,steering\n0,"1,5"\n', r"row 0, column steering: .* got '1,5' \(decimal commas are"),
        ("time\tsteering\n0\t1,234\n", "row 0, column steering: .* got '1,234'"),
        ("time,steering\n0,0,1,5\n", r"row 0: 4 cells under a header of 2 \(decimal commas are"),
        ("time,mode\n0,auto\n1,2\n", r"row 0, column mode: .* got 'auto' \(a column of text may"),
        ("time,mode\n0,auto\n", r"the column mode holds no numbers \('auto'\), .* in no other"),
        ("time,a,b,mode\n0,,1,\n", r"the column a is empty, .* numbers stand in b\. .*--actions"),
        ("time,steering\n0,nan\n", r"row 0, column steering: .* got 'nan'\. "),
        (",time,steering\n0,0,1\n", r"column 0 has no name in the header \(pandas writes "),
        ("time,steering\n0,1\n1,inf\n", "row 1, column steering: .* got 'inf'"),
        ("time\n0\n1\n", "no action columns"),
        ("time,steering\n0,1\n1,1\n", "2 rows for 12 pictures"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, words):
    write_frames(tmp_path / "run", bars(np.arange(12)))
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"run\.csv: {words}"):
        data(tmp_path, rate_hz=10).split("train")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("time [s];steering\r\n0,0;0,5\r\n0,1;-1,25\r\n0,2;2\r\n", "utf-8-sig"),
        ("time [s];steering\n0;0,5\n0,1;-1,25\n0,2;2E0\n;\n;\n", "utf-8"),
        ("time [s];steering;note\n0.0;0.5;off\n.1;-1.25;\n0.2;2;a,b\n", "utf-8"),
        ("time [s];steering;day\n0;0,5;4.5.26\n,1;-1,25;4.5.26\n,2;2,;4.5.26\n", "utf-8"),
        ("sep=;\r\ntime [s];steering\r\n0,0;0,5\r\n0,1;-1,25\r\n0,2;2\r\n", "utf-8-sig"),
        ('"sep=,"\ntime [s],steering\n0,0.5\n0.1,-1.25\n0.2,2\n', "utf-8"),
        (
            '"time [s]","steering","note"\n0,"0.5","slow, then fast"\n.1,-1.25,\n.2,2,\n,,\n',
            "utf-8",
        ),
        ("time [s]\tsteering\tnote\r\n0\t0.5\t10:31:07\r\n.1\t-1.25\t\r\n.2\t2\t", "utf-8"),
    ],
)
def test_tables_as_spreadsheets_export_them(tmp_path, text, encoding):
    write_frames(tmp_path / "run", bars(np.arange(3)))
    (tmp_path / "run.csv").write_bytes(text.encode(encoding))
    found = data(tmp_path, actions=["steering"])
    assert found.meaning.rate_hz == 10
    (episode,) = found.split("train")
    assert episode.actions.tolist() == [[0.5], [-1.25]]
    np.testing.assert_allclose(episode.times, [0, 0.1, 0.2])


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_is_named(tmp_path, encoding):
    (tmp_path / "run.csv").write_bytes("time,yaw [°]\n0,1\n1,2\n".encode(encoding))
    with pytest.raises(ValueError, match=r"run\.csv: not a text file in UTF-8 .*`CSV UTF-8`"):
        _ = data(tmp_path).meaning


def test_a_video_of_nearly_the_table_s_name_is_asked_about(tmp_path):
    write_episode(tmp_path, "Lap 1")
    for name in ("lap_1.MP4", "other.mp4"):
        write_mp4(tmp_path / name.lower(), bars(np.arange(12)), 10)
        (tmp_path / name.lower()).rename(tmp_path / name)
    with pytest.raises(ValueError, match=r"beside it, got none, perhaps lap_1\.MP4 is meant: each"):
        data(tmp_path).split("train")


def test_missing_parts(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"looked for .*\*\.csv"):
        data(tmp_path).split("train")
    write_episode(tmp_path, "run")
    with pytest.raises(
        ValueError, match=r"one video run\.mp4 or one folder run/ .* a table of its own"
    ):
        data(tmp_path).split("train")
    write_mp4(tmp_path / "run.mp4", bars(np.arange(12)), 10)
    with pytest.raises(ValueError, match="no column 'gas'; the header has time, steering"):
        data(tmp_path, actions=["gas"]).split("train")


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        *[("", 1), ("s", 1), ("S", 1), ("sec.", 1), ("seconds", 1), ("ms", 1e3), ("us", 1e6)],
        *[("\u00b5s", 1e6), ("\u03bcs", 1e6), ("ns", 1e9), ("min", 1 / 60)],
    ],
)
def test_times_are_read_in_the_unit_of_their_header(tmp_path, unit, scale):
    file = write_episode(tmp_path, "run")
    head, *rows = file.read_text(encoding="utf-8-sig").splitlines()
    times = [f"{k / 10 * scale:.9g},{row.partition(',')[2]}" for k, row in enumerate(rows)]
    head = head.replace("time [s]", f"time [{unit}]" if unit else "time")
    file.write_text("\n".join([head, *times]))
    write_mp4(tmp_path / "run.mp4", bars(np.arange(12)), 10)
    found = data(tmp_path, actions=["speed"])
    assert found.meaning.rate_hz == 10
    (episode,) = found.split("train")
    np.testing.assert_allclose(episode.times, np.arange(12) / 10, atol=1e-9)


def test_a_unit_that_nobody_knows_is_refused(tmp_path):
    file = write_episode(tmp_path, "run")
    file.write_text(file.read_text(encoding="utf-8-sig").replace("time [s]", "time [fortnights]"))
    write_mp4(tmp_path / "run.mp4", bars(np.arange(12)), 10)
    with pytest.raises(ValueError, match=r"column time: expected a unit of s, ms.*'fortnights'"):
        _ = data(tmp_path, actions=["speed"]).meaning


def test_poses_in_centimetres_and_degrees_are_those_in_metres_and_radians(tmp_path):
    k = np.arange(12)
    steps = []
    for name, metre, turn, units in (
        ("plain", 1, 1, ("x", "y", "yaw")),
        ("units", 100, 180 / np.pi, ("x [cm]", "y [cm]", "yaw [deg]")),
    ):
        columns = dict(
            zip(units, (0.1 * k * metre, 0.02 * k**2 * metre, 0.05 * k * turn), strict=True)
        )
        write_episode(tmp_path / name, "run", **columns)
        write_mp4(tmp_path / name / "run.mp4", bars(k), 10)
        found = data(tmp_path / name, actions=["x", "y", "yaw"], kind="pose")
        assert found.meaning.units == ("m", "m", "rad")
        steps.append(found.split("train")[0].actions)
    np.testing.assert_allclose(steps[1], steps[0], atol=1e-5)


@pytest.mark.parametrize("ending", [".mp4", ".MP4", ".mov", ".MOV", ".m4v", ".M4V"])
def test_videos_as_cameras_name_them(tmp_path, ending):
    write_episode(tmp_path, "GX010042")
    write_mp4(tmp_path / "GX010042.mp4", bars(np.arange(12)), 10)
    (tmp_path / "GX010042.mp4").rename(tmp_path / f"GX010042{ending}")
    if ending.isupper():
        (tmp_path / "GX010042.csv").rename(tmp_path / "GX010042.CSV")
    (episode,) = data(tmp_path, actions=["speed"]).split("train")
    assert shown(episode.read(range(12))) == list(range(12))


def test_labels_are_read_where_no_home_is_known(tmp_path, monkeypatch):
    """As in a container of an unknown user; they are not kept then."""
    monkeypatch.setattr("egowm.data.label_index.FEWEST", 2)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        write_episode(tmp_path / "set", name)
        write_mp4(tmp_path / "set" / f"{name}.mp4", bars(np.arange(12)), 10)
    assert len(data(tmp_path / "set", actions=["speed"]).split("train")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_cell_without_an_end_is_one_line(tmp_path):
    write_episode(tmp_path, "run")
    write_mp4(tmp_path / "run.mp4", bars(np.arange(12)), 10)
    (tmp_path / "run.csv").write_text("time,speed\n0,1\n0.1," + "1" * 200_000)
    with pytest.raises(ValueError, match=r"run\.csv: not a table \(field larger"):
        data(tmp_path, actions=["speed"], rate_hz=10).split("train")


@pytest.mark.parametrize("column", ["speed", "battery"])
@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("m/s", "m/s", True),
        ("m/s", "metres/second", True),
        ("%", "%", True),
        ("", "", True),
        ("m/s", "cm/s", False),
        ("m/s", "", False),
        ("", "m/s", False),
        ("V", "mV", False),
        ("V", "v", False),
        ("deg/s", "rad/s", False),
    ],
)
def test_tables_of_other_units_are_refused(tmp_path, column, first, second, same):
    for name, unit in (("a", first), ("b", second)):
        file = write_episode(tmp_path, name)
        text = file.read_text(encoding="utf-8-sig").replace("speed (m/s)", "speed")
        file.write_text(text.replace(column, f"{column} [{unit}]" if unit else column, 1))
        write_frames(tmp_path / name, bars(np.arange(12)))
    found = data(tmp_path, actions=["steering", "speed"], states=["battery"])
    if same:
        assert len(found.split("train")) == 2
        return
    with pytest.raises(ValueError, match=rf"b\.csv: column {column}: its unit is .* in a\.csv"):
        found.split("train")
    loose = data(tmp_path, actions=["steering"], skip_corrupt=True)
    assert len(loose.split("train")) == 2  # a column that is not read may be in any unit


def test_poses_of_other_units_are_converted_each(tmp_path):
    for name, unit, scale in (("a", "m", 1), ("b", "cm", 100)):
        write_episode(
            tmp_path,
            name,
            **{f"x [{unit}]": scale * np.arange(12), "y": np.zeros(12), "yaw": np.zeros(12)},
        )
        write_frames(tmp_path / name, bars(np.arange(12)))
    for episode in data(tmp_path, kind="pose", actions=["x", "y", "yaw"]).split("train"):
        np.testing.assert_allclose(episode.actions[:, 0], np.ones(11), atol=1e-6)


def test_a_table_is_read_once(tmp_path, monkeypatch):
    write_episode(tmp_path, "run", x=np.arange(12), y=np.zeros(12), yaw=np.zeros(12))
    write_frames(tmp_path / "run", bars(np.arange(12)))
    found = data(tmp_path, kind="pose", actions=["x", "y", "yaw"], rate_hz=10.0)
    _ = found.meaning, found._first
    calls = []
    real = csv_table.text_of
    monkeypatch.setattr(csv_table, "text_of", lambda file: calls.append(file) or real(file))
    found.split("train")
    assert len(calls) == 1


@pytest.mark.parametrize("rows", ["0,nan,0,0\n", "0,1,0,0\n?,1,0,0\n"], ids=["number", "time"])
def test_the_first_table_may_be_the_corrupt_one(tmp_path, rows):
    for name in ("a", "b"):
        write_episode(tmp_path, name)
        write_frames(tmp_path / name, bars(np.arange(12)))
    (tmp_path / "a.csv").write_text("time,steering,speed,battery\n" + rows)
    found = data(tmp_path, skip_corrupt=True)
    assert (found.meaning.rate_hz, found.meaning.units) == (10, ("", "m/s", ""))
    assert [episode.name for episode in found.split("train")] == ["b"]


def test_columns_that_look_like_a_pose_are_asked_about(tmp_path, capsys):
    turn = np.linspace(0, np.pi / 2, 12)
    write_episode(tmp_path, "run", x=np.sin(turn), y=1 - np.cos(turn), yaw=turn)
    write_mp4(tmp_path / "run.mp4", bars(np.arange(12)), 10)
    for columns in (None, ["x", "y", "yaw"]):
        with pytest.raises(
            ValueError, match=r"x, y, yaw look like a pose .* kind: pose .* kind: c"
        ):
            data(tmp_path, actions=columns).split("train")
    assert data(tmp_path, actions=["steering"]).meaning.names == ("steering",)
    assert data(tmp_path, actions=["x", "y", "yaw"], kind="command").meaning.kind == "command"
    steps = [
        data(tmp_path, kind="pose", actions=a).split("train")[0].actions for a in (columns, None)
    ]
    np.testing.assert_array_equal(*steps)
    assert cli.main(["data", "check", str(tmp_path)]) == 2
    assert "--kind pose" in capsys.readouterr().err
    cli.main(["data", "check", str(tmp_path), "--kind", "pose"])
    assert "actions dx, dy, dyaw" in capsys.readouterr().out


@pytest.mark.parametrize("head", ["Time (ms)", "TIME [ms]"])
def test_the_column_of_times_may_have_capitals(tmp_path, head):
    file = write_episode(tmp_path, "run", **{head: 100 * np.arange(12)})
    file.write_text(file.read_text(encoding="utf-8-sig").replace("time [s]", "clock"))
    write_frames(tmp_path / "run", bars(np.arange(12)))
    found = data(tmp_path)
    assert found.meaning.names == ("clock", "steering", "speed", "battery")
    np.testing.assert_allclose(found.split("train")[0].times, np.arange(12) / 10, atol=1e-12)


def test_two_columns_that_may_be_the_times_are_named(tmp_path):
    write_episode(tmp_path, "run", Time=np.arange(12), TIME=np.arange(12))
    file = tmp_path / "run.csv"
    file.write_text(file.read_text(encoding="utf-8-sig").replace("time [s]", "stamp [s]"))
    with pytest.raises(ValueError, match=r"several columns may be the times, 'Time' and 'TIME', s"):
        _ = data(tmp_path, actions=["speed"]).meaning
    assert data(tmp_path, actions=["speed"], time="TIME").meaning.rate_hz == 1


def test_without_times_the_columns_that_rise_are_named(tmp_path):
    file = write_episode(tmp_path, "run", note=["a"] * 12)
    whole = file.read_text(encoding="utf-8-sig")
    file.write_text(whole.replace("time [s]", "stamp [s]"))
    wanted = r"no column 'time', so .* time: NAME .* rise from row to row: stamp, steering\.$"
    with pytest.raises(ValueError, match=wanted):
        _ = data(tmp_path, actions=["speed"]).meaning
    assert data(tmp_path, actions=["speed"], time="stamp").meaning.rate_hz == 10
    with pytest.raises(ValueError, match="'battery' does not rise, so the rate"):
        _ = data(tmp_path, actions=["speed"], time="battery").meaning
    write_episode(tmp_path, "run", n=1)
    with pytest.raises(ValueError, match=r"'time' has one row, so .* No column of it rises"):
        _ = data(tmp_path).meaning


def test_a_column_that_is_misspelt_is_no_broken_table(tmp_path):
    write_episode(tmp_path, "run")
    with pytest.raises(ValueError, match="no column 'Steering', perhaps 'steering' is meant; the "):
        _ = data(tmp_path, actions=["Steering"]).meaning
    write_frames(tmp_path / "run", bars(np.arange(12)))
    with pytest.raises(ValueError, match=r"no column 'volt'; .* name its columns in `states`, "):
        data(tmp_path, actions=["speed"], states=["volt"]).split("train")


def test_times_of_day_are_named(tmp_path):
    write_episode(tmp_path, "run", **{"time [s]": [f"12:00:{k:02d}.5" for k in range(12)]})
    write_frames(tmp_path / "run", bars(np.arange(12)))
    with pytest.raises(ValueError, match=r"row 0, column time: '12:00:00\.5' is a time of day; w"):
        data(tmp_path).split("train")


def test_spreadsheets_are_named(tmp_path):
    for name in ("b.xlsx", "a.ods", "~$b.xlsx"):  # the last while Excel has it open
        (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"found none\. a\.ods and 1 other: a spread"):
        data(tmp_path).split("train")
