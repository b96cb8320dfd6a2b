import math
from time import process_time

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import erf, j1

from napari_deblur.kernel_measures import (
    _moved,
    aligned_ncc,
    asymmetry,
    best_shift,
    border_mass,
    encircled_radius,
    full_widths,
    limits,
    measured,
    ncc,
    power_beyond,
    signal_to_noise,
    transfer,
)
from napari_deblur.kernel_transfer import trimmed
from napari_deblur.protocols import Facts, Kernel

SIZE = (0.3, 0.1, 0.1)
FULL_WIDTH = 2.3548


def line(n, sigma, off=0.0):
    """Integrate a Gaussian over each of n pixels; its middle lies `off` beside n // 2."""
    edges = (np.arange(n + 1) - n // 2 - 0.5 - off) / (sigma * np.sqrt(2))
    return np.diff(erf(edges)) / 2


def gaussian(shape, sigmas, off=(0.0, 0.0, 0.0)):
    z, y, x = (
        np.ones(1) if n == 1 else line(n, s, o) for n, s, o in zip(shape, sigmas, off, strict=True)
    )
    return z[:, None, None] * y[:, None] * x


def airy(na, wavelength, pixel, n=41, off=(0.0, 0.0), fine=9):
    """Integrate the disc of a pupil without aberrations over each pixel."""
    places = (np.arange(n * fine) + 0.5) / fine - n / 2
    y, x = ((places - o) * pixel for o in off)
    q = 2 * np.pi * na / wavelength * np.hypot(y[:, None], x) + 1e-12
    return ((2 * j1(q) / q) ** 2).reshape(n, fine, n, fine).mean(axis=(1, 3))


def half_width(curve, places):
    above = places[curve >= curve.max() / 2]
    return above[-1] - above[0]


@pytest.mark.parametrize("off", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.7, 4.0])
def test_widths_of_gaussians_are_those_of_a_least_squares_fit(sigma, off):
    kernel = Kernel(gaussian((1, 33, 33), (0, 1.2, sigma), (0, 0.2, off)))
    fitted = curve_fit(
        lambda x, a, m, s: a * np.exp(-((x - m) ** 2) / (2 * s**2)),
        np.arange(33) - 16,
        kernel.at()[0, 16].astype(float),
        (0.3, off + 0.1, 1.1 * sigma),
    )[0][2]
    assert full_widths(kernel)[2] == pytest.approx(FULL_WIDTH * abs(fitted), rel=0.02)
    # A pixel's own width is within: a twelfth of its square.
    assert full_widths(kernel)[2] == pytest.approx(
        FULL_WIDTH * np.hypot(sigma, 1 / np.sqrt(12)), rel=0.02
    )


@pytest.mark.parametrize("off", [(0.0, 0.0), (0.0, 0.25), (0.5, 0.5)])
@pytest.mark.parametrize("pixel", [0.1, 0.065, 0.03])
def test_widths_of_pupils_are_within_two_percent_of_the_curve_itself(pixel, off):
    kernel = Kernel(airy(1.2, 0.52, pixel, off=off), (1.0, pixel, pixel))
    fine = airy(1.2, 0.52, pixel / 15, n=301, fine=3)
    # Over a pixel 15 fine ones wide.
    box = np.ones(15) / 15
    row = np.apply_along_axis(np.convolve, 0, fine, box, mode="same")[150]
    row = np.convolve(row, box, mode="same")
    places = (np.arange(301) - 150) * pixel / 15
    true = half_width(np.interp(np.linspace(places[0], places[-1], 60001), places, row),
                      np.linspace(places[0], places[-1], 60001))  # fmt: skip
    assert full_widths(kernel)[2] == pytest.approx(true, rel=0.02)


def test_widths_are_in_micrometres_for_each_axis():
    kernel = Kernel(gaussian((25, 31, 35), (2.5, 2.0, 3.0)), SIZE)
    true = [
        FULL_WIDTH * math.hypot(s, 12**-0.5) * p for s, p in zip((2.5, 2, 3), SIZE, strict=True)
    ]
    assert full_widths(kernel) == pytest.approx(true, rel=2e-3)


def test_hard_edges_and_single_voxels_have_their_own_width():
    assert full_widths(Kernel(np.eye(9)[4][None] * np.eye(9)[4][:, None]))[1:] == (1.0, 1.0)
    bar = np.zeros((9, 15))
    bar[4, 4:11] = 1
    assert full_widths(Kernel(bar))[1:] == (1.0, 7.0)
    assert full_widths(Kernel(np.ones((5, 5))))[1:] == (math.inf, math.inf)
    assert full_widths(Kernel(bar))[0] is None


