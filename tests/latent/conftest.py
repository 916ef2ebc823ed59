"""Small models of every kind that answers `egowm.Dynamics`, and one clip for them."""

import pytest
import torch

from egowm.clip import Clip
from egowm.dynamics import Dynamics
from egowm.evaluation.simulator import Simulator
from egowm.latent import RSSM, LatentModel
from egowm.worlds.rooms import Room

SIZE = 16
KINDS = ("WorldModel", "RSSM", "LatentModel", "simulator")


def rssm(spec, **options) -> RSSM:
    torch.manual_seed(0)
    small = {"deterministic": 24, "categoricals": 4, "classes": 5, "depth": 8, "units": 32}
    model = RSSM(**(small | options), size=SIZE, spec=spec)
    model.configure_model()
    return model


def latent_model(spec, **options) -> LatentModel:
    torch.manual_seed(0)
    model = LatentModel(**({"depth": 8, "hidden": 16} | options), size=SIZE, spec=spec)
    model.configure_model()
    return model


@pytest.fixture(params=KINDS)
def model(request, spec) -> Dynamics:
    """One of each kind, whose actions show."""
    if request.param == "WorldModel":
        return request.getfixturevalue("obedient")
    if request.param == "simulator":
        return Simulator(places=[(Room(7), (0.0, 0.0, 0.0))])
    return {"RSSM": rssm, "LatentModel": latent_model}[request.param](spec).eval()


@pytest.fixture
def clip(spec) -> Clip:
    """A batch of two moving edges, 4 future frames, whose turn is in the actions."""
    turns = torch.tensor([[0.1, -0.05, 0.1, 0.0], [-0.1, 0.1, 0.05, -0.1]])
    place = torch.cat([torch.zeros(2, 1), turns.cumsum(1)], 1) * 20 + 8
    columns = torch.arange(SIZE)
    bright = (columns > place[..., None]).float() * 200 + 20
    frames = bright[:, :, None, None].expand(2, 5, 3, SIZE, SIZE).to(torch.uint8)
    actions = torch.zeros(2, 4, 3)
    actions[..., 2] = turns
    rest = torch.zeros(2, 0, 3), torch.zeros(2, 0), [""] * 2, ["test"] * 2, ["a", "b"]
    return Clip(frames, actions, *rest)
