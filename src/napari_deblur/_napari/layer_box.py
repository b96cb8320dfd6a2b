"""Boxes that offer layers of the viewer, and keep the one that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QVBoxLayout,
    QWidget,
)

__all__ = ["LayerBox", "Names"]

LETTERS = 12  # that the narrowest box has room for


class Names(QComboBox):  # type: ignore[misc]
    """A box of long names: their middle is left out, as they differ at both ends.

    Parameters
    ----------
    tip : str
        The tooltip, below the whole name.
    """

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.tip = tip
        self.setToolTip(tip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(LETTERS)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)

    def addItem(self, name: str, data: Any = None) -> None:
        """Offer one more; the list says its whole name, too."""
        super().addItem(name, data)
        self.setItemData(self.count() - 1, name, Qt.ItemDataRole.ToolTipRole)

    def shown(self) -> str:
        """Give what is seen of the name."""
        option = self._option()
        return str(option.currentText)

    def event(self, event: Any) -> bool:
        """Say the whole name before what the box is for."""
        if event.type() == QEvent.Type.ToolTip:
            self.setToolTip("\n".join(filter(None, (self.currentText(), self.tip))))
        return bool(super().event(event))

    def paintEvent(self, event: Any) -> None:
        """Draw the box with the shortened name."""
        painter, option = QStylePainter(self), self._option()
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def _option(self) -> Any:
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        room = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, room.width() - 2
        )
        return option


class LayerBox(QWidget):  # type: ignore[misc]
    """Offers the layers that fit, the active one first.

    Parameters
    ----------
    viewer : napari viewer
    accepts : function of a layer
        Whether it is offered.
    tip : str
        The tooltip.
    none : str, optional
        Text of a first entry that stands for no layer.
    """

    changed = Signal()

    def __init__(
        self, viewer: Any, accepts: Callable[[Any], bool], tip: str, none: str | None = None
    ) -> None:
        super().__init__()
        self.viewer, self.accepts, self.none = viewer, accepts, none
        self._picked = False
        self.box = Names(tip)
        self.setToolTip(tip)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.box)
        self.box.activated.connect(self._pick)
        self.box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.reset_choices()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.box.currentData()

    def choose(self, layer: Any) -> None:
        """Take a layer that is offered."""
        at = self._offered().index(layer)
        self._picked = True
        self.box.setCurrentIndex(at)

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are: to be called when they change."""
        now, active = self.layer, self.viewer.layers.selection.active
        fitting = [layer for layer in self.viewer.layers if self.accepts(layer)]
        self.box.blockSignals(True)
        self.box.clear()
        if self.none is not None:
            self.box.addItem(self.none, None)
        for layer in fitting:
            self.box.addItem(layer.name, layer)
        self._picked = self._picked and (now in fitting or (now is None and self.none is not None))
        first = active if active in fitting else (fitting or [None])[-1]
        wanted = now if self._picked or now in fitting else None if self.none else first
        if wanted in self._offered():
            self.box.setCurrentIndex(self._offered().index(wanted))
        self.box.blockSignals(False)
        if self.layer is not now:
            self.changed.emit()

    def _offered(self) -> list[Any]:
        return [self.box.itemData(i) for i in range(self.box.count())]

    def _pick(self, _: int = 0) -> None:
        self._picked = True
