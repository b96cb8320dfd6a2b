"""The form of PSF from optics: a PSF model, objective and fluorophore, and the model's fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_deblur import optics, registry
from napari_deblur._napari.fold import Fold
from napari_deblur._napari.form import form_of, summary_of, value_of
from napari_deblur._napari.matched import OPTICS, is_matched
from napari_deblur._napari.psf_making import has_presets, plain, preset
from napari_deblur._napari.rows import PathRow, combo, rows_of, sentence

__all__ = ["OpticsForm"]

FIRST = "gibson-lanni"  # most microscopes are widefield
NOT_CHOSEN = "…"
# What everybody knows or should, in this order; of a lens the rest is under Advanced.
PLAIN = ("na", "wavelength", "excitation", "pinhole", "thickness", "n_immersion", "n_sample",
         "depth", "zernike")  # fmt: skip

# As in the widget Deblur.
LABELS = {"na": "NA", "n_immersion": "immersion n", "n_sample": "sample n", "wavelength": "λ (µm)"}
WAYS_OUT = {
    "na": "choose an objective, or give its numerical aperture (NA)",
    "wavelength": "choose a dye, or give the wavelength λ of its light in µm",
}


class OpticsForm(QWidget):  # type: ignore[misc]
    """Offers every PSF model of the catalogue; emits `changed` on each edit."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, Any] = {}
        self._first: dict[str, dict[str, Any]] = {}  # what stood in each form at first
        self._told: dict[str, float] = {}  # of the image
        self._prefilled: dict[str, Any] = {}
        self._holders: dict[str, Any] = {}
        self._lens: str | None = None  # the last model of a lens
        self._filling = False
        self.model = combo("What the kernel is computed from", {n: n for n in registry.psfs})
        self.what = sentence()
        self.objective = _named(optics.objectives(), "Fills in NA, immersion and coverslip")
        self.fluorophore = _named(optics.fluorophores(), "Fills in the wavelengths of its maxima")
        self.file = PathRow("A measured kernel", save=False)
        self.file.setToolTip("TIFF, NPZ, NPY or zarr with the picture of a point")
        self.presets = rows_of([("objective", self.objective), ("dye", self.fluorophore)])
        self.file_row = rows_of([("file", self.file)])
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        for part in (rows_of([("model", self.model)]), self.what, self.presets, self.file_row):
            self._rows.addWidget(part)
        self.model.setCurrentIndex(self.model.findData(FIRST))
        self.model.currentIndexChanged.connect(self._model_chosen)
        self.objective.activated.connect(self._preset_chosen)
        self.fluorophore.activated.connect(self._preset_chosen)
        self.file.line.textChanged.connect(self._emit)
        self._model_chosen()

    @property
    def name(self) -> str:
        """Of the model."""
        return str(self.model.currentData())

    def parameters(self) -> dict[str, Any]:
        """Give the model's fields as the form has them.

        Raises
        ------
        ValueError
            When something is missing or no number, or the model refuses it.
        """
        cls = registry.psfs[self.name]
        if self.name == "measured":
            if not self.file.text():
                raise ValueError("choose the file of the measured kernel")
            path = Path(self.file.text()).expanduser()
            if not path.exists():
                raise ValueError(f"there is no file {path}")
            self.forms[self.name]["path"].value = str(path)
        for row in self.forms[self.name]:
            if row.name in WAYS_OUT and row.value == "":
                raise ValueError(WAYS_OUT[row.name])
        try:
            model = value_of(self.forms[self.name], cls)
        except ValueError as error:
            raise ValueError(plain(str(error))) from error
        return {field.name: getattr(model, field.name) for field in fields(cls)}

    def prefill(self, known: Mapping[str, float]) -> None:
        """Fill in what is said of an image's optics, unless somebody wrote something else there.

        What nothing is said of is again as it was at first: another image, another lens.
        """
        self._told = dict(known)
        self._prefill()

    def _prefill(self) -> None:
        form, first = self.forms[self.name], self._first[self.name]
        decided = self._preset()
        self._filling = True
        try:
            for row in form:
                if row.name not in OPTICS or row.name in decided:
                    continue
                if row.value not in (first[row.name], self._prefilled.get(row.name)):
                    continue
                told = self._told.get(row.name)
                row.value = first[row.name] if told is None else _as_value(row, told)
                self._prefilled[row.name] = row.value
        finally:
            self._filling = False
        self.changed.emit()

    def _emit(self, _: Any = None) -> None:
        self.changed.emit()

    def _model_chosen(self, _: int = 0) -> None:
        name = self.name
        cls = registry.psfs[name]
        if name not in self.forms:
            form = self.forms[name] = form_of(cls)
            for row in form:
                row.label = LABELS.get(row.name, row.label)
            self._first[name] = {row.name: row.value for row in form}
            self._holders[name] = _holder(form, name)
            self._rows.addWidget(self._holders[name])
            form.changed.connect(self._field_edited)
        lens = "na" in {row.name for row in self.forms[name]}
        if lens and self._lens is not None and self._lens != name:
            _carry(self.forms[self._lens], self.forms[name])
        for other, holder in self._holders.items():
            holder.setVisible(other == name)
        self.what.setText(summary_of(cls))
        self.presets.setVisible(has_presets(cls))
        self.file_row.setVisible(name == "measured")
        self._lens = name if lens else self._lens
        self._preset_chosen()
        self._prefill()

    def _preset(self) -> dict[str, Any]:
        chosen = self.objective.currentData(), self.fluorophore.currentData()
        return preset(registry.psfs[self.name], *chosen)

    def _preset_chosen(self, _: int = 0) -> None:
        found = self._preset()
        self._filling = True
        try:
            for row in self.forms[self.name]:
                if row.name in found:
                    row.value = _as_value(row, found[row.name])
        finally:  # else the form would follow nothing any more
            self._filling = False
        self.changed.emit()

    def _field_edited(self, _: Any = None) -> None:
        """Say that the optics are no longer those of the lens or dye that was chosen."""
        if self._filling:
            return
        form, cls = self.forms[self.name], registry.psfs[self.name]
        boxes = (self.objective, self.fluorophore)
        lens, dye = (box.currentData() for box in boxes)
        # What is matched to the optics says nothing of lens or dye alone.
        parts = [(boxes[:1], (lens, None)), (boxes[1:], (None, dye))]
        for which, chosen in [(boxes, (lens, dye))] if is_matched(cls) else parts:
            said = preset(cls, *chosen).items()
            if any(str(form[n].value) != str(_as_value(form[n], v)) for n, v in said):
                for box in which:
                    box.setCurrentIndex(0)
        self.changed.emit()


