"""Grids of the search for a sparse image's kernel: coarser copies, borders, differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "View",
    "coarser",
    "differences",
    "fitted",
    "noise_left",
    "response",
    "shapes_of",
    "view_of",
]

# Kernels grow from this width; below it there is nothing to find.
SMALLEST = 3
# A coarser copy is smoothed by a Gaussian of so many of its own pixels.
SMOOTH = 0.5
# Of a pixel of a coarser copy, the share that must have been seen.
ENOUGH = 0.5


@dataclass(frozen=True, eq=False)
class View:
    """One tile on one level: its values, its mask, and both on a periodic grid.

    Parameters
    ----------
    values : Tensor, shape (items, [z,] y, x)
        Holes are filled.
    mask : Tensor or None
        1 where there are data.
    spectrum : Tensor, complex64
        Of the tile, continued to a periodic grid of the size `lengths`.
    lengths : ([z,] y, x)
    """

    values: Tensor
    mask: Tensor | None
    spectrum: Tensor
    lengths: tuple[int, ...]


def view_of(values: Tensor, mask: Tensor | None, kernel: tuple[int, ...]) -> View:
    """Continue a tile (items, [z,] y, x) smoothly to a grid with a kernel's room at its border."""
    from napari_deblur import ops

    size = tuple(values.shape[-len(kernel) :])
    lengths = tuple(
        ops.good_length(n + k + k // 2, even=True) for n, k in zip(size, kernel, strict=True)
    )
    grid = ops.filled(values, mask, lengths, lengths)
    inner: tuple[Any, ...] = (..., *(slice(n) for n in size))
    return View(grid[inner].clone(), mask, ops.forward(grid, lengths), lengths)


def shapes_of(kernel: tuple[int, ...]) -> list[tuple[float, tuple[int, ...]]]:
    """Give scale and kernel shape of each level, the coarsest first; steps are √2."""
    levels: list[tuple[float, tuple[int, ...]]] = [(1.0, kernel)]
    while max(levels[-1][1]) > SMALLEST:
        scale = 2 ** (-len(levels) / 2)
        shape = tuple(min(n, max(SMALLEST, int(n * scale) // 2 * 2 + 1)) for n in kernel)
        levels.append((scale, shape))
    return levels[::-1]


def coarser(
    values: Tensor, mask: Tensor | None, scale: float, ndim: int
) -> tuple[Tensor, Tensor | None]:
    """Give a copy of a tile with `scale` times as many pixels along the last `ndim` axes."""
    if scale == 1:
        return values, mask
    if mask is None:
        return _along(values, scale, ndim), None
    above, below = _along(values * mask, scale, ndim), _along(mask, scale, ndim)
    known = (below > ENOUGH).to(values.dtype)
    return above / below.clamp(min=1e-6) * known, known


def noise_left(scale: float) -> float:
    """Give the share that a coarser copy keeps of the deviation of white noise, for each axis."""
    from math import pi

    return 1.0 if scale == 1 else min(1.0, (scale / (2 * pi**0.5 * SMOOTH)) ** 0.5)


def _along(values: Tensor, scale: float, ndim: int) -> Tensor:
    import torch

    for axis in range(-ndim, 0):
        n = values.shape[axis]
        m = max(1, int(n * scale))
        if n == 1:
            continue
        # The middle stays the middle, so that a mirrored tile has a mirrored copy.
        at = (n - 1) / 2 + (torch.arange(m, device=values.device) - (m - 1) / 2) / scale
        off = (torch.arange(n, device=values.device) - at[:, None]) * (scale / SMOOTH)
        weights = torch.exp(-off.square() / 2).to(values.dtype)
        weights /= weights.sum(dim=1, keepdim=True)
        values = torch.movedim(torch.movedim(values, axis, -1) @ weights.T, -1, axis)
    return values.contiguous()


def fitted(kernel: Tensor, shape: tuple[int, ...], ratio: float = 1.0) -> Tensor:
    """Resample a kernel, `ratio` times as wide, to a shape, centre on centre; linear."""
    import torch

    from napari_deblur import ops

    for axis, m in enumerate(shape):
        n = kernel.shape[axis]
        at = (torch.arange(m, device=kernel.device) - m // 2) / ratio + n // 2
        near = torch.arange(n, device=kernel.device) - at[:, None]
        weights = (1 - near.abs() / max(1.0, 1 / ratio)).clamp(min=0).to(kernel.dtype)
        kernel = torch.movedim(torch.movedim(kernel, axis, -1) @ weights.T, -1, axis)
    return ops.normalised(kernel)


def response(kernel: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Give the transfer function of a kernel that leaves things where they are."""
    import torch

    from napari_deblur import ops

    places = [
        (torch.arange(n, device=kernel.device) - n // 2) % m
        for n, m in zip(kernel.shape, lengths, strict=True)
    ]
    grid = kernel.new_zeros(lengths)
    grid.index_put_(torch.meshgrid(*places, indexing="ij"), kernel, accumulate=True)
    return ops.forward(grid, lengths)


def differences(values: Tensor, ndim: int) -> list[Tensor]:
    """Give the difference to the next pixel along each of the last axes, wrapping around."""
    return [values.roll(-1, axis) - values for axis in range(-ndim, 0)]
