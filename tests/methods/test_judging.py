"""Kernels that somebody brings are believed or doubted by what the image itself says."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_deblur import ops
from napari_deblur.bench.blind_scenes import Scene
from napari_deblur.bench.finding import samples_of
from napari_deblur.bench.scenes import OBJECTS
from napari_deblur.methods._detail import RISES, SHARP, detail_of
from napari_deblur.methods._judging import COLOURED, LIMITS, VARIES, judged
from napari_deblur.methods._prediction import Prediction
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Blur, Facts, Kernel, Sample
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.views import views_of


def gaussian(sigma, side=17):
    return Gaussian((0.0, sigma, sigma))((1, side, side), (1.0, 1.0, 1.0))


def sampled(light, **facts):
    counts = torch.from_numpy(np.random.default_rng(5).poisson(light).astype(np.float32))
    facts = {"gain": 1.0, "offset": 0.0, "read_noise": 0.0, "noise": 10**0.5, **facts}
    known = Facts(background=10.0, **facts)
    box = ((0, 1), *((0, n) for n in counts.shape))
    return [Sample(counts, box, 0, 0, None, known)]


def filaments(sigma, shape=(144, 144)):
    blur = Blur(torch.from_numpy(gaussian(sigma).at()[0].copy())[None])
    light = OBJECTS["filaments"](ops.object_shape(shape, (17, 17)), np.random.default_rng(5))
    seen = 400 * ops.blur(torch.from_numpy(light.astype(np.float32)), blur).clamp(min=0) + 10
    return seen.double().numpy()


@pytest.fixture(scope="module")
def samples():
    return sampled(filaments(2.0))


def test_the_true_kernel_is_believed_whatever_its_shape(samples):
    for side in (17, 21, 22):
        assert judged(samples, gaussian(2.0, side)).verdict == "believe"


@pytest.mark.parametrize("sigma", [1.1, 3.0])
def test_a_kernel_too_wide_or_narrow_is_doubted(samples, sigma):
    trust = judged(samples, gaussian(sigma))
    assert trust.verdict == "doubtful"
    assert "predicts held-out light better" in trust.why


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_points_by_chance_are_no_finer_detail(seed):
    """Few frequencies of a ring hold much more light than those of the one before."""
    random = np.random.default_rng(seed)
    points = np.zeros((1, 180, 190), np.float32)
    points[0, random.integers(0, 180, 90), random.integers(0, 190, 90)] = 3000
    blur = Blur(torch.from_numpy(gaussian(2.0).at().copy()))
    seen = sampled(ops.blur(torch.from_numpy(points), blur)[0].clamp(min=0).double().numpy() + 10)
    assert judged(seen, gaussian(2.0)).verdict == "believe"
    assert judged(seen, gaussian(2.4)).verdict == "doubtful"


def test_the_same_is_said_twice(samples):
    assert judged(samples, gaussian(1.7)) == judged(samples, gaussian(1.7))


def test_detail_refutes_wide_kernels_only(samples):
    detail = detail_of(samples)
    rises = [detail.rise(torch.from_numpy(gaussian(s).at()[0].copy())) for s in (1.3, 2.0, 3.0)]
    assert rises == sorted(rises)
    assert rises[1] < RISES < rises[2]
    assert 2.0 < detail.widest() < 4.0


def test_one_ring_of_noise_by_itself_makes_no_image_sharp():
    # Its 16th ring of frequencies lies 4 standard errors above the noise, by chance.
    scene = Scene("nuclei", "gaussian", 1000.0, seed=3)
    assert detail_of(samples_of(scene)[:1]).widest() > 2
    assert judged(samples_of(scene), gaussian(2.0, 41)).verdict == "believe"


def test_a_sharp_image_has_nothing_to_deblur_and_a_blurred_one_has():
    # A checkerboard of random blocks: as fine as pixels are.
    light = np.random.default_rng(1).choice([10.0, 200.0], (96, 96), p=[0.9, 0.1])
    sharp = sampled(light)
    assert detail_of(sharp).widest() < SHARP
    trust = judged(sharp, gaussian(2.0))
    assert (trust.verdict, trust.why) == (
        "nothing to deblur",
        "the image is as sharp as its pixels",
    )
    assert detail_of(sampled(filaments(1.0))).widest() > SHARP


def test_noise_alone_has_nothing_to_deblur():
    trust = judged(sampled(np.full((96, 96), 20.0)), gaussian(2.0))
    assert trust.verdict == "nothing to deblur"
    assert trust.why == "no structure stands out from the noise"


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (Kernel(np.ones((3, 3, 3)) / 27), "the image is smaller than 8 × 32 × 32 voxels (z, y, x)"),
        (Kernel(np.ones((1, 1))), "it is a point, and leaves the image as it is"),
        (Kernel(np.pad(np.ones((1, 1)), 4)), "it is a point, and leaves the image as it is"),
        (Kernel(np.pad(np.ones((1, 1, 1)), 2)), "it is a point, and leaves the image as it is"),
    ],
)
def test_what_is_not_judged_says_why(samples, kernel, why):
    trust = judged(samples, kernel)
    assert (trust.verdict, trust.why) == ("not judged", why)


@pytest.mark.parametrize(("sigma", "verdict"), [(2.0, "believe"), (3.6, "doubtful")])
def test_a_kernel_is_judged_in_however_large_a_box(samples, sigma, verdict):
    wide = gaussian(sigma, 255)
    assert judged(samples, wide).verdict == verdict
    assert judged(samples, wide).signs == judged(samples, gaussian(sigma, 45)).signs


def path(side, factor):
    """A camera's path through 141 pixels, times a factor."""
    random = np.random.default_rng(4)
    places = np.cumsum(gaussian_filter(random.standard_normal((2, 4000)), (0, 500)), 1)
    places -= (places.max(1, keepdims=True) + places.min(1, keepdims=True)) / 2
    places *= factor * 70 / np.abs(places).max()
    kernel = np.zeros((side, side))
    np.add.at(kernel, tuple((places + side // 2).round().astype(int)), 1)
    return Kernel(gaussian_filter(kernel, 1.0))


def test_a_very_wide_kernel_is_judged_on_summed_pixels():
    true = torch.from_numpy(path(161, 1.0).at()[0].copy())
    light = OBJECTS["filaments"]((560, 560), np.random.default_rng(3)).astype(np.float32)
    seen = ops.blur(torch.from_numpy(light), Blur(true[None])).clamp(min=0)
    samples = sampled(3000 * seen.double().numpy() + 10)
    assert judged(samples, path(221, 1.0)).verdict == "believe"
    trust = judged(samples, path(221, 1.3))
    assert trust.verdict == "doubtful"
    assert "times as wide predicts" in trust.why


def test_a_kernel_wider_than_the_image_is_doubted():
    small = sampled(filaments(2.0)[:128, :100])
    for side in (201, 112):
        trust = judged(small, gaussian(20.0, side))
        assert (trust.verdict, trust.why) == ("doubtful", "it is wider than the image")
    assert judged(small, gaussian(2.0, 201)).verdict == "believe"


def varying(side=160, seed=7):
    """Blur filaments by a σ from 1 px on the left to 3 px on the right."""
    sigmas = np.linspace(1, 3, 7)
    light = OBJECTS["filaments"](ops.object_shape((side, side), (21, 21)),
                                 np.random.default_rng(seed))  # fmt: skip
    light = torch.from_numpy(light.astype(np.float32))
    seen, at = torch.zeros(side, side), np.linspace(1, 3, side)
    for sigma in sigmas:
        weight = np.clip(1 - np.abs(at - sigma) / (sigmas[1] - sigmas[0]), 0, None)
        blur = Blur(torch.from_numpy(gaussian(sigma, 21).at()[0].copy())[None])
        seen += ops.blur(light, blur) * torch.from_numpy(weight.astype(np.float32))
    return 400 * seen.clamp(min=0).double().numpy() + 10


def test_one_kernel_where_the_blur_varies_is_doubted():
    (one,) = sampled(varying())
    trust = judged([one], gaussian(1.5, 21))
    assert trust.verdict == "doubtful"
    assert trust.why == "parts of the image want other widths: try the scope field"
    assert trust.signs["varies"] > VARIES
    # The same of two places of a larger image, each of one blur.
    apart = [*sampled(filaments(1.1)), *sampled(filaments(3.0))]
    assert judged(apart, gaussian(1.6)).signs["varies"] > VARIES
    trust = judged([one], gaussian(1.5, 21), everywhere=False)
    assert trust.verdict == "believe"


def test_parts_of_an_image_of_one_blur_want_the_same_width(samples):
    other = sampled(filaments(2.0)[::-1].copy())
    for some in (samples, [*samples, *other]):
        trust = judged(some, gaussian(2.0))
        assert trust.verdict == "believe"
        assert trust.signs["varies"] < VARIES / 2


def test_small_images_are_not_judged():
    trust = judged(sampled(np.full((40, 96), 20.0)), gaussian(2.0))
    assert trust.why == "the image is smaller than 48 pixels"


def test_detail_is_not_told_from_noise_that_was_guessed(samples):
    assert detail_of(sampled(filaments(2.0), gain=None, origins={"noise": "estimated"})) is None
    assert detail_of(sampled(filaments(2.0), gain=None)) is not None


def test_pixels_without_data_are_left_out(samples):
    (one,) = samples
    tile = one.tile.clone()
    tile[20:30, 40:60] = float("nan")
    trust = judged([Sample(tile, one.region, 0, 0, None, one.facts)], gaussian(2.0))
    assert trust.verdict == "believe"
    assert all(np.isfinite(v) for v in trust.signs.values())


def textured(photons, read_noise, sigma=2.0, seed=3):
    """A photograph, more or less: things in front of each other, no dark ground, gain estimated."""
    random = np.random.default_rng(8)
    y, x = np.mgrid[:176, :176]
    light = np.ones((176, 176))
    for _ in range(300):
        radius = 3 * random.random() ** -0.5
        place = random.random(2) * 176
        light[np.hypot(y - place[0], x - place[1]) < radius] = 0.2 + 0.8 * random.random()
    blur = Blur(torch.from_numpy(gaussian(sigma).at()[0].copy())[None])
    seen = ops.blur(torch.from_numpy(light.astype(np.float32)), blur).numpy()
    random = np.random.default_rng(seed)
    counts = random.poisson(seen / seen.max() * photons) * 1.5 + 100
    counts = np.rint(counts + read_noise * random.standard_normal(counts.shape)).astype(np.uint16)
    return views_of(open_stack(counts, "yx"), solid=False, given={0: Facts()}, gamma="linear")[
        0
    ].samples(solid=False, blurs=None, most=2)


@pytest.mark.parametrize(("photons", "read_noise"), [(300, 2.0), (3000, 5.0), (150, 8.0)])
def test_what_the_true_kernel_leaves_of_a_photograph_is_noise(photons, read_noise):
    # What is kept to restore has 150 photons at most: with far more held out, what the prediction
    # errs by was taken for structure of the image.
    samples = textured(photons, read_noise)
    light = Prediction(samples, 2)
    kernel = torch.from_numpy(gaussian(2.0).at()[0].copy())
    with torch.no_grad():
        assert light.colour(light.predicted(kernel)) < COLOURED
    trust = judged(samples, gaussian(2.0))
    assert trust.verdict == "believe"
    assert trust.signs["colour"] < COLOURED


def test_too_wide_a_kernel_shows_on_a_bright_photograph():
    trust = judged(textured(3000, 5.0), gaussian(2.6, 21))
    assert trust.verdict == "doubtful"
    assert "one 0.75 times as wide, each after as many steps as suit it" in trust.why
    assert trust.signs["own"] > LIMITS["own"]


def test_what_another_blur_leaves_has_structure(samples):
    light = Prediction(samples, 2)
    with torch.no_grad():
        seen = [light.colour(light.predicted(torch.from_numpy(gaussian(s).at()[0].copy())))
                for s in (2.0, 4.0)]  # fmt: skip
    assert seen[0] < COLOURED < seen[1]
