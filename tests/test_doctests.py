"""Every public name has an example with a number in its docstring, and the examples run."""

import doctest
import importlib

import pytest
import torch

FACES = ("egowm", "egowm.actions", "egowm.conditioning", "egowm.evaluation", "egowm.scs")
PLAIN = ("__version__", "Kind", "NormaliserName")  # texts and types, which have no docstring
NAMES = [(f, name) for f in FACES for name in importlib.import_module(f).__all__]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("face", "name"), [pair for pair in NAMES if pair[1] not in PLAIN])
def test_a_public_name_has_an_example_with_a_number(face, name):
    value = getattr(importlib.import_module(face), name)
    module = importlib.import_module(value.__module__)
    found = doctest.DocTestFinder().find(value, globs={"torch": torch, **vars(module)})
    wanted = [example.want for test in found for example in test.examples]
    assert any(character.isdigit() for want in wanted for character in want)
    runner = doctest.DocTestRunner()
    for test in found:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
