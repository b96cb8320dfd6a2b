"""The rows of the widget, without what they do."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSize
from qtpy.QtWidgets import (
    QCheckBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_deblur._napari.rows import (
    PathRow,
    add_row,
    combo,
    form_rows,
    line_between,
    rows_of,
    scrolled,
    sentence,
    side_by_side,
)
from napari_deblur._napari.working import Working

__all__ = ["Controls"]

KERNELS = {"find": "found in the image", "layer": "from a layer", "file": "from a file"}
SCOPES = {
    "channel": "one for each channel",
    "channel-time": "one for each channel and frame",
    "field": "kernels that vary over the field",
    "tile": "one for each tile",
}


class Controls(Working):
    """All rows, top to bottom: what, how, where, go."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = combo("The image to deblur: of a pyramid, its finest level")
        self.axes = QLineEdit()
        self.axes.setToolTip("A letter for each axis: t, c, z, y, x")
        self.sizes = {axis: QLineEdit() for axis in "zyx"}
        self.reads = sentence()
        self.method = combo("How to restore")
        self.about = sentence()
        self.form = QVBoxLayout()
        self.kernel = combo(
            "Where the blur kernel comes from; a method that finds kernels starts from a given one",
            KERNELS,
        )
        self.shape = QLineEdit("auto")
        self.shape.setToolTip("Voxels of the kernel along z, y, x, such as 1, 33, 33; or auto")
        self.kernel_layer = combo("The layer that shows the blur of a point")
        self.kernel_file = PathRow("Choose a kernel (.tif, .npy, .npz, .zarr)", save=False)
        self.kernel_ways = QStackedWidget()
        self.scope = combo("How many kernels are found", SCOPES)
        self.output = PathRow("Save the result as", save=True)
        self.preview, self.run = QPushButton("Preview"), QPushButton("Run")
        self.starters = [self.preview, self.run]
        self.plan_shown = QCheckBox("show the plan")
        self.plan_shown.setToolTip("Kernel, tiles, halo and memory of the last preview or run")
        self.plan = sentence()
        self.plan.setStyleSheet("font-family: monospace")
        self._lay()

    def sizeHint(self) -> Any:
        """Wide enough for all rows."""
        return QSize(330, 700)

    def say_plan(self, summary: str) -> None:
        """Keep a plan at hand: below the form, and as a tooltip of the last line."""
        self.plan.setText(summary)
        self.status.setToolTip(summary)
        self.plan_shown.show()

    def _lay(self) -> None:
        inner = QWidget()
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
        rows.addRow(line_between())
        add_row(rows, "method", self.method)
        rows.addRow(self.about)
        self.form.setContentsMargins(0, 0, 0, 0)
        rows.addRow(self.form)
        rows.addRow(line_between())
        add_row(rows, "kernel", self.kernel)
        for way, label in (
            (self.shape, "its size"), (self.kernel_layer, "layer"), (self.kernel_file, "file")
        ):  # fmt: skip
            self.kernel_ways.addWidget(rows_of([(label, way)]))
        self.kernel_ways.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        rows.addRow(self.kernel_ways)
        add_row(rows, "kernels", self.scope)
        rows.addRow(line_between())
        add_row(rows, "save as", self.output)
        rows.addRow(self.plan_shown)
        rows.addRow(self.plan)
        self.plan_shown.hide()
        self.plan.hide()
        self.plan_shown.toggled.connect(self.plan.setVisible)

        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(scrolled(inner), 1)
        whole.addWidget(side_by_side(self.preview, self.run, self.cancel))
        whole.addWidget(self.bar)
        whole.addWidget(self.status)
        self.setMinimumWidth(300)
