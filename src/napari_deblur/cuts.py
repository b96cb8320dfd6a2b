"""Ways to cut a stack, and which of them is the least work within the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import decoding
from napari_deblur.tiles import Grid, tile_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.decoding import Chunks
    from napari_deblur.stack import Stack

__all__ = ["AXES", "Costs", "Triple", "costs_of", "fitted", "rounded_up", "work"]

Triple = tuple[int, int, int]
# A core is a chunk of the output: beyond this, viewers and caches suffer. 64 MiB as float32.
MOST_CORE = 2**24
# A stack that is deeper than this is cut along z too.
DEEP = 512
AXES = "zyx"
# Reading, handing over and writing a tile takes as long as restoring so many voxels: 4 % of tiles
# of seven million. Without that, 110 pixels that nothing blurs were cut into 11 × 10, since 112 is
# the next length that transforms well.
EACH = 2**18
# To unpack a voxel takes so much of the time that it takes to restore one: 20 iterations on one
# core do a million voxels in a second, Zstandard 200 million; a GPU does about 50 million.
UNPACKING = {"cpu": 1 / 200, "cuda": 1 / 5}
CLEARLY = 0.8  # so much less work is worth another cut than the usual one
# Of a method's arrays so many are no larger than the tile: its counts and its result.
UNPADDED = 2
# Bytes for each voxel of a core while its result is encoded and written: the image, the values,
# what they are packed to, and what is read again for its hash. Of noise, which does not pack: 11.2
# for float32, 10.0 for 16 bits, 7.1 for 8.
WRITTEN = 12
# What a process holds besides these arrays: what allocators keep, codecs, threads. Over 2,900 tiles
# of 180 MB it grew by 25 MB in the first thousand, and no more.
REST, MOST_REST = 0.1, 16 * 2**20


@dataclass(frozen=True)
class Costs:
    """What a task takes.

    Parameters
    ----------
    padded, tile, core : float
        Bytes for each voxel of its padded tile, of its tile and of its core.
    rest : float
        The share of that which a process holds besides, up to a bound.
    chunks : Chunks or None
        How the source is stored, if chunks of it are unpacked.
    unpacking : float
        The time to unpack a voxel, over that to restore one.
    holds : bool
        Whether chunks that are unpacked lie in the memory that counts; on a GPU they don't.
    """

    padded: float
    tile: float
    core: float
    rest: float = REST
    chunks: Chunks | None = None
    unpacking: float = 0.0
    holds: bool = True

    def of(self, grid: Grid, kernel: Triple) -> int:
        """Give the bytes of one task of a grid."""
        padded = prod(map(_padded, grid.tile_shape, kernel, AXES))
        touched = prod(int(found.max()) for found in self._touched(grid))
        return int(self.sum(padded, prod(grid.tile_shape), prod(grid.core), touched))

    def sum(self, padded: Any, tile: Any, core: Any, touched: Any) -> Any:
        """Add up a task, of one grid or of many: its voxels, and the chunks that it touches."""
        arrays = self.padded * padded + self.tile * tile + self.core * core
        return arrays + np.minimum(self.rest * arrays, MOST_REST) + self.held(touched)

    def held(self, touched: Any) -> Any:
        """Give the bytes that are held while so many chunks are read."""
        return 0 if self.chunks is None or not self.holds else self.chunks.held(touched)

    def unpacked(self, grid: Grid) -> int:
        """Count the voxels that are unpacked for all tiles of a frame and channel."""
        if self.chunks is None:
            return 0
        touched = prod(int(found.sum()) for found in self._touched(grid))
        return touched * prod(self.chunks.shape) * self.chunks.times

    def _touched(self, grid: Grid) -> Iterator[NDArray[np.int64]]:
        sizes = zip(grid.shape[2:], grid.core, grid.halo, grid.tile_shape, strict=True)
        for axis, (size, core, halo, tile) in enumerate(sizes):
            yield self.touching(axis, size, core, halo, tile)

    def touching(self, axis: int, size: int, core: int, halo: int, tile: int) -> NDArray[np.int64]:
        """Count the chunks of the source that each tile along an axis touches."""
        if self.chunks is None:
            return np.ones(1, np.int64)
        starts = np.arange(ceil(size / core)) * core - halo
        return self.chunks.touched(axis, np.clip(starts, 0, size - tile), tile)


def costs_of(stack: Stack, arrays: float, device: str) -> Costs:
    """Count a method's arrays, the blocks in work and ahead, and the result that is written."""
    chunks = decoding.chunks_of(stack.pixels)
    if device.startswith("cuda"):  # its memory is the scarce one, and holds what is in work
        return Costs(4 * arrays, 4, 0, 0, chunks, UNPACKING["cuda"], holds=False)
    tile = 4 * UNPADDED + 2 * stack.dtype.itemsize
    return Costs(4 * (arrays - UNPADDED), tile, WRITTEN, REST, chunks, UNPACKING["cpu"])


