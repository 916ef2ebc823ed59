"""A process that is killed, or told of a fault, at any one of its system calls that write.

A copy of this process runs a function under `ptrace`. A filter of the kernel stops it at calls that
create, write, cut, rename, remove or link files below one folder, whoever makes them: Python,
HDF5, FFmpeg, safetensors. Linux on x86-64.
"""

import ctypes
import errno
import os
import pickle
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 60  # after which a child that hangs is ended
PAUSE = 2  # seconds, after which another that has not ended waits for something
TRACEME, CONTINUE, GETREGS, SETREGS, UNTIL_RETURN, OPTIONS = 0, 7, 12, 13, 24, 0x4200
FOLLOW = 0x100000 | 0x80 | 0x0F  # end with the tracer, stop at the filter, follow children
OF_FILTER, ALL_CHILDREN = 7, 0x40000000
RAX, ORIG_RAX, ARGUMENTS = 10, 15, (14, 13, 12, 7, 9, 8)  # places in the kernel's registers


class Kind(NamedTuple):
    """A system call: number and, counted from 0, arguments with a descriptor, a path, a size, and
    flags with the bits that mean writing."""

    number: int
    place: int | None = None
    path: int | None = None
    size: int | None = None
    flags: tuple[int, int] | None = None


WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
KINDS = {
    "openat": Kind(257, 0, 1, flags=(2, WRITES)),
    "write": Kind(1, 0, size=2),
    "pwrite": Kind(18, 0, size=2),
    "writev": Kind(20, 0),
    "pwritev": Kind(296, 0),
    "sendfile": Kind(40, 0, size=3),
    "copy_file_range": Kind(326, 2, size=4),
    "mmap": Kind(9, 4, flags=(3, 1)),
    "msync": Kind(26),
    "fallocate": Kind(285, 0, size=3),
    "ftruncate": Kind(77, 0),
    "truncate": Kind(76, path=0),
    "fsync": Kind(74, 0),
    "fdatasync": Kind(75, 0),
    "rename": Kind(82, path=0),
    "renameat": Kind(264, 0, 1),
    "renameat2": Kind(316, 0, 1),
    "mkdir": Kind(83, path=0),
    "mkdirat": Kind(258, 0, 1),
    "rmdir": Kind(84, path=0),
    "unlink": Kind(87, path=0),
    "unlinkat": Kind(263, 0, 1),
    "link": Kind(86, path=1),
    "linkat": Kind(265, 2, 3),
    "symlink": Kind(88, path=1),
    "symlinkat": Kind(266, 1, 2),
    "chmod": Kind(90, path=0),
    "fchmod": Kind(91, 0),
    "fchmodat": Kind(268, 0, 1),
    "utimensat": Kind(280, 0, 1),
}
NAMES = {kind.number: name for name, kind in KINDS.items()}
GROWS = {"write", "pwrite", "writev", "pwritev", "sendfile", "copy_file_range", "fallocate"}
CREATES = {"openat", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat"}
SYNCS = {"fsync", "fdatasync", "msync"}


class Call(NamedTuple):
    """One that writes. size: bytes, where it says."""

    name: str
    path: str
    size: int


class Fault(NamedTuple):
    """What happens at a call.

    at: its number, from 1. kind: "kill" before it, "tear": write half and be killed, "pause" while
    something else runs, or an error's number, told by this call and those of the same names after
    it. names: the calls that meet the error. space: bytes that fit; then the disk is full.
    """

    at: int = 0
    kind: str | int = "kill"
    names: frozenset[str] = frozenset(KINDS)
    space: int | None = None


class Ended(NamedTuple):
    """How a process ended. value: of its function, None where it was killed. other: the value of
    what ran in the pause."""

    killed: bool
    calls: list[Call]
    value: Any
    other: Any = None


def in_copy(function: Callable[[], Any]) -> Any:
    """Run in a copy of this process; the value. Without threads here, all of it is there."""
    process, reading = _copy(function)
    value = _received(reading)
    os.waitpid(process, 0)
    assert value is not None, "the process ended before it told anything"
    return value[0]


def traced(
    function: Callable[[], Any],
    root: Path,
    fault: Fault | None = None,
    meanwhile: Callable[[], Any] = lambda: None,
) -> Ended:
    """Run in a copy of this process that meets a fault. meanwhile: runs in another copy during a
    pause, which ends when it has ended or waits for the first."""
    process, reading = _copy(lambda: _obey(function))
    os.waitpid(process, 0)
    _ptrace(OPTIONS, process, FOLLOW)
    tracer = _Tracer(process, root, fault, meanwhile)
    tracer.follow()
    value, other = _received(reading), tracer.other and _received(tracer.other)
    return Ended(value is None, tracer.calls, value and value[0], other and other[0])


class _Tracer:
    def __init__(
        self, process: int, root: Path, fault: Fault | None, meanwhile: Callable[[], Any]
    ) -> None:
        self.process, self.root, self.fault = process, os.fspath(root), fault or Fault()
        self.meanwhile, self.used = meanwhile, 0
        self.calls: list[Call] = []
        self.living, self.tearing, self.other = {process}, 0, 0

    def follow(self) -> None:
        """Until the process and all that it started have ended."""
        _ptrace(CONTINUE, self.process)
        while self.living:
            process, status = os.waitpid(-1, ALL_CHILDREN)
            self.living.add(process)
            if not os.WIFSTOPPED(status):
                self.living.discard(process)
                continue
            event, told = status >> 16, os.WSTOPSIG(status)
            if self.tearing == process and told == signal.SIGTRAP | 0x80:
                self._kill()
            elif event == OF_FILTER:
                self._meet(process)
            else:
                silent = event or told in (signal.SIGSTOP, signal.SIGTRAP)
                _ptrace(CONTINUE, process, 0 if silent else told)

    def _meet(self, process: int) -> None:
        """Let a call go on, or not."""
        registers = (ctypes.c_ulonglong * 27)()
        _ptrace(GETREGS, process, ctypes.addressof(registers))
        call = self._call(process, registers)
        if call is None:
            _ptrace(CONTINUE, process)
            return
        self.calls.append(call)
        here, kind = len(self.calls) == self.fault.at, self.fault.kind
        if here and kind == "kill":
            self._kill()
            return
        if here and kind == "pause":
            _, self.other = _copy(self.meanwhile)
            select.select([self.other], [], [], PAUSE)
        if here and kind == "tear" and call.size > 1:
            self._shorten(process, registers, call, call.size // 2)
            self.tearing = process
            _ptrace(UNTIL_RETURN, process)
            return
        failure = self._failure(process, registers, call)
        if failure:
            registers[ORIG_RAX], registers[RAX] = 2**64 - 1, 2**64 - failure
            _ptrace(SETREGS, process, ctypes.addressof(registers))
        _ptrace(CONTINUE, process)

    def _failure(self, process: int, registers: Any, call: Call) -> int:
        """The number of the error that a call meets, or 0."""
        fault = self.fault
        if isinstance(fault.kind, int) and 0 < fault.at <= len(self.calls):
            return fault.kind if call.name in fault.names else 0
        if fault.space is None or call.name not in GROWS | CREATES:
            return 0
        left = fault.space - self.used
        if left <= 0:
            return errno.ENOSPC
        if call.name in GROWS:
            self.used += call.size
            if call.size > left:
                self._shorten(process, registers, call, left)
        return 0

    def _shorten(self, process: int, registers: Any, call: Call, size: int) -> None:
        where = KINDS[call.name].size
        assert where is not None
        registers[ARGUMENTS[where]] = size
        _ptrace(SETREGS, process, ctypes.addressof(registers))

    def _call(self, process: int, registers: Any) -> Call | None:
        """Where it writes below the folder."""
        name = NAMES[registers[ORIG_RAX]]
        kind = KINDS[name]
        given = [registers[place] for place in ARGUMENTS]
        try:
            path = "" if kind.path is None else _text(process, given[kind.path])
            if not path.startswith("/"):
                place = given[kind.place] if kind.place is not None else 2**32
                link = f"fd/{place & 0xFFFFFFFF}" if place < 1 << 31 else "cwd"
                path = os.path.join(os.readlink(f"/proc/{process}/{link}"), path)
        except OSError:
            return None  # a descriptor that is none
        inside = path == self.root or path.startswith(f"{self.root}/")
        if (name == "openat" and not given[2] & WRITES) or not inside:
            return None
        return Call(name, path, 0 if kind.size is None else given[kind.size])

    def _kill(self) -> None:
        for process in self.living:
            os.kill(process, signal.SIGKILL)


def _copy(function: Callable[[], Any]) -> tuple[int, int]:
    """A copy of this process that sends what a function gives, and the end to receive it."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    try:
        os.close(reading)
        signal.alarm(SECONDS)
        _send((function(),), writing)
    finally:
        os._exit(0)


def _send(value: Any, writing: int) -> None:
    with os.fdopen(writing, "wb") as stream:
        pickle.dump(value, stream)


def _received(reading: int) -> Any:
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    return pickle.loads(data) if data else None


def _obey(function: Callable[[], Any]) -> Any:
    """In the copy: wait for the tracer, and stop at every call that may write."""
    _ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    _filter()
    return function()


def _filter() -> None:
    """Ask the kernel to stop this process at the calls of `KINDS`."""
    load, equal, has, stop = 0x20, 0x15, 0x45, 0x06
    program = [(load, 0, 0, 0)]
    for kind in KINDS.values():
        if kind.flags is None:
            program += [(equal, 0, 1, kind.number), (stop, 0, 0, 0x7FF00000)]
            continue
        argument, bits = kind.flags
        program += [
            (equal, 0, 4, kind.number),
            (load, 0, 0, 16 + 8 * argument),
            (has, 0, 1, bits),
            (stop, 0, 0, 0x7FF00000),
            (stop, 0, 0, 0x7FFF0000),
        ]
    program.append((stop, 0, 0, 0x7FFF0000))
    instructions = (_Instruction * len(program))(*program)
    whole = _Program(len(program), instructions)
    for words in ((38, 1, 0), (22, 2, ctypes.addressof(whole))):  # no new rights; the filter
        if _libc.prctl(*(ctypes.c_ulong(word) for word in (*words, 0, 0))):
            raise OSError(ctypes.get_errno(), "prctl")


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("true", ctypes.c_ubyte),
        ("false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, process: int, data: int = 0) -> None:
    if _libc.ptrace(request, process, None, data) < 0:
        number = ctypes.get_errno()
        if number != errno.ESRCH:  # a thread that was ended meanwhile
            raise OSError(number, "ptrace")


def _text(process: int, address: int) -> str:
    """A path in the memory of another process."""
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return os.fsdecode((memory.read(4096) or b"").partition(b"\0")[0])
