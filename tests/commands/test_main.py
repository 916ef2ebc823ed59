"""The command table: what it prints, what it imports, and what becomes one line on stderr."""

import io
import logging
import os
import subprocess
import sys
import sysconfig
import types
from contextlib import redirect_stderr
from importlib import util
from pathlib import Path

import pytest
from tqdm import tqdm

import egowm
from egowm.commands import main as cli

HEAVY = ("torch", "lightning", "diffusers", "transformers", "cv2", "numpy", "mujoco", "decord")
SCRIPTS = Path(sysconfig.get_path("scripts"))


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Installs a function as the verb `probe`."""

    def install(function, passes_itself: bool = False) -> None:
        module = types.ModuleType("egowm_probe")
        module.main = function
        monkeypatch.setitem(sys.modules, "egowm_probe", module)
        row = cli.Verb("a test", "egowm_probe", passes_itself)
        monkeypatch.setitem(cli.VERBS, "probe", row)

    return install


def from_egowm(error: Exception):
    """A function that raises `error` from a line which Python believes to be egowm's."""
    source = compile("def fail(argv):\n    raise error", str(cli.PACKAGE / "made_up.py"), "exec")
    scope = {"error": error}
    exec(source, scope)
    return scope["fail"]


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_verb(arguments, capsys):
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    for name, row in cli.VERBS.items():
        assert f"  {name} " in out
        assert row.about in out
    assert "`lightning` is the same program" in out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"egowm {egowm.__version__}\n"


@pytest.mark.parametrize(("word", "near"), [("fti", "fit"), ("docter", "doctor"), ("x", "")])
def test_unknown_verb_names_the_nearest(word, near, capsys):
    assert cli.main([word]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"unknown verb '{word}'" in captured.err
    assert f"did you mean '{near}" in captured.err


def test_arguments_and_status_pass_through(verb):
    seen = []
    verb(lambda argv: seen.append(argv) or 3)
    assert cli.main(["probe", "--a", "1"]) == 3
    verb(lambda argv: seen.append(argv), passes_itself=True)
    assert cli.main(["probe", "--a", "1"]) == 0
    assert seen == [["--a", "1"], ["probe", "--a", "1"]]


def test_every_verb_has_its_module():
    missing = [v.target for v in cli.VERBS.values() if not util.find_spec(v.target)]
    assert missing == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("expected 3 actions,\n  got 2"), "egowm: expected 3 actions, got 2\n"),
        (FileNotFoundError("no clips in a/"), "egowm: no clips in a/\n"),
        (FileNotFoundError(2, "No such file", "a/b"), "egowm: No such file: a/b\n"),
        (OSError(28, "No space left on device"), "egowm: [Errno 28] No space left on device\n"),
        (OSError(30, "Read-only file system", "a"), "egowm: Read-only file system: a\n"),
        (OSError(27, "File too large", "a"), "egowm: File too large: a\n"),
        (OSError(36, "File name too long", "a"), "egowm: File name too long: a\n"),
        (BrokenPipeError(32, "Broken pipe"), "egowm: [Errno 32] Broken pipe\n"),
        (MemoryError(), "egowm: not enough memory\n"),
        (MemoryError("7 GiB\nfor an array"), "egowm: not enough memory (7 GiB for an array)\n"),
        (RuntimeError("PytorchStreamWriter failed"), "egowm: PytorchStreamWriter failed\n"),
    ],
)
def test_a_mistake_becomes_one_line(verb, error, line, capsys):
    verb(from_egowm(error))
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    "command",
    ["egowm --help", "egowm report --help", "egowm recipes", "egowm-scs score --help"],
)
@pytest.mark.parametrize("to", ["reader that is gone", "full disk", "closed"])
def test_output_that_nobody_takes(command, to):
    """As after `| head`, quietly; a full disk is told in a line."""
    program, *words = command.split()
    reading, writing = os.pipe()
    os.close(reading)
    closing = " >&-" if to == "closed" else ""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" "$@"{closing}', SCRIPTS / program, *words],
            stdout=full if to == "full disk" else writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    os.close(writing)
    if to == "reader that is gone":
        assert (done.returncode, done.stderr) == (141, "")
        return
    said = "[Errno 28] No space left on device" if to == "full disk" else "Bad file descriptor"
    assert done.returncode == 2
    assert done.stderr.startswith(f"{program}: ")
    assert done.stderr.endswith(f"{said}\n")
    assert done.stderr.count("\n") == 1


