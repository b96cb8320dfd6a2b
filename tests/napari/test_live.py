"""The live preview in the widget; all but the last test do without a window."""

import gc
import time

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from napari_deblur._napari.samples import simulated
from napari_deblur._napari.speeds import of_plan
from napari_deblur.results import open_result


@pytest.fixture
def widget(qtbot, picture):
    """The widget without a window, with a method that finds its kernel fast."""
    from napari_deblur._napari.deblur import Deblur

    viewer = ViewerModel()
    place = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
    viewer.add_image(picture, name="cells", **place)
    made = Deblur(viewer)
    made.method.setCurrentText("blind-richardson-lucy")
    form = made._forms["blind-richardson-lucy"]
    form["rounds"].value, form["iterations"].value = 2, 3
    yield made
    made.live_row.close_down()
    qtbot.waitUntil(lambda: not made.live_row.busy(), timeout=20_000)
    qtbot.wait(150)  # what was to be added a moment later
    made.deleteLater()
    qtbot.waitUntil(lambda: not isalive(made))


def test_a_change_is_shown_without_a_search(widget, qtbot):
    row, said = widget.live_row, []
    row.say = said.append
    row.region.click()
    qtbot.waitUntil(lambda: widget.overlay.layer("kernel") is not None, timeout=60_000)
    qtbot.waitUntil(lambda: not row.busy())
    assert any(sentence.startswith("finding the kernel") for sentence in said)
    assert row.status.text().startswith("58 × 58 pixels in ")
    assert widget.rectangle.shown
    assert widget.speeds.of(of_plan(widget.plan_known[1])) is not None
    first, image = widget.plan_known[1], widget.overlay.layer("image")
    said.clear()
    widget._forms["blind-richardson-lucy"]["iterations"].value = 30
    qtbot.waitUntil(lambda: widget.plan_known[1] is not first, timeout=60_000)
    qtbot.waitUntil(lambda: not row.busy())
    assert not any(sentence.startswith("finding the kernel") for sentence in said)
    assert widget.plan_known[1].channels[0].method.iterations == 30
    assert widget.overlay.layer("image") is image
    # Dragged: the same plan, elsewhere.
    plan, shapes = widget.plan_known[1], widget.viewer.layers["preview region"]
    shapes.data = [shapes.data[0] + [[7, 9]]]

    def moved():
        np.testing.assert_allclose(image.data_to_world((0, 0)), (2.6, 2.8))

    qtbot.waitUntil(moved, timeout=60_000)
    assert widget.plan_known[1] is plan
    # A mistake is said here, and is no notification.
    widget._forms["blind-richardson-lucy"]["iterations"].value = "many"
    qtbot.waitUntil(lambda: row.status.text().startswith("No preview: "), timeout=60_000)
    # Not live any more: nothing happens.
    row.live.click()
    widget._forms["blind-richardson-lucy"]["iterations"].value = 9
    qtbot.wait(500)
    assert widget.plan_known[1] is plan


def test_a_network_is_loaded_once_and_the_kernel_that_it_found_is_kept(widget, qtbot):
    from napari_deblur.gdunet import weights

    row, said = widget.live_row, []
    row.say = said.append
    widget.method.setCurrentText("gdunet")
    weights._loaded.cache_clear()
    _previewed(widget, qtbot)
    plan, shapes = widget.plan_known[1], widget.viewer.layers["preview region"]
    assert [text for text in said if text.startswith("finding")] == [
        "finding the kernel with gdunet"
    ]
    said.clear()
    for step in (3, 6):
        place = widget.overlay.layer("image").translate
        shapes.data = [shapes.data[0] + step]
        qtbot.waitUntil(
            lambda place=place: (widget.overlay.layer("image").translate != place).any(),
            timeout=20_000,
        )
        qtbot.waitUntil(lambda: not row.busy())
    assert not any(text.startswith("finding") for text in said)
    assert widget.plan_known[1] is plan
    assert weights._loaded.cache_info().misses == 1


def test_cancelled_search_is_not_live_any_more(widget, qtbot):
    row = widget.live_row
    widget._forms["blind-richardson-lucy"]["rounds"].value = 200
    row.region.click()
    qtbot.waitUntil(lambda: not row.going.isHidden(), timeout=20_000)
    row.cancel.click()
    qtbot.waitUntil(lambda: not row.busy(), timeout=5000)
    assert row.going.isHidden()
    assert not row.live.isChecked()
    qtbot.wait(400)
    assert not row.busy()
    assert widget.overlay.layer("image") is None


