"""The widget in real windows. Few: each costs seconds."""

import gc
import os
import time

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer

from napari_deblur._napari.samples import simulated
from napari_deblur._napari.working import _GOING_ON
from napari_deblur.job import Job

SPATIAL = {"scale": (0.1, 0.1), "units": ("um", "um"), "axis_labels": ("y", "x")}
LONG = {"iterations": 1000, "frames": 80}
CLICKING = float(os.environ.get("NAPARI_DEBLUR_CLICKING", "15"))  # seconds
MOVIE = {"scale": (1, 0.1, 0.1), "units": ("s", "um", "um"), "axis_labels": ("t", "y", "x")}


@pytest.fixture
def window(make_napari_viewer_proxy, qtbot, scratch):
    """A viewer with the widget docked by its manifest name, and a picture."""
    viewer = make_napari_viewer_proxy(show=True)

    def make(data=None, method="richardson-lucy", kernel=None, **kwargs):
        data = simulated(96)[0] if data is None else data
        viewer.add_image(data, **{"name": "cells", **SPATIAL, **kwargs})
        _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Deblur")
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
    from napari.utils import notifications

    shown = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    return shown


def _idle(widget):
    return not widget.cancel.isEnabled()


def _long(window, kernel):
    """Start a run that takes a while; wait for its first tile."""
    movie = np.stack([simulated(96)[0]] * LONG["frames"])
    viewer, widget = window(movie, "richardson-lucy", kernel, **MOVIE)
    widget._forms["richardson-lucy"]["iterations"].value = LONG["iterations"]
    widget.run.click()
    return viewer, widget


def _gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


class Heartbeat:
    """The most that the window's own thread did between two beats, but for the adding of layers.

    Seconds of that thread alone: on a busy machine the others' would count.
    Adding one takes napari itself 0.1 to 0.3 s, whoever asks for it; collecting garbage in
    its large heap as long.
    """

    def __init__(self, viewer):
        self.longest, self._last, self._adding = 0.0, time.thread_time(), True
        viewer.layers.events.inserting.connect(self._excuse)
        viewer.layers.events.inserted.connect(self._excuse)
        gc.collect()
        gc.disable()
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(5)

    def _excuse(self, event=None):
        self._adding = True

    def _beat(self):
        now = time.thread_time()
        if not self._adding:
            self.longest = max(self.longest, now - self._last)
        self._last, self._adding = now, False

    def stop(self):
        self._timer.stop()
        gc.enable()
        return self.longest


def test_run_gives_layers_and_a_second_run_keeps_them(window, qtbot, kernel, errors):
    viewer, widget = window(np.stack([simulated(96)[0]] * 3), kernel=kernel, **MOVIE)
    assert widget.reads.text() == (
        "Read as 3 time points of 96 × 96 pixels of 0.1 × 0.1 µm, uint16; in memory only: Run "
        "copies it to a scratch file."
    )
    beats = []
    for _ in range(2):
        heart = Heartbeat(viewer)
        widget.run.click()
        assert not widget.run.isEnabled()
        qtbot.waitUntil(lambda: _idle(widget), timeout=120_000)
        beats.append(heart.stop())
        widget._forms["richardson-lucy"]["iterations"].value = 7
    assert not errors
    assert min(beats) < 0.2, beats  # half of that where it was written
    names = [layer.name for layer in viewer.layers]
    assert [n for n in names if n not in ("cells", "psf")] == [
        "cells restored [richardson-lucy]",
        "cells kernels [richardson-lucy]",
        "cells restored [richardson-lucy] 2",
        "cells kernels [richardson-lucy] 2",
    ]
    first, second = (viewer.layers[names[i]] for i in (2, 4))
    assert len({layer.metadata["deblur"]["store"] for layer in (first, second)}) == 2
    for layer in viewer.layers:
        assert [str(u) for u in layer.units][-2:] == ["micrometer"] * 2
        assert layer.axis_labels[-2:] == ("y", "x")
    assert np.isfinite(np.asarray(first.data)).all()
    np.testing.assert_allclose(first.scale, viewer.layers["cells"].scale)
    kernels = viewer.layers[names[3]]
    assert kernels.metadata["kernel_pixel_size"] == (1.0, 0.1, 0.1)
    assert kernels.scale[0] == 3  # one kernel for three frames: the slider moves within it


