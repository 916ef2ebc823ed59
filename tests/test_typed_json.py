from typing import Any, Required, TypedDict

import pytest

from egowm.typed_json import RecordError, faults, read_json


class Part(TypedDict):
    name: str


class Record(TypedDict, total=False):
    count: Required[int]
    share: float | None
    ends: tuple[float, float] | None
    parts: list[Part]
    at: dict[int, float | None]
    free: dict[str, Any]
    either: Part | float | None


GOOD = {
    "count": 3,
    "share": 1,
    "ends": [0.5, 2],
    "parts": [{"name": "a", "more": [1]}],
    "at": {"4": None, "8": 0.5},
    "free": {"x": [1, {"y": None}]},
    "either": {"name": "b"},
    "unknown": "x",
}


@pytest.mark.parametrize(
    "changes",
    [{}, {"share": None, "ends": None}, {"either": 2.5}, {"either": None}, {"parts": []}],
)
def test_what_fits(changes):
    assert list(faults(GOOD | changes, Record)) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"count": "3"}, "count: expected a whole number, got '3'"),
        ({"count": 3.0}, "count: expected a whole number, got 3.0"),
        ({"count": True}, "count: expected a whole number, got True"),
        ({"count": None}, "count: expected a whole number, got None"),
        ({"share": False}, "share: expected a number or null, got False"),
        ({"ends": [1]}, "ends: expected 2 values, got 1"),
        ({"ends": [1, "2"]}, "ends[1]: expected a number, got '2'"),
        ({"ends": {}}, "ends: expected a list or null, got {}"),
        ({"parts": [{"name": "a"}, {}]}, "parts[1].name: missing"),
        ({"parts": [{"name": 1}]}, "parts[0].name: expected a text, got 1"),
        ({"parts": {"name": "a"}}, "parts: expected a list, got {'name': 'a'}"),
        ({"at": {"x": 1}}, "at: expected whole numbers as keys, got 'x'"),
        ({"at": {"4": []}}, "at.4: expected a number or null, got []"),
        ({"free": 1}, "free: expected a mapping, got 1"),
        (
            {"either": "x" * 60},
            f"either: expected a mapping or a number or null, got '{'x' * 36}...",
        ),
        ({"either": {"name": []}}, "either.name: expected a text, got []"),
    ],
)
def test_what_does_not_fit_is_named(changes, fault):
    assert list(faults(GOOD | changes, Record)) == [fault]


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (tuple[str, int], ["a", 1], []),
        (tuple[str, int], [1, "a"], ["[0]: expected a text, got 1",
                                     "[1]: expected a whole number, got 'a'"]),
        (tuple[str, int], ["a"], [": expected 2 values, got 1"]),
        (tuple[int, ...], [], []),
        (tuple[int, ...], [1, 2, 3], []),
        (tuple[int, ...], [1, "a"], ["[1]: expected a whole number, got 'a'"]),
        (tuple[()], [1], [": expected 0 values, got 1"]),
    ],
)  # fmt: skip
def test_tuples_have_a_type_for_each_place_or_one_for_all(kind, value, found):
    assert list(faults(value, kind)) == found


def test_missing_keys_may_be_let_through():
    assert list(faults({}, Record)) == ["count: missing"]
    assert list(faults({"parts": [{}]}, Record, partial=True)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff", "not JSON"),
        ("[]", r"all of it: expected a mapping, got \[\]"),
        ('{"count": "\\n"}', "count: expected a whole number"),
        ('{"count": 1, "at": {"4": NaN}}', "at.4: expected a number or null, got nan"),
        ('{"count": 1, "at": {"4": 1e999}}', "at.4: expected a number or null, got inf"),
    ],
)
def test_errors_are_one_line_with_the_file(tmp_path, text, message):
    file = tmp_path / "a.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecordError, match=rf"a\.json: expected a record; {message}") as caught:
        read_json(file, Record, "a record")
    assert len(str(caught.value).splitlines()) == 1


def test_what_fits_is_returned(tmp_path):
    (tmp_path / "a.json").write_text('{"count": 3}')
    assert read_json(tmp_path / "a.json", Record, "a record") == {"count": 3}


@pytest.mark.parametrize(("kind", "value"), [(float, 10**400), (str, "\ud800")])
def test_what_cannot_be_written_again_is_refused(kind, value):
    assert len(list(faults({"a": value}, dict[str, kind]))) == 1
    assert list(faults({"a": kind()}, dict[str, kind])) == []
