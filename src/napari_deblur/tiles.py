"""Tile geometry, all of it: chunk, shard, core, halo, tile.

A *core* is the box of voxels that one task owns; it is a whole chunk of the output, or several
that lie in one file. A file with several chunks is a *shard*; it may hold those of many cores.
A *tile* is the core and a *halo* around it, as far as the stack reaches. Wherever the stack is
large enough, all tiles have one shape: at the stack's border the window moves inwards instead of
shrinking, so that every tile uses the same transform length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

__all__ = ["Box", "Grid", "Index", "Shards", "Tile", "halves", "tile_length"]

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
Index = tuple[int, int, int, int, int]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """One tile: the core in voxels of the stack, what to read for it, and the core inside that."""

    index: Index
    core: Box
    read: Box

    @property
    def inside(self) -> tuple[slice, slice, slice]:
        """Where the core lies in the block that was read."""
        z, y, x = (
            slice(start - first, stop - first)
            for (start, stop), (first, _) in zip(self.core, self.read, strict=True)
        )
        return z, y, x


@dataclass(frozen=True)
class Grid:
    """A stack of (t, c, z, y, x) cut into cores of (z, y, x), each with a halo.

    Parameters
    ----------
    shape : (t, c, z, y, x)
    core, halo : (z, y, x)
    multiple_of : (z, y, x)
        All tiles begin at multiples of it: a network that bins pixels then bins the same ones,
        whatever the tile. Cores, unless they are the whole axis, and halos are multiples too.

    Raises
    ------
    ValueError
        When a length is not positive, a halo is negative, or one is not a multiple.
    """

    shape: tuple[int, int, int, int, int]
    core: Triple
    halo: Triple = (0, 0, 0)
    multiple_of: Triple = (1, 1, 1)

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.core) < 1:
            raise ValueError(
                f"shape {self.shape} and core {self.core} must be 1 or more everywhere"
            )
        if min(self.halo) < 0:
            raise ValueError(f"a halo is 0 px or more along each axis, got {self.halo}")
        z, y, x = (min(c, n) for c, n in zip(self.core, self.shape[2:], strict=True))
        object.__setattr__(self, "core", (z, y, x))
        for n, c, h, m in zip(self.shape[2:], self.core, self.halo, self.multiple_of, strict=True):
            if m < 1 or (c < n and (c % m or h % m)):
                raise ValueError(
                    f"core {self.core} and halo {self.halo} must be multiples of "
                    f"{self.multiple_of} along axes that are cut"
                )

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """Number of cores along t, c, z, y, x."""
        z, y, x = (ceil(n / c) for n, c in zip(self.shape[2:], self.core, strict=True))
        return self.shape[0], self.shape[1], z, y, x

    @property
    def tile_shape(self) -> Triple:
        """Shape (z, y, x) that every tile has."""
        axes = zip(self.core, self.halo, self.shape[2:], self.multiple_of, strict=True)
        z, y, x = (tile_length(*axis) for axis in axes)
        return z, y, x

    def __len__(self) -> int:
        return prod(self.counts)

    def __iter__(self) -> Iterator[Index]:
        """Iterate over the indices (t, c, z, y, x) of all tiles, x fastest; nothing is stored."""
        frames, channels, nz, ny, nx = self.counts
        return (
            (t, c, z, y, x)
            for t in range(frames)
            for c in range(channels)
            for z in range(nz)
            for y in range(ny)
            for x in range(nx)
        )

    def tile(self, index: Index) -> Tile:
        """Give the tile of an index; IndexError when there is none."""
        if any(not 0 <= i < n for i, n in zip(index, self.counts, strict=True)):
            raise IndexError(f"no tile {index} in a grid of {self.counts}")
        spans = []
        for i, size, core in zip(index[2:], self.shape[2:], self.core, strict=True):
            spans.append((i * core, min((i + 1) * core, size)))
        z, y, x = spans
        return self.around(index, (z, y, x))

    def around(self, index: Index, core: Box) -> Tile:
        """Give the tile around any core: at least a halo on each side, inside the stack."""
        spans = []
        for (start, stop), size, usual, halo, whole, multiple in zip(
            core,
            self.shape[2:],
            self.core,
            self.halo,
            self.tile_shape,
            self.multiple_of,
            strict=True,
        ):
            # The last core of an axis may be thin: its tile is as long as all others, and only
            # its halo is larger. A core that was split for memory has a tile of its own length.
            complete = start % usual == 0 and stop == min(start + usual, size)
            length = whole if complete else _length(stop - start + 2 * halo, size, multiple)
            first = min(max(start - halo, 0), size - length)
            spans.append((first, first + length))
        z, y, x = spans
        return Tile(index, core, (z, y, x))


@dataclass(frozen=True)
class Shards:
    """Chunks in boxes of five axes: what lies in one file.

    Parameters
    ----------
    counts : (t, c, z, y, x)
        How many chunks there are along each axis.
    box : (t, c, z, y, x)
        How many of them lie in one file, along each axis.

    Examples
    --------
    >>> shards = Shards((1, 1, 1, 2, 3), (1, 1, 1, 2, 2))
    >>> [[index[3:] for index in shards.chunks(shard)] for shard in shards]
    [[(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 2), (1, 2)]]
    """

    counts: Index
    box: Index = (1, 1, 1, 1, 1)

    def __len__(self) -> int:
        return prod(ceil(n / many) for n, many in zip(self.counts, self.box, strict=True))

    def __iter__(self) -> Iterator[Index]:
        """Iterate over the indices of all files, x fastest."""
        t, c, z, y, x = (
            range(ceil(n / many)) for n, many in zip(self.counts, self.box, strict=True)
        )
        return product(t, c, z, y, x)

    def __contains__(self, shard: Sequence[int]) -> bool:
        return len(shard) == len(self.counts) and all(
            0 <= i < ceil(n / many) for i, n, many in zip(shard, self.counts, self.box, strict=True)
        )

    @property
    def several(self) -> bool:
        """Whether a file holds more than one of them."""
        return prod(self.box) > 1

    def number(self, shard: Index) -> int:
        """Give the position of a file in their order."""
        number = 0
        for i, n, many in zip(shard, self.counts, self.box, strict=True):
            number = number * ceil(n / many) + i
        return number

    def of(self, chunk: Index) -> Index:
        """Give the file in which a chunk lies."""
        t, c, z, y, x = (i // many for i, many in zip(chunk, self.box, strict=True))
        return t, c, z, y, x

    def chunks(self, shard: Index) -> Iterator[Index]:
        """Give the chunks of a file, x fastest."""
        t, c, z, y, x = (
            range(i * many, min((i + 1) * many, n))
            for i, many, n in zip(shard, self.box, self.counts, strict=True)
        )
        return product(t, c, z, y, x)


def tile_length(core: int, halo: int, size: int, multiple: int = 1) -> int:
    """Give the length of all tiles along an axis: two cores have a halo on one side only."""
    if core >= size:
        return size
    return _length(core + (halo if 2 * core >= size else 2 * halo), size, multiple)


def _length(least: int, size: int, multiple: int) -> int:
    """Give a length that leaves a multiple of the axis: the last tile begins there."""
    return size if least >= size else least + (size - least) % multiple


def halves(core: Box, *, multiple_of: Triple = (1, 1, 1)) -> tuple[Box, Box] | None:
    """Cut a core in two along its longest axis; None when it is too small to cut."""
    lengths = [stop - start for start, stop in core]
    axis = max(range(3), key=lambda a: (lengths[a], a))
    start, stop = core[axis]
    middle = start + lengths[axis] // 2 // multiple_of[axis] * multiple_of[axis]
    if middle in (start, stop):
        return None

    def put(span: tuple[int, int]) -> Box:
        z, y, x = (span if a == axis else core[a] for a in range(3))
        return z, y, x

    return put((start, middle)), put((middle, stop))
