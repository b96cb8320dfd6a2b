"""What happens to what goes on when a dock is closed, or the window."""

from types import SimpleNamespace

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QVBoxLayout

from napari_deblur._napari.activity import Activity
from napari_deblur._napari.deblur import Deblur
from napari_deblur._napari.train import Train
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


def in_a_dock(qtbot, widget):
    """Put a widget into the dock of a window, and give the window."""
    window, dock = QMainWindow(), QDockWidget()
    dock.setWidget(widget)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    window.show()
    qtbot.addWidget(widget)
    return window


@pytest.fixture
def docked(qtbot):
    """Give a widget in the dock of a window, and the window."""
    widget = Slow()
    return in_a_dock(qtbot, widget), widget


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


class Training:
    """A training that says what it is told to say."""

    def __init__(self, request, folder, iterations):
        self.folder, self.iterations = folder, iterations
        self.asked, self.learning, self.said = False, True, []
        self.best, self.outcome, self.error = {}, "", ""

    def messages(self):
        while self.said:
            yield self.said.pop(0)

    def running(self):
        return False

    def ask_to_stop(self):
        self.asked = True


@pytest.fixture
def training(qtbot, monkeypatch, told, tmp_path):
    """Give a widget of which a training goes on, and the window that it is docked in."""
    monkeypatch.setattr("napari_deblur._napari.train.TrainingRun", Training)
    widget = Train(ViewerModel())
    window = in_a_dock(qtbot, widget)
    widget._learn(tmp_path / "cells", {})
    return window, widget


def test_a_training_outlives_its_dock(training, told, qtbot):
    _, widget = training
    widget.setParent(None)
    child = widget._child
    assert told[0].startswith("The training “cells” goes on. Activity, at the lower right, ")
    assert not child.asked
    # Nobody else learns in that folder meanwhile.
    other = Train(ViewerModel())
    qtbot.addWidget(other)
    other.output.put(str(child.folder))
    other.go.click()
    assert told[1].startswith("“cells” is being trained already: Activity")
    child.best = {"iterations": 9, "score": 21.5}
    done = {"weights": "/a/best.safetensors", "iterations": 9, "stopped": False}
    child.said = [{"done": done}, {"ended": ""}]
    qtbot.waitUntil(lambda: not widget.busy(), timeout=10_000)
    assert told[2:] == [
        "Trained after 9 iterations. Best: 21.50 dB, after 9 iterations. In Deblur, choose gdunet "
        "and the weights /a/best.safetensors."
    ]
    assert not widget.closed
    other.go.click()
    assert told[3].startswith("no layer is chosen")


@pytest.mark.parametrize("how", ["window", "activity"])
def test_a_training_whose_dock_is_closed_can_be_stopped(training, told, qtbot, how):
    window, widget = training
    widget.setParent(None)
    child = widget._child
    widget._activity._bar.cancel() if how == "activity" else window.close()
    qtbot.waitUntil(lambda: child.asked, timeout=10_000)
    child.said = [{"done": {"weights": "", "iterations": 0, "stopped": True}}, {"ended": ""}]
    qtbot.waitUntil(lambda: not widget.busy(), timeout=10_000)
    assert len(told) == (2 if how == "activity" else 1)  # there is no window to tell it in
