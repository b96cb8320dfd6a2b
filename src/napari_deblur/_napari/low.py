"""A text that takes no more room than it needs, and never more than a few lines."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy

__all__ = ["Low"]

LINES = 6


class Low(QScrollArea):  # type: ignore[misc]
    """Shows a label; of a longer text a few lines, and the rest by scrolling.

    Parameters
    ----------
    label : QLabel
        It wraps its lines.
    """

    def __init__(self, label: Any) -> None:
        super().__init__()
        self.label = label
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setWidget(label)
        label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        """Follow the width."""
        super().resizeEvent(event)
        self._fit()

    def viewportEvent(self, event: Any) -> bool:
        """Follow the text."""
        done = bool(super().viewportEvent(event))
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return done

    def _fit(self) -> None:
        line = self.label.fontMetrics().lineSpacing()
        needed = self.label.heightForWidth(self.viewport().width())
        frame = self.height() - self.viewport().height()
        if needed < 0:  # no text
            needed = self.label.sizeHint().height()
        self.setFixedHeight(min(needed, LINES * line) + frame)
