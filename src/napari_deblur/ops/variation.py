"""Total variation of an object, slab by slab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from napari_deblur.ops.blocks import VOXELS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["curvature", "curvatures"]


def curvature(
    thing: Tensor, spacing: tuple[float, ...], smallest: float, share: float = 0.0
) -> Tensor:
    """Give the divergence of the normalised gradient times the object: what flattens it.

    Of two neighbours the darker one is the factor, so that none gives more than it has and
    nothing flows where nothing is seen. Light only moves: the sum is 0. (Total variation's own
    gradient, without the object as a factor, takes light away at edges.)

    Parameters
    ----------
    thing : Tensor, shape (..., [z,] y, x)
    spacing : one length for each of the last axes, in any unit
        Of the voxels. Differences are taken over the border as 0.
    smallest : float
        A gradient that counts as flat, in the unit of `thing` per that of `spacing`.
    share : float
        The same as a share of `thing`, place by place.

    Returns
    -------
    Tensor, shape of `thing`
    """
    dims = range(-len(spacing), 0)
    steps = [_forward(thing, dim) / size for dim, size in zip(dims, spacing, strict=True)]
    length = thing.square().mul_(share**2).add_(smallest**2)
    for step in steps:
        length.addcmul_(step, step)
    length.sqrt_()
    total = torch.zeros_like(thing)
    for step, dim, size in zip(steps, dims, spacing, strict=True):
        step.div_(length).div_(size)
        n = thing.shape[dim]
        step.narrow(dim, 0, n - 1).mul_(
            torch.minimum(thing.narrow(dim, 0, n - 1), thing.narrow(dim, 1, n - 1))
        )
        total.add_(step)
        total.narrow(dim, 1, n - 1).sub_(step.narrow(dim, 0, n - 1))
    return total


def _forward(thing: Tensor, dim: int) -> Tensor:
    step = torch.zeros_like(thing)
    n = thing.shape[dim]
    torch.sub(
        thing.narrow(dim, 1, n - 1), thing.narrow(dim, 0, n - 1), out=step.narrow(dim, 0, n - 1)
    )
    return step


def curvatures(
    thing: Tensor, spacing: tuple[float, ...], smallest: float, share: float = 0.0
) -> Iterator[tuple[slice, Tensor]]:
    """Give `curvature` in slabs along the first of the axes, with each slab's place.

    `thing` may be changed where a slab was given before the next one is asked for.
    """
    axis = thing.ndim - len(spacing)
    n = thing.shape[axis]
    step = n
    if thing.device.type == "cpu":
        step = max(4, VOXELS * n // max(thing.numel(), 1))
    before: Tensor | None = None  # the plane in front of the slab, as it was
    for start in range(0, n, step):
        stop = min(start + step, n)
        piece = thing.narrow(axis, start, min(stop + 1, n) - start)
        lead = 0
        if before is not None:
            piece, lead = torch.cat([before, piece], dim=axis), 1
        pulls = curvature(piece, spacing, smallest, share).narrow(axis, lead, stop - start)
        before = thing.narrow(axis, stop - 1, 1).clone()
        yield slice(start, stop), pulls
