"""What the constraints of the alternating search promise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_deblur import ops
from napari_deblur.bench.scenes import Case
from napari_deblur.methods._kernel_constraints import Constraints, limit_of
from napari_deblur.methods.blind_richardson_lucy import BlindRichardsonLucy
from napari_deblur.protocols import Blur, Kernel
from napari_deblur.psfs.gaussian import Gaussian


def seen(kernel="gaussian", peak=300.0, shape=(72, 76)):
    sample = Case("mixed", kernel, peak, shape).scene().sample()
    return replace(sample, blur=None)


def found(sample, size=15, **fields):
    fields = {"rounds": 4, "steps": 4} | fields
    method = BlindRichardsonLucy(**fields).resolved([sample])
    return method.estimate([sample], (1, size, size), None)


def off_centre(kernel):
    return max(abs(v) for v in kernel.centroid())


@pytest.mark.parametrize("size", [14, 15])
def test_nothing_lies_beyond_the_support(size):
    kernel = found(seen(), size, support=4.0)
    y, x = np.indices((size, size)) - size // 2
    assert kernel.at()[0][np.hypot(y, x) > 4].max() == 0
    assert off_centre(kernel) < 0.05


@pytest.mark.parametrize("symmetry", ["mirror", "radial"])
def test_symmetry_is_kept(symmetry):
    kernel = found(seen("motion"), symmetry=symmetry).at()[0]
    for other in (kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(kernel, other, atol=1e-6)
    if symmetry == "radial":
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 9), (8, 12), (3, 9, 10)])
@pytest.mark.parametrize("symmetry", ["mirror", "radial"])
def test_symmetry_asked_for_twice_is_symmetry(shape, symmetry):
    known = Constraints(symmetry=symmetry)
    z, y, x = (3.0, *shape)[-3:]
    start = Gaussian((z, y / 5, x / 5))((1, 1, *shape)[-3:], (1.0, 1.0, 1.0)).array
    kernel = torch.from_numpy(start.copy()).reshape(shape) + 0.001 * torch.rand(shape)
    once = known.applied(ops.normalised(kernel))
    torch.testing.assert_close(known.applied(once), once, rtol=1e-4, atol=1e-7)


def test_little_passes_beyond_the_band_limit():
    point = Kernel(np.eye(225)[112].reshape(1, 15, 15) + 1e-3)
    power = {}
    for limit in ("none", 0.15):
        method = BlindRichardsonLucy(rounds=2, steps=3, band_limit=limit).resolved([seen()])
        kernel = method.estimate([seen()], (1, 15, 15), point).at()[0]
        spectrum = np.abs(np.fft.fft2(kernel, (60, 60))) ** 2
        f = np.fft.fftfreq(60)
        beyond = np.hypot(f[:, None], f) > 0.2
        power[limit] = spectrum[beyond].sum() / spectrum.sum()
    assert power[0.15] < 0.01
    assert power[0.15] < power["none"] / 20


def test_the_limit_comes_from_the_optics():
    sample = seen()
    facts = replace(sample.facts, na=0.5, wavelength=0.5)
    known = replace(sample, facts=facts, pixel_size=(1.0, 0.1, 0.1))
    assert limit_of([known]) == pytest.approx(0.2)
    assert BlindRichardsonLucy().resolved([known]).band_limit == pytest.approx(0.2)
    coarse = replace(known, pixel_size=(1.0, 0.4, 0.4))
    assert BlindRichardsonLucy().resolved([coarse]).band_limit == "none"
    assert BlindRichardsonLucy().resolved([sample]).band_limit == "none"
    assert BlindRichardsonLucy(band_limit="none").resolved([known]).band_limit == "none"


def test_the_round_that_predicts_best_is_taken():
    report = found(seen(), rounds=6).report
    assert len(report["deviances"]) == 6
    assert report["round"] == int(np.argmin(report["deviances"])) + 1
    last = found(seen(), rounds=6, keep="last").report
    assert last["deviances"] == []
    assert last["round"] == 6


def test_a_tile_finds_a_kernel_within_the_constraints():
    sample = seen("motion")
    start = Blur(torch.from_numpy(Gaussian.wide((1, 11, 11)).at().copy()))
    method = BlindRichardsonLucy(3, 3, 3, symmetry="mirror", support=3.0).resolved([sample])
    kernel = method(sample.tile, start).kernel
    torch.testing.assert_close(kernel, kernel.flip(0), atol=1e-6, rtol=1e-4)
    assert float(kernel[0].max()) == 0


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"support": 0.0}, "support is 0.0 pixels"),
        ({"band_limit": -1.0}, "band_limit is -1.0 cycles"),
        ({"symmetry": "round"}, 'symmetry "round" is not one of none, mirror, radial'),
        ({"keep": "first"}, 'keep "first" is not one of best, last'),
    ],
)
def test_constraints_that_are_none_are_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        BlindRichardsonLucy(**fields)
