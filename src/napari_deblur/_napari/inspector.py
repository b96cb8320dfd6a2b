"""The widget Kernel inspector: what a kernel looks like, and how far to believe it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QFileDialog, QPushButton, QVBoxLayout, QWidget

from napari_deblur._napari.belonging import store_of
from napari_deblur._napari.inspecting import Inspected, inspecting, mapping, saving
from napari_deblur._napari.kernel_layers import (
    asked_of,
    has_kernels,
    image_of,
    inside,
    inspectable,
    width_layers,
)
from napari_deblur._napari.kernel_view import KernelView
from napari_deblur._napari.layer_box import LayerBox
from napari_deblur._napari.rows import rows_of, scrolled, side_by_side
from napari_deblur._napari.working import Working

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["Inspector"]

SOON = 60  # ms, in which several changes become one
FILES = {"TIFF": ".tif", "CSV": ".csv", "PNG": ".png"}
TIPS = {
    "TIFF": "Save the kernel with its voxel size and its report",
    "CSV": "Save the numbers; where kernels vary, also those of all nodes or tiles",
    "PNG": "Save a picture: sections, profiles and transfer functions",
}
# A drag moves the picture; only what stays this near (pixels) is a click.
STILL = 4
MAP_TIP = (
    "Add layers with the widths and directions of all kernels of this channel, "
    "where kernels vary over the field or from tile to tile"
)
PICK = "Click on a restored image."
NO_PLACE = "There is no restored image with kernels at this place: click on one."


class Inspector(Working):
    """Shows the kernel of a layer, or of a place of a restored image."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self._watched: Any = None
        self._closed = False
        self._world: tuple[float, ...] | None = None
        self._said = ""  # of a map or a file: it holds while the same kernel is shown
        self._stale, self._jobs = False, list[Callable[[], None]]()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON)
        self._soon.timeout.connect(self._go_on)
        self.layer_box = LayerBox(
            napari_viewer,
            inspectable,
            "Kernels of a result, a restored image, or any image that is a kernel",
            none="choose a kernel",
        )
        self.pick = QPushButton("Pick a place on the image")
        self.pick.setCheckable(True)
        self.pick.setToolTip(
            "Then click on a restored image: the kernel of that place is shown. "
            "Frames, channels and planes follow the sliders"
        )
        self.view = KernelView(napari_viewer)
        self.map = QPushButton("Map of widths over the image")
        self.files = {name: QPushButton(name) for name in FILES}
        self._lay_out()
        self._connect()
        self.idle("")
        self._offer_map()
        self.reset_choices()
        self._chosen()

    @property
    def shown(self) -> Inspected | None:
        """What is shown now."""
        found: Inspected | None = self.view.shown
        return found

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are; of those known to be kernels one is taken."""
        self.layer_box.reset_choices(event)
        if self.layer_box.layer is not None:
            return
        known = [layer for layer in self.viewer.layers if has_kernels(layer)]
        active = self.viewer.layers.selection.active
        if known:
            self.layer_box.choose(active if active in known else known[-1])

    def save(self, path: str | Path) -> None:
        """Save what is shown; the ending says what: .tif, .csv or .png."""
        self._do(partial(self._save, Path(path).expanduser().absolute()))

    def add_map(self) -> None:
        """Add the widths of all kernels as layers over the image."""
        self._do(self._map)

    def look_at(self, world: tuple[float, ...]) -> None:
        """Show the kernel of a place, in the coordinates of the window."""
        image = self._image_at(world)
        if image is None:
            self.status.setText(NO_PLACE)
            return
        layer = self.layer_box.layer
        if layer is None or store_of(layer) != store_of(image):
            self.layer_box.choose(image)
        self._world = world
        self.renew()

    def renew(self, event: Any = None) -> None:
        """Show what is asked for now, soon: the sliders may move on."""
        if not isalive(self) or self._closed:
            return
        self._stale = True
        if not self.busy():
            self._soon.start()

    def refresh(self) -> None:
        """Go on with what waited."""
        super().refresh()
        if self._stale or self._jobs:
            self._soon.start()

    def event(self, event: Any) -> bool:
        """Let the window's clicks and sliders go when the dock is closed."""
        if event.type() == QEvent.Type.ParentChange:
            self._closed = self.parent() is None
            if self._closed:
                self.pick.setChecked(False)
            else:
                self.renew()
        return bool(super().event(event))

    def _lay_out(self) -> None:
        inner = QWidget()
        rows = QVBoxLayout(inner)
        rows.setContentsMargins(6, 6, 6, 6)
        rows.addWidget(self.layer_box)  # names of layers are long
        rows.addWidget(self.pick)
        rows.addWidget(self.view)
        rows.addWidget(self.map)
        rows.addWidget(rows_of([("save as", side_by_side(*self.files.values()))]))
        rows.addWidget(self.status)
        kept = self.bar.sizePolicy()
        kept.setRetainSizeWhenHidden(True)  # else all would jump with each step of a slider
        self.bar.setSizePolicy(kept)
        rows.addWidget(side_by_side(self.bar, self.cancel))
        rows.addStretch(1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scrolled(inner))
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.layer_box.changed.connect(self._chosen)
        self.pick.toggled.connect(self._picking)
        self.map.clicked.connect(partial(self.plainly, self.add_map))
        self.view.corrected.connect(self.renew)
        for name, button in self.files.items():
            button.setToolTip(TIPS[name])
            button.clicked.connect(partial(self._save_as, name))
        for events in (self.viewer.dims.events.current_step, self.viewer.layers.events.inserted,
                       self.viewer.layers.events.removed):  # fmt: skip
            events.connect(self.renew)

    def _chosen(self) -> None:
        """Begin with another layer: nothing that was said of the last one holds."""
        self._world, self._said = None, ""
        if not self.busy():
            self.status.setText("")
        self.view.forget_optics()
        self._watch(self.layer_box.layer)
        if self.layer_box.layer is None:
            self._empty("Choose a layer with kernels, or open a result.")
        else:
            self.renew()

    def _watch(self, layer: Any) -> None:
        """Follow what becomes of a layer's data, as of a preview's kernel."""
        if self._watched is not None:
            self._watched.events.data.disconnect(self.renew)
        self._watched = layer
        if layer is not None:
            layer.events.data.connect(self.renew)

    def _do(self, job: Callable[[], None]) -> None:
        """Do something as soon as nothing else goes on."""
        self._jobs.append(job)
        if not self.busy():
            self._go_on()

    def _go_on(self) -> None:
        if self.busy():
            return
        if self._stale:  # first: what is saved is what the sliders say
            self._stale = False
            self.plainly(self._measure)
        elif self._jobs:
            self.plainly(self._jobs.pop(0))
        if not self.busy() and (self._jobs or self._stale):
            self._soon.start()

    def _measure(self) -> None:
        layer = self.layer_box.layer
        if layer is None or layer not in self.viewer.layers:
            return
        # No notification at each step of a slider.
        try:
            asked = asked_of(self.viewer, layer, self._world)
        except ValueError as error:
            self._empty(str(error))
            self.status.setText("")
            return
        try:
            given = self.view.given()
        except ValueError as error:  # what is shown stays, with the line where it can be mended
            self.status.setText(str(error))
            return
        self.start("Reading", inspecting(asked, given, self.shown), self._show, otherwise="")

    def _show(self, outcome: Inspected | str) -> None:
        before = self.shown
        if isinstance(outcome, str):
            self._empty(outcome)
        else:
            if before is None or before.local.key != outcome.local.key:
                self._said = ""
            self.view.draw(outcome)
            self._offer_map()
        self.idle(self._said)

    def _empty(self, why: str) -> None:
        self._said = ""
        self.view.empty(why)
        self._offer_map()

    def _offer_map(self) -> None:
        for button in self.files.values():
            button.setEnabled(self.shown is not None)
        why = self._no_map()
        self.map.setEnabled(not why)
        self.map.setToolTip(why or MAP_TIP)

    def _no_map(self) -> str:
        """Say why there is no map of what is shown, if so."""
        if self.shown is None:
            return "Nothing is shown: choose the kernels of a result first."
        asked = self.shown.asked
        if asked.store is None:
            return "This layer is one kernel: a map is of a result whose kernels vary."
        if self.shown.local.everywhere:
            return "One kernel holds for the whole channel: there is nothing to map."
        if image_of(self.viewer, asked.store) is None:
            return "The restored image is not open: open it first."
        return ""

    def _tell(self, text: str) -> None:
        """Say how a map or a file went; it stays as long as the same kernel is shown."""
        self._said = text
        self.idle(text)

    def _save(self, path: Path) -> None:
        if self.shown is None:
            self.idle("Nothing is shown: choose a kernel first.")
        else:
            self.start("Save", saving(self.shown, path), self._tell, otherwise="Not saved.")

    def _map(self) -> None:
        if why := self._no_map():
            self.idle(why)
            return
        assert self.shown is not None
        asked = self.shown.asked
        image = image_of(self.viewer, str(asked.store))
        then = partial(self._mapped, image, asked.place[1])
        self.start("Map", mapping(asked), then, otherwise="No map.")

    def _mapped(self, image: Any, c: int, outcome: Any) -> None:
        shapes, pixel = outcome
        if image not in self.viewer.layers:
            self.idle("The restored image was closed: there is nothing to draw on.")
            return
        made = width_layers(shapes, image, image.name.partition(" restored")[0], pixel, c)
        # One after the other: napari takes 0.2 s for each, and the window breathes between.
        self._jobs += [partial(self._put, *one) for one in made]
        low, high = made[0][1]["edge_contrast_limits"]
        times = made[0][1]["metadata"]["times"]
        self._tell(
            f"{len(shapes.ellipses)} kernels, {low:.3g} to {high:.3g} {shapes.unit} wide at half. "
            f"Dark is narrow, bright is wide; the bars are {times:.3g} times as long as the widths."
        )

    def _put(self, data: Any, kwargs: dict[str, Any], kind: str) -> None:
        """Add a layer in the place of an older one of the same map."""
        from napari.layers import Layer

        active, layer = self.viewer.layers.selection.active, Layer.create(data, kwargs, kind)
        for old in list(self.viewer.layers):
            same = old.metadata.get("map") == layer.metadata["map"]
            if same and store_of(old) == store_of(layer):
                self.viewer.layers.remove(old)
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = active if active in self.viewer.layers else None

    def _picking(self, on: bool) -> None:  # noqa: FBT001 - Qt's signal
        callbacks = self.viewer.mouse_drag_callbacks
        if on and self._click not in callbacks:
            callbacks.append(self._click)
            self.status.setText(PICK)
        elif not on and self._click in callbacks:
            callbacks.remove(self._click)
            if self.status.text() in (PICK, NO_PLACE):
                self.status.setText(self._said)

    def _click(self, viewer: Any, event: Any) -> Any:
        """Look at the place of a click; a drag moves the picture as ever."""
        if event.button != 1:
            return
        start, world = tuple(event.pos), tuple(event.position)
        yield
        while event.type == "mouse_move":
            yield
        if max(abs(a - b) for a, b in zip(start, event.pos, strict=True)) > STILL:
            return
        if viewer.dims.ndisplay == 3:
            self.status.setText("Switch to 2-D first: a click in 3-D has no depth.")
        else:
            self.plainly(partial(self.look_at, world))

    def _image_at(self, world: tuple[float, ...]) -> Any:
        """Give the restored image at a place: the chosen layer's first, then from the top."""
        chosen = self.layer_box.layer
        store = None if chosen is None else store_of(chosen)
        stores = [store] if store else []
        stores += [
            s for one in reversed(self.viewer.layers) if one.visible and (s := store_of(one))
        ]
        images = (image_of(self.viewer, one) for one in dict.fromkeys(stores))
        known = (one for one in images if one is not None)
        return next((one for one in known if inside(self.viewer, one, world)), None)

    def _save_as(self, kind: str) -> None:
        ending = FILES[kind]
        name, _ = QFileDialog.getSaveFileName(self, f"Save as {kind}", f"kernel{ending}")
        if name:
            self.save(name if Path(name).suffix else name + ending)
