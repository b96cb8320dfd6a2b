import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_deblur.job import ChannelTable, Job
from napari_deblur.kernels import save_kernel
from napari_deblur.pictures import GLOW, GREY, Box, Page, Picture, wrapped
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.report import write_report

LONG = "accelerated-richardson-lucy"


def restored(folder, image, axes, sigma=(0.0, 1.5, 1.5), **asked):
    """Restore an image with a Gaussian; give the path of the store."""
    photometric = "rgb" if "S" in axes else "minisblack"
    metadata = {"axes": axes}
    tifffile.imwrite(folder / "a.tif", image, metadata=metadata, photometric=photometric)
    depth = 5 if sigma[0] else 1
    made = Gaussian(sigma=sigma)((depth, 9, 9), (1.0, 1.0, 1.0))
    save_kernel(Kernel(made.at()), folder / "k.tif")
    method = {"method": "richardson-lucy", "parameters": {"iterations": 3}, "kernel": "k.tif"}
    job = Job("a.tif", "o.deblur.zarr", **{**method, **asked}).resolved(folder)
    list(job.run())
    return job.output_path


@pytest.fixture
def image():
    rng = np.random.default_rng(3)
    return rng.poisson(20 + 400 * (rng.random((6, 40, 52)) > 0.98)).astype("u2")


def drawn(path):
    """Check that a picture has a dark page and bright panels on it; give its size."""
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"), float)
    assert picture[:10].max() < 40
    assert picture[:, -10:].max() < 40
    assert picture.max() > 240
    return picture.shape[:2]


def test_a_volume_is_drawn_with_sections(tmp_path, image):
    sigma = (1.0, 1.5, 1.5)
    store = restored(tmp_path, image, "ZYX", sigma, pixel_size=(0.3, 0.1, 0.1))
    write_report(store, tmp_path / "a.png")
    solid = drawn(tmp_path / "a.png")
    assert solid[0] > 1000


@pytest.mark.parametrize("shape", [(40, 52), (300, 20), (20, 300)])
def test_a_flat_image_of_any_shape_is_drawn(tmp_path, shape):
    rng = np.random.default_rng(3)
    write_report(restored(tmp_path, rng.poisson(30, shape).astype("u2"), "YX"), tmp_path / "a.png")
    assert drawn(tmp_path / "a.png")[1] == 1688


def test_long_settings_are_wrapped_above_the_pictures(tmp_path, image):
    numbers = {"iterations": 30, "momentum": [round(0.9 - 0.011 * n, 4) for n in range(30)]}
    heights = []
    for name, parameters in (("richardson-lucy", {"iterations": 3}), (LONG, numbers)):
        folder = tmp_path / name
        folder.mkdir()
        store = restored(folder, image[0], "YX", method=name, parameters=parameters)
        write_report(store, folder / "a.png")
        heights.append(drawn(folder / "a.png")[0])  # nothing is written on the margin
    assert heights[1] > heights[0]


def test_words_are_wrapped_at_spaces_to_a_width():
    text = "momentum 0.25; 0.5; a" + 60 * "b" + " 3 × 5 µm"
    lines = wrapped(text, 200, size=16)
    assert " ".join(lines) == text
    assert lines[0] == "momentum 0.25; 0.5;"
    assert lines[-1] == "3 × 5 µm"
    assert wrapped("", 200) == [""]


def test_a_time_lapse_with_tiles_is_drawn(tmp_path, image):
    store = restored(tmp_path, image, "TYX", tile=(20, 52), accept_seam=True)
    write_report(store, tmp_path / "a.png")
    drawn(tmp_path / "a.png")


