"""The rectangle and the layers of a preview, in a viewer without a window."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

import napari_deblur as nd
from napari_deblur._napari.asking import Ask
from napari_deblur._napari.preview import Window, previewing
from napari_deblur._napari.previewed import preview_layers
from napari_deblur._napari.region import Region, placed
from napari_deblur._napari.swipe import Overlay
from napari_deblur._napari.window import window_of
from napari_deblur.opening import open_stack

METHODS = nd.methods
KERNEL = nd.Kernel(np.outer([1, 3, 1], [1, 3, 1]))
WINDOW = Window(0, (0,), ((0, 1), (20, 60), (30, 80)), 0, chosen=True)


def _finish(steps):
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as done:
            return done.value, said


@pytest.fixture
def stack(picture):
    return open_stack(picture, "yx", 0.1)


@pytest.fixture
def placed_image():
    """A volume of which y and x are turned, and that is scaled and moved."""
    angle = np.deg2rad(30)
    turned = np.eye(3)
    turned[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Image(
        np.random.default_rng(0).poisson(40, (6, 96, 80)).astype(np.uint16),
        name="cells",
        scale=(0.5, 0.1, 0.2),
        translate=(1, 2, 3),
        rotate=turned,
        units=("um",) * 3,
        axis_labels=("z", "y", "x"),
    )


def test_region_lies_on_the_image(qtbot, placed_image):
    viewer, moved = ViewerModel(), []
    viewer.add_layer(placed_image)
    region = Region(viewer, partial(moved.append, 1))
    assert region.spans(placed_image, "zyx") is None
    region.show(placed_image, "zyx", ((0, 6), (0, 96), (0, 80)))
    assert region.spans(placed_image, "zyx") == ((19, 77), (16, 64))
    shapes = viewer.layers["preview region"]
    # The corner of the first pixel, in the world, lies where the image has it.
    corner = placed_image.data_to_world((0, 18.5, 15.5))[1:]
    np.testing.assert_allclose(shapes.data_to_world(shapes.data[0][0]), corner)
    assert [str(unit) for unit in shapes.units] == ["micrometer"] * 2
    assert not moved
    # Drawn anew, turned a little and half beside the image: upright, whole pixels, within it.
    shapes.data = [np.array([[40.2, 50.1], [44, 90], [64.4, 88], [60.6, 48.1]])]
    assert moved
    qtbot.waitUntil(lambda: float(shapes.data[0][0][0]) == 40.5)
    assert region.spans(placed_image, "zyx") == ((41, 65), (49, 80))
    assert shapes.data[0].shape == (4, 2)
    viewer.layers.remove(shapes)
    assert region.spans(placed_image, "zyx") is None
    # And drawn again.
    region.show(placed_image, "zyx", ((0, 6), (0, 96), (0, 80)))
    shapes = viewer.layers["preview region"]
    shapes.data = [np.array([[-40, -50], [-40, -20], [-10, -20], [-10, -50]], float)]
    with pytest.raises(ValueError, match="beside the image"):
        region.spans(placed_image, "zyx")
    region.drop()
    assert len(viewer.layers) == 1


def test_image_turned_out_of_its_planes_has_no_region(placed_image):
    assert placed(placed_image, "zxy") is None
    turned = Image(placed_image.data, scale=(1, 2, 3))
    with pytest.warns(UserWarning, match="Non-orthogonal"):  # napari's own
        turned.rotate = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert placed(turned, "zyx") is None


def test_region_follows_an_image_that_is_moved_and_turned(placed_image):
    viewer = ViewerModel()
    viewer.add_layer(placed_image)
    region = Region(viewer, list)
    region.show(placed_image, "zyx", ((0, 6), (0, 96), (0, 80)))
    shapes, spans = viewer.layers["preview region"], region.spans(placed_image, "zyx")
    turned, moved = np.eye(3), np.eye(4)
    turned[1:, 1:] = [[0, -1], [1, 0]]
    moved[1, 3] = 5
    changes = {"rotate": turned, "shear": [0, 0, 0.4], "affine": moved, "translate": (1, -9, 4)}
    for name, value in changes.items():
        setattr(placed_image, name, value)
        region.follow(placed_image, "zyx")
        for place in ((18.5, 15.5), (76.5, 63.5)):
            np.testing.assert_allclose(
                shapes.data_to_world(place), placed_image.data_to_world((0, *place))[1:]
            )
    assert region.spans(placed_image, "zyx") == spans


def test_window_of_a_region_is_some_planes(placed_image):
    viewer = ViewerModel()
    viewer.add_layer(placed_image)
    viewer.dims.set_current_step(0, 5)
    stack = open_stack(placed_image.data, "zyx", (0.5, 0.1, 0.2))
    window = window_of(viewer, placed_image, "zyx", stack, ((3, 9), (2, 8)), 2)
    assert window.box == ((3, 6), (3, 9), (2, 8))
    assert (window.plane, window.chosen) == (5, True)


def test_rectangle_is_dragged_by_the_mouse(qtbot, picture):
    from napari.utils._proxies import ReadOnlyWrapper
    from napari.utils.interactions import (
        mouse_move_callbacks,
        mouse_press_callbacks,
        mouse_release_callbacks,
    )

    viewer, asked = ViewerModel(), []
    place = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
    image = viewer.add_image(picture, name="cells", **place)
    region = Region(viewer, partial(asked.append, 1))
    region.show(image, "yx", ((0, 1), (0, 96), (0, 96)))
    shapes, before = viewer.layers["preview region"], region.spans(image, "yx")

    def mouse(kind, place, callbacks):
        event = SimpleNamespace(
            type=kind, is_dragging=kind == "mouse_move", modifiers=[], button=1, pos=np.zeros(2),
            position=shapes.data_to_world(place), view_direction=None, up_direction=None,
            dims_displayed=[0, 1], dims_point=[0, 0], handled=False,
        )  # fmt: skip
        callbacks(shapes, ReadOnlyWrapper(event))

    shapes.scale_factor = 0.02  # as a canvas would set it
    mouse("mouse_press", (48, 48), mouse_press_callbacks)
    for place in ((50, 50), (55.3, 52.1)):
        mouse("mouse_move", place, mouse_move_callbacks)
    assert asked
    mouse("mouse_release", (55.3, 52.1), mouse_release_callbacks)
    (y0, y1), (x0, x1) = before
    wanted = ((y0 + 7, y1 + 7), (x0 + 4, x1 + 4))
    assert region.spans(image, "yx") == wanted
    # At rest it is made to lie on whole pixels.
    qtbot.waitUntil(lambda: float(shapes.data[0][:, 0].min()) == y0 + 6.5)


@pytest.fixture
def overlay(picture, stack):
    """An overlay in a viewer, and a function that gives it a preview."""
    viewer = ViewerModel()
    layer = viewer.add_image(
        picture, name="cells", scale=(0.1, 0.1), units=("um", "um"), axis_labels=("y", "x")
    )
    overlay = Overlay(viewer)

    def show(window=WINDOW, iterations=3):
        ask = Ask.of(METHODS["richardson-lucy"](iterations=iterations), KERNEL, device="cpu")
        preview, _ = _finish(previewing(ask, stack, window, None, lambda: False))
        overlay.show(preview_layers(layer, stack, preview, "yx"))
        return preview

    return viewer, overlay, show


def test_a_preview_lies_on_its_channel_and_its_kernel_beside_the_image(picture):
    array = np.stack([picture] * 3)
    layer = Image(array, name="cells", scale=(2, 0.1, 0.1), units=("pixel", "um", "um"),
                  axis_labels=tuple("cyx"), contrast_limits=(5, 60_000), gamma=0.7)  # fmt: skip
    stack = open_stack(array, "cyx", (0.1, 0.1)).selected(channels=[1, 2])
    ask = Ask.of(METHODS["richardson-lucy"](iterations=2), KERNEL, device="cpu")
    window = Window(0, (1,), ((0, 1), (20, 60), (30, 80)), 0, chosen=True)
    preview, _ = _finish(previewing(ask, stack, window, None, lambda: False))
    image, kernel = (
        Image(data, **kwargs) for data, kwargs, _ in preview_layers(layer, stack, preview, "cyx")
    )
    np.testing.assert_allclose(image.data_to_world((0, 0, 0)), layer.data_to_world((2, 20, 30)))
    assert (image.gamma, tuple(image.contrast_limits)) == (0.7, (5, 60_000))
    assert kernel.data_to_world((0, 0, 0))[0] == layer.data_to_world((2, 0, 0))[0]
    assert kernel.extent.world[0][2] > layer.extent.world[1][2]
    middle = [n / 2 - 0.5 for n in array.shape]
    half = kernel.data.shape[1] // 2
    assert kernel.data_to_world((0, half, 0))[1] == pytest.approx(layer.data_to_world(middle)[1])


def test_preview_layers_are_added_once(overlay, qtbot):
    viewer, overlay, show = overlay
    show()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)
    image, kernel = overlay.layer("image"), overlay.layer("kernel")
    limits = (image.contrast_limits[0], image.contrast_limits[1] * 0.9)
    image.contrast_limits = limits
    preview = show(Window(0, (0,), ((0, 1), (10, 50), (5, 45)), 0, chosen=True), 9)
    assert list(viewer.layers)[1:] == [image, kernel]
    np.testing.assert_array_equal(image.data, preview.image[0, 0])
    np.testing.assert_allclose(image.data_to_world((0, 0)), (1.0, 0.5))
    assert tuple(image.contrast_limits) == limits
    qtbot.waitUntil(lambda: viewer.layers.selection.active is viewer.layers["cells"])


def test_swipe_shows_the_image_on_the_left(overlay, qtbot):
    viewer, overlay, show = overlay
    preview = show()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)
    image = overlay.layer("image")
    overlay.swipe(0.4)
    np.testing.assert_array_equal(image.data, preview.image[0, 0][:, 20:])
    np.testing.assert_allclose(image.data_to_world((0, 0)), (2.0, 5.0))
    # What comes next is swept aside as far.
    preview = show(iterations=5)
    np.testing.assert_array_equal(image.data, preview.image[0, 0][:, 20:])
    overlay.swipe(1.0)
    assert not image.visible
    assert overlay.layer("kernel").visible
    overlay.swipe(0.0)
    assert image.visible
    assert image.data.shape == (40, 50)
    overlay.look(before=True)
    assert not image.visible
    overlay.look(before=False)
    assert image.visible
    overlay.hide()
    assert not image.visible
    show()
    assert image.visible


def test_a_rectangle_that_was_taken_away_is_hidden_and_comes_again(placed_image):
    viewer = ViewerModel()
    viewer.add_layer(placed_image)
    told = []
    region = Region(viewer, lambda: told.append(1))
    seen = ((0, 1), (0, 20), (0, 30))
    region.show(placed_image, "zyx", seen)
    shapes, spans = viewer.layers["preview region"], region.spans(placed_image, "zyx")
    region.remove()
    assert not region.shown
    assert region.spans(placed_image, "zyx") is None
    assert shapes in viewer.layers  # another one may crash the driver
    assert not shapes.visible
    placed_image.units = "nm"
    region.follow(placed_image, "zyx")
    assert shapes.units == placed_image.units[-2:]
    region.show(placed_image, "zyx", seen)
    assert region.shown
    assert region.spans(placed_image, "zyx") == spans
    # So does that of a widget whose dock was closed.
    again = Region(viewer, lambda: None)
    again.show(placed_image, "zyx", ((0, 1), (0, 8), (0, 9)))
    assert [layer for layer in viewer.layers if layer is not placed_image] == [shapes]
    assert again.spans(placed_image, "zyx") != spans
    assert viewer.layers.selection.active is shapes
    assert (shapes.mode, shapes.selected_data) == ("select", {0})
    again.drop()
    assert list(viewer.layers) == [placed_image]
