"""Kernels that vary lie over their nodes, and so does the map of what varies."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.colormaps import ensure_colormap

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


def cells_of(view):
    """Bounds (start, stop) of the cells along the last two axes."""
    found = []
    for axis in (-1, -2):
        others = tuple(i for i in range(view.ndim) if i != axis % view.ndim)
        there = np.concatenate([[0], np.isfinite(view).any(axis=others), [0]]).astype(int)
        edges = np.diff(there)
        pairs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
        found.append([(int(a), int(b)) for a, b in pairs])
    return found[1], found[0]


def test_cells_are_square_small_and_centred_at_the_nodes(result):
    view, kwargs, kind = kernels_layer(result, own_kwargs(result.plan.layout), name="kernels")
    rows, columns = cells_of(view)
    assert (kind, len(rows), len(columns)) == ("image", 2, 3)
    assert len({stop - start for start, stop in rows + columns}) == 1
    # Pixels of the shape of the image's; half of the way between two nodes is left free.
    assert kwargs["scale"][0] == kwargs["scale"][1]
    side = (rows[0][1] - rows[0][0]) * kwargs["scale"][0]
    assert 0.3 * 20 * 0.5 < side <= 0.5 * 20 * 0.5
    pixel = kwargs["scale"][0]
    for (start, stop), y in zip(rows, (0.0, 20.0), strict=True):
        for (first, last), x in zip(columns, (2.5, 12.5, 22.5), strict=True):
            middle = ((start + stop - 1) / 2, (first + last - 1) / 2)
            assert place_of(kwargs, middle) == pytest.approx([y, x], abs=pixel / 2 + 1e-6)
            inside = view[start + 1 : stop - 1, first + 1 : last - 1]
            assert np.unravel_index(inside.argmax(), inside.shape) == tuple(
                n // 2 for n in inside.shape
            )
    # The restored image is what is seen first.
    assert kwargs["visible"] is False


def test_the_drawn_kernels_are_those_of_the_field(result):
    view, kwargs, _ = kernels_layer(result, own_kwargs(result.plan.layout), name="kernels")
    kernels = result.plan.field(0).kernels()[0, :, :, 0]
    rows, columns = cells_of(view)
    for place in np.ndindex(2, 3):
        (y, below), (x, right) = rows[place[0]], columns[place[1]]
        drawn = view[y + 1 : below - 1, x + 1 : right - 1]
        edge = (7 - drawn.shape[0]) // 2
        np.testing.assert_array_equal(drawn, kernels[place][edge : 7 - edge, edge : 7 - edge])
    assert kwargs["contrast_limits"] == (0.0, kernels.max())


@pytest.fixture
def deep(tmp_path):
    """A volume whose kernels widen with depth; its voxels are no cubes."""
    sigmas = np.linspace(0.8, 1.6, 3)[:, None, None]
    kernels = np.zeros((3, 1, 1, 5, 9, 9))
    for place in np.ndindex(3, 1, 1):
        s = sigmas[place]
        kernels[place] = Gaussian((1.0, s, s))((5, 9, 9), (1.0, 1.0, 1.0)).at()
    field = field_of(kernels, ((0.0, 10.0, 20.0), (31.5,), (31.5,)), maps={"depth": sigmas})
    image = np.random.default_rng(0).poisson(30, (21, 64, 64)).astype(np.uint16)
    stack = nd.open_stack(image, "zyx", pixel_size=(0.4, 0.1, 0.1))
    plan = nd.plan(stack, nd.methods["richardson-lucy"](iterations=2), kernel=field, judge=False)
    list(nd.run(plan, tmp_path / "deep.deblur.zarr", stack=stack))
    return open_result(tmp_path / "deep.deblur.zarr")


def test_kernels_of_depths_follow_the_slider(deep):
    view, kwargs, _ = kernels_layer(deep, own_kwargs(deep.plan.layout), name="kernels")
    assert view.shape[0] == 3 * 5
    assert view.shape[1] == view.shape[2]
    assert kwargs["scale"] == pytest.approx((10 * 0.4 / 5, 0.1, 0.1))
    for i, z in enumerate((0.0, 4.0, 8.0)):
        middle = (5 * i + 2, view.shape[1] // 2, view.shape[2] // 2)
        place = place_of(kwargs, middle)
        assert place[0] == pytest.approx(z)
        assert place[1:] == pytest.approx([3.15, 3.15])
        assert view[5 * i : 5 * i + 5].max() == view[middle]


def test_a_layer_of_kernels_that_vary_is_taken_for_the_field(result, tmp_path):
    from napari_deblur._napari.wishing import _field_of

    _, taken = _field_of("a", str(result.path), tmp_path)
    np.testing.assert_array_equal(taken.kernels(), result.plan.field(0).kernels())


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
    assert [kwargs.get("visible", True) for _, kwargs, _ in layers] == [True, False, False]


def test_a_run_that_goes_on_finds_each_of_its_layers_again(result):
    viewer = ViewerModel()
    spatial = own_kwargs(result.plan.layout)
    kernels = kernels_layer(result, spatial, name="kernels")[0]
    for _ in range(2):
        run = Run.__new__(Run)  # without the process that restores
        run.viewer, run.spatial, run.name = viewer, spatial, "a"
        run.looks = {"colormap": ensure_colormap("gray"), "gamma": 1.0}  # as any grey layer has
        run._axes, run._layers, run._added = "yx", {}, []
        for _ in run._steps(run._open(str(result.path))["layers"]):
            pass
        names = [layer.name.partition(" [")[0] for layer in viewer.layers]
        assert names == ["a restored", "a kernels", "a sigma"]
        assert [layer.data.shape for layer in viewer.layers] == [(41, 51), kernels.shape, (2, 3)]
