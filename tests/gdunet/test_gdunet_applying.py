"""Tiles in counts, with holes and even kernels; kernels of several samples are fused."""

import pytest
import torch

from napari_deblur.gdunet.applying import Scale, _robust, found_kernel, restored, stages
from napari_deblur.gdunet.network import Configuration, Network
from napari_deblur.gdunet.synthesis import default_kernel

SMALL = Configuration(width=4, encoder=(1, 1), decoder=(1, 1), gradient_width=4, kernel_width=8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = Network(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.requires_grad_(False)


def counts(seed=0, shape=(48, 52)):
    random = torch.Generator().manual_seed(seed)
    light = torch.rand(1, 1, shape[0] + 4, shape[1] + 4, generator=random) ** 3
    return 100 + 900 * torch.nn.functional.avg_pool2d(light, 5, 1)[0, 0]


def test_gain_and_offset_of_the_camera_change_only_those_of_the_result(network):
    tile, kernel = counts(), default_kernel(1, (7, 7))[0, 0]
    one = restored(network, tile, kernel, Scale(100, 600, 2.0, 5.0))
    two = restored(network, 3 * tile + 50, kernel, Scale(350, 1850, 6.0, 15.0))
    torch.testing.assert_close(two, 3 * one + 50, rtol=1e-4, atol=1e-2)


def test_holes_are_filled_and_disturb_nothing_far_away(network):
    tile, kernel = counts(), default_kernel(1, (7, 7))[0, 0]
    holed = tile.clone()
    holed[2:4, 3:5] = torch.nan
    scale = Scale(100, 600, 2.0, 5.0)
    one, two = (restored(network, t, kernel, scale) for t in (tile, holed))
    assert two.isfinite().all()
    assert (one - two)[30:, 30:].abs().max() < 0.02 * 500


def test_planes_are_restored_one_by_one(network):
    planes, kernel = torch.stack([counts(1), counts(2)]), default_kernel(1, (7, 7))[0, 0]
    scale = Scale(100, 600, 2.0, 5.0)
    both = restored(network, planes, kernel, scale)
    torch.testing.assert_close(both[1], restored(network, planes[1], kernel, scale))


def test_even_kernels_keep_their_centre(network):
    tile, scale = counts(), Scale(100, 600, 2.0, 5.0)
    even = torch.zeros(8, 6)
    even[2:7, 1:6] = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    even /= even.sum()
    odd = torch.nn.functional.pad(even, (0, 1, 0, 1))
    one, two = (restored(network, tile, kernel, scale) for kernel in (even, odd))
    torch.testing.assert_close(one, two)
    for _, kernel in stages(network, tile, even, scale):
        assert kernel.shape == (8, 6)
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="plane by plane"):
        restored(network, tile, even[None], scale)


def test_kernels_of_several_samples_are_fused(network):
    tiles = [counts(seed) for seed in range(3)] + [torch.full((48, 52), 100.0)]
    found = found_kernel(network, tiles, (9, 9), Scale(100, 600, 2.0, 5.0))
    again = found_kernel(network, tiles[::-1], (9, 9), Scale(100, 600, 2.0, 5.0))
    torch.testing.assert_close(found.kernel, again.kernel)
    torch.testing.assert_close(found.kernel.sum(), torch.tensor(1.0))
    assert found.weights[3] < found.weights[:3].min()
    with pytest.raises(ValueError, match="take samples of twice the kernel"):
        found_kernel(network, tiles, (31, 31), Scale(100, 600, 2.0, 5.0))
    with pytest.raises(ValueError, match="odd sizes"):
        found_kernel(network, tiles, (8, 8), Scale(100, 600, 2.0, 5.0))


def test_a_kernel_far_from_the_others_counts_little():
    good = default_kernel(5, (9, 9))[:, 0]
    each = torch.cat((good, torch.eye(9)[None] / 9))
    weights = _robust(each, torch.ones(6))
    assert weights[5] < 0.05


def test_white_must_be_above_background():
    with pytest.raises(ValueError, match="must be above background=5"):
        Scale(5, 5, 1, 1)
