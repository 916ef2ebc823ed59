"""`egowm` and `lightning`: one table of verbs, each imported only when it is asked for."""

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from egowm import __version__

PACKAGE = Path(__file__).parent.parent
BAD_INPUT, INTERRUPTED, TERMINATED = 2, 130, 143
PATH_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


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
    "memory": Verb("what a recipe needs on a card, and what fits", "egowm.commands.memory"),
    "export": Verb("turn a training checkpoint into an export", "egowm.commands.export"),
    "import-egowm": Verb(
        "turn a checkpoint that EgoWM's authors released into an export",
        "egowm.commands.import_egowm",
    ),
    "rollout": Verb("a video from one picture and a list of actions", "egowm.commands.rollout"),
    "plan": Verb("find the way to a picture in unseen rooms", "egowm.commands.plan"),
    "evaluate": Verb("predict, score and report in one go", "egowm.commands.evaluate"),
    "report": Verb("one self-contained HTML page of a run", "egowm.evaluation.report.run_page"),
    "data": Verb("check, show, convert, pack or encode recordings", "egowm.commands.data"),
    "demo": Verb("train, roll out, score and look, in minutes on a CPU", "egowm.commands.demo"),
    "recipes": Verb("list the recipes, or copy them with their priors", "egowm.commands.recipes"),
    "doctor": Verb("check this installation and this machine", "egowm.commands.doctor"),
}

HELP = """usage: egowm VERB [options]     (`egowm VERB --help` lists the options of one verb)

{verbs}

The command `lightning` is the same program: `lightning fit -c recipes/recon_svd.yaml`.
`egowm-scs` scores folders of videos. EGOWM_DEBUG=1 prints the traceback of an error.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status: 0 fine, 2 bad input, 130 interrupted, 143 ended
    by SIGTERM."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
    _log_to_stderr()
    return _run(verb, arguments if verb.passes_itself else arguments[1:])


def _run(verb: Verb, arguments: list[str]) -> int:
    """Calls the verb; a user's mistake becomes one line, anything else keeps its traceback."""
    try:
        return _load(verb.target)(arguments) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        # Lightning's trainer turns Ctrl-C into exit status 1, which would read as a failure.
        if isinstance(stop.__context__, KeyboardInterrupt):
            return INTERRUPTED
        if type(stop).__name__ == "SIGTERMException":  # Lightning's, whose status would be 0
            return TERMINATED
        raise
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        if os.environ.get("EGOWM_DEBUG"):
            traceback.print_exc()
        print(f"egowm: {line}", file=sys.stderr)
        return BAD_INPUT


def explain(error: Exception) -> str | None:
    """The one line that a user's mistake deserves, or None where a traceback is needed.

    A mistake is a path that cannot be used, an error class of egowm's own, or a `ValueError`
    raised by a line of egowm, also when a loader worker passed it on.
    """
    if isinstance(error, PATH_ERRORS) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    text = str(error)
    if "Original Traceback" in text:  # torch re-raises a worker's error with its traceback as text
        raised_in = [line for line in text.splitlines() if line.strip().startswith('File "')]
        ours = bool(raised_in) and f'"{PACKAGE}{os.sep}' in raised_in[-1]
        text = text.strip().splitlines()[-1].partition(": ")[2]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        ours = bool(frames) and PACKAGE in Path(frames[-1].filename).parents
    own_class = type(error).__module__.split(".")[0] == "egowm"
    own_class |= type(error).__name__ == "MisconfigurationException"  # Lightning's, of options
    expected = (
        isinstance(error, PATH_ERRORS) or own_class or (isinstance(error, ValueError) and ours)
    )
    return " ".join(text.split()) if expected else None


def _load(target: str) -> Callable[[Sequence[str]], int | None]:
    main: Callable[[Sequence[str]], int | None] = import_module(target).main
    return main


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, VERBS, n=1, cutoff=0.0)
    return f"egowm: unknown verb '{word}'; did you mean '{near[0]}'? `egowm --help` lists them"


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    level = logging.DEBUG if os.environ.get("EGOWM_DEBUG") else logging.INFO
    logging.getLogger("egowm").setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
