"""Weights of a network: one that is packaged, one that was trained, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from napari_deblur._napari.ways import weights_files

__all__ = ["WeightsRow"]


class WeightsRow(QWidget):  # type: ignore[misc]
    """A box that offers weights, in place of the line that a form has for them.

    Parameters
    ----------
    row : magicgui LineEdit
        What holds the value.
    folder : Path
        Where trainings leave theirs.
    """

    def __init__(self, row: Any, folder: Path) -> None:
        super().__init__()
        self._row, self._folder = row, folder
        self.setToolTip(row.tooltip)
        self.box = QComboBox()
        self.box.setEditable(True)
        self.box.setToolTip(row.tooltip)
        self.box.setMinimumContentsLength(8)
        self.box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button = QPushButton("…")
        button.setFixedWidth(28)
        button.setToolTip("Choose a file that a training wrote (.safetensors)")
        button.clicked.connect(self._choose)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.box, 1)
        line.addWidget(button)
        self.refresh()
        self.box.currentTextChanged.connect(self._take)
        row.changed.connect(self._show)

    def refresh(self) -> None:
        """Offer what there is now."""
        now = self._row.value
        self.box.blockSignals(True)
        self.box.clear()
        self.box.addItems(weights_files(self._folder))
        self.box.setCurrentText(now)
        self.box.blockSignals(False)

    def showEvent(self, event: Any) -> None:
        """Look again: a training may have ended meanwhile."""
        self.refresh()
        super().showEvent(event)

    def _take(self, text: str) -> None:
        self._row.value = text.strip()

    def _show(self, text: str) -> None:
        if self.box.currentText().strip() != text:
            self.box.setCurrentText(text)

    def _choose(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Choose weights", str(self._folder), "Weights (*.safetensors)"
        )
        if name:
            self.box.setCurrentText(name)
