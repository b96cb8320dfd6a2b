"""The rows that say what is known of the blur: nothing, the optics, or the kernel itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from napari_deblur import registry
from napari_deblur._napari.fold import Fold
from napari_deblur._napari.form import fill, form_of, summary_of, values_of
from napari_deblur._napari.layer_box import Names
from napari_deblur._napari.lens_rows import LensRows
from napari_deblur._napari.matched import OPTICS, is_matched, matched, needed, taken
from napari_deblur._napari.rows import PathRow, combo, rows_of, sentence, side_by_side
from napari_deblur._napari.ways import MODELS, WAYS

__all__ = ["KernelRows"]

AUTO = "auto"
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
        self.model = combo("The model of the microscope", {name: name for name in MODELS})
        self.about_model = sentence()
        self.lens = LensRows()
        self.objective, self.fluorophore = self.lens.objective, self.lens.fluorophore
        self.optics = self.lens.lines
        self.comes_to = sentence()
        self.defaults = QPushButton("Reset to defaults")
        self.defaults.setToolTip("Put back all numbers of the model")
        self._forms: dict[str, tuple[Any, Any]] = {}
        self._lights: Sequence[float | None] = ()  # of several channels
        self.pages = {"psf": self._optics_page(), "measured": self._measured_page()}
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        for one in (self.way, self.said, *self.pages.values()):
            whole.addWidget(one)
        self.way.currentIndexChanged.connect(self._way_chosen)
        self.source.currentIndexChanged.connect(self._source_chosen)
        self.model.currentIndexChanged.connect(self._model_chosen)
        self.layer.currentIndexChanged.connect(self._tell)
        self.file.line.textChanged.connect(self._tell)
        self.lens.changed.connect(self._tell)
        self.defaults.clicked.connect(self.reset)
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

        What was typed counts only where it can be seen, that is where the model takes it; what the
        image's metadata say always does.

        Raises
        ------
        ValueError
            When a text is no number.
        """
        found: dict[str, Any] = self._known()
        if self.way.currentData() == "psf":
            found |= self._psf()
        return found

    def needs(self) -> set[str]:
        """Give what the model needs of the optics, and the form may lack."""
        if self.way.currentData() != "psf":
            return set()
        cls = self._model()
        return needed(cls) if self._auto() or not is_matched(cls) else set()

    def prefill(self, known: Mapping[str, float | None]) -> None:
        """Put in what the metadata say, unless the user wrote something else there."""
        self.lens.prefill(known)

    def show_lights(self, lights: Sequence[float | None]) -> None:
        """Take the wavelengths of several channels; none of a single one."""
        self._lights = lights
        self._say_numbers()

    def reset(self) -> None:
        """Put the defaults of the model back."""
        cls, form = self._model(), self._forms[self.model.currentData()][0]
        if is_matched(cls):
            _match(form)
        else:
            fill(form, cls(**dict.fromkeys(needed(cls), 0.5)))

    def _model(self) -> Any:
        return registry.psfs[self.model.currentData()]

    def _known(self) -> dict[str, float]:
        way = self.way.currentData()
        return self.lens.known(taken(self._model()) if way == "psf" else ())

    def _auto(self) -> bool:
        """Tell whether the model is to be matched to the optics."""
        form = self._forms[self.model.currentData()][0]
        texts = {str(row.value).strip().lower() for row in form}
        return is_matched(self._model()) and texts <= {"", AUTO}

    def _psf(self) -> dict[str, Any]:
        cls, name = self._model(), str(self.model.currentData())
        if self._auto():
            return {"psf": name, "psf_parameters": {}}
        values = values_of(self._forms[name][0], cls)
        # Of a model that could be matched all is said, or it would be.
        if not is_matched(cls):
            defaults = {f.name: f.default for f in fields(cls)}
            values = {key: value for key, value in values.items() if value != defaults[key]}
        return {"psf": name, "psf_parameters": values}

    def _say_numbers(self) -> None:
        """Say what "auto" comes to: nobody should have to guess what is computed."""
        auto = self._auto()
        self.comes_to.setVisible(auto)
        if not auto:
            return
        try:
            self.comes_to.setText(matched(self._model(), self._known(), self._lights))
        except (
            ValueError,
            ArithmeticError,
        ):  # while it is typed; Preview and Run say what is wrong
            self.comes_to.setText("")

    def _optics_page(self) -> Any:
        self.model_forms = QVBoxLayout()
        self.model_forms.setContentsMargins(0, 0, 0, 0)
        numbers = _page(self.comes_to, side_by_side(self.defaults))
        numbers.layout().insertLayout(0, self.model_forms)
        self.more = Fold("More of the model", "Layers, depth and other numbers", numbers)
        model = rows_of([("model", self.model)])
        return _page(model, self.about_model, self.lens, self.more)

    def _measured_page(self) -> Any:
        button = QPushButton("Average beads …")
        button.setToolTip("Open the widget that makes a kernel of an image of beads")
        button.clicked.connect(self.beads)
        self.sources = QStackedWidget()
        self.sources.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.sources.addWidget(rows_of([("layer", self.layer)]))
        self.sources.addWidget(rows_of([("file", self.file)]))
        return _page(rows_of([("kernel", self.source)]), self.sources, side_by_side(button))

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
        name, cls = self.model.currentData(), self._model()
        self.about_model.setText(summary_of(cls))
        if name not in self._forms:
            form = form_of(cls, without=OPTICS)
            if is_matched(cls):
                _match(form)
            form.changed.connect(partial(self._tell))
            rows = rows_of((row.label, row.native) for row in form)
            self._forms[name] = (form, rows)
            self.model_forms.addWidget(rows)
        for other, (_, rows) in self._forms.items():
            rows.setVisible(other == name)
        self.lens.offer(taken(cls))
        # Of a disc there is nothing else to be said, so that it is not folded away.
        self.more.always(yes=is_matched(cls) or not taken(cls))
        self._tell()

    def _tell(self, *_: Any) -> None:
        self._say_numbers()
        self.changed.emit()


def _match(form: Any) -> None:
    for row in form:
        row.value = AUTO


def _page(*parts: Any) -> Any:
    page = QWidget()
    rows = QVBoxLayout(page)
    rows.setContentsMargins(0, 0, 0, 0)
    for one in parts:
        rows.addWidget(one)
    return page
