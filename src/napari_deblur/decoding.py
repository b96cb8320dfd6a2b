"""Chunks of a source are unpacked as a whole: how many at a time, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.pixels import Pixels

__all__ = ["Chunks", "at_once", "chunks_of", "read"]

# zarr unpacks so many at a time (its ``async.concurrency``), however large they are.
MOST = 10
# Bytes of chunks that are unpacked at a time, or one chunk if that is larger.
ROOM = 2**27
# What unpacking holds: the chunk, and what it is packed to, which noise is not.
HELD = 2

# Large chunks are unpacked by one thread of a process at a time.
_large = Lock()


@dataclass(frozen=True)
class Chunks:
    """How a source is stored, as far as it is unpacked to be read.

    Parameters
    ----------
    shape : (z, y, x)
        Of a chunk.
    offset : (z, y, x)
        Where the stack begins in the source.
    nbytes : int
        Of a chunk, unpacked, with all frames and channels that are in it.
    at_once : int
        How many are unpacked at a time.
    times : int
        How often a chunk is unpacked for its frames and channels, which are read one by one.
    """

    shape: tuple[int, int, int]
    offset: tuple[int, int, int]
    nbytes: int
    at_once: int
    times: int = 1

    def touched(self, axis: int, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Count the chunks along an axis that each block touches, by where it begins."""
        n, first = self.shape[axis], starts + self.offset[axis]
        count: NDArray[np.int64] = (first + length - 1) // n - first // n + 1
        return count

    def held(self, touched: Any) -> Any:
        """Give the bytes that memory holds while a block of so many chunks is read, besides it."""
        return HELD * self.nbytes * np.minimum(touched, self.at_once)


def chunks_of(pixels: Pixels) -> Chunks | None:
    """Say how pixels are stored; None where nothing is unpacked to read them."""
    base, many = pixels.base, getattr(pixels.base, "at_once", None)
    if many is None:
        many = int(hasattr(base, "dask"))  # read by one thread, chunk by chunk
    if not many:
        return None
    sizes = [c if isinstance(c, int) else max(c, default=1) for c in base.chunks]
    sizes = [max(1, min(c, n)) for c, n in zip(sizes, base.shape, strict=True)]
    of = dict(zip(pixels.axes, sizes, strict=True))
    z, y, x = (of.get(axis, 1) for axis in "zyx")
    begin_z, begin_y, begin_x = (start for start, _ in pixels.region or ((0, 0),) * 3)
    nbytes = prod(sizes) * np.dtype(base.dtype).itemsize
    times = min(of.get("t", 1), pixels.shape[0]) * min(of.get("c", 1), pixels.shape[1])
    return Chunks((z, y, x), (begin_z, begin_y, begin_x), nbytes, many, times)


def at_once(nbytes: int, *, sharded: bool = False) -> int:
    """Say how many chunks of `nbytes`, unpacked, are in work at a time while a block is read."""
    return max(1, min(MOST * MOST if sharded else MOST, ROOM // max(nbytes, 1)))


def read(array: Any, where: Any, *, chunks: Sequence[int], sharded: bool = False) -> NDArray[Any]:
    """Index a zarr array; where its chunks are large, only a few of them at a time.

    Parameters
    ----------
    array : zarr.Array
    where : numbers and slices, one for each axis
    chunks : sequence of int
        What is unpacked as a whole.
    sharded : bool
        Whether files hold several chunks: then several of several files are unpacked at a time.
    """
    itemsize = np.dtype(array.dtype).itemsize
    many = at_once(prod(chunks) * itemsize, sharded=sharded)
    plain = isinstance(where, tuple) and len(where) == len(chunks) and all(map(_is_plain, where))
    if not plain or many >= (MOST * MOST if sharded else MOST):
        return np.asarray(array[where])
    spans = [
        (int(w), int(w) + 1) if not isinstance(w, slice) else w.indices(n)[:2]
        for w, n in zip(where, array.shape, strict=True)
    ]
    kept = [axis for axis, w in enumerate(where) if isinstance(w, slice)]
    out = np.empty([max(0, spans[a][1] - spans[a][0]) for a in kept], array.dtype)
    for piece in _pieces(spans, chunks, many):
        source = tuple(
            slice(*span) if isinstance(w, slice) else w
            for span, w in zip(piece, where, strict=True)
        )
        target = tuple(slice(*(end - spans[a][0] for end in piece[a])) for a in kept)
        with _large:
            out[target] = array[source]
    return out


def _is_plain(one: Any) -> bool:
    """Whether that is a number from the front, or a slice without steps."""
    if isinstance(one, slice):
        return one.step in (None, 1)
    return isinstance(one, int | np.integer) and bool(one >= 0)


def _pieces(
    spans: Sequence[tuple[int, int]], chunks: Sequence[int], most: int
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Cut a box between chunks, so that none of the pieces touches more than so many of them."""
    cuts: list[list[tuple[int, int]]] = []
    for (start, stop), n in zip(reversed(spans), reversed(chunks), strict=True):
        touched = -(-stop // n) - start // n
        wide = n * max(1, min(most, touched))
        edges = [start, *range((start // n) * n + wide, stop, wide), stop]
        cuts.append([(a, b) for a, b in pairwise(edges) if a < b])
        most //= max(1, touched)  # the next axis has room for as many of these rows
    for piece in product(*reversed(cuts)):
        yield tuple(piece)
