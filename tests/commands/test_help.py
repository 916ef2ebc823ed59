"""Descriptions in `--help`: every parameter of a class that a recipe names is explained."""

import inspect

import pytest
from jsonargparse import ArgumentParser

from egowm.backbones import LTX, SVD, Cosmos, Wan
from egowm.backbones.cosmos3 import CameraSteps, Cosmos3
from egowm.data.module import Window
from egowm.network.trained_part import TrainedPart
from egowm.pretraining import Autoencoder, VideoPrior
from egowm.training.latents.callback import FromCache
from egowm.world_model import WorldModel

KINDS = [
    *(WorldModel, Window, SVD, Cosmos, Wan, LTX, Cosmos3, CameraSteps),
    *(Autoencoder, VideoPrior, TrainedPart, FromCache),
]


def descriptions(kind: type) -> dict[str, str | None]:
    """The help text of each parameter, as `egowm fit --model.help` and `--data.help` print it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "part")
    actions = {action.dest.removeprefix("part."): action.help for action in parser._actions}
    return {name: actions.get(name) for name in inspect.signature(kind).parameters}


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
