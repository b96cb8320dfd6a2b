"""Where a trained network's search begins, what of the image it sees, and what it is told."""

import warnings

import numpy as np
import pytest
import torch

from napari_deblur.methods._learned_kernel import held, sound, starts
from napari_deblur.methods._learned_range import noise_of
from napari_deblur.ops.statistics import estimate_background
from napari_deblur.protocols import Facts, Kernel, Sample
from napari_deblur.testing import kernel_of


def sample(array, **facts):
    tile = torch.from_numpy(np.asarray(array, np.float32))
    region = ((0, 1), *((0, n) for n in tile.shape[-2:]))
    return Sample(tile, region, 0, 0, None, Facts(**facts), None)


PHOTONS = {"gain": 1.0, "offset": 0.0, "read_noise": 0.0, "background": 20.0, "noise": 4.5}


def smooth(side=128):
    y, x = np.mgrid[:side, :side]
    light = 400 * (1 + np.sin(y / 4) * np.sin(x / 5))
    return np.random.default_rng(0).poisson(light + 20).astype(np.float32)


def test_hot_pixels_make_no_kernel_narrower():
    kernel = torch.from_numpy(kernel_of((21, 21), 2.0).at()[0].copy())
    hot = smooth()
    hot[[10, 30, 60, 90, 100], [20, 70, 40, 110, 60]] = 4000
    for array in (smooth(), hot):
        same, report = held([sample(array, **PHOTONS)], kernel)
        assert report == {}
        assert same is kernel


def test_hot_pixels_are_not_looked_at():
    hot = smooth()
    hot[[10, 60], [20, 40]] = 4000
    volume = np.stack([smooth(), hot])
    seen = sound(sample(volume, **PHOTONS)).isnan()
    assert seen.nonzero().tolist() == [[1, 10, 20], [1, 60, 40]]
    clean = sample(smooth(), **PHOTONS)
    assert sound(clean) is clean.tile


def test_a_first_kernel_without_light_in_the_middle_is_refused():
    array = np.zeros((1, 31, 31))
    array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="no light in the 9 × 9 px around its middle"):
        starts(sample(smooth()), (9, 9), Kernel(array))


def test_photons_are_counted_once():
    """A bright image, whose noise was measured: all of it is that of its photons."""
    bright = np.random.default_rng(0).poisson(900, (96, 96)).astype(np.float32)
    measured = sample(bright, gain=1.0, noise=30.0, origins={"noise": "estimated"})
    assert noise_of([measured], 0.0, 1.0) < 8
    # What the user says of a dim pixel, and what is measured of unknown gain, is taken as it is.
    said = sample(bright, gain=1.0, noise=30.0, origins={"noise": "given"})
    assert noise_of([said], 0.0, 1.0) == 30
    assert noise_of([measured], 0.0, 0.0) == 30


def test_huge_counts_are_no_overflow():
    tiny = np.random.default_rng(0).poisson(3.0, (64, 64)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        huge = estimate_background([tiny * np.float32(1e30)])
    assert huge == pytest.approx(1e30 * estimate_background([tiny]), rel=1e-3)
