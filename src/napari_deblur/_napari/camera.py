"""What is known of the camera: numbers of one image, for those who measured them."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_deblur._napari.rows import rows_of
from napari_deblur._napari.texts import dotted

__all__ = ["CameraRows"]

LINES = {
    "gain": ("gain", "Counts of a photon, or photo-electron"),
    "offset": ("offset", "Counts of the camera without any light"),
    "read_noise": ("read noise", "Standard deviation of the camera without any light, in counts"),
    "background": ("background", "Counts where nothing of the specimen is: it is not deblurred"),
}


class CameraRows(QWidget):  # type: ignore[misc]
    """Lines for gain, offset, read noise and background; what is empty is estimated."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, Any] = {}
        for name, (_, tip) in LINES.items():
            line = self.lines[name] = QLineEdit()
            line.setPlaceholderText("estimated")
            line.setToolTip(f"{tip}; empty: estimated for each channel")
            line.textChanged.connect(self._tell)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(rows_of((label, self.lines[name]) for name, (label, _) in LINES.items()))

    def fields(self) -> dict[str, float]:
        """Give the fields of a job, which refuses what no camera has.

        Raises
        ------
        ValueError
            When a text is no number.
        """
        found = {}
        for name, line in self.lines.items():
            text = dotted(line.text(), LINES[name][0])
            try:
                if text not in ("", "?"):
                    found[name] = float(text)
            except ValueError:
                raise ValueError(f'{LINES[name][0]} is "{text}": give a number') from None
        return found

    def forget(self) -> None:
        """Empty all lines: another image, another camera."""
        for line in self.lines.values():
            with QSignalBlocker(line):
                line.clear()

    def _tell(self, *_: Any) -> None:
        self.changed.emit()
