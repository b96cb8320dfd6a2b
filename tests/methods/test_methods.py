"""What single methods promise beyond the contract that all share."""

import numpy as np
import pytest
import scipy.signal
import torch

from napari_deblur import methods, ops
from napari_deblur.methods.blind_richardson_lucy import BlindRichardsonLucy
from napari_deblur.methods.richardson_lucy import RichardsonLucy
from napari_deblur.methods.wiener import Wiener
from napari_deblur.protocols import Blur, Facts, Kernel, Sample
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.testing import kernel_of, scene


def noisy(sigma=1.5, peak=500.0, shape=(96, 104), seed=0):
    random = np.random.default_rng(seed)
    model = kernel_of((11, 11), sigma)
    blur = Blur(torch.from_numpy(model.at().copy()))
    thing = torch.zeros(ops.object_shape(shape, (11, 11)))
    for _ in range(60):
        y, x = (int(random.integers(0, n)) for n in thing.shape)
        thing[y : y + 3, x : x + int(random.integers(2, 9))] = peak * random.uniform(0.2, 1)
    seen = random.poisson(ops.blur(thing, blur).clamp(min=0).numpy() + 10).astype(np.float32)
    facts = Facts(background=10.0, white=float(np.percentile(seen, 99.9)))
    region = ((0, 1), (0, shape[0]), (0, shape[1]))
    return thing, Sample(torch.from_numpy(seen), region, 0, 0, blur, facts), model


def error(image, thing, blur):
    return float((image - ops.crop(thing, blur) - 10).square().mean().sqrt())


def test_richardson_lucy_agrees_with_a_plain_float64_loop():
    """Same start, same domain: only rounding differs (4e-7 was measured of other tools)."""
    _, sample, model = noisy()
    kernel = model.at()[0].astype(np.float64)
    seen = sample.tile.numpy().astype(np.float64)
    full = lambda a: scipy.signal.fftconvolve(a, kernel[::-1, ::-1], mode="full")  # noqa: E731
    valid = lambda a: scipy.signal.fftconvolve(a, kernel, mode="valid")  # noqa: E731
    reach = full(np.ones_like(seen))
    weight = np.where(reach > 0.01, 1 / np.maximum(reach, 1e-9), 0)
    x = np.full(reach.shape, 30.0)
    for _ in range(15):
        x = x * weight * np.maximum(full(seen / (valid(x) + 10)), 0)
    ours = RichardsonLucy(15, background=10.0, start=30.0, lowest=0.0)(sample.tile, sample.blur)
    wanted = x[5:-5, 5:-5] + 10
    difference = np.linalg.norm(ours.image.numpy() - wanted) / np.linalg.norm(wanted)
    assert difference < 1e-5


@pytest.mark.parametrize("name", ["wiener", "richardson-lucy"])
def test_a_known_kernel_brings_the_image_closer_to_the_truth(name):
    thing, sample, _ = noisy()
    method = methods[name]().resolved([sample])
    image = method(sample.tile, sample.blur).image
    before = error(sample.tile, thing, sample.blur)
    assert error(image, thing, sample.blur) < 0.8 * before


def test_richardson_lucy_residuals_fall():
    _, sample, _ = noisy()
    residuals = RichardsonLucy(30).resolved([sample])(sample.tile, sample.blur).residuals
    assert residuals.shape == (30,)
    assert bool((residuals.diff() < 0).all())


def test_saturated_pixels_are_bridged_not_believed():
    made = scene((48, 50), (9, 9), beads=3)
    clipped = made.seen.clamp(max=0.6 * float(made.seen.max()))
    masked = clipped.masked_fill(clipped == clipped.max(), torch.nan)
    fixed = RichardsonLucy(200).resolved([made.sample()])
    sharp, of = made.sharp, made.blur
    bridged, believed = fixed(masked, of).image, fixed(clipped, of).image
    off = [float((image - sharp).square().mean()) for image in (bridged, believed)]
    assert off[0] < 0.7 * off[1]


def test_deep_in_a_hole_nothing_is_known():
    seen = torch.full((60, 60), 50.0)
    seen[15:45, 15:45] = torch.nan
    image = RichardsonLucy(5, 0.0, 40.0, 0.0)(seen, Blur(ops.delta((5, 5))[None])).image
    assert bool(image[30, 30].isnan())
    assert bool(image[:14].isfinite().all())


