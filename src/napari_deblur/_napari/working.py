"""What widgets share that compute: a thread at work, its sentences, Cancel, and plain errors."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any
from weakref import ref

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QSize
from qtpy.QtWidgets import QProgressBar, QPushButton, QWidget

from napari_deblur._napari.binding import tell_of_crashes
from napari_deblur._napari.calm import Calm
from napari_deblur._napari.docking import Tabbed, main_window_of
from napari_deblur._napari.mistakes import words
from napari_deblur._napari.rows import sentence

__all__ = ["Working", "words"]

DOCKED = (352, 700)  # pixels: all widgets take equally little of the window


# Widgets whose dock was closed while something goes on that outlives it.
_GOING_ON: set[Working] = set()


@dataclass(frozen=True)
class Failed:
    """What went wrong, in plain words; no exception, because Qt's workers raise those again."""

    text: str


class _Stopper:
    """Stops what is going on; outlives the widget, so that closing it stops the work."""

    # Of the class: the collector may have emptied the object when Qt says that the widget is gone.
    stop: Callable[[], None] | None = None

    def __call__(self, *_: Any) -> None:
        if self.stop is not None:
            self.stop()


class Working(QWidget):  # type: ignore[misc]
    """A widget that does one thing at a time, in a thread, and can be told to stop.

    Subclasses lay out `status`, `bar` and `cancel`, and name in `starters` the buttons that are
    grey meanwhile. `refresh` is called when nothing goes on any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopper = _Stopper()
        self._window: Callable[[], Any] | None = None  # it is docked in; held weakly, or it stays
        self.starters: list[Any] = []
        self.status = sentence()
        self.bar = QProgressBar()
        self.bar.hide()
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; an iteration that goes on is finished first")
        self.cancel.setEnabled(False)
        self.stopped = False  # whether Cancel was pressed since something was begun
        self.cancel.clicked.connect(self.stop)
        self.destroyed.connect(self._stopper)
        Calm(self)
        Tabbed(self, lambda other: isinstance(other, Working))
        tell_of_crashes()

    def sizeHint(self) -> Any:
        """Wide enough for all rows; what is drawn asks for more than it needs."""
        return QSize(*DOCKED)

    def busy(self) -> bool:
        """Whether something is going on, so that nothing else can be started."""
        return self._stopper.stop is not None

    def outlives(self) -> str:
        """Name what goes on if it is to be finished when the dock is closed; nothing: stop it."""
        return ""

    @property
    def closed(self) -> bool:
        """Whether the dock was closed while something goes on."""
        return self in _GOING_ON

    def left_alone(self) -> bool:
        """Whether the window was closed as well, after the dock: there is nothing to show it in."""
        window = self._window() if self._window is not None else None
        return self.closed and (window is None or not isalive(window) or not window.isVisible())

    def refresh(self) -> None:
        """Set the buttons that can be pressed when nothing goes on."""
        for button in self.starters:
            button.setEnabled(True)

    def stop(self) -> None:
        """Cancel what is going on."""
        self.stopped = True
        self.say("Cancelling …")
        self._stopper()

    def start(
        self,
        what: str,
        steps: Generator[str, None, Any],
        then: Callable[[Any], None],
        *,
        cancelled: Event | None = None,
        otherwise: str = "Cancelled.",
    ) -> None:
        """Do steps in a thread, showing what they say.

        Parameters
        ----------
        what : str
            Shown until the first step says something.
        steps : generator of sentences
            It runs in another thread: it touches no layer and no widget.
        then : function of what `steps` return
            Called in the window's thread; not where that is None. It ends with `idle`, or begins
            something else with `begin`.
        cancelled : Event, optional
            Set when the user cancels, for steps that look at it meanwhile.
        otherwise : str
            Shown when it was cancelled.

        Raises
        ------
        ValueError
            If something goes on.
        """
        from napari.qt.threading import create_worker

        if self.busy():
            raise ValueError("Something goes on already: wait for its end, or press Cancel")
        event = cancelled or Event()
        worker = create_worker(_tamed, steps, event, _ignore_errors=True)
        ended = partial(self._worked, then, otherwise)
        worker.yielded.connect(self.say)
        worker.returned.connect(ended)
        worker.errored.connect(ended)
        self.begin(what, event.set)
        worker.start()

    def begin(self, what: str, stop: Callable[[], None]) -> None:
        """Show that something goes on, which `stop` ends."""
        self.stopped = False
        self._stopper.stop = stop
        if self._window is None and (window := main_window_of(self)) is not None:
            window.destroyed.connect(self._stopper)
            self._window = ref(window)
        for button in self.starters:
            button.setEnabled(False)
        self.cancel.setEnabled(True)
        self.bar.setMaximum(0)
        self.bar.show()
        self.say(what)

    def say(self, text: str) -> None:
        """Show what is being done."""
        if not text:
            return
        self.status.setText(text[:1].upper() + text[1:] + ("" if text.endswith("…") else " …"))

    def progress(self, text: str, done: int, total: int) -> None:
        """Show how far it is."""
        self.status.setText(text)
        self.bar.setMaximum(total)
        self.bar.setValue(done)

    def idle(self, text: str) -> None:
        """Show that nothing goes on any more, and how it ended."""
        self._stopper.stop = None
        self.cancel.setEnabled(False)
        self.bar.hide()
        self.refresh()
        self.status.setText(text)
        if self.closed:
            _GOING_ON.discard(self)
            if text:
                _tell(text)

    def fail(self, text: str) -> None:
        """Show that it ended with an error, in the widget and as a notification."""
        from napari.utils.notifications import show_error

        _GOING_ON.discard(self)
        self.idle(text)
        show_error(text)

    def plainly(self, do: Callable[[], None], *_: Any) -> None:
        """Do something of which a mistake in the form is shown in plain words.

        What went on before goes on: a mistake is none of its business.
        """
        from napari.utils.notifications import show_error

        busy = self.busy()
        try:
            do()
        except Exception as error:  # noqa: BLE001 - else the buttons would stay grey for good
            if busy:
                show_error(words(error))
            else:
                self.fail(words(error))

    def event(self, event: Any) -> bool:
        """Stop when the dock is closed, but what outlives it: napari takes the widget out of it."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            what = self.outlives() if self.busy() else ""
            if what:
                _GOING_ON.add(self)  # or it would be collected
                _tell(f"{what} goes on. Activity, at the lower right, shows how far it is, and can "
                      "cancel it.")  # fmt: skip
            else:
                self._stopper()
        return bool(super().event(event))

    def _worked(self, then: Callable[[Any], None], otherwise: str, outcome: Any) -> None:
        if not isalive(self):  # the window was closed meanwhile
            return
        if isinstance(outcome, Exception):
            outcome = Failed(words(outcome))
        if isinstance(outcome, Failed):
            self.fail(outcome.text)
        elif outcome is None:
            self.idle(otherwise)
        else:
            try:
                then(outcome)
            except Exception as error:  # noqa: BLE001 - as in `plainly`
                self.fail(words(error))


def _tell(text: str) -> None:
    from napari.utils.notifications import show_info

    show_info(text)


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
        return Failed(words(error))
    finally:
        steps.close()
    return None
