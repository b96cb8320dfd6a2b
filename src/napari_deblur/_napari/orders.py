"""Orders of a live preview: the newest is done, and nothing that is out of date. No window."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_deblur._napari.asking import Ask
    from napari_deblur._napari.choices import Asking
    from napari_deblur._napari.kept import Decided
    from napari_deblur._napari.preview import Preview, Window
    from napari_deblur.plans import Plan
    from napari_deblur.stack import Stack

__all__ = ["Order", "Outcome", "Shown", "following"]


@dataclass(eq=False)
class Order:
    """What was asked for at one moment: the form, the pixels, and the place.

    `asking` gives the `Ask`, once; `read` keeps it. `source` is for whoever shows the outcome.
    """

    asking: Asking
    stack: Stack
    window: Window
    read_as: tuple[Any, ...]
    source: Any = None
    _read: list[Ask | Exception] = field(default_factory=list)

    def read(self) -> Ask:
        """Give what is asked for; its kernel is read the first time."""
        if not self._read:
            try:
                while True:
                    next(self.asking)
            except StopIteration as done:
                self._read.append(done.value)
            except Exception as error:  # noqa: BLE001 - raised below, each time
                self._read.append(error)
        found = self._read[0]
        if isinstance(found, Exception):
            raise found
        return found

    def search(self) -> tuple[Ask, Stack, tuple[Any, ...]]:
        """Give what a kernel search depends on."""
        return self.read(), self.stack, self.read_as


Shown = tuple["Plan", "Window"]
Outcome = tuple[Order, "Preview | None"]


def following(
    newest: Callable[[], Order],
    decided: Decided,
    cancelled: Callable[[], bool],
    shown: Shown | None = None,
) -> Generator[str, None, Outcome]:
    """Do the newest order; begin anew when there is a newer one meanwhile.

    A search for kernels goes on if the newer order needs the same one; all else is dropped within
    an iteration.

    Parameters
    ----------
    newest : function
        Gives the newest order; another thread may change it at any time.
    decided : Decided
    cancelled : function
        Whether to stop for good.
    shown : (plan, window), optional
        What is shown already: the preview is None where that is asked for again.

    Raises
    ------
    Cancelled
    """
    from napari_deblur._napari.preview import load_torch

    yield "loading the engine"
    load_torch()
    from napari_deblur.protocols import Cancelled

    while True:
        order = newest()
        try:
            preview = yield from _one(order, newest, decided, cancelled, shown)
        except Cancelled:
            if cancelled():
                raise
            continue
        if newest() is order:
            return order, preview


def _one(
    order: Order,
    newest: Callable[[], Order],
    decided: Decided,
    cancelled: Callable[[], bool],
    shown: Shown | None,
) -> Generator[str, None, Preview | None]:
    from napari_deblur._napari.preview import bounded, previewing
    from napari_deblur.ops import cancellable
    from napari_deblur.protocols import Cancelled

    def superseded() -> bool:
        return cancelled() or newest() is not order

    known = {id(order): True}

    def another() -> bool:
        """Whether the newest order needs another search than the one that goes on."""
        newer = newest()
        if id(newer) not in known:
            try:
                known[id(newer)] = decided.same_search(order.search(), newer.search())
            except Exception:  # noqa: BLE001 - it is said when its turn comes
                known[id(newer)] = False
        return cancelled() or not known[id(newer)]

    if not decided.knows(*order.search()):
        with cancellable(another):
            yield from decided.plan(*order.search())
        if superseded():
            raise Cancelled("there is something newer")
    with cancellable(superseded):
        plan = yield from decided.plan(*order.search())
    assert plan is not None
    window = bounded(order.window, plan.kernel.shape)
    if shown is not None and shown[0] is plan and _alike(shown[1], window):
        return None
    # Steps of it are not worth a sentence each.
    return (yield from previewing(order.read(), order.stack, window, plan, superseded))


def _alike(one: Window, other: Window) -> bool:
    return replace(one, plane=0) == replace(other, plane=0)