def test_a_mistake_while_a_preview_is_made_ends_it_first(widget, qtbot):
    row = widget.live_row
    widget._forms["blind-richardson-lucy"]["rounds"].value = 200
    row.region.click()
    qtbot.waitUntil(lambda: not row.going.isHidden(), timeout=20_000)
    began, start = [], row.start
    row.start = lambda *args, **kwargs: (began.append(row.busy()), start(*args, **kwargs))
    widget._forms["blind-richardson-lucy"]["iterations"].value = "many"
    qtbot.waitUntil(lambda: row.status.text().startswith("No preview: "), timeout=20_000)
    assert not row.busy()
    assert widget.overlay.layer("image") is None
    widget._forms["blind-richardson-lucy"]["rounds"].value = 2
    widget._forms["blind-richardson-lucy"]["iterations"].value = 3
    qtbot.waitUntil(lambda: widget.overlay.layer("image") is not None, timeout=60_000)
    qtbot.waitUntil(lambda: not row.busy())
    assert began == [False]
    assert row.status.text().startswith("58 × 58 pixels in ")


def test_key_shows_before_and_after(widget, qtbot):
    from napari.utils.key_bindings import KeyBinding

    toggle = widget.viewer.keymap[KeyBinding.from_str("Shift+B")]
    toggle(widget.viewer)
    assert widget.live_row.before.isChecked()
    toggle(widget.viewer)
    assert not widget.live_row.before.isChecked()
    widget.unbind()
    assert not widget.viewer.keymap


def _previewed(widget, qtbot):
    """Draw a region, and wait for its preview."""
    widget.live_row.region.click()
    qtbot.waitUntil(lambda: widget.overlay.layer("kernel") is not None, timeout=90_000)
    qtbot.waitUntil(lambda: not widget.live_row.busy())


def test_only_a_region_is_live(widget):
    row = widget.live_row
    assert not row.live.isEnabled()
    assert not row.live.isChecked()
    assert "region" in row.live.toolTip()
    row.region.click()
    assert row.live.isEnabled()
    assert row.live.isChecked()
    row.live.click()
    row.region.click()
    row.region.click()
    assert not row.live.isChecked()  # as it was wished


def test_what_was_previewed_goes_with_the_region(widget, qtbot):
    row = widget.live_row
    _previewed(widget, qtbot)
    row.slider.setValue(500)
    row.region.click()
    qtbot.waitUntil(lambda: sum(layer.visible for layer in widget.viewer.layers) == 1)
    assert row.status.isHidden()
    assert row.status.text() == ""
    assert row.slider.value() == 0
    row.region.click()  # comes again, though nothing else has changed
    qtbot.waitUntil(lambda: widget.overlay.layer("kernel") is not None, timeout=20_000)


def test_nothing_of_the_image_before_is_left(widget, qtbot):
    place = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
    viewer, row = widget.viewer, widget.live_row
    other = viewer.add_image(np.full((30, 30), 7, np.uint16), name="other", **place)
    widget.reset_choices()
    widget.layer.setCurrentText("cells")
    _previewed(widget, qtbot)
    row.live.click()
    row.slider.setValue(300)
    row.before.click()
    widget.idle("Done: it lies there")
    widget.say_costs("3 tiles")
    widget.advanced.camera.lines["gain"].setText("2")
    widget.layer.setCurrentText("other")
    qtbot.waitUntil(lambda: widget.overlay.layer("image") is None)
    assert [layer.name for layer in viewer.layers] == ["cells", "other", "preview region"]
    assert (widget.status.text(), widget.costs.text(), row.status.text()) == ("", "", "")
    assert widget.details.isHidden()
    assert (row.slider.value(), row.before.isChecked()) == (0, False)
    assert widget.advanced.camera.fields() == {}
    widget.idle("Done: it lies there")
    for layer in (other, viewer.layers["cells"]):
        viewer.layers.remove(layer)
        widget.reset_choices()
    assert widget.status.text() == ""
    assert widget.output.text() == ""
    qtbot.waitUntil(lambda: not viewer.layers)  # the region, too


