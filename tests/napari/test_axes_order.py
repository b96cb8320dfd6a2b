"""Results, kernels and previews have the axes of their image in its order: so do the sliders."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

import napari_deblur as nd
from napari_deblur._napari.kernel_layers import asked_of
from napari_deblur._napari.looks import looks_of, picked_of, remember
from napari_deblur._napari.placing import in_axes, picked_channels, spatial_kwargs
from napari_deblur._napari.preview import Preview, Window
from napari_deblur._napari.previewed import preview_layers
from napari_deblur._napari.reader import read
from napari_deblur._napari.reading import stack_of
from napari_deblur._napari.showing import image_layer, kernels_layer, limits_of
from napari_deblur._napari.telling import scaled
from napari_deblur.results import open_result
from napari_deblur.stack import AXES

KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))
SIZES = {"t": 2, "c": 2, "z": 3, "y": 8, "x": 10}
PLACES = {"t": (4.0, 0.0), "c": (1.0, 0.0), "z": (0.5, 3.0), "y": (0.1, 5.0), "x": (0.2, -2.0)}


def _image(axes, **turned):
    shape = [SIZES[a] for a in axes]
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1
    scale, translate = zip(*(PLACES[a] for a in axes), strict=True)
    units = ["um" if a in "zyx" else "pixel" for a in axes]
    return Image(
        array, name="cells", axis_labels=tuple(axes), scale=scale, translate=translate,
        units=units, **turned,
    )  # fmt: skip


def _affine(n):
    affine = np.eye(n + 1)
    affine[-3, -2], affine[-2, -1] = 0.3, 7
    return affine


def _done(path, stack, method="identity", kernel=KERNEL):
    plan = nd.plan(stack, method, kernel=kernel)
    for _ in nd.run(plan, path, stack):
        pass
    return open_result(path)


def _layer(made):
    data, kwargs, _ = made
    return Image(data, **kwargs)


@pytest.mark.parametrize("axes", ["zcyx", "ctyx", "yxc", "xyz", "tyx", "ztcyx"])
def test_sliders_show_of_the_result_what_they_show_of_the_image(tmp_path, axes):
    image = _image(axes, rotate=20.0, affine=_affine(len(axes)))
    result = _done(tmp_path / "a.deblur.zarr", stack_of(image))
    data, kwargs, _ = image_layer(result, spatial_kwargs(image, axes), name="restored")
    viewer = ViewerModel()
    viewer.add_layer(image)
    restored = viewer.add_image(data, **kwargs)
    np.testing.assert_array_equal(np.asarray(restored.data), image.data)
    kernels = _layer(kernels_layer(result, spatial_kwargs(image, axes), name="kernels"))
    assert restored.axis_labels == kernels.axis_labels == tuple(axes)
    for place in ((0,) * image.ndim, [n - 1 for n in image.data.shape]):
        np.testing.assert_allclose(restored.data_to_world(place), image.data_to_world(place))
    # From the disk as well.
    remember(result, looks_of(restored))
    again = _layer(read(result.path)[0])
    assert again.axis_labels == tuple(axes)
    np.testing.assert_array_equal(np.asarray(again.data), image.data)
    place = range(image.ndim)
    np.testing.assert_allclose(again.data_to_world(place), image.data_to_world(place))


@pytest.mark.parametrize("axes", ["zcyx", "ctyx", "xyz", "zyxc"])
def test_a_preview_lies_where_it_was_taken(axes):
    image = _image(axes, affine=_affine(len(axes)))
    stack = stack_of(image)
    first = {"t": 1, "c": 1, "z": 2, "y": 3, "x": 4}
    first = {a: first[a] if a in axes else 0 for a in AXES}
    z, y, x = first["z"], first["y"], first["x"]
    window = Window(first["t"], (first["c"],), ((z, z + 1), (y, y + 4), (x, x + 5)), z)
    part = stack.read(first["t"], first["c"])[z : z + 1, y : y + 4, x : x + 5]
    kernel = np.zeros((1, 5, 3), np.float32)
    kernel[0, 2, 1] = 1
    plan = nd.plan(stack, "identity", kernel=nd.Kernel(kernel))
    layers = preview_layers(image, stack, Preview(window, part[None], plan, kernel), axes)
    shown, beside = (Image(data, **kwargs) for data, kwargs, _ in layers)
    own = tuple(slice(first[a], first[a] + {"y": 4, "x": 5}.get(a, 1)) for a in axes)
    np.testing.assert_array_equal(shown.data, image.data[own])
    np.testing.assert_allclose(
        shown.data_to_world((0,) * image.ndim), image.data_to_world([first[a] for a in axes])
    )
    assert shown.axis_labels == beside.axis_labels == image.axis_labels
    assert [beside.data.shape[axes.index(a)] for a in "yx"] == [5, 3]


def test_axes_of_an_array_are_put_in_order():
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 1, 3, 4, 5)
    np.testing.assert_array_equal(in_axes(array, "xtzy"), array[:, 0].transpose(3, 0, 1, 2))


def test_one_channel_of_a_file_lies_where_its_layer_lies(tmp_path):
    """The store has an axis of one channel, the layer has none."""
    image = _image("zyx", rotate=15.0)
    stack = stack_of(Image(image.data[None], axis_labels=tuple("czyx")))
    result = _done(tmp_path / "a.deblur.zarr", stack)
    spatial = spatial_kwargs(image, "zyx")
    restored = _layer(image_layer(result, spatial, name="restored"))
    np.testing.assert_array_equal(np.asarray(restored.data), image.data)
    np.testing.assert_allclose(restored.rotate, image.rotate)
    remember(result, looks_of(restored))
    again = _layer(read(result.path)[0])
    np.testing.assert_allclose(again.rotate, image.rotate)
    # What was kept for other axes is left out.
    for axes in (["y", "y", "x"], ["z", "x"], [["z"], "y", "x"], "zyx", ["q", "y", "x"]):
        remember(result, {**looks_of(restored), "axes": axes})
        data, kwargs, _ = read(result.path)[0]
        assert data.shape == (1, *image.data.shape)
        assert "rotate" not in kwargs


@pytest.mark.parametrize("axes", ["cyx", "ycx"])
def test_channels_lie_beside_their_own_where_some_were_left_out(tmp_path, axes):
    image = Image(np.random.default_rng(0).random((4, 6, 7), np.float32) + 1, name="cells")
    image.data = image.data.transpose(["cyx".index(a) for a in axes])
    spatial = spatial_kwargs(image, axes)
    picked = (1, 3)
    stack = stack_of(image, axes).selected(channels=picked)
    each = {0: KERNEL, 1: nd.Kernel(np.ones((3, 3)) / 9)}
    result = _done(tmp_path / "a.deblur.zarr", stack, nd.methods["wiener"](noise=1.0), each)
    truth = {picked[c]: np.asarray(result.levels[0])[c, 2, 2] for c in range(2)}
    placed = picked_channels(spatial, picked)
    restored = _layer(image_layer(result, placed, name="restored", channels=picked))
    kernels = _layer(kernels_layer(result, placed, name="kernels", channels=picked))
    remember(result, looks_of(restored))
    again = [_layer(made) for made in read(result.path)]
    for one, other in ((restored, kernels), again):
        assert other.data.shape[axes.index("c")] == 3
        for c in range(4):
            place = [c if a == "c" else 2 for a in axes]
            own = one.world_to_data(image.data_to_world(place)).round().astype(int)
            assert own[axes.index("c")] == c - 1
            if c > 0:
                np.testing.assert_equal(one.data[tuple(own)], truth.get(c, np.nan))
    # Which kernel is meant, where the slider stands on a channel.
    viewer = ViewerModel()
    for one in (image, restored):
        viewer.add_layer(one)
    at = axes.index("c")
    viewer.dims.order = (at, *(n for n in range(3) if n != at))
    for c, number in ((1, 0), (3, 1)):
        viewer.dims.set_point(at, c)
        assert asked_of(viewer, restored).place[1] == number
    strange = {"channels": [3, 1]}, {"channels": [1]}, {"channels": ["1", "3"]}, {"channels": 4}
    for one in strange:
        remember(result, {**looks_of(restored), **one})
        assert picked_of(result) is None


def test_limits_of_an_image_hold_for_its_result_without_the_background(tmp_path):
    image = Image(np.random.default_rng(0).poisson(5, (32, 32)).astype(np.uint16) + 2000,
                  contrast_limits=(2003, 2011))  # fmt: skip
    stack = stack_of(image)
    window = Window(0, (0,), ((0, 1), (0, 32), (0, 32)), 0)
    for kept in (True, False):
        plan = nd.plan(stack, "identity", kernel=KERNEL, keep_background=kept)
        dark = 0 if kept else plan.channels[0].facts.background
        assert kept or 1990 < dark < 2010
        path = tmp_path / f"{kept}.deblur.zarr"
        for _ in nd.run(plan, path, stack):
            pass
        result = open_result(path)
        assert limits_of(result, (2003, 2011))[0] == pytest.approx(2003 - dark)
        assert limits_of(result)[0] < np.percentile(np.asarray(result.levels[0]), 70)
        preview = Preview(window, (image.data - np.float32(dark))[None, None], plan, KERNEL.at())
        shown = _layer(preview_layers(image, stack, preview, "yx")[0])
        assert shown.contrast_limits[0] == pytest.approx(2003 - dark)
        assert shown.contrast_limits[1] < 2100 - dark


def test_numbers_that_are_no_counts_are_said_to_be_scaled(tmp_path):
    image = Image(np.random.default_rng(0).poisson(30_000, (32, 32)).astype(np.uint16))
    stack = stack_of(image)
    for dtype in ("float32", "uint16"):
        plan = nd.plan(stack, "identity", kernel=KERNEL, dtype=dtype)
        path = tmp_path / f"{dtype}.deblur.zarr"
        for _ in nd.run(plan, path, stack):
            pass
        data, kwargs, _ = read(path)[0]
        about = kwargs["metadata"]["deblur"]
        counts = np.asarray(data) * about["scale"] + about["offset"]
        assert counts.mean() == pytest.approx(30_000, rel=0.01)
        assert scaled(plan) == (
            [f"Its uint16 numbers are scaled: counts = number × {plan.scale:.4g}."]
            if dtype == "uint16" else []
        )  # fmt: skip
        assert (about["scale"] == 1) == (dtype == "float32")
