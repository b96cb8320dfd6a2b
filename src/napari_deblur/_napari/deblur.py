"""The widget Deblur: choose, look at a preview, run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QTimer

from napari_deblur import registry
from napari_deblur._napari.asking import Ask, finds_kernels
from napari_deblur._napari.controls import Controls, rows_of
from napari_deblur._napari.form import form_of, summary_of, value_of
from napari_deblur._napari.placing import correct, spatial_kwargs
from napari_deblur._napari.reading import axes_of, kernel_of, offered, pixel_size_of, stack_of
from napari_deblur._napari.settings import preferences

if TYPE_CHECKING:
    import napari.layers
    import napari.viewer

    from napari_deblur.stack import Stack

__all__ = ["Deblur"]

# The proof of the geometry; it deblurs nothing.
HIDDEN = {"identity"}
FIRST = "blind-richardson-lucy"
TICK = 50  # ms


class _Stopper:
    """Stops what is going on; outlives the widget, so that closing it stops the run."""

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None

    def __call__(self, *_: Any) -> None:
        if self.stop is not None:
            self.stop()


class Deblur(Controls):
    """Deblur an image layer: preview what is seen, or run on everything into a store."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self._plan: tuple[Any, Any] | None = None  # of the last preview
        self._source: tuple[Any, Stack, Path | None] | None = None
        self._output_of: Any = None
        self._run: Any = None
        self._stopper = _Stopper()
        self._forms: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
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
        self.preview.clicked.connect(partial(self._plainly, self.start_preview))
        self.run.clicked.connect(partial(self._plainly, self.start_run))
        self.cancel.clicked.connect(self.stop)
        self.destroyed.connect(self._stopper)
        self._method_chosen()
        self.reset_choices()
        self._idle("")

    # What is asked for.

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
        return stack_of(self.chosen(), self.axes.text(), self._sizes())

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

    # Preview and run.

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
        correct(layer, self.axes.text(), self._sizes())
        return layer, ask, stack

    def _key(self, layer: Any, ask: Ask) -> tuple[Any, ...]:
        return (ask.key, id(layer.data), self.axes.text(), self._sizes())

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

    # Rows that depend on each other.

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
            row.setEnabled(layer is not None and self._stopper.stop is None)
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

    def _sizes(self) -> tuple[float | None, float | None, float | None]:
        layer, axes = self.layer.currentData(), self.axes.text()
        known = pixel_size_of(layer, axes) if layer is not None else (None, None, None)
        # What was not edited keeps all its digits.
        z, y, x = (
            None if axis not in axes else own if line.text() == _shown(own) else _number(line, axis)
            for (axis, line), own in zip(self.sizes.items(), known, strict=True)
        )
        return z, y, x

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
