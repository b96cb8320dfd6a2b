import numpy as np
import pytest
import tifffile

from napari_deblur.describing import of_measures
from napari_deblur.kernel_measures import aligned_ncc, measured
from napari_deblur.kernels import centred, load_kernel, padded, resampled, save_kernel
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.disc import Disc
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.words import typed

SIZE = (0.4, 0.1, 0.12)


def model(shape=(5, 9, 11), size=SIZE):
    return Gaussian((0.5, 0.15, 0.2))(shape, size)


@pytest.mark.parametrize("suffix", [".tif", ".npz"])
def test_a_kernel_survives_its_file_with_its_voxel_size(tmp_path, suffix):
    path = tmp_path / f"k{suffix}"
    save_kernel(model(), path)
    again = load_kernel(path)
    np.testing.assert_allclose(again.array, model().array, atol=1e-8)
    assert again.pixel_size == pytest.approx(SIZE, rel=1e-5)


@pytest.mark.parametrize("shape", [(9, 11), (5, 9, 11), (6, 8, 10)])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_plain_arrays_of_two_or_three_axes_are_kernels_without_voxel_size(tmp_path, shape, suffix):
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    path = tmp_path / f"k{suffix}"
    np.save(path, array) if suffix == ".npy" else tifffile.imwrite(path, array)
    kernel = load_kernel(path)
    assert kernel.shape == (1,) * (3 - len(shape)) + shape
    assert kernel.pixel_size is None


def test_a_zarr_array_is_a_kernel(tmp_path):
    import zarr

    array = zarr.create_array(
        str(tmp_path / "k.zarr"), shape=(3, 5, 7), dtype="f4", dimension_names=["z", "y", "x"]
    )
    array[:] = 1
    assert load_kernel(tmp_path / "k.zarr").shape == (3, 5, 7)


def test_a_measured_kernel_is_cleaned_and_it_is_said(tmp_path):
    array = model().at().copy()
    array[0, 0, 0] = -0.01
    np.save(tmp_path / "k.npy", array)
    assert "negative" in load_kernel(tmp_path / "k.npy").report["cleaned"][0]


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no kernel at"):
        load_kernel(tmp_path / "none.tif")
    np.savez(tmp_path / "two.npz", a=np.ones((3, 3)), b=np.ones((3, 3)))
    with pytest.raises(ValueError, match="holds the arrays a, b"):
        load_kernel(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="is none"):
        save_kernel(model(), tmp_path / "k.png")
    with pytest.raises(ValueError, match="a file holds one"):
        save_kernel(Kernel(np.ones((1, 2, 1, 3, 3))), tmp_path / "k.tif")


