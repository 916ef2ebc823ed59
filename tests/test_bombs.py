"""Files that claim more than memory holds, and what is no file: one line, soon, in little memory.

Every file is read in a process of its own, which may take 2 GiB more than it has.
"""

import io
import json
import os
import pickle
import resource
import socket
import struct
import traceback
import zlib
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy._core.multiarray import _reconstruct
from PIL import Image

from egowm.commands.main import guarded
from egowm.limits import BYTES, PIXELS, RECIPE, TEXT
from egowm.video_file import VideoError
from tests.forks import forks

ALLOWED = 2 << 30  # bytes of address space that reading may take
GROWN = 300 << 20  # bytes of memory that it may use
SECONDS = 10
HUGE = 65_535


class Bomb(NamedTuple):
    """make: the content of a file. reader: of `READERS`. option: the limit that it goes beyond;
    "" where it is refused as damaged. most: the limit that is set; 0: as it is."""

    make: Callable[[], bytes]
    reader: str
    option: str = ""
    most: int = 0


def png(mode: int) -> bytes:
    """mode: 2 for RGB, 3 for a palette."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    about = struct.pack(">IIBBBBB", HUGE, HUGE, 8, mode, 0, 0, 0)
    parts = (b"IHDR", about), (b"PLTE", bytes(768)), (b"IDAT", b""), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def picture(kind: str, place: int, form: str, **how: Any) -> Callable[[], bytes]:
    """A small picture whose header is written over at a place."""

    def make() -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (16, 16)).save(out, kind, **how)
        data = bytearray(out.getvalue())
        at = data.index(b"\xff\xc0") + 5 if kind == "JPEG" else place
        struct.pack_into(form, data, at, HUGE, HUGE)
        return bytes(data)

    return make


def tiff() -> bytes:
    tags = {256: HUGE, 257: HUGE, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: HUGE, 279: 1}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4)


def video(size: int) -> Callable[[], bytes]:
    """A video whose header claims another size."""

    def make() -> bytes:
        import av

        out = io.BytesIO()
        with av.open(out, "w", format="avi") as file:
            stream: Any = file.add_stream("rawvideo", rate=10)
            stream.width, stream.height, stream.pix_fmt = 144, 112, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((112, 144, 3), np.uint8), "rgb24")
            file.mux([*stream.encode(frame), *stream.encode()])
        return out.getvalue().replace(struct.pack("<II", 144, 112), struct.pack("<II", size, size))

    return make


def npy(shape: tuple[int, ...], data: bytes = b"", dtype: str = "|b1") -> bytes:
    out = io.BytesIO()
    about = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, about)
    return out.getvalue() + data


def npz(**members: bytes) -> bytes:
    from zipfile import ZIP_DEFLATED, ZipFile

    out = io.BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


def claimed_npz() -> bytes:
    """A member whose directory entry claims all that its header claims."""
    content = npy((4, 1, 30_000, 30_000))
    data = npz(masks=content)
    wrong = struct.pack("<I", len(content) + 4 * 30_000**2)
    return data.replace(struct.pack("<I", len(content)), wrong)


def codes(counts: Any, frames: int = 1) -> bytes:
    code = {"size": [HUGE, HUGE], "counts": counts}
    return json.dumps({"masklet": [[code]] * frames}).encode()


def long_digit() -> bytes:
    """One run of which every digit says that more follow."""
    return json.dumps({"masklet": [[{"size": [9, 9], "counts": "o" * 2_000_000}]]}).encode()


class Program:
    """A pickle that calls what it names."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def labels_pickle(value: Any) -> Callable[[], bytes]:
    return lambda: pickle.dumps({"position": value, "yaw": np.zeros(3)})


def parquet(rows: int, column: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        import pyarrow as pa
        from pyarrow.parquet import write_table

        out = io.BytesIO()
        same = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [column])
        write_table(pa.table({"a": same if isinstance(column, str) else [column] * rows}), out)
        return out.getvalue()

    return make


