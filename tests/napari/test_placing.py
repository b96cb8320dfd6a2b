"""Where layers lie; compared by the world extents that napari itself computes."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_deblur._napari.bead_points import go_to
from napari_deblur._napari.placing import (
    correct,
    kernel_kwargs,
    part_of,
    spatial_kwargs,
    voxel_at,
    world_of,
    world_steps,
)
from napari_deblur._napari.together import correct_all
from napari_deblur._napari.window import cut_of, turn_to_used
from napari_deblur.opening import open_stack


def _extent(layer):
    """Give the outer edges of the first and of the last voxel, in the world."""
    last = [n - 0.5 for n in layer.data.shape]
    return np.asarray([layer.data_to_world([-0.5] * layer.ndim), layer.data_to_world(last)])


def test_layer_made_with_spatial_kwargs_lies_where_the_other_lies(layer):
    layer.rotate = 30
    new = Image(np.zeros(layer.data.shape), **spatial_kwargs(layer))
    np.testing.assert_allclose(_extent(new), _extent(layer))
    assert new.units == layer.units
    assert new.axis_labels == layer.axis_labels


def test_axes_may_come_in_another_order():
    old = Image(np.zeros((5, 2, 8, 9)), scale=(3, 1, 0.1, 0.2), axis_labels=("z", "c", "y", "x"))
    kwargs = spatial_kwargs(old, "zcyx", "czyx")
    assert kwargs["scale"] == (1, 3, 0.1, 0.2)
    assert kwargs["axis_labels"] == ("c", "z", "y", "x")


def test_each_kernel_of_a_mosaic_lies_over_its_tile():
    core, size, kernel = 40, 120, 15
    image = Image(np.zeros((size, size)), scale=(0.2, 0.5), translate=(7, -3), units="um")
    cores = {a: [(i, i + core) for i in range(0, size, core)] for a in "yx"}
    spatial = spatial_kwargs(image, "yx")
    placed = kernel_kwargs(spatial, (size, size), (45, 45), ratio={"y": 3, "x": 3}, cores=cores)
    mosaic = Image(np.zeros((3 * kernel, 3 * kernel)), **placed)
    np.testing.assert_allclose(_extent(mosaic), _extent(image), atol=1e-9)
    # The centre of kernel (1, 2) is the centre of tile (1, 2).
    middle = [1.5 * kernel - 0.5, 2.5 * kernel - 0.5]
    expected = image.data_to_world([1.5 * core - 0.5, 2.5 * core - 0.5])
    np.testing.assert_allclose(mosaic.data_to_world(middle), expected)


@pytest.mark.parametrize("turned", [0, 25])
def test_one_kernel_has_its_true_size_at_the_centre(turned):
    image = Image(np.zeros((11, 101, 81)), scale=(1, 0.2, 0.2), translate=(5, 6, 7))
    image.rotate = turned
    placed = kernel_kwargs(
        spatial_kwargs(image, "zyx"), (11, 101, 81), (5, 9, 9), ratio={"y": 0.5, "x": 0.5, "z": 1}
    )
    kernel = Image(np.zeros((5, 9, 9)), **placed)
    np.testing.assert_allclose(kernel.scale, (1, 0.1, 0.1))
    np.testing.assert_allclose(
        kernel.data_to_world([2, 4, 4]), image.data_to_world([5, 50, 40]), atol=1e-9
    )


def test_sliders_move_kernels_and_image():
    image = np.zeros((4, 2, 6, 32, 32))
    kernels = np.zeros((1, 2, 1, 5, 5)) + np.arange(1, 3)[None, :, None, None, None]
    viewer = ViewerModel()
    first = viewer.add_image(image, scale=(10, 1, 2, 0.1, 0.1), axis_labels=tuple("tczyx"))
    placed = kernel_kwargs(spatial_kwargs(first), image.shape, kernels.shape, ratio={})
    second = viewer.add_image(kernels, **placed)
    for t, c, z in np.ndindex(4, 2, 6):
        viewer.dims.set_current_step((0, 1, 2), (t, c, z))
        shown = second.get_value((*viewer.dims.point[:3], 1.55, 1.55), world=True)
        assert shown == c + 1, (t, c, z)


@pytest.fixture
def mixed():
    """Give a viewer with the same volume twice, of which one is in nm; napari has one unit."""
    viewer = ViewerModel()
    array, labels = np.zeros((2, 6, 8, 9)), tuple("czyx")
    viewer.add_image(array, scale=(1, 0.5, 0.1, 0.1), units=("pixel", *["um"] * 3),
                     translate=(0, 3, 0, 0), axis_labels=labels)  # fmt: skip
    viewer.add_image(array, scale=(1, 500, 100, 100), units=("pixel", *["nm"] * 3),
                     translate=(0, 3000, 0, 0), axis_labels=labels)  # fmt: skip
    return viewer


def test_layers_of_other_units_are_cut_where_they_are_shown(mixed):
    for z in range(6):
        mixed.dims.set_current_step(1, z)
        for layer in mixed.layers:
            assert cut_of(mixed, layer, "czyx") == {"c": 0, "z": z}
    for layer in mixed.layers:
        for place in ((1, 4, 2, 3), (0, 1, 5, 6)):
            world = world_of(mixed, layer, place)
            np.testing.assert_allclose(voxel_at(mixed, layer, world), place, atol=1e-9)
            go_to(mixed, layer, place)
            assert all(cut_of(mixed, one, "czyx")["z"] == place[1] for one in mixed.layers)
    np.testing.assert_allclose(*(world_of(mixed, one, (1, 4, 2, 3)) for one in mixed.layers))
    np.testing.assert_allclose(*(world_steps(mixed, one) for one in mixed.layers))


def test_without_units_of_the_window_those_of_the_layer_are_its(layer):
    viewer = SimpleNamespace(dims=SimpleNamespace())  # before napari 0.9
    np.testing.assert_allclose(voxel_at(viewer, layer, layer.data_to_world((1, 2, 3))), (1, 2, 3))


@pytest.mark.parametrize(("picked", "then"), [(None, 1), ((1,), 1), ((0,), 0), ((0, 2), 0)])
def test_the_region_turns_to_a_channel_that_is_used(picked, then):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 3, 8, 8)), name="others")
    image = viewer.add_image(np.zeros((3, 8, 8)), scale=(2, 1, 1), translate=(1, 0, 0))
    stack = open_stack(image.data, "cyx")
    viewer.dims.set_point(1, 3.0)
    turn_to_used(viewer, image, "cyx", stack if picked is None else stack.selected(channels=picked))
    assert cut_of(viewer, image, "cyx") == {"c": then}


def test_part_lies_where_it_was_cut_out(layer):
    part = Image(np.zeros((2, 5, 6)), **part_of(spatial_kwargs(layer), (3, 4, 5)))
    np.testing.assert_allclose(part.data_to_world([0, 0, 0]), layer.data_to_world([3, 4, 5]))


def test_confirmed_size_goes_into_the_layer_and_nothing_else_does(layer):
    assert not correct(layer, "zyx", (0.5, 0.1, 0.2))
    plain = Image(np.zeros((4, 4)))
    assert not correct(plain, "yx", (None, None, None))
    assert {str(u) for u in plain.units} == {"pixel"}
    assert correct(plain, "yx", (None, 0.1, 0.1))
    assert tuple(plain.scale) == (0.1, 0.1)
    assert {str(u) for u in plain.units} == {"micrometer"}
    assert plain.axis_labels == ("y", "x")


def test_what_a_layer_was_moved_by_keeps_its_meaning():
    moved = {"translate": (3000, 5000), "affine": [[1, 0.1, 700], [0, 1, 900], [0, 0, 1]]}
    nm = Image(np.zeros((4, 4)), scale=(200, 100), units="nm", rotate=30, **moved)
    corner = np.asarray(nm.data_to_world((0, 0)))
    correct(nm, "yx", (None, 0.2, 0.1))
    assert {str(u) for u in nm.units} == {"nanometer"}  # it says so already
    correct(nm, "yx", (None, 0.21, 0.105))
    assert tuple(nm.scale) == (0.21, 0.105)
    np.testing.assert_allclose(nm.translate, (3, 5))
    np.testing.assert_allclose(nm.data_to_world((0, 0)), corner / 1000)
    # In pixels, a tile lies as many pixels away as before.
    bare = Image(np.zeros((4, 4)), translate=(40, 0), affine=[[1, 0, 0], [0, 1, 8], [0, 0, 1]])
    correct(bare, "yx", (None, 0.2, 0.1))
    np.testing.assert_allclose(bare.data_to_world((0, 0)), (8, 0.8))


@pytest.fixture
def loaded():
    """A viewer with an image as a reader leaves it, in pixels, and what lies on it."""
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((2, 5, 20, 30)), name="cells", axis_labels=tuple("czyx"))
    viewer.add_labels(np.zeros((5, 20, 30), int), name="nuclei")
    viewer.add_labels(np.zeros((9, 20, 30), int), name="more planes")
    viewer.add_image(np.zeros((2, 5, 20, 30)), name="sibling", translate=(0, 0, 20, 0))
    viewer.add_points([[2, 3, 4]], name="spots")
    viewer.add_points(ndim=2, name="none yet")
    viewer.add_shapes([[[2, 2], [2, 9], [9, 9], [9, 2]]], name="box")
    return viewer, image


def test_what_lies_on_an_image_stays_on_it_when_its_voxel_size_is_corrected(loaded):
    viewer, image = loaded
    before = {
        one.name: image.world_to_data(np.pad(one.data_to_world((1,) * one.ndim), (4 - one.ndim, 0)))
        for one in viewer.layers
    }
    others = [
        viewer.add_image(np.zeros((5, 20, 30)), name="other scale", scale=(2, 1, 1)),
        viewer.add_image(np.zeros((5, 64, 64)), name="other shape"),
        viewer.add_points([[2, 300, 400]], name="far away"),
        viewer.add_image(np.zeros((5, 20, 30)), name="kernel",
                         metadata={"kernel_pixel_size": (0.3, 0.1, 0.1)}),
    ]  # fmt: skip
    moved = correct_all(viewer, image, "czyx", (0.3, 0.1, 0.2))
    assert {one.name for one in moved} == set(before) - {"cells"}
    for one in moved:
        assert [str(u) for u in one.units] == [str(u) for u in image.units[-one.ndim :]]
        now = image.world_to_data(np.pad(one.data_to_world((1,) * one.ndim), (4 - one.ndim, 0)))
        np.testing.assert_allclose(now, before[one.name], atol=1e-9)
    assert tuple(others[0].scale) == (2, 1, 1)
    for one in others[1:]:
        assert set(one.scale) == {1.0}
    assert correct_all(viewer, image, "czyx", (0.3, 0.1, 0.2)) == []


def test_a_layer_whose_file_says_another_size_is_left_as_it_is(loaded, tmp_path):
    import tifffile

    viewer, image = loaded
    path = tmp_path / "other.tif"
    labels = viewer.layers["nuclei"]
    tifffile.imwrite(path, np.zeros((5, 20, 30), np.uint8), imagej=True, resolution=(2, 2),
                     metadata={"axes": "ZYX", "spacing": 0.5, "unit": "um"})  # fmt: skip
    labels._source = labels.source.model_copy(update={"path": str(path)})
    assert labels not in correct_all(viewer, image, "czyx", (0.3, 0.1, 0.2))
    image.scale, image.units = (1, 1, 1, 1), ("pixel",) * 4
    assert labels in correct_all(viewer, image, "czyx", (0.5, 0.5, 0.5))


@pytest.mark.parametrize("turned", [{"shear": [0.3]}, {"shear": [0.3], "rotate": 30}], ids=str)
def test_part_of_a_sheared_layer_lies_where_it_was_cut_out(turned):
    image = Image(np.zeros((20, 30)), scale=(0.1, 0.2), translate=(5, 7), **turned)
    part = Image(np.zeros((4, 5)), **part_of(spatial_kwargs(image), (3, 8)))
    np.testing.assert_allclose(part.data_to_world([0, 0]), image.data_to_world([3, 8]))


def test_kernel_without_a_size_is_lent_the_size_of_the_image():
    from napari_deblur._napari.placing import lend
    from napari_deblur._napari.reading import kernel_of

    kernel = Image(np.ones((5, 5)))
    for size in (0.1, 0.2):
        lend(kernel, (None, size, size))
        assert tuple(kernel.scale) == (size, size)
        assert {str(u) for u in kernel.units} == {"micrometer"}
        assert kernel_of(kernel).pixel_size is None  # the image's, whatever that is
    kernel.scale = (0.05, 0.05)
    assert kernel_of(kernel).pixel_size == (1.0, 0.05, 0.05)


def test_the_same_voxels_are_seen_when_the_voxel_size_is_corrected():
    from napari.components import ViewerModel

    from napari_deblur._napari.window import same_view

    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, 40, 60)), translate=(0, 5, 7), units="um")
    camera = getattr(viewer, "scene", viewer).camera
    camera.center, camera.zoom = (0, 15, 27), 4.0
    with same_view(viewer, image):
        correct(image, "zyx", (0.3, 0.1, 0.1))
    np.testing.assert_allclose(camera.center[1:], (5 + 10 * 0.1, 7 + 20 * 0.1))
    np.testing.assert_allclose(camera.zoom, 40)
    with same_view(viewer, image):
        correct(image, "zyx", (0.3, 0.1, 0.1))
    np.testing.assert_allclose(camera.zoom, 40)


def test_looks_that_a_stranger_wrote_are_left_out():
    from napari_deblur._napari.looks import applied, looks_of

    image = Image(np.zeros((4, 5)), axis_labels=("y", "x"), shear=[0.3], blending="additive")
    spatial = {"axis_labels": ("y", "x"), "scale": (1.0, 1.0)}
    kept = {"axes": ["y", "x"], **looks_of(image)}
    place, seen = applied(kept, spatial, rgb=False)
    assert np.shape(place["shear"]) in ((1,), (2, 2))
    assert seen["blending"] == "additive"
    strange = {**kept, "shear": [1.0, 2.0, 3.0], "blending": ["additive"], "colormap": {}}
    place, seen = applied(strange, spatial, rgb=False)
    assert place == spatial
    assert not {"blending", "colormap"} & set(seen)
