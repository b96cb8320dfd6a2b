"""What the direct filters, wiener and tikhonov, promise beyond the contract."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_deblur import ops
from napari_deblur.methods._filters import penalty
from napari_deblur.methods._spectra import spectra_of
from napari_deblur.methods.tikhonov import Tikhonov
from napari_deblur.methods.wiener import Wiener
from napari_deblur.protocols import Blur, Facts, Sample
from napari_deblur.testing import kernel_of, scene


def textured(sigma=1.5, peak=1000.0, shape=(128, 132), seed=0):
    """Blocks and lines on a background of 10 counts, with photon noise."""
    random = np.random.default_rng(seed)
    blur = Blur(torch.from_numpy(kernel_of((13, 13), sigma).at().copy()))
    thing = torch.zeros(ops.object_shape(shape, (13, 13)))
    for _ in range(60):
        y, x = (int(random.integers(0, n)) for n in thing.shape)
        height, width = (int(random.integers(2, 14)) for _ in range(2))
        thing[y : y + height, x : x + width] = peak * random.uniform(0.2, 1)
    seen = random.poisson(ops.blur(thing, blur).clamp(min=0).numpy() + 10).astype(np.float32)
    region = ((0, 1), (0, shape[0]), (0, shape[1]))
    sample = Sample(torch.from_numpy(seen), region, 0, 0, blur, Facts(background=10.0))
    return ops.crop(thing, blur) + 10, sample


def level(image, sharp):
    """Give the error in dB, less is better."""
    return float(10 * (image - sharp).square().mean().log10())


@pytest.mark.parametrize("peak", [80.0, 300.0, 3000.0])
@pytest.mark.parametrize("make", [Wiener, Tikhonov])
def test_the_automatic_constant_is_close_to_the_best_one(make, peak):
    """0.03 dB in the median of 75 cases, 0.2 in nine of ten; these are not the worst of them."""
    sharp, sample = textured(peak=peak)
    fixed = make().resolved([sample])
    name = "power" if make is Wiener else "weight"
    errors = [
        level(
            replace(fixed, **{name: getattr(fixed, name) * 2.0**step})(
                sample.tile, sample.blur
            ).image,
            sharp,
        )
        for step in (-4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4)
    ]
    assert errors[5] < min(errors) + 0.6
    assert errors[5] < level(sample.tile, sharp) - 1


def test_the_noise_of_rounding_is_found():
    sharp, sample = textured(peak=200.0)
    seen = ops.blur(torch.nn.functional.pad(sharp, (6, 6, 6, 6)), sample.blur).round()
    found = Wiener().resolved([replace(sample, tile=seen)]).noise
    assert found == pytest.approx(12**-0.5, rel=0.15)


def test_normal_noise_is_found_where_the_blur_blocks():
    sharp, sample = textured(peak=1000.0, sigma=2.0)
    clean = ops.blur(torch.nn.functional.pad(sharp, (6, 6, 6, 6)), sample.blur)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 7.0, clean.shape))
    found = Wiener().resolved([replace(sample, tile=clean + noise.float())]).noise
    assert found == pytest.approx(7.0, rel=0.05)


def test_given_noise_is_believed():
    _, sample = textured()
    facts = Facts(background=10.0, noise=3.0, origins={"noise": "given"})
    assert spectra_of([replace(sample, facts=facts)], (1.0, 1.0)).noise == 3.0


def test_the_border_is_better_with_more_rounds():
    sharp, sample = textured(peak=3000.0)
    fixed = Wiener().resolved([sample])
    errors = [
        level(replace(fixed, border=n)(sample.tile, sample.blur).image, sharp) for n in (0, 10)
    ]
    assert errors[1] < errors[0] - 0.2


def test_tikhonov_identity_is_the_closed_form():
    """With a delta kernel every count above the background is divided by 1 + weight."""
    tile = torch.rand(24, 26, generator=torch.Generator().manual_seed(0)) * 100
    blur = Blur(ops.delta((1, 1))[None])
    image = Tikhonov("identity", 0.5, 20.0, (1.0, 1.0))(tile, blur).image
    torch.testing.assert_close(image, (tile - 20) / 1.5 + 20, rtol=1e-5, atol=1e-3)


def test_steps_are_per_length():
    """An axis of pixels twice as long has a quarter of the penalty, or a sixteenth."""
    for operator, factor in (("gradient", 4), ("laplacian", 16)):
        both = penalty((8, 8), operator, (2.0, 1.0))
        assert both[0, 3] == pytest.approx(factor * both[3, 0])
    sample = replace(textured()[1], pixel_size=(3.0, 0.4, 0.1))
    assert Tikhonov().resolved([sample]).spacing == (4.0, 1.0)
    assert Wiener().resolved([sample]).spacing == (4.0, 1.0)


@pytest.mark.parametrize("operator", ["identity", "gradient", "laplacian"])
def test_every_operator_brings_the_image_closer_to_the_truth(operator):
    sharp, sample = textured()
    image = Tikhonov(operator).resolved([sample])(sample.tile, sample.blur).image
    assert level(image, sharp) < level(sample.tile, sharp) - 1.5


@pytest.mark.parametrize("make", [Wiener, Tikhonov])
def test_one_axis_batches_and_volumes(make):
    made = scene((20, 24, 26), (5, 6, 7))
    sample = replace(made.sample(), pixel_size=(0.3, 0.1, 0.1))
    image = make().resolved([sample])(made.seen, made.blur).image
    assert image.shape == made.seen.shape
    line = Blur(torch.tensor([[0.25, 0.5, 0.25]]))
    assert line.ndim == 1
    tile = 50 + 10 * torch.rand(3, 4, 40, generator=torch.Generator().manual_seed(1))
    wide = Sample(tile, ((0, 3), (0, 4), (0, 40)), 0, 0, line, Facts(background=50.0))
    image = make().resolved([wide])(tile, line).image
    assert image.shape == tile.shape
    assert bool(image.isfinite().all())


@pytest.mark.parametrize("make", [Wiener, Tikhonov])
def test_without_a_kernel_there_is_nothing_to_decide(make):
    _, sample = textured()
    with pytest.raises(ValueError, match="needs a kernel"):
        make().resolved([replace(sample, blur=None)])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Tikhonov("curl"), "operator is 'curl'"),
        (lambda: Tikhonov(weight=0.0), "weight is 0.0"),
        (lambda: Tikhonov(spacing=(1.0, -1.0)), "spacing is"),
        (lambda: Tikhonov(border=-1), "border is -1"),
        (lambda: Wiener(border=1.5), "border is 1.5"),
    ],
)
def test_impossible_parameters_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_wrong_calls_are_refused():
    tile, line = torch.ones(9, 9), Blur(torch.ones(1, 3, 3) / 9)
    with pytest.raises(ValueError, match="spacing has 3 values"):
        Tikhonov("gradient", 1.0, 0.0, (1.0, 1.0, 1.0))(tile, line)
    field = Blur(torch.ones(2, 3, 3) / 9, torch.ones(2, 11, 11))
    with pytest.raises(ValueError, match="richardson-lucy"):
        Tikhonov("gradient", 1.0, 0.0, (1.0, 1.0))(tile, field)
