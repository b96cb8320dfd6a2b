import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_deblur import cli
from napari_deblur.kernel_figure import write_figure
from napari_deblur.kernels import save_kernel
from napari_deblur.opening import open_stack
from napari_deblur.outputs import kernel_targets
from napari_deblur.protocols import Facts, Kernel
from napari_deblur.psfs.gaussian import Gaussian


def call(*arguments, status=0):
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


@pytest.fixture
def kernel(tmp_path):
    save_kernel(Gaussian((0.4, 0.15, 0.15))((9, 17, 17), (0.2, 0.1, 0.1)), tmp_path / "k.tif")
    return tmp_path / "k.tif"


def test_the_kernel_command_says_what_it_measures(kernel):
    said = call("kernel", kernel, "--na", "0.8", "--wavelength", "0.52", "--n-immersion", "1.33")
    assert "kernel 9 × 17 × 17 voxels" in said
    # 2.355 σ, and a pixel's own width.
    assert "full width at half 0.9498 × 0.3598 × 0.3598 µm (z, y, x)" in said
    assert "of the optical limit 3.08" in said
    assert "power beyond the limit" in said


def test_two_kernels_are_compared_at_one_voxel_size(kernel, tmp_path):
    other = Gaussian((0.4, 0.15, 0.15))((9, 33, 33), (0.2, 0.05, 0.05))
    save_kernel(other, tmp_path / "fine.zarr")
    said = call("kernel", kernel, "--against", tmp_path / "fine.zarr")
    assert "compared at the voxel size of the first" in said
    assert "correlation 0.99" in said or "correlation 1.00" in said
    assert "dB, the other being the truth" in said


def test_a_kernel_of_a_frame_and_channel_is_chosen(tmp_path):
    save_kernel(Kernel(np.random.default_rng(0).random((1, 2, 1, 5, 7))), tmp_path / "k.npz")
    assert "1 × 5 × 7 voxels" in call("kernel", tmp_path / "k.npz", "--channel", "1")
    said = call("kernel", tmp_path / "k.npz", "--channel", "2", status=1)
    assert "kernels of 2 channels, from 0: there is no 2" in said
    assert "no kernel at" in call("kernel", tmp_path / "none.tif", status=1)


def test_the_figure_is_a_picture(kernel, tmp_path):
    call("kernel", kernel, "--figure", tmp_path / "k.png", "--na", "0.8", "--wavelength", "0.52")
    with Image.open(tmp_path / "k.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture).std() > 10


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 1, 9), (3, 1, 1), (2, 4, 3)])
def test_kernels_of_odd_kinds_have_a_figure_too(shape, tmp_path):
    for array in (np.ones(shape), np.eye(max(shape))[:1, None] * np.ones((1, 1, 1))):
        optics = Facts(na=1.2, wavelength=0.5, n_immersion=1.33)
        write_figure(Kernel(array, (0.3, 0.1, 0.1)), tmp_path / "k.png", optics)
        write_figure(Kernel(array), tmp_path / "k.png")


def test_kernels_go_to_a_file_each_or_to_one_store(tmp_path):
    one, two = (open_stack(np.ones((c, 8, 8)), "cyx") for c in (1, 2))
    names = [path.name for path in kernel_targets(tmp_path / "k.tif", two, overwrite=False)]
    assert names == ["k_c0.tif", "k_c1.tif"]
    for stack, name in ((one, "k.tif"), (one, "k.zarr"), (two, "k.zarr")):
        assert kernel_targets(tmp_path / name, stack, overwrite=False) == [tmp_path / name]
    with pytest.raises(ValueError, match=r"as .tif, .npz or .zarr, and \"k.png\" is none"):
        kernel_targets(tmp_path / "k.png", one, overwrite=False)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        kernel_targets(tmp_path / "no" / "k.zarr", one, overwrite=False)
    (tmp_path / "k.zarr").mkdir()
    with pytest.raises(FileExistsError, match=r"k\.zarr exists: choose another name"):
        kernel_targets(tmp_path / "k.zarr", one, overwrite=False)
    assert kernel_targets(tmp_path / "k.zarr", one, overwrite=True) == [tmp_path / "k.zarr"]