def test_preview_shows_what_is_seen_and_can_be_cancelled(window, qtbot, errors):
    viewer, widget = window(simulated(256)[0], "blind-richardson-lucy")
    widget._forms["blind-richardson-lucy"]["rounds"].value = 20
    getattr(viewer, "scene", viewer).camera.zoom *= 4  # 0.9 moved it
    qtbot.wait(200)  # until it is drawn
    widget.shape.setText("9, 9")
    heart = Heartbeat(viewer)
    widget.preview.click()
    qtbot.waitUntil(lambda: _idle(widget), timeout=120_000)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=5000)
    longest = heart.stop()
    assert not errors
    assert longest < 0.6  # 0.8 s if torch is imported here
    preview, kernel = viewer.layers["cells preview"], viewer.layers["cells preview kernel"]
    assert 20 < preview.data.shape[0] < 256
    image = viewer.layers["cells"]
    start = np.round(image.world_to_data(preview.data_to_world((0, 0)))).astype(int)
    assert (start > 0).all()
    assert kernel.data.shape == (9, 9)
    # Closer to the truth than the picture is.
    cut = tuple(slice(s, s + n) for s, n in zip(start, preview.data.shape, strict=True))
    truth = simulated(256)[1][cut] + 100

    def likeness(a):
        return np.corrcoef(a.ravel(), truth.ravel())[0, 1]

    assert likeness(preview.data) > likeness(image.data[cut])
    # A second preview takes the place of the first; a cancelled one changes nothing.
    widget._forms["blind-richardson-lucy"]["rounds"].value = 200
    widget.preview.click()
    qtbot.wait(500)
    widget.cancel.click()
    qtbot.waitUntil(lambda: _idle(widget), timeout=20_000)
    assert widget.status.text() == "Preview cancelled."
    assert len(viewer.layers) == 3


def test_cancelled_run_keeps_its_tiles_and_goes_on(window, qtbot, kernel, errors):
    viewer, widget = _long(window, kernel)
    name = "cells restored [richardson-lucy]"

    def shown():
        running = widget._run is not None and widget._run.child.running()
        assert name in viewer.layers, (widget.status.text(), running)
        assert widget.bar.value() > 1, (widget.status.text(), running)

    qtbot.waitUntil(shown, timeout=60_000)
    qtbot.waitUntil(lambda: "left" in widget.status.text(), timeout=10_000)
    viewer.dims.set_current_step(0, 0)
    qtbot.wait(600)
    restored = viewer.layers[name]
    assert np.isfinite(restored.data[0]).all()  # a partial result
    assert np.isnan(restored.data[LONG["frames"] - 1]).all()
    limits = restored.contrast_limits
    widget.cancel.click()
    qtbot.waitUntil(lambda: _idle(widget), timeout=10_000)
    assert widget.status.text().startswith("Cancelled (Tile ")
    # What is told at once may be followed by the next in the same moment.
    told, progress = [], widget.progress
    widget.progress = lambda text, *rest: (told.append(text), progress(text, *rest))
    widget.run.click()
    qtbot.waitUntil(lambda: any("goes on after" in text for text in told), timeout=60_000)
    qtbot.waitUntil(lambda: widget._run is not None and widget._run._showing is None)
    widget.cancel.click()
    qtbot.waitUntil(lambda: _idle(widget), timeout=10_000)
    assert not errors
    assert [n.name for n in viewer.layers].count(name) == 1
    assert len(viewer.layers) == 4  # the same store: the same layers
    assert viewer.layers[name].contrast_limits == limits


@pytest.mark.parametrize("dock", ["open", "closed"])
def test_closing_the_window_ends_the_child_and_closing_the_dock_does_not(
    window, qtbot, kernel, dock
):
    viewer, widget = _long(window, kernel)
    qtbot.waitUntil(lambda: widget._run is not None, timeout=60_000)
    child = widget._run.child
    if dock == "closed":
        viewer.window.remove_dock_widget(widget)
        del widget
        gc.collect()
        qtbot.waitUntil(lambda: len(viewer.layers) > 2, timeout=60_000)  # the result
        qtbot.wait(300)
        assert child.running()
    viewer.close()
    assert _gone(child.pid)
    qtbot.waitUntil(lambda: not _GOING_ON)


class Cross:
    """The event of a click on the cross of a window."""

    accepted = True

    def spontaneous(self):
        return True

    def ignore(self):
        self.accepted = False


