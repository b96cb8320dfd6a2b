"""The form: what it offers, and what it asks for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive

from napari_deblur import registry
from napari_deblur._napari.asking import Ask, finds_kernels
from napari_deblur._napari.controls import Controls
from napari_deblur._napari.form import form_of, summary_of, value_of
from napari_deblur._napari.reading import (
    axes_of,
    finest,
    kernel_read,
    kernel_stack,
    offered,
    pixel_size_of,
    stack_of,
    stated_size,
)
from napari_deblur._napari.rows import rows_of
from napari_deblur._napari.settings import preferences
from napari_deblur.checking import default_method

if TYPE_CHECKING:
    import napari.layers
    import napari.viewer

    from napari_deblur.per_channel import Given
    from napari_deblur.stack import Stack

    Asking = Generator[str, None, Ask]

__all__ = ["Choices"]

# The proof of the geometry; it deblurs nothing.
HIDDEN = {"identity"}
# A layer of so much fewer voxels than the image is not the next image but its kernel.
SMALL = 4


class Choices(Controls):
    """The rows, filled from the viewer's layers and the catalogue of methods."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.picked = False  # whether the user chose the image, so that it stays
        self._method_picked = False
        self._output_of: Any = None
        self._stated: tuple[float | None, ...] = (None, None, None)
        self._forms: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}
        for name in registry.methods:
            if name not in HIDDEN:
                self.method.addItem(name)
        self.method.setCurrentText(default_method("channel", known=False))
        self.layer.currentIndexChanged.connect(self._layer_picked)
        self.kernel_layer.currentIndexChanged.connect(self._kernel_picked)
        for line in (self.axes, *self.sizes.values()):
            line.textEdited.connect(self._edited)
        viewer.layers.selection.events.active.connect(self._follow)
        self.method.activated.connect(self._pick_method)
        self.method.currentIndexChanged.connect(self._pick_method)
        self.kernel.currentIndexChanged.connect(self.kernel_ways.setCurrentIndex)
        self.kernel.currentIndexChanged.connect(self._kernel_way_chosen)
        self._method_chosen()
        self.reset_choices()

    def refresh(self) -> None:
        """Set the buttons by whether the form can be understood."""
        self._say_how_read()

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are; napari calls it when they change."""
        images = [layer for layer in self.viewer.layers if offered(layer)]
        kernels = [layer for layer in images if "kernel_pixel_size" in layer.metadata]
        active = self.viewer.layers.selection.active
        fresh = [layer for layer in images if "deblur" not in layer.metadata]
        seen = [layer for layer in fresh if layer.visible]
        first = active if active in seen else (seen or fresh or images or [None])[-1]
        now = self.layer.currentData()
        self.picked = self.picked and now in images
        # A hidden layer was only taken because there was no other.
        kept = now if self.picked or (now is not None and now.visible) else None
        _offer(self.layer, [layer for layer in images if layer not in kernels], kept, first)
        others = [layer for layer in images if layer not in kernels]
        _offer(self.kernel_layer, kernels + others, self.kernel_layer.currentData(), None)
        self._layer_chosen()

    def letters(self) -> str:
        """Give the axes as the form has them."""
        return str(self.axes.text()).lower().strip()

    def chosen(self) -> napari.layers.Image:
        """Give the layer to deblur."""
        layer = self.layer.currentData()
        if layer is None:
            raise ValueError("There is no image to deblur: open one, e.g. File ▸ Open Sample")
        return layer

    def stack(self) -> Stack:
        """Give the chosen layer as a stack, with the axes and voxel size of the form."""
        return stack_of(self.chosen(), self.letters(), self.sizes_given())

    def asking(self) -> Asking:
        """Check the form, and give the steps that lead to what it asks for.

        Only they read the kernel: it may be large, so they are for another thread.
        """
        cls = registry.methods[self.method.currentText()]
        method = value_of(self._forms[self.method.currentText()], cls)
        wishes = preferences()
        way, image = self.kernel.currentData(), self.chosen()
        flat = image.name if "z" not in self.letters() else ""
        load: Callable[[], Given] | None = None
        if way == "layer":
            layer = self.kernel_layer.currentData()
            if layer is None or layer is image:
                raise ValueError("Choose the layer that holds the kernel, not the image itself")
            if layer.metadata.get("varies"):  # drawn for the eye
                load = partial(_field_of, layer.name, layer.metadata["deblur"]["store"])
            else:
                stack = kernel_stack(layer)
                _must_be_flat(stack.shape[2], flat)
                load = partial(kernel_read, stack)
        elif way == "file":
            if not self.kernel_file.text():
                raise ValueError("Choose the file that holds the kernel")
            path = Path(self.kernel_file.text()).expanduser()
            if not path.exists():
                raise FileNotFoundError(f"there is no kernel at {path}")
            load = partial(_loaded, path)
        shape = _triple(self.shape.text()) if way == "find" else None
        _must_be_flat(shape[0] if shape else 1, flat)
        scope = self.scope.currentData() if finds_kernels(cls) else "channel"
        ask = Ask(method, None, shape, scope, wishes.device, wishes.memory_fraction)
        return _asking(ask, load, flat)

    def _layer_picked(self, _: int = 0) -> None:
        self.picked = True
        self._layer_chosen()

    def _kernel_picked(self, _: int = 0) -> None:
        """Take another image where the one that was taken unasked turns out to be the kernel."""
        kernel = self.kernel_layer.currentData()
        if self.picked or kernel is None or kernel is not self.layer.currentData():
            return
        others = [self.layer.itemData(i) for i in range(self.layer.count())]
        others = [layer for layer in others if layer is not kernel and layer.visible]
        self._take(others[-1] if others else kernel)

    def _follow(self, event: Any = None) -> None:
        """Take the layer that is active, until the user chose one."""
        if not isalive(self) or self.picked or self.busy():
            return
        active, now = self.viewer.layers.selection.active, self.layer.currentData()
        if active is None or active is now or not offered(active) or not active.visible:
            return
        as_kernel = (
            self.kernel.currentData() == "layer" and active is self.kernel_layer.currentData()
        )
        if "deblur" in active.metadata or "kernel_pixel_size" in active.metadata or as_kernel:
            return
        if now is not None and _voxels(active) * SMALL < _voxels(now):
            return
        self._take(active)

    def _take(self, layer: Any) -> None:
        at = [self.layer.itemData(i) for i in range(self.layer.count())]
        if layer in at:
            self.layer.blockSignals(True)
            self.layer.setCurrentIndex(at.index(layer))
            self.layer.blockSignals(False)
            self._layer_chosen()

    def _edited(self, _: str = "") -> None:
        self.picked = True
        self._say_how_read()

    def _layer_chosen(self, _: int = 0) -> None:
        layer = self.layer.currentData()
        if layer is self._output_of:
            self._say_how_read()
            return
        self._output_of = layer
        if layer is not None:
            axes = axes_of(layer)
            self.axes.setText(axes)
            known = pixel_size_of(layer, axes)
            # A layer that says nothing of its size may come from a file that does.
            bare = all(size is None for size in known)
            self._stated = stated_size(layer) if bare else (None, None, None)
            sizes = self._stated if bare else known
            for line, size in zip(self.sizes.values(), sizes, strict=True):
                line.setText(_shown(size))
                line.setCursorPosition(0)  # a number is cut off at its end, if at all
            self.output.put(str(_output_for(layer)))
        self._say_how_read()

    def _say_how_read(self, _: str = "") -> None:
        layer = self.layer.currentData()
        for row in (self.axes, self.size_row, self.run, self.preview):
            row.setEnabled(layer is not None and not self.busy())
        self.sizes["z"].setEnabled("z" in self.axes.text())
        if layer is None:
            self.reads.setText(
                "Open an image first: File ▸ Open, or File ▸ Open Sample ▸ napari-deblur."
            )
            return
        try:
            stack = self.stack()
            self.reads.setText(f"Read as {stack.summary()}.")
            if stack.source is None and not layer.source.path:
                self.reads.setText(
                    f"Read as {stack.summary()}; in memory only: Run copies it to a scratch file."
                )
        except (ValueError, TypeError) as error:
            self.reads.setText(f"✗ {error}")

    def _pick_method(self, _: int = 0) -> None:
        self._method_picked = True
        self._method_chosen()

    def _kernel_way_chosen(self, _: int = 0) -> None:
        """Take the method that suits a kernel, or none, as the command line does."""
        if not self._method_picked:
            self.method.blockSignals(True)
            self.method.setCurrentText(default_method("channel", known=self._kernel_given()))
            self.method.blockSignals(False)
        self._method_chosen()

    def _kernel_given(self) -> bool:
        return bool(self.kernel.currentData() != "find")

    def _method_chosen(self) -> None:
        name = self.method.currentText()
        cls = registry.methods[name]
        starts = finds_kernels(cls) and self._kernel_given()
        hint = " Its search starts from the kernel that is given below." if starts else ""
        self.about.setText(summary_of(cls) + hint)
        if name not in self._forms:
            self._forms[name] = form_of(cls)
            shown = rows_of((row.label, row.native) for row in self._forms[name])
            self._shown[name] = shown
            self.form.addWidget(shown)
        for other, rows in self._shown.items():
            rows.setVisible(other == name)
        self.scope.setEnabled(finds_kernels(cls))

    def sizes_given(self) -> tuple[float | None, float | None, float | None]:
        """Give (z, y, x) in µm as the form has them; None where it is empty."""
        layer, axes = self.layer.currentData(), self.letters()
        own = pixel_size_of(layer, axes) if layer is not None else (None, None, None)
        known = self._stated if all(size is None for size in own) else own
        # What was not edited keeps all its digits.
        z, y, x = (
            None
            if axis not in axes
            else size
            if line.text() == _shown(size)
            else _number(line, axis)
            for (axis, line), size in zip(self.sizes.items(), known, strict=True)
        )
        return z, y, x


def _asking(ask: Ask, load: Callable[[], Given] | None, flat: str) -> Asking:
    if load is None:
        return ask
    yield "reading the kernel"
    kernel = load()
    _must_be_flat(kernel.shape[0], flat)
    return replace(ask, kernel=kernel)


def _must_be_flat(planes: int, flat: str) -> None:
    """Refuse a solid kernel for the image called `flat`; an empty name is a solid image."""
    if flat and planes > 1:
        raise ValueError(
            f'the kernel has {planes} planes but "{flat}" has no z: give a kernel of one plane, '
            'or name the z of the image under "axes"'
        )


def _loaded(path: Path) -> Given:
    """Read what a file holds: a kernel, one for each frame and channel, or a field."""
    from napari_deblur.per_channel import given_in

    try:
        return given_in(str(path))
    except ValueError as error:
        if "allow_pickle" not in str(error):  # numpy's own words
            raise
        raise ValueError(
            f"{path.name} holds Python objects, not an array of numbers: save the kernel with "
            "numpy.save as float32"
        ) from error


def _field_of(name: str, store: str) -> Given:
    """Read the field whose kernels a layer shows."""
    from napari_deblur.results import open_result

    fields = open_result(store).plan.fields
    if len(fields) != 1 or fields[0] is None:
        raise ValueError(f'"{name}" has a field for each channel: give one of their files')
    return fields[0]


def _output_for(layer: Any) -> Path:
    """Give the place beside the layer's file if one can write there, else the scratch folder."""
    bare = "".join(c if c.isalnum() or c in "-_." else "-" for c in layer.name)
    folder = Path(layer.source.path).parent if layer.source.path else None
    if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK):
        folder = preferences().folder
    return folder.absolute() / f"{bare}.deblur.zarr"


