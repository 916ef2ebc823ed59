"""The parser of every verb: raw descriptions, an example, and underscores in options."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from egowm.shipped import existing_recipe


class Parser(argparse.ArgumentParser):
    """An argparse parser whose help ends with an example.

    Options are spelled with underscores; the same option with hyphens is understood.

    Args:
        example: a command line, or some, each as a user types it.
        options: as `argparse.ArgumentParser` takes them; a subcommand's description is its help.
    """

    def __init__(self, *, example: str = "", **options: Any) -> None:
        if example:
            options["epilog"] = "\n".join(["example:", *(f"  {x}" for x in example.split("\n"))])
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def _print_message(self, message: str, file: Any = None) -> None:
        """As the parent, which says nothing where that cannot be written."""
        (file or sys.stderr).write(message or "")

    def error(self, message: str) -> NoReturn:
        """As the parent; where a recipe's settings were given, it says where they are read."""
        if message.startswith("unrecognized") and re.search(r"--(model|data|trainer)\.", message):
            message += (
                ". This command reads settings from the recipe alone: give the one that the run "
                "wrote, -c RUN/lightning_logs/version_N/config.yaml"
            )
        super().error(message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the parent, after `--no-videos` has become `--no_videos`; `words` are those read."""
        words = list(underscored(sys.argv[1:] if args is None else args))
        found, rest = super().parse_known_args(words, namespace)
        found.words = words
        return found, rest


def underscored(words: Sequence[str]) -> Iterator[str]:
    """The words of a command line with underscores in the names of options, up to a bare `--`."""
    names = True
    for word in words:
        names = names and word != "--"
        if names and word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            word = f"--{name.replace('-', '_')}{equals}{value}"
        yield word


def recipe_file(word: str) -> Path:
    """The type of an option that names a recipe; a missing file is refused at once."""
    return existing_recipe(Path(word))
