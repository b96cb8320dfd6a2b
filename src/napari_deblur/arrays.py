"""The arrays of a result: their types and shapes, their chunks, and what lies in one file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, nan, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.pyramid import levels_of
from napari_deblur.results import IMAGE, KERNELS, LEDGER, MASK, RESIDUALS, mask_of
from napari_deblur.stack import AXES
from napari_deblur.tiles import Grid, Index, Shards

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_deblur.plans import Plan

__all__ = [
    "CODECS",
    "Spec",
    "block_of",
    "box_of",
    "chunk_of",
    "files_of",
    "joining_of",
    "laid_out",
    "metadata_of",
    "room_for",
    "shards_of",
    "specs_of",
]

CODECS = ("zstd", "blosc", "none")
# More files than that are a burden to file systems, to copies and backups; larger files are one to
# whoever writes them, or reads them from afar.
MOST_FILES = 100_000
LARGEST_FILE = 2**33
# A core of more voxels (8 MiB as float32) is cut into chunks of up to so many, 256 × 256 across:
# one plane of a core of 64 × 512 × 512 took 6 ms of CPU instead of 48, all of it 0.10 s instead of
# 0.06, and writing 0.16 instead of 0.10.
LARGE, CHUNK, WIDE = 2**21, 2**18, 256
MARGIN = 1.1  # metadata, ledger and folders on top of the planned bytes
# Values of a mask in a byte, at least: zstd packs random ones to 0.13 bytes.
PACKED = 4


@dataclass(frozen=True)
class Spec:
    """An array of a result; all sizes are along its own axes.

    Parameters
    ----------
    axes : tuple of str
    dtype : str
    fill : float or bool
        What is read where nothing was written.
    shape : tuple of int
    chunk : tuple of int
        What is compressed together, and read at once.
    tile : tuple of int
        What is written at once: a chunk, or several.
    file : tuple of int
        What lies in one file: a tile, or several. It may reach beyond the array.
    codec : str
        One of `CODECS`.
    """

    axes: tuple[str, ...]
    dtype: str
    fill: float | bool
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    tile: tuple[int, ...]
    file: tuple[int, ...]
    codec: str = "zstd"

    @property
    def is_joined(self) -> bool:
        """Whether a file holds several tiles, which are joined when all of them are there."""
        return self.file != self.tile

    @property
    def files(self) -> int:
        """How many files there are when everything is done."""
        return prod(ceil(n / many) for n, many in zip(self.shape, self.file, strict=True))

    @property
    def bytes(self) -> int:
        """How many bytes all files have at most."""
        return self._bytes(self.shape)

    @property
    def bytes_of_file(self) -> int:
        """How many bytes the largest file has at most."""
        return self._bytes(tuple(map(min, self.file, self.shape)))

    def size(self, block: tuple[int, ...]) -> tuple[int, ...]:
        """Give the shape of a tile: the last one of an axis may be thin."""
        along = zip(block, self.tile, self.shape, strict=True)
        return tuple(min((i + 1) * n, end) - i * n for i, n, end in along)

    def _bytes(self, shape: tuple[int, ...]) -> int:
        if self.codec == "none":  # a chunk has all its bytes where the array ends within it, too
            shape = tuple(_up(n, c) for n, c in zip(shape, self.chunk, strict=True))
        if self.dtype == "bool":
            return prod(shape) // PACKED
        return prod(shape) * np.dtype(self.dtype).itemsize

    def settings(self) -> dict[str, Any]:
        """Give the arguments of ``zarr.create_array``."""
        return {
            "shape": self.shape,
            "chunks": self.chunk,
            "shards": None if self.file == self.chunk else self.file,
            "dtype": np.dtype(self.dtype),
            "fill_value": self.fill,
            "dimension_names": list(self.axes) or None,
            "compressors": _codecs(self.codec),
        }


def specs_of(plan: Plan) -> dict[str, Spec]:
    """Give all arrays of a result, by their paths in it."""
    axes, dtype = plan.layout.axes, np.dtype(plan.dtype)
    arrays: dict[str, Spec] = {}
    for level in levels_of(plan.layout, plan.grid):
        grid, core = level.grid, level.grid.core
        chunk = core if plan.chunk is None else chunk_of(grid)
        if level.number == 0 and plan.chunk is not None:
            chunk = plan.chunk
        # An axis that isn't cut may end within its last chunk.
        tile = [_up(c, n) for c, n in zip(core, chunk, strict=True)]
        box = shards_of(plan)[level.number].box
        sizes = [
            [s for a, s in zip(AXES, five, strict=True) if a in axes]
            for five in (
                grid.shape,
                (1, 1, *chunk),
                (1, 1, *tile),
                tuple(b * n for b, n in zip(box, (1, 1, *tile), strict=True)),
            )
        ]
        shape, chunks, tiles, file = map(tuple, sizes)
        fill = nan if dtype.kind == "f" else 0
        arrays[str(level.number)] = Spec(
            tuple(axes), dtype.name, fill, shape, chunks, tiles, file, plan.codec
        )
        if dtype.kind != "f":  # True where nothing was written: a tile that failed has no data
            arrays[mask_of(level.number)] = replace(
                arrays[str(level.number)], dtype="bool", fill=True, codec="zstd"
            )
    arrays[KERNELS] = _kernels(plan)
    length = max(getattr(channel.method, "iterations", 0) for channel in plan.channels)
    if length:
        one, counts = (1, 1, 1, 1, 1, length), plan.grid.counts
        names = ("t", "c", "nz", "ny", "nx", "iteration")
        sizes_of = ((*counts, length), one, one, (*plan.shard, length))
        arrays[RESIDUALS] = Spec(names, "float32", nan, *sizes_of, plan.codec)
    # Empty: a place for files that zarr does not take for broken arrays.
    arrays[LEDGER] = Spec((), "uint8", 0, (0,), (1,), (1,), (1,))
    return arrays


def metadata_of(spec: Spec) -> bytes:
    """Give the ``zarr.json`` of an array."""
    import zarr
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    zarr.create_array(MemoryStore(held), **spec.settings())
    return bytes(held["zarr.json"].to_bytes())


def block_of(plan: Plan, name: str, index: Index) -> tuple[int, ...]:
    """Say which block of an array belongs to a chunk, of the image or of a level."""
    if name == KERNELS:
        return index
    if name == RESIDUALS:
        return (*index, 0)
    return tuple(i for i, axis in zip(index, AXES, strict=True) if axis in plan.layout.axes)


def shards_of(plan: Plan) -> Mapping[int, Shards]:
    """Give the files of all levels; those of the pyramid hold as many chunks as the image's."""
    levels, many = levels_of(plan.layout, plan.grid), prod(plan.shard)
    above = {one.number: Shards(one.grid.counts, box_of(one.grid, many)) for one in levels[1:]}
    return {0: plan.shards} | above


