"""The widget Deblur: choose, look at a preview, run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_deblur._napari.belonging import named_store
from napari_deblur._napari.controls import COPIES
from napari_deblur._napari.placing import spatial_kwargs
from napari_deblur._napari.previews import Previews
from napari_deblur._napari.reading import finest
from napari_deblur._napari.settings import preferences
from napari_deblur.places import on_this_machine

if TYPE_CHECKING:
    import napari.viewer

    from napari_deblur._napari.requests import Found, Place
    from napari_deblur._napari.resuming import Unfinished
    from napari_deblur.stack import Stack

__all__ = ["Deblur"]

TICK = 50  # ms
# After the layer or its store was changed, before unfinished runs are looked for.
LATER = 150  # ms
PAUSED = "Paused. "
UNKNOWN = "How long it takes is known after the first tile; a preview tells it before."
NOT_BEGUN = "Cancelled before the run began."
QUESTION = "Press Start to begin, or Cancel to change something."


class Deblur(Previews):
    """Deblur an image layer: preview what is seen, or run on everything into a store."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        self._looking: Any = None
        super().__init__(napari_viewer)
        self._source: tuple[Any, Found] | None = None
        self._run: Any = None
        self._activity: Any = None
        self._unfinished: Unfinished | None = None
        self._run_of = ""  # the image that is run on, also while its run is prepared
        self._costs: Mapping[str, Any] = {}  # of the run that goes on
        self._unknown = False  # whether nobody can say yet how long it takes
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        self._looking = QTimer(self)
        self._looking.setSingleShot(True)
        self._looking.timeout.connect(self._look_for_unfinished)
        self.run.clicked.connect(partial(self.plainly, self.start_run))
        self.resume.clicked.connect(partial(self.plainly, self.start_again))
        self.pause.clicked.connect(self._pause)
        for what, action in self.copies.items():
            action.triggered.connect(partial(self.plainly, partial(self.start_copy, what)))
        self.switched.connect(partial(self._offer_to_go_on, None))
        self.switched.connect(self._look_later)
        self.output.line.textChanged.connect(self._look_later)
        self.idle("")

    def start_run(self) -> None:
        """Restore everything into a store: find an address first, then start the child."""
        from napari_deblur._napari.requests import requesting

        layer, asking, stack = self.confirmed()
        place, key = self._place(layer)
        read_as = self.read_as(layer)
        decided = self.decided

        def planned(ask: Any) -> Generator[str, None, Any]:
            # Loaded here: the window would stand still meanwhile.
            import napari_deblur._napari.activity
            import napari_deblur._napari.runs  # noqa: F401

            return (yield from decided.plan(ask, stack, read_as, search=False))

        steps = requesting(asking, place, planned)
        then = partial(self._addressed, layer, stack, key)
        self.start("Run", steps, then, otherwise=NOT_BEGUN)
        self._run_of = layer.name

    def start_again(self) -> None:
        """Go on with the run that was interrupted."""
        layer, found = self.chosen(), self._unfinished
        if found is None:
            raise ValueError("There is no unfinished run any more")
        stack = self._whole()
        self.correct(layer)  # the rest of the form is not asked: the run has its own plan
        if found.channels is not None:  # those of the run, whatever is ticked now
            stack = stack.selected(channels=found.channels)
        self._begin({"resume": str(found.path)}, layer, stack, None)

    def start_copy(self, what: str) -> None:
        """Put what does the same elsewhere into the clipboard, or save it as a job."""
        from napari_deblur._napari.requests import copying

        layer, asking, _ = self.asked()
        place, key = self._place(layer)
        file = None
        if what == "job":
            suggested = str(place.output).partition(".deblur")[0] + ".toml"
            name, _ = QFileDialog.getSaveFileName(self, COPIES[what], suggested, "Job (*.toml)")
            if not name:
                return
            file = Path(name if name.endswith(".toml") else f"{name}.toml")
        self.start(COPIES[what], copying(asking, place, what, file), partial(self._copied, key))

    def idle(self, text: str) -> None:
        """Show that nothing goes on any more; look whether something is left undone."""
        super().idle(text)
        self._run_of = ""
        self.pause.setEnabled(False)
        self.pause.setText("Pause")
        self.say_costs(self.costs.text().removesuffix(QUESTION).strip())
        self._look_later()

    def outlives(self) -> str:
        """Let a run go on, unless it waits for a word that nobody could give any more."""
        waits = self.pause.text() != "Pause"
        return f"The run of “{self._run_of}”" if self._run_of and not waits else ""

    def _place(self, layer: Any) -> tuple[Place, Any]:
        from napari_deblur._napari.requests import Place

        if not self.output.text():
            raise ValueError('"save as" is empty: say where the result goes')
        output = on_this_machine(self.output.text()).expanduser().absolute()
        if output.suffix != ".zarr":
            raise ValueError(f'"{output.name}" should end in .deblur.zarr: results are zarr stores')
        whole, path = self._whole(), layer.source.path
        key = (self.marks.of(finest(layer)), whole.axes, whole.pixel_size)
        known = self._source[1] if self._source is not None and self._source[0] == key else None
        return Place(whole, str(path) if path else None, preferences().folder, output, known), key

    def _addressed(self, layer: Any, stack: Stack, key: Any, outcome: tuple[str, Found]) -> None:
        request, found = outcome
        self._source = (key, found)
        if self.stopped:  # while the last step was done
            self.idle(NOT_BEGUN)
            return
        self._begin(request, layer, stack, found[1])

    def _begin(
        self, request: Mapping[str, Any] | str, layer: Any, stack: Stack, copy: Path | None
    ) -> None:
        from napari_deblur._napari.activity import Activity
        from napari_deblur._napari.runs import Run

        spatial = spatial_kwargs(layer, self.letters())
        looks = {"blending": layer.blending}
        if not layer.rgb:
            looks |= {"colormap": layer.colormap, "gamma": layer.gamma}
            looks["contrast_limits"] = tuple(map(float, layer.contrast_limits))
        picked = stack.pixels.channels if not stack.rgb else None
        run = Run(
            self.viewer, request, spatial, layer.name, looks, copy, self._told, channels=picked
        )
        self._run = run
        self._activity = Activity(f"Deblur {layer.name}", run.child.running, run.cancel)
        self.begin("Run", run.cancel)
        self._run_of = layer.name
        self.pause.setEnabled(True)
        self.say_costs("")
        self._costs = {}
        self._timer.start(TICK)

    def _poll(self) -> None:
        run = self._run
        if run is None:
            return
        if self.left_alone():
            self._timer.stop()
            self._run = None
            run.cancel()
            self.idle("")
            return
        if self._activity.cancelled and not run.child.cancelled:
            self.stop()
        going = run.poll()
        if run.costs is not None:
            self._weigh(run.costs)
            run.costs = None
        if run.details and self.busy_with is self.layer.currentData():
            self.say_details(run.details)
            run.details = ""
        if run.done[1]:
            self._activity.tell(*run.done)
        if run.pace.each and self._costs:
            self._timed(run.pace.each)
        if going:
            return
        self._timer.stop()
        self._run = None
        self._activity.close()
        if run.error:
            self.fail(run.error)
        else:
            self.idle(self.status.text())

    def _weigh(self, costs: Mapping[str, Any]) -> None:
        """Say what the run takes; let it begin, or ask if that is much."""
        from napari_deblur._napari.requests import costs_of, deserves_a_question
        from napari_deblur._napari.speeds import Work

        speed = self.speeds.of(Work(**costs["work"]))
        text = costs_of(costs, speed)
        self._costs, self._unknown = costs, speed is None
        if self._unknown:
            text = f"{text} {UNKNOWN}"
        if deserves_a_question(costs, speed) and not self.closed:
            self.say_costs(f"{text} {QUESTION}")
            self.pause.setText("Start")
            self.progress("Waiting for your word.", 0, 1)
            return
        self.say_costs(text)
        self._run.go()

    def _timed(self, each: float) -> None:
        """Learn from the tiles how fast it is; say it, if it was not known before."""
        from napari_deblur._napari.requests import costs_of
        from napari_deblur._napari.speeds import Work

        costs, seconds = self._costs, each * self._costs["tiles"]
        self.speeds.learn(Work(**costs["work"]), seconds, costs["voxels"])
        if self._unknown:
            self._unknown = False
            self.say_costs(costs_of(costs, (seconds, costs["voxels"])))

    def _pause(self) -> None:
        """Start what waits for a word; pause what runs; let go on what was paused."""
        run = self._run
        if run is None:
            return
        if self.pause.text() == "Start":
            self.pause.setText("Pause")
            self.say_costs(self.costs.text().removesuffix(QUESTION).strip())
            run.go()
            return
        run.pause(yes=not run.paused)
        self.pause.setText("Go on" if run.paused else "Pause")
        said = self.status.text()
        self.status.setText(f"{PAUSED}{said}" if run.paused else said.removeprefix(PAUSED))

    def _told(self, text: str, done: int, total: int) -> None:
        """Show how far the run is; what was on its way may come after a pause."""
        paused = self._run is not None and self._run.paused
        self.progress(f"{PAUSED}{text}" if paused else text, done, total)

    def _copied(self, key: Any, outcome: tuple[str, str, Found]) -> None:
        text, said, found = outcome
        if text:  # the copy beside a saved job is that job's
            self._source = (key, found)
            QApplication.clipboard().setText(text)
        self.idle(said)

    def _look_later(self, _: Any = None) -> None:
        if self._looking is not None:
            self._looking.start(LATER)

    def _look_for_unfinished(self) -> None:
        """Look, in a thread, for a run of this image that was interrupted."""
        from napari.qt.threading import create_worker

        from napari_deblur._napari.resuming import unfinished

        layer = self.layer.currentData()
        if layer is None or self.busy() or not self.output.text():
            self._offer_to_go_on(None)
            return
        try:
            whole = self._whole()
        except (ValueError, TypeError):
            return
        own = named_store(layer.metadata)
        worker = create_worker(
            _quietly, partial(unfinished, self.output.text(), whole, [own] if own else [])
        )
        worker.returned.connect(partial(self._found_unfinished, layer))
        worker.start()

    def _found_unfinished(self, layer: Any, found: Unfinished | None) -> None:
        if isalive(self) and layer is self.layer.currentData():  # else it is of another image
            self._offer_to_go_on(found)

    def _offer_to_go_on(self, found: Unfinished | None) -> None:
        self._unfinished = found
        there = found is not None and not self.busy()
        if found is not None and there:
            self.unfinished.setText(found.said())
            self.unfinished.setToolTip(str(found.path))
        self.unfinished_row.setVisible(there)


def _quietly(do: Callable[[], Unfinished | None]) -> Unfinished | None:
    try:
        return do()
    except Exception:  # noqa: BLE001 - pixels that can't be read: nothing is offered
        return None
