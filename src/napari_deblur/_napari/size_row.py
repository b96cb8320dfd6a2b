"""A voxel size in µm: three lines that a layer fills in."""

from __future__ import annotations

from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QWidget

from napari_deblur._napari.texts import shown
from napari_deblur._napari.watching import Watch, when_read

__all__ = ["SizeRow"]


class SizeRow(QWidget):  # type: ignore[misc]
    """Lines for the voxel size along z, y and x, in µm; they follow a layer where nobody typed."""

    changed = Signal()

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        self.lines: dict[str, Any] = {}
        self._filled: dict[str, str] = {}
        self._layer: Any = None
        self._watch = Watch(self._follow, self._follow)
        for axis in "zyx":
            line = QLineEdit()
            line.setMinimumWidth(40)
            line.setToolTip(f"Along {axis}, in µm. {tip}")
            line.setAccessibleName(f"voxel size along {axis}")
            line.textChanged.connect(lambda _: self.changed.emit())
            letter = QLabel(axis)
            letter.setStyleSheet("margin: 0px; padding: 0px")  # the dock is narrow
            letter.setFixedWidth(letter.fontMetrics().horizontalAdvance("x") + 4)
            row.addWidget(letter)
            row.addWidget(line, 1)
            self.lines[axis] = line

    def texts(self) -> list[str]:
        """Give what stands in the lines, z first."""
        return [str(line.text()) for line in self.lines.values()]

    def fill(self, layer: Any) -> None:
        """Take the voxel size of an image layer, of what it or its file says; follow it."""
        self._layer = layer
        self._filled = dict(zip(self.lines, self.texts(), strict=True))
        self._watch.follow(layer)
        when_read(layer, self._follow)
        self._follow()

    def _follow(self, _: Any = None) -> None:
        if not isalive(self):
            return
        known = self._known(self._layer)
        self.blockSignals(True)
        for axis, line in self.lines.items():
            text = known[axis]
            if line.text() in (self._filled[axis], text):  # else somebody typed
                line.setText(text)
                self._filled[axis] = text
        self.blockSignals(False)
        self.changed.emit()

    def _known(self, layer: Any) -> dict[str, str]:
        from napari_deblur._napari.reading import axes_of, pixel_size_of, stated_size

        axes = axes_of(layer)
        own, stated = pixel_size_of(layer, axes), stated_size(layer)
        sizes = [a if a is not None else b for a, b in zip(own, stated, strict=True)]
        if "z" not in axes:
            sizes[0] = None
        return {axis: shown(size) for axis, size in zip("zyx", sizes, strict=True)}
