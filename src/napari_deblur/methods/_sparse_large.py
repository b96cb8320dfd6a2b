"""Coarse to fine for large kernels, with a border that is exact.

A kernel of a fifth of the image's width mixes what lies outside into most of what was seen. Where
that is taken for the image's own light, the search goes astray on its coarsest copies. Here the
image reaches beyond the tile, unknown there, and only pixels that were seen have a say.

The search ends where the kernel is some 50 px wide: noise hides what is finer in a large blur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from napari_deblur.methods import _sparse_grids as grids
from napari_deblur.methods import _sparse_kernel as kernels
from napari_deblur.methods._sparse_image import GROWTH, LARGEST, roughness

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LARGE", "Search", "levels_of", "searched"]

# Kernels wider than this are searched for here; measured on 191 px alone.
LARGE = 64
# The widest kernel on the finest level.
FINEST = 48
# Kernels grow from this width.
SMALLEST = 7
# Weights of an edge while a level settles, with the rounds for each: at half the finest scale,
# where most is decided, and on the finest. Below 2e-4 image and kernel move together too slowly.
MIDDLE = ((5e-4, 8), (3e-4, 16))
LAST = ((6e-4, 6), (3e-4, 6))
# Steps of the kernel between two images.
STEPS = 40
# Squared gradients above this, in units of the white, are edges when a search is judged.
EDGE = 1e-6
# Less than this mean squared gradient is rounding errors.
NOTHING = 1e-10

Tile = tuple["Tensor", "Tensor | None"]


@dataclass(frozen=True, eq=False)
class Search:
    """What a search came to.

    Parameters
    ----------
    kernel : Tensor
        Of the size asked for, centred.
    small : Tensor
        The same on the finest level.
    scale : float
        Of the finest level.
    cost : float
        Misfit and edges on the level at half its scale: less is better.
    """

    kernel: Tensor
    small: Tensor
    scale: float
    cost: float


@dataclass(frozen=True, eq=False)
class _Grid:
    """One tile on one level, at index 0 of a periodic grid with room for what lies around it.

    Parameters
    ----------
    seen : Tensor, shape (items, *lengths)
        0 where nothing was seen.
    known : Tensor
        1 where something was seen.
    start : Tensor
        The tile, continued smoothly.
    rough : Tensor
        Squared response of all differences.
    lengths : ([z,] y, x)
    """

    seen: Tensor
    known: Tensor
    start: Tensor
    rough: Tensor
    lengths: tuple[int, ...]


def levels_of(shape: tuple[int, ...]) -> list[tuple[float, tuple[int, ...]]]:
    """Give scale and kernel shape of each level, the coarsest first.

    Steps are √2, and 2 at the end. Shapes are a pixel or two wider than the kernel: on coarse
    levels its light reaches beyond its own rim.
    """
    levels: list[tuple[float, tuple[int, ...]]] = []
    step = 0
    while not levels or max(levels[-1][1]) > SMALLEST:
        scale = 2 ** (-step / 2)
        step += 1
        if max(shape) * scale > FINEST:
            continue
        if len(levels) == 1 and scale > 0.51 * levels[0][0]:
            continue
        levels.append((scale, tuple(1 if n == 1 else 2 * ceil(n * scale / 2) + 3 for n in shape)))
    return levels[::-1]


def searched(
    tiles: Sequence[Tile], shape: tuple[int, ...], weight: float, rounds: int
) -> Search | None:
    """Find the kernel of tiles (items, [z,] y, x) in units of their white, from nothing.

    Parameters
    ----------
    tiles : values and masks
    shape : of the kernel
    weight : float
        Of an edge at first.
    rounds : int
        Of image and kernel on each coarse level.

    Returns
    -------
    Search, or None where no tile has an edge
    """
    from napari_deblur import ops

    levels = levels_of(shape)
    fall = (MIDDLE[0][0] / weight) ** (1 / (rounds * max(len(levels) - 1, 1)))
    kernel: Tensor | None = None
    before, cost = levels[0][0], 0.0
    for number, (scale, size) in enumerate(levels):
        level = [
            _grid_of(*grids.coarser(values, mask, scale, len(shape)), size)
            for values, mask in tiles
        ]
        if kernel is None:
            kernel = ops.delta(size).to(tiles[0][0])
        else:
            kernel = grids.fitted(kernel, size, scale / before)
        before = scale
        weights = [weight * fall**n for n in range(rounds)] if number < len(levels) - 1 else []
        weight *= fall**rounds
        settling = {len(levels) - 2: MIDDLE, len(levels) - 1: LAST}.get(number, ())
        weights += [value for value, times in settling for _ in range(times)]
        images = [grid.start for grid in level]
        for value in weights:
            images = [
                _edges(grid, image, kernel, value)
                for grid, image in zip(level, images, strict=True)
            ]
            found = _kernel_of(level, images, kernel)
            if found is None:
                return None
            kernel = kernels.cleaned(found)
        if number >= len(levels) - 2 and not cost:
            cost = sum(
                _cost(grid, image, kernel, MIDDLE[-1][0])
                for grid, image in zip(level, images, strict=True)
            )
    assert kernel is not None
    full = kernels.centred(grids.fitted(kernel, shape, 1 / before))
    return Search(full, kernels.centred(kernel), before, cost)


def _grid_of(values: Tensor, mask: Tensor | None, kernel: tuple[int, ...]) -> _Grid:
    import torch

    from napari_deblur import ops

    size = tuple(values.shape[-len(kernel) :])
    lengths = tuple(
        ops.good_length(n + k + k // 2, even=True) for n, k in zip(size, kernel, strict=True)
    )
    start = ops.filled(values, mask, lengths, lengths).clone()
    inner: tuple[Any, ...] = (..., *(slice(n) for n in size))
    known, seen = torch.zeros_like(start), torch.zeros_like(start)
    known[inner] = 1.0 if mask is None else mask
    seen[inner] = values * known[inner]
    return _Grid(seen, known, start, roughness(lengths, values), lengths)


def _edges(grid: _Grid, image: Tensor, kernel: Tensor, weight: float) -> Tensor:
    """Minimise ``|seen − k * x|² + weight · (number of pixels with a gradient)`` by splitting.

    What was not seen is filled with what the image before predicts, step by step.
    """
    import torch

    from napari_deblur import ops

    ndim, lengths = kernel.ndim, grid.lengths
    otf = grids.response(kernel, lengths)
    power = torch.view_as_real(otf).square().sum(dim=-1)
    spectrum = ops.forward(image, lengths).clone()
    penalty = 2 * weight
    while penalty < LARGEST:
        ops.checkpoint()
        parts = grids.differences(image, ndim)
        squared = sum(part.square() for part in parts)
        keep = squared >= weight / penalty
        right: Any = 0
        for axis, part in zip(range(-ndim, 0), parts, strict=True):
            part *= keep
            right = right + part.roll(1, axis).sub_(part)
        whole = torch.lerp(ops.backward(spectrum * otf, lengths), grid.seen, grid.known)
        spectrum = ops.forward(whole, lengths) * otf.conj()
        spectrum += penalty * ops.forward(right, lengths)
        spectrum /= torch.add(power, grid.rough, alpha=penalty)
        image = ops.backward(spectrum.clone(), lengths).clone()
        penalty *= GROWTH
    return image


def _kernel_of(level: Sequence[_Grid], images: Sequence[Tensor], kernel: Tensor) -> Tensor | None:
    """Solve ``∇x * k = ∇y`` on what was seen, for a kernel of sum 1 that is nowhere negative."""
    import torch

    from napari_deblur import ops

    ndim = kernel.ndim
    near = [(-(n // 2), n) for n in kernel.shape]
    parts, steep, strongest = [], 0.0, 0.0
    for grid, image in zip(level, images, strict=True):
        powers: Any = 0
        for axis, of_x in zip(range(-ndim, 0), grids.differences(image, ndim), strict=True):
            known = grid.known * grid.known.roll(-1, axis)
            target = (grid.seen.roll(-1, axis) - grid.seen) * known
            spectrum = ops.forward(of_x, grid.lengths).clone()
            power = torch.view_as_real(spectrum).square().sum(dim=-1)
            powers = powers + power.reshape(-1, *power.shape[-ndim:]).sum(dim=0)
            strongest += float(target.square().sum()) / target.numel()
            parts.append((grid.lengths, spectrum, known, target))
        steep += float(powers.max())
    if strongest <= NOTHING:
        return None

    def slope(at: Tensor) -> Tensor:
        total: Any = 0
        for lengths, spectrum, known, target in parts:
            predicted = ops.backward(spectrum * grids.response(at, lengths), lengths)
            rest = ops.forward(predicted * known - target, lengths) * spectrum.conj()
            rest = rest.reshape(-1, *rest.shape[-ndim:]).sum(dim=0)
            total = total + kernels.lags(ops.backward(rest, lengths), near)
        result: Tensor = total
        return result

    return kernels.descended(kernel, slope, steep, STEPS)


def _cost(grid: _Grid, image: Tensor, kernel: Tensor, weight: float) -> float:
    """Give what `_edges` minimises."""
    from napari_deblur import ops

    spectrum = ops.forward(image, grid.lengths) * grids.response(kernel, grid.lengths)
    rest = (ops.backward(spectrum, grid.lengths) - grid.seen) * grid.known
    squared = sum(part.square() for part in grids.differences(image, kernel.ndim))
    assert not isinstance(squared, int)
    return float(rest.square().sum()) + weight * float((squared > EDGE).sum())
