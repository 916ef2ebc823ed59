"""`egowm` and `lightning`: one table of verbs, each imported only when it is asked for."""

import difflib
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, TextIO

from egowm import __version__

PACKAGE = Path(__file__).parent.parent
BAD_INPUT, FELL, INTERRUPTED, UNREAD, TERMINATED = 2, 4, 130, 141, 143  # FELL: below a --gate
# Of libraries, by name, since naming the class would import them: Lightning's, of options;
# safetensors', of files that cannot be read or written; torch's, of a GPU.
_OF_LIBRARIES = ("MisconfigurationException", "SafetensorError", "OutOfMemoryError")


class Verb(NamedTuple):
    """A verb: its line of help, the module with its `main`, and whether that takes the verb too."""

    about: str
    target: str
    passes_itself: bool = False


VERBS = {
    "fit": Verb("fine-tune a backbone on clips with actions", "egowm.commands.fit", True),
    "validate": Verb("the loss of a checkpoint on validation clips", "egowm.commands.fit", True),
    "test": Verb("the loss of a checkpoint on test clips", "egowm.commands.fit", True),
    "predict": Verb("roll out test clips into RUN/pred and RUN/gt", "egowm.commands.fit", True),
    "memory": Verb("what a recipe needs on a GPU, and what fits", "egowm.commands.memory"),
    "export": Verb("turn a training checkpoint into an export", "egowm.commands.export"),
    "push": Verb("publish an export on the Hugging Face hub", "egowm.commands.push"),
    "import-egowm": Verb(
        "turn a checkpoint that EgoWM's authors released into an export",
        "egowm.commands.import_egowm",
    ),
    "rollout": Verb("a video from one picture and a list of actions", "egowm.commands.rollout"),
    "walk": Verb("walk through a picture in the browser", "egowm.commands.walk"),
    "plan": Verb("find the way to a picture in unseen rooms", "egowm.commands.plan"),
    "collect": Verb("drive a robot in a room while it learns", "egowm.commands.collect"),
    "eval": Verb("predict, measure and report in one go", "egowm.commands.eval"),
    "align": Verb("how far two encoders look at the same patches", "egowm.commands.align"),
    "view": Verb("a run or recordings over time, in rerun's viewer", "egowm.commands.view"),
    "report": Verb("one self-contained HTML page of a run", "egowm.commands.report"),
    "data": Verb("check, show, convert, pack or encode recordings", "egowm.commands.data"),
    "demo": Verb("train, roll out, score and look, in minutes on a CPU", "egowm.commands.demo"),
    "recipes": Verb("list the recipes, or copy them with their priors", "egowm.commands.recipes"),
    "doctor": Verb("check this installation and this machine", "egowm.commands.doctor"),
}

RENAMED = {"evaluate": "eval -c RECIPE --model EXPORT"}  # verbs of before, and what to write now

HELP = """usage: egowm VERB [options]     (`egowm VERB --help` lists the options of one verb)

{verbs}

The command `lightning` is the same program: `lightning fit -c recipes/recon_svd.yaml`.
`egowm-scs` scores folders of videos. EGOWM_DEBUG=1 prints the traceback of an error.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status: 0 fine, 2 bad input or a machine that is full, 130
    interrupted, 141 output that nobody reads, 143 ended by SIGTERM."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded("egowm", lambda: _run(arguments))


def _run(arguments: list[str]) -> int | None:
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, VERBS))
        lines = (f"  {name:<{width}}  {verb.about}" for name, verb in VERBS.items())
        print(HELP.format(verbs="\n".join(lines)), end="")
        return 0
    if arguments[0] == "--version":
        print(f"egowm {__version__}")
        return 0
    if arguments[0] not in VERBS:
        print(_unknown(arguments[0]), file=sys.stderr)
        return BAD_INPUT
    verb = VERBS[arguments[0]]
    log_to_stderr()
    return _load(verb.target)(arguments if verb.passes_itself else arguments[1:])


def guarded(program: str, run: Callable[[], int | None]) -> int:
    """Runs a command; returns its exit status.

    What its user or the machine is to blame for becomes one line; a bug keeps its traceback.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed: the next file would be opened in its place
            how = os.O_WRONLY if name == "stderr" else os.O_RDONLY  # what is printed is an error
            stream = os.fdopen(os.open(os.devnull, how), "r" if name == "stdin" else "w")
            setattr(sys, name, stream)
    with suppress(AttributeError, ValueError):  # a stream of no file
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    try:
        return _flushed(run)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        # Lightning's trainer turns Ctrl-C into exit status 1, which would read as a failure.
        if isinstance(stop.__context__, KeyboardInterrupt):
            return INTERRUPTED
        if type(stop).__name__ == "SIGTERMException":  # Lightning's, whose status would be 0
            return TERMINATED
        if _is_unread():
            return UNREAD
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            return UNREAD
        line = explain(error)
        if line is None:
            raise
        if os.environ.get("EGOWM_DEBUG"):
            traceback.print_exc()
        _is_unread()
        print(f"{program}: {line}", file=sys.stderr)
        return BAD_INPUT


