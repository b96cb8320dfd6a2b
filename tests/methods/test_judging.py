"""Kernels that somebody brings are believed or doubted by the light that they predict."""

import numpy as np
import pytest
import torch

from napari_deblur import ops
from napari_deblur.bench.scenes import OBJECTS
from napari_deblur.methods._judging import judged
from napari_deblur.protocols import Blur, Facts, Kernel, Sample
from napari_deblur.psfs.gaussian import Gaussian


def gaussian(sigma, side=17):
    return Gaussian((0.0, sigma, sigma))((1, side, side), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def samples():
    random = np.random.default_rng(5)
    blur = Blur(torch.from_numpy(gaussian(2.0).at()[0].copy())[None])
    light = OBJECTS["filaments"](ops.object_shape((96, 96), (17, 17)), random)
    seen = 400 * ops.blur(torch.from_numpy(light.astype(np.float32)), blur).clamp(min=0) + 10
    counts = torch.from_numpy(random.poisson(seen.double().numpy()).astype(np.float32))
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, background=10.0, noise=10**0.5)
    return [Sample(counts, ((0, 1), (0, 96), (0, 96)), 0, 0, None, facts)]


def of(sigma, **report):
    kernel = gaussian(sigma)
    return Kernel(kernel.array, None, {"prior": "none", **report})


def test_the_true_kernel_is_believed_though_the_search_found_another(samples):
    trust = judged(samples, gaussian(2.0, 21), found=of(2.15))
    assert trust.verdict == "believe"
    assert trust.missed < 0


@pytest.mark.parametrize("sigma", [1.33, 3.0])
def test_a_kernel_too_wide_or_narrow_is_doubted(samples, sigma):
    trust = judged(samples, gaussian(sigma), found=of(1.95, family="gaussian"))
    assert trust.verdict == "doubtful"
    assert "family gaussian predicts held-out light better" in trust.why
    assert trust.likeness < 0.97


def test_where_nothing_was_found_no_kernel_is_judged(samples):
    found = of(0.1, verdict="nothing to deblur", why="there is nothing but noise")
    trust = judged(samples, gaussian(2.0), found=found)
    assert (trust.verdict, trust.why) == ("nothing to deblur", "there is nothing but noise")
