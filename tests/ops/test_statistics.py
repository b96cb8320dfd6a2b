import numpy as np
import pytest

from napari_deblur.ops.statistics import estimate_background, estimate_noise


def cells(background, seed=0, side=160):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    light = np.zeros((side, side))
    for _ in range(30):
        (a, b), width = random.integers(0, side, 2), random.uniform(2, 6)
        light += random.uniform(20, 200) * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * width**2))
    return random.poisson(light + background).astype(np.float32)


@pytest.mark.parametrize("level", [0, 5, 20, 100, 1000])
def test_background_is_the_mean_where_there_is_no_light(level):
    found = estimate_background([cells(level)])
    assert found == pytest.approx(level, abs=max(0.3, 0.05 * np.sqrt(level) + 0.01 * level))


@pytest.mark.parametrize("level", [0.05, 0.15, 0.5])
def test_a_photon_now_and_then_is_dark_and_no_padding(level):
    random = np.random.default_rng(3)
    for seed in range(6):
        light = cells(0, seed) / 5
        counts = random.poisson(light + level).astype(np.float32)
        assert 0 <= estimate_background([counts]) <= level + 0.3


def test_coarse_counts_do_not_darken_the_background():
    random = np.random.default_rng(4)
    for seed in range(6):
        photons = cells(2, seed) + random.normal(0, 3, (160, 160))
        counts = np.round(0.5 * photons + 100).astype(np.float32)
        assert estimate_background([counts]) == pytest.approx(101, abs=0.5)


def test_padding_with_zeros_is_no_background():
    image = cells(100)
    image[:, :60] = 0
    assert estimate_background([image]) == pytest.approx(100, abs=2)


def test_a_field_without_background_gets_its_darkest_pixels():
    random = np.random.default_rng(1)
    y = np.linspace(0, 20, 160)
    waves = 120 + 60 * np.sin(y)[:, None] + 40 * np.sin(1.7 * y)[None, :]
    image = random.normal(waves, 2).astype(np.float32)
    assert estimate_background([image]) <= np.percentile(image, 5)


def test_noise_is_found_beside_structure():
    assert estimate_noise([cells(400)]) == pytest.approx(20, rel=0.15)
    assert estimate_noise([np.zeros((32, 32), np.float32)]) == 0


def test_nothing_but_nan_gives_zero():
    assert estimate_background([np.full((20, 20), np.nan, np.float32)]) == 0
