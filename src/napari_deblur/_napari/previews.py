"""The part of Deblur that restores what is seen, and shows it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QTimer

from napari_deblur._napari.choices import Choices
from napari_deblur._napari.kept import Decided
from napari_deblur._napari.live import KEY, LiveRow
from napari_deblur._napari.marks import Marks
from napari_deblur._napari.orders import Order
from napari_deblur._napari.placing import lend
from napari_deblur._napari.reading import finest
from napari_deblur._napari.region import Region
from napari_deblur._napari.settings import preferences
from napari_deblur._napari.speeds import Speeds, of_plan
from napari_deblur._napari.swipe import Overlay
from napari_deblur._napari.telling import verdicts
from napari_deblur._napari.together import correct_all

if TYPE_CHECKING:
    import napari.viewer

    from napari_deblur._napari.choices import Asking
    from napari_deblur._napari.preview import Preview
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Previews"]


class Previews(Choices):
    """The form, and previews of what it asks for: by the button, or live."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.plan_known: tuple[Any, Plan] | None = None  # of the last preview
        self.speeds = Speeds()
        self.busy_with: Any = self.layer.currentData()  # the image of what was begun last
        self.decided = Decided()
        self.marks = Marks()
        self.overlay = Overlay(viewer)
        self.rectangle = Region(viewer, self._region_moved)
        self.live_row = LiveRow(
            self.order, self._show, self.decided, self._draw_region, self.overlay
        )
        self.live_place.addWidget(self.live_row)
        self.preview.clicked.connect(partial(self.plainly, self.start_preview))
        self.changed.connect(self._form_changed)
        self.switched.connect(self._another_image)
        viewer.dims.events.current_step.connect(self._stepped)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        self._key_bound = False
        self.bind()
        self._form_changed()

    def start_preview(self) -> None:
        """Restore the region, or what is on the screen, in a thread."""
        order, cancelled = self.order(), Event()
        steps = _preview(order, self.decided, cancelled.is_set)
        self.start(
            "Preview", steps, self._previewed, cancelled=cancelled, otherwise="Preview cancelled."
        )

    def order(self) -> Order:
        """Give what the form asks for now, and where."""
        from napari_deblur._napari.window import window_of

        layer, asking, stack = self.confirmed()
        axes = self.letters()
        region = self.rectangle.spans(layer, axes)
        around = self.live_row.around.value()
        window = window_of(self.viewer, layer, axes, stack, region, around)
        return Order(asking, stack, window, self.read_as(layer), (layer, axes))

    def confirmed(self) -> tuple[Any, Asking, Stack]:
        """Give the image, what is asked for, and its stack; correct the layers' scales."""
        layer, asking, stack = self.asked()
        self.correct(layer)
        if self.kernel_way() == "layer":
            lend(self.kernel_layer.currentData(), self.sizes_given())
        return layer, asking, stack

    def correct(self, layer: Any) -> None:
        """Give the image, and what lies on it, the axes and the voxel size of the form."""
        from napari.utils.notifications import show_info

        from napari_deblur._napari.window import same_view

        self.watch.quiet = True
        try:
            with same_view(self.viewer, layer):
                moved = correct_all(self.viewer, layer, self.letters(), self.sizes_given())
        finally:
            self.watch.quiet = False
        self.rectangle.follow(layer, self.letters())
        self.confirm()
        if moved:
            names = ", ".join(f'"{one.name}"' for one in moved)
            show_info(f'{names} got the voxel size of "{layer.name}" too: they lie on it')

    def asked(self) -> tuple[Any, Asking, Stack]:
        """Give the image, what is asked for, and its stack; change no layer."""
        return self.chosen(), self.asking(), self.stack()

    def read_as(self, layer: Any) -> tuple[Any, ...]:
        """Tell other pixels, and a layer that is read in another way, from what it was."""
        return (self.marks.of(finest(layer)), self.letters(), self.sizes_given())

    def begin(self, what: str, stop: Callable[[], None]) -> None:
        """Let nothing live go on besides."""
        self.live_row.pause()
        self.busy_with = self.layer.currentData()
        super().begin(what, stop)

    def idle(self, text: str) -> None:
        """Let the live preview go on; leave nothing that was said of another image."""
        super().idle(text)
        if self.busy_with is not self.layer.currentData():
            self.busy_with = self.layer.currentData()
            self.say_costs("")
            self.say_details("")
        self.live_row.resume()

    def event(self, event: Any) -> bool:
        """Leave the key and stop when the dock is closed; come back with it."""
        if event.type() == QEvent.Type.ParentChange and hasattr(self, "live_row"):
            if self.parent() is None:
                self.live_row.close_down()
                self.overlay.drop()
                self.unbind()
            else:
                self.bind()
        return bool(super().event(event))

    def bind(self) -> None:
        """Let a key show the image before and after, unless somebody else uses it."""
        if self._key_bound:
            return
        try:
            self.viewer.bind_key(KEY, _toggling(self.live_row))
        except ValueError:
            return
        self._key_bound = True

    def unbind(self) -> None:
        """Leave the key to others."""
        if self._key_bound:
            self.viewer.bind_key(KEY, None)
            self._key_bound = False

    def _previewed(self, outcome: tuple[Order, Preview]) -> None:
        order, preview = outcome
        if order.source[0] is not self.layer.currentData():
            self.idle("This preview was of another image.")
            return
        self.live_row.shown = (preview.plan, preview.window)
        self._show(order, preview)
        self.idle(
            "\n".join(
                [
                    "This is what Run will give here.",
                    *verdicts(preview.plan, order.stack.pixels.channels),
                ]
            )
        )

    def _show(self, order: Order, preview: Preview) -> None:
        from napari_deblur._napari.previewed import preview_layers

        layer, axes = order.source
        if layer is not self.layer.currentData():
            return
        self.plan_known = ((order.read().key, *order.read_as), preview.plan)
        self.speeds.learn(of_plan(preview.plan), preview.seconds, preview.voxels)
        self.say_details(preview.summary)
        seen = preview.window.channels[0]
        methods = [channel.method for channel in preview.plan.channels]
        self.advanced.show_decided([methods.pop(seen), *methods])
        self.overlay.show(preview_layers(layer, order.stack, preview, axes))

    def _draw_region(self, on: bool) -> None:  # noqa: FBT001 - as the button says it
        from napari_deblur._napari.window import turn_to_used, window_of

        if not on:
            self.rectangle.remove()
            return
        layer, axes, stack = self.chosen(), self.letters(), self.stack()
        turn_to_used(self.viewer, layer, axes, stack)
        seen = window_of(self.viewer, layer, axes, stack)
        self.rectangle.show(layer, axes, seen.box, preferences().side)

    def _another_image(self) -> None:
        """Leave nothing of what was shown and said of the image before."""
        self.plan_known = None
        self.live_row.forget()
        if self.layer.currentData() is None:
            QTimer.singleShot(0, self._no_region)
        self.say_details("")
        if not self.busy():  # else it may be asked whether to start
            self.busy_with = self.layer.currentData()
            self.say_costs("")
            self.status.setText("")

    def _layer_placed(self) -> None:
        """Lay the outline where the image lies by now."""
        super()._layer_placed()
        if isalive(self) and self._output_of is not None:
            self.rectangle.follow(self._output_of, self.letters())

    def _pixels_changed(self) -> None:
        """Forget what was decided of the pixels before."""
        if isalive(self):
            self.plan_known = None
            self.decided.forget()
        super()._pixels_changed()

    def _no_region(self) -> None:
        if isalive(self) and self.layer.currentData() is None:
            self.live_row.region.setChecked(False)
            self.rectangle.drop()

    def _form_changed(self) -> None:
        if (layer := self.layer.currentData()) is not None:
            self.rectangle.follow(layer, self.letters())
        self.live_row.around.setEnabled("z" in self.letters())
        self.live_row.ask()

    def _region_moved(self) -> None:
        if isalive(self):
            self.live_row.ask()

    def _stepped(self, event: Any = None) -> None:
        if isalive(self):
            self.live_row.ask()

    def _inserted(self, event: Any = None) -> None:
        """Make room for what a run shows."""
        made = event.value.metadata.get("deblur") if event is not None else None
        if isalive(self) and self.busy() and made is not None and "preview" not in made:
            self.overlay.hide()

    def _removed(self, event: Any = None) -> None:
        if not isalive(self):
            return
        if self.live_row.region.isChecked() and not self.rectangle.shown:
            self.live_row.region.setChecked(False)
        if event is None:
            return
        if "deblur" in event.value.metadata:
            self.live_row.shown = None
        else:
            self.decided.forget()  # another image may come to lie where its pixels lay in memory


def _toggling(row: LiveRow) -> Callable[[Any], None]:
    def before_or_after(viewer: Any) -> None:
        """Show the image before deblurring, or after."""
        if isalive(row):
            row.before.toggle()

    return before_or_after


def _preview(
    order: Order, decided: Decided, cancelled: Callable[[], bool]
) -> Generator[str, None, tuple[Order, Preview]]:
    """Give the preview of an order, and the order."""
    from napari_deblur._napari.preview import load_torch, previewing

    yield "loading the engine"
    load_torch()
    from napari_deblur.ops import cancellable

    with cancellable(cancelled):
        plan = yield from decided.plan(*order.search())
    preview = yield from previewing(order.read(), order.stack, order.window, plan, cancelled)
    return order, preview