def _holder(form: Any, name: str) -> Any:
    """Put the fields below each other, of a lens those that few people change in a part to open."""
    rows = {row.name: row for row in form if not (name == "measured" and row.name == "path")}
    first = [n for n in PLAIN if n in rows] if "na" in rows else list(rows)
    rest = [n for n in rows if n not in first]
    plain = rows_of((rows[n].label, rows[n].native) for n in first)
    if not rest:
        return plain
    holder = QWidget()
    whole = QVBoxLayout(holder)
    whole.setContentsMargins(0, 0, 0, 0)
    whole.addWidget(plain)
    others = rows_of((rows[n].label, rows[n].native) for n in rest)
    names = ", ".join(str(rows[n].label) for n in rest)
    whole.addWidget(Fold("Advanced", names[:1].upper() + names[1:], others))
    return holder


def _named(names: Any, tip: str) -> Any:
    box = combo(tip)
    box.addItem(NOT_CHOSEN, None)
    for name in names:
        box.addItem(name, name)
    return box


def _as_value(row: Any, value: Any) -> Any:
    """Give a value as its row has it: lines of text have numbers without needless decimals."""
    if type(row).__name__ != "LineEdit":
        return value
    return ", ".join(f"{v:.6g}" for v in value) if isinstance(value, tuple) else f"{value:.6g}"


def _carry(old: Any, new: Any) -> None:
    """Keep what was typed where two models of lenses share a parameter."""
    known = {row.name: row for row in new}
    for row in old:
        other = known.get(row.name)
        if other is not None and type(other) is type(row):
            other.value = row.value
