"""Runs, previews and mistakes of the widget, on a model of the viewer: no window."""

import os
import signal
import sys

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils import notifications

from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.samples import simulated, spots

SPATIAL = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
MOVIE = {"scale": (1, 0.1, 0.1), "units": ("s", "um", "um"), "axis_labels": ("t", "y", "x")}


@pytest.fixture
def opened(qtbot):
    """A model of a viewer, and the widget."""
    viewer = ViewerModel()
    widget = Deblur(viewer)
    qtbot.addWidget(widget)
    for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
        event.connect(widget.reset_choices)
    return viewer, widget


@pytest.fixture
def form(opened):
    """The same with a picture, and perhaps a kernel."""
    viewer, widget = opened

    def make(data=None, method="richardson-lucy", kernel=None, **kwargs):
        data = simulated(96)[0] if data is None else data
        viewer.add_image(data, **{"name": "cells", **SPATIAL, **kwargs})
        if kernel is not None:
            viewer.add_image(kernel, name="psf", **SPATIAL)
            widget.set_way("layer")
            widget.kernel_layer.setCurrentText("psf")
        widget.method.setCurrentText(method)
        assert widget.method.currentText() == method
        for row in widget._forms[method]:
            if row.name in ("iterations", "rounds"):
                row.value = 5  # "auto" takes its time to decide
        return viewer, widget

    return make


@pytest.fixture
def kernel():
    r = np.arange(9) - 4
    return np.exp(-(r[:, None] ** 2 + r**2) / 8).astype(np.float32)


@pytest.fixture
def errors(monkeypatch):
    """What was shown as a notification."""
    shown = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    return shown


def _idle(widget):
    return not widget.cancel.isEnabled()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_crash_of_the_child_leaves_napari_alive(form, qtbot, kernel, errors):
    _, widget = form(np.stack([simulated(96)[0]] * 80), kernel=kernel, **MOVIE)
    widget._forms["richardson-lucy"]["iterations"].value = 1000
    widget.run.click()
    qtbot.waitUntil(lambda: widget._run is not None, timeout=60_000)
    os.kill(widget._run.child.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: _idle(widget), timeout=10_000)
    assert len(errors) == 1
    assert "memory ran out" in errors[0]
    assert widget.run.isEnabled()


def test_mistakes_in_the_form_are_told_in_plain_words(form, qtbot, errors):
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    viewer, widget = form(picture, "blind-richardson-lucy", rgb=True)
    viewer.add_labels(np.zeros((40, 50), int), name="labels")
    assert [widget.layer.itemText(i) for i in range(widget.layer.count())] == ["cells"]
    assert "40 × 50 pixels in colour" in widget.reads.text()
    assert not widget.sizes["z"].isEnabled()

    def told(click=widget.run.click):
        click()
        assert _idle(widget)
        return errors.pop()

    widget.axes.setText("zy")
    assert "y and x" in told()
    widget.axes.setText("yxx")
    assert "give 2 of the letters" in told()
    widget.axes.setText("yx")
    widget.sizes["y"].setText("wide")
    assert told() == 'the voxel size along y is "wide": give a number of µm'
    widget.sizes["y"].setText("0.1")
    widget.shape.setText("big")
    assert "give z, y, x such as 1, 33, 33, or auto" in told(widget.preview.click)
    widget.shape.setText("auto")
    widget.set_way("layer")
    assert "not the image itself" in told()
    widget.set_way("file")
    assert "Choose the file" in told()
    widget.kernel_file.line.setText("/nowhere/k.tif")
    assert told() == "there is no kernel at /nowhere/k.tif"
    widget.set_way("psf")
    assert told() == "NA is empty: give the numerical aperture, or choose the objective"
    widget.known.optics["na"].setText("1.2 oil")
    assert told() == 'the numerical aperture (NA) is "1.2 oil": give a number'
    widget.known.optics["na"].setText("1.2")
    assert told().startswith("λ is empty")
    widget.known.optics["wavelength"].setText("0.5")
    widget.sizes["x"].setText("")
    assert "fill in the voxel's size" in told()
    widget.sizes["x"].setText("0.1")
    widget.method.setCurrentText("wiener")
    widget._forms["wiener"]["noise"].value = "-3"
    assert told().startswith("noise is -3")
    viewer.layers.clear()
    assert "Open Sample" in widget.reads.text()
    assert not widget.run.isEnabled()


def _usable(widget):
    return _idle(widget) and widget.run.isEnabled() and widget.preview.isEnabled()


