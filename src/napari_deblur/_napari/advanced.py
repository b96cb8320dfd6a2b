"""What few people change: the method's numbers, how many kernels, tiles, type and gamma."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_deblur import registry
from napari_deblur._napari.asking import changed_from_defaults
from napari_deblur._napari.auto_row import AutoRow, kind_of
from napari_deblur._napari.camera import CameraRows
from napari_deblur._napari.fold import Fold
from napari_deblur._napari.form import fill, form_of, value_of
from napari_deblur._napari.rows import combo, rows_of, side_by_side
from napari_deblur._napari.settings import preferences
from napari_deblur._napari.texts import triple
from napari_deblur._napari.ways import fixed
from napari_deblur._napari.weights_row import WeightsRow

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["Advanced"]

SCOPES = {
    "channel": "one for each channel",
    "channel-time": "one for each frame",
    "field": "that vary over the field",
    "tile": "one for each tile",
}
TYPES = {
    "": "as suits the image",
    "float32": "32-bit numbers",
    "uint16": "16-bit, scaled to fit",
    "uint8": "8-bit, scaled to fit",
}
# Numbers in counts of one image: they say nothing of another.
COUNTS = {"background", "start", "lowest", "white", "scale", "noise", "gain"}
GAMMAS = {"": "by the image", "linear": "numbers are light", "srgb": "photograph (sRGB)"}


class Advanced(QWidget):  # type: ignore[misc]
    """The rows that are folded away."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}
        self._autos: dict[str, dict[str, AutoRow]] = {}
        self._name = ""
        self.camera = CameraRows()
        self.parameters = QVBoxLayout()
        self.parameters.setContentsMargins(0, 0, 0, 0)
        self.scope = combo("How many kernels are found", SCOPES)
        self.shape = QLineEdit("auto")
        self.shape.setToolTip("Voxels of the kernel along z, y, x, such as 1, 33, 33; or auto")
        self.tile = QLineEdit("auto")
        self.tile.setToolTip("Voxels that one task restores, z, y, x; auto: as memory allows")
        self.dtype = combo(
            "Type of the numbers of the result. Whole numbers are counts where eight times the "
            "brightest fits; else they are scaled, and Run says how",
            TYPES,
        )
        self.gamma = combo(
            "Photographs store light in a curve: it is undone before, and made again after", GAMMAS
        )
        self.background = QCheckBox("keep the background")
        self.background.setToolTip("Whether the result contains the background, as the image does")
        self.background.setChecked(True)
        self.reset_button = QPushButton("Reset to defaults")
        self.reset_button.setToolTip("Put back all numbers of this part")
        self.reset_button.clicked.connect(self.reset)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addLayout(self.parameters)
        rows.addWidget(rows_of([
            ("kernels", self.scope), ("kernel size", self.shape), ("tile", self.tile),
            ("type", self.dtype), ("gamma", self.gamma), ("", self.background),
        ]))  # fmt: skip
        rows.addWidget(Fold("Camera", "Its numbers, where you measured them", self.camera))
        rows.addWidget(side_by_side(self.reset_button))
        for box in (self.scope, self.dtype, self.gamma):
            box.currentIndexChanged.connect(self._tell)
        for line in (self.shape, self.tile):
            line.textChanged.connect(self._tell)
        self.background.toggled.connect(self._tell)
        self.camera.changed.connect(self.changed)

    def show_method(self, name: str, way: str) -> None:
        """Show the numbers of a method, and what else it lets one choose."""
        cls = registry.methods[name]
        self._name = name
        if name not in self.forms:
            form = form_of(cls, without=set(fixed(cls, way)))
            form.changed.connect(self._tell)
            kinds = {row.name: kind_of(cls, row.name) for row in form}
            autos = self._autos[name] = {
                row.name: AutoRow(row, cls, kind) for row in form if (kind := kinds[row.name])
            }
            rows = rows_of((row.label, autos.get(row.name) or _native(row)) for row in form)
            self.forms[name], self._shown[name] = form, rows
            self.parameters.addWidget(rows)
        for other, rows in self._shown.items():
            rows.setVisible(other == name)
        finds = hasattr(cls, "estimate") and not (way != "find" and fixed(cls, way))
        self.scope.setEnabled(finds)
        self.shape.setEnabled(way == "psf" or (finds and way == "find"))

    def fields(self, way: str, stack: Stack) -> dict[str, Any]:
        """Give the fields of a job.

        Raises
        ------
        ValueError
            When a text is no number, or the method refuses a value.
        """
        cls = registry.methods[self._name]
        for row in self._autos[self._name].values():
            row.settle()
        method = value_of(self.forms[self._name], cls, **fixed(cls, way))
        photograph = stack.rgb and stack.dtype == "uint8"
        shape = triple(self.shape.text(), "the kernel's size", "1, 33, 33")
        return {
            "method": self._name,
            "parameters": changed_from_defaults(method),
            "scope": self.scope.currentData() if self.scope.isEnabled() else "channel",
            "shape": shape if self.shape.isEnabled() else None,
            "tile": triple(self.tile.text(), "the tile's size", "32, 256, 256"),
            "dtype": self.dtype.currentData() or None,
            "gamma": self.gamma.currentData() or ("srgb" if photograph else "linear"),
            "keep_background": self.background.isChecked(),
            **self.camera.fields(),
        }

    def show_decided(self, methods: Iterable[Any]) -> None:
        """Say which numbers were decided, beside those that are left to the program.

        Parameters
        ----------
        methods : those of the channels, the one that is looked at first
        """
        # Others restore after a search, or were chosen for their channel alone.
        own = [one for one in methods if type(one) is registry.methods[self._name]]
        for name, row in self._autos[self._name].items():
            values = [getattr(one, name) for one in own]
            if values and all(isinstance(value, int | float) for value in values):
                row.decided(*values)

    def forget(self) -> None:
        """Leave nothing that holds for one image only."""
        self.camera.forget()
        for rows in self._autos.values():
            for name, row in rows.items():
                row.leave() if name in COUNTS else row.forget()

    def reset(self) -> None:
        """Put all defaults back."""
        fill(self.forms[self._name], registry.methods[self._name]())
        for box in (self.scope, self.dtype, self.gamma):
            box.setCurrentIndex(0)
        for line in (self.shape, self.tile):
            line.setText("auto")
        self.background.setChecked(True)
        self.camera.forget()
        self.changed.emit()

    def _tell(self, *_: Any) -> None:
        self.changed.emit()


def _native(row: Any) -> Any:
    """Give the widget of a row; weights are chosen from those there are, or as a file."""
    return WeightsRow(row, preferences().trained) if row.name == "weights" else row.native
