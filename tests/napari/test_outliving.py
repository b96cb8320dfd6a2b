"""What happens to what goes on when a dock is closed, or the window."""

from types import SimpleNamespace

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QVBoxLayout

from napari_deblur._napari.activity import Activity
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.working import Working


class Slow(Working):
    """A widget of which something may outlive the dock."""

    what = ""

    def __init__(self):
        super().__init__()
        rows = QVBoxLayout(self)
        for one in (self.status, self.bar, self.cancel):
            rows.addWidget(one)

    def outlives(self):
        return self.what


@pytest.fixture
def told(monkeypatch):
    from napari.utils import notifications

    said = []
    for name in ("show_info", "show_error"):
        monkeypatch.setattr(notifications, name, said.append)
    return said


@pytest.fixture
def docked(qtbot):
    """Give a widget in the dock of a window, and the window."""
    window, dock, widget = QMainWindow(), QDockWidget(), Slow()
    dock.setWidget(widget)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    window.show()
    qtbot.addWidget(widget)
    return window, widget


def test_what_outlives_its_dock_goes_on_until_the_window_is_closed(docked, told):
    window, widget = docked
    widget.what, stopped = "The run of “cells”", []
    widget.begin("Run", lambda: stopped.append(1))
    widget.setParent(None)  # so napari closes a dock
    assert widget.closed
    assert told == [
        "The run of “cells” goes on. Activity, at the lower right, shows how far it is, and can "
        "cancel it."
    ]
    assert not stopped
    assert not widget.left_alone()
    window.close()
    assert widget.left_alone()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert stopped
    widget.idle("Done: here")
    assert told[1:] == ["Done: here"]
    assert not widget.closed


@pytest.mark.parametrize("what", ["", "The run of “cells”"])
def test_everything_else_is_stopped_with_its_dock(docked, told, what):
    _, widget = docked
    stopped = []
    widget.begin("Preview", lambda: stopped.append(1))
    if what:  # an error is told once
        widget.what = what
        widget.setParent(None)
        widget.fail("the disk is full")
        assert told[1:] == ["the disk is full"]
        return
    widget.setParent(None)
    assert stopped
    assert not told


def test_a_run_that_waits_for_a_word_does_not_wait_for_good(qtbot, told):
    widget = Deblur(ViewerModel())
    qtbot.addWidget(widget)
    assert widget.outlives() == ""
    widget._run_of = "cells"
    assert widget.outlives() == "The run of “cells”"
    for text in ("Start", "Go on"):
        widget.pause.setText(text)
        assert widget.outlives() == ""
    widget.idle("")
    widget.pause.setText("Pause")
    assert widget.outlives() == ""


def test_cancel_beside_the_bar_of_the_activity_stops_the_run(qtbot, told):
    widget = Deblur(ViewerModel())
    qtbot.addWidget(widget)
    child = SimpleNamespace(cancelled=False)
    run = SimpleNamespace(
        child=child, poll=lambda: True, costs=None, details="", done=(0, 0), error="",
        pace=SimpleNamespace(each=None), paused=False,
    )  # fmt: skip
    widget._run, widget._activity = run, Activity("Deblur cells", lambda: False, lambda: None)
    widget.begin("Run", lambda: setattr(child, "cancelled", True))
    widget._poll()
    assert not child.cancelled
    widget._activity._bar.cancel()  # what its button does
    widget._poll()
    assert child.cancelled
    widget._activity.close()
    widget._run = None
    widget.idle("")
