"""A run as napari sees it: a bar in the Activity dock, and a task that closing asks about."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import Any

__all__ = ["Activity"]

EVERY = 0.1  # seconds


class Activity:
    """Tells napari that something goes on, until `close`.

    Parameters
    ----------
    title : str
    running : function without arguments
        Whether it goes on; called in another thread.
    cancel : function without arguments
        Called when the user lets napari close all the same.
    """

    def __init__(self, title: str, running: Callable[[], bool], cancel: Callable[[], None]) -> None:
        from napari.qt.threading import create_worker
        from napari.utils import cancelable_progress

        self._bar = cancelable_progress(total=0, desc=title, smoothing=0)
        # napari asks before it closes as long as one of its workers runs.
        watch = _Watch(title, running, cancel)
        watch.worker = create_worker(watch)
        watch.worker.start()

    @property
    def cancelled(self) -> bool:
        """Whether Cancel was pressed beside the bar."""
        return bool(self._bar.is_canceled)

    def tell(self, done: int, total: int) -> None:
        """Show how far it is."""
        if total != self._bar.total:
            self._bar.total = total
            self._bar.reset(total)
            # What was done before tells nothing of the speed.
            self._bar.initial = self._bar.n = done
        if done > self._bar.n:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away; the task ends by itself."""
        self._bar.close()


class _Watch:
    """Waits, in a thread, until something has ended; napari shows its name."""

    def __init__(self, title: str, running: Callable[[], bool], cancel: Callable[[], None]) -> None:
        self.title, self.running, self.cancel = title, running, cancel
        self.worker: Any = None

    def __str__(self) -> str:
        return self.title

    def __call__(self) -> None:
        while self.running():
            if self.worker is not None and self.worker.abort_requested:
                self.cancel()
                return
            sleep(EVERY)
