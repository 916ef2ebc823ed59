"""Descriptions in `--help`: every parameter of a class that a recipe names is explained."""

import inspect

import pytest
from jsonargparse import ArgumentParser

import egowm.data
from egowm.data import ClipData, Window
from egowm.world_model import WorldModel
from egowm.worlds.motion import Disturbances

DATA = [
    kind
    for name in egowm.data.__all__
    if isinstance(kind := getattr(egowm.data, name), type) and issubclass(kind, ClipData)
]
KINDS = [WorldModel, Window, Disturbances, *DATA]


def descriptions(kind: type) -> dict[str, str | None]:
    """The help text of each parameter, as `egowm fit --model.help` and `--data.help` print it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "part")
    actions = {action.dest.removeprefix("part."): action.help for action in parser._actions}
    own = [
        name for name, p in inspect.signature(kind).parameters.items() if p.kind != p.VAR_KEYWORD
    ]
    names = dict.fromkeys([*own, *actions])  # inherited ones are in the parser alone
    return {name: actions.get(name) for name in names if name not in ("help", "part")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_a_description(kind):
    empty = [name for name, text in descriptions(kind).items() if not (text or "").strip()]
    assert not empty


@pytest.mark.parametrize("kind", KINDS)
def test_the_title_is_one_whole_sentence_in_words(kind):
    parser = ArgumentParser()
    parser.add_class_arguments(kind, "part")
    sentence = str(kind.__doc__).split(".")[0]
    titles = [str(group.title) for group in parser._action_groups]
    (title,) = [title for title in titles if sentence in title]
    assert "`" not in title


def test_a_missing_description_is_seen():
    class Plain:
        """A part."""

        def __init__(self, size: int = 1) -> None:
            self.size = size

    assert descriptions(Plain) == {"size": None}