def test_a_picture_in_colour_is_drawn_in_colour(tmp_path, image):
    picture = np.stack([image[0] // 4, image[0] // 8, image[0] // 2], axis=-1).astype("u1")
    write_report(restored(tmp_path, picture, "YXS", gamma="srgb"), tmp_path / "a.png")
    drawn(tmp_path / "a.png")


def test_kernels_of_tiles_are_drawn(tmp_path, image):
    blind = {"method": "blind-richardson-lucy", "parameters": {"iterations": 2, "rounds": 2}}
    store = restored(
        *(tmp_path, image[0], "YX"),
        **(blind | {"kernel": None, "shape": (5, 5), "scope": "tile"}),
        tile=(20, 26),
        accept_seam=True,
    )
    write_report(store, tmp_path / "a.png")
    drawn(tmp_path / "a.png")


def test_channels_with_numbers_of_their_own_are_drawn(tmp_path, image):
    tables = (ChannelTable(index=0, method="wiener"),)
    both = np.stack([image[0], image[0] // 2])
    store = restored(tmp_path, both, "CYX", channel=tables)
    write_report(store, tmp_path / "a.png")
    drawn(tmp_path / "a.png")


def test_a_method_without_iterations_has_no_curve(tmp_path, image):
    store = restored(tmp_path, image[0], "YX", method="wiener", parameters={})
    write_report(store, tmp_path / "a.png")
    drawn(tmp_path / "a.png")


def test_missing_values_are_drawn(tmp_path, image):
    holes = image[0].astype("f4")
    holes[5:9, 5:9] = np.nan
    write_report(restored(tmp_path, holes, "YX"), tmp_path / "a.png")
    drawn(tmp_path / "a.png")


def test_what_is_no_result_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no result at"):
        write_report(tmp_path / "gone.zarr", tmp_path / "a.png")


def test_the_residual_image_of_a_true_restoration_is_noise(tmp_path):
    """If the result, blurred, is the input, what is left has no more than rounding in it."""
    from scipy.ndimage import correlate

    from napari_deblur import report
    from napari_deblur.results import open_result

    rng = np.random.default_rng(1)
    store = restored(tmp_path, rng.poisson(50, (40, 44)).astype("u2"), "YX")
    sharp = rng.random((3, 40, 44)).astype("f4") * 100
    kernel = rng.random((3, 5, 4)).astype("f4")  # even and odd, with no symmetry
    kernel /= kernel.sum()
    # scipy's correlate with the mirrored kernel, whose centre moves for even lengths.
    mirrored = kernel[::-1, ::-1, ::-1]
    blurred = correlate(sharp, mirrored, mode="nearest", origin=(0, 0, -1))
    seen = report.Seen(blurred, sharp, ((0, 3), (0, 40), (0, 44)), 1)
    left = report._unexplained(open_result(store), seen, kernel)
    assert np.abs(left[4:-4, 4:-4]).max() < 1e-3


def test_colours_run_from_dark_to_bright():
    ramp = Picture(np.linspace(0, 1, 9)[None], (0.0, 1.0), colours=GLOW)
    light = np.asarray(ramp.rendered().convert("L"), int)[0]
    assert (np.diff(light) > 0).all()
    grey = Picture(np.array([[np.nan, 2.0, -1.0]]), (0.0, 1.0), colours=GREY).rendered()
    assert np.asarray(grey)[0, :, 0].tolist() == [0, 255, 0]


def test_a_picture_keeps_its_aspect_on_the_page():
    page = Page(200, 200)
    page.picture(Box(0, 0, 200, 200), Picture(np.ones((10, 10)), (0.0, 1.0), pixel=(0.3, 0.1)))
    white = np.asarray(page.image).min(axis=-1) > 250
    rows, columns = white.any(axis=1).sum(), white.any(axis=0).sum()
    assert rows == 200
    assert columns == pytest.approx(67, abs=1)


def test_a_page_without_any_font_but_pillows_own(monkeypatch):
    from napari_deblur import pictures

    monkeypatch.setattr(pictures, "FONTS", ("there is no such font.ttf",))
    pictures._font.cache_clear()
    page = Page(300, 60)
    page.words(5, 5, "0.3 × 0.1 µm – √", size=20)
    pictures._font.cache_clear()
    assert np.asarray(page.image).max() > 200
