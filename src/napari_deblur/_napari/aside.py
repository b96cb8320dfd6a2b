"""What takes long and is waited for, such as saving: beside the window, with a bar and Cancel."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread, current_thread, main_thread
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QLabel,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
)

__all__ = ["Work", "aside"]

SOON = 0.1  # seconds, within which nothing is shown
EVERY = 50  # ms
WIDTH = 360  # pixels


class Work(Thread):
    """Something that is done in a thread, piece by piece.

    Parameters
    ----------
    do : function of this object
        It calls it between pieces, and sets `total` if it knows how many there are.
    """

    def __init__(self, do: Callable[[Work], Any]) -> None:
        super().__init__(daemon=True)
        self.done = self.total = 0
        self.cancelled = Event()
        self.outcome: Any = None
        self.error: BaseException | None = None
        self._do = do

    def __call__(self, count: int = 1) -> None:
        """Count pieces; raise Cancelled if nobody wants them any more."""
        from napari_deblur.protocols import Cancelled

        if self.cancelled.is_set():
            raise Cancelled
        self.done += count

    def run(self) -> None:
        """Do it, and keep what came of it."""
        try:
            self.outcome = self._do(self)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self.error = error


def aside(title: str, do: Callable[[Work], Any]) -> Any:
    """Give what `do` gives, which is called in a thread while the window lives on.

    The user can do nothing else there meanwhile, but cancel. Without a window that is seen, as in
    scripts, nothing is shown.

    Raises
    ------
    Cancelled
        When the user cancelled.
    """
    work, window = Work(do), _window()
    if window is None:
        work.run()
    else:
        work.start()
        work.join(SOON)
        if work.is_alive():
            _Waiting(title, work, window).exec()
            work.join()
    if work.error is not None:
        raise work.error
    return work.outcome


def _window() -> Any:
    """Give the window that is seen, if this is its thread."""
    if QApplication.instance() is None or current_thread() is not main_thread():
        return None
    shown = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow)]
    return next((one for one in shown if one.isVisible()), None)


class _Waiting(QDialog):  # type: ignore[misc]
    """Shows how far some work is, until it has ended."""

    def __init__(self, title: str, work: Work, window: Any) -> None:
        super().__init__(window)
        self._work = work
        self.setWindowTitle(title)
        self.label, self.bar = QLabel(f"{title} …"), QProgressBar()
        self.label.setWordWrap(True)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; nothing is left of what was written")
        self.cancel.clicked.connect(self.reject)
        rows = QVBoxLayout(self)
        for one in (self.label, self.bar, self.cancel):
            rows.addWidget(one)
        self.setMinimumWidth(WIDTH)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self._timer.start(EVERY)
        self._look()

    def reject(self) -> None:
        """Cancel, by the button, Escape or the cross; it stays until the thread has ended."""
        self._work.cancelled.set()
        self.label.setText("Cancelling …")
        self.cancel.setEnabled(False)

    def _look(self) -> None:
        self.bar.setMaximum(self._work.total)
        self.bar.setValue(min(self._work.done, self._work.total))
        if not self._work.is_alive():
            self._timer.stop()
            self.accept()
