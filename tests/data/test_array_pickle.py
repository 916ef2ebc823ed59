"""What is read out of a pickle, and that nothing else in it is run."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from egowm.data.array_pickle import read_array_pickle


class Hostile:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def written(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "a.pkl"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_arrays_and_containers(tmp_path: Path, protocol: int, package: str) -> None:
    """Both names of NumPy's inner modules, every protocol, also arrays in Fortran order."""
    arrays = [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.eye(3, 2)),
        np.arange(3, dtype=">i4"),
    ]
    value = {"a": arrays, "b": (1, {2, 3}, frozenset([4])), "c": np.float64(0.5), "d": b"\xff\0"}
    data = pickle.dumps(value, protocol)
    if protocol < 4:  # module names of these protocols carry no length, so they can be exchanged
        data = data.replace(b"numpy._core", package.encode())
    found = read_array_pickle(written(tmp_path, data))
    plain = pickle.loads(data)
    for array, expected in zip(found.pop("a"), plain.pop("a"), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
    assert found == plain == {k: v for k, v in value.items() if k != "a"}


def test_a_file_of_numpy_1_at_the_usual_protocol(tmp_path: Path) -> None:
    """Protocol 4 counts bytes: the old name is one shorter, so are its string and its frame."""
    data = pickle.dumps({"yaw": np.arange(3.0)}, 4)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    assert data.count(bytes([len(new)]) + new) == 1
    data = data.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
    frame = int.from_bytes(data[3:11], "little") - 1
    data = data[:3] + frame.to_bytes(8, "little") + data[11:]
    np.testing.assert_array_equal(read_array_pickle(written(tmp_path, data))["yaw"], [0, 1, 2])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_hostile_pickle_is_refused_before_it_runs(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    payload = {"position": np.zeros((2, 2)), "yaw": Hostile(made)}
    file = written(tmp_path, pickle.dumps(payload, protocol))
    name = r"a\.pkl: cannot be read \(it asks for (posix|nt)\.mkdir"
    with pytest.raises(ValueError, match=name):
        read_array_pickle(file)
    assert not made.exists()
    pickle.loads(file.read_bytes())  # the same file does run where nothing is refused
    assert made.is_dir()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "ndarray.tofile"),
        ("numpy._core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("os", "system"),
    ],
)
def test_other_names_are_refused_by_name(tmp_path: Path, module: str, name: str) -> None:
    text = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    file = written(tmp_path, b"\x80\x04" + text + b"\x93.")
    with pytest.raises(ValueError, match=rf"it asks for {module}\.{name}, and only NumPy"):
        read_array_pickle(file)


def test_other_classes_objects_and_encodings_are_refused(tmp_path: Path) -> None:
    for value in (collections.OrderedDict(a=1), Path("a"), np.random.default_rng(0)):
        with pytest.raises(ValueError, match="it asks for "):
            read_array_pickle(written(tmp_path, pickle.dumps(value)))
    encoded = b"c_codecs\nencode\n(Vabc\nVzlib\ntR."
    with pytest.raises(ValueError, match="expected bytes as latin1, got 'zlib'"):
        read_array_pickle(written(tmp_path, encoded))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = pickle.dumps({"position": np.zeros((9, 2))})
    for cut in range(len(whole)):
        with pytest.raises(ValueError, match=r"a\.pkl: cannot be read"):
            read_array_pickle(written(tmp_path, whole[:cut]))
    with pytest.raises(FileNotFoundError):
        read_array_pickle(tmp_path / "nothing.pkl")