@pytest.mark.parametrize("off", [(0.0, 0.0), (0.3, -0.2)])
@pytest.mark.parametrize("radius", [2.5, 4.0, 6.0, 11.3])
def test_a_disc_is_as_wide_as_twice_its_radius_both_ways(radius, off):
    fine = (np.arange(31 * 16) + 0.5) / 16 - 15.5
    y, x = ((fine - o)[:, None] for o in off)
    disc = (np.hypot(y, x.T) <= radius).reshape(31, 16, 31, 16).mean(axis=(1, 3))
    assert full_widths(Kernel(disc))[1:] == pytest.approx([2 * radius] * 2, rel=0.02)


def test_the_middle_of_a_flat_top_is_in_its_own_piece():
    two = np.zeros((1, 21, 21))
    two[0, 5:8, 3:14] = two[0, 15:18, 3:14] = 1
    assert full_widths(Kernel(two))[1:] == (3.0, 11.0)


def test_energy_radii_of_a_gaussian_are_those_of_the_formula():
    kernel = Kernel(gaussian((1, 41, 41), (0, 3.0, 3.0), (0, 0.3, -0.4)), (1.0, 0.1, 0.1))
    wide = math.hypot(3, 12**-0.5) * 0.1
    for share in (0.5, 0.9):
        true = wide * math.sqrt(-2 * math.log(1 - share))
        assert encircled_radius(kernel, share) == pytest.approx(true, rel=0.01)
    with pytest.raises(ValueError, match="between 0 and 1"):
        encircled_radius(kernel, 1.0)


def test_what_is_symmetric_has_no_asymmetry_wherever_it_lies():
    assert max(asymmetry(gaussian((15, 25, 25), (2, 2.5, 3)))) < 1e-6
    # Cubic splines move it by parts of a pixel.
    assert max(asymmetry(gaussian((15, 25, 25), (2, 2.5, 3), (0.3, 0.4, -0.2)))) < 0.01


def test_asymmetry_is_the_share_of_light_that_a_mirror_moves():
    comet = np.zeros((1, 9, 41))
    comet[0, 4, 10:30] = np.exp(-np.arange(20) / 5)
    z, y, x = asymmetry(comet)
    assert z is None
    assert y < 1e-9
    assert 0.2 < x < 0.6


def test_the_transfer_function_of_a_pupil_ends_at_its_limit():
    kernel = Kernel(airy(1.2, 0.52, 0.065, n=81), (1.0, 0.065, 0.065))
    found = measured(kernel, Facts(na=1.2, wavelength=0.52))
    assert found.limit == (None, pytest.approx(2 * 1.2 / 0.52))
    # At 1 % of its height: 4 % before its end.
    assert found.cutoff[1] == pytest.approx(0.96 * found.limit[1], rel=0.02)
    frequency, values = transfer(kernel).across
    share = frequency / found.limit[1]
    inside = share < 0.9
    true = 2 / np.pi * (np.arccos(share[inside]) - share[inside] * np.sqrt(1 - share[inside] ** 2))
    pixel = np.sinc(frequency[inside] * 0.065)  # near enough, of a square pixel
    np.testing.assert_allclose(values[inside], true * pixel, atol=0.03)


def test_power_beyond_the_limit_tells_a_kernel_too_narrow_for_its_optics():
    right = Kernel(airy(0.8, 0.52, 0.065), (1.0, 0.065, 0.065))
    narrow = Kernel(airy(1.4, 0.52, 0.065), (1.0, 0.065, 0.065))
    assert power_beyond(right, 0.8, 0.52) < 1e-4
    assert power_beyond(narrow, 0.8, 0.52) > 0.1
    with pytest.raises(ValueError, match="no voxel size"):
        power_beyond(Kernel(np.ones((5, 5))), 0.8, 0.52)


def test_power_along_z_counts_where_the_immersion_is_known():
    short = Kernel(gaussian((21, 21, 21), (0.5, 4, 4)), (0.1, 0.1, 0.1))
    assert power_beyond(short, 0.8, 0.52) < 1e-3
    assert power_beyond(short, 0.8, 0.52, 1.33) > 0.5
    with pytest.raises(ValueError, match="no light enters at that angle"):
        limits(1.4, 0.52, 1.33)


def test_light_at_the_border_is_that_of_the_outermost_pixels():
    assert border_mass(np.ones((5, 5))) == pytest.approx(16 / 25)
    assert border_mass(gaussian((9, 31, 31), (2, 2, 2))) < 1e-8
    # Planes at both ends of z don't count.
    assert border_mass(np.ones((5, 1, 1)) * gaussian((1, 31, 31), (0, 2, 2))) < 1e-8


