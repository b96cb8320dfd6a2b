"""The wheel scrolls a form, and changes nothing that lies in it by the way."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSlider, QAbstractSpinBox, QComboBox, QScrollBar, QWidget

__all__ = ["Calm"]


class Calm(QObject):  # type: ignore[misc]
    """Keeps the wheel from the boxes and sliders of a form, also from those that are added later.

    A number or a slider that has the focus follows the wheel, a box of choices never does: it
    keeps the focus after a choice, and the next thing that people do there is to scroll on.

    Parameters
    ----------
    form : widget
    """

    def __init__(self, form: Any) -> None:
        super().__init__(form)
        self._watch(form)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Give the wheel to what lies around; watch what was added, as soon as it is complete."""
        if event.type() == QEvent.Type.Wheel and _changes(watched):
            if isinstance(watched, QComboBox) or not watched.hasFocus():
                event.ignore()
                return True
        elif event.type() == QEvent.Type.ChildPolished:
            for child in (event.child(), *event.child().findChildren(QWidget)):
                self._watch(child)
        return False

    def _watch(self, widget: Any) -> None:
        widget.installEventFilter(self)  # again and again is once
        if _changes(widget):
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # the wheel takes no focus


def _changes(widget: Any) -> bool:
    kinds = (QComboBox, QAbstractSpinBox, QAbstractSlider)
    return isinstance(widget, kinds) and not isinstance(widget, QScrollBar)