def hdf5(position: tuple[int, ...], piece: int = 1) -> Callable[[], bytes]:
    def make() -> bytes:
        import h5py

        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            many = {"chunks": (piece,), "compression": "gzip"}
            file.create_dataset("images/rgb_left", (3 * piece,), "S8", **many)
            file.create_dataset("jackal/position", position, "f8", chunks=(1, 3))
            file["jackal/yaw"] = np.zeros(3)
        return out.getvalue()

    return make


def laughs(levels: int = 12) -> bytes:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join(rows).encode()


def read_shard(file: Path) -> None:
    from egowm.training.latents.shards import damage

    if found := damage(file, "key"):
        raise VideoError(f"{found.file}: {found.what}")


def read_masks(file: Path) -> Any:
    from egowm.scs.masks import read_masks

    return read_masks(file)


def read_columns(file: Path) -> Any:
    from egowm.data.parquet import read_columns

    return read_columns(file, ["a"])


def read_recon(file: Path) -> Any:
    from egowm.data import recon

    recon.read_episode(file, "rgb_left")
    return recon.read_frames(file, "rgb_left", [0])


def fit(file: Path) -> Any:
    from egowm.commands.fit import main

    return main(["fit", "-c", str(file)])


def read_with(name: str, *more: Any) -> Callable[[Path], Any]:
    """A function by its dotted name, which the process of the reader imports."""

    def read(file: Path) -> Any:
        from importlib import import_module

        module, _, function = name.rpartition(".")
        return getattr(import_module(module), function)(file, *more)

    return read


def of_folder(name: str) -> Callable[[Path], Any]:
    """As `read_with`, of the folder that the file lies in."""
    return lambda file: read_with(name)(file.parent)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "picture": ("p.png", read_with("egowm.video.read_image")),
    "size": ("p.png", read_with("egowm.scs.clips._picture_size")),
    "palette": ("m.png", read_masks),
    "video": ("v.mp4", read_with("egowm.video.read_frames", [0])),
    "masks npz": ("m.npz", read_masks),
    "masks json": ("m.json", read_masks),
    "prompts": ("p.json", read_with("egowm.scs.annotation.prompts.read_prompts")),
    "scores": ("scs.json", read_with("egowm.commands.scs.score.read_trajectories")),
    "actions": ("a.npy", read_with("egowm.arrays.read_npy")),
    "room": ("labels.npz", of_folder("egowm.worlds.store.read_labels")),
    "pack": ("pack.json", of_folder("egowm.data.packed.read_index")),
    "cache": (
        "cache.json",
        of_folder("egowm.training.latents.cache.LatentCache"),
    ),
    "shard": ("00000.safetensors", read_shard),
    "pickle": ("traj_data.pkl", read_with("egowm.data.array_pickle.read_array_pickle")),
    "parquet": ("e.parquet", read_columns),
    "hdf5": ("e.hdf5", read_recon),
    "recipe": ("r.yaml", read_with("egowm.recipe.open_recipe")),
    "fit": ("r.yaml", fit),
    "bag": (
        "metadata.yaml",
        of_folder("egowm.data.convert.ros_bag._check_names"),
    ),
}

