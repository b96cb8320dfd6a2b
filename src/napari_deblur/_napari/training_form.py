"""The rows of the widget Train, without what they do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_deblur._napari.fold import Fold
from napari_deblur._napari.form import form_of
from napari_deblur._napari.layer_box import LayerBox
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
from napari_deblur._napari.teaching import Teaching
from napari_deblur._napari.working import Working

__all__ = ["LayerList", "TrainingForm", "called_sharp"]

# What a layer is called that nobody need ask whether it is sharp.
SHARP = re.compile(r"(?<![a-z])(sharp|(ground.?)?truth)(?![a-z])", re.IGNORECASE)
SOURCES = {"sharp": "sharp layers", "pair": "a blurred/sharp pair"}
LENSES = {"any": "of any kind", "known": "this one"}
STARTS = {"packaged": "packaged weights", "": "nothing: takes hours"}
DEVICES = {name: name for name in ("auto", "cpu", "cuda", "mps")}
ABOUT = (
    "Teaches the network of the method gdunet what your specimens look like. Sharp layers are "
    "blurred and made noisy, and the network learns to undo it."
)


class LayerList(QListWidget):  # type: ignore[misc]
    """Layers with a box to tick; until one is, what is called sharp, or the truth, is ticked.

    Parameters
    ----------
    viewer : napari viewer
    accepts : function of a layer
        Whether it is offered.
    """

    changed = Signal()

    def __init__(self, viewer: Any, accepts: Callable[[Any], bool], tip: str) -> None:
        super().__init__()
        self.viewer, self.accepts, self._picked = viewer, accepts, False
        self._offered: list[Any] = []
        self.setToolTip(tip)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names differ at both ends
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemChanged.connect(self._pick)

    def sizeHint(self) -> Any:
        """Room for a few lines."""
        return QSize(180, 76)

    def offered(self) -> list[Any]:
        """Give the layers that can be ticked."""
        return [layer for layer in self.viewer.layers if self.accepts(layer)]

    def layers(self) -> list[Any]:
        """Give the layers that are ticked."""
        items = (self.item(i) for i in range(self.count()))
        checked = Qt.CheckState.Checked
        return [i.data(Qt.ItemDataRole.UserRole) for i in items if i.checkState() == checked]

    def choose(self, *layers: Any) -> None:
        """Tick layers, and no others."""
        self._picked = True
        self._fill(list(layers))

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are: to be called when they change."""
        fitting = self.offered()
        kept = [layer for layer in self.layers() if layer in fitting]
        self._picked = self._picked and any(layer in fitting for layer in self._offered)
        self._offered = fitting
        # A blurred one teaches to leave images blurred: only the user knows which ones are not.
        self._fill(kept if self._picked else called_sharp(fitting)[-1:])

    def _fill(self, ticked: list[Any]) -> None:
        before = self.layers()
        self.blockSignals(True)
        self.clear()
        for layer in self.offered():
            item = QListWidgetItem(layer.name, self)
            item.setData(Qt.ItemDataRole.UserRole, layer)
            item.setToolTip(layer.name)
            state = Qt.CheckState.Checked if layer in ticked else Qt.CheckState.Unchecked
            item.setCheckState(state)
        self.blockSignals(False)
        if before != self.layers():
            self.changed.emit()

    def _pick(self, _: Any) -> None:
        self._picked = True
        self.changed.emit()


def called_sharp(layers: Sequence[Any]) -> list[Any]:
    """Give the layers that are sharp by their names."""
    return [layer for layer in layers if SHARP.search(layer.name)]