def _offer(box: Any, layers: list[Any], kept: Any, first: Any) -> None:
    box.blockSignals(True)
    box.clear()
    for layer in layers:
        box.addItem(layer.name, layer)
    wanted = kept if kept in layers else first
    if wanted in layers:
        box.setCurrentIndex(layers.index(wanted))
    box.blockSignals(False)


def _voxels(layer: Any) -> int:
    return math.prod(int(n) for n in finest(layer).shape)


def _shown(size: float | None) -> str:
    return "" if size is None else f"{size:.6g}"


def _number(line: Any, axis: str) -> float | None:
    text = line.text().strip().replace(",", ".")
    if text in ("", "?"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f'the voxel size along {axis} is "{text}": give a number of µm') from None
    if not 0 < value < float("inf"):
        raise ValueError(f"the voxel size along {axis} is {value:g} µm and must be above 0")
    return value


def _triple(text: str) -> tuple[int, int, int] | None:
    text = text.strip()
    if text.lower() in ("", "auto"):
        return None
    try:
        numbers = [int(part) for part in text.replace("×", ",").replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        numbers = [1, *numbers]
    if len(numbers) != 3 or min(numbers) < 1:
        raise ValueError(f'the kernel\'s size is "{text}": give z, y, x such as 1, 33, 33, or auto')
    return numbers[0], numbers[1], numbers[2]
