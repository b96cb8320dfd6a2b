"""Pieces that forms are made of: labelled rows, boxes, paths, sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QWidget,
)

__all__ = [
    "PathRow",
    "add_row",
    "combo",
    "form_rows",
    "line_between",
    "rows_of",
    "scrolled",
    "sentence",
    "side_by_side",
]

LABELS = 92  # pixels
# Longer words, as lines are broken, do not fit; so many letters at each end are seen.
LONG, ENDS = re.compile(r"[^\s/\\-]{36,}"), 16


class PathRow(QWidget):  # type: ignore[misc]
    """A path that can be typed or chosen.

    Parameters
    ----------
    caption : str
        Of the dialog.
    save : bool
        Whether it names a new file, which gets `ending` where the name has none of its own.
    folder : bool
        Whether it names a folder.
    """

    def __init__(
        self, caption: str, *, save: bool, ending: str = ".deblur.zarr", folder: bool = False
    ) -> None:
        super().__init__()
        self.caption, self.save, self.ending, self.folder = caption, save, ending, folder
        self.line = QLineEdit()
        self.line.textChanged.connect(self.line.setToolTip)
        button = QPushButton("…")
        button.setFixedWidth(28)
        button.clicked.connect(self._choose)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(button)

    def text(self) -> str:
        """Give what stands in the line."""
        return str(self.line.text()).strip()

    def put(self, path: str) -> None:
        """Show a path by its end: the folder is long and the name is what one looks for."""
        self.line.setText(path)
        self.line.setCursorPosition(len(path))

    def _choose(self) -> None:
        if self.folder:
            name = QFileDialog.getExistingDirectory(self, self.caption, self.text())
        else:
            choose = QFileDialog.getSaveFileName if self.save else QFileDialog.getOpenFileName
            name, _ = choose(self, self.caption, self.text())
        if name:
            last = "." + self.ending.rpartition(".")[2]
            if self.save and not self.folder and not name.endswith(last):
                name += self.ending
            self.put(name)
            self.line.textEdited.emit(name)


def form_rows() -> Any:
    """Make the layout of a form: labels on the left."""
    rows = QFormLayout()
    rows.setContentsMargins(4, 4, 4, 4)
    rows.setVerticalSpacing(5)
    rows.setHorizontalSpacing(8)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return rows


def combo(tip: str, choices: dict[str, str] | None = None) -> Any:
    """Make a box that offers texts, each with its key as data."""
    box = QComboBox()
    box.setToolTip(tip)
    # Long names of layers must not widen the dock.
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(12)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    for key, text in (choices or {}).items():
        box.addItem(text, key)
    return box


class _Sentence(QLabel):  # type: ignore[misc]
    """A text that breaks between words; of a longer word, such as a name, both ends are seen.

    Else it would widen the form, or be cut off. The tooltip has all of it then, and `text`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said = ""

    def setText(self, text: str) -> None:
        """Show a text."""
        self._said = text
        seen = text if text.startswith("<") else LONG.sub(_shorter, text)
        super().setText(seen)
        self.setToolTip("" if seen == text else text)

    def text(self) -> str:
        """Give all of it."""
        return self._said


def _shorter(word: re.Match[str]) -> str:
    return f"{word[0][:ENDS]}…{word[0][-ENDS:]}"


def sentence() -> Any:
    """Make a text of several lines that can be copied."""
    label = _Sentence()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def line_between() -> Any:
    """Make a line between parts of a form."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    return line


def side_by_side(*widgets: Any) -> Any:
    """Put widgets beside each other."""
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return holder


def rows_of(pairs: Iterable[tuple[str, Any]]) -> Any:
    """Put labelled widgets below each other, their left edges in line with all other rows."""
    holder = QWidget()
    rows = form_rows()
    rows.setContentsMargins(0, 0, 0, 0)
    holder.setLayout(rows)
    for label, widget in pairs:
        widget.setSizePolicy(QSizePolicy.Policy.Expanding, widget.sizePolicy().verticalPolicy())
        add_row(rows, label, widget)
    return holder


def add_row(rows: Any, text: str, widget: Any) -> None:
    """Add a labelled widget to a form; the label has the widget's tooltip."""
    label = QLabel(text)
    label.setFixedWidth(LABELS)
    label.setWordWrap(True)
    label.setToolTip(widget.toolTip())
    rows.addRow(label, widget)


def scrolled(inner: Any) -> Any:
    """Let a form scroll where the window is low, or narrower than the form can be."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidget(inner)
    return area