DEEP = b"[" * 100_000
BOMBS = {
    "png": Bomb(lambda: png(2), "picture", PIXELS),
    "png, its size alone": Bomb(lambda: png(2), "size", PIXELS),
    "palette png": Bomb(lambda: png(3), "palette", PIXELS),
    "palette png as a picture": Bomb(lambda: png(3), "picture", PIXELS),
    "jpeg": Bomb(picture("JPEG", 0, ">HH"), "picture", PIXELS),
    "webp": Bomb(picture("WEBP", 26, "<HH"), "picture", PIXELS),
    "webp without loss": Bomb(picture("WEBP", 21, "<HH", lossless=True), "picture", PIXELS),
    "webp of several parts": Bomb(picture("WEBP", 24, "<HI", save_all=True, append_images=[
        Image.new("RGB", (16, 16), "red")]), "picture", PIXELS),
    "bmp": Bomb(picture("BMP", 18, "<ii"), "picture", PIXELS),
    "gif": Bomb(picture("GIF", 6, "<HH"), "picture", PIXELS),
    "tiff": Bomb(tiff, "picture", PIXELS),
    "video": Bomb(video(12_000), "video", PIXELS),
    "video that no decoder takes": Bomb(video(100_000), "video"),
    "npz of terabytes": Bomb(lambda: npz(masks=npy((10**6, 1, 10**4, 10**4))), "masks npz"),
    "npz that inflates": Bomb(lambda: npz(masks=npy((1, 4, 999, 999), bytes(4 * 999**2))),
                              "masks npz", BYTES, 1 << 20),
    "npz whose list claims": Bomb(claimed_npz, "masks npz", BYTES),
    "room labels": Bomb(lambda: npz(realised=npy((10**12,))), "room"),
    "npy of terabytes": Bomb(lambda: npy((10**12,)), "actions"),
    "run lengths in text": Bomb(lambda: codes("0" * 99), "masks json", BYTES),
    "run lengths in numbers": Bomb(lambda: codes([HUGE**2]), "masks json", BYTES),
    "run lengths of many frames": Bomb(lambda: codes([HUGE**2], 1000), "masks json", BYTES),
    "run length of a million digits": Bomb(long_digit, "masks json"),
    "run lengths, infinite": Bomb(lambda: b'{"masklet":[[{"size":[9,9],"counts":[Infinity]}]]}',
                                  "masks json"),
    "run lengths, none": Bomb(lambda: b'{"masklet":[[{"size":[9,9]}]]}', "masks json"),
    "pickle of an array": Bomb(labels_pickle(Program(np.ndarray, ((10**9,),))), "pickle"),
    "pickle with a far place": Bomb(lambda: b"\x80\x04]r\0\0\0\x80.", "pickle"),
    "pickle of a long text": Bomb(lambda: b"\x80\x04\x8d" + struct.pack("<Q", 10**12), "pickle"),
    "parquet of equal numbers": Bomb(parquet(200_000, 7), "parquet", BYTES, 1 << 20),
    "hdf5 of zeros": Bomb(hdf5((10**12, 3)), "hdf5", BYTES),
    "hdf5 with a large piece": Bomb(hdf5((3, 3), 400_000_000), "hdf5", BYTES),
    "safetensors header": Bomb(lambda: struct.pack("<Q", 2**62), "shard"),
    "safetensors shape": Bomb(lambda: struct.pack("<Q", 80) + json.dumps(
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}
    ).encode().ljust(80), "shard"),
    "yaml aliases": Bomb(laughs, "recipe", RECIPE),
    "yaml aliases in fit": Bomb(laughs, "fit", RECIPE),
    "yaml aliases in a bag": Bomb(laughs, "bag", RECIPE),
    "yaml alias of itself": Bomb(lambda: b"a: &a [*a, *a]", "recipe"),
    "yaml alias of itself in fit": Bomb(lambda: b"a: &a [*a, *a]", "fit"),
    "yaml, deep": Bomb(lambda: DEEP, "recipe"),
    "yaml, deep, in fit": Bomb(lambda: DEEP, "fit"),
    "yaml, deep, in a bag": Bomb(lambda: DEEP, "bag"),
}  # fmt: skip
JSON = ("masks json", "prompts", "scores", "pack", "cache")
BOMBS |= {f"deep json: {reader}": Bomb(lambda: DEEP, reader) for reader in JSON}
SPARSE = dict.fromkeys(JSON, TEXT) | {"recipe": RECIPE, "fit": RECIPE, "bag": RECIPE}
SPARSE |= dict.fromkeys(("picture", "palette", "pickle", "actions"), BYTES)