def files_of(plan: Plan) -> int:
    """Count the files of a complete result: those of the arrays, with their metadata."""
    specs = specs_of(plan)
    groups = 3  # the image, its kernels, its residuals
    return groups + sum(1 + spec.files for spec in specs.values())


def joining_of(plan: Plan) -> int:
    """Give the bytes that are needed at most while one file of several tiles is joined.

    Its tiles go when it is there, and what was written with them goes last. Each worker, and each
    part, may be at one; a worker of a cluster at two.
    """
    files = {name: one.bytes_of_file for name, one in specs_of(plan).items() if one.is_joined}
    tiles = sum(files.pop(name, 0) for name in (IMAGE, MASK, KERNELS, RESIDUALS))
    return max([tiles, *files.values()])


def room_for(plan: Plan, share: float = 1.0, joins: int = 1) -> float:
    """Give the bytes that a share of a plan's tiles needs, while some files are being joined."""
    joining = joining_of(plan)
    return ((plan.disk - joining) * share + joining * joins) * MARGIN


def _disk_of(plan: Plan) -> int:
    """Give the bytes of a complete result and of one file that is joined, at most."""
    return sum(one.bytes for one in specs_of(plan).values()) + joining_of(plan)


def laid_out(plan: Plan, *, shards: int | None = None, codec: str = "zstd") -> Plan:
    """Decide how the result of a plan lies on the disk.

    Parameters
    ----------
    shards : int or None
        How many tiles lie in one file at most; None: one, or more where there would be more than
        100,000 files.
    codec : str
        One of `CODECS`.

    Raises
    ------
    ValueError
        When there is no such codec, or a file would hold nothing.
    """
    check(shards, codec)
    chunk = chunk_of(plan.grid)
    plan = replace(plan, codec=codec, chunk=None if chunk == plan.grid.core else chunk)
    most, size = shards or 1, prod(plan.grid.core) * np.dtype(plan.dtype).itemsize
    plan = replace(plan, shard=box_of(plan.grid, most))
    while (
        shards is None
        and files_of(plan) > MOST_FILES
        and 2 * most * size <= LARGEST_FILE
        and most < len(plan)
    ):
        most *= 2
        plan = replace(plan, shard=box_of(plan.grid, most))
    return replace(plan, files=files_of(plan), disk=_disk_of(plan))


