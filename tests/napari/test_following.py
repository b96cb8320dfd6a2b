"""The form follows its image: where that lies, its voxel size, and its pixels."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils import notifications
from qtpy.QtCore import Qt

from napari_deblur._napari.beads_psf import BeadsPsf
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.size_row import SizeRow

SIZE = {"scale": (0.1, 0.1), "units": "um", "axis_labels": ("y", "x")}


@pytest.fixture
def widget(qapp, qtbot, monkeypatch):
    monkeypatch.setattr(notifications, "show_error", pytest.fail)
    made = Deblur(ViewerModel())
    qtbot.addWidget(made)
    made.viewer.layers.events.inserted.connect(made.reset_choices)
    return made


def _sizes(widget):
    return [line.text() for line in widget.sizes.values()]


def test_a_scale_that_is_set_elsewhere_is_shown_and_kept(widget, picture):
    layer = widget.viewer.add_image(picture, **SIZE)
    assert _sizes(widget) == ["", "0.1", "0.1"]
    layer.scale = (0.065, 0.065)
    assert _sizes(widget) == ["", "0.065", "0.065"]
    layer.units = "nm"
    assert _sizes(widget) == ["", "6.5e-05", "6.5e-05"]
    layer.scale = (65, 70)
    assert "0.065 × 0.07 µm" in widget.reads.text()
    widget.confirmed()
    assert tuple(layer.scale) == (65, 70)


def test_what_was_typed_stays_until_it_was_confirmed(widget, picture, qtbot):
    layer = widget.viewer.add_image(picture, **SIZE)
    line = widget.sizes["y"]
    line.clear()
    qtbot.keyClicks(line, "0.20")
    layer.scale = (0.3, 0.3)
    assert _sizes(widget) == ["", "0.20", "0.3"]
    widget.confirmed()
    assert tuple(layer.scale) == (0.2, 0.3)
    assert line.text() == "0.20"  # it is not written anew
    layer.scale = (0.4, 0.4)
    assert _sizes(widget) == ["", "0.4", "0.4"]
    # An empty line says that it is not known, whatever the layer says.
    widget.sizes["x"].selectAll()
    qtbot.keyClick(widget.sizes["x"], Qt.Key.Key_Delete)
    widget.confirmed()
    layer.scale = (0.5, 0.5)
    assert _sizes(widget) == ["", "0.5", ""]


def test_axes_that_are_named_elsewhere_are_read(widget):
    layer = widget.viewer.add_image(np.zeros((3, 16, 17), np.uint16))
    assert widget.axes.text() == "zyx"
    layer.axis_labels = tuple("cyx")
    assert widget.axes.text() == "cyx"
    assert "3 channels" in widget.reads.text()
    widget.axes.setText("tyx")
    widget._edited(widget.axes)
    layer.axis_labels = tuple("zyx")
    assert widget.axes.text() == "tyx"
    # What is no longer chosen is no longer followed.
    widget.viewer.add_image(np.zeros((5, 6)), name="another", **SIZE)
    widget.layer.setCurrentText("another")
    layer.scale = (9, 9, 9)
    assert _sizes(widget) == ["", "0.1", "0.1"]


def test_a_copy_leaves_the_layers_as_they_are(widget, picture, monkeypatch):
    layer = widget.viewer.add_image(picture)
    widget.sizes["y"].setText("0.1")
    widget.sizes["x"].setText("0.1")
    monkeypatch.setattr(widget, "start", lambda *_, **__: None)
    widget.start_copy("python")
    assert tuple(layer.scale) == (1, 1)
    assert {str(unit) for unit in layer.units} == {"pixel"}
    widget.start_run()
    assert tuple(layer.scale) == (0.1, 0.1)


def test_pixels_that_were_changed_are_looked_at_anew(widget, picture):
    layer = widget.viewer.add_image(picture.astype(np.float32), **SIZE)
    first = widget.read_as(layer)
    assert widget.read_as(layer) == first
    widget.plan_known = ("key", "plan")
    widget.decided._plans["one"] = "plan"
    layer.data -= 100
    assert widget.plan_known is None
    assert not widget.decided._plans
    second = widget.read_as(layer)
    assert second != first
    layer.data[:10] = 0  # nobody is told
    assert widget.read_as(layer) != second
    layer.data = np.zeros((8, 9), np.uint8)
    assert "8 × 9 pixels" in widget.reads.text()


def test_the_region_lies_where_the_image_lies(widget, picture):
    layer = widget.viewer.add_image(picture, **SIZE)
    widget.rectangle.show(layer, "yx", ((0, 1), (0, 96), (0, 96)))
    layer.rotate = 40
    shapes = widget.viewer.layers["preview region"]
    np.testing.assert_allclose(shapes.data_to_world((9, 5)), layer.data_to_world((9, 5)))


def test_a_row_of_sizes_follows_its_layer_where_nobody_typed(qapp, qtbot):
    row, told = SizeRow("Check it."), []
    qtbot.addWidget(row)
    row.changed.connect(lambda: told.append(row.texts()))
    layer = Image(np.zeros((3, 8, 8)), scale=(0.3, 0.1, 0.1), units="um", axis_labels=tuple("zyx"))
    row.fill(layer)
    assert row.texts() == ["0.3", "0.1", "0.1"]
    row.lines["y"].setText("0.2")
    layer.scale = (0.4, 0.15, 0.15)
    assert told[-1] == row.texts() == ["0.4", "0.2", "0.15"]
    layer.scale = (0.4, 0.2, 0.15)  # as it was typed: followed again from now on
    layer.scale = (0.4, 0.25, 0.25)
    assert row.texts() == ["0.4", "0.25", "0.25"]
    layer.axis_labels = tuple("tyx")
    assert row.texts() == ["", "0.25", "0.25"]
    row.fill(Image(np.zeros((8, 8))))  # another image: nothing is left of the one before
    layer.scale = (9, 9, 9)
    assert row.texts() == ["", "", ""]


def test_rings_stay_on_their_beads_when_the_voxel_size_is_corrected(qapp, qtbot, monkeypatch):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((20, 30)), axis_labels=("y", "x"))
    rings = viewer.add_points([[4, 5]])
    widget = BeadsPsf(viewer)
    qtbot.addWidget(widget)
    monkeypatch.setattr(widget, "start", lambda *_, **__: None)
    for axis in "yx":
        widget.size.lines[axis].setText("0.1")
    widget._find()
    assert tuple(image.scale) == tuple(rings.scale) == (0.1, 0.1)
    assert rings.units == image.units
