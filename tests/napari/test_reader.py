"""Our stores as layers."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

import napari_deblur as nd
from buckets import running, server, upload  # noqa: F401
from napari_deblur._napari.reader import get_reader
from napari_deblur._napari.seen import Seen
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result

KERNEL = nd.Kernel(np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]), (1, 0.05, 0.05))


def _result(path, array, axes, method="richardson-lucy", **asked):
    stack = open_stack(array, axes, (0.4, 0.1, 0.1))
    plan = nd.plan(stack, method, **asked)
    for _ in nd.run(plan, path, stack):
        pass
    return plan


@pytest.fixture
def array():
    return np.random.default_rng(0).poisson(50, (2, 3, 24, 30)).astype(np.uint16)


def _read(path):
    viewer = ViewerModel()
    for data in get_reader(str(path))(str(path)):
        viewer.add_layer(Layer.create(*data))
    return viewer


def test_only_our_stores_are_read(tmp_path):
    assert get_reader(str(tmp_path / "a.zarr")) is None
    assert get_reader("cells.tif") is None
    empty = tmp_path / "b.deblur.zarr"
    empty.mkdir()
    assert get_reader(str(empty)) is None


def test_what_others_wrote_is_left_to_others(tmp_path):
    import tifffile
    import zarr

    tifffile.imwrite(tmp_path / "a.deblur.ome.tif", np.zeros((4, 4), np.uint8))
    zarr.create_group(tmp_path / "a.ome.zarr").attrs["ome"] = {"version": "0.5"}
    (tmp_path / "folder").mkdir()
    for name in ("a.deblur.ome.tif", "a.ome.zarr", "folder"):
        assert get_reader(str(tmp_path / name)) is None


def test_a_result_is_known_by_what_it_says_not_by_its_name(tmp_path, array):
    _result(tmp_path / "a.deblur.zarr", array, "czyx", kernel=KERNEL)
    (tmp_path / "a.deblur.zarr").rename(tmp_path / "mine")
    assert len(_read(tmp_path / "mine").layers) == 2


def test_result_comes_back_with_its_kernels(tmp_path, array):
    plan = _result(tmp_path / "a.deblur.zarr", array, "czyx", kernel=KERNEL)
    viewer = _read(tmp_path / "a.deblur.zarr")
    image, kernels = viewer.layers
    assert image.name == "stack restored [richardson-lucy]"
    assert tuple(image.scale) == pytest.approx((1, 0.4, 0.1, 0.1))
    assert image.axis_labels == kernels.axis_labels == ("c", "z", "y", "x")
    assert [str(u) for u in image.units] == [str(u) for u in kernels.units]
    assert [str(u) for u in image.units][1:] == ["micrometer"] * 3
    finest = image.data[0] if image.multiscale else image.data
    assert isinstance(finest, Seen)
    assert np.isfinite(np.asarray(finest)).all()
    low, high = image.contrast_limits
    assert 0 < low < array.mean() + 1 < high
    assert kernels.metadata["kernel_pixel_size"] == plan.kernel.pixel_size
    # One plane for all planes, at its true size (that of the image, which it was resampled to).
    assert kernels.scale[1] == pytest.approx(3 * 0.4)
    np.testing.assert_allclose(kernels.scale[2:], plan.kernel.pixel_size[1:])
    assert viewer.dims.ndim == 4


def test_contrast_reaches_the_light_that_was_restored(tmp_path, picture, kernel_layer):
    path = tmp_path / "a.deblur.zarr"
    plan = _result(path, picture, "yx", kernel=nd.Kernel(kernel_layer.data))
    (image, _) = _read(path).layers
    bright = np.percentile(np.asarray(image.data), 99.8)
    assert image.contrast_limits[1] == pytest.approx(bright)
    assert bright > plan.channels[0].facts.white


def test_limits_of_the_source_are_kept_unless_they_clip(tmp_path, picture, kernel_layer):
    from napari_deblur._napari.showing import limits_of

    path = tmp_path / "a.deblur.zarr"
    _result(path, picture, "yx", kernel=nd.Kernel(kernel_layer.data))
    result = open_result(path)
    pixels = np.asarray(result.levels[0])
    few, many = np.percentile(pixels, (99.5, 90))
    assert limits_of(result, (-3.0, few)) == (-3.0, few)
    low, high = limits_of(result, (-3.0, many))
    assert low == -3.0
    assert high == pytest.approx(np.percentile(pixels, 99.8))


def test_kernels_of_tiles_lie_over_their_tiles(tmp_path, array):
    path = tmp_path / "b.deblur.zarr"
    method = nd.methods["blind-richardson-lucy"](iterations=2, rounds=1, steps=1)
    plan = _result(path, array[0], "zyx", method, scope="tile", shape=(1, 5, 5), tile=(3, 12, 16),
                   accept_seam=True)  # fmt: skip
    image, kernels = _read(path).layers
    assert plan.grid.core == (3, 12, 16)
    middle = kernels.data_to_world([0, 5 + 2, 5 + 2])  # of the kernel of tile (0, 1, 1)
    np.testing.assert_allclose(middle, image.data_to_world([1, 17.5, 23.5]))


def test_colours_come_last(tmp_path):
    picture = np.random.default_rng(0).integers(20, 200, (32, 40, 3), dtype=np.uint8)
    path = tmp_path / "c.deblur.zarr"
    _result(path, picture, "yxs", kernel=nd.Kernel(KERNEL.array))
    image, kernels = _read(path).layers
    assert image.rgb
    assert np.asarray(image.data if not image.multiscale else image.data[0]).shape == (32, 40, 3)
    assert kernels.ndim == image.ndim == 2


def test_a_result_in_a_bucket_opens_as_one_in_a_folder(server, tmp_path, array):  # noqa: F811
    _result(tmp_path / "a.deblur.zarr", array, "czyx", kernel=KERNEL)
    upload(tmp_path / "a.deblur.zarr", "s3://cells/a.deblur.zarr")
    there, here = _read("s3://cells/a.deblur.zarr"), _read(tmp_path / "a.deblur.zarr")
    assert [layer.name for layer in there.layers] == [layer.name for layer in here.layers]
    for one, other in zip(there.layers, here.layers, strict=True):
        np.testing.assert_array_equal(np.asarray(one.data), np.asarray(other.data))
        np.testing.assert_array_equal(one.scale, other.scale)
    assert get_reader("s3://cells/none.zarr") is None
    assert get_reader("gs://cells/none.zarr") is None
