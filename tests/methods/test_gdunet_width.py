"""A kernel that predicts held-out light hardly better than none is narrowed, and no other one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_deblur import ops
from napari_deblur.gdunet.objects import made
from napari_deblur.methods import _learned_width
from napari_deblur.methods.gdunet import GDUNet
from napari_deblur.protocols import Blur, Facts, Sample
from napari_deblur.testing import kernel_of


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def photographed(light, seed=0, **facts):
    tile = np.random.default_rng(seed).poisson(light).astype(np.float32)
    known = {"gain": 1.0, "offset": 0.0, "read_noise": 0.0, "background": 20.0, "noise": 20**0.5}
    known |= {"white": float(np.percentile(tile, 99.9)), **facts}
    region = ((0, 1), *((0, n) for n in tile.shape))
    return Sample(torch.from_numpy(tile), region, 0, 0, None, Facts(**known))


def decibels(sample, light, kernel):
    method = GDUNet().resolved([sample]).restorer()
    image = method(sample.tile, Blur(torch.from_numpy(kernel.at().copy()))).image.numpy()
    return -10 * np.log10(((image - light) ** 2).mean() / 1000**2)


@pytest.mark.parametrize("facts", [{}, {"gain": None, "noise": 15.0}], ids=["photons", "noise"])
def test_a_soft_object_is_not_taken_for_a_blurred_one(monkeypatch, facts):
    soft = gaussian_filter(made(1, 128, 4)[0].astype(float), 1.5)
    light = 20 + 1000 * soft / soft.max()
    sample = photographed(light, **facts)
    method = GDUNet().resolved([sample])
    found = method.estimate([sample], (1, 31, 31), None)
    monkeypatch.setattr(_learned_width, "narrowed", lambda _, __, kernel, ___: (kernel, {}))
    before = method.estimate([sample], (1, 31, 31), None)
    assert "worth" in found.report["held_out"]
    assert found.report["held_out"]["narrowed"] < 0.8
    assert decibels(sample, light, found) > decibels(sample, light, before) + 2


@pytest.mark.parametrize("weights", ["light", "tiny"])
def test_kernels_of_blurred_images_stay_as_they_were_found(weights):
    blur = Blur(torch.from_numpy(kernel_of((15, 15), 2.0).at().copy()))
    sharp = torch.from_numpy(made(1, 142, 4)[0].astype(np.float32))
    light = 20 + 1000 * ops.blur(sharp, blur).clamp(min=0).numpy()
    for facts in ({}, {"gain": None, "noise": 15.0}):
        sample = photographed(light, **facts)
        found = GDUNet(weights).resolved([sample]).estimate([sample], (1, 31, 31), None)
        assert "held_out" not in found.report
    # Without any noise what is held out is what was kept, and no kernel predicts it best.
    quiet = replace(photographed(light, gain=None, noise=0.0), tile=torch.from_numpy(light))
    found = GDUNet(weights).resolved([quiet]).estimate([quiet], (1, 31, 31), None)
    assert "held_out" not in found.report


def test_a_shape_that_is_padded_with_zeros_decides_nothing():
    soft = gaussian_filter(made(1, 64, 4)[0].astype(float), 1.5)
    sample = photographed(20 + 1000 * soft / soft.max())
    method = GDUNet("tiny").resolved([sample])
    searched, padded = (method.estimate([sample], (1, side, side), None) for side in (31, 61))
    assert searched.report["held_out"] == padded.report["held_out"]
    np.testing.assert_allclose(padded.at()[0, 15:46, 15:46], searched.at()[0], atol=1e-6)


@pytest.mark.parametrize(
    ("worth", "steep", "agreed", "least", "most"),
    [
        (1e6, 0.0, False, 1, 1),  # nats: a right kernel, which is worth much
        (400.0, 1e5, False, 1, 1),  # any narrower one predicts clearly worse
        (400.0, 0.0, True, 0.2, 0.69),  # none costs anything, and all stages say so
        (400.0, 0.0, False, 0.7, 0.7),  # only the smaller ones do
    ],
)
def test_what_is_worth_little_is_narrowed_as_far_as_it_costs_little(
    monkeypatch, worth, steep, agreed, least, most
):
    sample = photographed(np.full((64, 64), 200.0), white=5000.0)
    method = GDUNet("tiny").resolved([sample])
    network, _ = method._network(sample.tile)
    kernel = torch.from_numpy(kernel_of((15, 15), 2.0).at()[0].copy())
    wide = float(kernel.max())

    def missed(network, part, one, scale, stages):
        point = float(one.max()) == 1
        if stages == "all":
            return 0.0 if point == agreed else 1.0
        return worth if point else steep * (float(one.max()) / wide - 1)

    monkeypatch.setattr(_learned_width, "_missed", missed)
    found, report = _learned_width.narrowed(network, [sample], kernel, method._scale())
    factor = report.get("held_out", {"narrowed": 1})["narrowed"]
    assert least <= factor <= most
    assert (factor == 1) == torch.equal(found, kernel)


def test_holes_and_an_unknown_scale_are_no_obstacle():
    light = np.full((70, 80), 40.0)
    light[20:50, 30:60] = 200
    sample = photographed(light)
    sample.tile[5:9, 5:9] = torch.nan
    method = GDUNet(gain=0.0, noise=0.0).resolved([sample])
    network, _ = method._network(sample.tile)
    kernel = torch.from_numpy(kernel_of((9, 9), 1.5).at()[0].copy())
    narrower, _ = _learned_width.narrowed(network, [sample], kernel, method._scale())
    assert bool(narrower.isfinite().all())
    assert float(narrower.sum()) == pytest.approx(1, abs=1e-5)
