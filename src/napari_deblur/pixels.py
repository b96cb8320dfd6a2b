"""Pixels wherever they lie, seen in the order t, c, z, y, x without being read."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Indexed", "Pixels", "Region"]

Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
LARGEST_BLOCK = 2**26  # voxels: 256 MiB as float32


@dataclass(frozen=True, eq=False)
class Pixels:
    """Any array, seen in the order t, c, z, y, x without reading it.

    Parameters
    ----------
    base : numpy, zarr or dask array, or anything with shape, dtype and basic indexing
    axes : str
        One letter out of "tczyx" for each axis of `base`, in the order of `base`.
    times, channels : sequences of int, or None for all
    region : (start, stop) for z, y, x, or None for all
    """

    base: Any
    axes: str
    times: Sequence[int] | None = None
    channels: Sequence[int] | None = None
    region: Region | None = None

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.base.shape) or len(set(self.axes)) != len(self.axes):
            raise ValueError(
                f'axes "{self.axes}" do not fit an array of shape {tuple(self.base.shape)}: '
                "give one letter out of t, c, z, y, x for each axis"
            )

    def _whole(self, axis: str) -> int:
        return int(self.base.shape[self.axes.index(axis)]) if axis in self.axes else 1

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape in t, c, z, y, x; 1 for axes that `base` lacks."""
        frames = self._whole("t") if self.times is None else len(self.times)
        channels = self._whole("c") if self.channels is None else len(self.channels)
        if self.region is None:
            z, y, x = (self._whole(axis) for axis in "zyx")
        else:
            z, y, x = (stop - start for start, stop in self.region)
        return frames, channels, z, y, x

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels, in native byte order."""
        native: np.dtype[Any] = np.dtype(self.base.dtype).newbyteorder("=")
        return native

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the blocks in which the source is stored; all of it if it is not.

        Of chunks that share a file, the file; unless that is too large to be read at once.
        """
        chunks = getattr(self.base, "chunks", None)
        shards = getattr(self.base, "shards", None)
        if shards is not None and prod(shards) <= LARGEST_BLOCK:
            chunks = shards
        whole = dict(zip(self.axes, self.base.shape, strict=True))
        if chunks is not None:
            sizes = [c if isinstance(c, int) else max(c, default=1) for c in chunks]
            whole = dict(zip(self.axes, sizes, strict=True))
        z, y, x = (
            max(1, min(int(whole.get(axis, 1)), size))
            for axis, size in zip("zyx", self.shape[2:], strict=True)
        )
        return z, y, x

    def read(
        self,
        t: int,
        c: int,
        region: Region | None = None,
        step: tuple[int, int, int] = (1, 1, 1),
    ) -> NDArray[Any]:
        """Read the voxels of one frame and channel, or one in so many along each axis.

        The block is (z, y, x), in the type of the source.
        """
        spans = region or tuple((0, n) for n in self.shape[2:])
        offsets = [start for start, _ in self.region] if self.region else [0, 0, 0]
        where: dict[str, Any] = {
            "t": self.times[t] if self.times is not None else t,
            "c": self.channels[c] if self.channels is not None else c,
        }
        for axis, (start, stop), offset, each in zip("zyx", spans, offsets, step, strict=True):
            where[axis] = slice(start + offset, stop + offset, each)
        block = self.base[tuple(where[axis] for axis in self.axes)]
        if hasattr(block, "compute"):
            block = block.compute(scheduler="synchronous")
        # An array in memory is copied: nobody may change the user's pixels through a tile.
        block = np.array(block) if isinstance(self.base, np.ndarray) else np.asarray(block)
        block = block.astype(block.dtype.newbyteorder("="), copy=False)
        left = [axis for axis in self.axes if axis in "zyx"]
        asked = tuple(len(range(*where[axis].indices(self._whole(axis)))) for axis in left)
        if block.shape != asked:  # would be put in another place, or stretched over the block
            raise ValueError(
                f"the array gave a block of shape {block.shape} where {asked} was asked for: what "
                "computes it makes blocks of another shape than it says"
            )
        block = np.transpose(block, [left.index(axis) for axis in "zyx" if axis in left])
        return np.expand_dims(block, [i for i, axis in enumerate("zyx") if axis not in left])


class Indexed:
    """What dask wants of an array: shape, dtype, ndim and slicing in t, c, z, y, x."""

    ndim = 5

    def __init__(self, pixels: Pixels) -> None:
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype

    def __getitem__(self, where: tuple[int | slice, ...]) -> NDArray[Any]:
        # dask merges the user's own slices into this one: integers and steps come too.
        picks = [range(n)[w] for w, n in zip(where, self.shape, strict=True)]
        spans = [(min(p, default=0), max(p, default=-1) + 1) for p in map(_as_range, picks)]
        (t0, _), (c0, _), z, y, x = spans
        whole = np.empty([stop - start for start, stop in spans], self.dtype)
        for t, c in np.ndindex(whole.shape[:2] if whole.size else (0, 0)):
            whole[t, c] = self.pixels.read(t0 + t, c0 + c, (z, y, x))
        return whole[tuple(0 if isinstance(p, int) else slice(None, None, p.step) for p in picks)]


def _as_range(pick: int | range) -> range:
    return range(pick, pick + 1) if isinstance(pick, int) else pick