def test_a_name_that_is_no_text(tmp_path):
    """Written, and printed as it was typed; also without a home."""
    place = os.fsencode(tmp_path) + b"/caf\xe9"
    command = [SCRIPTS / "egowm", "recipes", "copy", "rooms_cosmos", place]
    without = {k: v for k, v in os.environ.items() if k != "HOME"} | {"PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, env=without)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[0] == place + b"/recipes/rooms_cosmos.yaml"
    assert os.path.isfile(place + b"/recipes/rooms_cosmos.yaml")


def test_an_error_class_of_egowm_becomes_one_line(verb, capsys):
    kind = type("WrongSpec", (RuntimeError,), {"__module__": "egowm.actions"})

    def fail(argv):
        raise kind("other units")

    verb(fail)
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "egowm: other units\n"


def test_debug_prints_the_traceback(verb, capsys, monkeypatch):
    monkeypatch.setenv("EGOWM_DEBUG", "1")
    verb(from_egowm(ValueError("wrong")))
    assert cli.main(["probe"]) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("egowm: wrong\n")


def test_a_bug_keeps_its_traceback(verb):
    verb(from_egowm(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        cli.main(["probe"])

    def fail(argv):
        raise ValueError("raised outside egowm")

    verb(fail)
    with pytest.raises(ValueError, match="outside egowm"):
        cli.main(["probe"])


def worker_error(file: str) -> ValueError:
    return ValueError(
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "/somewhere/torch/fetch.py", line 1, in fetch\n'
        f'  File "{file}", line 2, in read\nValueError: episode 7 is corrupt\n'
    )


def test_a_mistake_found_by_a_loader_worker():
    ours = worker_error(str(cli.PACKAGE / "data" / "recon.py"))
    assert cli.explain(ours) == "episode 7 is corrupt"
    assert cli.explain(worker_error("/somewhere/else.py")) is None


def test_control_c(verb, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    def trainer(argv):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    verb(interrupted)
    assert cli.main(["probe"]) == 130
    verb(trainer)
    assert cli.main(["probe"]) == 130
    verb(lambda argv: sys.exit(1))
    with pytest.raises(SystemExit):
        cli.main(["probe"])


def test_help_and_import_stay_light():
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "import egowm; from egowm.commands.main import main; main(['--help'])\n"
        "print(time.perf_counter() - start, file=sys.stderr)\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, loaded = done.stderr.splitlines()
    assert loaded == "[]"
    assert float(seconds) < 1.0


def test_a_missing_option_is_told_before_torch_is_loaded():
    """Every verb, and every subcommand of `egowm data`, without options in one fresh process."""
    data = [f"data {word}" for word in ("check", "stats", "show", "convert", "pack", "cache")]
    verbs = [
        verb for verb in cli.VERBS if verb not in ("doctor", "recipes", "data", "demo", "walk")
    ]
    wrong = ["demo --nothing", "walk nowhere.jpg", "fit -c nowhere.yaml"]
    code = (
        "import sys\nfrom egowm.commands.main import main\n"
        f"for words in {[*verbs, *data, *wrong]}:\n"
        "    try: status = main(words.split())\n"
        "    except SystemExit as stop: status = stop.code\n"
        "    assert status == 2, words\n"
        f"print([name for name in {set(HEAVY) - {'numpy', 'cv2'}} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert "egowm: fit: give a recipe, -c recipes/NAME.yaml" in done.stderr
    assert "egowm: No recipe at nowhere.yaml: `egowm recipes` lists those" in done.stderr


@pytest.mark.parametrize("command", ["egowm", "lightning"])
def test_console_scripts_are_one_program(command):
    done = subprocess.run([SCRIPTS / command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: egowm VERB")


def test_lazy_names():
    assert set(dir(egowm)) >= {"ActionSpec", "WorldModel"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = egowm.Nothing


def test_a_picture_that_is_none_is_told_without_torch(tmp_path):
    words = tmp_path / "words.jpg"
    words.write_text("no picture")
    code = (
        "import sys; from egowm.commands.main import main; "
        f"status = main(['rollout', {str(words)!r}, '--actions', 'w', '--output', 'walk']); "
        "sys.exit(9 if 'torch' in sys.modules else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert "words.jpg" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_line_stands_above_a_bar():
    """Not behind it, where a terminal shows both on one line; the bar is drawn again below."""
    stream = io.StringIO()
    with redirect_stderr(stream), tqdm(total=2, ncols=40, mininterval=0) as bar:
        handler = cli.AboveBars()
        bar.update()
        handler.emit(logging.makeLogRecord({"msg": "copy looks at no frame"}))
        after = stream.getvalue()
    line = next(row for row in after.split("\n") if "copy looks" in row)
    assert line.rpartition("\r")[2] == "copy looks at no frame"
    assert line.split("\r")[-2].strip() == ""  # the bar was wiped
    assert "50%" in after.rpartition("\n")[2]
