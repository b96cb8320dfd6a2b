"""What the search by sparse edges promises beyond the contract."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_deblur import ops
from napari_deblur.bench.scenes import OBJECTS
from napari_deblur.methods import _sparse_grids as grids
from napari_deblur.methods import _sparse_kernel as kernels
from napari_deblur.methods import _sparse_trust as trust
from napari_deblur.methods._sparse_large import FINEST, levels_of
from napari_deblur.methods.blind_sparse import BlindSparse
from napari_deblur.methods.hyper_laplacian import HyperLaplacian
from napari_deblur.protocols import Blur, Facts, Kernel, Sample
from napari_deblur.psfs.gaussian import Gaussian


def hook(size=9):
    """A path along a diagonal and then up, as broad as a pixel."""
    kernel = torch.zeros(size, size)
    for i in range(size // 2 + 1):
        kernel[size - 2 - i, 1 + i] = 1.0
    kernel[1 : size // 2, size // 2 + 1] = 1.0
    kernel = torch.from_numpy(gaussian_filter(kernel.numpy(), 0.7, mode="constant"))
    return kernels.centred(ops.normalised(kernel))


def cartoon(shape, seed=0):
    """Round blots of many sizes: edges in all directions."""
    random = np.random.default_rng(seed)
    thing = np.full(shape, 40.0, np.float32)
    for size in (3, 5, 8, 12):
        for light in (50.0, -30.0):
            noise = gaussian_filter(random.standard_normal(shape), size, mode="wrap")
            thing += light * (noise > noise.std())
    return torch.from_numpy(thing.clip(0))


def leaves(shape, seed=0):
    """Discs of all sizes that lie on each other, as in photographs."""
    random = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    thing = np.full(shape, 100.0, np.float32)
    for _ in range(400):
        radius = 4 / random.uniform(0.05, 1) ** 0.8
        middle = random.uniform(0, 1, 2) * shape
        thing[(y - middle[0]) ** 2 + (x - middle[1]) ** 2 < radius**2] = random.uniform(0, 240)
    return torch.from_numpy(thing)


def photograph(kernel, noise, shape=(100, 104), seed=0, of=cartoon):
    """A cartoon under a kernel: the truth and what was seen."""
    blur = Blur(kernel[None])
    thing = of(ops.object_shape(shape, tuple(kernel.shape)), seed)
    random = torch.Generator().manual_seed(seed)
    seen = ops.blur(thing, blur).clone() + noise * torch.randn(shape, generator=random)
    facts = Facts(background=0.0, white=240.0, noise=max(noise, 0.1))
    region = ((0, 1), (0, shape[0]), (0, shape[1]))
    return ops.crop(thing, blur), Sample(seen, region, 0, 0, None, facts)


def found(sample, size=13, **settings):
    method = BlindSparse(**settings).resolved([sample])
    return method, method.estimate([sample], (1, size, size), None)


def likeness(kernel, truth):
    one = torch.from_numpy(kernel.at()[0].copy())
    return trust.agreement(one, grids.fitted(truth, tuple(one.shape)))


@pytest.mark.parametrize(("noise", "data"), [(0.3, "clean"), (2.5, "noisy")])
def test_a_path_is_found(noise, data):
    _, sample = photograph(hook(), noise)
    method, kernel = found(sample)
    assert method.data == data
    assert kernel.shape == (1, 13, 13)
    assert likeness(kernel, hook()) > 0.9
    assert max(abs(v) for v in kernel.centroid()) < 0.05
    assert kernel.report["doubt"] is None
    json.dumps(dict(kernel.report), allow_nan=False)


def test_the_restorer_sharpens_with_what_was_found():
    truth, sample = photograph(hook(), 0.3)
    method, kernel = found(sample)
    blur = Blur(torch.from_numpy(kernel.at().copy()))
    restorer = method.restorer()
    assert isinstance(restorer, HyperLaplacian)
    image = restorer.resolved([replace(sample, blur=blur)])(sample.tile, blur).image
    # The found kernel may lie a pixel beside the true one, and the image then as well.
    moved = [image.roll((dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    errors = [float((m - truth)[14:-14, 14:-14].square().mean()) for m in moved]
    before = float((sample.tile - truth)[14:-14, 14:-14].square().mean())
    assert min(errors) < 0.2 * before


def fluorescent(photons, sigma=2.0, seed=5):
    """Filaments in light of few photons, as a camera of one count a photon sees them."""
    side = int(8 * sigma) // 2 * 2 + 1
    kernel = torch.from_numpy(
        Gaussian((0.0, sigma, sigma))((1, side, side), (1.0,) * 3).at()[0].copy()
    )
    shape, random = (144, 144), np.random.default_rng(seed)
    light = OBJECTS["filaments"](ops.object_shape(shape, tuple(kernel.shape)), random)
    seen = ops.blur(torch.from_numpy(light.astype(np.float32)), Blur(kernel[None].clone()))
    counts = random.poisson(photons * seen.clamp(min=0).double().numpy() + 10).astype(np.float32)
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, noise=10**0.5, background=10.0)
    return Sample(torch.from_numpy(counts), ((0, 1), (0, 144), (0, 144)), 0, 0, None, facts)


def test_a_kernel_too_narrow_for_filaments_is_doubted():
    sample = fluorescent(400)
    _, kernel = found(sample, 15)
    assert "which is wider, predicts held-out light better" in kernel.report["doubt"]
    assert kernel.report["doubt_number"] > 1
    assert kernel.report["wider gaussian"] > trust.LIMIT
    # The true one is not.
    true = torch.from_numpy(Gaussian((0.0, 2.0, 2.0))((1, 17, 17), (1.0,) * 3).at()[0].copy())
    sign, why = trust.refuted([sample], true)
    assert why is None
    assert sign < 0


def test_the_true_path_of_a_camera_is_not_doubted_for_its_photons():
    path = grids.fitted(hook(), (13, 13))
    _, sample = photograph(hook(), 0.0)
    light = torch.from_numpy(np.random.default_rng(3).poisson(4.0 * sample.tile.clamp(min=0)))
    facts = Facts(gain=1.0, offset=0.0, read_noise=0.0, noise=1.0, background=0.0)
    sign, why = trust.refuted([replace(sample, tile=light.float(), facts=facts)], path)
    assert why is None
    assert sign < trust.LIMIT
    # Where the noise of photons isn't known, held-out light is not asked.
    assert trust.refuted([sample], path) == (None, None)


def test_too_few_pixels_are_doubted_or_refused():
    random = np.random.default_rng(1)
    for side in (3, 40):
        tile = torch.from_numpy(random.poisson(30, (side, side)).astype(np.float32))
        sample = Sample(tile, ((0, 1), (0, side), (0, side)), 0, 0, None, Facts(background=0.0))
        if side == 3:
            with pytest.raises(ValueError, match="the image has 3 × 3 pixels: too few to find a"):
                found(sample, 3)
        else:
            report = found(sample, 9)[1].report
            assert "the image is smaller than 48 pixels" in report["doubt"]
            assert report["doubt_number"] > 1


def test_several_samples_and_holes_serve_one_kernel():
    samples = []
    for seed in (1, 2):
        _, sample = photograph(hook(), 0.3, (72, 76), seed)
        sample.tile[30:34, 20:25] = torch.nan
        samples.append(sample)
    method = BlindSparse().resolved(samples)
    kernel = method.estimate(samples, (1, 13, 13), None)
    assert likeness(kernel, hook()) > 0.85
    assert len(kernel.report["samples"]) == 2


def test_planes_of_a_volume_share_the_kernel():
    one, two = (photograph(hook(), 0.3, (72, 76), seed)[1] for seed in (1, 2))
    sample = replace(one, tile=torch.stack([one.tile, two.tile]), region=((0, 2), *one.region[1:]))
    method = BlindSparse(twice=False).resolved([sample])
    kernel = method.estimate([sample], (1, 13, 13), None)
    assert likeness(kernel, hook()) > 0.85
    assert kernel.report["agreement"] is None


def test_a_flat_image_gives_a_point_and_no_numbers_that_json_lacks():
    region = ((0, 1), (0, 40), (0, 42))
    sample = Sample(torch.full((40, 42), 7.0), region, 0, 0, None, Facts(background=0.0))
    _, kernel = found(sample, 9)
    assert kernel.at()[0, 4, 4] == 1
    json.dumps(dict(kernel.report), allow_nan=False)


def test_a_tile_finds_its_kernel_where_the_start_does_not_explain_it():
    _, sample = photograph(hook(), 0.3)
    start = Gaussian.wide((1, 13, 13))
    wide = Blur(torch.from_numpy(start.at().copy()))
    method = BlindSparse(twice=False).resolved([replace(sample, blur=wide)])
    estimate = method(sample.tile, wide)
    assert trust.agreement(estimate.kernel, grids.fitted(hook(), (13, 13))) > 0.85
    right = Blur(estimate.kernel[None])
    assert torch.equal(method(sample.tile, right).kernel, estimate.kernel)


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match="edges is 0"):
        BlindSparse(edges=0)
    with pytest.raises(ValueError, match="rounds is 0"):
        BlindSparse(rounds=0)
    with pytest.raises(ValueError, match="refinements is -1"):
        BlindSparse(refinements=-1)
    with pytest.raises(ValueError, match='data is "clear"'):
        BlindSparse(data="clear")
    tile = torch.ones(20, 20)
    with pytest.raises(ValueError, match="call resolved"):
        BlindSparse()(tile, Blur(hook()[None]))
    with pytest.raises(ValueError, match="call resolved"):
        BlindSparse().estimate(
            [Sample(tile, ((0, 1), (0, 20), (0, 20)), 0, 0, None, Facts())], (1, 5, 5), None
        )


def shaken(size=71):
    """A loop and a tail, three pixels wide, that reach across the whole shape."""
    time = np.linspace(0, 1, 2000)
    y = 0.8 * np.sin(5 * time + 0.5) + 0.3 * np.cos(9 * time)
    x = np.cos(5 * time) - 1.2 * time + 0.2 * np.sin(11 * time)
    places = [v - v.min() for v in (y, x)]
    reach = (size - 14) / max(float(v.max()) for v in places)
    kernel = np.zeros((size, size), np.float32)
    rows, columns = (
        np.round(v * reach + (size - reach * v.max()) / 2).astype(int).clip(0, size - 1)
        for v in places
    )
    np.add.at(kernel, (rows, columns), 1.0)
    kernel = torch.from_numpy(gaussian_filter(kernel, 1.3, mode="constant"))
    return kernels.centred(ops.normalised(kernel))


def test_a_large_kernel_is_found_in_an_image_that_it_mixes_with_its_surroundings():
    _, sample = photograph(shaken(), 2.0, (240, 244), of=leaves)
    sample.tile[100:110, 120:140] = torch.nan
    _, kernel = found(sample, 71, rounds=3)
    assert likeness(kernel, shaken()) > 0.9
    assert max(abs(v) for v in kernel.centroid()) < 0.05
    assert kernel.report["agreement"] > 0.9
    assert kernel.report["doubt"] is None
    assert kernel.report["scale"] == 0.5
    json.dumps(dict(kernel.report), allow_nan=False)


def test_a_flat_image_gives_a_large_kernel_that_is_a_point():
    region = ((0, 1), (0, 140), (0, 142))
    sample = Sample(torch.full((140, 142), 7.0), region, 0, 0, None, Facts(background=0.0))
    _, kernel = found(sample, 71)
    assert kernel.at()[0, 35, 35] == 1
    json.dumps(dict(kernel.report), allow_nan=False)


@pytest.mark.parametrize("shape", [(191, 191), (65, 65), (90, 70), (1, 99), (65, 9, 9)])
def test_levels_of_large_kernels_end_at_some_50_pixels(shape):
    levels = levels_of(shape)
    assert 20 < max(n * levels[-1][0] for n in shape) <= FINEST
    assert max(levels[0][1]) <= 7
    for scale, size in levels:
        assert all(m >= n * scale for n, m in zip(shape, size, strict=True))
        assert all(m % 2 == 1 for m in size)


@pytest.mark.parametrize("shape", [(31, 31), (8, 13), (191, 191), (9, 9, 9), (1, 9)])
def test_levels_grow_to_the_shape_asked_for(shape):
    levels = grids.shapes_of(shape)
    assert levels[-1] == (1.0, shape)
    assert max(levels[0][1]) <= 3
    for (small, _), (large, _) in pairwise(levels):
        assert large / small == pytest.approx(2**0.5)


@pytest.mark.parametrize("n", [8, 9])
def test_a_kernel_resampled_keeps_its_centre(n):
    kernel = grids.fitted(ops.delta((n, n)), (13, 13), 2**0.5)
    assert float(kernel.sum()) == pytest.approx(1)
    assert float(ops.centroid(kernel).abs().max()) < 1e-5


def test_a_coarser_copy_of_the_mirror_image_is_the_mirrored_copy():
    values = torch.rand(1, 30, 33)
    mask = (torch.rand(1, 30, 33) > 0.1).float()
    one, known = grids.coarser(values, mask, 0.5**0.5, 2)
    two, _ = grids.coarser(values.flip(-1), mask.flip(-1), 0.5**0.5, 2)
    assert known is not None
    torch.testing.assert_close(one.flip(-1), two)


@pytest.mark.parametrize("even", [False, True])
def test_the_equations_of_the_true_image_give_the_true_kernel(even):
    """An object of zeros around its border: then nothing is cut off and both are exact."""
    truth = hook()
    sharp = torch.zeros(1, 64, 66)
    sharp[0, 20:44, 20:46] = torch.rand(24, 26, generator=torch.Generator().manual_seed(1))
    thing = torch.zeros(1, 72, 74)
    thing[:, 4:68, 4:70] = sharp
    seen = ops.blur(thing, Blur(truth[None])).clone()
    view = grids.view_of(seen, None, (9, 9))
    of = kernels.equations([(view, sharp)], (9, 9), even=even)
    start = ops.delta((9, 9))
    tolerance = 0.05 if even else 2e-3  # unequal counts are of no use where nothing is cut off
    assert float((kernels.divided(of, 1e-6, start) - truth).abs().max()) < tolerance
    slow = start
    for _ in range(10):
        slow = kernels.on_simplex(of, 0.0, slow)
    assert float((slow - truth).abs().max()) < tolerance
    assert float(slow.sum()) == pytest.approx(1, abs=1e-5)
    assert float(slow.min()) >= 0


def test_cleaning_drops_islands_and_noise_but_no_strand():
    kernel = torch.zeros(15, 15)
    kernel[7, 3:12] = 1.0
    kernel[6, 3] = 0.01
    kernel[13, 13] = 0.2
    left = kernels.cleaned(kernel)
    assert int((left > 0).sum()) == 9
    assert float(left.sum()) == pytest.approx(1)


def test_doubt_names_its_reasons():
    good = trust.Signs(1.0, 0.2, 0.5, 0.0)
    assert trust.doubt(good, 0.9, 0.01, refined=True)[1] is None
    number, sentence = trust.doubt(replace(good, border=0.2), 0.5, 0.01, refined=False)
    assert number > 1
    assert "border" in sentence
    assert "different kernels" in sentence


def test_the_other_kernel_is_taken_when_the_first_collapsed():
    collapsed, fine = trust.Signs(0.7, 0.3, 0.6, 0.0), trust.Signs(0.8, 0.3, 0.45, 0.0)
    assert trust.better(collapsed, fine)
    assert not trust.better(fine, collapsed)
    assert not trust.better(collapsed, replace(fine, residual=2.0))


def test_first_gives_the_pixel_size():
    _, sample = photograph(hook(), 0.3, (60, 60))
    method = BlindSparse(twice=False, refinements=0, rounds=1).resolved([sample])
    first = Kernel(np.ones((1, 5, 5)), (1.0, 0.2, 0.2))
    assert method.estimate([sample], (1, 9, 9), first).pixel_size == (1.0, 0.2, 0.2)
