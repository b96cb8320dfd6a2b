"""The table of beads: how bright and wide each is, and why it is not used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_deblur._napari.bead_points import COLUMNS, cells

if TYPE_CHECKING:
    from napari_deblur.beads import Bead

__all__ = ["BeadTable"]


class BeadTable(QTableWidget):  # type: ignore[misc]
    """A row for each bead; rows can be chosen."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.beads: Sequence[Bead] = ()
        self.setToolTip(
            "Full widths at half maximum (FWHM) of the Gaussian that fits each bead best, and why "
            "the bead is not used; of a kernel the width is that at half of its own peak"
        )
        # In two lines: six columns are to fit a dock.
        titles = [name.replace("(µm)", "µm").replace("FWHM ", "FWHM\n") for name in COLUMNS]
        self.setHorizontalHeaderLabels(titles)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._fit()
        self.setMinimumHeight(150)
        self.setTabKeyNavigation(False)  # tab leaves it, arrows move in it

    def fill(self, beads: Sequence[Bead]) -> None:
        """Show these beads, none of them chosen."""
        self.beads = beads
        self.blockSignals(True)
        # Else Qt measures all rows anew for each text: seconds for some hundred beads.
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setRowCount(0)
        self.setRowCount(len(beads))
        for n, bead in enumerate(beads):
            for column, text in enumerate(cells(n + 1, bead)):
                self.setItem(n, column, QTableWidgetItem(text))
        self.clearSelection()
        self._fit()
        self.blockSignals(False)
        self.setEnabled(True)

    def _fit(self) -> None:
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(len(COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)

    def chosen(self) -> list[int]:
        """Give the rows that are chosen."""
        return sorted({int(index.row()) for index in self.selectedIndexes()})

    def mark(self, rows: Sequence[int], reason: str) -> None:
        """Write in rows why their beads are not used."""
        for row in rows:
            item: Any = self.item(row, len(COLUMNS) - 1)
            item.setText(reason)
