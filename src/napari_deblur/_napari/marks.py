"""Marks of pixels: those of a layer have another one once they were changed."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

__all__ = ["Marks"]

# Bytes of which all are looked at; of larger arrays a grid of about as many.
LOOKED_AT = 2**22


class Marks:
    """Gives each array a number, and a hash of some of what is in it.

    Another array may come to lie where one lay in memory, so its address alone is no mark.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Callable[[], Any], int]] = []
        self._numbers = count()

    def of(self, data: Any) -> tuple[int, int]:
        """Give the mark; only pixels in memory are looked at, no file is read for it."""
        self._known = [(there, number) for there, number in self._known if there() is not None]
        for there, number in self._known:
            if there() is data:
                return number, _hash(data)
        try:
            there = weakref.ref(data)
        except TypeError:
            there = _kept(data)
        self._known.append((there, next(self._numbers)))
        return self._known[-1][1], _hash(data)


def _kept(data: Any) -> Callable[[], Any]:
    return lambda: data


def _hash(data: Any) -> int:
    if not isinstance(data, np.ndarray) or isinstance(data, np.memmap):
        return 0
    step = max(1, int(np.ceil((data.nbytes / LOOKED_AT) ** (1 / max(data.ndim, 1)))))
    part = data[(slice(None, None, step),) * data.ndim]
    return zlib.crc32(part.tobytes())