@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0, 3.0])
def test_resampling_keeps_centre_and_width(factor):
    fine = Gaussian((0.9, 0.6, 0.7))((31, 61, 61), (0.2, 0.1, 0.1))
    size = tuple(v * factor for v in (0.2, 0.1, 0.1))
    coarse = resampled(fine, size)
    assert coarse.pixel_size == size
    assert max(abs(v) for v in coarse.centroid()) < 1e-3
    for axis, sigma in enumerate((0.9, 0.6, 0.7)):
        line = coarse.at().sum(axis=tuple(a for a in range(3) if a != axis)).astype(float)
        places = (np.arange(line.size) - line.size // 2) * size[axis]
        found = np.sqrt((line * places**2).sum())
        # Integration over a pixel adds a twelfth of its square, twice if resampled.
        assert found == pytest.approx(np.sqrt(sigma**2 + size[axis] ** 2 / 6), rel=0.03)


def test_resampling_needs_a_voxel_size():
    with pytest.raises(ValueError, match="no voxel size"):
        resampled(Kernel(np.ones((3, 3))), SIZE)


@pytest.mark.parametrize("size", [(0.3, 0, 0.07), (0.1, 0.1), 0.1, (0.1, 0.1, float("nan"))])
def test_resampling_to_no_voxel_size_is_refused(size):
    with pytest.raises(ValueError, match=r"pixel_size is \(z, y, x\) in µm, each above 0, got"):
        resampled(model(), size)


def test_one_width_is_that_of_a_gaussian_along_all_axes():
    assert Gaussian(0.2) == Gaussian((0.2, 0.2, 0.2))
    assert typed(Gaussian, {"sigma": "0.2"}) == {"sigma": (0.2, 0.2, 0.2)}
    assert typed(Gaussian, {"sigma": "0.2,0.1,0.3"}) == {"sigma": (0.2, 0.1, 0.3)}
    with pytest.raises(ValueError, match="must be float, float, float"):
        typed(Gaussian, {"sigma": "0.2,0.1"})


@pytest.mark.parametrize("sigma", [-1.0, None, "a", (0.1, None, 0.1), (0.1, 0.1)])
def test_a_gaussian_of_no_width_is_refused(sigma):
    with pytest.raises(ValueError, match=r"sigma is \(z, y, x\) in µm, each 0 or more, got"):
        Gaussian(sigma)


@pytest.mark.parametrize("size", [None, (None,) * 3, (0.1, 0.1), 0.1, (0.1, 0, 0.1), "abc"])
def test_a_model_without_a_voxel_size_says_what_it_wants(size):
    for kernel in (Gaussian(), Disc()):
        with pytest.raises(ValueError, match=r"pixel_size is \(z, y, x\) in µm, each above 0, got"):
            kernel("auto", size)
    with pytest.raises(
        ValueError, match=r"shape of a kernel is \(z, y, x\), each 1 or more, got 5"
    ):
        Disc()(5, SIZE)
    with pytest.raises(ValueError, match="radius of disc is None: give a number"):
        Disc(None)


def test_centring_moves_the_centre_of_mass_to_the_middle():
    array = np.zeros((9, 10, 11))
    array[5, 3:5, 7] = 1
    assert max(abs(v) for v in centred(Kernel(array)).centroid()) < 1e-5


@pytest.mark.parametrize(("small", "large"), [((3, 4, 5), (5, 7, 9)), ((4, 3, 1), (8, 8, 2))])
def test_padding_keeps_the_centre_at_half_the_length(small, large):
    kernel = np.zeros(small, np.float32)
    kernel[tuple(n // 2 for n in small)] = 1
    result = padded(kernel, large)
    assert result[tuple(n // 2 for n in large)] == 1


@pytest.mark.parametrize("n", [7, 8])
def test_a_gaussian_has_its_width_its_centre_and_sum_one(n):
    kernel = Gaussian((0.0, 0.2, 0.1))((1, 4 * n, 4 * n), (1.0, 0.1, 0.1)).at()[0].astype(float)
    places = np.arange(4 * n) - 4 * n // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    for axis, sigma in ((1, 2.0), (0, 1.0)):
        line = kernel.sum(axis=axis)
        assert (line * places).sum() == pytest.approx(0, abs=1e-3)
        assert (line * places**2).sum() == pytest.approx(sigma**2 + 1 / 12, rel=1e-3)


def test_optics_give_the_diffraction_limit():
    model = Gaussian.from_optics(1.4, 0.52, 1.515)
    assert model.sigma == pytest.approx((0.3135, 0.0836, 0.0836), rel=1e-3)


@pytest.mark.parametrize("shape", [(3, 13, 13), (4, 13, 13), (13, 13, 3), (1, 1, 5, 13, 13)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_tiff_of_any_type_with_three_axes_is_a_kernel(tmp_path, shape, dtype):
    array = np.random.default_rng(0).integers(1, 200, shape).astype(dtype)
    photometric = {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "k.tif", array, **photometric)
    kernel = load_kernel(tmp_path / "k.tif")
    np.testing.assert_allclose(kernel.at(), array.reshape(shape[-3:]) / array.sum(), rtol=1e-5)


def test_planes_that_were_taken_for_colours_are_a_kernel_all_the_same(tmp_path):
    array = np.random.default_rng(0).integers(1, 200, (3, 13, 13)).astype("u2")
    how = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "k.tif", array, **how)
    assert load_kernel(tmp_path / "k.tif").shape == (3, 13, 13)
    tifffile.imwrite(tmp_path / "c.tif", np.moveaxis(array, 0, -1), photometric="rgb")
    with pytest.raises(ValueError, match="is a picture in colour: save one channel"):
        load_kernel(tmp_path / "c.tif")


def test_several_kernels_in_a_tiff_and_other_files_are_refused_in_a_sentence(tmp_path):
    tifffile.imwrite(tmp_path / "k.tif", np.ones((2, 3, 5, 13, 13), "f4"))
    said = r"a kernel has axes y,x or z,y,x and .*k\.tif has shape \(2, 3, 5, 13, 13\): save one"
    with pytest.raises(ValueError, match=said):
        load_kernel(tmp_path / "k.tif")
    for name in ("text.tif", "text.npy", "text.npz"):
        (tmp_path / name).write_text("hello, this is no kernel")
        with pytest.raises(ValueError, match=r"text\.\w+ holds no kernel that can be read.*: save"):
            load_kernel(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "no finite value"), (-1.0, "no value above 0"), (0, "zero every")]
)
def test_a_kernel_without_anything_says_what_it_is(value, said):
    with pytest.raises(ValueError, match=said):
        Kernel.cleaned(np.full((3, 3), value))


def test_kernels_for_channels_that_are_not_there_are_refused():
    from napari_deblur.kernel_sets import fitted
    from napari_deblur.stack import Pixels, Stack

    stack = Stack(Pixels(np.ones((9, 9), "u2"), "yx"), axes="yx")
    said = r"a kernel is given for channel 3 but the stack has 1 \(from 0\): leave it out"
    with pytest.raises(ValueError, match=said):
        fitted(stack, {0: model(), 3: model()}, [])


@pytest.mark.parametrize("shape", [(1, 6, 6), (1, 6, 7), (4, 5, 6), (1, 2, 2), (2, 8, 8)])
def test_kernels_of_even_lengths_are_centred_and_lose_nothing(shape):
    # Wider than its array, so that there is light at every border.
    kernel = Gaussian((0.5, 0.2, 0.2))(shape, (0.3, 0.1, 0.1))
    moved = centred(kernel)
    assert np.abs(moved.centroid()).max() < 2e-3
    assert all(n % 2 == m % 2 and n <= m <= n + 2 for n, m in zip(shape, moved.shape, strict=True))
    # Light only spreads by parts of a pixel.
    assert aligned_ncc(kernel, moved)[0] > 0.9
    assert centred(moved).shape == moved.shape


def test_centring_keeps_the_shape_where_there_is_room():
    array = np.zeros((1, 12, 13))
    array[0, 2:5, 6:9] = 1
    moved = centred(Kernel(array))
    assert moved.shape == (1, 12, 13)
    assert np.abs(moved.centroid()).max() < 1e-6


@pytest.mark.parametrize("n", [4, 5])
def test_light_at_the_border_is_resampled_whole(n):
    array = np.zeros((1, n, n))
    array[0, n // 2 - 1 : n // 2 + 2, n // 2 - 1 : n // 2 + 2] = 1  # at the border if n is 4
    kernel = resampled(Kernel(array, (1.0, 0.1, 0.1)), (1.0, 0.06, 0.06))
    assert np.abs(kernel.centroid()).max() < 1e-6
    at = np.arange(kernel.shape[2]) - kernel.shape[2] // 2
    spread = (kernel.at().sum(axis=(0, 1)) * (at * 0.06) ** 2).sum()
    assert spread == pytest.approx(0.1**2 * 2 / 3, rel=0.3)


@pytest.mark.parametrize(
    ("even", "odd"), [((14, 20, 20), (15, 21, 21)), ((1, 20, 20), (1, 21, 21))]
)
def test_measures_of_even_kernels_are_those_of_odd_ones(even, odd):
    model, size = Gaussian((0.3, 0.15, 0.18)), (0.2, 0.1, 0.1)
    one, other = measured(model(even, size)), measured(model(odd, size))
    for name in ("fwhm", "centroid", "asymmetry", "radius_50", "radius_90", "cutoff", "border"):
        a, b = (np.atleast_1d(np.array(getattr(m, name), float)) for m in (one, other))
        assert a == pytest.approx(b, rel=5e-3, abs=1e-4, nan_ok=True), name
    said = dict(of_measures(one, size))["kernel"]
    assert "the middle of an even length n is voxel n // 2" in said
    assert "even" not in dict(of_measures(other, size))["kernel"]