def _flushed(run: Callable[[], int | None]) -> int:
    """What a command returns, after its output is written: an error of that can be told here."""
    try:
        status = run() or 0
    except SystemExit as stop:
        if not stop.code:  # after a help text
            sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _is_unread() -> bool:
    """Whether nobody takes the output, as after `| head`. What is left of it is dropped, or Python
    would fail on it at the exit."""
    with suppress(OSError, ValueError, AttributeError):  # no stream of the system, or no `poll`
        output = select.poll()
        output.register(sys.stdout, 0)
        unread = any(event & select.POLLERR for _, event in output.poll(0))
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return unread
    return False


def explain(error: Exception) -> str | None:
    """The one line that a user's mistake or a full machine deserves, or None where a traceback is
    needed.

    That is an error of the system, too little memory, an error class of egowm's own, or a
    `ValueError` raised by a line of egowm, also when a loader worker passed it on.
    """
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    text = str(error)
    if "Original Traceback" in text:  # torch re-raises a worker's error with its traceback as text
        raised_in = [line for line in text.splitlines() if line.strip().startswith('File "')]
        ours = bool(raised_in) and f'"{PACKAGE}{os.sep}' in raised_in[-1]
        text = text.strip().splitlines()[-1].partition(": ")[2]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        ours = bool(frames) and PACKAGE in Path(frames[-1].filename).parents
    text = " ".join(text.split())
    if isinstance(error, MemoryError):
        return f"not enough memory ({text})" if text else "not enough memory"
    own_class = type(error).__module__.split(".")[0] == "egowm"
    own_class |= type(error).__name__ in _OF_LIBRARIES
    own_class |= "PytorchStreamWriter" in text  # torch's, of a file that it cannot write
    expected = isinstance(error, OSError) or own_class or (isinstance(error, ValueError) and ours)
    return text or type(error).__name__ if expected else None


def _load(target: str) -> Callable[[Sequence[str]], int | None]:
    main: Callable[[Sequence[str]], int | None] = import_module(target).main
    return main


def _unknown(word: str) -> str:
    if word in RENAMED:
        return f"egowm: '{word}' is now `egowm {RENAMED[word]}`; `egowm --help` lists all verbs"
    near = difflib.get_close_matches(word, VERBS, n=1, cutoff=0.0)
    return f"egowm: unknown verb '{word}'; did you mean '{near[0]}'? `egowm --help` lists them"


class AboveBars(logging.StreamHandler[TextIO]):
    """Writes lines above the progress bars that are drawn, not behind one on its line."""

    def emit(self, record: logging.LogRecord) -> None:
        drawn = sys.modules.get("tqdm")  # bars are tqdm's, which is not loaded for a line
        if drawn is None:
            return super().emit(record)
        with drawn.tqdm.external_write_mode(file=self.stream):
            return super().emit(record)


def log_to_stderr() -> None:
    """Log as commands do; nothing changes where a program has set up its own."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", handlers=[AboveBars()])
    level = logging.DEBUG if os.environ.get("EGOWM_DEBUG") else logging.INFO
    logging.getLogger("egowm").setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
