"""Beads that somebody chose by hand."""

import numpy as np
import pytest
from scipy.special import erf

from napari_deblur.beads import beads_to_kernel
from napari_deblur.kernel_measures import full_widths, ncc
from napari_deblur.protocols import Cancelled
from napari_deblur.psfs.gaussian import Gaussian

SIZE = (0.3, 0.1, 0.1)
SIGMAS = (1.6, 1.4, 1.4)
SHAPE = (26, 90, 90)
GOOD = [(12.2, 20.4, 20.1), (13.1, 21.3, 65.8), (12.7, 66.0, 22.6)]
# Nearer to each other than the kernel reaches: left out unless somebody wants them.
PAIR = [(12.4, 62.0, 60.0), (12.4, 62.0, 71.5)]


def shown(places, sigmas=SIGMAS, shape=SHAPE, light=4000):
    image = np.zeros(shape)
    for place in places:
        bead = np.ones(1)
        for axis, (n, s, c) in enumerate(zip(shape, sigmas, place, strict=True)):
            line = np.diff(erf((np.arange(n + 1) - 0.5 - c) / (s * 2**0.5))) / 2
            bead = bead * (line / line.max()).reshape([-1 if a == axis else 1 for a in range(3)])
        image += light * bead
    rng = np.random.default_rng(0)
    return rng.poisson(image + 10) + rng.normal(0, 1.5, shape)


@pytest.fixture(scope="module")
def image():
    return shown(GOOD + PAIR)


def nearest(report, places):
    found = np.array([b.place for b in report.used])
    return sorted(int(np.abs(np.array(places) - p).sum(axis=1).argmin()) for p in found)


def test_the_same_places_give_the_same_kernel(image):
    kernel, report = beads_to_kernel(image, SIZE, shape=(9, 21, 21))
    assert nearest(report, GOOD + PAIR) == [0, 1, 2]
    again, told = beads_to_kernel(
        image, SIZE, shape=(9, 21, 21), places=[b.place for b in report.used]
    )
    np.testing.assert_array_equal(again.array, kernel.array)
    assert told.fwhm == report.fwhm
    assert told.used == report.used
    assert again.report["chosen"] is True
    assert kernel.report["chosen"] is False


def test_a_click_beside_the_peak_will_do(image):
    clicked = [(z + 1, y - 1.2, x + 1) for z, y, x in GOOD]
    kernel, report = beads_to_kernel(image, SIZE, places=clicked)
    found = np.array(sorted(b.place for b in report.used))
    np.testing.assert_allclose(found, np.array(sorted(GOOD)), atol=0.06)
    true = Gaussian(tuple(s * p for s, p in zip(SIGMAS, SIZE, strict=True)))(kernel.shape, SIZE)
    assert ncc(kernel, true) > 0.999
    assert full_widths(kernel)[1] == pytest.approx(full_widths(true)[1], rel=0.03)


def test_a_click_that_says_nothing_of_z_finds_the_plane(image):
    clicked = [(np.nan, y + 1, x - 1) for _, y, x in GOOD]
    _, report = beads_to_kernel(image, SIZE, places=clicked)
    found = np.array(sorted(b.place for b in report.used))
    np.testing.assert_allclose(found, np.array(sorted(GOOD)), atol=0.06)


def test_what_was_judged_badly_can_be_taken_and_what_was_judged_well_left_out(image):
    kernel, report = beads_to_kernel(image, SIZE, shape=(9, 21, 21), places=[GOOD[0], PAIR[0]])
    assert nearest(report, GOOD + PAIR) == [0, 3]
    assert len(report.beads) == 2
    assert report.spread is not None
    # The neighbour's light is in it: nobody but the user knows better.
    assert kernel.array.max() < beads_to_kernel(image, SIZE, shape=(9, 21, 21))[0].array.max()


def test_two_clicks_on_one_bead_are_one_bead(image):
    _, report = beads_to_kernel(image, SIZE, places=[GOOD[0], GOOD[0], GOOD[1]])
    assert len(report.beads) == 2


def test_only_the_border_is_judged(image):
    _, report = beads_to_kernel(
        image, SIZE, shape=(9, 51, 51), places=[GOOD[0], (12.5, 45.0, 45.0), GOOD[1]]
    )
    assert report.rejected == {"cut off": 2}
    full = np.minimum(shown(GOOD[:2]) + shown(GOOD[2:], light=8000), 6000)
    kernel, report = beads_to_kernel(full, SIZE, saturation=6000, places=GOOD)
    assert len(report.used) == 3
    assert "1 of the beads that were chosen is saturated" in kernel.report["notes"][0]


def test_one_plane_takes_y_and_x():
    flat = shown(GOOD)[12]
    kernel, report = beads_to_kernel(flat, SIZE, places=[p[1:] for p in GOOD[:2]])
    assert kernel.shape[0] == 1
    assert len(report.used) == 2


@pytest.mark.parametrize(
    ("places", "text"),
    [
        ([], "no bead was chosen"),
        ([(1, 2)], r"places have shape \(1, 2\)"),
        ([(12, 20, 200)], "the place 12, 20, 200 .* lies outside of the image of 26 × 90 × 90"),
        ([(12, np.nan, 20)], "lies outside"),
        ([(np.nan, 20, -9)], "lies outside"),
        ([(12, 2, 2)], "none of 1 bead can be used .* 1 cut off"),
    ],
)
def test_places_that_are_no_beads_are_refused(image, places, text):
    with pytest.raises(ValueError, match=text):
        beads_to_kernel(image, SIZE, shape=(9, 21, 21), places=places)


def test_it_can_be_stopped_between_two_beads(image):
    calls = []

    def between():
        calls.append(1)
        if len(calls) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        beads_to_kernel(image, SIZE, between=between)
    assert len(calls) == 4
