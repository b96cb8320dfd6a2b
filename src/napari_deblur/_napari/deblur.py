"""The widget Deblur: choose, look at a preview, run."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QTimer

from napari_deblur._napari.choices import Choices
from napari_deblur._napari.placing import correct, lend, spatial_kwargs
from napari_deblur._napari.settings import preferences

if TYPE_CHECKING:
    import napari.layers
    import napari.viewer

    from napari_deblur._napari.choices import Asking
    from napari_deblur._napari.preview import Preview, Window
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Deblur"]

TICK = 50  # ms


@dataclass(frozen=True)
class Failed:
    """What went wrong, in plain words; no exception, because Qt's workers raise those again."""

    text: str


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
        self._plan: tuple[Any, Plan] | None = None  # of the last preview
        self._source: tuple[Any, tuple[Stack, Path | None]] | None = None
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
        from napari_deblur._napari.window import window_of

        layer, asking, stack = self._confirmed()
        window = window_of(self.viewer, layer, self.letters(), stack)
        cancelled = Event()
        steps = _preview(asking, stack, window, self._read_as(layer), self._plan, cancelled.is_set)
        then = partial(self._previewed, layer, stack, self.letters())
        self._start("Preview", steps, cancelled, then, "Preview cancelled.")

    def start_run(self) -> None:
        """Restore everything into a store: find an address first, then start the child."""
        from napari_deblur._napari.addressing import addressed

        layer, asking, stack = self._confirmed()
        if not self.output.text():
            raise ValueError('"save as" is empty: say where the result goes')
        output = Path(self.output.text()).expanduser().absolute()
        if output.suffix != ".zarr":
            raise ValueError(f'"{output.name}" should end in .deblur.zarr: results are zarr stores')
        key = (id(layer.data), stack.axes, stack.pixel_size)
        known = self._source[1] if self._source is not None and self._source[0] == key else None
        path = layer.source.path
        finding = addressed(stack, str(path) if path else None, preferences().folder, known)
        steps = _request(asking, stack, output, self._read_as(layer), self._plan, finding)
        then = partial(self._addressed, layer, stack, key)
        self._start("Run", steps, Event(), then, "Cancelled before the run began.")

    def stop(self) -> None:
        """Cancel: a preview ends within an iteration, a run at once."""
        self._say("Cancelling …")
        self._stopper()

    def _start(
        self,
        what: str,
        steps: Generator[str, None, Any],
        cancelled: Event,
        then: Callable[[Any], None],
        otherwise: str,
    ) -> None:
        """Do the steps in a thread and then what follows; an error ends in a notification."""
        from napari.qt.threading import create_worker

        worker = create_worker(_tamed, steps, cancelled, _ignore_errors=True)
        ended = partial(self._worked, then, otherwise)
        worker.yielded.connect(self._say)
        worker.returned.connect(ended)
        worker.errored.connect(ended)
        self._begin(what, cancelled.set)
        worker.start()

    def _worked(self, then: Callable[[Any], None], otherwise: str, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            outcome = Failed(_words(outcome))
        if isinstance(outcome, Failed):
            self._end(outcome.text)
        elif outcome is None:
            self._idle(otherwise)
        else:
            self._plainly(partial(then, outcome))

    def _confirmed(self) -> tuple[Any, Asking, Stack]:
        layer, asking, stack = self.chosen(), self.asking(), self.stack()
        self.picked = True
        correct(layer, self.letters(), self.sizes_given())
        if self.kernel.currentData() == "layer":
            lend(self.kernel_layer.currentData(), self.sizes_given())
        return layer, asking, stack

    def _read_as(self, layer: Any) -> tuple[Any, ...]:
        return (id(layer.data), self.letters(), self.sizes_given())

    def _previewed(self, layer: Any, stack: Stack, axes: str, outcome: tuple[Any, Preview]) -> None:
        from napari_deblur._napari.previewed import preview_layers

        key, preview = outcome
        made = preview_layers(layer, stack, preview, axes)
        self._plan = (key, preview.plan)
        self.say_plan(preview.plan.summary())
        for number, one in enumerate(made):
            # One at a time: napari takes 0.1 to 0.3 s to add a layer.
            QTimer.singleShot(TICK * number, partial(self._put_preview, *one[:2]))
        notes = "; ".join(preview.plan.notes)
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
        self, layer: Any, stack: Stack, key: Any, outcome: tuple[str, tuple[Stack, Path | None]]
    ) -> None:
        from napari_deblur._napari.runs import Run

        request, self._source = outcome[0], (key, outcome[1])
        copy = outcome[1][1]
        shown = stack.axes.replace("c", "") if stack.rgb else stack.axes
        spatial = spatial_kwargs(layer, self.letters(), shown)
        looks = {} if layer.rgb else {"colormap": layer.colormap, "gamma": layer.gamma}
        self._run = Run(self.viewer, request, spatial, stack.name, looks, copy, self._progress)
        self._stopper.stop = self._run.cancel
        self._timer.start(TICK)

    def _poll(self) -> None:
        if self._run is None:
            return
        going = self._run.poll()
        if self._run.plan:
            self.say_plan(self._run.plan)
            self._run.plan = ""
        if going:
            return
        self._timer.stop()
        run, self._run = self._run, None
        if run.error:
            self._end(run.error)
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

    def _end(self, text: str) -> None:
        from napari.utils.notifications import show_error

        self._idle(text)
        show_error(text)

    def _plainly(self, do: Callable[[], None], *_: Any) -> None:
        """Show what is wrong with the form as a notification in plain words."""
        try:
            do()
        except Exception as error:  # noqa: BLE001 - else the buttons would stay grey for good
            self._end(_words(error))

    def event(self, event: Any) -> bool:
        """Stop when the dock is closed: napari takes the widget out of it."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._stopper()
        return bool(super().event(event))


def _tamed(steps: Any, cancelled: Event) -> Any:
    """Run a generator of sentences in a thread; errors come back as `Failed`."""
    from napari_deblur.protocols import Cancelled

    try:
        while not cancelled.is_set():
            try:
                yield next(steps)
            except StopIteration as done:
                return done.value
    except Cancelled:
        return None
    except Exception as error:  # noqa: BLE001 - shown in the window
        return Failed(_words(error))
    finally:
        steps.close()
    return None


def _words(error: Exception) -> str:
    """Say an error as a sentence; only what nobody foresaw is called by its Python name."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, ValueError | TypeError | OSError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


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


def _request(
    asking: Asking,
    stack: Stack,
    output: Path,
    read_as: tuple[Any, ...],
    known: tuple[Any, Plan] | None,
    finding: Generator[str, None, tuple[Stack, Path | None]],
) -> Generator[str, None, tuple[str, tuple[Stack, Path | None]]]:
    """Give the child's request as JSON, and where the pixels lie."""
    from napari_deblur._napari.addressing import must_be_writable

    must_be_writable(output.parent, 'choose another one under "save as"')
    ask = yield from asking
    found = yield from finding
    source = found[0].source
    assert source is not None
    plan = known[1] if known is not None and known[0] == (ask.key, *read_as) else None
    asked = ask.to_dict()
    # The plan in the store has the kernel's numbers already.
    job = asked | {"kernel": asked["kernel"] and asked["kernel"]["report"]}
    request = {
        "source": source.to_dict(),
        "described": {
            "name": stack.name,
            "time_step": stack.time_step,
            "pixel_size": stack.pixel_size,
        },
        "ask": asked,
        "plan": replace(plan, source=None).to_dict() if plan is not None else None,
        "output": str(output),
        "job": {"made_with": "napari", **job},
    }
    return json.dumps(request), found
