"""The levels of an image: their shapes and how one is made from the one below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.tiles import Box, Grid, Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.plans import Layout

__all__ = ["Level", "below", "emptied", "levels_of", "pieces", "shrunk"]

SMALLEST = 256  # a level whose y and x both fit into this is the last
LARGEST_CHUNK = (64, 512, 512)
DEEP = 128  # planes from which z is halved as well, if voxel sizes are unknown


@dataclass(frozen=True)
class Level:
    """One level: its chunks as cores of a grid, and how it relates to the others.

    Parameters
    ----------
    number : int
        0 is the full resolution.
    grid : Grid
        A chunk of the level is a core of this grid, without a halo.
    step : (z, y, x)
        By how much it is smaller than the level below (number - 1).
    factor : (z, y, x)
        By how much it is smaller than level 0.
    """

    number: int
    grid: Grid
    step: tuple[int, int, int]
    factor: tuple[int, int, int]


def levels_of(layout: Layout, grid: Grid) -> tuple[Level, ...]:
    """Plan the levels of an image, full resolution first.

    y and x are halved until both are at most 256; z is halved too where a voxel would else
    become flatter than it is wide (for unknown sizes: where there are many planes).
    """
    levels = [Level(0, Grid(grid.shape, grid.core), (1, 1, 1), (1, 1, 1))]
    sizes = layout.pixel_size or (None, None, None)
    while max(levels[-1].grid.shape[3:]) > SMALLEST:
        last = levels[-1]
        planes = last.grid.shape[2]
        if sizes[0] is not None and sizes[1] is not None:
            flat = sizes[0] * last.factor[0] < 1.5 * sizes[1] * last.factor[1]
        else:
            flat = planes >= DEEP
        step = (2 if flat and planes > 1 else 1, 2, 2)
        z, y, x = (-(-n // s) for n, s in zip(last.grid.shape[2:], step, strict=True))
        cz, cy, cx = (min(n, most) for n, most in zip(grid.core, LARGEST_CHUNK, strict=True))
        fz, fy, fx = (f * s for f, s in zip(last.factor, step, strict=True))
        shape = (*grid.shape[:2], z, y, x)
        levels.append(Level(last.number + 1, Grid(shape, (cz, cy, cx)), step, (fz, fy, fx)))
    return tuple(levels)


def below(level: Level, lower: Level, index: Index) -> Iterator[Index]:
    """Give the chunks of the level below that a chunk of `level` is made of."""
    core = level.grid.tile(index).core
    spans = [
        range(start * step // size, min(-(-stop * step // size), count))
        for (start, stop), step, size, count in zip(
            core, level.step, lower.grid.core, lower.grid.counts[2:], strict=True
        )
    ]
    for z, y, x in product(*spans):
        yield (*index[:2], z, y, x)


def pieces(level: Level, lower: Level, index: Index) -> Iterator[tuple[Box, Box]]:
    """Cut a chunk so that each piece needs about one chunk of the level below.

    Gives (box in this level, box in the level below), so that memory stays that of one chunk.
    """
    spans = []
    for (start, stop), step, size, end in zip(
        level.grid.tile(index).core, level.step, lower.grid.core, lower.grid.shape[2:], strict=True
    ):
        length = max(1, size // step)
        cuts = [(a, min(a + length, stop)) for a in range(start, stop, length)]
        spans.append([((a, b), (a * step, min(b * step, end))) for a, b in cuts])
    for z, y, x in product(*spans):
        yield (z[0], y[0], x[0]), (z[1], y[1], x[1])


def shrunk(
    block: NDArray[Any], step: tuple[int, int, int], mask: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Average boxes of `step` voxels; NaN has no say, and at an odd end a box is smaller.

    Parameters
    ----------
    block : array (z, y, x), float or unsigned integer
    step : (z, y, x)
    mask : array (z, y, x) or None
        True where integers have no data.

    Returns
    -------
    array of the same type, (ceil(z / step), …)
        Where no voxel has data NaN, or 0 in integers.

    Examples
    --------
    >>> shrunk(np.array([[[1, 3, np.nan, np.nan, 5]]], np.float32), (1, 2, 2)).tolist()
    [[[2.0, nan, 5.0]]]
    """
    total = np.zeros(_shape(block, step), np.float64)
    count = np.zeros(total.shape, np.uint8)
    for here, there in _corners(block, step):
        part = block[there]
        known = ~np.isnan(part) if mask is None else ~mask[there]
        total[here] += np.where(known, part, 0)
        count[here] += known
    whole = block.dtype.kind in "ui"
    mean = np.full(total.shape, 0.0 if whole else np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return (np.rint(mean) if whole else mean).astype(block.dtype)


def emptied(mask: NDArray[np.bool_], step: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Say which boxes of `step` voxels have no data at all.

    Examples
    --------
    >>> emptied(np.array([[[True, False, True, True, True]]]), (1, 2, 2)).tolist()
    [[[False, True, True]]]
    """
    empty = np.ones(_shape(mask, step), np.bool_)
    for here, there in _corners(mask, step):
        empty[here] &= mask[there]
    return empty


def _shape(block: NDArray[Any], step: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(-(-n // s) for n, s in zip(block.shape, step, strict=True))


def _corners(
    block: NDArray[Any], step: tuple[int, int, int]
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Give one voxel of each box after the other, as (where its box is, where it is)."""
    for start in product(*(range(s) for s in step)):
        there = tuple(slice(a, None, s) for a, s in zip(start, step, strict=True))
        yield tuple(slice(0, n) for n in block[there].shape), there
