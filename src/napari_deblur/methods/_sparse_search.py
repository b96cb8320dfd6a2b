"""Coarse to fine: image and kernel by turns on finer and finer copies of the tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_deblur.methods import _sparse_grids as grids
from napari_deblur.methods import _sparse_kernel as kernels
from napari_deblur.methods._sparse_image import edges

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._splitting import Problem

__all__ = ["Recipe", "problem_of", "refined", "searched"]

# The weight falls by this factor at each round, down to the least.
FALL, LEAST = 1.1, 1e-4
# Of the kernel's square, for 255 × 255 pixels in units of their white.
RIDGE = 2.0 / 255**2
# Less than this mean squared gradient, in units of the white, is rounding errors.
NOTHING = 1e-10
# Of the sharp image in a refinement: the weight of its gradients in units of the noise, and the
# iterations. With 25 instead of 50 large kernels stayed 1 dB worse; a weight of 2 lost 0.5 dB.
SMOOTH, ITERATIONS = 1.0, 50


@dataclass(frozen=True)
class Recipe:
    """One way to search.

    Parameters
    ----------
    weight : float
        Of an edge at first, for tiles in units of their white.
    simplex : bool
        Whether the kernel's sum and sign are kept within its step (for noisy tiles) or after it.
    rounds : int
        Of image and kernel on each level.
    """

    weight: float
    simplex: bool
    rounds: int


Tile = tuple["Tensor", "Tensor | None"]


def searched(tiles: Sequence[Tile], shape: tuple[int, ...], recipe: Recipe) -> Tensor:
    """Find the kernel of tiles (items, [z,] y, x) in units of their white, from nothing.

    Returns
    -------
    Tensor, shape `shape`
        Centred.
    """
    from napari_deblur import ops

    ndim = len(shape)
    ridge = RIDGE * sum(values.numel() for values, _ in tiles)
    weight = recipe.weight
    kernel: Tensor | None = None
    for scale, size in grids.shapes_of(shape):
        views = [
            grids.view_of(*grids.coarser(values, mask, scale, ndim), size) for values, mask in tiles
        ]
        if kernel is None:
            kernel = ops.delta(size).to(views[0].values)
        else:
            kernel = grids.fitted(kernel, size, 2**0.5)
        for _ in range(recipe.rounds):
            pairs = [(view, edges(view, kernel, weight)) for view in views]
            of = kernels.equations(pairs, size, even=False)
            if float(of.right.max()) <= NOTHING * sum(v.values.numel() for v in views):
                return ops.delta(shape).to(kernel)
            solve = kernels.on_simplex if recipe.simplex else kernels.divided
            kernel = kernels.cleaned(solve(of, ridge, kernel))
            weight = max(weight / FALL, LEAST)
    assert kernel is not None
    return kernels.centred(kernel)


def refined(tiles: Sequence[Tile], kernel: Tensor, problem: Problem, rounds: int) -> Tensor:
    """Sharpen a kernel by turns with images that have all their detail, not strong edges alone.

    Some rounds only: image and kernel slowly drift to no blur at all (after 6 rounds Levin's
    photographs were 2 dB worse than after 3).
    """
    from napari_deblur.protocols import Blur

    shape = tuple(kernel.shape)
    ridge = RIDGE * sum(values.numel() for values, _ in tiles)
    views = [grids.view_of(values, mask, shape) for values, mask in tiles]
    for _ in range(rounds):
        pairs = []
        for view, (values, mask) in zip(views, tiles, strict=True):
            tile = values if mask is None else values.masked_fill(mask == 0, float("nan"))
            sharp = problem.restored(tile, Blur(kernel[None]), ITERATIONS).image
            pairs.append((view, sharp.nan_to_num_(nan=0.0)))
        of = kernels.equations(pairs, shape, even=True)
        if float(of.right.max()) <= NOTHING * sum(v.values.numel() for v in views):
            return kernel
        kernel = kernels.cleaned(kernels.on_simplex(of, ridge, kernel))
    return kernels.centred(kernel)


def problem_of(noise: float, ndim: int) -> Problem:
    """Make what a refinement restores with; the noise is in units of the white."""
    from napari_deblur.methods._splitting import Problem

    return Problem(
        weight=SMOOTH,
        power=2 / 3,
        unit=noise,
        poisson=False,
        background=0.0,
        lowest=0.0,
        scale=0.5,
        spacing=(1.0,) * ndim,
        nonnegative=False,
    )
