"""The rows of the widget, without what they do."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QSize
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_deblur._napari.advanced import Advanced
from napari_deblur._napari.channels import ChannelRows
from napari_deblur._napari.fold import Fold
from napari_deblur._napari.kernel_row import KernelRows
from napari_deblur._napari.layer_box import Names
from napari_deblur._napari.low import Low
from napari_deblur._napari.rows import (
    PathRow,
    add_row,
    combo,
    form_rows,
    line_between,
    scrolled,
    sentence,
    side_by_side,
)
from napari_deblur._napari.working import Working

__all__ = ["Controls"]

DETAILS = 170  # pixels

COPIES = {
    "python": "Copy as Python",
    "command": "Copy as command line",
    "job": "Save job …",
}


class _Inner(QWidget):  # type: ignore[misc]
    """What is scrolled; texts of several lines get the height that they need at their width.

    A scroll area asks for the height at no particular width, and lines would be cut off.
    """

    def resizeEvent(self, event: Any) -> None:
        """Follow the width."""
        super().resizeEvent(event)
        self._fit()

    def event(self, event: Any) -> bool:
        """Follow the texts."""
        done = bool(super().event(event))
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return done

    def _fit(self) -> None:
        for label in self.findChildren(QLabel):
            if label.wordWrap() and label.isVisible():
                # With the margins of the theme: without them the last line loses its tails.
                label.setMinimumHeight(max(label.heightForWidth(label.width()), 0))


class Controls(Working):
    """All rows, top to bottom: what, what is known of the blur, how, where, go."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Names("The image to deblur: of a pyramid, its finest level")
        self.axes = QLineEdit()
        self.axes.setToolTip("A letter for each axis: t, c, z, y, x")
        self.sizes = {axis: QLineEdit() for axis in "zyx"}
        for axis, line in self.sizes.items():
            line.setToolTip(f"Size of a voxel along {axis} in µm; empty where it is not known")
        self.reads = sentence()
        self.channels = ChannelRows()
        self.known = KernelRows()
        self.kernel_layer, self.kernel_file = self.known.layer, self.known.file
        self.method = combo("How to restore")
        self.about = sentence()
        self.advanced = Advanced()
        self.scope, self.shape = self.advanced.scope, self.advanced.shape
        self.fold = Fold("Advanced", "The method's numbers, tiles, type, gamma", self.advanced)
        self.output = PathRow("Save the result as", save=True)
        self.output.setToolTip("Where the result goes: a folder .deblur.zarr")
        self.unfinished = sentence()
        self.resume = QPushButton("Go on")
        self.resume.setToolTip("Do what is missing of the run that was interrupted")
        self.preview, self.run = QPushButton("Preview"), QPushButton("Run")
        self.preview.setToolTip("Restore what is seen, with what is decided on the whole image")
        self.run.setToolTip("Restore everything, into the store that is named above")
        self.pause = QPushButton("Pause")
        self.pause.setToolTip("Stop for a while, after the iteration that goes on")
        self.pause.setEnabled(False)
        self.copy = QPushButton("Copy")
        self.copy.setToolTip("The same as Run, to be done elsewhere: as a script, command or job")
        menu = QMenu(self.copy)
        self.copies = {what: menu.addAction(text) for what, text in COPIES.items()}
        self.copy.setMenu(menu)
        self.starters = [self.preview, self.run, self.copy, self.resume]
        self.plan = QPlainTextEdit()
        self.plan.setReadOnly(True)
        self.plan.setFixedHeight(DETAILS)
        self.details = Fold(
            "Details",
            "What was noted; kernel, tiles and memory of the last preview or run",
            self.plan,
        )
        self.details.hide()
        self.costs = sentence()
        self.costs.hide()
        self.live_place = QVBoxLayout()
        self.live_place.setContentsMargins(0, 0, 0, 0)
        self._lay()

    def sizeHint(self) -> Any:
        """Wide enough for all rows."""
        return QSize(352, 700)

    def say_details(self, text: str) -> None:
        """Keep at hand what few people read."""
        self.plan.setPlainText(text)
        self.details.setVisible(bool(text))

    def say_costs(self, text: str) -> None:
        """Show what a run takes, above the bar."""
        self.costs.setText(text)
        self.costs.setVisible(bool(text))

    def _lay(self) -> None:
        inner = _Inner()
        rows = form_rows()
        inner.setLayout(rows)
        add_row(rows, "image", self.layer)
        add_row(rows, "axes", self.axes)
        self.size_row = side_by_side(
            *(w for axis, line in self.sizes.items() for w in (QLabel(axis), line))
        )
        self.size_row.layout().setSpacing(3)  # room for four digits behind the point
        add_row(rows, "voxel (µm)", self.size_row)
        rows.addRow(self.reads)
        rows.addRow(self.channels)
        rows.addRow(line_between())
        rows.addRow(self.known)
        rows.addRow(line_between())
        rows.addRow(self.method)
        rows.addRow(self.about)
        rows.addRow(self.fold)
        rows.addRow(line_between())
        add_row(rows, "save as", self.output)
        rows.addRow(self.details)

        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(scrolled(inner), 1)
        whole.addLayout(self.live_place)
        # Beside the other buttons: what was cancelled is gone on with where it was cancelled.
        self.unfinished_row = side_by_side(Low(self.unfinished), self.resume)
        self.unfinished_row.hide()
        whole.addWidget(self.unfinished_row)
        buttons = QGridLayout()
        for at, one in enumerate((self.preview, self.run, self.copy, self.pause, self.cancel)):
            buttons.addWidget(one, at // 3, at % 3)
        whole.addLayout(buttons)
        whole.addWidget(self.costs)
        whole.addWidget(self.bar)
        whole.addWidget(Low(self.status))
        self.setMinimumWidth(300)