class Child:
    """A process that reads files one after the other; another follows one that hangs or dies."""

    def __init__(self) -> None:
        self.process: Any = None

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def __call__(self, reader: str, file: Path, option: str = "", most: int = 0) -> str:
        """What a command that reads a file tells; "" where it reads it."""
        if self.process is None:
            self.pipe, other = forks().Pipe()
            self.process = forks().Process(target=_serve, args=(other,))
            self.process.start()
            other.close()
        self.pipe.send((reader, file, option, most))
        try:
            assert self.pipe.poll(SECONDS), f"{reader} takes more than {SECONDS} s"
            status, told, grown = self.pipe.recv()
        except BaseException:
            self.end()
            raise
        assert grown < GROWN, f"{reader} took {grown >> 20} MiB"
        assert status == (2 if told else 0), told
        assert told.count("\n") == (1 if told else 0), told
        return str(told)


def _serve(asking: Connection) -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ALLOWED, resource.RLIM_INFINITY))
    while True:
        reader, file, option, most = asking.recv()
        os.environ |= {option: str(most)} if most else {}
        errors = os.memfd_create("stderr")
        os.dup2(errors, 2)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status = _status(reader, file)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        asking.send((status, os.pread(errors, 1 << 16, 0).decode(), grown))
        os.close(errors)
        os.environ.pop(option, None)


def _status(reader: str, file: Path) -> int:
    try:
        return guarded("egowm", lambda: (READERS[reader][1](file), 0)[1])
    except BaseException:
        traceback.print_exc()
        return 1


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.end()


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(child: Child, name: str, tmp_path: Path) -> None:
    bomb = BOMBS[name]
    file = tmp_path / READERS[bomb.reader][0]
    file.write_bytes(bomb.make())
    told = child(bomb.reader, file, bomb.option, bomb.most)
    assert str(file) in told
    if bomb.option:
        assert f"{bomb.option}=" in told
        assert "the limit is" in told


@pytest.mark.parametrize("reader", SPARSE)
def test_files_of_many_bytes(child: Child, reader: str, tmp_path: Path) -> None:
    file = tmp_path / READERS[reader][0]
    file.touch()
    os.truncate(file, 100 << 30)
    told = child(reader, file)
    assert f"{file}: claims 107,374,182,400 bytes, the limit is" in told
    assert f"{SPARSE[reader]}=107374182400 lets it through" in told


@pytest.mark.parametrize(
    ("reader", "make"),
    [
        ("parquet", parquet(10_000, "x" * 1_000_000)),
        ("pickle", labels_pickle(Program(_reconstruct, (np.ndarray, (10**12,), b"b")))),
    ],
)
def test_what_is_read_in_little_memory(
    child: Child, tmp_path: Path, reader: str, make: Any
) -> None:
    file = tmp_path / READERS[reader][0]
    file.write_bytes(make())
    assert child(reader, file) == ""


def pipe(place: Path) -> None:
    os.mkfifo(place)


def listening(place: Path) -> None:
    here = os.getcwd()
    os.chdir(place.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(place.name)
    os.chdir(here)


def device(place: Path) -> None:
    place.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, listening, device, Path.mkdir])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file(
    child: Child, reader: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / READERS[reader][0]
    make(file)
    told = child(reader, file)
    assert str(file.parent if reader in ("pack", "cache") else file) in told


def test_a_limit_is_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from egowm.video import read_image, write_image

    file = tmp_path / "a.png"
    write_image(file, np.ones((20, 20, 3), np.uint8))
    monkeypatch.setenv(PIXELS, "399")
    with pytest.raises(ValueError, match=r"a.png: claims 400 pixels, the limit is 399.*=400 lets"):
        read_image(file)
    monkeypatch.setenv(PIXELS, "400")
    assert read_image(file).shape == (20, 20, 3)
    monkeypatch.setenv(PIXELS, "many")
    with pytest.raises(ValueError, match="EGOWM_MAX_PIXELS: expected a whole number, got 'many'"):
        read_image(file)