def test_errors_in_a_worker_leave_the_widget_usable(form, qtbot, kernel, errors, scratch):
    import dask.array as da

    viewer, widget = form(np.full((32, 32), np.nan, np.float32), "blind-richardson-lucy")

    def told(click):
        click()
        qtbot.waitUntil(lambda: _usable(widget), timeout=60_000)
        assert len(errors) == 1, errors
        return errors.pop()

    assert "NaN" in told(widget.preview.click)

    def gone(block, block_info=None):
        if block_info and opened:
            raise RuntimeError("the disk is gone")
        return block

    opened = []
    lazy = da.from_array(np.stack([simulated(32)[0]] * 3), chunks=(1, 32, 32))
    viewer.add_image(
        lazy.map_blocks(gone, dtype=lazy.dtype), name="lazy", contrast_limits=(0, 900), **MOVIE
    )
    widget.layer.setCurrentText("lazy")
    opened.append(True)
    viewer.layers["lazy"].visible = False
    for click in (widget.preview.click, widget.run.click):
        assert "nobody foresaw (RuntimeError: the disk is gone)" in told(click)
    opened.clear()
    assert not list(scratch.glob("*"))  # no half of a copy

    scratch.rmdir()
    scratch.touch()
    widget.output.put(str(scratch.parent / "lazy.deblur.zarr"))
    assert "choose another scratch folder" in told(widget.run.click)
    widget.output.put(str(scratch / "lazy.deblur.zarr"))
    assert 'another one under "save as"' in told(widget.run.click)


def test_solid_kernel_is_refused_for_a_flat_image(form, qtbot, kernel, errors, tmp_path):
    viewer, widget = form(method="blind-richardson-lucy")
    viewer.add_image(np.stack([kernel] * 3), name="psf")
    widget.layer.setCurrentText("cells")
    widget.kernel_layer.setCurrentText("psf")
    np.save(tmp_path / "k.npy", np.stack([kernel] * 5))
    widget.kernel_file.put(str(tmp_path / "k.npy"))
    for way, planes in (("find", 7), ("layer", 3), ("file", 5)):
        widget.set_way(way)
        widget.shape.setText("7, 9, 9")
        for button in (widget.preview, widget.run):
            button.click()
            qtbot.waitUntil(lambda: _usable(widget), timeout=60_000)
            assert errors.pop().startswith(f'the kernel has {planes} planes but "cells" has no z')
            assert not errors


def test_size_of_the_form_counts_for_preview_and_run(form, qtbot, kernel, errors, tmp_path):
    import tifffile

    from napari_deblur.results import open_result

    path = tmp_path / "cells.tif"
    about = {"resolution": (10, 10), "metadata": {"axes": "YX", "unit": "um"}}
    tifffile.imwrite(path, simulated(96)[0], imagej=True, **about)
    viewer, widget = form(kernel=kernel)
    viewer.layers.remove("cells")
    viewer.open(str(path), plugin="napari")  # its reader leaves the size out
    viewer.layers["cells"].scale = (1, 1)
    widget.layer.setCurrentText("cells")
    assert widget.sizes["x"].text() == "0.1"
    assert widget.output.text() == str(tmp_path / "cells.deblur.zarr")
    assert widget.output.line.toolTip() == widget.output.text()
    for text, size in (("0.2", (None, 0.2, 0.2)), ("", None)):
        for axis in "yx":
            widget.sizes[axis].setText(text)
        layout = None
        if text:
            widget.preview.click()
            qtbot.waitUntil(lambda: _usable(widget), timeout=60_000)
            layout = widget.plan_known[1].layout
            assert layout.pixel_size == size
            widget.details.open()
            assert "kernel" in widget.plan.toPlainText()
        widget.run.click()
        qtbot.waitUntil(lambda: _usable(widget), timeout=60_000)
        assert not errors
        restored = [n for n in viewer.layers if "restored" in n.name][-1]
        plan = open_result(restored.metadata["deblur"]["store"]).plan
        assert plan.layout.pixel_size == size
        if layout is not None:
            assert plan.kernel.array.shape == widget.plan_known[1].kernel.array.shape
            first = restored.metadata["deblur"]["store"]
            widget.run.click()
            qtbot.waitUntil(lambda: _usable(widget), timeout=60_000)
            lines = widget.status.text().splitlines()
            assert lines[0] == f"It was complete already: {first}"
            assert lines[1].startswith("The kernel ")  # the verdict is said again


def test_image_is_the_active_one_until_one_is_chosen(opened, kernel):
    viewer, widget = opened
    for data, kwargs, _kind in spots():
        viewer.add_image(data, **kwargs)
    assert widget.layer.currentText() == "spots"  # not the hidden truth
    viewer.add_image(simulated(128)[0], name="cells", **SPATIAL)
    assert widget.layer.currentText() == "cells"
    viewer.add_image(kernel, name="psf", **SPATIAL)
    assert widget.layer.currentText() == "cells"  # a kernel is small
    viewer.layers.selection.active = viewer.layers["spots"]
    assert widget.layer.currentText() == "spots"
    widget.layer.setCurrentText("cells")
    viewer.layers.selection.active = viewer.layers["truth"]
    viewer.layers.selection.active = viewer.layers["spots"]
    assert widget.layer.currentText() == "cells"
