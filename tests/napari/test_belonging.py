"""What napari makes of a result, such as a projection, is no longer that result."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

import napari_deblur as nd
from napari_deblur._napari.belonging import store_of
from napari_deblur._napari.kernel_layers import has_kernels
from napari_deblur._napari.reader import get_reader
from napari_deblur._napari.writer import write_tiff, write_zarr
from napari_deblur.opening import open_stack
from napari_deblur.results import open_result

SIZE = (0.4, 0.1, 0.1)
KERNEL = nd.Kernel(np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]), (1, 0.05, 0.05))


@pytest.fixture
def array():
    return np.random.default_rng(0).poisson(50, (2, 3, 24, 30)).astype(np.uint16)


@pytest.fixture
def result(tmp_path, array):
    """Give the layers of a result, and its store."""
    store = tmp_path / "a.deblur.zarr"
    stack = open_stack(array, "czyx", SIZE)
    for _ in nd.run(nd.plan(stack, "richardson-lucy", kernel=KERNEL), store, stack):
        pass
    return get_reader(str(store))(str(store)), open_result(store)


@pytest.mark.parametrize("what", ["projection", "channel", "crop"])
def test_what_was_made_of_a_result_is_saved_as_it_is(result, tmp_path, what):
    from napari.layers import _layer_actions as actions

    viewer = ViewerModel()
    whole = viewer.add_layer(Image(result[0][0][0], **result[0][0][1]))
    if what == "projection":
        actions._project(viewer.layers, axis=1, mode="max")
    elif what == "channel":
        actions._split_stack(viewer.layers, axis=0)
    else:
        whole.data = whole.data[:, :, 4:20]
    layer = viewer.layers[-1]
    assert layer.metadata["deblur"]["store"] == str(result[1].path)  # napari copied them
    assert store_of(layer) is None
    assert not has_kernels(layer)
    for name, write in (("m.ome.zarr", write_zarr), ("m.ome.tif", write_tiff)):
        write(str(tmp_path / name), [layer.as_layer_data_tuple()])
        np.testing.assert_array_equal(open_stack(tmp_path / name).data, np.asarray(layer.data))
    # Beside the result itself it is left out, as others are, and lends it no looks.
    restored = Image(result[0][0][0], **result[0][0][1])
    layer.gamma = 0.3
    layers = [one.as_layer_data_tuple() for one in (restored, layer)]
    write_zarr(str(tmp_path / "w.deblur.zarr"), layers)
    assert open_result(tmp_path / "w.deblur.zarr").levels[0].shape == restored.data.shape
    again = get_reader(str(tmp_path / "w.deblur.zarr"))(str(tmp_path / "w.deblur.zarr"))
    assert again[0][1]["gamma"] == 1


def test_a_result_of_another_voxel_size_is_saved_with_that(result, tmp_path, monkeypatch):
    from napari.utils import notifications

    said = []
    monkeypatch.setattr(notifications, "show_info", said.append)
    restored, kernels = (Image(data, **kwargs) for data, kwargs, _ in result[0])
    restored.scale = (1, 0.5, 0.1, 0.1)
    path = tmp_path / "s.ome.tif"
    write_tiff(str(path), [one.as_layer_data_tuple() for one in (restored, kernels)])
    assert open_stack(path).pixel_size == pytest.approx((0.5, 0.1, 0.1))
    np.testing.assert_allclose(open_stack(path).data, np.asarray(restored.data))
    assert "another voxel size" in said[0]
    # The same one in other units is the same.
    restored.scale, restored.units = (1, 400, 100, 100), ("pixel", "nm", "nm", "nm")
    write_zarr(str(tmp_path / "s.deblur.zarr"), [restored.as_layer_data_tuple()])
    assert open_result(tmp_path / "s.deblur.zarr").key == result[1].key
