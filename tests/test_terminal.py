"""The terminal that types pages: what it types, what a failure does, and that nothing is left."""

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.terminal import Terminal


@pytest.fixture
def terminal(tmp_path, monkeypatch) -> Iterator[Terminal]:
    """One whose commands print their words and end with the number that they were given."""

    def done(self: Terminal, words: list[str], folder: str) -> int:
        with self.printed.open("a") as file:
            print(*words, Path(folder).name, file=file)
        return int(words[1])

    monkeypatch.setattr(Terminal, "_done", done)
    (tmp_path / "home").mkdir()
    found = Terminal(tmp_path / "home")
    yield found
    if not found.closed:
        found.close()
    assert not found.serving.is_alive()


def test_commands_are_typed_in_the_folder(terminal, tmp_path):
    code = (
        "pip install egowm\negowm 0 'two words' && egowm-scs 0 $((1 + 2))\ncd home; egowm 0 $HOME"
    )
    said = terminal.type(code, tmp_path).splitlines()
    home = tmp_path / "home"
    assert said[:2] == [f"egowm 0 two words {tmp_path.name}", f"egowm-scs 0 3 {tmp_path.name}"]
    assert said[2:] == [f"egowm 0 {home} home"]


def test_a_command_that_fails_ends_its_block(terminal, tmp_path):
    with pytest.raises(AssertionError, match="egowm 3"):
        terminal.type("egowm 3\negowm 0 later", tmp_path)
    assert "later" not in terminal.printed.read_text()
    with pytest.raises(AssertionError, match="invalid literal"):  # a fault of the terminal's own
        terminal.type("egowm x", tmp_path)


def test_a_script_that_was_stopped_holds_up_nothing(terminal, tmp_path):
    socket.create_connection(terminal.listener.address).close()
    assert terminal.type("egowm 0", tmp_path) == f"egowm 0 {tmp_path.name}\n"


def test_the_end_stops_what_still_runs(terminal, tmp_path, monkeypatch):
    """As after a test that was stopped at its timeout."""
    started, killed = Event(), Event()

    class Running:
        kill = killed.set

    def done(self: Terminal, words: list[str], folder: str) -> int:
        self.process = Running()
        started.set()
        return int(not killed.wait(20))

    monkeypatch.setattr(Terminal, "_done", done)
    typing = Thread(target=terminal.type, args=("egowm 0", tmp_path))
    typing.start()
    assert started.wait(20)
    terminal.close()
    typing.join(20)
    assert killed.is_set()
    assert not typing.is_alive()
