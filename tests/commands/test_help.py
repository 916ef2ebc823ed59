"""`--help`: every option of every verb is explained, spelled with underscores, with an example."""

import argparse
import inspect
from collections.abc import Callable, Iterator

import pytest
from jsonargparse import ArgumentParser

import egowm.data
from egowm.backbones import LTX, SVD, Cosmos, SanaWM, Wan
from egowm.backbones.cosmos3 import CameraSteps, Cosmos3
from egowm.commands import main as cli
from egowm.commands.doctor import TRACKERS
from egowm.commands.parser import Parser, underscored
from egowm.commands.scs import main as scs
from egowm.commands.work.fit import TITLES
from egowm.data import ClipData, Window
from egowm.network.trained_part import TrainedPart
from egowm.pretraining import Autoencoder, VideoPrior
from egowm.scs.trackers import BUILT_IN
from egowm.training import (
    ActionGuard,
    RolloutPictures,
    RunCheckpoint,
    StructureScore,
    WeightAverage,
)
from egowm.training.latents.callback import FromCache
from egowm.world_model import WorldModel
from egowm.worlds.motion import Disturbances

DATA = [
    kind
    for name in egowm.data.__all__
    if isinstance(kind := getattr(egowm.data, name), type) and issubclass(kind, ClipData)
]
CLASSES = [
    WorldModel,
    Window,
    Disturbances,
    *DATA,
    SVD,
    Cosmos,
    Wan,
    LTX,
    SanaWM,
    CameraSteps,
    Cosmos3,
    TrainedPart,
    Autoencoder,
    VideoPrior,
    FromCache,
    ActionGuard,
    RolloutPictures,
    RunCheckpoint,
    StructureScore,
    WeightAverage,
]
OWN_VERBS = [name for name, verb in cli.VERBS.items() if not verb.passes_itself]


class Caught(BaseException):
    """Ends a verb where its parser is complete."""


def made_by(run: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Parser:
    """The parser of a verb, caught as it is about to parse."""
    caught: list[Parser] = []

    def catch(parser: Parser, *rest: object) -> None:
        caught.append(parser)
        raise Caught

    monkeypatch.setattr(Parser, "parse_args", catch)
    with pytest.raises(Caught):
        run()
    return caught[0]


def with_subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from with_subcommands(sub)


def check(parser: argparse.ArgumentParser) -> None:
    """Each option has a help text, which tells its default, and no hyphen; the page ends with an
    example."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert (action.help or "").strip(), f"{parser.prog}: {action.dest} is not explained"
        if action.default and action.default != argparse.SUPPRESS:
            assert "default" in str(action.help), f"{parser.prog}: {action.dest} has a default"
        for option in action.option_strings:
            assert "-" not in option.lstrip("-"), f"{parser.prog}: {option} has a hyphen"
    assert f"example:\n  {parser.prog.split()[0]} " in parser.format_help().replace(
        "examples", "example"
    )
    assert (parser.description or "").strip().splitlines()[0].rstrip().endswith((".", ":", "?"))


@pytest.mark.parametrize("verb", OWN_VERBS)
def test_every_option_of_a_verb_is_explained(verb, monkeypatch):
    main = cli._load(cli.VERBS[verb].target)
    parsers = list(with_subcommands(made_by(lambda: main([]), monkeypatch)))
    assert parsers[0].prog == f"egowm {verb}"
    for parser in parsers:
        check(parser)


def test_every_option_of_scs_is_explained():
    parsers = list(with_subcommands(scs._parser()))
    assert len(parsers) == 1 + len(scs.COMMANDS)
    for parser in parsers:
        check(parser)


@pytest.mark.parametrize("verb", [name for name, verb in cli.VERBS.items() if verb.passes_itself])
def test_every_option_of_ours_in_a_fit_is_explained(verb, capsys):
    """Those of the model and the data are their classes'; the trainer's are Lightning's."""
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    page = capsys.readouterr().out
    assert "The model, --model CLASS" in page
    assert page.split("\n\n")[1].endswith(".")
    headings = [line[:-1] for line in page.splitlines() if line.endswith(":") and line[0] != " "]
    assert set(headings) == {"options", *TITLES.values()}
    assert "-c CONFIG" in page or "--config" in page
    for option in ("save_every", "guard_patience", "cache", "pictures_every", "force"):
        line = page[page.index(f"--{option}") :]
        assert len(line.split("\n\n")[0].split()) > 4, option


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--no-videos run", "--no_videos run"),
        ("--max-gap=-0.5 -o a-b", "--max_gap=-0.5 -o a-b"),
        ("--tracker-weights a-b.pt --json x", "--tracker_weights a-b.pt --json x"),
        ("run -- --a-clip", "run -- --a-clip"),
    ],
)
def test_hyphens_are_understood(given, expected):
    assert " ".join(underscored(given.split())) == expected


def test_an_option_with_hyphens_is_the_one_with_underscores():
    parser = Parser(prog="egowm x")
    parser.add_argument("--max_clips", type=int)
    sub = parser.add_subparsers().add_parser("y", example="egowm x y")
    sub.add_argument("--no_videos", action="store_true")
    found = parser.parse_args(["--max-clips", "3", "y", "--no-videos"])
    assert (found.max_clips, found.no_videos) == (3, True)


def test_the_doctor_knows_every_tracker():
    assert set(TRACKERS) == set(BUILT_IN)


KINDS = [
    *(WorldModel, Window, SVD, Cosmos, Wan, LTX, Cosmos3, CameraSteps),
    *(Autoencoder, VideoPrior, TrainedPart, FromCache),
]


def descriptions(kind: type) -> dict[str, str | None]:
    """The help text of each parameter, as `egowm fit --model.help` and `--data.help` print it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "part")
    actions = {action.dest.removeprefix("part."): action.help for action in parser._actions}
    own = [
        name for name, p in inspect.signature(kind).parameters.items() if p.kind != p.VAR_KEYWORD
    ]
    names = dict.fromkeys([*own, *actions])  # inherited ones are in the parser alone
    return {
        name: actions.get(name)
        for name in names
        if name not in ("help", "part") and "." not in name
    }


@pytest.mark.parametrize("kind", CLASSES)
def test_every_parameter_has_a_description(kind):
    empty = [name for name, text in descriptions(kind).items() if not (text or "").strip()]
    assert not empty


@pytest.mark.parametrize("kind", CLASSES)
def test_the_title_is_one_whole_sentence(kind):
    parser = ArgumentParser()
    parser.add_class_arguments(kind, "part")
    sentence = " ".join(str(kind.__doc__).split("\n\n")[0].split())
    titles = [" ".join(str(group.title).split()) for group in parser._action_groups]
    (title,) = [title for title in titles if sentence.rstrip(".") in title]
    assert sentence.endswith(".")
    assert "F(" not in title


def test_a_missing_description_is_seen():
    class Plain:
        """A part."""

        def __init__(self, size: int = 1) -> None:
            self.size = size

    assert descriptions(Plain) == {"size": None}
