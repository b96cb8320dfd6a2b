"""Kernels that vary lie over their nodes, and so does the map of what varies."""

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_deblur as nd
from napari_deblur._napari.placing import own_kwargs
from napari_deblur._napari.reader import get_reader
from napari_deblur._napari.runs import Run
from napari_deblur._napari.showing import kernels_layer, map_layers
from napari_deblur.ops.fields import field_of
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.results import open_result


@pytest.fixture
def result(tmp_path):
    sigmas = np.array([[[0.8, 1.2, 1.6], [0.8, 1.2, 1.6]]])
    kernels = np.zeros((1, 2, 3, 1, 7, 7))
    for place in np.ndindex(1, 2, 3):
        s = sigmas[place]
        kernels[place] = Gaussian((0, s, s))((1, 7, 7), (1.0, 1.0, 1.0)).at()
    nodes = ((0.0,), (0.0, 40.0), (5.0, 25.0, 45.0))
    field = field_of(kernels, nodes, maps={"sigma": sigmas})
    image = np.random.default_rng(0).poisson(30, (41, 51)).astype(np.uint16)
    stack = nd.open_stack(image, "yx", pixel_size=(None, 0.5, 0.5))
    plan = nd.plan(stack, nd.methods["richardson-lucy"](iterations=2), kernel=field)
    list(nd.run(plan, tmp_path / "a.deblur.zarr", stack=stack))
    return open_result(tmp_path / "a.deblur.zarr")


def place_of(kwargs, index):
    return [t + i * s for t, i, s in zip(kwargs["translate"], index, kwargs["scale"], strict=True)]


def test_the_middle_of_each_kernel_lies_on_its_node(result):
    spatial = own_kwargs(result.plan.layout)
    view, kwargs, kind = kernels_layer(result, spatial, name="kernels")
    assert (kind, view.shape) == ("image", (14, 21))
    assert place_of(kwargs, (3, 3)) == pytest.approx([0.0, 2.5])
    assert place_of(kwargs, (10, 17)) == pytest.approx([20.0, 22.5])


def test_the_map_has_a_voxel_on_each_node(result):
    spatial = own_kwargs(result.plan.layout)
    ((values, kwargs, _),) = map_layers(result, spatial, name="a")
    assert values.shape == (2, 3)
    assert kwargs["name"] == "a sigma"
    assert place_of(kwargs, (1, 2)) == pytest.approx([20.0, 22.5])
    assert values[1, 2] == pytest.approx(1.6)


def test_the_reader_gives_the_map_too(result):
    layers = get_reader(str(result.path))(str(result.path))
    assert [kwargs["name"].partition(" [")[0] for _, kwargs, _ in layers] == [
        "stack restored",
        "stack kernels",
        "stack sigma",
    ]
    assert layers[2][1]["visible"] is False


def test_a_run_that_goes_on_finds_each_of_its_layers_again(result):
    viewer = ViewerModel()
    spatial = own_kwargs(result.plan.layout)
    for _ in range(2):
        run = Run.__new__(Run)  # without the process that restores
        run.viewer, run.spatial, run.name, run.looks = viewer, spatial, "a", {}
        run._axes, run._layers = "yx", {}
        run._waiting = list(run._open(str(result.path)).items())
        while run._waiting:
            run._show()
        names = [layer.name.partition(" [")[0] for layer in viewer.layers]
        assert names == ["a restored", "a kernels", "a sigma"]
        assert [layer.data.shape for layer in viewer.layers] == [(41, 51), (14, 21), (2, 3)]
