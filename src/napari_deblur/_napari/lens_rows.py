"""The rows of the optics: an objective and a dye by name, and the numbers that they stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_deblur import optics
from napari_deblur._napari.matched import OPTICS
from napari_deblur._napari.number_box import value_in
from napari_deblur._napari.rows import combo, rows_of
from napari_deblur._napari.texts import number, shown

__all__ = ["LensRows"]

NAMES = {
    "na": "the numerical aperture (NA)",
    "wavelength": "the wavelength",
    "n_immersion": "the refractive index of the immersion",
    "n_sample": "the refractive index of the sample",
}
TIPS = {
    "na": "Numerical aperture, as it is written on the objective",
    "wavelength": "Of the emitted light, in µm, such as 0.52; of each channel above",
    "n_immersion": "Refractive index: air 1, water 1.33, glycerol 1.47, oil 1.515",
    "n_sample": "Refractive index of the sample: water 1.33, tissue 1.38 to 1.46",
}


class LensRows(QWidget):  # type: ignore[misc]
    """What is known of lens and light; `changed` says that a number was changed."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.objective = combo("Fills in NA and immersion", {"": "…"})
        for name in optics.objectives():
            self.objective.addItem(name, name)
        self.fluorophore = combo("Fills in the wavelength", {"": "…"})
        for name in optics.fluorophores():
            self.fluorophore.addItem(name, name)
        self.lines = {name: QLineEdit() for name in OPTICS}
        for name, line in self.lines.items():
            line.setToolTip(TIPS[name])
            line.setPlaceholderText("not known")
        self._prefilled: dict[str, str] = {}
        self._told: dict[str, str] = {}  # by the metadata of the image
        self._filling = False
        # Each beside the name of what it says: models that don't take that have no such row.
        self._rows = [
            (name, rows_of([(label, widget)]))
            for name, label, widget in (
                ("na", "objective", self.objective),
                ("na", "NA", self.lines["na"]),
                ("n_immersion", "immersion n", self.lines["n_immersion"]),
                ("n_sample", "sample n", self.lines["n_sample"]),
                ("wavelength", "dye", self.fluorophore),
                ("wavelength", "λ (µm)", self.lines["wavelength"]),
            )
        ]
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(5)
        for _, row in self._rows:
            whole.addWidget(row)
        self.objective.activated.connect(self.objective_chosen)
        self.fluorophore.activated.connect(self.fluorophore_chosen)
        for line in self.lines.values():
            line.textChanged.connect(self._edited)

    def offer(self, names: Collection[str]) -> None:
        """Show the rows of these numbers only."""
        for name, row in self._rows:
            row.setVisible(name in names)
        self.setVisible(bool(names))

    def known(self, seen: Collection[str]) -> dict[str, float]:
        """Give the numbers that are known: of those that are seen, as typed, else of the metadata.

        Raises
        ------
        ValueError
            When a text is no number.
        """
        found = {}
        for name, line in self.lines.items():
            text = line.text() if name in seen else self._told.get(name, "")
            value = number(text, NAMES[name], "µm" if name == "wavelength" else "")
            if value is not None:
                found[name] = value
        return found

    def prefill(self, known: Mapping[str, float | None]) -> None:
        """Put in what the metadata say, unless the user wrote something else there."""
        for name, line in self.lines.items():
            text = self._told[name] = shown(known.get(name))
            if line.text() == self._prefilled.get(name, ""):
                line.setText(text)
                line.setCursorPosition(0)
                self._prefilled[name] = text

    def objective_chosen(self, _: int = 0) -> None:
        """Put in what the objective says."""
        self._fill(self._lens())

    def fluorophore_chosen(self, _: int = 0) -> None:
        """Put in what the dye says."""
        self._fill(self._light())

    def _lens(self) -> dict[str, float]:
        if not (name := self.objective.currentData()):
            return {}
        one = optics.objective(name)
        return {"na": one.na, "n_immersion": one.n_immersion}

    def _light(self) -> dict[str, float]:
        name = self.fluorophore.currentData()
        return {"wavelength": optics.fluorophore(name).emission} if name else {}

    def _fill(self, values: Mapping[str, float]) -> None:
        self._filling = True
        try:
            for name, value in values.items():
                self.lines[name].setText(shown(value))
        finally:
            self._filling = False

    def _edited(self, _: Any = None) -> None:
        """Say that the optics are no longer those of the lens or dye that was chosen."""
        if not self._filling:
            for box, said in ((self.objective, self._lens()), (self.fluorophore, self._light())):
                if any(value_in(self.lines[name].text()) != value for name, value in said.items()):
                    box.setCurrentIndex(0)
        self.changed.emit()
