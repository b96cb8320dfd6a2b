"""Cancel takes one iteration: every loop calls `checkpoint`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from napari_deblur.protocols import Cancelled

__all__ = ["cancellable", "checkpoint"]

_asked: ContextVar[Callable[[], bool] | None] = ContextVar("asked", default=None)


def checkpoint() -> None:
    """Raise `Cancelled` if the caller of this loop has been asked to stop; else do nothing."""
    asked = _asked.get()
    if asked is not None and asked():
        raise Cancelled("cancelled")


@contextmanager
def cancellable(asked: Callable[[], bool]) -> Iterator[None]:
    """Let the loops inside stop once `asked` (``threading.Event().is_set``, say) is true."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)
