"""A search that is given a kernel says what became of it."""

import json
from dataclasses import replace

import pytest

from napari_deblur.bench.scenes import Case
from napari_deblur.methods.blind import Blind
from napari_deblur.protocols import Kernel, Sample
from napari_deblur.psfs.disc import Disc
from napari_deblur.psfs.gaussian import Gaussian

SIZE = (0.3, 0.1, 0.1)
SHAPE = (1, 15, 15)


@pytest.fixture(scope="module")
def sample():
    from napari_deblur.bench.kernels import KERNELS

    KERNELS["planted"] = lambda: gaussian(0.15).at()[0]
    try:
        scene = Case("filaments", "planted", 300.0, (96, 96)).scene()
    finally:
        del KERNELS["planted"]
    region = ((0, 1), (0, 96), (0, 96))
    return Sample(scene.tile, region, 0, 0, None, replace(scene.facts), SIZE)


def gaussian(sigma):
    return Gaussian((0.0, sigma, sigma))(SHAPE, SIZE)


def first_of(sample, kernel):
    report = Blind(families=("gaussian",), refine=False).estimate([sample], SHAPE, kernel).report
    json.dumps(dict(report))
    return report["first"]


def test_a_kernel_that_is_much_too_wide_is_named_worse(sample):
    told = first_of(sample, Disc(0.5)(SHAPE, SIZE))
    assert told["nats worse"] > 50
    assert told["agreement"] < 0.9
    assert "predicts held-out light worse than the one that was found" in told["said"]
    assert "accelerated-richardson-lucy" in told["said"]


def test_the_true_kernel_is_named_as_good(sample):
    told = first_of(sample, Kernel(gaussian(0.15).array, SIZE))
    assert told["nats worse"] < 5
    assert told["agreement"] > 0.99
    assert "nearly the given one" in told["said"] or "took it" in told["said"]


def test_a_kernel_of_an_earlier_search_is_compared_too(sample):
    report = {"method": "blind", "family": "gaussian", "parameters": {"sigma": 0.3}}
    told = first_of(sample, replace(gaussian(0.3), report=report))
    assert told["nats worse"] > 50


def test_nothing_is_said_of_a_kernel_where_there_is_none(sample):
    found = Blind(families=("gaussian",), refine=False).estimate([sample], SHAPE, None)
    assert "first" not in found.report
