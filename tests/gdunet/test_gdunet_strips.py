"""In strips, a trained network computes what it computes in one go."""

import pytest
import torch

from napari_deblur.gdunet import strips
from napari_deblur.gdunet.blocks import Block, Pyramid, one_channel


def stirred(module, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


def both(module, x):
    """Give what is computed with gradients, in one go, and without, in strips."""
    with torch.no_grad():
        assert strips.fits(x)
        fast = module(x)
    assert not strips.fits(x)
    return module(x), fast


@pytest.fixture(params=[1, 300, 2**18])
def _strips(request, monkeypatch):
    monkeypatch.setattr(strips, "STRIP", request.param)


# Sums are taken in another order: some roundings of float32.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.usefixtures("_strips")
@pytest.mark.parametrize("cell", [1, 4])
@pytest.mark.parametrize("shape", [(1, 6, 4, 4), (2, 5, 20, 12)])
def test_a_block_is_the_same_in_strips(cell, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    one, two = both(stirred(Block(shape[1], cell)), 3 * x + 5)
    torch.testing.assert_close(two, one, **CLOSE)


@pytest.mark.usefixtures("_strips")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 4, 9, 7)])
def test_nine_products_are_a_convolution(shape, bias):
    convolution = stirred(torch.nn.Conv2d(shape[1], 1, 3, padding=1, bias=bias))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    one, two = both(lambda x: one_channel(convolution, x), x)
    torch.testing.assert_close(two, one, **CLOSE)


@pytest.mark.usefixtures("_strips")
def test_a_pyramid_is_the_same_in_strips():
    pyramid = stirred(Pyramid(3, 4, (1, 2), 1, (2, 1)))
    x = torch.randn(2, 3, 21, 30, generator=torch.Generator().manual_seed(1))
    for one, two in zip(*both(pyramid, x), strict=True):
        torch.testing.assert_close(two, one, **CLOSE)


def test_features_are_made_finer_as_pixels_are_shuffled():
    pyramid = stirred(Pyramid(1, 4, (1,), 0, (0,)))
    seen = []
    pyramid.decoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 1, 6, 8, generator=torch.Generator().manual_seed(1))
    _, features = pyramid(x)
    kept = pyramid.encoder[0](pyramid.first(x))
    up = torch.einsum("oc,bcyx->boyx", pyramid.up[0].weight, features)
    torch.testing.assert_close(seen[0], kept + torch.nn.functional.pixel_shuffle(up, 2), **CLOSE)
