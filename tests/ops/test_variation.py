import pytest
import torch

from napari_deblur.ops import variation
from napari_deblur.ops.variation import curvature, curvatures


def test_light_only_moves():
    thing = torch.rand(3, 9, 10, 11, generator=torch.Generator().manual_seed(0)).double()
    pull = curvature(thing, (3.0, 1.0, 1.0), 1e-3, 0.05)
    assert pull.sum(dim=(1, 2, 3)).abs().max() < 1e-12
    assert float(pull.abs().max()) > 0.1


def test_a_ramp_is_flat_enough_and_a_peak_is_pulled_down():
    peak = torch.zeros(9, 9)
    peak[4, 4], peak[4, 5] = 10.0, 4.0
    peak += 1
    pull = curvature(peak, (1.0, 1.0), 1e-3)
    assert float(pull[4, 4]) < 0
    assert float(pull[3, 4]) > 0


def test_a_long_voxel_counts_less():
    thing = torch.rand(12, 12, generator=torch.Generator().manual_seed(2))
    along = torch.zeros(12, 1) + torch.rand(12, 1, generator=torch.Generator().manual_seed(2))
    assert float(curvature(along, (4.0, 1.0), 1e-6).abs().max()) < float(
        curvature(along, (1.0, 1.0), 1e-6).abs().max()
    )
    assert not torch.equal(curvature(thing, (4.0, 1.0), 0.01), curvature(thing, (1.0, 1.0), 0.01))


@pytest.mark.parametrize("shape", [(40,), (30, 20), (17, 8, 9), (2, 17, 8, 9)])
def test_slabs_give_the_whole_though_it_changes_meanwhile(shape, monkeypatch):
    ndim = min(len(shape), 3)
    thing = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    wanted = curvature(thing, (1.0,) * ndim, 0.01, 0.02)
    monkeypatch.setattr(variation, "VOXELS", thing.numel() // 4)
    found, axis = torch.full(shape, float("nan")), len(shape) - ndim
    for where, pull in curvatures(thing, (1.0,) * ndim, 0.01, 0.02):
        cut = (slice(None),) * axis + (where,)
        found[cut] = pull
        thing[cut] = -5.0
    torch.testing.assert_close(found, wanted)
