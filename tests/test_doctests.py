"""Every public name has an example with a number in its docstring, and the examples run."""

import doctest
import importlib
import inspect

import pytest
import torch

FACES = (
    "egowm",
    "egowm.actions",
    "egowm.backbones",
    "egowm.conditioning",
    "egowm.data",
    "egowm.encoders",
    "egowm.evaluation",
    "egowm.latent",
    "egowm.network",
    "egowm.planning",
    "egowm.policies",
    "egowm.pretraining",
    "egowm.scs",
    "egowm.training",
    "egowm.worlds",
)
PLAIN = (
    "__version__",
    "Cost",
    "Kind",
    "NormaliserName",
    "Cosmos3",
    "SanaWMCamera",
)  # large weights
NAMES = [
    pytest.param(getattr(importlib.import_module(face), name), id=f"{face}.{name}")
    for face in FACES
    for name in importlib.import_module(face).__all__
    if name not in PLAIN
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("value", [name for name in NAMES if not inspect.ismodule(name.values[0])])
def test_a_public_name_has_an_example_with_a_number(value):
    module = importlib.import_module(value.__module__)
    found = doctest.DocTestFinder().find(value, globs={"torch": torch, **vars(module)})
    wanted = [example.want for test in found for example in test.examples]
    assert any(character.isdigit() for want in wanted for character in want)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in found:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