def work(grid: Grid, kernel: Triple) -> float:
    """Give what restoring all tiles of a frame and channel takes, in voxels that transform well."""
    from napari_deblur.ops import length_cost

    lengths = map(_padded, grid.tile_shape, kernel, AXES)
    costs = (length_cost(n, even=a == "x") for n, a in zip(lengths, AXES, strict=True))
    return float(prod(costs) * prod(grid.counts[2:]))


def rounded_up(n: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-n // multiple) * multiple


def _padded(tile: int, kernel: int, axis: str) -> int:
    """Give the length of a tile's transform; along z of planes one by one there is none."""
    from napari_deblur.ops import good_length

    if axis == "z" and kernel == 1:
        return tile
    return good_length(tile + kernel - 1, even=axis == "x")


class _Cuts:
    """All ways to cut an axis evenly, from not at all to the least core, as columns."""

    def __init__(
        self,
        axis: str,
        size: int,
        *,
        least: int,
        halo: int,
        kernel: int,
        multiple: int,
        costs: Costs,
    ) -> None:
        from napari_deblur.ops import length_cost

        cores = {rounded_up(ceil(size / parts), multiple) for parts in range(2, size // least + 1)}
        kept = [size, *sorted((c for c in cores if least <= c < size), reverse=True)]
        tiles = [tile_length(core, halo, size, multiple) for core in kept]
        self.core, self.tile = np.array(kept, float), np.array(tiles, float)
        lengths = [_padded(tile, kernel, axis) for tile in tiles]
        self.padded = np.array(lengths, float)
        self.parts = np.ceil(size / self.core)
        self.cost = np.array([length_cost(n, even=axis == "x") for n in lengths])
        a = AXES.index(axis)
        found = [
            costs.touching(a, size, core, halo, tile)
            for core, tile in zip(kept, tiles, strict=True)
        ]
        # Chunks of the source that a tile touches at most, and voxels unpacked for all of them.
        self.touched = np.array([one.max() for one in found], float)
        length = 0 if costs.chunks is None else costs.chunks.shape[a]
        self.unpacked = np.array([float(one.sum()) * length for one in found])


def fitted(
    sizes: tuple[int, ...],
    widths: Triple,
    kernel: Triple,
    costs: Costs,
    memory: int,
    whole: set[int],
    multiples: Triple,
) -> Triple:
    """Choose the least work among the cuts that fit the memory and whose cores are handy chunks.

    No core gets smaller than two halos: more would be read than restored, several times over.
    """
    cuts = []
    for a, n in enumerate(sizes):
        least = n if a in whole else max(1 if kernel[a] == 1 else 8, 2 * widths[a], multiples[a])
        cuts.append(
            _Cuts(
                AXES[a], n, least=least, halo=widths[a], kernel=kernel[a], multiple=multiples[a],
                costs=costs,
            )
        )  # fmt: skip
    for most in (MOST_CORE, inf):
        found = _least_work(cuts, costs, memory, most, kernel[0])
        if found is not None:
            return found
    return _triple([int(cut.core[-1]) for cut in cuts])  # which is too large, and is said to be


def _least_work(
    cuts: Sequence[_Cuts], costs: Costs, memory: int, most: float, depth: int
) -> Triple | None:
    """Cut planes as little as the memory allows, and z only if it must be.

    Of a blur that acts plane by plane z goes first, unless chunks of the source are deep and would
    be unpacked again and again. Of a solid one it is last: a widefield kernel reaches through all
    of it; unless the stack is deep.
    """
    z, y, x = cuts
    area, found = np.outer(y.core, x.core), []
    parts = np.outer(y.parts, x.parts)
    voxels = np.outer(y.cost, x.cost) * parts
    # Long strips are no good chunks: four times as long as wide counts as 4 % more work.
    voxels *= 1 + 0.01 * np.log2(np.divide.outer(y.core, x.core)) ** 2
    # What is unpacked for all tiles of a layer; of the whole layers' chunks a mean share.
    layers = z.unpacked / z.parts
    times = 0 if costs.chunks is None else costs.chunks.times * costs.unpacking
    flat = times * np.outer(y.unpacked, x.unpacked)
    touched = np.outer(y.touched, x.touched)
    for n, (core, tile, padded) in enumerate(zip(z.core, z.tile, z.padded, strict=True)):
        bytes_ = costs.sum(
            padded * np.outer(y.padded, x.padded),
            tile * np.outer(y.tile, x.tile),
            core * area,
            z.touched[n] * touched,
        )
        fits = (bytes_ <= memory) & (core * area <= most)
        if not fits.any():
            continue
        work = voxels * padded + EACH * parts + layers[n] * flat
        i, j = divmod(int(np.argmin(np.where(fits, work, inf))), len(x.core))
        chosen = _triple([int(core), int(y.core[i]), int(x.core[j])])
        found.append((z.parts[n] * work[i, j], chosen))
        is_deep = core > DEEP or core > max(2 * y.core[i], 2 * x.core[j], 4 * depth)
        if (i, j) == (0, 0) or (depth > 1 and not is_deep):
            break
    if not found:
        return None
    least, last = min(found), found[-1]
    return least[1] if costs.chunks is not None and least[0] < CLEARLY * last[0] else last[1]


def _triple(values: list[int]) -> Triple:
    z, y, x = values
    return z, y, x
