"""The widget Deblur: choose, look at a preview, run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QTimer

from napari_deblur._napari.choices import Choices
from napari_deblur._napari.placing import correct, spatial_kwargs
from napari_deblur._napari.settings import preferences

if TYPE_CHECKING:
    import napari.layers
    import napari.viewer

    from napari_deblur._napari.asking import Ask
    from napari_deblur.stack import Stack

__all__ = ["Deblur"]

TICK = 50  # ms


class _Stopper:
    """Stops what is going on; outlives the widget, so that closing it stops the run."""

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None

    def __call__(self, *_: Any) -> None:
        if self.stop is not None:
            self.stop()


class Deblur(Choices):
    """Deblur an image layer: preview what is seen, or run on everything into a store."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        self._stopper = _Stopper()
        super().__init__(napari_viewer)
        self._plan: tuple[Any, Any] | None = None  # of the last preview
        self._source: tuple[Any, Stack, Path | None] | None = None
        self._run: Any = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        self.preview.clicked.connect(partial(self._plainly, self.start_preview))
        self.run.clicked.connect(partial(self._plainly, self.start_run))
        self.cancel.clicked.connect(self.stop)
        self.destroyed.connect(self._stopper)
        self._idle("")

    def busy(self) -> bool:
        """Whether a preview or a run is going on."""
        return self._stopper.stop is not None

    def start_preview(self) -> None:
        """Restore what is seen, in a thread."""
        from napari.qt.threading import create_worker

        from napari_deblur._napari.preview import previewing
        from napari_deblur._napari.window import window_of

        layer, ask, stack = self._confirmed()
        window = window_of(self.viewer, layer, self.axes.text(), stack)
        key = self._key(layer, ask)
        plan = self._plan[1] if self._plan is not None and self._plan[0] == key else None
        cancelled = Event()
        worker = create_worker(
            _tamed, previewing(ask, stack, window, plan, cancelled.is_set), cancelled
        )
        worker.yielded.connect(self._say)
        worker.returned.connect(partial(self._previewed, layer, stack, key))
        self._begin("Preview", cancelled.set)
        worker.start()

    def start_run(self) -> None:
        """Restore everything into a store: find an address first, then start the child."""
        from napari.qt.threading import create_worker

        from napari_deblur._napari.addressing import addressed

        layer, ask, stack = self._confirmed()
        output = Path(self.output.text()).expanduser().absolute()
        if output.suffix != ".zarr":
            raise ValueError(f'"{output.name}" should end in .deblur.zarr: results are zarr stores')
        key = (id(layer.data), stack.axes, stack.pixel_size)
        go = partial(self._addressed, layer, ask, stack, output, key)
        known = self._source[1:] if self._source is not None and self._source[0] == key else None
        cancelled = Event()
        path = layer.source.path
        steps = addressed(stack, str(path) if path else None, preferences().folder, known)
        worker = create_worker(_tamed, steps, cancelled)
        worker.yielded.connect(self._say)
        worker.returned.connect(go)
        self._begin("Run", cancelled.set)
        worker.start()

    def stop(self) -> None:
        """Cancel: a preview ends within an iteration, a run at once."""
        self._say("Cancelling …")
        self._stopper()

    def _confirmed(self) -> tuple[Any, Ask, Stack]:
        layer, ask, stack = self.chosen(), self.ask(), self.stack()
        correct(layer, self.axes.text(), self.sizes_given())
        return layer, ask, stack

    def _key(self, layer: Any, ask: Ask) -> tuple[Any, ...]:
        return (ask.key, id(layer.data), self.axes.text(), self.sizes_given())

    def _previewed(self, layer: Any, stack: Stack, key: Any, outcome: Any) -> None:
        from napari_deblur._napari.previewed import preview_layers

        if outcome is None or isinstance(outcome, Exception):
            self._end(outcome, "Preview cancelled.")
            return
        self._plan = (key, outcome.plan)
        made = preview_layers(layer, stack, outcome, self.axes.text())
        for number, one in enumerate(made):
            # One at a time: napari takes 0.1 to 0.3 s to add a layer.
            QTimer.singleShot(TICK * number, partial(self._put_preview, *one[:2]))
        notes = "; ".join(outcome.plan.notes)
        self._idle("This is what Run will give here." + (f" Note: {notes}." if notes else ""))

    def _put_preview(self, data: Any, kwargs: Any) -> None:
        from napari_deblur._napari.runs import put

        known = [
            layer
            for layer in self.viewer.layers
            if layer.name == kwargs["name"] and "preview" in layer.metadata.get("deblur", {})
        ]
        put(self.viewer, data, kwargs, known[0] if known else None)
        self.viewer.layers.selection.active = self.chosen()

    def _addressed(
        self, layer: Any, ask: Ask, stack: Stack, output: Path, key: Any, outcome: Any
    ) -> None:
        from napari_deblur._napari.runs import Run

        if outcome is None or isinstance(outcome, Exception):
            self._end(outcome, "Cancelled before the run began.")
            return
        found, copy = outcome
        self._source = (key, found, copy)
        asked = self._key(layer, ask)
        plan = self._plan[1] if self._plan is not None and self._plan[0] == asked else None
        described = {"name": stack.name, "time_step": stack.time_step}
        request = {
            "source": found.source.to_dict(),
            "described": described,
            "ask": ask.to_dict(),
            "plan": replace(plan, source=None).to_dict() if plan is not None else None,
            "output": str(output),
            "job": {"made_with": "napari", **ask.to_dict()},
        }
        shown = stack.axes.replace("c", "") if stack.rgb else stack.axes
        spatial = spatial_kwargs(layer, self.axes.text(), shown)
        looks = {} if layer.rgb else {"colormap": layer.colormap, "gamma": layer.gamma}
        self._run = Run(self.viewer, request, spatial, stack.name, looks, copy, self._progress)
        self._stopper.stop = self._run.cancel
        self._timer.start(TICK)

    def _poll(self) -> None:
        if self._run is None or self._run.poll():
            return
        self._timer.stop()
        run, self._run = self._run, None
        if run.error:
            self._end(ValueError(run.error), "")
        else:
            self._idle(self.status.text())

    # Saying things.

    def _say(self, text: str) -> None:
        if text:
            self.status.setText(text[:1].upper() + text[1:] + " …" * (not text.endswith("…")))

    def _progress(self, text: str, done: int, total: int) -> None:
        self.status.setText(text)
        self.bar.setMaximum(total)
        self.bar.setValue(done)

    def _begin(self, what: str, stop: Callable[[], None]) -> None:
        self._stopper.stop = stop
        for button in (self.preview, self.run):
            button.setEnabled(False)
        self.cancel.setEnabled(True)
        self.bar.setMaximum(0)
        self.bar.show()
        self._say(what)

    def _idle(self, text: str) -> None:
        self._stopper.stop = None
        self.cancel.setEnabled(False)
        self.bar.hide()
        self._say_how_read()
        self.status.setText(text)

    def _end(self, outcome: Exception | None, otherwise: str) -> None:
        self._idle(str(outcome) if outcome is not None else otherwise)
        if outcome is not None:
            from napari.utils.notifications import show_error

            show_error(str(outcome))

    def _plainly(self, do: Callable[[], None], *_: Any) -> None:
        """Show what is wrong with the form as a notification in plain words."""
        try:
            do()
        except (ValueError, TypeError, OSError) as error:
            self._end(error, "")

    def event(self, event: Any) -> bool:
        """Stop when the dock is closed: napari takes the widget out of it."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._stopper()
        return bool(super().event(event))


def _tamed(steps: Any, cancelled: Event) -> Any:
    """Run a generator of sentences in a thread; errors come back as values, in plain words."""
    from napari_deblur.protocols import Cancelled

    try:
        while not cancelled.is_set():
            try:
                yield next(steps)
            except StopIteration as done:
                return done.value
    except Cancelled:
        return None
    except (ValueError, OSError, MemoryError) as error:
        return ValueError(str(error) or "there is not enough memory")
    except Exception as error:  # noqa: BLE001 - shown in the window
        return RuntimeError(f"{type(error).__name__}: {error}")
    return None
