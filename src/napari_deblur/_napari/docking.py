"""Our widgets in one place of the window: tabs, as below each other the second has no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

__all__ = ["Tabbed", "main_window_of"]


class Tabbed(QObject):  # type: ignore[misc]
    """Puts a widget's dock, when it is shown first, in front of one of ours in the same area.

    Only then: where the user drags it afterwards, it stays.

    Parameters
    ----------
    widget : widget
    ours : function of a widget
        Whether it is one of ours.
    """

    # Of the class: the collector may have emptied the object when Qt says that the widget is gone.
    _fresh = False

    def __init__(self, widget: Any, ours: Callable[[Any], bool]) -> None:
        super().__init__(widget)
        self._widget, self._ours = widget, ours
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Look for others as soon as the widget is seen in a dock that it was put into."""
        if event.type() == QEvent.Type.ParentChange:
            self._fresh = watched.parent() is not None
        elif event.type() == QEvent.Type.Show and self._fresh:
            self._fresh = False
            QTimer.singleShot(0, self._tab)  # napari lays out the docks after it has shown this one
        return False

    def _tab(self) -> None:
        if not isalive(self) or not isalive(self._widget):
            return
        dock = _dock_of(self._widget)
        window = dock.parent() if dock is not None else None
        if not isinstance(window, QMainWindow) or dock.isFloating():
            return
        area = window.dockWidgetArea(dock)
        for other in window.findChildren(QDockWidget):
            if other is dock or other.isFloating() or window.dockWidgetArea(other) != area:
                continue
            if any(map(self._ours, other.findChildren(QWidget))):
                if dock not in window.tabifiedDockWidgets(other):
                    window.tabifyDockWidget(other, dock)
                dock.raise_()
                return


def main_window_of(widget: Any) -> Any:
    """Give the window that a widget is docked in, also if its dock floats; or None."""
    while widget is not None and not isinstance(widget, QMainWindow):
        widget = widget.parentWidget()
    return widget


def _dock_of(widget: Any) -> Any:
    while widget is not None and not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    return widget
