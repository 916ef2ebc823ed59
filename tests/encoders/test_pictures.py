"""Pictures of features, completed views and tokens."""

import pytest
import torch

from egowm.encoders import MooG, SingleLife, completions, patch_colours, token_maps


def test_like_features_have_like_colours():
    """Two kinds of patches along one axis: one is red, the other is not, in whichever direction."""
    torch.manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(16), dim=0)
    kinds = (torch.arange(64) % 2).reshape(1, 8, 8)
    patches = kinds[..., None] * axis + 1e-3 * torch.randn(1, 8, 8, 16)
    red = patch_colours(patches)[0, 0]
    a, b = red[kinds[0] == 0], red[kinds[0] == 1]
    assert min(abs(a.mean() - b.mean()), 1) > 0.9
    assert max(a.std(), b.std()) < 0.1
    assert torch.equal(patch_colours(patches), patch_colours(patches.clone()))
    scaled = patch_colours(1000 * patches)
    assert torch.allclose(scaled, patch_colours(patches), atol=1e-5)


def test_few_channels_leave_colours_black():
    colours = patch_colours(torch.rand(2, 4, 4, 1))
    assert colours[:, 1:].eq(0).all()
    assert colours[:, 0].max() == 1


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        (torch.zeros(4, 4, 3), r"patches \(N, h, w, D\)"),
        (torch.full((1, 2, 2, 3), torch.nan), "finite"),
        (torch.zeros(0, 2, 2, 3), r"patches \(N, h, w, D\)"),
    ],
)
def test_patches_that_cannot_be_coloured(patches, message):
    with pytest.raises(ValueError, match=message):
        patch_colours(patches)


@pytest.fixture
def single_life():
    torch.manual_seed(0)
    model = SingleLife(size=16, patch=4, width=24, layers=1, heads=2, decoder_width=16,
                       decoder_layers=1)  # fmt: skip
    model.configure_model()
    return model.eval()


def test_what_is_seen_stays_and_the_rest_is_made(single_life):
    sources, targets = torch.rand(2, 3, 3, 16, 16)
    seen, completed = completions(single_life, sources, targets, masked=0.75)
    hidden = (seen == 0.5).all(1, keepdim=True).expand_as(seen)
    assert hidden.float().mean() == 0.75
    assert torch.equal(completed[~hidden], targets[~hidden])
    assert not torch.allclose(completed[hidden], targets[hidden], atol=0.05)
    again = completions(single_life, sources, targets, masked=0.75)
    assert torch.equal(again.completed, completed)
    other = completions(single_life, sources, targets, masked=0.75, seed=1)
    assert not torch.equal(other.seen, seen)


def test_a_perfect_decoder_gives_the_target_back(single_life, monkeypatch):
    """Told the normalised pixels, as the loss wants them."""
    sources, targets = torch.rand(2, 2, 3, 16, 16)
    pixels = torch.nn.functional.unfold(targets, 4, stride=4).mT
    wanted = torch.nn.functional.layer_norm(pixels, pixels.shape[-1:], eps=1e-6)
    monkeypatch.setattr(single_life.decoder, "forward", lambda *_: wanted)
    completed = completions(single_life, sources, targets).completed
    assert torch.allclose(completed, targets, atol=2e-3)


def test_a_share_that_hides_nothing(single_life):
    with pytest.raises(ValueError, match="hides some of 16 patches"):
        completions(single_life, *torch.rand(2, 1, 3, 16, 16), masked=0.01)


def test_each_pixel_has_the_token_that_it_looks_at_most(monkeypatch):
    model = MooG(size=16, num_tokens=4, width=8, layers=(1, 1, 1), heads=(1, 1, 1))
    turns = iter(range(6))

    def looks(tokens):
        found = torch.full((1, 256, 4), 0.1)
        found[:, :, next(turns) % 4] = 0.7
        return found

    monkeypatch.setattr(model.network, "looks", looks)
    maps = token_maps(model, torch.rand(2, 3, 3, 16, 16))
    assert maps.shape == (2, 3, 16, 16)
    assert maps.flatten(2)[..., 0].tolist() == [[0, 1, 2], [3, 0, 1]]