@pytest.mark.parametrize("off", [(0.0, 0.0, 0.0), (0.73, -1.31, 2.42), (-3.0, 0.5, 0.0)])
def test_two_kernels_of_different_shapes_are_aligned_to_a_hundredth_of_a_pixel(off):
    one = gaussian((25, 31, 41), (3.0, 2.0, 1.5))
    other = gaussian((22, 35, 30), (3.0, 2.0, 1.5), off)
    value, shift = aligned_ncc(one, other)
    assert shift == pytest.approx([-v for v in off], abs=0.01)
    assert value > 0.9999
    assert ncc(one, other) <= value + 1e-9


def test_alignment_works_plane_by_plane_and_in_noise():
    rng = np.random.default_rng(0)
    one = gaussian((1, 31, 31), (0, 2, 2))[0]
    other = gaussian((1, 31, 31), (0, 2, 2), (0, 1.6, -0.7))[0]
    noisy = other + 0.01 * other.max() * rng.normal(size=other.shape)
    shift, _ = best_shift(one, noisy)
    assert shift == pytest.approx((-1.6, 0.7), abs=0.03)


def test_signal_to_noise_is_that_of_the_formula():
    true = gaussian((1, 21, 21), (0, 2, 2))[0]
    wrong = gaussian((1, 25, 25), (0, 2.2, 2.2))[0]
    inner = wrong[2:-2, 2:-2] / wrong.sum()
    outside = (wrong**2).sum() / wrong.sum() ** 2 - (inner**2).sum()
    whole = true / true.sum()
    expected = 10 * np.log10((whole**2).sum() / (((whole - inner) ** 2).sum() + outside))
    assert signal_to_noise(true, wrong) == pytest.approx(expected, abs=1e-6)
    assert signal_to_noise(true, true) == math.inf


def test_a_shift_along_one_axis_is_that_of_scipy():
    from scipy.ndimage import shift

    one = gaussian((25, 27, 31), (1.5, 2, 2))  # dark at its border
    for axis, by in ((0, 0.3), (1, -1.6), (2, 2.25)):
        along = [by if a == axis else 0.0 for a in range(3)]
        np.testing.assert_allclose(
            _moved(one, by, axis),
            shift(one, along, order=3, mode="constant"),
            atol=1e-4 * one.max(),
        )


def test_a_large_kernel_is_measured_in_seconds():
    kernel = Kernel(gaussian((63, 255, 255), (5, 10, 10)), SIZE)
    start = process_time()
    found = measured(kernel, Facts(na=1.2, wavelength=0.52, n_immersion=1.33))
    assert process_time() - start < 3  # 20 s and more, when each transform was of all of it
    # exp(-2 π² σ² f²) is 1 % at 0.483 / σ.
    assert found.cutoff == (pytest.approx(0.483 / 1.5, rel=0.02), pytest.approx(0.483, rel=0.02))
    assert found.beyond < 1e-6
    assert max(found.asymmetry) < 1e-6


def test_a_cut_along_z_is_seen_at_its_ends():
    whole = gaussian((31, 15, 15), (2, 2, 2))
    assert measured(Kernel(whole, SIZE)).ends < 1e-6
    assert measured(Kernel(whole[13:18], SIZE)).ends > 0.5
    assert measured(Kernel(whole[15], SIZE)).ends is None


def test_what_trimming_takes_away_is_a_ten_thousandth():
    one = gaussian((21, 41, 61), (1, 2, 3))
    small = trimmed(one)
    assert small.sum() > (1 - 1e-4) * one.sum()
    assert small.size < one.size / 4
    point = np.zeros((3, 5, 7))
    point[2, 4, 6] = 1
    assert trimmed(point).shape == (2, 2, 2)


def test_kernels_of_other_voxels_are_not_compared():
    one, other = (Kernel(np.ones((5, 5)), (1.0, s, s)) for s in (0.1, 0.2))
    with pytest.raises(ValueError, match="resample one of them first"):
        ncc(one, other)


def test_everything_is_measured_at_once():
    kernel = Kernel(gaussian((21, 21, 21), (3.0, 2.0, 2.0), (0, 0.5, 0)), SIZE)
    found = measured(kernel, Facts(na=0.8, wavelength=0.52, n_immersion=1.33))
    assert found.unit == "µm"
    assert found.centroid == pytest.approx((0, 0.05, 0), abs=1e-4)
    assert found.beyond < 0.01
    assert found.limit[0] == pytest.approx((1.33 - math.sqrt(1.33**2 - 0.64)) / 0.52)
    flat = measured(Kernel(gaussian((1, 21, 21), (0, 2.0, 2.0))))
    assert (flat.unit, flat.fwhm[0], flat.cutoff[0], flat.limit) == ("px", None, None, None)
