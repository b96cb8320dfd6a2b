"""Models of microscopes: against other programs, closed forms and themselves."""

import time
from functools import cache

import numpy as np
import pytest
import torch
from scipy.special import j1

from napari_deblur.psfs._pupils import grid, noll
from napari_deblur.psfs.confocal import Confocal
from napari_deblur.psfs.gibson_lanni import GibsonLanni
from napari_deblur.psfs.light_sheet import LightSheet
from napari_deblur.psfs.pupil import Pupil
from napari_deblur.psfs.two_photon import TwoPhoton
from napari_deblur.psfs.vectorial import Vectorial

SIZE = (0.2, 0.1, 0.1)
LENS = {"na": 1.2, "n_immersion": 1.33, "n_sample": 1.38, "depth": 4.0}
MODELS = {
    "gibson-lanni": GibsonLanni(wavelength=0.52, **LENS),
    "vectorial": Vectorial(wavelength=0.52, **LENS),
    "confocal": Confocal(wavelength=0.52, **LENS),
    "light-sheet": LightSheet(wavelength=0.52, **LENS),
    "two-photon": TwoPhoton(**LENS),
    "pupil": Pupil(na=1.2, wavelength=0.52, n_immersion=1.33),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def width(line, step):
    """Full width at half maximum, between pixels by straight lines."""
    line = line / line.max()
    middle = int(line.argmax())
    edges = []
    for way in (1, -1):
        at = middle
        while line[at] > 0.5:
            at += way
        edges.append((at - way) + way * (line[at - way] - 0.5) / (line[at - way] - line[at]))
    return (edges[0] - edges[1]) * step


# Against psfmodels -------------------------------------------------------------------------------

# na, n_immersion, n_sample, depth, pixel: the corners, and light along the coverslip.
CASES = [
    (0.4, 1.0, 1.33, 0.0, 0.2),
    (0.4, 1.0, 1.47, 20.0, 0.1),
    (0.8, 1.0, 1.33, 5.0, 0.1),
    (1.2, 1.33, 1.33, 0.0, 0.05),
    (1.2, 1.33, 1.47, 20.0, 0.1),
    (1.3, 1.515, 1.33, 10.0, 0.1),
    (1.4, 1.515, 1.47, 0.0, 0.2),
    (1.4, 1.515, 1.47, 20.0, 0.05),
    (1.4, 1.515, 1.33, 5.0, 0.1),
    (1.45, 1.515, 1.47, 5.0, 0.1),
    (1.45, 1.515, 1.33, 0.0, 0.1),
]


def compared(model, name, na, n_immersion, n_sample, depth, pixel, planes=15, pixels=25):
    psfmodels = pytest.importorskip("psfmodels")
    start = time.perf_counter()
    theirs = psfmodels.make_psf(
        planes, pixels, dxy=pixel, dz=0.2, pz=depth, NA=na, wvl=0.52, ns=n_sample, ni=n_immersion,
        ni0=n_immersion, ng=1.52, ng0=1.52, model=name, normalize=False,
        # Three points per pixel are not its average where pixels are coarse.
        oversample_factor=7 if pixel > 0.15 else 3,
    )  # fmt: skip
    middle = time.perf_counter()
    made = model(
        na=na, wavelength=0.52, n_immersion=n_immersion, n_sample=n_sample, depth=depth,
        centre="paraxial",
    )((planes, pixels, pixels), (0.2, pixel, pixel))  # fmt: skip
    end = time.perf_counter()
    return theirs / theirs.sum(), made.at().astype(float), (middle - start, end - middle)


@pytest.mark.parametrize(("name", "model"), [("scalar", GibsonLanni), ("vectorial", Vectorial)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_scalar_and_vectorial_agree_with_an_independent_program(name, model, case):
    theirs, ours, _ = compared(model, name, *case)
    assert (theirs * ours).sum() / np.sqrt((theirs**2).sum() * (ours**2).sum()) > 0.995
    np.testing.assert_allclose(ours.sum((1, 2)), theirs.sum((1, 2)), rtol=0.02)


@pytest.mark.parametrize(("name", "model"), [("scalar", GibsonLanni), ("vectorial", Vectorial)])
def test_it_is_no_slower_than_that_program(name, model):
    case = (1.4, 1.515, 1.33, 5.0, 0.1, 31, 65)
    compared(model, name, *case)
    theirs, ours = compared(model, name, *case)[2]
    assert ours < theirs


# Against closed forms ----------------------------------------------------------------------------


@pytest.mark.parametrize("lens", ["pupil", "layers"])
def test_in_focus_without_aberrations_it_is_the_airy_disc(lens):
    na, wavelength, pixel = 0.3, 0.5, 0.02
    if lens == "pupil":
        model = Pupil(na=na, wavelength=wavelength, n_immersion=1.0, apodisation=False)
    else:
        model = GibsonLanni(na=na, wavelength=wavelength, n_immersion=1.0, n_sample=1.0)
    made = model((1, 101, 101), (1.0, pixel, pixel)).at()[0]
    at = (np.arange(101) - 50) * pixel
    v = 2 * np.pi * na / wavelength * np.hypot(at[:, None], at)
    v[50, 50] = 1e-9
    airy = (2 * j1(v) / v) ** 2
    # Pixels are small here: their average is the value in their middle to 1e-3.
    np.testing.assert_allclose(made / made.max(), airy, atol=1e-3)


def test_the_pupil_is_the_layers_where_all_fit():
    layers = GibsonLanni(na=1.2, wavelength=0.52, n_immersion=1.33, n_sample=1.33)
    pupil = Pupil(na=1.2, wavelength=0.52, n_immersion=1.33, apodisation=False)
    shape = (9, 40, 41)
    ours, other = (m(shape, (0.3, 0.1, 0.08)).at() for m in (pupil, layers))
    np.testing.assert_allclose(ours, other, atol=2e-4 * other.max())


@pytest.mark.parametrize("apodisation", [True, False])
def test_the_short_way_of_a_lens_without_aberrations_is_the_long_one(apodisation):
    lens = {"na": 1.3, "wavelength": 0.52, "defocus": 0.4, "apodisation": apodisation}
    short, long = (
        Pupil(**lens, zernike=z)((3, 30, 31), (0.3, 0.1, 0.09)).at() for z in ((), (0.0,))
    )
    np.testing.assert_allclose(short, long, atol=2e-4 * long.max())


def test_the_axis_of_a_paraxial_lens_is_a_sinc():
    na, wavelength = 0.2, 0.5
    model = GibsonLanni(na=na, wavelength=wavelength, n_immersion=1.0, n_sample=1.0)
    z = np.linspace(-30, 30, 121)
    found = model._axial(z)
    assert found / found.max() == pytest.approx(
        np.sinc(z * (1 - np.sqrt(1 - na**2)) / wavelength) ** 2, abs=2e-3
    )


def test_light_along_the_coverslip_is_integrated_to_the_end():
    from scipy.integrate import quad

    na, oil, glass, sample, depth, wavelength = 1.45, 1.515, 1.52, 1.33, 2.0, 0.52
    critical, last = np.arcsin(sample / oil), np.arcsin(na / oil)

    def axis(angle, z):
        s = oil * np.sin(angle)
        q = [np.sqrt(complex(n**2 - s**2)) for n in (oil, glass, sample)]
        across = 2 * q[0] / (q[0] + q[1]) * 2 * q[1] / (q[1] + q[2])
        along = 4 * oil * glass**2 * sample * q[0] * q[1]
        along /= (glass**2 * q[0] + oil**2 * q[1]) * (sample**2 * q[1] + glass**2 * q[2])
        path = depth * q[2] - q[0] * (z + oil * depth / sample)
        wave = np.exp(2j * np.pi / wavelength * path)
        return np.sqrt(np.cos(angle)) * np.sin(angle) * (across + along * q[2] / sample) * wave

    def light(z):
        parts = (
            sum(quad(f, *ends, limit=500)[0] for ends in ((0, critical), (critical, last)))
            for f in (lambda t: axis(t, z).real, lambda t: axis(t, z).imag)
        )
        return sum(part**2 for part in parts)

    z = np.linspace(-2, 2, 9)
    wanted = np.array([light(height) for height in z])
    model = Vectorial(na=na, wavelength=wavelength, n_sample=sample, depth=depth, centre="paraxial")
    found = model._axial(z)
    np.testing.assert_allclose(found / found.sum(), wanted / wanted.sum(), rtol=1e-4)


def test_pixels_are_averaged():
    fine = Vectorial(na=1.4, wavelength=0.52)((1, 105, 105), (1.0, 0.05, 0.05)).at()[0]
    coarse = Vectorial(na=1.4, wavelength=0.52)((1, 21, 21), (1.0, 0.25, 0.25)).at()[0]
    summed = fine.reshape(21, 5, 21, 5).sum((1, 3))
    np.testing.assert_allclose(coarse, summed, atol=3e-4 * summed.max())


@pytest.mark.parametrize("kind", ["pupil", "layers"])
def test_blur_is_a_gaussian(kind):
    from scipy.ndimage import gaussian_filter

    lens = {"na": 1.2, "wavelength": 0.52, "n_immersion": 1.33}
    cls = Pupil if kind == "pupil" else GibsonLanni
    sharp, blurred = (
        cls(**lens, blur=b)((1, 81, 81), (1.0, 0.05, 0.05)).at()[0] for b in (0, 0.15)
    )
    wanted = gaussian_filter(sharp.astype(float), 3)
    inner = np.s_[20:61, 20:61]
    np.testing.assert_allclose(
        blurred[inner] / blurred[inner].sum(),
        wanted[inner] / wanted[inner].sum(),
        atol=2e-3 * wanted.max(),
    )


def test_zernike_modes_are_orthonormal_in_nolls_order():
    assert [noll(j) for j in range(1, 12)] == [
        (0, 0), (1, 1), (1, -1), (2, 0), (2, -2), (2, 2),
        (3, -1), (3, 1), (3, -3), (3, 3), (4, 0),
    ]  # fmt: skip
    points = grid(24, 12, "cpu")
    assert float(points.weights.sum()) == pytest.approx(np.pi, rel=1e-5)
    modes = points.modes.reshape(12, -1)
    products = modes * points.weights.ravel() @ modes.T / np.pi
    assert products.numpy() == pytest.approx(np.eye(12), abs=1e-5)


def test_a_little_aberration_costs_the_peak_what_marechal_says():
    lens = {"na": 0.9, "wavelength": 0.5, "n_immersion": 1.0, "apodisation": False}
    rms = 0.05
    for j in range(8):
        bent = Pupil(**lens, zernike=(0.0,) * j + (rms,))._axial(np.zeros(1))
        flat = Pupil(**lens)._axial(np.zeros(1))
        assert bent / flat == pytest.approx(np.exp(-((2 * np.pi * rms) ** 2)), rel=5e-3)


def test_oil_into_water_at_depth_smears_the_focus_and_the_middle_follows():
    lens = {"na": 1.3, "wavelength": 0.52, "n_sample": 1.33}
    deep = GibsonLanni(depth=10.0, **lens)
    z = np.linspace(-6, 6, 601)
    assert deep._axial(z).max() < 0.4 * GibsonLanni(**lens)._axial(z).max()
    # The nominal focus is 10 µm deep; the light meets before, in the oil's lengths.
    assert abs(float(deep.middle(deep.values({})))) > 0.5
    assert abs(z[deep._axial(z).argmax()]) < 1.5
    flat = GibsonLanni(depth=10.0, na=1.3, wavelength=0.52, n_sample=1.515)
    assert float(flat.middle(flat.values({}))) == pytest.approx(0, abs=1e-9)


# What belongs to each other ----------------------------------------------------------------------


@every_model
def test_kernels_are_round_centred_and_of_sum_1(model):
    for shape in ((7, 21, 21), (4, 20, 15), (1, 9, 9)):
        kernel = model(shape, SIZE)
        plane = kernel.at().sum(0)
        assert kernel.shape == shape
        assert plane.sum() == pytest.approx(1, abs=1e-5)
        assert np.unravel_index(plane.argmax(), plane.shape) == (shape[1] // 2, shape[2] // 2)
    array = model((7, 21, 21), SIZE).at()
    for turned in (array[:, ::-1], array[:, :, ::-1], array.transpose(0, 2, 1)):
        np.testing.assert_allclose(array, turned, atol=1e-6 * array.max())
    even = model((7, 20, 21), SIZE).at()
    np.testing.assert_allclose(even / even.sum(), array[:, :20] / array[:, :20].sum(), atol=1e-6)


@every_model
def test_without_mismatch_both_sides_of_the_focus_are_alike(model):
    from dataclasses import replace

    if hasattr(model, "depth"):
        model = replace(model, depth=0.0)
    array = model((7, 15, 15), SIZE).at()
    np.testing.assert_allclose(array, array[::-1], atol=1e-6)


def test_a_pinhole_two_photons_and_a_sheet_make_it_narrower():
    across = {"shape": (1, 61, 61), "pixel_size": (1.0, 0.03, 0.03)}
    along = {"shape": (61, 3, 3), "pixel_size": (0.05, 0.03, 0.03)}
    lens = {"na": 1.2, "n_immersion": 1.33, "n_sample": 1.33}

    @cache
    def widths(model):
        return (
            width(model(**across).at()[0, 30].astype(float), 0.03),
            width(model(**along).at()[:, 1, 1].astype(float), 0.05),
        )

    wide = widths(Vectorial(wavelength=0.52, **lens))
    closed, open_ = (
        widths(Confocal(wavelength=0.52, excitation=0.488, pinhole=p, **lens)) for p in (0.1, 1.0)
    )
    nearly_none = widths(Confocal(wavelength=0.52, excitation=0.488, pinhole=8.0, **lens))
    spot = widths(Vectorial(wavelength=0.488, **lens))
    assert closed < open_ < nearly_none < wide
    assert closed[0] == pytest.approx(wide[0] / np.sqrt(2), rel=0.06)
    assert nearly_none[0] == pytest.approx(spot[0], rel=0.02)
    sheet = widths(LightSheet(wavelength=0.52, thickness=0.3, **lens))
    assert sheet[0] == pytest.approx(wide[0], rel=1e-3)
    assert sheet[1] < 0.5 * wide[1]
    pair, one = (
        widths(TwoPhoton(excitation=0.92, **lens)),
        widths(Vectorial(wavelength=0.92, **lens)),
    )
    assert pair[0] == pytest.approx(one[0] / np.sqrt(2), rel=0.06)


# For searches ------------------------------------------------------------------------------------

VALUES = {
    "na": 1.15, "wavelength": 0.53, "excitation": 0.6, "n_immersion": 1.34, "n_sample": 1.37,
    "depth": 3.0, "blur": 0.07, "coverslip": 172.0, "n_coverslip": 1.525, "pinhole": 0.8,
    "thickness": 1.5, "offset": 0.3, "defocus": 0.2, "zernike": [0.05, 0.02, 0.1],
}  # fmt: skip


@every_model
def test_every_number_has_its_slope(model):
    shape, size = (5, 13, 13), (0.3, 0.1, 0.1)
    weights = torch.rand(shape, generator=torch.manual_seed(0))

    def seen(values):
        return (model.tensor(shape, size, **values) * weights).double().sum()

    names = [n for n in VALUES if hasattr(model, n)]
    values = {n: torch.tensor(VALUES[n], dtype=torch.float64, requires_grad=True) for n in names}
    seen(values).backward()
    for name in names:
        step = torch.zeros_like(values[name])
        step.view(-1)[-1] = 2e-3 if name != "coverslip" else 0.2
        with torch.no_grad():
            up, down = (seen({**values, name: values[name] + s * step}) for s in (1, -1))
        slope = float(up - down) / 2
        # Kernels are in single precision, and so is the difference.
        assert float((values[name].grad * step).sum()) == pytest.approx(slope, rel=0.03, abs=1e-6)


@every_model
def test_given_numbers_take_the_place_of_the_fields(model):
    from dataclasses import replace

    given = {"blur": 0.05, "na": 1.1}
    values = {name: torch.tensor(value) for name, value in given.items()}
    made = model.tensor((3, 11, 11), SIZE, **values).numpy()
    wanted = replace(model, **given)((3, 11, 11), SIZE).at()
    np.testing.assert_allclose(made, wanted, atol=2e-4 * wanted.max())
    with pytest.raises(TypeError, match='no parameter "sigma"; there are: '):
        model.tensor((3, 11, 11), SIZE, sigma=torch.tensor(1.0))


def test_a_pupil_is_quick_enough_for_a_search():
    model = MODELS["pupil"]
    zernike = torch.full((8,), 0.02, requires_grad=True)
    blur = torch.tensor(0.05, requires_grad=True)
    times = []
    for _ in range(20):
        start = time.thread_time()
        kernel = model.tensor((1, 41, 41), SIZE, zernike=zernike, blur=blur)
        (kernel**2).sum().backward()
        times.append(time.thread_time() - start)
    # 1.7 ms where it was written; a large FFT would take a hundred.
    assert min(times) < 0.02


# By themselves -----------------------------------------------------------------------------------


@every_model
def test_by_itself_the_shape_holds_what_matters(model):
    kernel = model("auto", SIZE, (12, 60, 64))
    z, y, x = kernel.shape
    assert (z % 2, y % 2, x % 2) == (1, 1, 1)
    assert z <= 23
    assert y <= 60
    assert x <= 64
    assert 0 <= kernel.report["left_out"] < 0.5
    assert kernel.report["axial_at_the_ends"] < 1
    assert kernel.report["psf"] in MODELS
    assert model.default_shape(SIZE, (1, 60, 64))[0] == 1


def test_without_an_image_the_cone_of_a_deep_point_ends_somewhere():
    deep = GibsonLanni(na=1.4, wavelength=0.52, n_sample=1.33, depth=20)
    planes, y, x = deep.default_shape((0.3, 0.1, 0.05))
    assert 0.95 * 2**24 < planes * y * x <= 2**24
    assert planes % 2 == y % 2 == x % 2 == 1
    assert x / y == pytest.approx(2, abs=0.02)
    # Of an image as large there is the whole of it.
    assert deep.default_shape((0.3, 0.1, 0.05), (100, 701, 901))[1:] == (701, 901)


def test_a_depth_that_leaves_no_focus_is_refused_at_once():
    silly = GibsonLanni(na=1.4, wavelength=0.52, n_sample=1.33, depth=2000)
    for shape in ("auto", (9, 31, 31)):
        with pytest.raises(ValueError, match="miss each other by 1656 wavelengths"):
            silly(shape, (0.3, 0.1, 0.1))
    # Where the sample has the index of the immersion, light comes from any depth.
    GibsonLanni(na=1.0, wavelength=0.52, n_immersion=1.45, n_sample=1.45, depth=5000)(
        (3, 15, 15), (0.3, 0.1, 0.1)
    )


def test_light_that_is_left_out_is_what_a_larger_kernel_has():
    model = Vectorial(na=1.2, wavelength=0.52, n_immersion=1.33)
    report = model("auto", SIZE, (4, 21, 21)).report
    large = model((7, 401, 401), SIZE).at()
    inside = large[:, 190:211, 190:211].sum()
    assert report["left_out"] == pytest.approx(1 - inside, abs=0.02)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Pupil(na=1.4, wavelength=0.52, n_immersion=1.33),
            "na is 1.4 and n_immersion 1.33",
        ),
        (lambda: GibsonLanni(na=1.2, wavelength=520), "wavelength is 520 µm: give it in µm"),
        (lambda: GibsonLanni(na=1.2, wavelength=0.5, depth=-1.0), "depth is -1.0: it must be 0 or"),
        (lambda: Confocal(na=1.2, wavelength=0.5, pinhole=20.0), "pinhole is 20 Airy units"),
        (lambda: LightSheet(na=1.0, wavelength=0.5, thickness=0.0), "thickness is above 0"),
        (lambda: Vectorial(na=1.2, wavelength=0.5, n_coverslip=1.1), "n_coverslip.*must be larger"),
        (lambda: Vectorial(na=1.2, wavelength=0.5, centre="top"), 'centre is "top"'),
    ],
)
def test_what_no_microscope_has_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
