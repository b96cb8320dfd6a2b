"""The form: what it offers, and what it asks for."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import Signal

from napari_deblur._napari.controls import Controls
from napari_deblur._napari.offering import offer, output_for, voxels
from napari_deblur._napari.reading import (
    axes_of,
    offered,
    pixel_size_of,
    stack_of,
    stated_by,
    with_optics,
)
from napari_deblur._napari.texts import number, read_as, shown
from napari_deblur._napari.watching import Watch, when_read
from napari_deblur._napari.ways import about, default_of, methods_for
from napari_deblur._napari.wishing import Asking, wished

if TYPE_CHECKING:
    import napari.layers
    import napari.viewer

    from napari_deblur.stack import Stack

__all__ = ["Asking", "Choices"]

# A layer of so much fewer voxels than the image is not the next image but its kernel.
SMALL = 4


class Choices(Controls):
    """The rows, filled from the viewer's layers and the catalogue of methods.

    `changed` says that something that counts for the result was changed, and `switched`, before
    it, that the image is another one, or none.
    """

    changed = Signal()
    switched = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.picked = False  # whether the user chose the image, so that it stays
        self._typed_among: list[Any] = []  # the layers there were when something was typed
        self._method_picked = False
        self._output_of: Any = None
        self._stated: tuple[float | None, ...] = (None, None, None)
        self._described: tuple[Any, ...] = ()
        self._touched: set[Any] = set()  # lines, and not confirmed yet
        self.watch = Watch(self._layer_placed, self._pixels_changed)
        self.layer.currentIndexChanged.connect(self._layer_picked)
        self.kernel_layer.currentIndexChanged.connect(self._kernel_picked)
        for line in (self.axes, *self.sizes.values()):
            line.textEdited.connect(partial(self._edited, line))
        viewer.layers.selection.events.active.connect(self._follow)
        self.method.activated.connect(self._pick_method)
        self.method.currentIndexChanged.connect(self._pick_method)
        self.known.way.currentIndexChanged.connect(self._way_chosen)
        self.known.beads.connect(partial(self.plainly, self._open_beads))
        self.channels.changed.connect(self.refresh)
        for part in (self.known, self.channels, self.advanced):
            part.changed.connect(self.changed)
        self.advanced.camera.changed.connect(self._typed)
        self._way_chosen()
        self.reset_choices()

    @property
    def _forms(self) -> dict[str, Any]:
        """The forms of the methods that were looked at."""
        return self.advanced.forms

    def kernel_way(self) -> str:
        """Say where the kernel comes from: "find", "psf", "layer" or "file"."""
        return self.known.kernel_way()

    def set_way(self, way: str) -> None:
        """Choose where the kernel comes from."""
        self.known.take(way)

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are; napari calls it when they change."""
        images = [layer for layer in self.viewer.layers if offered(layer)]
        kernels = [layer for layer in images if "kernel_pixel_size" in layer.metadata]
        active = self.viewer.layers.selection.active
        others = [layer for layer in images if layer not in kernels]
        fresh = [layer for layer in others if "deblur" not in layer.metadata]
        seen = [layer for layer in fresh if layer.visible]
        first = active if active in seen else (seen or fresh or others or [None])[-1]
        now = self.layer.currentData()
        self.picked = self.picked and now in images
        # A hidden layer was only taken because there was no other.
        stays = self.picked or bool(self._typed_among)
        kept = now if stays or (now is not None and now.visible) else None
        offer(self.layer, others, kept, first)
        # Never an ordinary image unasked: any would do, and none is right.
        # Nor that of a preview, which another one takes the place of.
        lasting = [k for k in kernels if not k.metadata.get("deblur", {}).get("preview")]
        known = lasting[-1] if lasting else None
        offer(self.kernel_layer, kernels + others, self.kernel_layer.currentData(), known)
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
        """Give what is deblurred of the chosen layer, with the axes and sizes of the form."""
        whole = self._whole()
        picked = self.channels.picked()
        return whole if picked is None or whole.rgb else whole.selected(channels=picked)

    def asking(self) -> Asking:
        """Check the form, and give the steps that lead to what it asks for.

        Only they read the kernel: it may be large, so they are for another thread.
        """
        image, stack = self.chosen(), self.stack()
        kernel = self.kernel_layer.currentData() if self.kernel_way() == "layer" else None
        if self.kernel_way() == "layer" and (kernel is None or kernel is image):
            raise ValueError("Choose the layer that holds the kernel, not the image itself")
        return wished(self, stack, kernel, image.name)

    def _whole(self) -> Stack:
        stack = stack_of(self.chosen(), self.letters(), self.sizes_given())
        return with_optics(stack, *self._described) if self._described else stack

    def _layer_picked(self, _: int = 0) -> None:
        self.picked = True
        self._layer_chosen()

    def _kernel_picked(self, _: int = 0) -> None:
        """Take another image where the one that was taken unasked turns out to be the kernel."""
        kernel = self.kernel_layer.currentData()
        if kernel is None or kernel is not self.layer.currentData():
            return
        if self.picked or self._typed_among:
            return
        others = [self.layer.itemData(i) for i in range(self.layer.count())]
        others = [layer for layer in others if layer is not kernel and layer.visible]
        self._take(others[-1] if others else kernel)

    def _follow(self, event: Any = None) -> None:
        """Take the layer that is active, until the user chose one.

        Where something was typed for an image, only one that was opened since.
        """
        if not isalive(self) or self.picked or self.busy():
            return
        active, now = self.viewer.layers.selection.active, self.layer.currentData()
        if active is None or active is now or not offered(active) or not active.visible:
            return
        if active in self._typed_among:
            return
        as_kernel = self.kernel_way() == "layer" and active is self.kernel_layer.currentData()
        if "deblur" in active.metadata or "kernel_pixel_size" in active.metadata or as_kernel:
            return
        if now is not None and voxels(active) * SMALL < voxels(now):
            return
        self._take(active)

    def _take(self, layer: Any) -> None:
        at = [self.layer.itemData(i) for i in range(self.layer.count())]
        if layer in at:
            self.layer.blockSignals(True)
            self.layer.setCurrentIndex(at.index(layer))
            self.layer.blockSignals(False)
            self._layer_chosen()

    def _edited(self, line: Any, _: str = "") -> None:
        self._typed()
        self._touched.add(line)
        self.refresh()
        self.changed.emit()

    def _typed(self) -> None:
        """Stay with the image whose numbers are typed, as long as no other one is opened."""
        self._typed_among = list(self.viewer.layers)

    def _layer_chosen(self, _: int = 0) -> None:
        layer = self.layer.currentData()
        if layer is self._output_of:
            self.refresh()
            return
        self._output_of, self._typed_among = layer, []
        self._touched.clear()
        self.watch.follow(layer)
        self._describe(layer)
        self.advanced.forget()
        self.switched.emit()
        if layer is None:
            self.output.put("")
        else:
            self._fill(layer)
            self.output.put(str(output_for(layer)))
            self._take_default()
        self.refresh()
        self.changed.emit()

    def _fill(self, layer: Any) -> None:
        """Show axes and voxel size that the layer says, or else its file, where nobody typed."""
        if self.axes not in self._touched:
            self.axes.setText(axes_of(layer))
        known = pixel_size_of(layer, self.letters())
        bare = all(size is None for size in known)
        for line, size in zip(self.sizes.values(), self._stated if bare else known, strict=True):
            if line not in self._touched and line.text() != shown(size):
                line.setText(shown(size))
                line.setCursorPosition(0)  # a number is cut off at its end, if at all

    def _layer_placed(self) -> None:
        """Follow a layer that was given another scale, other units or axes elsewhere."""
        if isalive(self) and self._output_of is not None:
            self._fill(self._output_of)
            self.refresh()
            self.changed.emit()

    def _pixels_changed(self) -> None:
        self._layer_placed()

    def confirm(self) -> None:
        """Take for typed no longer what the layer says by now."""
        layer, axes = self.chosen(), self.letters()
        own = dict(zip(self.sizes, pixel_size_of(layer, axes), strict=True))
        given = dict(zip(self.sizes, self.sizes_given(), strict=True))
        same = {self.sizes[a] for a, size in given.items() if size is not None and size == own[a]}
        self._touched -= same | {self.axes}

    def _describe(self, layer: Any) -> None:
        """Learn what the layer's file says of voxels, channels and optics: large ones in a thread.

        What it says is filled in when it is known.
        """
        self._described, self._stated = (), (None, None, None)
        if layer is None:
            return
        when_read(layer, partial(self._learned, layer))
        self._stated, self._described = stated_by(layer)

    def _learned(self, layer: Any, _: Any) -> None:
        if not isalive(self) or layer is not self.layer.currentData():
            return
        self._stated, self._described = stated_by(layer)
        self._fill(layer)
        self.refresh()
        self.changed.emit()

    def refresh(self, *_: Any) -> None:
        """Say how the image is read, and set what can be pressed."""
        layer = self.layer.currentData()
        for row in (self.axes, self.size_row, *self.starters):
            row.setEnabled(layer is not None and not self.busy())
        self.sizes["z"].setEnabled("z" in self.axes.text())
        if layer is None:
            self.channels.show_stack(None)
            self.reads.setText(
                "Open an image first: File ▸ Open, or File ▸ Open Sample ▸ napari-deblur."
            )
            return
        try:
            whole = self._whole()
            self.channels.show_stack(whole, layer)
            stack = self.stack()
        except (ValueError, TypeError) as error:
            self.reads.setText(f"✗ {error}")
            return
        known = stack.optics
        single = stack.channels[0].emission if len(whole.channels) == 1 else None
        self.known.prefill(
            {"na": known.na, "n_immersion": known.n_immersion, "n_sample": known.n_sample}
            | {"wavelength": single}
        )
        with suppress(ValueError):  # while a wavelength is typed
            self.known.show_lights(self.channels.wavelengths())
        said = f"Read as {read_as(stack, whole.shape[1])}"
        memory = stack.source is None and not layer.source.path
        said += "; in memory only: Run copies it to a scratch file." if memory else "."
        hint = layer.metadata.get("try")
        self.reads.setText(f"{said}\n{hint}" if hint else said)

    def _pick_method(self, _: int = 0) -> None:
        self._method_picked = True
        self._method_chosen()

    def _way_chosen(self, _: int = 0) -> None:
        """Offer the methods that suit what is known, and take the usual one of them."""
        way = str(self.known.way.currentData())
        now, names = self.method.currentText(), methods_for(way)
        self._method_picked = self._method_picked and now in names
        self.method.blockSignals(True)
        self.method.clear()
        self.method.addItems(names)
        self.method.setCurrentText(now if self._method_picked else self._usual())
        self.method.blockSignals(False)
        self.channels.offer(way)
        self._method_chosen()

    def _usual(self) -> str:
        layer = self.layer.currentData()
        return default_of(str(self.known.way.currentData()), rgb=bool(layer and layer.rgb))

    def _take_default(self) -> None:
        """Take the usual method for another layer, until the user chose one."""
        if not self._method_picked and self.method.currentText() != self._usual():
            self.method.blockSignals(True)
            self.method.setCurrentText(self._usual())
            self.method.blockSignals(False)
            self._method_chosen()

    def _method_chosen(self) -> None:
        name, way = self.method.currentText(), str(self.known.way.currentData())
        self.about.setText(about(name, way))
        self.method.setToolTip(name)
        self.advanced.show_method(name, way)
        self.changed.emit()

    def _open_beads(self) -> None:
        self.viewer.window.add_plugin_dock_widget("napari-deblur", "PSF from beads")

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
            if line.text() == shown(size)
            else number(line.text(), f"the voxel size along {axis}", "µm")
            for (axis, line), size in zip(self.sizes.items(), known, strict=True)
        )
        return z, y, x
