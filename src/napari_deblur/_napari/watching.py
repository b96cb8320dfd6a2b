"""What is told of a layer: it lies elsewhere, its pixels are others, its file was read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari_deblur._napari.placing import PLACE
from napari_deblur._napari.stated import said_by, takes_long

__all__ = ["Watch", "when_read"]


# Files that are being read.
_WORKERS: dict[Any, Any] = {}


def when_read(layer: Any, then: Callable[[Any], None]) -> None:
    """Read in a thread what a layer's file says, and call `then`; not where it is known at once.

    Look at what is known after this, not before: the thread may have ended in between.
    """
    path = layer.source.path
    if not takes_long(path):
        return
    from napari.qt.threading import create_worker

    worker = _WORKERS.get(path)
    if worker is not None:
        worker.returned.connect(then)
        return
    worker = _WORKERS[path] = create_worker(said_by, path)
    worker.returned.connect(then)
    worker.finished.connect(partial(_WORKERS.pop, path, None))
    worker.start()


class Watch:
    """Watches one layer at a time.

    Parameters
    ----------
    placed : function
        Called when scale, units, names of axes or anything else of its place was changed.
    changed : function
        Called when it was given other pixels.
    """

    def __init__(self, placed: Callable[[], None], changed: Callable[[], None]) -> None:
        self._placed, self._changed = placed, changed
        self._layer: Any = None
        self.quiet = False  # whether what is changed just now is our own doing

    def follow(self, layer: Any) -> None:
        """Watch this layer, and no longer the one before; None for none."""
        if layer is self._layer:
            return
        if self._layer is not None:
            for name in PLACE:
                getattr(self._layer.events, name).disconnect(self._moved)
            self._layer.events.data.disconnect(self._renewed)
        self._layer = layer
        if layer is not None:
            for name in PLACE:
                getattr(layer.events, name).connect(self._moved)
            layer.events.data.connect(self._renewed)

    def _moved(self, _: Any = None) -> None:
        if not self.quiet:
            self._placed()

    def _renewed(self, _: Any = None) -> None:
        self._changed()
