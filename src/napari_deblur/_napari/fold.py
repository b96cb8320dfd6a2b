"""A part of a form that is folded away until it is wanted."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton, QVBoxLayout, QWidget

__all__ = ["Fold"]


class Fold(QWidget):  # type: ignore[misc]
    """A title that opens and closes what is below it.

    superqt has one that makes its content flat: what is in it can still be reached by Tab then,
    and texts of several lines are cut off. Here the content is hidden.
    """

    def __init__(self, title: str, tip: str, content: Any) -> None:
        super().__init__()
        self.content = content
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setToolTip(tip)
        self.button.setCheckable(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.toggled.connect(self._open)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.button)
        rows.addWidget(content)
        self._open(False)

    def open(self, *, yes: bool = True) -> None:
        """Open it, or close it."""
        self.button.setChecked(yes)

    def always(self, *, yes: bool) -> None:
        """Show the content without a title, or fold it away again if it was."""
        self.button.setVisible(not yes)
        self.content.setVisible(yes or self.button.isChecked())

    def _open(self, yes: bool) -> None:  # noqa: FBT001 - a slot of Qt
        self.button.setArrowType(Qt.ArrowType.DownArrow if yes else Qt.ArrowType.RightArrow)
        self.content.setVisible(yes)
