"""The row of the live preview: whether, where, and before or after."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QPushButton, QSlider, QSpinBox, QVBoxLayout

from napari_deblur._napari.orders import following
from napari_deblur._napari.rows import rows_of, side_by_side
from napari_deblur._napari.settings import preferences
from napari_deblur._napari.working import Working, words

if TYPE_CHECKING:
    from napari_deblur._napari.kept import Decided
    from napari_deblur._napari.orders import Order, Outcome, Shown
    from napari_deblur._napari.preview import Preview, Window

__all__ = ["KEY", "LiveRow"]

KEY = "Shift-B"
FOLLOWS = (
    "Preview the region again whenever something changes: the method, its numbers, the rectangle, "
    "the plane. A kernel is searched for only when something changes that it depends on"
)
NO_REGION = "Only a region is followed: press region first"
QUIET = 250  # ms without a change, before anything is computed
PATIENCE = 600  # ms, after which it is shown that something goes on
STEPS = 1000  # of the slider


class LiveRow(Working):
    """Live or not, the region, its planes, and before and after.

    Parameters
    ----------
    order : function
        Gives what the form asks for now; it may raise `ValueError`.
    show : function of an order and its preview
    decided : Decided
    region : function of a bool
        Draws the region or takes it away; may raise `ValueError`.
    overlay : Overlay
    """

    def __init__(
        self,
        order: Callable[[], Order],
        show: Callable[[Order, Preview], None],
        decided: Decided,
        region: Callable[[bool], None],
        overlay: Any,
    ) -> None:
        super().__init__()
        self._order, self._show, self._decided = order, show, decided
        self._draw, self.overlay = region, overlay
        self._newest: Order | None = None
        self._done: Order | None = None
        self.shown: Shown | None = None
        self._paused = self._missed = False
        self._event = Event()
        self._said = ""
        self._wrong = ""  # with what was asked for last
        self._timer, self._slow = QTimer(self), QTimer(self)
        for timer, then in ((self._timer, self._due), (self._slow, self._say_it_takes)):
            timer.setSingleShot(True)
            timer.timeout.connect(then)
        self._wanted_live = preferences().live
        self.live = QCheckBox("l&ive")
        self.region = QPushButton("re&gion")
        self.region.setCheckable(True)
        self.region.setToolTip(
            "Draw a rectangle and preview it: drag it, or resize it by its corners. Without it, "
            "Preview shows what is on the screen"
        )
        self.around = QSpinBox()
        self.around.setRange(0, 24)
        self.around.setPrefix("± ")
        self.around.setToolTip("Planes above and below the one that is shown, within the region")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setToolTip(
            f"Sweep the preview aside, from left to right, to see the image below it (or {KEY})"
        )
        self.before = QPushButton("&before")
        self.before.setCheckable(True)
        self.before.setToolTip(f"Show the image as it was, without the preview (key {KEY})")
        self._allow_live(yes=False)
        self._lay()
        self.live.clicked.connect(self._live_wanted)
        self.live.toggled.connect(self._turned)
        self.region.toggled.connect(self._region_wanted)
        self.around.valueChanged.connect(self.ask)
        self.slider.valueChanged.connect(self._swept)
        self.before.toggled.connect(self._compared)
        self.cancel.setToolTip("Stop, and preview no longer live")

    def _lay(self) -> None:
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(4)
        self.around.setMaximumWidth(76)
        self.before.setMaximumWidth(76)
        rows = rows_of(
            [
                ("preview", side_by_side(self.live, self.region, self.around)),
                ("swipe", side_by_side(self.slider, self.before)),
            ]
        )
        whole.addWidget(rows)
        self.going = side_by_side(self.bar, self.cancel)
        whole.addWidget(self.going)
        whole.addWidget(self.status)
        self.going.hide()
        self.status.hide()

    def ask(self, *_: Any) -> None:
        """Preview what is asked for by then, when nothing has changed for a moment."""
        if self._wanted():
            self._timer.start(QUIET)

    def _wanted(self) -> bool:
        """Only a region that was drawn is followed."""
        return bool(self.live.isChecked() and self.region.isChecked())

    def pause(self) -> None:
        """Stop, and wait for `resume`: something else goes on."""
        self._paused = True
        if self.busy():
            self._missed = True
            self._event.set()

    def resume(self) -> None:
        """Go on with what was changed meanwhile, unless a run shows its own by now."""
        self._paused, missed, self._missed = False, self._missed, False
        if missed and not self.overlay.hidden:
            self.ask()

    def close_down(self) -> None:
        """Stop for good: the widget is put away."""
        self._timer.stop()
        self.live.setChecked(False)
        self._event.set()

    def forget(self) -> None:
        """Leave nothing of what was shown and said: the region or the image is another."""
        self._timer.stop()
        self._event.set()
        self.shown, self._wrong = None, ""
        self.overlay.clear()
        self.slider.setValue(0)
        self.before.setChecked(False)
        if not self.busy():
            self.idle("")

    def begin(self, what: str, stop: Callable[[], None]) -> None:
        """Show that something goes on, but only once it takes a while."""
        self._slow.start(PATIENCE)
        super().begin(what, stop)

    def say(self, text: str) -> None:
        """Keep what is being done, and show it once it takes a while."""
        self._said = text
        if not self._slow.isActive():
            super().say(text)

    def stop(self) -> None:
        """Cancel what is going on, and preview no longer live."""
        self._wanted_live = False
        self.live.setChecked(False)
        super().stop()

    def idle(self, text: str) -> None:
        """Show how it ended; do what was asked for meanwhile."""
        self._slow.stop()
        super().idle(text or self._wrong)
        self.going.hide()
        self.status.setVisible(bool(text or self._wrong))
        if self._newest is not self._done and not self._paused:
            self.ask()

    def fail(self, text: str) -> None:
        """Say what is wrong, but only here: the user may be in the middle of a word."""
        self._done = self._newest
        self.idle(f"No preview: {text}")

    def _say_it_takes(self) -> None:
        if self.busy():
            self.going.show()
            self.status.show()
            super().say(self._said)

    def _live_wanted(self, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        self._wanted_live = on

    def _allow_live(self, *, yes: bool) -> None:
        """Let a region be followed; without one there is nothing to follow."""
        self.live.setEnabled(yes)
        self.live.setToolTip(FOLLOWS if yes else NO_REGION)
        self.live.setChecked(yes and self._wanted_live)

    def _turned(self, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        if on:
            self._timer.start(0)
            return
        self._timer.stop()
        if self.busy():
            self._event.set()

    def _swept(self, value: int) -> None:
        self.overlay.swipe(value / STEPS)

    def _compared(self, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        self.overlay.look(before=on)

    def _region_wanted(self, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        if not on:
            self.forget()
        try:
            self._draw(on)
        except (ValueError, TypeError) as error:
            on = False
            self.region.blockSignals(True)
            self.region.setChecked(False)
            self.region.blockSignals(False)
            self.idle(words(error))
        self._allow_live(yes=on)
        self.ask()

    def _due(self) -> None:
        """Take the order from the form; start the thread unless it is at work already."""
        if not self._wanted():
            return
        if self._paused:
            self._missed = True
            return
        try:
            self._newest, self._wrong = self._order(), ""
        except Exception as error:  # noqa: BLE001 - shown in plain words
            self._wrong = f"No preview: {words(error)}"
            self._done = self._newest
            self._event.set()  # what is computed is no longer asked for
            if not self.busy():
                self.idle(self._wrong)
            return
        if self.busy():
            return
        self._event = Event()
        steps = following(self._now, self._decided, self._event.is_set, self.shown)
        self.start("Preview", steps, self._came, cancelled=self._event, otherwise="")

    def _now(self) -> Order:
        """Give the newest order; the thread looks at it all the time."""
        assert self._newest is not None
        return self._newest

    def _came(self, outcome: Outcome) -> None:
        order, preview = outcome
        self._done = order
        if self._event.is_set():  # it came too late
            self.idle("")
            return
        if preview is None:
            self.idle(self.status.text())
            return
        self.shown = (preview.plan, preview.window)
        self._show(order, preview)
        self.idle(_told(preview, order.window))


def _told(preview: Preview, asked: Window) -> str:
    """Say what is seen, and how long it took."""
    (z0, z1), (y0, y1), (x0, x1) = preview.window.box
    planes = f"{z1 - z0} planes of " if z1 - z0 > 1 else ""
    less = preview.window.box[1:] != asked.box[1:]
    took = f"{preview.seconds:.{2 if preview.seconds < 1 else 1}f} s"
    said = f"{planes}{y1 - y0} × {x1 - x0} pixels in {took}, as Run gives them."
    return said + (" Only the middle of the region: it is large." if less else "")
