"""What speaks against layers that a network is to learn from as sharp ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_deblur._napari.reading import stack_of

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["Doubts"]


class Doubts:
    """Looks at layers, each once and in a thread, and says what is wrong with them.

    Parameters
    ----------
    found : function
        Called in the window's thread when there is something new to say.
    """

    def __init__(self, found: Callable[[], None]) -> None:
        self._found = found
        self._blurred: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # False until it is known

    def look(self, layer: Any) -> None:
        """Find out whether a layer is sharp."""
        from napari.qt.threading import create_worker

        if layer in self._blurred:
            return
        try:
            stack = stack_of(layer)
        except ValueError:  # that is told where the layer is described
            return
        self._blurred[layer] = False
        worker = create_worker(_blurred, stack)
        worker.returned.connect(partial(self._looked_at, layer))
        worker.start()

    def said(self, layers: Iterable[Any]) -> list[str]:
        """Give a sentence for each of these layers that there is something to say of."""
        told = []
        for layer in layers:
            if "deblur" in layer.metadata:
                told.append(
                    f'"{layer.name}" was deblurred: the network learns what is wrong in it, too.'
                )
            elif self._blurred.get(layer):
                told.append(
                    f'"{layer.name}" looks blurred or noisy: no fine detail is clear in it, so '
                    "the network learns none. Tick a sharper layer."
                )
        return told

    def _looked_at(self, layer: Any, blurred: bool) -> None:  # noqa: FBT001 - a slot
        self._blurred[layer] = blurred
        if blurred:
            self._found()


def _blurred(stack: Stack) -> bool:
    from napari_deblur._napari.sharpness import looks_blurred

    try:
        return looks_blurred(stack)
    except Exception:  # noqa: BLE001 - what can't be read is told of when the training begins
        return False
