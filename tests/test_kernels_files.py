import numpy as np
import pytest
import zarr
from yaozarrs import validate_zarr_store

from napari_deblur.kernels import cropped, load_kernel, save_kernel
from napari_deblur.opening import open_stack
from napari_deblur.protocols import Kernel
from napari_deblur.psfs.gaussian import Gaussian

SIZE = (0.4, 0.1, 0.12)


def model(shape=(5, 9, 11), size=SIZE):
    return Gaussian((0.5, 0.15, 0.2))(shape, size)


def test_an_ome_zarr_holds_a_kernel_with_its_voxel_size(tmp_path):
    save_kernel(model(), tmp_path / "k.zarr")
    again = load_kernel(tmp_path / "k.zarr")
    np.testing.assert_array_equal(again.array, model().array)
    assert again.pixel_size == SIZE
    validate_zarr_store(str(tmp_path / "k.zarr"))
    assert (
        zarr.open_group(tmp_path / "k.zarr").attrs["napari_deblur"]["report"]["psf"] == "gaussian"
    )


def test_an_ome_zarr_of_a_kernel_opens_as_an_image(tmp_path):
    save_kernel(model(), tmp_path / "k.zarr")
    stack = open_stack(tmp_path / "k.zarr")
    assert stack.shape == (1, 1, 5, 9, 11)
    assert stack.pixel_size == SIZE


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_kernels_of_several_frames_and_channels_come_back_equal(tmp_path, suffix):
    array = np.random.default_rng(0).random((2, 3, 5, 7, 9))
    many = Kernel(array, SIZE)
    save_kernel(many, tmp_path / f"k{suffix}")
    again = load_kernel(tmp_path / f"k{suffix}", several=True)
    np.testing.assert_allclose(again.array, many.array, atol=1e-8)
    with pytest.raises(ValueError, match="holds 6 kernels: give a file with one"):
        load_kernel(tmp_path / f"k{suffix}")


def test_without_a_voxel_size_pixels_have_no_unit(tmp_path):
    save_kernel(Kernel(np.ones((3, 5))), tmp_path / "k.zarr")
    again = load_kernel(tmp_path / "k.zarr")
    assert again.pixel_size is None
    assert again.shape == (1, 3, 5)


def test_only_kernels_are_written_over(tmp_path):
    save_kernel(model(), tmp_path / "k.zarr")
    save_kernel(model((3, 5, 5)), tmp_path / "k.zarr")
    assert load_kernel(tmp_path / "k.zarr").shape == (3, 5, 5)
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "precious").write_text("data")
    with pytest.raises(FileExistsError, match="holds more than a kernel"):
        save_kernel(model(), tmp_path / "other.zarr")
    assert (tmp_path / "other.zarr" / "precious").exists()


def test_a_mosaic_of_kernels_is_not_taken_for_one(tmp_path):
    save_kernel(Kernel(np.ones((6, 10)), SIZE), tmp_path / "k.zarr")
    group = zarr.open_group(tmp_path / "k.zarr")
    group.attrs["napari_deblur"] = {"shape": [1, 3, 5], "report": {}}
    with pytest.raises(ValueError, match="one for each tile"):
        load_kernel(tmp_path / "k.zarr")


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 5, 4), (9, 9, 99)])
def test_cropping_keeps_the_middle_at_half_the_length(shape):
    array = np.zeros((6, 9, 11))
    array[3, 4, 5] = 1
    small = cropped(Kernel(array), shape=shape)
    assert small.shape == tuple(min(n, m) for n, m in zip(shape, (6, 9, 11), strict=True))
    assert small.at()[tuple(n // 2 for n in small.shape)] == 1


def test_cropping_to_a_share_of_the_light_keeps_that_and_says_what_is_gone():
    whole = Gaussian((0.4, 0.2, 0.1))((41, 61, 61), (0.2, 0.1, 0.1))
    small = cropped(whole, energy=0.999)
    left_out = small.report["left_out"]
    assert 0 < left_out <= 0.001
    kept = tuple(slice(n // 2 - m // 2, n // 2 + m // 2 + 1)
                 for n, m in zip(whole.shape, small.shape, strict=True))  # fmt: skip
    assert whole.at()[kept].sum() == pytest.approx(1 - left_out, abs=1e-5)
    assert all(n % 2 for n in small.shape)
    # As wide along each axis as the Gaussian is.
    assert small.shape[1] > small.shape[2]
    assert small.array.sum() == pytest.approx(1)


def test_cropping_wants_one_of_both():
    with pytest.raises(ValueError, match=r"give a shape .* or the share"):
        cropped(model())
    with pytest.raises(ValueError, match="energy is 2"):
        cropped(model(), energy=2)
    with pytest.raises(ValueError, match=r"shape is \(z, y, x\)"):
        cropped(model(), shape=(0, 3, 3))
