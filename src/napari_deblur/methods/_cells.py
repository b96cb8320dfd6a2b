"""Gradients in cells of two voxels along each axis, slab by slab: what splitting shrinks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["cut", "parts", "scales", "slabs", "spread"]

# Voxels of a slab: a few of its temporaries fit a core's cache. Of small grids it is half of that:
# torch gives such pieces to one thread, and on a busy machine threads wait for each other.
SLAB = 1 << 16


def scales(spacing: tuple[float, ...]) -> list[float]:
    """Give what turns the parts of a cell into shares of its gradient, in the order of `parts`."""
    ndim = len(spacing)
    return [
        2 ** (1 - ndim) * sum(s**-2 for axis, s in enumerate(spacing) if number >> axis & 1) ** 0.5
        for number in range(1, 2**ndim)
    ]


def parts(x: Tensor, a: int, b: int, ndim: int) -> list[Tensor]:
    """Split cells of 2 voxels along each axis into sums and differences, for one slab.

    The number of a part has a bit for each axis along which it is a difference; the sum of all,
    number 0, is left out. The squares of the parts, scaled, add up to the mean of the squared
    differences along the cell's edges. (Forward differences at each voxel would be fewer, but a
    mirrored image then gave another result, by a tenth of the peak.)
    """
    import torch

    n = x.shape[-ndim]
    after = x[cut(a + 1, b + 1, ndim)]
    if b == n:
        after = torch.cat((after, x[cut(0, 1, ndim)]), dim=-ndim)
    here = x[cut(a, b, ndim)]
    made = [after + here, after - here]
    for axis in range(1 - ndim, 0):
        made = [_neighbours(part, axis, sign) for sign in (1, -1) for part in made]
    return made[1:]


def _neighbours(part: Tensor, axis: int, sign: int) -> Tensor:
    """Give the next voxel plus or less this one along an axis, wrapping around."""
    import torch

    m = part.shape[axis]
    out = torch.empty_like(part)
    combine = torch.add if sign > 0 else torch.sub
    first, last = part.narrow(axis, 0, 1), part.narrow(axis, m - 1, 1)
    combine(
        part.narrow(axis, 1, m - 1), part.narrow(axis, 0, m - 1), out=out.narrow(axis, 0, m - 1)
    )
    combine(first, last, out=out.narrow(axis, m - 1, 1))
    return out


def spread(right: Tensor, given: list[Tensor], a: int, b: int, ndim: int) -> None:
    """Add the adjoint of `parts`, whose memory it uses up."""
    whole: list[Tensor | None] = [None, *given]
    for axis in range(-1, -ndim, -1):
        half = len(whole) // 2
        whole = [
            _gathered(low, high, axis) for low, high in zip(whole[:half], whole[half:], strict=True)
        ]
    after, here = _both(*whole)
    right[cut(a, b, ndim)].add_(here)
    n = right.shape[-ndim]
    if b < n:
        right[cut(a + 1, b + 1, ndim)].add_(after)
    else:
        right[cut(a + 1, b, ndim)].add_(after.narrow(-ndim, 0, b - a - 1))
        right[cut(0, 1, ndim)].add_(after.narrow(-ndim, b - a - 1, 1))


def _both(low: Tensor | None, high: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give what sum and difference send to the next voxel and to this one."""
    assert high is not None
    return (high, -high) if low is None else (low + high, low.sub_(high))


def _gathered(low: Tensor | None, high: Tensor | None, axis: int) -> Tensor:
    """Apply the adjoint of `_neighbours` to a sum and a difference, and add."""
    after, here = _both(low, high)
    m = here.shape[axis]
    here.narrow(axis, 1, m - 1).add_(after.narrow(axis, 0, m - 1))
    here.narrow(axis, 0, 1).add_(after.narrow(axis, m - 1, 1))
    return here


def slabs(thing: Tensor, ndim: int) -> Iterator[tuple[int, int]]:
    """Cut the first of the last `ndim` axes into pieces that fit a processor's cache."""
    n = thing.shape[-ndim]
    voxels = SLAB if thing.numel() > 4 * SLAB else SLAB // 2
    rows = max(1, voxels * n // thing.numel()) if thing.is_cpu else n
    for a in range(0, n, rows):
        yield a, min(a + rows, n)


def cut(a: int, b: int, ndim: int) -> tuple[Any, ...]:
    """Index a slab."""
    return (..., slice(a, b), *(slice(None),) * (ndim - 1))