def check(shards: int | None, codec: str) -> None:
    """Raise ValueError for what can't be asked of an output."""
    if codec not in CODECS:
        raise ValueError(f'codec "{codec}" is not one of {", ".join(CODECS)}')
    if shards is not None and shards < 1:
        raise ValueError(f"shards is {shards}: a file holds 1 tile or more")


def chunk_of(grid: Grid) -> tuple[int, int, int]:
    """Give the chunk of a core: all of it, or an equal part that is handy for a viewer.

    Examples
    --------
    >>> chunk_of(Grid((1, 1, 64, 2048, 2000), (64, 512, 500)))
    (4, 256, 250)
    """
    if prod(grid.core) <= LARGE:
        return grid.core
    sizes = list(zip(grid.core, grid.shape[2:], strict=True))
    y, x = (_part(core, size, WIDE, least=WIDE // 4) for core, size in sizes[1:])
    return _part(*sizes[0], max(1, CHUNK // (y * x))), y, x


def box_of(grid: Grid, most: int) -> Index:
    """Give the box of up to `most` cores that share a file: in space first, then frames, channels.

    Examples
    --------
    >>> box_of(Grid((5, 1, 64, 800, 800), (32, 100, 200)), 16)
    (1, 1, 2, 4, 2)
    """
    counts, box = grid.counts, [1, 1, 1, 1, 1]
    lengths = (0, 0, *grid.core)
    while free := [a for a in (4, 3, 2, 0, 1) if box[a] < counts[a]]:
        space = [a for a in free if a > 1]
        axis = min(space, key=lambda a: box[a] * lengths[a]) if space else free[0]
        wider = min(2 * box[axis], counts[axis])
        if prod(box) // box[axis] * wider > most:
            break
        box[axis] = wider
    t, c, z, y, x = box
    return t, c, z, y, x


def _kernels(plan: Plan) -> Spec:
    """Describe the kernels: a mosaic of those of tiles or nodes, or one for a frame and channel."""
    one: tuple[int, ...] = plan.kernel.shape
    if plan.finds_kernels:
        counts: tuple[int, ...] = plan.grid.counts
        box: tuple[int, ...] = plan.shard
    else:
        counts = (*plan.kernel_counts, *(len(line) for line in plan.nodes or ((0.0,),) * 3))
        box = (1, 1, 1, 1, 1)
    block = (1, 1, *one)
    shape, file = (tuple(n * k for n, k in zip(m, block, strict=True)) for m in (counts, box))
    return Spec(tuple(AXES), "float32", nan, shape, block, block, file, plan.codec)


def _part(core: int, size: int, most: int, least: int = 1) -> int:
    """Give an equal part of a core, no longer than `most`; of axes that aren't cut almost equal."""
    if core >= size:
        return ceil(core / ceil(core / most))
    return next((n for n in range(min(most, core), least - 1, -1) if core % n == 0), core)


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _codecs(name: str) -> list[Any]:
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    if name == "blosc":
        return [BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()]
    if name == "none":
        return [Crc32cCodec()]
    # Without the checksum, 44 of 60 flipped bits gave wrong voxels in silence.
    return [ZstdCodec(level=1, checksum=True)]