def test_closing_the_window_asks_and_then_ends_the_child(window, qtbot, kernel):
    from napari._qt.dialogs.confirm_close_dialog import ConfirmCloseDialog
    from qtpy.QtWidgets import QApplication, QLabel

    viewer, widget = _long(window, kernel)
    qtbot.waitUntil(lambda: widget._run is not None, timeout=60_000)
    child, inner = widget._run.child, viewer.__wrapped__.window
    main, asked = inner._qt_window, []

    def answer(button):
        for dialog in QApplication.topLevelWidgets():
            if isinstance(dialog, ConfirmCloseDialog) and dialog.isVisible():
                asked.append(" ".join(label.text() for label in dialog.findChildren(QLabel)))
                getattr(dialog, button).click()
                return
        QTimer.singleShot(50, lambda: answer(button))

    QTimer.singleShot(50, lambda: answer("cancel_btn"))
    main.closeEvent(cross := Cross())
    assert "Deblur cells" in asked[0]
    assert not cross.accepted
    qtbot.wait(300)
    assert child.running()
    QTimer.singleShot(50, lambda: answer("close_btn"))
    main.close(quit_app=False, confirm_need=True)
    assert len(asked) == 2
    del inner._qt_window  # it is gone already when the fixture closes what is left
    assert _gone(child.pid)


def _usable(widget):
    return _idle(widget) and widget.run.isEnabled() and widget.preview.isEnabled()


def test_three_choices_from_an_empty_napari(make_napari_viewer_proxy, qtbot, errors):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.open_sample("napari-deblur", "spots")
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Deblur")
    qtbot.mouseClick(widget.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: _usable(widget), timeout=240_000)
    assert not errors
    assert widget.status.text().startswith("Done: ")
    assert widget.costs.text().startswith("1 tile, ")
    restored = viewer.layers["spots restored [blind]"]
    kernels = viewer.layers["spots kernels [blind]"]
    assert np.isfinite(np.asarray(restored.data)).all()
    left = kernels.data_to_world((0, 0))[1]
    assert left > viewer.layers["spots"].extent.world[1][1]  # beside the image, not over it
    job = Job.from_dict(restored.metadata["deblur"]["job"])
    assert job.method == "blind"
    assert job.output == restored.metadata["deblur"]["store"]


def test_random_clicks_while_a_run_goes_on(window, qtbot, kernel, errors, monkeypatch):
    """Whatever is clicked: nothing raises, and the widget is usable after."""
    from qtpy.QtWidgets import (
        QCheckBox,
        QComboBox,
        QFileDialog,
        QLineEdit,
        QPushButton,
        QToolButton,
    )

    from napari_deblur._napari import requests

    for name in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, name, lambda *_: ("", ""))
    monkeypatch.setattr(requests, "LONG", 1e9)
    viewer, widget = _long(window, kernel)
    qtbot.waitUntil(lambda: widget._run is not None, timeout=60_000)
    rng = np.random.default_rng(7)
    widget.fold.open()
    texts = ("", "3", "auto", "x", "0.2", "1, 9, 9", "yx", "zyx")
    end, clicks = time.monotonic() + CLICKING, 0
    kinds = (QPushButton, QToolButton, QComboBox, QCheckBox, QLineEdit)
    while time.monotonic() < end:
        seen = [w for kind in kinds for w in widget.findChildren(kind)]
        seen = [w for w in seen if w.isVisible() and w.isEnabled() and w is not widget.copy]
        one = seen[rng.integers(len(seen))]
        if isinstance(one, QComboBox):
            if one.count():
                one.setCurrentIndex(int(rng.integers(one.count())))
        elif isinstance(one, QLineEdit):
            one.setText(texts[rng.integers(len(texts))])
            one.textEdited.emit(one.text())
        elif not one.text().startswith("Average beads"):
            one.click()
        if rng.random() < 0.1:
            actions = list(widget.copies.values())
            actions[rng.integers(len(actions))].trigger()
        if rng.random() < 0.1:
            viewer.dims.set_current_step(0, int(rng.integers(LONG["frames"])))
        clicks += 1
        qtbot.wait(int(rng.integers(5, 60)))
    assert clicks > 20
    if widget.busy():
        widget.cancel.click()
    qtbot.waitUntil(lambda: _idle(widget), timeout=60_000)
    assert not any("Error:" in text for text in errors), errors  # only what is told in plain words
    assert widget.run.isEnabled()
