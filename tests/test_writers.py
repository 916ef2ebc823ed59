"""Every writer of the package, killed, out of space and met by another: whole, or as it was."""

import platform
import sys
from pathlib import Path

import pytest

from tests.kills import examined
from tests.writers import WRITERS

MOST = 2  # kills of each start; `python -m tests.kills` tries every call

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="the system calls of Linux on x86-64 are counted",
)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda name: name.replace(" ", "_"))
def test_a_writer(writer: str, tmp_path: Path) -> None:
    found = examined(writer, tmp_path, MOST)
    assert found.losses == []
    assert found.tried["killed"] == 2 * MOST
    assert found.tried.keys() >= {"torn", "disk full", "read-only", "twice at once"}
