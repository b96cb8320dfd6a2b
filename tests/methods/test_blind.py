"""What the search by families promises: it finds planted kernels, and says when to doubt."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_deblur import estimate_kernel, plan
from napari_deblur.bench.scenes import Case
from napari_deblur.methods import _families as families
from napari_deblur.methods._prediction import PRIORS, Prediction
from napari_deblur.methods._trust import alike
from napari_deblur.methods.blind import Blind
from napari_deblur.protocols import Facts, Kernel, Sample
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.psfs.pupil import Pupil

SIZE = (0.3, 0.1, 0.1)
LENS = {"na": 1.2, "wavelength": 0.52, "n_immersion": 1.33}


def sample_of(kernel, thing="filaments", peak=300.0, shape=(112, 112), **facts):
    """A scene under a kernel, with known camera."""
    from napari_deblur.bench.kernels import KERNELS

    KERNELS["planted"] = lambda: kernel
    try:
        scene = Case(thing, "planted", peak, shape).scene()
    finally:
        del KERNELS["planted"]
    region = tuple((0, n) for n in (1, *shape)[-3:])
    return Sample(scene.tile, region, 0, 0, None, replace(scene.facts, **facts), SIZE)


def gaussian(sigma, shape=(1, 17, 17)):
    return Gaussian(sigma)(shape, SIZE).at()


@pytest.fixture(scope="module")
def found():
    """What the whole search makes of filaments under a Gaussian."""
    return Blind().estimate([sample_of(gaussian((0.0, 0.2, 0.2))[0])], (1, 21, 21), None)


def test_a_gaussian_is_found_and_believed(found):
    report = found.report
    assert report["family"] == "gaussian"
    assert report["parameters"]["sigma"] == pytest.approx(0.2, rel=0.08)
    assert report["verdict"] == "believe"
    assert report["runner-up"]["family"] == "disc"
    assert report["deviance"] < report["deviance without a kernel"]
    assert min(misfit for _, misfit in report["profile"]) == pytest.approx(0, abs=1)
    json.dumps(dict(report))


def test_a_search_gives_the_same_twice(found):
    again = Blind().estimate([sample_of(gaussian((0.0, 0.2, 0.2))[0])], (1, 21, 21), None)
    np.testing.assert_array_equal(found.array, again.array)


def test_a_kernel_of_a_resampled_image_is_doubted():
    sample = sample_of(gaussian((0.0, 0.2, 0.2))[0], colour=80.0)
    report = Blind().estimate([sample], (1, 21, 21), None).report
    assert report["verdict"] == "doubtful"
    assert "the image was filtered or resampled" in report["why"]


def test_a_disc_is_told_from_a_gaussian():
    from napari_deblur.psfs.disc import Disc

    sample = sample_of(Disc(0.4)((1, 17, 17), SIZE).at()[0])
    found = Blind().estimate([sample], (1, 21, 21), None)
    assert found.report["family"] == "disc"
    assert found.report["parameters"]["radius"] == pytest.approx(0.4, rel=0.08)


def test_defocus_of_a_known_lens_is_found():
    model = Pupil(**LENS, defocus=0.5, zernike=(0, 0.06, 0, 0, -0.05))
    true = model((1, 27, 27), SIZE).at()[0]
    sample = sample_of(true, "beads", 1000.0, (96, 96), **LENS)
    found = Blind(families=("pupil",), refine=False).estimate([sample], (1, 27, 27), None)
    likeness = alike(torch.from_numpy(found.at()[0].copy()), torch.from_numpy(true.copy()))
    flat = Pupil(**LENS)((1, 27, 27), SIZE).at()[0]
    before = alike(torch.from_numpy(flat.copy()), torch.from_numpy(true.copy()))
    assert likeness > 0.9 > 0.7 > before


def test_a_volume_is_searched_in_both_directions():
    true = gaussian((0.45, 0.15, 0.15), (9, 11, 11))
    sample = sample_of(true, "beads", 1000.0, (20, 48, 48))
    found = Blind().estimate([sample], (9, 13, 13), None)
    assert found.report["parameters"]["sigma across"] == pytest.approx(0.15, rel=0.15)
    assert found.report["parameters"]["sigma along"] == pytest.approx(0.45, rel=0.2)


def test_a_sharp_image_and_pure_noise_have_nothing_to_deblur():
    sharp = sample_of(gaussian((0.0, 0.02, 0.02), (1, 3, 3))[0], "beads", 3000.0)
    # The scene's own beads are a little wider than a pixel: points are not.
    random = np.random.default_rng(4)
    points = np.full((112, 112), 10.0)
    points[random.integers(0, 112, 60), random.integers(0, 112, 60)] += 400
    tile = torch.from_numpy(random.poisson(points).astype(np.float32))
    found = Blind().estimate([replace(sharp, tile=tile)], (1, 21, 21), None)
    assert found.report["verdict"] == "nothing to deblur"
    assert found.at()[0, 10, 10] == 1
    points = np.where(random.random((112, 112)) < 0.02, 500.0, 10.0)
    tile = torch.from_numpy(random.poisson(points).astype(np.float32))
    found = Blind().estimate([replace(sharp, tile=tile)], (1, 41, 41), None)
    assert found.report["verdict"] == "nothing to deblur"
    noise = torch.from_numpy(random.poisson(30, (112, 112)).astype(np.float32))
    found = Blind().estimate([replace(sharp, tile=noise)], (1, 21, 21), None)
    assert found.report["verdict"] == "nothing to deblur"
    assert "noise" in found.report["why"]


def test_smooth_objects_get_no_kernel_that_is_much_too_wide():
    sample = sample_of(gaussian((0.0, 0.2, 0.2))[0], "blobs", 1000.0, (140, 140))
    found = Blind(families=("gaussian",), refine=False).estimate([sample], (1, 31, 31), None)
    assert found.report["prior"] == "smooth"
    assert 0.16 < found.report["parameters"]["sigma"] < 0.245


def test_a_kernel_too_large_for_its_shape_is_doubted():
    sample = sample_of(gaussian((0.0, 0.4, 0.4), (1, 33, 33))[0])
    found = Blind().estimate([sample], (1, 9, 9), None)
    assert found.report["verdict"] == "doubtful"
    assert "larger" in found.report["why"] or "largest" in found.report["why"]


def test_a_given_kernel_is_tried_with_an_extra_blur():
    given = Kernel(gaussian((0.0, 0.1, 0.1)), SIZE)
    sample = sample_of(gaussian((0.0, 0.2, 0.2))[0])
    found = Blind(families=("disc",)).estimate([sample], (1, 21, 21), given)
    assert found.report["family"] == "given"
    assert found.report["parameters"]["blur"] == pytest.approx(0.03**0.5, rel=0.15)


def test_the_next_frame_starts_from_the_last(found):
    wider = sample_of(gaussian((0.0, 0.22, 0.22))[0])
    second = Blind().estimate([wider], (1, 21, 21), found)
    assert second.report["family"] == "gaussian"
    assert second.report["parameters"]["sigma"] == pytest.approx(0.22, rel=0.08)


def test_names_of_families_are_checked():
    with pytest.raises(ValueError, match="must be of gaussian, disc, pupil, gibson-lanni"):
        Blind(families=("airy",))
    with pytest.raises(ValueError, match="needs na, wavelength and the voxel size"):
        families.families_of((1, 9, 9), None, Facts(), ("pupil",))
    with pytest.raises(ValueError, match="suits no kernel of shape"):
        families.families_of((5, 9, 9), SIZE, Facts(), ("disc",))


@pytest.mark.parametrize("side", [1, 3])
def test_an_image_of_few_pixels_is_refused(side):
    tile = torch.from_numpy(np.random.default_rng(0).poisson(30, (side, side)).astype(np.float32))
    region = ((0, 1), (0, side), (0, side))
    sample = Sample(tile, region, 0, 0, None, Facts(background=10.0))
    with pytest.raises(ValueError, match=f"the image has {side} × {side} pixels: too few to find"):
        Blind().estimate([sample], (1, side, side), None)


def test_a_kernel_of_one_pixel_leaves_nothing_to_find():
    sample = sample_of(gaussian((0.0, 0.2, 0.2))[0], shape=(48, 48))
    with pytest.raises(ValueError, match="a kernel of 1 × 1 pixels leaves nothing to find"):
        Blind().estimate([sample], (1, 1, 1), None)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_the_gradient_is_that_of_the_deviance(prior):
    sample = sample_of(gaussian((0.0, 0.2, 0.2))[0], shape=(48, 48))
    light = Prediction([sample], 2)
    light.steps = 6
    (family,) = families.families_of((1, 13, 13), SIZE, Facts(), ("gaussian",))

    def deviance(sigma):
        return light.deviance(family.kernel(sigma), prior)

    at = torch.tensor([0.17], requires_grad=True)
    (slope,) = torch.autograd.grad(deviance(at), at)
    step = 2e-3
    with torch.no_grad():
        rise = deviance(at + step) - deviance(at - step)
    assert float(slope) == pytest.approx(float(rise) / (2 * step), rel=0.02)


def test_normal_noise_holes_and_planes_of_a_volume_are_served():
    sample = sample_of(gaussian((0.0, 0.2, 0.2))[0], "mixed", 1000.0, (80, 80))
    clear = sample_of(gaussian((0.0, 0.2, 0.2))[0], "mixed", 6e4, (80, 80)).tile / 60
    noise = np.random.default_rng(3).normal(0, 5, clear.shape)
    tile = clear + torch.from_numpy(noise.astype(np.float32))
    tile[20:24, 30:34] = torch.nan
    unknown = replace(sample, tile=tile, facts=Facts(background=0.0, noise=5.0))
    found = Blind(families=("gaussian",)).estimate([unknown], (1, 21, 21), None)
    assert found.report["parameters"]["sigma"] == pytest.approx(0.2, rel=0.2)
    small = sample_of(gaussian((0.0, 0.2, 0.2))[0], "mixed", 1000.0, (64, 64))
    planes = replace(small, tile=small.tile.expand(3, *small.tile.shape))
    same = Blind(families=("gaussian",)).estimate([planes], (1, 21, 21), None)
    one = Blind(families=("gaussian",)).estimate([small], (1, 21, 21), None)
    np.testing.assert_array_equal(same.array, one.array)


def test_a_plan_without_kernel_takes_blind_and_says_what_it_found():
    sample = sample_of(gaussian((0.0, 0.2, 0.2))[0])
    made = plan(sample.tile.numpy().astype(np.uint16), Blind(families=("gaussian",)))
    assert any("gaussian" in note and "believe" in note for note in made.notes)
    # What holds next to no light was cut off.
    assert made.kernel.shape[1] < 41
    assert made.channels[0].method.__class__.__name__ == "AcceleratedRichardsonLucy"


def test_a_shape_that_was_asked_for_is_kept():
    tile = sample_of(gaussian((0.0, 0.2, 0.2))[0], shape=(64, 64)).tile.numpy()
    found = estimate_kernel(tile, Blind(families=("gaussian",)), (1, 25, 25))
    assert found.shape == (1, 25, 25)


def test_a_lens_is_sampled_as_far_as_its_light_reaches():
    optics = Facts(na=1.2, wavelength=0.52, n_immersion=1.33)
    report = {
        "family": "gibson-lanni",
        "verdict": "believe",
        "parameters": {"depth": 3.0, "blur": 0.05},
    }
    searched = Kernel(gaussian((0.45, 0.15, 0.15), (15, 21, 21)), SIZE, report)
    wide = Blind().widened(searched, (40, 80, 80), optics)
    assert all(n > before for n, before in zip(wide.shape, searched.shape, strict=True))
    assert all(n <= most for n, most in zip(wide.shape, (79, 95, 95), strict=True))
    assert wide.report == report
    confocal = replace(searched, report={**report, "family": "gaussian"})
    assert Blind().widened(confocal, (40, 80, 80), optics) is confocal
