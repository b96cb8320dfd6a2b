"""The form: what it offers, and what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_deblur import registry
from napari_deblur._napari.asking import Ask, finds_kernels
from napari_deblur._napari.controls import Controls, rows_of
from napari_deblur._napari.form import form_of, summary_of, value_of
from napari_deblur._napari.reading import axes_of, kernel_of, offered, pixel_size_of, stack_of
from napari_deblur._napari.settings import preferences

if TYPE_CHECKING:
    import napari.layers
    import napari.viewer

    from napari_deblur.stack import Stack

__all__ = ["Choices"]

# The proof of the geometry; it deblurs nothing.
HIDDEN = {"identity"}
FIRST = "blind-richardson-lucy"


class Choices(Controls):
    """The rows, filled from the viewer's layers and the catalogue of methods."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self._output_of: Any = None
        self._forms: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}
        for name in registry.methods:
            if name not in HIDDEN:
                self.method.addItem(name)
        self.method.setCurrentText(FIRST)
        self.layer.currentIndexChanged.connect(self._layer_chosen)
        self.axes.textEdited.connect(self._say_how_read)
        for line in self.sizes.values():
            line.textEdited.connect(self._say_how_read)
        self.method.currentIndexChanged.connect(self._method_chosen)
        self.kernel.currentIndexChanged.connect(self.kernel_ways.setCurrentIndex)
        self.output.line.textEdited.connect(self._output_chosen)
        self._method_chosen()
        self.reset_choices()

    def busy(self) -> bool:
        """Whether something is going on, so that nothing else can be started."""
        return False

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are; napari calls it when they change."""
        images = [layer for layer in self.viewer.layers if offered(layer)]
        kernels = [layer for layer in images if "kernel_pixel_size" in layer.metadata]
        active = self.viewer.layers.selection.active
        fresh = [layer for layer in images if "deblur" not in layer.metadata]
        first = active if active in fresh else (fresh or images or [None])[-1]
        _offer(self.layer, [layer for layer in images if layer not in kernels], first)
        _offer(self.kernel_layer, kernels + [i for i in images if i not in kernels], None)
        self._layer_chosen()

    def chosen(self) -> napari.layers.Image:
        """Give the layer to deblur."""
        layer = self.layer.currentData()
        if layer is None:
            raise ValueError("There is no image to deblur: open one, e.g. File ▸ Open Sample")
        return layer

    def stack(self) -> Stack:
        """Give the chosen layer as a stack, with the axes and voxel size of the form."""
        return stack_of(self.chosen(), self.axes.text(), self.sizes_given())

    def ask(self) -> Ask:
        """Give what the form asks for."""
        cls = registry.methods[self.method.currentText()]
        method = value_of(self._forms[self.method.currentText()], cls)
        wishes = preferences()
        way, kernel = self.kernel.currentData(), None
        if way == "layer":
            layer = self.kernel_layer.currentData()
            if layer is None or layer is self.layer.currentData():
                raise ValueError("Choose the layer that holds the kernel, not the image itself")
            kernel = kernel_of(layer)
        elif way == "file":
            from napari_deblur.kernels import load_kernel

            if not self.kernel_file.text():
                raise ValueError("Choose the file that holds the kernel")
            kernel = load_kernel(self.kernel_file.text())
        shape = _triple(self.shape.text()) if way == "find" else None
        scope = self.scope.currentData() if finds_kernels(cls) else "channel"
        return Ask(method, kernel, shape, scope, wishes.device, wishes.memory_fraction)

    def _layer_chosen(self, _: int = 0) -> None:
        layer = self.layer.currentData()
        if layer is self._output_of:
            self._say_how_read()
            return
        self._output_of = layer
        if layer is not None:
            axes = axes_of(layer)
            self.axes.setText(axes)
            for line, size in zip(self.sizes.values(), pixel_size_of(layer, axes), strict=True):
                line.setText(_shown(size))
            bare = "".join(c if c.isalnum() or c in "-_." else "-" for c in layer.name)
            self.output.line.setText(str(preferences().folder / f"{bare}.deblur.zarr"))
        self._say_how_read()

    def _output_chosen(self, text: str) -> None:
        self.output.line.setToolTip(text)

    def _say_how_read(self, _: str = "") -> None:
        layer = self.layer.currentData()
        for row in (self.axes, self.size_row, self.run, self.preview):
            row.setEnabled(layer is not None and not self.busy())
        self.sizes["z"].setEnabled("z" in self.axes.text())
        if layer is None:
            self.reads.setText("Open an image first: File ▸ Open, or File ▸ Open Sample ▸ Deblur.")
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

    def _method_chosen(self, _: int = 0) -> None:
        name = self.method.currentText()
        cls = registry.methods[name]
        self.about.setText(summary_of(cls))
        if name not in self._forms:
            self._forms[name] = form_of(cls)
            shown = rows_of((row.label, row.native) for row in self._forms[name])
            self._shown[name] = shown
            self.form.addWidget(shown)
        for other, rows in self._shown.items():
            rows.setVisible(other == name)
        self.scope.setEnabled(finds_kernels(cls))

    def sizes_given(self) -> tuple[float | None, float | None, float | None]:
        layer, axes = self.layer.currentData(), self.axes.text()
        known = pixel_size_of(layer, axes) if layer is not None else (None, None, None)
        # What was not edited keeps all its digits.
        z, y, x = (
            None if axis not in axes else own if line.text() == _shown(own) else _number(line, axis)
            for (axis, line), own in zip(self.sizes.items(), known, strict=True)
        )
        return z, y, x


def _offer(box: Any, layers: list[Any], first: Any) -> None:
    kept = box.currentData()
    box.blockSignals(True)
    box.clear()
    for layer in layers:
        box.addItem(layer.name, layer)
    wanted = kept if kept in layers else first
    if wanted in layers:
        box.setCurrentIndex(layers.index(wanted))
    box.blockSignals(False)


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
