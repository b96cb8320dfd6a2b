"""Pixels of files that other packages decode: one plane after the other, when they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.readers._files import is_of_the_disk

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Planes", "check_series", "decoding"]


class Planes(ABC):
    """Planes of a file that stays open; it pickles as the address that it was opened from.

    Parameters
    ----------
    address : str
    series : int
    sizes : mapping
        Length of each axis; those of a plane come last.
    dtype : numpy dtype
    within : str
        The axes of a plane; s are colour samples.
    """

    at_once = 1  # planes that are unpacked at a time

    def __init__(
        self, address: str, series: int, sizes: Mapping[str, int], dtype: Any, within: str = "yxs"
    ) -> None:
        self._address, self.within = (address, series), within
        self.axes, self.shape = "".join(sizes), tuple(sizes.values())
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.chunks = tuple(n if a in within else 1 for a, n in sizes.items())
        # One place in the file, and threads that look at it: a window, or tiles that overlap.
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return type(self), self._address

    @abstractmethod
    def plane(self, where: Mapping[str, int]) -> NDArray[Any]:
        """Read the plane at an index for each other axis."""

    def __getitem__(self, where: tuple[int | slice, ...]) -> NDArray[Any]:
        outer = sum(axis not in self.within for axis in self.axes)
        picks = [range(n)[w] for n, w in zip(self.shape[:outer], where, strict=False)]
        lists = [[pick] if isinstance(pick, int) else list(pick) for pick in picks]
        inner = tuple(where[outer:])
        planes: list[NDArray[Any]] = []
        with self._lock, decoding(self._address[0]):
            for at in product(*lists):
                # A copy: the file's own memory may be closed before the block is used, and a part
                # of a plane would hold all of it.
                planes.append(self.plane(dict(zip(self.axes, at, strict=False)))[inner].copy())
        kept = [len(pick) for pick in picks if not isinstance(pick, int)]
        return np.array(planes).reshape(*kept, *planes[0].shape)


def check_series(series: int, count: int, address: str) -> None:
    """Refuse an image that a file of several does not have."""
    if not 0 <= series < count:
        raise ValueError(
            f'series={series} was asked for but "{address}" has {count}, counted from 0: choose 0 '
            f"to {count - 1}"
        )


@contextmanager
def decoding(address: str) -> Iterator[None]:
    """Say what another package finds wrong with a file as a ValueError of one sentence."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if is_of_the_disk(error):
            raise
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(
            f'"{address}" cannot be read, it is damaged or of a kind that is not known ({said}): '
            "copy it again from where it came from"
        ) from error
