"""Which image the form is of, and which kernel it offers unasked."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.reading import stack_of

SPATIAL = {"scale": (0.1, 0.1), "units": "um", "axis_labels": ("y", "x")}


@pytest.fixture
def form(qtbot):
    viewer = ViewerModel()
    made = Deblur(viewer)
    qtbot.addWidget(made)
    for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
        event.connect(made.reset_choices)
    for name in ("first", "second"):
        viewer.add_image(np.ones((20, 24)), name=name, **SPATIAL)
    return made


def activate(form, name):
    form.viewer.layers.selection.active = form.viewer.layers[name]
    return form.layer.currentText()


def test_after_a_preview_or_a_run_the_active_image_is_followed(form):
    assert activate(form, "first") == "first"
    form.confirmed()  # as Preview, Run and Copy begin
    form.viewer.add_image(np.ones((20, 24)), name="third", **SPATIAL)
    assert form.layer.currentText() == "third"
    assert activate(form, "second") == "second"


def test_what_was_typed_stays_until_another_image_is_opened(form):
    assert activate(form, "first") == "first"
    form.sizes["x"].setText("0.2")
    form.sizes["x"].textEdited.emit("0.2")
    assert activate(form, "second") == "first"
    form.viewer.add_image(np.ones((20, 24)), name="third", **SPATIAL)
    assert form.layer.currentText() == "third"
    assert activate(form, "second") == "second"  # nothing was typed for the third
    form.advanced.camera.lines["gain"].setText("2")
    assert activate(form, "first") == "second"


def test_only_a_choice_in_the_box_pins_the_image(form):
    form.layer.setCurrentText("first")
    form.viewer.add_image(np.ones((20, 24)), name="third", **SPATIAL)
    assert form.layer.currentText() == "first"
    assert activate(form, "second") == "first"


def test_the_kernel_of_a_preview_is_not_offered_unasked(form):
    made = {"kernel_pixel_size": (1, 0.1, 0.1), "deblur": {"preview": True}}
    form.viewer.add_image(np.ones((5, 5)), name="preview kernel", metadata=made, **SPATIAL)
    assert form.kernel_layer.currentData() is None
    beads = {"kernel_pixel_size": (1, 0.1, 0.1), "deblur": {"kernel": {}}}
    form.viewer.layers.insert(0, Image(np.ones((5, 5)), name="beads", metadata=beads, **SPATIAL))
    assert form.kernel_layer.currentText() == "beads"


def test_of_six_axes_is_said_what_can_be_done():
    layer = Image(np.ones((2,) * 6), name="six")
    for axes in (None, "tczyxx", "tczyx"):
        with pytest.raises(ValueError, match='"six" has 6 axes, and an image has five at most'):
            stack_of(layer, axes)


def test_a_curve_upon_another_one_lets_it_be_seen(qtbot):
    import pyqtgraph as pg

    from napari_deblur._napari.plots import LineChart

    chart = LineChart("Widths", "µm", "")
    qtbot.addWidget(chart)
    x = np.linspace(-1, 1, 41)
    bell = np.exp(-(x**2) * 8)
    curves = {"x": (x, bell), "y": (x, bell + 1e-6), "mean": (x, bell), "z": (x / 2, bell)}
    chart.show(curves)
    drawn = [one for one in chart.plot.listDataItems() if isinstance(one, pg.PlotDataItem)]
    dashes = [tuple(one.opts["pen"].dashPattern()) for one in drawn]
    assert dashes[0] == dashes[3] == ()
    assert len({dashes[0], dashes[1], dashes[2]}) == 3
