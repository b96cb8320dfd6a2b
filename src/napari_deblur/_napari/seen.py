"""A zarr array as napari wants to see it, read ahead so that the window never waits."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import product
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Seen"]

# Decoded chunks that are kept, in bytes.
KEPT = 2**28
Chunk = tuple[int, ...]


class Seen(NDArrayOperatorsMixin):
    """A zarr array with its axes in another order; decoded chunks are kept for a while.

    Not dask: napari keeps what dask computed, and would go on showing the old pixels after the
    store was written. Decoding a chunk may take longer than the window should wait, so `reload`
    does it in another thread before the layer is refreshed.

    Parameters
    ----------
    base : zarr array
    order : axes of `base` in the order to be shown; those that are left out have length 1
    spread : (axis of `base`, where each of its indices is shown), or None
        Nothing is shown in the gaps: NaN, for which integers become floats.
    """

    def __init__(
        self, base: Any, order: Sequence[int], spread: tuple[int, Sequence[int]] | None = None
    ) -> None:
        self.base, self.order, self.spread = base, tuple(order), spread
        self.shape = tuple(int(base.shape[axis]) for axis in order)
        self.chunks = tuple(int(base.chunks[axis]) for axis in order)
        self._at = -1  # the axis with gaps, and what is stored of it
        self._stored: dict[int, int] = {}
        if spread is not None:
            self._at = self.order.index(spread[0])
            self._stored = {place: n for n, place in enumerate(spread[1])}
            self.shape = _replaced(self.shape, self._at, spread[1][-1] + 1)
            self.chunks = _replaced(self.chunks, self._at, 1)
        kind = np.dtype(base.dtype)
        self.dtype = kind if spread is None else np.promote_types(kind, np.float32)
        self.ndim = len(self.shape)
        self._kept: OrderedDict[Chunk, NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels, unpacked."""
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.base, self.order, self.spread)

    def __deepcopy__(self, memo: Any) -> Seen:
        """Look at the same store: a duplicate of the layer, not of the file."""
        return Seen(self.base, self.order, self.spread)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(one) if isinstance(one, Seen) else one for one in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)

    # Arithmetic brings __eq__ along.
    __hash__ = object.__hash__

    def astype(self, dtype: Any, **kwargs: Any) -> NDArray[Any]:
        """Read everything, as another type."""
        return np.asarray(self).astype(dtype, **kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        """Read everything, as the other statistics do; arguments are numpy's."""
        return np.asarray(self).min(*args, **kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        """Give the largest value."""
        return np.asarray(self).max(*args, **kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """Give the mean."""
        return np.asarray(self).mean(*args, **kwargs)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        """Give the sum."""
        return np.asarray(self).sum(*args, **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001
        return self[...].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if any(np.ndim(k) for k in (key if isinstance(key, tuple) else (key,))):
            return np.asarray(np.asarray(self)[key])  # a mask or a list of places
        picks = self._picks(key)
        spans = [(min(p, default=0), max(p, default=-1) + 1) for p in map(_range, picks)]
        whole = np.empty([stop - start for start, stop in spans], self.dtype)
        touched = [range(a // c, -(-b // c)) for (a, b), c in zip(spans, self.chunks, strict=True)]
        for chunk in product(*touched) if whole.size else ():
            corner = [i * c for i, c in zip(chunk, self.chunks, strict=True)]
            ends = [min(f + c, n) for f, c, n in zip(corner, self.chunks, self.shape, strict=True)]
            boxes = [
                (max(a, first), min(b, last))
                for (a, b), first, last in zip(spans, corner, ends, strict=True)
            ]
            to = tuple(slice(a - s, b - s) for (a, b), (s, _) in zip(boxes, spans, strict=True))
            of = tuple(slice(a - f, b - f) for (a, b), f in zip(boxes, corner, strict=True))
            whole[to] = self._chunk(chunk)[of]
        return whole[tuple(0 if isinstance(p, int) else _step(p) for p in picks)]

    def shown(self, chunk: Chunk) -> Chunk:
        """Give the number that a chunk of the store has here, where axes have gaps."""
        if self.spread is None:
            return chunk
        return _replaced(chunk, self._at, self.spread[1][chunk[self._at]])

    def stored(self, axis: int, index: int) -> int:
        """Give the index in the store of what is shown at an index; of a gap, of what is before."""
        if axis != self._at:
            return index
        return max((n for place, n in self._stored.items() if place <= index), default=0)

    def reload(self, chunk: Iterable[int]) -> NDArray[Any]:
        """Read a chunk anew and give it; for any thread."""
        chunk = tuple(chunk)
        block = self._read(chunk)
        with self._lock:
            self._keep(chunk, block)
        return block

    def drop(self, chunk: Iterable[int]) -> None:
        """Read a chunk anew when it is wanted next."""
        with self._lock:
            self._kept.pop(tuple(chunk), None)

    def _chunk(self, chunk: Chunk) -> NDArray[Any]:
        with self._lock:
            if chunk in self._kept:
                self._kept.move_to_end(chunk)
                return self._kept[chunk]
        block = self._read(chunk)
        with self._lock:
            # Another thread may have reloaded it meanwhile: what that read is newer.
            if chunk not in self._kept:
                self._keep(chunk, block)
            return self._kept.get(chunk, block)

    def _keep(self, chunk: Chunk, block: NDArray[Any]) -> None:
        self._kept[chunk] = block
        self._kept.move_to_end(chunk)
        while len(self._kept) > 1 and sum(b.nbytes for b in self._kept.values()) > KEPT:
            self._kept.popitem(last=False)

    def _read(self, chunk: Chunk) -> NDArray[Any]:
        where: list[Any] = [0] * len(self.base.shape)
        for axis, i, c in zip(self.order, chunk, self.chunks, strict=True):
            where[axis] = slice(i * c, (i + 1) * c)
        if self.spread is not None:
            number = self._stored.get(chunk[self._at])
            if number is None:
                ends = zip(chunk, self.chunks, self.shape, strict=True)
                sizes = [min(c, n - i * c) for i, c, n in ends]
                return np.full(sizes, np.nan, self.dtype)
            where[self.spread[0]] = slice(number, number + 1)
        block = np.asarray(self.base[tuple(where)], self.dtype)
        left = sorted(self.order)
        return block.transpose([left.index(axis) for axis in self.order])

    def _picks(self, key: Any) -> list[int | range]:
        keys = key if isinstance(key, tuple) else (key,)
        if any(k is Ellipsis for k in keys):
            at = next(i for i, k in enumerate(keys) if k is Ellipsis)
            fill = (slice(None),) * (self.ndim - len(keys) + 1)
            keys = keys[:at] + fill + keys[at + 1 :]
        keys = keys + (slice(None),) * (self.ndim - len(keys))
        picks: list[int | range] = []
        for k, n in zip(keys, self.shape, strict=True):
            picked = range(n)[k if isinstance(k, slice) else int(k)]
            picks.append(picked)
        return picks


def _range(pick: int | range) -> range:
    return range(pick, pick + 1) if isinstance(pick, int) else pick


def _replaced(values: Chunk, at: int, value: int) -> Chunk:
    return (*values[:at], value, *values[at + 1 :])


def _step(pick: range) -> slice:
    return slice(None, None, pick.step)
