"""A box that offers layers of the viewer, and keeps the one that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_deblur._napari.rows import combo

__all__ = ["LayerBox"]


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
        self.box = combo(tip)
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