def test_what_ends_while_another_image_is_looked_at_leaves_nothing_there(widget, qtbot):
    place = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
    widget.viewer.add_image(np.full((30, 30), 7, np.uint16), name="other", **place)
    widget.reset_choices()
    widget.layer.setCurrentText("cells")
    widget.preview.click()
    widget.say_details("of an earlier preview")
    widget.layer.setCurrentText("other")
    assert widget.details.isHidden()
    qtbot.waitUntil(lambda: not widget.busy(), timeout=60_000)
    assert widget.status.text() == "This preview was of another image."
    assert widget.details.isHidden()
    assert len(widget.viewer.layers) == 2
    # A run says where its result lies, and its details only beside its own image.
    widget.layer.setCurrentText("cells")
    widget.begin("Run", lambda: None)
    widget.say_costs("3 tiles")
    widget.layer.setCurrentText("other")
    assert widget.costs.text() == "3 tiles"  # it may ask whether to begin
    widget.idle("Done: it lies there")
    assert (widget.status.text(), widget.costs.text()) == ("Done: it lies there", "")
    widget.say_details("of a preview")
    widget.idle("NA is empty")
    assert not widget.details.isHidden()


def test_region_that_is_deleted_is_given_up(widget, qtbot):
    row = widget.live_row
    row.region.click()
    row.live.setChecked(False)
    assert widget.rectangle.shown
    widget.viewer.layers.remove("preview region")
    assert not row.region.isChecked()
    assert not widget.order().window.chosen


def test_live_waits_while_something_else_goes_on(widget, qtbot):
    row = widget.live_row
    widget.begin("Run", lambda: None)
    row.region.click()
    qtbot.wait(400)
    assert not row.busy()
    widget.idle("Done")
    qtbot.waitUntil(lambda: widget.overlay.layer("kernel") is not None, timeout=20_000)


def test_live_in_a_window_is_fast_and_equals_the_run(make_napari_viewer_proxy, qtbot):
    """256 × 256 pixels, Richardson-Lucy of 20 iterations, on a CPU."""
    viewer = make_napari_viewer_proxy(show=True)
    place = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
    viewer.add_image(simulated(256)[0], name="cells", **place)
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Deblur")
    method, row = "blind-richardson-lucy", widget.live_row
    widget.method.setCurrentText(method)
    widget._forms[method]["rounds"].value, widget._forms[method]["iterations"].value = 2, 20
    widget.shape.setText("9, 9")
    row.region.click()
    qtbot.waitUntil(lambda: "cells preview kernel" in viewer.layers, timeout=60_000)
    qtbot.waitUntil(lambda: not row.busy())
    shapes = viewer.layers["preview region"]
    shapes.data = [np.array([[-0.5, -0.5], [-0.5, 255.5], [255.5, 255.5], [255.5, -0.5]])]
    preview = viewer.layers["cells preview"]
    qtbot.waitUntil(lambda: preview.data.shape == (256, 256), timeout=20_000)
    names, gaps = [layer.name for layer in viewer.layers], []
    # Time of this thread alone: on a busy machine the others' would count.
    beats = [time.thread_time()]
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.thread_time()))
    timer.start(5)
    gc.collect()
    gc.disable()  # it stops the window of a large program for a while, whoever asks for it
    try:
        for iterations in (21, 22, 20):
            shown = widget.plan_known
            beats[:] = [time.thread_time()]
            widget._forms[method]["iterations"].value = iterations
            qtbot.waitUntil(lambda before=shown: widget.plan_known is not before, timeout=20_000)
            qtbot.waitUntil(lambda: not row.busy())
            gaps.append(np.diff(beats).max())
    finally:
        gc.enable()
        timer.stop()
    assert min(gaps) < 0.2, gaps
    assert [layer.name for layer in viewer.layers] == names
    seen = np.array(preview.data)
    widget.run.click()
    qtbot.waitUntil(lambda: not widget.cancel.isEnabled(), timeout=60_000)
    restored = viewer.layers[f"cells restored [{method}]"]
    assert not preview.visible
    # Exactly the preview's plan: every number, and the kernel to the last bit.
    plan, known = open_result(restored.metadata["deblur"]["store"]).plan, widget.plan_known[1]
    assert (plan.channels, plan.grid) == (known.channels, known.grid)
    np.testing.assert_array_equal(plan.kernel.array, known.kernel.array)
    assert np.abs(np.asarray(restored.data) - seen).max() < 1e-3 * seen.max()
