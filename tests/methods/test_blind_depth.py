"""What is promised of depth in a volume: it is found on a coarse copy, whatever else is unknown."""

import numpy as np
import pytest
import torch
from scipy.ndimage import shift

from napari_deblur.bench.blind_scenes import Volume
from napari_deblur.bench.scenes import psnr
from napari_deblur.methods import _depth_search as search
from napari_deblur.methods.blind import Blind
from napari_deblur.protocols import Facts, Sample

SIZE = (0.3, 0.1, 0.1)
OPTICS = Facts(gain=2.0, offset=100.0, read_noise=3.0, background=110.0, noise=5.0)


def sample_of(tile, facts, size=SIZE):
    tile = torch.as_tensor(tile, dtype=torch.float32)
    return Sample(tile, tuple((0, n) for n in tile.shape), 0, 0, None, facts, size)


def test_depth_is_found_by_its_aberration():
    volume = Volume("beads", 1000.0, 8.0, 1.36, (24, 40, 40), (31, 45, 45), seed=2)
    sample = sample_of(volume.counts, volume.facts)
    found = Blind(families=("gibson-lanni",)).estimate([sample], (15, 13, 13), None)
    assert found.report["parameters"]["depth"] == pytest.approx(8.0, rel=0.15)
    assert len(found.report["profile"]) > 6
    assert min(misfit for _, misfit in found.report["profile"]) == pytest.approx(0, abs=1)
    # A lens goes on beyond the shape that was searched: no reason to doubt it.
    assert found.report["border"] > 0.02
    assert "border" not in found.report["why"]


def test_a_coarse_copy_has_all_light_and_the_noise_of_sums():
    tile = np.random.default_rng(0).poisson(50, (3, 9, 8)) * 2.0 + 100
    coarse = search.coarser(sample_of(tile, OPTICS), 2)
    assert coarse.tile.shape == (3, 4, 4)
    assert coarse.pixel_size == (0.3, 0.2, 0.2)
    assert float(coarse.tile[1, 2, 3]) == tile[1, 4:6, 6:8].sum()
    assert coarse.facts.gain == 2.0
    assert coarse.facts.offset == 400.0
    assert coarse.facts.background == 440.0
    assert coarse.facts.read_noise == 6.0
    assert coarse.facts.noise == 10.0
    same = sample_of(tile, OPTICS)
    assert search.coarser(same, 1) is same


def test_pixels_are_summed_as_the_lens_allows():
    facts = Facts(gain=1.0, background=10.0, na=1.4, wavelength=0.52)
    tile = np.random.default_rng(0).poisson(50, (8, 32, 32))
    light = search.coarse_of([sample_of(tile, facts)], seed=0)
    assert light.shape == (8, 16, 16)
    light = search.coarse_of([sample_of(tile, facts, (0.3, 0.2, 0.2))], seed=0)
    assert light.shape == (8, 32, 32)
    assert search.coarse_of([sample_of(tile, Facts(gain=1.0))], seed=0) is None
    assert search.coarse_of([sample_of(tile, facts, None)], seed=0) is None


def test_the_least_value_is_found_between_those_of_a_grid():
    asked = []

    def valley(value):
        asked.append(value)
        return (value - 6.2) ** 2 + 0.1 * (value - 6.2) ** 4

    tried = search.least(valley, (0.0, 1.5, 3.0, 5.0, 7.5, 11.0, 16.0, 24.0), 4)
    assert min(tried, key=tried.get) == pytest.approx(6.2, abs=0.1)
    assert 24.0 not in asked  # it had got worse twice
    edge = search.least(lambda value: value, (0.0, 2.0, 4.0), 3)
    assert min(edge, key=edge.get) == 0.0
    flat = search.least(lambda value: 1.0, (0.0, 2.0, 4.0), 3)
    assert set(flat.values()) == {1.0}


def test_a_volume_is_scored_wherever_its_focus_is():
    volume = Volume("blobs", 300.0, 0.0, 1.515, (24, 32, 32), (9, 9, 9))
    moved = torch.from_numpy(shift(volume.truth.numpy(), (-2.5, 0, 0), mode="nearest"))
    nearest = max(
        psnr(torch.roll(moved, by, 0)[6:-6], volume.truth[6:-6], float(volume.truth[6:-6].max()))
        for by in (2, 3)
    )
    assert volume.score(moved) > nearest + 5
