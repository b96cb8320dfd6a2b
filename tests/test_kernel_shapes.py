"""Ellipses of kernels, light within circles, and tables of measures."""

import csv

import numpy as np
import pytest

from napari_deblur.kernel_fields import KernelField
from napari_deblur.kernel_figure import charts, energy, sections
from napari_deblur.kernel_measures import (
    encircled,
    encircled_radius,
    full_widths,
    measured,
    numbers_of,
    write_table,
)
from napari_deblur.kernel_shapes import Ellipse, ellipse, field_shapes, shapes_of
from napari_deblur.protocols import Facts, Kernel

FULL_WIDTH = 2.3548


def turned(long, short, angle, shape=(41, 41), pixel=(1.0, 1.0), off=(0.0, 0.0)):
    """Sample a Gaussian whose longer axis points from x towards y by `angle` degrees."""
    y, x = ((np.arange(n) - n // 2 - o) * p for n, o, p in zip(shape, off, pixel, strict=True))
    y, x = np.meshgrid(y, x, indexing="ij")
    turn = np.deg2rad(angle)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    found = np.exp(-((along / long) ** 2 + (across / short) ** 2) / 2)
    return found / found.sum()


def apart(one, other):
    """Give the angle between two directions, in degrees."""
    return abs((one - other + 90) % 180 - 90)


@pytest.mark.parametrize("angle", [-80, -45, -20, 0, 30, 60, 90])
@pytest.mark.parametrize("off", [(0.0, 0.0), (0.5, -0.3)])
def test_ellipse_of_a_turned_gaussian(angle, off):
    found = ellipse(Kernel(turned(4.0, 2.0, angle, off=off)))
    assert found.major == pytest.approx(4.0 * FULL_WIDTH, rel=0.02)
    assert found.minor == pytest.approx(2.0 * FULL_WIDTH, rel=0.02)
    assert apart(found.angle, angle) < 1
    assert found.elongation == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("off", [(0.0, 0.0), (0.5, 0.5)])
def test_ellipse_of_the_narrowest_gaussian(off):
    found = ellipse(Kernel(turned(0.8, 0.8, 0, (15, 15), off=off)))
    assert found.major == pytest.approx(0.8 * FULL_WIDTH, rel=0.04)
    assert found.minor == pytest.approx(0.8 * FULL_WIDTH, rel=0.04)


def test_pixels_that_are_not_square_turn_nothing():
    pixel = (0.2, 0.1)
    array = turned(0.6, 0.4, 35, (21, 41), pixel)
    found = ellipse(Kernel(array, (1.0, *pixel)))
    assert found.major == pytest.approx(0.6 * FULL_WIDTH, rel=0.02)
    assert found.minor == pytest.approx(0.4 * FULL_WIDTH, rel=0.02)
    assert apart(found.angle, 35) < 1


def test_widths_along_the_axes_agree_with_those_of_profiles():
    kernel = Kernel(turned(3.0, 1.5, 0))
    _, y, x = full_widths(kernel)
    found = ellipse(kernel)
    assert (found.major, found.minor) == pytest.approx((x, y), rel=0.02)


def test_round_kernels_have_no_direction():
    assert ellipse(Kernel(turned(2.0, 2.0, 0))).angle == 0


def test_a_line_is_as_long_as_it_is():
    """Of a kernel of motion along x: wide along it, and about a pixel across."""
    array = np.zeros((9, 21))
    array[4, 4:17] = 1 / 13
    found = ellipse(Kernel(array))
    assert found.major == pytest.approx(13, rel=0.25)
    assert found.minor == pytest.approx(1.2, abs=0.3)
    assert found.angle == pytest.approx(0, abs=2)


def test_what_does_not_fall_to_half_is_infinite():
    found = ellipse(Kernel(turned(50.0, 1.0, 0, (21, 21))))
    assert found.major > 50
    assert ellipse(Kernel(np.full((5, 5), 1 / 25))) == Ellipse(float("inf"), float("inf"), 0.0)


def test_axes_of_an_ellipse_are_directions_in_y_and_x():
    long, short = Ellipse(4.0, 2.0, 90.0).axes()
    assert np.abs(long) == pytest.approx((4, 0), abs=1e-9)
    assert np.abs(short) == pytest.approx((0, 2), abs=1e-9)
    assert Ellipse(4.0, 1.0, 0.0).mean == 2


def test_field_has_an_ellipse_at_each_node():
    basis = np.stack([turned(2.0, 2.0, 0, (21, 21)), turned(3.0, 1.5, 45, (21, 21))])
    weights = np.array([[1, 0, 1], [0, 1, 0]], float).reshape(2, 1, 1, 3)
    field = KernelField(basis, ((0,), (5,), (0, 10, 20)), weights, pixel_size=(1.0, 0.1, 0.1))
    found = field_shapes(field)
    assert found.unit == "µm"
    np.testing.assert_array_equal(found.places, [(0, 5, 0), (0, 5, 10), (0, 5, 20)])
    widths = [one.major for one in found.ellipses]
    assert widths == pytest.approx([0.2 * FULL_WIDTH, 0.3 * FULL_WIDTH, 0.2 * FULL_WIDTH], rel=0.02)
    assert found.ellipses[1].angle == pytest.approx(45, abs=1)
    assert shapes_of([Kernel(basis[0])], np.zeros((1, 3))).unit == "px"


def test_light_within_circles_of_a_gaussian():
    """Within a radius r it is 1 - exp(-r²/2σ²)."""
    kernel = Kernel(turned(4.0, 4.0, 0, (61, 61)), (1.0, 0.1, 0.1))
    radii, shares = encircled(kernel)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)
    assert (np.diff(shares) >= 0).all()
    np.testing.assert_allclose(shares, 1 - np.exp(-(radii**2) / 2 / 0.4**2), atol=0.01)
    assert np.interp(0.5, shares, radii) == pytest.approx(encircled_radius(kernel, 0.5), rel=0.02)


def test_numbers_survive_the_table(tmp_path):
    solid = np.exp(-(np.linspace(-2, 2, 9) ** 2))[:, None, None] * turned(2.0, 1.5, 0, (15, 15))
    kernel = Kernel(solid, (0.3, 0.1, 0.1))
    found = measured(kernel, Facts(na=0.8, wavelength=0.5, n_immersion=1.0))
    flat = numbers_of(measured(Kernel(turned(2.0, 1.5, 0, (15, 15)))))
    path = tmp_path / "kernels.csv"
    write_table(path, [{"where": "node 1, µm", **numbers_of(found)}, {"where": "b", **flat}])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["where"] == "node 1, µm"
    assert [row["unit"] for row in rows] == ["µm", "px"]
    for axis, width in zip("zyx", found.fwhm, strict=True):
        assert float(rows[0][f"fwhm_{axis}"]) == width
    assert float(rows[0]["limit_across"]) == found.limit[1]
    assert rows[1]["fwhm_z"] == rows[1]["limit_across"] == ""


def test_sections_and_charts_are_of_the_peak():
    solid = np.exp(-(np.linspace(-2, 2, 9) ** 2))[:, None, None] * turned(2.0, 1.5, 0, (15, 17))
    kernel = Kernel(solid, (0.3, 0.1, 0.2))
    cuts = sections(kernel)
    assert [(name, cut.shape, pixel) for name, cut, pixel in cuts] == [
        ("xy", (15, 17), (0.1, 0.2)),
        ("xz", (9, 17), (0.3, 0.2)),
        ("yz", (9, 15), (0.3, 0.1)),
    ]
    found = measured(kernel, Facts(na=0.8, wavelength=0.5, n_immersion=1.0))
    drawn = charts(kernel, found)
    assert [len(chart.curves) for _, _, chart in drawn] == [3, 3, 1]
    assert drawn[1][2].limit[0] == pytest.approx(2 * 0.8 / 0.5)
    name, aside, _ = energy(kernel, found)
    assert name == "light in focus"
    assert f"{found.radius_90:.3g}" in aside
    assert len(sections(Kernel(turned(2, 2, 0)))) == 1
