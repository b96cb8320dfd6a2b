"""Pixels without data and broken ones are no detail of an image; objects are."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_deblur.methods._detail import SHARP, Detail, _without_faults, outliers
from napari_deblur.protocols import Facts, Sample

KNOWN = Facts(gain=1.0, offset=0.0, read_noise=0.0, background=20.0, noise=20**0.5)


def sample(array, facts=KNOWN):
    tile = torch.from_numpy(np.asarray(array, np.float32))
    return Sample(tile, ((0, 1), *((0, n) for n in tile.shape)), 0, 0, None, facts)


def blurred(sigma=2.0, seed=0, side=160):
    """Bars and blobs of up to 1000 photons."""
    random = np.random.default_rng(seed)
    light = np.zeros((side, side))
    for _ in range(120):
        y, x = random.integers(0, side, 2)
        light[y : y + int(random.integers(2, 12)), x : x + 4] = random.uniform(0.2, 1)
    return random.poisson(1000 * gaussian_filter(light, sigma) + 20).astype(np.float32)


def faulty(array, kind):
    made, random = array.copy(), np.random.default_rng(3)
    y, x = random.integers(2, len(array) - 2, (2, 5))
    if kind == "hot":
        made[y, x] = 4000
    elif kind == "dead":
        made[y, x] = 0
    elif kind == "many hot":
        made[random.random(array.shape) < 1e-3] = 4000
    elif kind == "pair":
        made[80, 80:82] = 4000
    elif kind == "row":
        made[90] = np.nan
    elif kind == "block":
        made[40:80, 50:110] = np.nan
    elif kind == "scattered":
        made[random.random(array.shape) < 2e-3] = np.nan
    return made


@pytest.mark.parametrize("kind", ["hot", "many hot", "dead", "pair", "row", "block", "scattered"])
@pytest.mark.parametrize("sigma", [1.2, 2.5])
def test_broken_pixels_are_no_detail(kind, sigma):
    clean = Detail([sample(blurred(sigma))]).widest()
    assert clean > sigma
    assert Detail([sample(faulty(blurred(sigma), kind))]).widest() == pytest.approx(clean, rel=0.15)


def test_planes_without_faults_are_taken_as_they_are():
    for sigma in (0.8, 1.5, 3.0):
        plane = sample(blurred(sigma)).tile
        tile, known = _without_faults(plane, KNOWN)
        assert tile is plane
        assert bool(known.all())


def test_blurred_points_and_single_photons_are_what_is_seen():
    random = np.random.default_rng(1)
    points = np.zeros((128, 128))
    points[tuple(random.integers(4, 124, (2, 20)))] = 20_000
    for sigma in (0.8, 1.2):
        seen = random.poisson(gaussian_filter(points, sigma) + 10).astype(np.float32)
        assert len(outliers(torch.from_numpy(seen), KNOWN)[0]) == 0
    few = random.poisson(np.full((128, 128), 0.02)).astype(np.float32)
    assert len(outliers(torch.from_numpy(few), Facts(gain=1.0, offset=0.0, noise=0.1))[0]) == 0


def test_many_sharp_points_are_an_image():
    random = np.random.default_rng(0)
    points = np.zeros((128, 128))
    points[tuple(random.integers(0, 128, (2, 300)))] = random.uniform(200, 1000, 300)
    plane = sample(random.poisson(points + 10))
    assert len(outliers(plane.tile, KNOWN)[0]) == 0
    assert Detail([plane]).widest() < SHARP


def test_planes_of_nothing_say_nothing():
    for empty in (np.full((64, 64), np.nan), np.zeros((64, 64))):
        assert Detail([sample(empty)]).widest() == np.inf
    huge = Facts(gain=1e30, offset=0.0, noise=5e30)
    assert len(outliers(torch.full((20, 20), 7e30), huge)[0]) == 0
    unknown = Facts(noise=0.0)
    assert len(outliers(torch.full((20, 20), 7.0), unknown)[0]) == 0