class TrainingForm(Working):
    """All rows, top to bottom: what from, how, where, go, how it goes."""

    def __init__(self, viewer: Any, accepts: Callable[[Any], bool], device: str) -> None:
        super().__init__()
        self.source = combo("What the network learns from", SOURCES)
        self.sharp = LayerList(
            viewer, accepts, "The sharpest that you have, of what is to be restored later"
        )
        self.blurred_of_pair = LayerBox(viewer, accepts, "The layer that is blurred")
        self.sharp_of_pair = LayerBox(
            viewer, accepts, "The same place, voxel by voxel, sharp; its brightness may differ"
        )
        self.ways = {
            "sharp": rows_of([("sharp", self.sharp)]),
            "pair": rows_of([("blurred", self.blurred_of_pair), ("sharp", self.sharp_of_pair)]),
        }
        self.reads = sentence()
        self.lens = combo("The lens whose blur is to be undone later", LENSES)
        self.na, self.wavelength, self.pixel = QLineEdit(), QLineEdit(), QLineEdit()
        self.na.setToolTip("Numerical aperture of the lens")
        self.wavelength.setToolTip("Wavelength of the light that is seen, in µm")
        self.pixel.setToolTip("Pixel size of the images that are to be restored later, in µm")
        self.optics = rows_of([
            ("NA", self.na), ("λ (µm)", self.wavelength), ("pixel (µm)", self.pixel),
        ])  # fmt: skip
        self.begin_with = combo("Weights that the training begins with", STARTS)
        self.iterations = QSpinBox()
        self.iterations.setToolTip("How many steps are done in all; it can be stopped at any time")
        self.iterations.setRange(1, 10_000_000)
        self.iterations.setSingleStep(500)
        self.iterations.setValue(2000)
        self.iterations.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.device = combo("Where to compute: auto takes a CUDA card if there is one", DEVICES)
        self.device.setCurrentText(device)
        self.form = form_of(Teaching)
        self.reset = QPushButton("Reset to defaults")
        self.reset.setToolTip("Put back all numbers of this part")
        self.output = PathRow("Save the weights in", save=False, folder=True)
        self.output.setToolTip("A folder for weights, their card, and all that Go on needs")
        self.holds = sentence()
        self.go = QPushButton("Start")
        self.go.setToolTip("Train until Stop is pressed, or all iterations are done")
        self.starters = [self.go]
        self.cancel.setText("Stop")
        self.cancel.setToolTip("Stop and keep what was learned; the best weights stay the best")
        self.weights = QLineEdit()
        self.weights.setReadOnly(True)
        self.weights.setToolTip("The best weights so far: what gdunet takes under weights")
        self.copy = QPushButton("Copy path")
        self.copy.setToolTip("Copy the path of the weights")
        self.copy_command = QPushButton("Copy command")
        self.copy_command.setToolTip("Copy a command line that goes on with this training")
        self.learned = rows_of([
            ("weights", self.weights), ("", side_by_side(self.copy, self.copy_command)),
        ])  # fmt: skip
        self.learned.hide()
        self.setMinimumWidth(300)

    def lay(self, view: Any) -> None:
        """Put all rows in place; `view` shows how it goes."""
        inner = QWidget()
        rows = form_rows()
        inner.setLayout(rows)
        rows.addRow(_words(ABOUT))
        add_row(rows, "learn from", self.source)
        for way in self.ways.values():
            rows.addRow(way)
        rows.addRow(self.reads)
        rows.addRow(line_between())
        add_row(rows, "lens", self.lens)
        rows.addRow(self.optics)
        add_row(rows, "begin with", self.begin_with)
        add_row(rows, "iterations", self.iterations)
        add_row(rows, "device", self.device)
        content = QWidget()
        below = QVBoxLayout(content)
        below.setContentsMargins(0, 0, 0, 0)
        below.addWidget(rows_of((row.label, row.native) for row in self.form))
        below.addWidget(side_by_side(self.reset))
        rows.addRow(Fold("Advanced", "Sizes, rates, noise", content))
        rows.addRow(line_between())
        add_row(rows, "save in", self.output)
        rows.addRow(self.holds)
        rows.addRow(self.learned)
        rows.addRow(view)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        self.area = scrolled(inner)
        whole.addWidget(self.area, 1)
        whole.addWidget(side_by_side(self.go, self.cancel))
        whole.addWidget(self.bar)
        whole.addWidget(self.status)


def _words(text: str) -> QLabel:
    label = sentence()
    label.setText(text)
    return label
