"""What is clicked, closed and cancelled while a thread is at work."""

from functools import partial
from threading import Event

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QPushButton, QVBoxLayout

from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.working import Working


class Waiting(Working):
    """Waits until it is told to end."""

    def __init__(self):
        super().__init__()
        self.go = QPushButton("Go")
        self.starters = [self.go]
        self.begun, self.end, self.left = Event(), Event(), Event()
        self.came = []
        rows = QVBoxLayout(self)
        for row in (self.status, self.bar, self.cancel, self.go):
            rows.addWidget(row)
        self.go.clicked.connect(partial(self.plainly, self.work))

    def work(self):
        self.start("Waiting", self.steps(), self._came)

    def steps(self):
        yield "waiting"
        self.begun.set()
        try:
            assert self.end.wait(60)
        finally:
            self.left.set()
        return "done"

    def wrong(self):
        raise ValueError("A mistake in the form")

    def _came(self, outcome):
        self.came.append(outcome)
        self.idle(outcome)


@pytest.fixture
def errors(monkeypatch):
    from napari.utils import notifications

    shown = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    return shown


@pytest.fixture
def working(qtbot):
    widget = Waiting()
    qtbot.addWidget(widget)
    widget.go.click()
    assert widget.begun.wait(60)
    yield widget
    widget.end.set()
    assert widget.left.wait(60)


def test_a_mistake_meanwhile_ends_nothing(working, qtbot, errors):
    working.plainly(working.wrong)
    assert errors == ["A mistake in the form"]
    assert working.busy()
    assert not working.go.isEnabled()
    assert working.cancel.isEnabled()
    working.end.set()
    qtbot.waitUntil(lambda: working.came == ["done"])
    assert not working.busy()


def test_one_thing_at_a_time(working, qtbot, errors):
    working.plainly(working.work)
    assert errors == ["Something goes on already: wait for its end, or press Cancel"]
    working.end.set()
    qtbot.waitUntil(lambda: working.came == ["done"])
    assert not working.busy()


def test_what_comes_after_the_widget_is_gone_is_left(qtbot, errors):
    widget = Waiting()
    widget.go.click()
    assert widget.begun.wait(60)
    end, left, came = widget.end, widget.left, widget.came
    widget.deleteLater()
    QCoreApplication.sendPostedEvents(widget, QEvent.Type.DeferredDelete)
    end.set()
    assert left.wait(60)
    qtbot.wait(200)  # what was sent to it is lost by then
    assert not came
    assert not errors


def test_no_run_begins_that_was_cancelled_in_the_last_step(
    make_napari_viewer_proxy, qtbot, picture, errors
):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(picture, name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("napari-deblur", "Deblur")
    assert isinstance(widget, Deblur)
    go = Event()

    def steps():
        yield "finding an address"
        go.wait(60)
        return {"resume": "nowhere.deblur.zarr"}, (None, None)

    then = partial(widget._addressed, viewer.layers["cells"], widget.stack(), "key")
    widget.start("Run", steps(), then)
    qtbot.waitUntil(lambda: "address" in widget.status.text())
    widget.cancel.click()
    go.set()
    qtbot.waitUntil(lambda: not widget.busy())
    assert widget.status.text() == "Cancelled before the run began."
    assert widget._run is None
    assert not errors
