"""The rows that say what is known of the blur: nothing, the optics, or the kernel itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_deblur import optics, registry
from napari_deblur._napari.fold import Fold
from napari_deblur._napari.form import fill, form_of, summary_of, values_of
from napari_deblur._napari.layer_box import Names
from napari_deblur._napari.rows import PathRow, combo, rows_of, sentence, side_by_side
from napari_deblur._napari.texts import number, shown
from napari_deblur._napari.ways import MODELS, WAYS

__all__ = ["KernelRows"]

OPTICS = ("na", "wavelength", "n_immersion", "n_sample")
NAMES = {
    "na": "the numerical aperture (NA)",
    "wavelength": "the wavelength",
    "n_immersion": "the refractive index of the immersion",
    "n_sample": "the refractive index of the sample",
}
SOURCES = {"layer": "from a layer", "file": "from a file"}


class KernelRows(QWidget):  # type: ignore[misc]
    """What is known of the blur.

    `changed` says that something that counts was changed; `beads` that beads are to be averaged.
    """

    changed = Signal()
    beads = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.way = combo("What you know of the blur", {key: one.title for key, one in WAYS.items()})
        self.said = sentence()
        self.source = combo("Where the kernel is", SOURCES)
        self.layer = Names("The layer that shows the blur of a point")
        self.file = PathRow("Choose a kernel (.tif, .npy, .npz, .zarr)", save=False)
        self.file.setToolTip("A kernel as .tif, .npy, .npz or .zarr")
        self._forms: dict[str, tuple[Any, Any]] = {}
        self._prefilled: dict[str, str] = {}
        self._told: dict[str, str] = {}  # by the metadata of the image
        self._make_optics()
        self._lay()
        self.way.currentIndexChanged.connect(self._way_chosen)
        self.source.currentIndexChanged.connect(self._source_chosen)
        self.model.currentIndexChanged.connect(self._model_chosen)
        self.layer.currentIndexChanged.connect(self._tell)
        self.file.line.textChanged.connect(self._tell)
        self.objective.activated.connect(self._objective_chosen)
        self.fluorophore.activated.connect(self._fluorophore_chosen)
        for line in self.optics.values():
            line.textChanged.connect(self._tell)
        self._model_chosen()
        self._way_chosen()

    def kernel_way(self) -> str:
        """Give "find", "psf", "layer" or "file"."""
        way = str(self.way.currentData())
        return str(self.source.currentData()) if way == "measured" else way

    def take(self, way: str) -> None:
        """Set what `kernel_way` gives."""
        if way in SOURCES:
            self.source.setCurrentIndex(self.source.findData(way))
            way = "measured"
        self.way.setCurrentIndex(self.way.findData(way))

    def fields(self) -> dict[str, Any]:
        """Give the fields of a job: the optics that are known, and the psf where that is the way.

        What was typed counts only where it can be seen; what the image's metadata say always does.

        Raises
        ------
        ValueError
            When a text is no number.
        """
        found: dict[str, Any] = {}
        seen = self.way.currentData() == "psf"
        for name, line in self.optics.items():
            text = line.text() if seen else self._told.get(name, "")
            value = number(text, NAMES[name], "µm" if name == "wavelength" else "")
            if value is not None:
                found[name] = value
        if seen:
            found |= self._psf(found)
        return found

    def needs(self) -> set[str]:
        """Give what the model needs of the optics, and the form may lack."""
        if self.way.currentData() != "psf":
            return set()
        from dataclasses import MISSING, fields

        cls = registry.psfs[self.model.currentData()]
        return {f.name for f in fields(cls) if f.default is MISSING and f.name in OPTICS}

    def prefill(self, known: dict[str, float | None]) -> None:
        """Put in what the metadata say, unless the user wrote something else there."""
        for name, line in self.optics.items():
            text = self._told[name] = shown(known.get(name))
            if line.text() == self._prefilled.get(name, ""):
                line.setText(text)
                line.setCursorPosition(0)
                self._prefilled[name] = text

    def reset(self) -> None:
        """Put the defaults of the model back."""
        cls = registry.psfs[self.model.currentData()]
        needed = dict.fromkeys(self.needs(), 0.5)
        fill(self._forms[self.model.currentData()][0], cls(**needed))

    def _psf(self, known: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import fields

        name = str(self.model.currentData())
        cls = registry.psfs[name]
        values = values_of(self._forms[name][0], cls)
        defaults = {f.name: f.default for f in fields(cls)}
        changed = {key: value for key, value in values.items() if value != defaults[key]}
        if not changed and hasattr(cls, "from_optics") and "na" not in known:
            changed = values  # else it would be matched to optics, of which there are none
        return {"psf": name, "psf_parameters": changed}

    def _make_optics(self) -> None:
        self.model = combo("The model of the microscope", {name: name for name in MODELS})
        self.about_model = sentence()
        self.objective = combo("Fills in NA and immersion", {"": "…"})
        for name in optics.objectives():
            self.objective.addItem(name, name)
        self.fluorophore = combo("Fills in the wavelength", {"": "…"})
        for name in optics.fluorophores():
            self.fluorophore.addItem(name, name)
        tips = {
            "na": "Numerical aperture, as it is written on the objective",
            "wavelength": "Of the emitted light, in µm, such as 0.52; of each channel above",
            "n_immersion": "Refractive index: air 1, water 1.33, glycerol 1.47, oil 1.515",
            "n_sample": "Refractive index of the sample: water 1.33, tissue 1.38 to 1.46",
        }
        self.optics = {name: QLineEdit() for name in OPTICS}
        for name, line in self.optics.items():
            line.setToolTip(tips[name])
            line.setPlaceholderText("not known")

    def _lay(self) -> None:
        self.model_forms = QVBoxLayout()
        self.model_forms.setContentsMargins(0, 0, 0, 0)
        holder = QWidget()
        holder.setLayout(self.model_forms)
        self.more = Fold("More of the model", "Layers, depth and other numbers", holder)
        lens = rows_of([
            ("objective", self.objective), ("NA", self.optics["na"]),
            ("immersion n", self.optics["n_immersion"]), ("sample n", self.optics["n_sample"]),
            ("dye", self.fluorophore), ("λ (µm)", self.optics["wavelength"]),
            ("model", self.model),
        ])  # fmt: skip
        self.pages: dict[str, Any] = {}
        known = QWidget()
        rows = QVBoxLayout(known)
        rows.setContentsMargins(0, 0, 0, 0)
        for one in (lens, self.about_model, self.more):
            rows.addWidget(one)
        self.pages["psf"] = known
        button = QPushButton("Average beads …")
        button.setToolTip("Open the widget that makes a kernel of an image of beads")
        button.clicked.connect(self.beads)
        self.sources = QStackedWidget()
        self.sources.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.sources.addWidget(rows_of([("layer", self.layer)]))
        self.sources.addWidget(rows_of([("file", self.file)]))
        having = QWidget()
        rows = QVBoxLayout(having)
        rows.setContentsMargins(0, 0, 0, 0)
        for one in (rows_of([("kernel", self.source)]), self.sources, side_by_side(button)):
            rows.addWidget(one)
        self.pages["measured"] = having
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.way)
        whole.addWidget(self.said)
        for page in self.pages.values():
            whole.addWidget(page)

    def _way_chosen(self, _: int = 0) -> None:
        key = self.way.currentData()
        one = WAYS[key]
        self.said.setText(f"{one.does} {one.trust}")
        for name, page in self.pages.items():
            page.setVisible(name == key)
        self._tell()

    def _source_chosen(self, at: int) -> None:
        self.sources.setCurrentIndex(at)
        self._tell()

    def _model_chosen(self, _: int = 0) -> None:
        name = self.model.currentData()
        cls = registry.psfs[name]
        self.about_model.setText(summary_of(cls))
        if name not in self._forms:
            form = form_of(cls, without=OPTICS)
            form.changed.connect(partial(self._tell))
            rows = rows_of((row.label, row.native) for row in form)
            self._forms[name] = (form, rows)
            self.model_forms.addWidget(rows)
        for other, (_, rows) in self._forms.items():
            rows.setVisible(other == name)
        self._tell()

    def _objective_chosen(self, _: int = 0) -> None:
        if name := self.objective.currentData():
            one = optics.objective(name)
            self.optics["na"].setText(shown(one.na))
            self.optics["n_immersion"].setText(shown(one.n_immersion))

    def _fluorophore_chosen(self, _: int = 0) -> None:
        if name := self.fluorophore.currentData():
            self.optics["wavelength"].setText(shown(optics.fluorophore(name).emission))

    def _tell(self, *_: Any) -> None:
        self.changed.emit()
