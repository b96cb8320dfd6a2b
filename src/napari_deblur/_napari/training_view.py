"""How a training goes: its curves, and what the network makes of cases that it doesn't learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtGui import QPainter, QPixmap
from qtpy.QtWidgets import (
    QDialog,
    QGridLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_deblur._napari.history import History

__all__ = ["TrainingView"]

COLUMNS = ("blurred", "restored", "sharp", "kernel", "true")
ALL_CASES = "progress.png"


class TrainingView(QWidget):  # type: ignore[misc]
    """Three charts in tabs, and below them the cases."""

    def __init__(self, viewer: Any) -> None:
        from napari_deblur._napari.plots import LineChart

        super().__init__()
        self.history = History()
        self.loss = LineChart("Loss of what is learned", "iteration", "loss", log=True)
        self.psnr = LineChart(
            "Likeness of the restored to the sharp, in cases held back", "iteration", "PSNR (dB)"
        )
        self.ncc = LineChart(
            "Likeness of the kernels found to the true ones, there", "iteration", "NCC"
        )
        charts = {"Loss": self.loss, "Images": self.psnr, "Kernels": self.ncc}
        self.tabs = QTabWidget()
        for name, chart in charts.items():
            self.tabs.addTab(chart, name)
            self.tabs.setTabToolTip(self.tabs.count() - 1, chart.title.text())
        self._viewer = viewer
        self._restyle()
        viewer.events.theme.connect(self._restyle)
        self.cases = Cases()
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.tabs)
        rows.addWidget(self.cases)
        self.hide()

    def begin(self, folder: Path) -> None:
        """Show what is known of a training."""
        self.history = History.of(folder)
        self.cases.show_cases("")
        self._draw()
        self.show()

    def add(self, step: Mapping[str, Any], picture: str) -> None:
        """Show a step."""
        self.history.add(step)
        self._draw()
        if picture:
            self.cases.show_cases(picture)

    def _restyle(self, event: Any = None) -> None:
        """Take the colours of the theme; a closed view listens no more.

        Not by the signal `destroyed`: what it calls may have been collected by then.
        """
        from napari_deblur._napari.plots import look_of

        if not isalive(self):
            self._viewer.events.theme.disconnect(self._restyle)
            return
        for chart in (self.loss, self.psnr, self.ncc):
            chart.restyle(look_of(self._viewer.theme))

    def _draw(self) -> None:
        self.loss.show(self.history.losses())
        self.psnr.show(self.history.validations("psnr out"))
        self.ncc.show(self.history.validations("ncc out"))


class Cases(QWidget):  # type: ignore[misc]
    """A picture of cases, as wide as there is room, with headings; a click shows it larger."""

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        self.picture = _Fitting()
        self.setToolTip("Cases that the network doesn't learn from: click to see more of them")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(0)
        grid.setVerticalSpacing(2)
        for column, name in enumerate(COLUMNS):
            label = QLabel(name)
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            grid.addWidget(label, 0, column)
            grid.setColumnStretch(column, 1)
        grid.addWidget(self.picture, 1, 0, 1, len(COLUMNS))
        self.hide()

    def show_cases(self, path: str) -> None:
        """Show a picture; "" hides it."""
        self.path = path
        if path:
            self.picture.put(QPixmap(path))
        self.setVisible(bool(path))

    def mouseReleaseEvent(self, event: Any) -> None:
        """Show all cases, in a window of their own."""
        every = Path(self.path).parent / ALL_CASES
        if not self.path or not every.is_file():
            return
        window = QDialog(self)
        window.setWindowTitle("Cases held back")
        window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        picture = QLabel()
        picture.setPixmap(QPixmap(str(every)))
        area = QScrollArea()
        area.setWidget(picture)
        rows = QVBoxLayout(window)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(area)
        window.resize(picture.pixmap().width() + 24, 620)
        window.show()


class _Fitting(QWidget):  # type: ignore[misc]
    """A picture that is drawn as wide as the widget."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = self._shown = QPixmap()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def put(self, pixmap: Any) -> None:
        self._whole = pixmap
        self._fit()
        self.update()

    def resizeEvent(self, event: Any) -> None:
        self._fit()
        super().resizeEvent(event)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._shown)
        painter.end()

    def _fit(self) -> None:
        if self._whole.width():
            smooth = Qt.TransformationMode.SmoothTransformation
            self._shown = self._whole.scaledToWidth(max(50, self.width()), smooth)
            self.setFixedHeight(self._shown.height())
