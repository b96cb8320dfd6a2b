"""A row for each channel: whether it is deblurred, its wavelength, its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QLineEdit, QSizePolicy, QWidget

from napari_deblur._napari.rows import combo
from napari_deblur._napari.texts import number, shown
from napari_deblur._napari.ways import fixed, methods_for
from napari_deblur.registry import methods

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["ChannelRows"]

SAME = "as below"


@dataclass(frozen=True)
class Chosen:
    """What was chosen of a channel; no wavelength where that of the image stands."""

    used: bool
    light: str | None
    method: str


class ChannelRows(QWidget):  # type: ignore[misc]
    """What is asked of single channels; hidden where there is one."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(6)
        self._grid.setColumnStretch(2, 1)
        self._rows: list[tuple[Any, Any, Any]] = []
        self._lights: list[str] = []  # as they were filled in
        self._of: Any = None
        self._way = "find"
        # By layer, then by how many channels it was read to have.
        self._kept: WeakKeyDictionary[Any, dict[int, list[Chosen]]] = WeakKeyDictionary()
        self.hide()

    def show_stack(self, stack: Stack | None, layer: Any = None) -> None:
        """Make the rows of a stack, unless they are there; a picture in colour has none.

        What was chosen in the rows of this layer is there again.
        """
        many = stack is not None and not stack.rgb and stack.shape[1] > 1
        described = tuple(stack.channels) if stack is not None and many else ()
        self.setVisible(bool(described))
        of = (None if layer is None else ref(layer), described)
        if of == self._of:
            return
        self._keep()
        self._of = of
        while self._grid.count():
            self._grid.takeAt(0).widget().deleteLater()
        self._rows, self._lights = [], []
        if not described:
            return
        for at, title in enumerate(("channel", "λ (µm)", "method")):
            self._grid.addWidget(QLabel(title), 0, at)
        for c, channel in enumerate(described):
            use = QCheckBox(channel.name or f"channel {c}")
            use.setToolTip("Whether this channel is deblurred; the result leaves out the others")
            use.setChecked(True)
            light = QLineEdit(shown(channel.emission))
            light.setToolTip("Wavelength of the emitted light in µm, such as 0.52")
            light.setPlaceholderText("?")
            light.setFixedWidth(52)
            method = combo("The method of this channel, with its defaults")
            method.setMinimumContentsLength(8)
            use.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
            for at, widget in enumerate((use, light, method)):
                self._grid.addWidget(widget, c + 1, at)
            self._rows.append((use, light, method))
            self._lights.append(light.text())
        self.offer(self._way)
        self._restore(layer)
        for use, light, method in self._rows:
            use.toggled.connect(self._tell)
            light.textChanged.connect(self._tell)
            method.currentIndexChanged.connect(self._tell)

    def offer(self, way: str) -> None:
        """Offer the methods that suit what is known of the blur."""
        self._way = way
        names = [SAME, *methods_for(way)]
        for _, _, method in self._rows:
            now = method.currentText()
            method.blockSignals(True)
            method.clear()
            for name in names:
                method.addItem(name, None if name == SAME else name)
            method.setCurrentText(now if now in names else SAME)
            method.blockSignals(False)

    def picked(self) -> tuple[int, ...] | None:
        """Give the channels that are deblurred; None for all.

        Raises
        ------
        ValueError
            When none is left.
        """
        used = tuple(c for c, (use, _, _) in enumerate(self._rows) if use.isChecked())
        if self._rows and not used:
            raise ValueError("No channel is left to deblur: tick one of them")
        return None if len(used) == len(self._rows) else used

    def wavelengths(self) -> list[float | None]:
        """Give the wavelengths of the channels that are deblurred; empty for a single channel."""
        return [
            number(light.text(), f"the wavelength of {use.text()}", "µm")
            for use, light, _ in self._rows
            if use.isChecked()
        ]

    def fields(self, way: str) -> dict[str, Any]:
        """Give the fields of a job, its tables as plain ones; they count the layer's channels.

        Raises
        ------
        ValueError
            When a text is no number, or no channel is left.
        """
        picked, tables = self.picked(), []
        for c, (use, light, method) in enumerate(self._rows):
            if not use.isChecked():
                continue
            name = method.currentData()
            asked: dict[str, Any] = {
                "wavelength": number(light.text(), f"the wavelength of {use.text()}", "µm"),
                "method": name,
                "parameters": fixed(methods[name], way) if name else {},
            }
            if asked["wavelength"] is not None or name:
                tables.append({"index": c, **asked})
        return {"channels": picked, "tables": tables}

    def _keep(self) -> None:
        """Remember what was chosen, as long as there is the layer."""
        layer = self._of and self._of[0] and self._of[0]()
        if layer is not None and self._rows:
            self._kept.setdefault(layer, {})[len(self._rows)] = [
                Chosen(
                    use.isChecked(), None if light.text() == was else light.text(),
                    method.currentText(),
                )
                for (use, light, method), was in zip(self._rows, self._lights, strict=True)
            ]  # fmt: skip

    def _restore(self, layer: Any) -> None:
        kept = {} if layer is None else self._kept.get(layer, {})
        chosen = kept.get(len(self._rows), [])  # as many as there are rows, or none
        for (use, light, method), was in zip(self._rows, chosen, strict=False):
            use.setChecked(was.used)
            if was.light is not None:
                light.setText(was.light)
            method.setCurrentIndex(max(method.findText(was.method), 0))

    def _tell(self, *_: Any) -> None:
        self.changed.emit()
