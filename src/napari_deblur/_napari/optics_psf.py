"""PSF from optics: any PSF model of the catalogue, seen while it is being described."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_deblur._napari.layer_box import LayerBox
from napari_deblur._napari.optics_form import OpticsForm
from napari_deblur._napari.psf_making import (
    Asked,
    lengths_of,
    made,
    optics_of,
    sections,
    size_of,
    small,
    widths,
)
from napari_deblur._napari.reading import axes_of, offered, pixel_size_of, stack_of
from napari_deblur._napari.rows import rows_of, scrolled, sentence
from napari_deblur._napari.size_row import SizeRow
from napari_deblur._napari.watching import when_read
from napari_deblur._napari.working import Working, words

if TYPE_CHECKING:
    from napari_deblur._napari.psf_making import Shown
    from napari_deblur.protocols import Kernel

__all__ = ["OpticsPsf"]

# Sizes that differ by a larger share are others.
SAME = 1e-3
SETTLED = 250  # ms without a change before the picture is drawn


class OpticsPsf(Working):
    """A form for each PSF model, a picture of its kernel, and the kernel as a layer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        from napari_deblur._napari.plots import SectionView

        self.viewer = napari_viewer
        self._drawing, self._stale = False, False
        self._asked: Asked | None = None  # what the picture shows
        self._channel: int | None = None  # that is shown, where the image has several
        self.form = OpticsForm()
        self.layer = LayerBox(
            self.viewer,
            _is_image,
            "The image that the kernel is for: its voxel size is taken, and the kernel is made no "
            "larger than it needs",
            none="none: typed below",
        )
        self.size = SizeRow("Empty z: a kernel of one plane.")
        self.shape = QLineEdit("auto")
        self.shape.setToolTip(
            "Voxels of the kernel: odd numbers z, y, x; auto takes as many as it needs"
        )
        self.picture = SectionView("", 190)
        self.facts, self.advice = sentence(), sentence()
        self.add = QPushButton("Add kernel")
        self.add.setToolTip("Make the whole kernel, and add it as a layer that Deblur offers")
        self.cancel.setToolTip("Forget the kernel that is being made")
        self.starters = [self.add]
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLED)
        self._timer.timeout.connect(self.draw)
        for part in (self.form, self.size):
            part.changed.connect(self._edited)
        self.layer.changed.connect(self._layer_chosen)
        self.shape.textChanged.connect(self._edited)
        self.add.clicked.connect(partial(self.plainly, self._start))
        self.viewer.events.theme.connect(self._restyle)
        self.viewer.dims.events.current_step.connect(self._stepped)
        self._restyle()
        self._take_active()
        self._edited()

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are; napari calls it when they change."""
        self.layer.reset_choices()
        if self.layer.layer is None and not any(self.size.texts()):
            self._take_active()

    def asked(self) -> Asked:
        """Give what the form asks for.

        Raises
        ------
        ValueError
            When something is missing or no number.
        """
        parameters = self.form.parameters()
        size, image = size_of(self.size.texts()), None
        if self.layer.layer is not None:
            z, y, x = stack_of(self.layer.layer).shape[2:]
            image = (z, y, x)
            size = (None if z == 1 else size[0], *size[1:])
        shape = lengths_of(self.shape.text(), flat=size[0] is None)
        return Asked(self.form.name, parameters, size, shape, image)

    def draw(self) -> None:
        """Draw the kernel that the form describes, in a thread; the latest form wins."""
        from superqt.utils import create_worker

        if self._drawing:
            self._stale = True
            return
        try:
            asked = self.asked()
        except Exception as error:  # noqa: BLE001 - a form that is being filled in
            self._blank(words(error))
            return
        if asked == self._asked:
            return
        self._drawing, self._stale = True, False
        if self._asked is None:
            self.picture.title.setText("Computing the kernel …")
            self.facts.setText("")
        worker = create_worker(_drawn, asked)
        worker.returned.connect(partial(self._show, asked))
        worker.start()

    def _show(self, asked: Asked, found: Shown | str) -> None:
        if not isalive(self):
            return
        self._drawing = False
        if self._stale:
            self.draw()
            return
        if isinstance(found, str):
            self._blank(found)
            return
        self._asked = asked
        self.picture.show(sections(found.kernel))
        whole = " × ".join(map(str, found.shape))
        part = "Middle of the kernel" if found.kernel.shape != found.shape else "The kernel"
        self.picture.title.setText(f"{part}, {whole} voxels")
        self.facts.setText(widths(found.kernel))
        self.advice.setText(" ".join(map(_said, found.notes)))
        self.advice.setVisible(bool(found.notes))

    def _blank(self, text: str) -> None:
        self._asked = None
        self.picture.show([])
        self.picture.title.setText("No kernel yet")
        self.facts.setText(_said(text))
        self.advice.hide()

    def _start(self) -> None:
        asked, layer = self.asked(), self.layer.layer
        self.start("Making the kernel", _making(asked), partial(self._made, asked, layer))

    def _made(self, asked: Asked, layer: Any, outcome: tuple[Kernel, list[str]]) -> None:
        from napari_deblur._napari.kernel_adding import add_kernel

        kernel, notes = outcome
        beside = layer if layer is not None and layer in self.viewer.layers else None
        added = add_kernel(self.viewer, kernel, f"psf [{asked.name}]", beside)
        shape = " × ".join(map(str, kernel.shape))
        where = "lies to the right of the image" if beside is not None else "was added"
        said = f"“{added.name}”, {shape} voxels, {where}; Deblur offers it as a kernel."
        new = [_said(note) for note in notes if _said(note) not in self.advice.text()]
        if beside is not None and (other := _other_size(beside, asked)):
            new.append(other)
        self.idle(" ".join([said, *new]))
        QTimer.singleShot(0, self._show_status)  # when it has its place

    def _show_status(self) -> None:
        if isalive(self):
            self._area.widget().adjustSize()
            self._area.ensureWidgetVisible(self.status)

    def _layer_chosen(self) -> None:
        layer = self.layer.layer
        if layer is not None:
            self.size.fill(layer)
            when_read(layer, partial(self._learned, layer))
            self._prefill(layer)
        self._edited()

    def _learned(self, layer: Any, _: Any) -> None:
        if isalive(self) and layer is self.layer.layer:
            self._prefill(layer)

    def _prefill(self, layer: Any) -> None:
        """Fill in the optics of a layer, and the light of the channel that the sliders show."""
        from napari_deblur._napari.window import cut_of

        axes = axes_of(layer)
        self._channel = cut_of(self.viewer, layer, axes).get("c") if "c" in axes else None
        self.form.prefill(optics_of(layer, self._channel))

    def _stepped(self, event: Any = None) -> None:
        """Follow the channel that is shown."""
        from napari_deblur._napari.window import cut_of

        if not isalive(self) or self._channel is None or (layer := self.layer.layer) is None:
            return
        if cut_of(self.viewer, layer, axes_of(layer)).get("c") != self._channel:
            self._prefill(layer)

    def _take_active(self) -> None:
        active = self.viewer.layers.selection.active
        images = [layer for layer in self.viewer.layers if _is_image(layer)]
        if images:
            self.layer.choose(active if active in images else images[-1])

    def _edited(self, _: Any = None) -> None:
        self._timer.start()

    def _restyle(self, event: Any = None) -> None:
        from napari_deblur._napari.plots import look_of

        if isalive(self.picture):
            self.picture.restyle(look_of(self.viewer.theme))

    def _lay_out(self) -> None:
        inner = QWidget()
        whole = QVBoxLayout(inner)
        whole.setContentsMargins(6, 6, 6, 6)
        whole.addWidget(self.form)
        whole.addWidget(
            rows_of(
                [
                    ("for the image", self.layer),
                    ("voxel size (µm)", self.size),
                    ("voxels", self.shape),
                ]
            )
        )
        for part in (self.picture, self.facts, self.advice):
            whole.addWidget(part)
        buttons = QHBoxLayout()
        buttons.addWidget(self.add, 1)
        buttons.addWidget(self.cancel)
        whole.addLayout(buttons)
        whole.addWidget(self.bar)
        whole.addWidget(self.status)
        whole.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self._area = scrolled(inner)
        outer.addWidget(self._area)
        self.setMinimumWidth(300)


def _is_image(layer: Any) -> bool:
    return offered(layer) and "kernel_pixel_size" not in layer.metadata


def _other_size(layer: Any, asked: Asked) -> str:
    """Say that the image has other voxels than the kernel was made for; nothing if it does not."""
    own = pixel_size_of(layer, axes_of(layer))
    pairs = [(a, b) for a, b in zip(own, asked.pixel_size, strict=True) if b is not None]
    if all(a is not None and abs(a - b) <= SAME * b for a, b in pairs):
        return ""
    one, other = (
        " × ".join("?" if v is None else f"{v:.4g}" for v in sizes)
        for sizes in zip(*pairs, strict=True)
    )
    says = "is shown in pixels" if all(a is None for a, _ in pairs) else f"has voxels of {one} µm"
    return f"“{layer.name}” {says}, and the kernel is for {other} µm: correct what is wrong."


def _said(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _drawn(asked: Asked) -> Shown | str:
    from napari_deblur._napari.preview import load_torch

    try:
        load_torch()
        return small(asked)
    except Exception as error:  # noqa: BLE001 - shown in the window
        return words(error)


def _making(asked: Asked) -> Generator[str, None, tuple[Kernel, list[str]]]:
    from napari_deblur._napari.preview import load_torch

    yield "making the kernel"
    load_torch()
    return made(asked)
