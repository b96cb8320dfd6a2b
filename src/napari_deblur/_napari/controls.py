"""The rows of the widget, without what they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

__all__ = ["Controls", "PathRow", "rows_of"]

LABELS = 84  # pixels
KERNELS = {"find": "found in the image", "layer": "from a layer", "file": "from a file"}
SCOPES = {
    "channel": "one for each channel",
    "channel-time": "one for each channel and frame",
    "field": "kernels that vary over the field",
    "tile": "one for each tile",
}


class PathRow(QWidget):  # type: ignore[misc]
    """A path that can be typed or chosen."""

    def __init__(self, caption: str, *, save: bool) -> None:
        super().__init__()
        self.caption, self.save = caption, save
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
        choose = QFileDialog.getSaveFileName if self.save else QFileDialog.getOpenFileName
        name, _ = choose(self, self.caption, self.text())
        if name:
            if self.save and not name.endswith(".zarr"):
                name += ".deblur.zarr"
            self.put(name)
            self.line.textEdited.emit(name)


class Controls(QWidget):  # type: ignore[misc]
    """All rows, top to bottom: what, how, where, go."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = _combo("The image to deblur: of a pyramid, its finest level")
        self.axes = QLineEdit()
        self.axes.setToolTip("A letter for each axis: t, c, z, y, x")
        self.sizes = {axis: QLineEdit() for axis in "zyx"}
        self.reads = _sentence()
        self.method = _combo("How to restore")
        self.about = _sentence()
        self.form = QVBoxLayout()
        self.kernel = _combo(
            "Where the blur kernel comes from; a method that finds kernels starts from a given one",
            KERNELS,
        )
        self.shape = QLineEdit("auto")
        self.shape.setToolTip("Voxels of the kernel along z, y, x, such as 1, 33, 33; or auto")
        self.kernel_layer = _combo("The layer that shows the blur of a point")
        self.kernel_file = PathRow("Choose a kernel (.tif, .npy, .npz, .zarr)", save=False)
        self.kernel_ways = QStackedWidget()
        self.scope = _combo("How many kernels are found", SCOPES)
        self.output = PathRow("Save the result as", save=True)
        self.preview, self.run, self.cancel = (QPushButton(t) for t in ("Preview", "Run", "Cancel"))
        self.bar = QProgressBar()
        self.status = _sentence()
        self.plan_shown = QCheckBox("show the plan")
        self.plan_shown.setToolTip("Kernel, tiles, halo and memory of the last preview or run")
        self.plan = _sentence()
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
        rows = _form()
        inner.setLayout(rows)
        _add(rows, "image", self.layer)
        _add(rows, "axes", self.axes)
        self.size_row = _side_by_side(
            *(w for axis, line in self.sizes.items() for w in (QLabel(axis), line))
        )
        self.size_row.layout().setSpacing(3)  # room for four digits behind the point
        _add(rows, "voxel (µm)", self.size_row)
        rows.addRow(self.reads)
        rows.addRow(_line())
        _add(rows, "method", self.method)
        rows.addRow(self.about)
        self.form.setContentsMargins(0, 0, 0, 0)
        rows.addRow(self.form)
        rows.addRow(_line())
        _add(rows, "kernel", self.kernel)
        for way, label in (
            (self.shape, "its size"), (self.kernel_layer, "layer"), (self.kernel_file, "file")
        ):  # fmt: skip
            self.kernel_ways.addWidget(rows_of([(label, way)]))
        self.kernel_ways.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        rows.addRow(self.kernel_ways)
        _add(rows, "kernels", self.scope)
        rows.addRow(_line())
        _add(rows, "save as", self.output)
        rows.addRow(self.plan_shown)
        rows.addRow(self.plan)
        self.plan_shown.hide()
        self.plan.hide()
        self.plan_shown.toggled.connect(self.plan.setVisible)

        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(area, 1)
        whole.addWidget(_side_by_side(self.preview, self.run, self.cancel))
        whole.addWidget(self.bar)
        whole.addWidget(self.status)
        self.setMinimumWidth(300)


def _form() -> Any:
    rows = QFormLayout()
    rows.setContentsMargins(4, 4, 4, 4)
    rows.setVerticalSpacing(5)
    rows.setHorizontalSpacing(8)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return rows


def _combo(tip: str, choices: dict[str, str] | None = None) -> Any:
    box = QComboBox()
    box.setToolTip(tip)
    # Long names of layers must not widen the dock.
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(12)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    for key, text in (choices or {}).items():
        box.addItem(text, key)
    return box


def _sentence() -> Any:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _line() -> Any:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    return line


def _side_by_side(*widgets: Any) -> Any:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return holder


def rows_of(pairs: Iterable[tuple[str, Any]]) -> Any:
    """Put labelled widgets below each other, their left edges in line with all other rows."""
    holder = QWidget()
    rows = _form()
    rows.setContentsMargins(0, 0, 0, 0)
    holder.setLayout(rows)
    for label, widget in pairs:
        widget.setSizePolicy(QSizePolicy.Policy.Expanding, widget.sizePolicy().verticalPolicy())
        _add(rows, label, widget)
    return holder


def _add(rows: Any, text: str, widget: Any) -> None:
    label = QLabel(text)
    label.setFixedWidth(LABELS)
    label.setWordWrap(True)
    label.setToolTip(widget.toolTip())
    rows.addRow(label, widget)
