"""The part of Deblur that restores what is seen, and shows it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_deblur._napari.choices import Choices
from napari_deblur._napari.placing import correct, lend

if TYPE_CHECKING:
    import napari.viewer

    from napari_deblur._napari.choices import Asking
    from napari_deblur._napari.preview import Preview, Window
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Previews"]

APART = 50  # ms


class Previews(Choices):
    """The form, and previews of what it asks for."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.plan_known: tuple[Any, Plan] | None = None  # of the last preview
        self.preview.clicked.connect(partial(self.plainly, self.start_preview))

    def start_preview(self) -> None:
        """Restore what is seen, in a thread."""
        from napari_deblur._napari.window import window_of

        layer, asking, stack = self.confirmed()
        window = window_of(self.viewer, layer, self.letters(), stack)
        cancelled = Event()
        steps = _preview(
            asking, stack, window, self.read_as(layer), self.plan_known, cancelled.is_set
        )
        then = partial(self._previewed, layer, stack, self.letters())
        self.start("Preview", steps, then, cancelled=cancelled, otherwise="Preview cancelled.")

    def confirmed(self) -> tuple[Any, Asking, Stack]:
        """Give the image, what is asked for, and its stack; correct the layers' scales."""
        layer, asking, stack = self.chosen(), self.asking(), self.stack()
        self.picked = True
        correct(layer, self.letters(), self.sizes_given())
        if self.kernel.currentData() == "layer":
            lend(self.kernel_layer.currentData(), self.sizes_given())
        return layer, asking, stack

    def read_as(self, layer: Any) -> tuple[Any, ...]:
        """Tell a layer that is read in another way from what it was."""
        return (id(layer.data), self.letters(), self.sizes_given())

    def _previewed(self, layer: Any, stack: Stack, axes: str, outcome: tuple[Any, Preview]) -> None:
        from napari_deblur._napari.previewed import preview_layers

        key, preview = outcome
        made = preview_layers(layer, stack, preview, axes)
        self.plan_known = (key, preview.plan)
        self.say_plan(preview.plan.summary())
        for number, one in enumerate(made):
            # One at a time: napari takes 0.1 to 0.3 s to add a layer.
            QTimer.singleShot(APART * number, partial(self._put_preview, *one[:2]))
        notes = "; ".join(preview.plan.notes)
        self.idle("This is what Run will give here." + (f" Note: {notes}." if notes else ""))

    def _put_preview(self, data: Any, kwargs: Any) -> None:
        from napari_deblur._napari.runs import put

        known = [
            layer
            for layer in self.viewer.layers
            if layer.name == kwargs["name"] and "preview" in layer.metadata.get("deblur", {})
        ]
        put(self.viewer, data, kwargs, known[0] if known else None)
        self.viewer.layers.selection.active = self.chosen()


def _preview(
    asking: Asking,
    stack: Stack,
    window: Window,
    read_as: tuple[Any, ...],
    known: tuple[Any, Plan] | None,
    cancelled: Callable[[], bool],
) -> Generator[str, None, tuple[Any, Preview]]:
    """Give the preview, and the key by which its plan is known again."""
    from napari_deblur._napari.preview import previewing

    ask = yield from asking
    key = (ask.key, *read_as)
    plan = known[1] if known is not None and known[0] == key else None
    return key, (yield from previewing(ask, stack, window, plan, cancelled))
