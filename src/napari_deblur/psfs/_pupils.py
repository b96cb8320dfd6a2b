"""The pupil of a lens as a grid of points, its Zernike modes, and the light it makes in a plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Grid", "grid", "noll", "waves", "zernike"]


@dataclass(frozen=True, eq=False)
class Grid:
    """A disc as points: columns at the nodes of Chebyshev, each with those of Gauss and Legendre.

    A smooth pupil is integrated without a jagged edge, and for any window of the image.

    Parameters
    ----------
    columns : Tensor, shape (columns,), float32
        Positions across, -1 to 1.
    rows : Tensor, shape (columns, rows), float32
        Positions down.
    weights : Tensor, shape (columns, rows), float32
        Their sum is the disc's area.
    squares : Tensor, shape (columns, rows), float32
        Squares of the radius, 0 to 1.
    modes : Tensor, shape (modes, columns, rows), float32
        Zernike modes, of root mean square 1 over the disc, from Noll's number 4 on.
    """

    columns: Tensor
    rows: Tensor
    weights: Tensor
    squares: Tensor
    modes: Tensor


@lru_cache(maxsize=16)
def grid(size: int, modes: int, device: str) -> Grid:
    """Make a grid of size × size points."""
    import torch

    turn = np.arange(1, size + 1) * np.pi / (size + 1)
    columns = np.cos(turn)
    at, weight = np.polynomial.legendre.leggauss(size)
    # The height of a column is the sine, and so is half of the weight of Chebyshev's nodes.
    rows = np.sin(turn)[:, None] * at
    weights = (np.pi / (size + 1) * np.sin(turn) ** 2)[:, None] * weight
    radius = np.hypot(columns[:, None], rows)
    angle = np.arctan2(rows, columns[:, None])
    basis = np.zeros((modes, size, size))
    for j in range(modes):
        basis[j] = zernike(4 + j, radius, angle)
    arrays = (columns, rows, weights, radius**2, basis)
    return Grid(*(torch.from_numpy(a.astype(np.float32)).to(device) for a in arrays))


def waves(
    points: Grid, y: NDArray[Any], x: NDArray[Any], scale: Tensor, part: slice
) -> tuple[Tensor, Tensor]:
    """Give the waves from columns of a pupil to positions in µm.

    Parameters
    ----------
    y, x : array
    scale : Tensor
        Numerical aperture over wavelength, in 1/µm.
    part : slice
        Which columns.

    Returns
    -------
    Tensor, shape (columns, y, rows), complex64
        From each column to y.
    Tensor, shape (columns, x), complex64
        From the columns to x.
    """
    import torch

    down, across = (
        torch.from_numpy((2 * np.pi * at).astype(np.float32)).to(scale.device) * scale
        for at in (y, x)
    )
    one = torch.ones((), device=scale.device)
    return (
        torch.polar(one, down[None, :, None] * points.rows[part, None, :]),
        torch.polar(one, points.columns[part, None] * across),
    )


def noll(j: int) -> tuple[int, int]:
    """Give order and frequency (n, m) of Noll's number j ≥ 1; m < 0 for a sine.

    Examples
    --------
    >>> [noll(j) for j in (4, 5, 6, 7, 8, 11)]
    [(2, 0), (2, -2), (2, 2), (3, -1), (3, 1), (4, 0)]
    """
    n, left = 0, j - 1
    while left > n:
        n += 1
        left -= n
    m = 2 * ((left + 1) // 2) if n % 2 == 0 else 2 * (left // 2) + 1
    return n, m if j % 2 == 0 else -m


def zernike(j: int, radius: NDArray[Any], angle: NDArray[Any]) -> NDArray[Any]:
    """Give Noll's mode j, of root mean square 1 over the disc."""
    n, m = noll(j)
    made = np.zeros_like(radius)
    for k in range((n - abs(m)) // 2 + 1):
        below = factorial(k) * factorial((n + abs(m)) // 2 - k) * factorial((n - abs(m)) // 2 - k)
        made += (-1) ** k * factorial(n - k) / below * radius ** (n - 2 * k)
    if m == 0:
        made *= np.sqrt(n + 1)
    else:
        made *= np.sqrt(2 * (n + 1)) * (np.cos(m * angle) if m > 0 else np.sin(-m * angle))
    return made
