import numpy as np
import pytest
import tifffile
from scipy.special import erf
from typer.testing import CliRunner

from napari_deblur import cli
from napari_deblur.bead_averaging import ball_transform
from napari_deblur.beads import beads_to_kernel
from napari_deblur.kernel_measures import aligned_ncc, full_widths
from napari_deblur.kernels import load_kernel
from napari_deblur.psfs.gaussian import Gaussian

SIZE = (0.3, 0.1, 0.1)
FLAT = ((1, 160, 160), (0.0, 1.5, 1.5))
SOLID = ((28, 80, 80), (2.0, 1.3, 1.3))


def shown(shape, sigmas, places, peaks):
    """Give an image of beads, integrated over each pixel."""
    image = np.zeros(shape)
    for place, peak in zip(places, peaks, strict=True):
        bead = np.ones(1)
        for axis, (n, s, c) in enumerate(zip(shape, sigmas, place, strict=True)):
            if n == 1:
                continue
            line = np.diff(erf((np.arange(n + 1) - 0.5 - c) / (s * 2**0.5))) / 2
            bead = bead * (line / line.max()).reshape([-1 if a == axis else 1 for a in range(3)])
        image += peak * bead
    return image


def scattered(shape, sigmas, count, seed=0, apart=14.0):
    """Put beads where each is alone, at parts of a pixel."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    margin = [0.0 if n == 1 else 6 * s + 1 for n, s in zip(shape, sigmas, strict=True)]
    while len(places) < count:
        low, high = margin, [n - 1 - m for n, m in zip(shape, margin, strict=True)]
        place = rng.uniform(low, high)
        if all(np.abs(place - p)[1:].max() > apart for p in places):
            places.append(place)
    return places


def seen(image, background=10.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(image + background) + rng.normal(0, 1.5, image.shape)


def errors(report, places):
    """Give how far the beads were found from where they are, in pixels."""
    found = np.array([b.place for b in report.used])
    nearest = [np.abs(np.array(places) - p).sum(axis=1).argmin() for p in found]
    return found - np.array(places)[nearest]


@pytest.mark.parametrize("scene", [FLAT, SOLID])
def test_beads_are_aligned_to_a_twentieth_of_a_pixel(scene):
    shape, sigmas = scene
    places = scattered(shape, sigmas, 12 if shape[0] == 1 else 5)
    peaks = np.random.default_rng(1).uniform(3000, 5000, len(places))
    image = seen(shown(shape, sigmas, places, peaks))
    kernel, report = beads_to_kernel(image, SIZE)
    assert len(report.used) == len(places)
    assert np.abs(errors(report, places)).max() < 0.05
    true = Gaussian(tuple(s * p for s, p in zip(sigmas, SIZE, strict=True)))(kernel.shape, SIZE)
    value, shift = aligned_ncc(true, kernel)
    assert value > 0.9995
    assert max(abs(s) for s in shift) < 0.05
    for axis, (have, want) in enumerate(zip(report.fwhm, full_widths(true), strict=True)):
        assert have is None if shape[axis] == 1 else have == pytest.approx(want, rel=0.02)
        if have is not None:
            assert report.spread[axis] < 0.03 * have


def test_two_axes_are_enough():
    shape, sigmas = FLAT
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 6), [2000] * 6))[0]
    kernel, report = beads_to_kernel(image, SIZE)
    assert kernel.shape[0] == 1
    assert report.fwhm[0] is None
    assert kernel.report["used"] == 6


def test_each_bead_is_rejected_for_its_own_reason():
    shape, sigmas = (1, 260, 260), (0.0, 1.5, 1.5)
    good = [(0, 40 * r + 30, 40 * c + 30.3) for r in range(3) for c in range(5)]
    odd = {
        "close": [(0, 165.0, 40.0), (0, 165.0, 48.0)],
        "cut off": [(0, 3.0, 120.0)],
        "dim": [(0, 165.0, 90.0)],
        "too bright": [(0, 165.0, 130.0)],
        "saturated": [(0, 165.0, 170.0)],
    }
    peaks = {"dim": 18, "too bright": 2000, "saturated": 5000}
    places, heights = list(good), [800.0] * len(good)
    for reason, where in odd.items():
        places += where
        heights += [peaks.get(reason, 800.0)] * len(where)
    image = shown(shape, sigmas, places, heights)
    wide = shown(shape, (0.0, 2.4, 2.4), [(0, 165.0, 210.0)], [500.0])
    kernel, report = beads_to_kernel(seen(image + wide), SIZE, saturation=4000)
    assert len(report.used) == len(good)
    assert report.rejected == {
        "saturated": 1, "cut off": 1, "close": 2, "dim": 1, "too bright": 1, "too wide": 1,
    }  # fmt: skip
    assert "15 of 22 beads used; not used: 1 saturated" in report.sentence()
    assert kernel.report["rejected"] == dict(report.rejected)


def test_full_scale_is_found_where_the_camera_clipped():
    shape, sigmas = FLAT
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 6), [900, 100, 100, 90, 80, 70]))
    _, report = beads_to_kernel(np.clip(image, 0, 255).astype("u1"), SIZE)
    assert report.rejected == {"saturated": 1}


@pytest.mark.parametrize("diameter", [0.1, 0.25])
def test_the_size_of_the_beads_is_taken_out(diameter):
    size, sigma = (1.0, 0.065, 0.065), 0.1
    shape = (1, 192, 192)
    frequencies = [np.fft.fftfreq(n, p) for n, p in zip(shape, size, strict=True)]
    f2 = frequencies[1][:, None] ** 2 + frequencies[2] ** 2
    spots = np.zeros(shape[1:])
    spots[30::44, 30::44] = 1
    transfer = np.exp(-2 * np.pi**2 * sigma**2 * f2) * ball_transform(shape, size, diameter)[0]
    image = np.fft.ifft2(np.fft.fft2(spots) * transfer).real
    image = seen(np.maximum(image * 5000 / image.max(), 0))
    raw, _ = beads_to_kernel(image, size)
    right, _ = beads_to_kernel(image, size, diameter=diameter)
    true = Gaussian((0.0, sigma, sigma))(raw.shape, size)
    assert full_widths(right)[1] == pytest.approx(2.3548 * sigma, rel=0.04)
    assert aligned_ncc(right, true)[0] > 0.999
    if diameter == 0.25:
        assert full_widths(raw)[1] > 1.12 * 2.3548 * sigma


def test_the_transform_of_a_ball_is_that_of_a_sampled_ball():
    n, size, diameter = 48, 0.05, 0.8
    place = (np.arange(n) - n // 2) * size
    z, y, x = np.meshgrid(place, place, place, indexing="ij")
    ball = (z**2 + y**2 + x**2 <= (diameter / 2) ** 2).astype(float)
    sampled = np.fft.fftn(np.fft.ifftshift(ball / ball.sum())).real
    closed = ball_transform((n, n, n), (size, size, size), diameter)
    np.testing.assert_allclose(closed[:8, 0, 0], sampled[:8, 0, 0], atol=0.02)
    assert closed[0, 0, 0] == 1


def test_beads_too_large_for_their_purpose_are_said():
    shape, sigmas = FLAT
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 5), [2000] * 5))
    _, report = beads_to_kernel(image, SIZE, diameter=0.5)
    assert "wider than their image" in report.notes[0]


def test_a_diameter_that_no_bead_can_have_is_refused():
    shape, sigmas = FLAT
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 5), [2000] * 5))
    with pytest.raises(ValueError, match=r"said to be 100 µm wide, but their image is 0\.3"):
        beads_to_kernel(image, SIZE, diameter=100)


def test_a_kernel_smaller_than_its_beads_is_said():
    shape, sigmas = FLAT
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 5), [2000] * 5))
    _, report = beads_to_kernel(image, SIZE, shape=(1, 3, 3))
    assert any("take a larger shape" in note for note in report.notes)


@pytest.mark.parametrize("apart", [(0, 4, 4), (0, 5, 0), (0, 3, 4), (0, 0, 8), (0, 5, 5)])
def test_two_beads_in_one_place_make_no_kernel(apart):
    shape, sigmas = (1, 96, 96), (0.0, 1.6, 1.6)
    pair = [(0, 40.0, 40.0), tuple(np.add((0, 40.0, 40.0), apart))]
    image = seen(shown(shape, sigmas, pair, [4000, 4000]))
    with pytest.raises(ValueError, match="close; image fewer beads"):
        beads_to_kernel(image, SIZE)
    good = scattered(shape, sigmas, 3, seed=3)
    far = [p for p in good if np.abs(p - pair[0])[1:].max() > 25]
    assert far
    image = seen(shown(shape, sigmas, pair + far, [4000] * (2 + len(far))))
    _, report = beads_to_kernel(image, SIZE)
    assert len(report.used) == len(far)
    assert report.rejected.get("close", 0) in (1, 2)


def test_two_beads_above_each_other_are_two():
    shape, sigmas = SOLID
    pair = [(10.0, 40.0, 40.0), (17.0, 40.0, 40.0)]
    with pytest.raises(ValueError, match="close"):
        beads_to_kernel(seen(shown(shape, sigmas, pair, [3000, 3000])), SIZE)


@pytest.mark.parametrize("seed", range(4))
def test_noise_makes_no_second_bead(seed):
    shape, sigmas = (1, 120, 120), (0.0, 2.0, 2.0)
    places = scattered(shape, sigmas, 6, seed, apart=20)
    _, report = beads_to_kernel(seen(shown(shape, sigmas, places, [60] * 6), seed=seed), SIZE)
    assert report.rejected.get("close", 0) == 0


def test_a_shape_that_is_asked_for_is_kept():
    shape, sigmas = SOLID
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 3), [2000] * 3))
    kernel, _ = beads_to_kernel(image, SIZE, shape=(9, 11, 13))
    assert kernel.shape == (9, 11, 13)
    for wrong, said in (((8, 11, 11), "odd numbers"), ((9, 81, 11), "81 voxels along y")):
        with pytest.raises(ValueError, match=said):
            beads_to_kernel(image, SIZE, shape=wrong)


def test_pixels_without_data_do_no_harm():
    shape, sigmas = FLAT
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 6), [2000] * 6))
    image[:, :, 158:] = np.nan
    assert len(beads_to_kernel(image, SIZE)[1].used) == 6


def test_hot_pixels_are_no_beads():
    shape, sigmas = FLAT
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 6), [2000] * 6))
    image[0, 5::37, 7::41] = 60000
    _, report = beads_to_kernel(image.clip(0).astype("u2"), SIZE)
    assert len(report.used) == len(report.beads) == 6
    assert "hot pixels" in report.notes[0]


def test_noise_alone_is_no_bead():
    for image in (seen(np.zeros((1, 100, 100))), np.zeros((60, 60)), seen(np.zeros((9, 50, 50)))):
        with pytest.raises(ValueError, match="no beads were found"):
            beads_to_kernel(image, SIZE)


def test_beads_of_no_use_are_counted_by_reason():
    shape, sigmas = (1, 100, 100), (0.0, 1.5, 1.5)
    pairs = [(0, 30.0, 30.0), (0, 30.0, 38.0), (0, 70.0, 60.0), (0, 78.0, 60.0)]
    image = seen(shown(shape, sigmas, pairs, [1000] * 4))
    said = r"none of 4 beads can be used for a kernel of 1 × 15 × 15 voxels: 4 close; image fewer"
    with pytest.raises(ValueError, match=said):
        beads_to_kernel(image, SIZE, shape=(1, 15, 15))
    bright = seen(shown(shape, sigmas, [(0, 30.0, 30.0), (0, 70.0, 60.0)], [9000, 8000]))
    with pytest.raises(ValueError, match=r"saturated.* expose less"):
        beads_to_kernel(np.clip(bright, 0, 255).astype("u1"), SIZE)


def test_wrong_inputs_are_refused_in_a_sentence():
    image = np.ones((50, 50))
    with pytest.raises(ValueError, match="voxel size of the image is not known"):
        beads_to_kernel(image)
    with pytest.raises(ValueError, match="diameter is -1"):
        beads_to_kernel(image, SIZE, diameter=-1)
    with pytest.raises(ValueError, match="choose a frame and a channel"):
        beads_to_kernel(np.ones((2, 3, 50, 50)), SIZE)
    with pytest.raises(ValueError, match="too few for beads"):
        beads_to_kernel(np.ones((5, 5)), SIZE)
    with pytest.raises(ValueError, match="no finite value"):
        beads_to_kernel(np.full((50, 50), np.nan), SIZE)


# The command line ---------------------------------------------------------------------------------


def call(*arguments, status=0):
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


@pytest.fixture
def beads(tmp_path):
    shape, sigmas = (1, 110, 110), (0.0, 1.5, 1.5)
    image = seen(shown(shape, sigmas, scattered(shape, sigmas, 5), [2000] * 5))
    stack = np.stack([image[0], image[0].T]).clip(0).astype("u2")
    tifffile.imwrite(
        tmp_path / "beads.tif", stack, imagej=True, resolution=(10, 10),
        metadata={"axes": "CYX", "unit": "um", "spacing": 0.3},
    )  # fmt: skip
    return tmp_path / "beads.tif"


def test_estimate_averages_the_beads_of_each_channel(beads, tmp_path):
    said = call("estimate", beads, tmp_path / "k.tif", "--from", "beads")
    assert "beads, channel 0 5 of 5 beads used" in said
    assert load_kernel(tmp_path / "k_c1.tif").pixel_size[1:] == pytest.approx((0.1, 0.1))
    call("estimate", beads, tmp_path / "k.zarr", "--from", "beads", "--shape", "11,11")
    both = load_kernel(tmp_path / "k.zarr", several=True)
    assert both.array.shape == (1, 2, 1, 11, 11)
    call("estimate", beads, tmp_path / "k.zarr", "--from", "beads", status=1)
    call("estimate", beads, tmp_path / "k.zarr", "--from", "beads", "--overwrite")


def test_estimate_refuses_options_that_exclude_each_other(beads, tmp_path):
    target = tmp_path / "k.tif"
    call("estimate", beads, target, "--from", "stars", status=2)
    call("estimate", beads, target, "--diameter", "0.1", status=2)
    call("estimate", beads, target, "--from", "beads", "--method", "wiener", status=2)
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, np.zeros((40, 40), "u2"))
    said = call("estimate", flat, target, "--from", "beads", "--pixel-size", "0.1,0.1", status=1)
    assert "no beads were found" in said
    said = call("estimate", flat, target, "--from", "beads", status=1)
    assert "voxel size of the image is not known" in said
