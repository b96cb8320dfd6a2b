"""Profiles: every value of a parameter tried on all samples, and how well each cell liked it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from napari_deblur.methods._field_ascent import ascended, deviances
from napari_deblur.methods._field_surfaces import Profiles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.methods._ascent import Scale
    from napari_deblur.ops.held_out import HeldOut
    from napari_deblur.protocols import Sample

__all__ = ["cells_of", "centres_of", "profiled"]

# Lengths of cells, across and along z.
CELL, CELL_PLANES = 32, 4


def profiled(
    parts: Sequence[HeldOut],
    kernel: Callable[[float], Tensor],
    values: NDArray[Any],
    *,
    scale: Scale,
    weight: float,
    iterations: Sequence[int],
) -> Profiles:
    """Try values everywhere and note the deviance in each cell, a mean over the iterations.

    Parameters
    ----------
    parts : with light held out
    kernel : makes the kernel ([z,] y, x) of a value
    values : rising
    scale, weight : of Richardson-Lucy, see `ascended`
    iterations : after which the prediction is judged, rising
    """
    import numpy as np
    import torch

    from napari_deblur.protocols import Blur

    every = []
    for value in values:
        blur = Blur(kernel(float(value))[None])
        noted = []
        for part in parts:
            steps = enumerate(ascended(part.sample, blur, scale, weight), 1)
            few = islice(steps, iterations[-1])
            cells = [cells_of(deviances(part, one), blur.ndim) for n, one in few if n in iterations]
            noted.append(torch.stack(cells))
        every.append(torch.cat(noted, dim=1).mean(dim=0).cpu().double().numpy())
    places = torch.cat([centres_of(part.sample, blur.ndim) for part in parts], dim=1)
    return Profiles(values, np.stack(every), places.cpu())


def cells_of(worse: Tensor, axes: int) -> Tensor:
    """Sum a deviance, pixel by pixel, in each cell; NaN counts nothing."""
    import torch

    worse = torch.nan_to_num(worse)
    for axis, length in zip((-3, -2, -1), _lengths(worse, axes), strict=True):
        edges = [*range(0, worse.shape[axis], length), worse.shape[axis]]
        cells = [worse.narrow(axis, a, b - a).sum(axis) for a, b in pairwise(edges)]
        worse = torch.stack(cells, axis)
    return worse.flatten()


def centres_of(sample: Sample, axes: int) -> Tensor:
    """Give the cells' centres in voxels of the stack, (3, cells)."""
    import torch

    lines = []
    for (start, stop), length in zip(sample.region, _lengths(sample.tile, axes), strict=True):
        edges = [*range(start, stop, length), stop]
        lines.append(torch.tensor([(a + b - 1) / 2 for a, b in pairwise(edges)]))
    return torch.stack([g.flatten() for g in torch.meshgrid(*lines, indexing="ij")])


def _lengths(tile: Tensor, axes: int) -> tuple[int, int, int]:
    """Give the lengths of a tile's cells: single planes for a blur of two axes."""
    nz, ny, nx = tile.shape[-3:]
    return min(CELL_PLANES if axes == 3 else 1, nz), min(CELL, ny), min(CELL, nx)