def test_negative_counts_are_shifted_not_swung():
    random = np.random.default_rng(0)
    tile = torch.from_numpy(random.normal(0, 3, (40, 44)).astype(np.float32))
    tile[20, 20] += 500
    blur = Blur(torch.from_numpy(kernel_of((9, 9)).at().copy()))
    sample = Sample(tile, ((0, 1), (0, 40), (0, 44)), 0, 0, blur, Facts())
    image = RichardsonLucy().resolved([sample])(tile, blur).image
    assert bool(image.isfinite().all())
    assert float(image.min()) > -15
    assert abs(float(image.mean() - tile.mean())) < 1


def test_wiener_estimates_a_ratio_close_to_the_best_one():
    thing, sample, _ = noisy(peak=3000)
    auto = Wiener().resolved([sample])
    errors = {
        factor: error(
            Wiener(auto.noise, auto.power * factor, 10.0)(sample.tile, sample.blur).image,
            thing,
            sample.blur,
        )
        for factor in (1e-3, 1e-2, 0.1, 0.3, 1, 3, 10, 100, 1000)
    }
    # Within 0.7 dB of the best constant.
    assert errors[1] < 10 ** (0.7 / 20) * min(errors.values())


def test_wiener_refuses_a_field():
    blur = Blur(torch.ones(2, 3, 3) / 9, torch.ones(2, 12, 12))
    with pytest.raises(ValueError, match="richardson-lucy"):
        Wiener(1.0, 1.0, 0.0)(torch.ones(10, 10), blur)


def test_a_constant_field_equals_one_kernel():
    made = scene((30, 32), (7, 7), beads=2)
    field = Blur(
        made.blur.basis.repeat(2, 1, 1), torch.full((2, *ops.object_shape((30, 32), (7, 7))), 0.5)
    )
    fixed = RichardsonLucy(10).resolved([made.sample()])
    one, both = fixed(made.seen, made.blur).image, fixed(made.seen, field).image
    torch.testing.assert_close(one, both, rtol=1e-4, atol=1e-2)


def test_blind_finds_a_kernel_nearer_to_the_truth_than_its_start():
    _, sample, model = noisy(sigma=2.0, peak=3000)
    flat = Sample(sample.tile[None], sample.region, 0, 0, None, sample.facts)
    start = Gaussian((0.0, 3.0, 3.0))((1, 11, 11), (1.0, 1.0, 1.0))
    found = BlindRichardsonLucy().resolved([flat]).estimate([flat], (1, 11, 11), start)

    def apart(kernel):
        return float(np.linalg.norm(kernel.at() - model.at()))

    assert apart(found) < 0.7 * apart(start)


def test_blind_brings_an_off_centre_start_back_and_the_image_with_it():
    made = scene((60, 64), (11, 11), sigma=1.8)
    fixed = BlindRichardsonLucy().resolved([made.sample()])
    off = Blur(made.blur.basis.roll((2, -1), (1, 2)))
    estimate = fixed(made.seen, off)
    assert float(ops.centroid(estimate.kernel).abs().max()) < 0.05
    peak = np.unravel_index(int(estimate.image.argmax()), estimate.image.shape)
    truth = np.unravel_index(int(made.sharp.argmax()), made.sharp.shape)
    assert np.abs(np.subtract(peak, truth)).max() <= 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RichardsonLucy(iterations=0), "iterations is 0"),
        (lambda: RichardsonLucy(start=-1.0), "start is -1.0"),
        (lambda: BlindRichardsonLucy(rounds=0), "rounds is 0"),
        (lambda: Wiener(noise=-1.0), "noise is -1.0"),
        (lambda: Wiener(power=0.0), "power is 0.0"),
        (lambda: Gaussian((1.0, -1.0, 1.0)), "sigma"),
    ],
)
def test_impossible_parameters_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_kernel_types():
    with pytest.raises(ValueError, match="NaN"):
        Kernel(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="non-negative"):
        Kernel(np.array([[1.0, -0.1]]))
    with pytest.raises(ValueError, match="zero everywhere"):
        Kernel(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="axes"):
        Kernel(np.ones(3))
    kernel = Kernel.cleaned(np.array([[1.0, -0.5, np.nan]]))
    assert len(kernel.report["cleaned"]) == 2
    assert not kernel.array.flags.writeable
