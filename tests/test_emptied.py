"""Voxels that had data and have none in the result are counted, and it is said at the end."""

import numpy as np
import pytest
from typer.testing import CliRunner

import napari_deblur as nd
from napari_deblur.cli import app
from napari_deblur.kernel_files import save_kernel
from napari_deblur.protocols import Kernel
from napari_deblur.results import open_result

HOLE = (slice(4, 7), slice(8, 12))


@pytest.fixture
def image():
    image = np.random.default_rng(0).poisson(40, (48, 40)).astype(np.float32)
    image[HOLE] = np.nan
    return image


@pytest.fixture
def off_centre():
    """All of the light of a point lands far from where the point is."""
    array = np.zeros((1, 1, 1, 15, 15))
    array[..., 12:15, 12:15] = 1 / 9
    return Kernel(array)


@pytest.fixture
def method():
    return nd.methods["richardson-lucy"](iterations=3)


def run(image, kernel, method, output, **how):
    stack = nd.open_stack(image, "yx")
    plan = nd.plan(stack, method, kernel=kernel, judge=False, tile=(1, 32, 32), accept_seam=True)
    last = list(nd.run(plan, output, stack=stack, **how))[-1]
    return last, np.asarray(open_result(output).levels[0]).reshape(image.shape)


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_they_are_counted_over_all_tiles_and_after_going_on(
    image, off_centre, method, tmp_path, dtype
):
    given = image if dtype == "float32" else np.nan_to_num(image, nan=40).astype(dtype)
    last, restored = run(given, off_centre, method, tmp_path / "a.deblur.zarr")
    lost = int((np.isnan(restored) & np.isfinite(given)).sum())
    assert last.emptied == lost > 0
    assert f"{lost} voxels without data that had some" in str(last)
    again, _ = run(given, off_centre, method, tmp_path / "a.deblur.zarr")
    assert (again.note, again.emptied) == ("it was complete already", lost)


def test_holes_of_the_input_do_not_count(image, method, tmp_path):
    array = np.zeros((1, 1, 1, 3, 3))
    array[..., 1, :] = 1 / 3
    last, restored = run(image, Kernel(array), method, tmp_path / "a.deblur.zarr")
    assert np.isnan(restored[HOLE]).any()
    assert last.emptied == 0
    assert "without data" not in str(last)


def test_the_command_line_says_it_at_the_end(image, off_centre, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", np.nan_to_num(image, nan=40.0))
    save_kernel(off_centre, tmp_path / "k.npz")
    asked = ["run", str(tmp_path / "a.tif"), str(tmp_path / "a.deblur.zarr")]
    asked += ["--kernel", str(tmp_path / "k.npz"), "--method", "richardson-lucy"]
    said = CliRunner().invoke(app, [*asked, "--set", "iterations=3"])
    assert said.exit_code == 0, said.output
    assert "voxels that had data have none now" in said.output
