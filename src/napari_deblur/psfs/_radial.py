"""Functions of the radius: from their integrals to pixels, blurred and seen through a disc."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.psfs._sampling import Shape, Size

__all__ = ["bessel", "blurring", "radial_averages", "through_disc"]


def radial_averages(
    profile: Tensor, shape: Shape, pixel_size: Size, step: float, points: int
) -> Tensor:
    """Average a blur that depends on the radius over pixels: (radii, z) to (z, y, x).

    Parameters
    ----------
    profile : Tensor, shape (radii, z), float32
        At the radii 0, `step`, 2 `step`, …, which reach the corner of the last pixel and two
        steps more.
    step : float
        In µm.
    """
    import torch

    _, ny, nx = shape
    matrix = _matrix(ny, nx, pixel_size[1], pixel_size[2], step, points, profile.shape[0])
    # A cubic through the dark rings may go below zero by next to nothing.
    quarter = torch.sparse.mm(matrix.to(profile.device), profile).clamp(min=0)
    quarter = quarter.reshape(ny // 2 + 1, nx // 2 + 1, -1).permute(2, 0, 1)
    left = quarter[:, :, 1:].flip(2)
    half = torch.cat([left, quarter[:, :, : (nx + 1) // 2]], dim=2)
    return torch.cat([half[:, 1:].flip(1), half[:, : (ny + 1) // 2]], dim=1)


@lru_cache(maxsize=8)
def _matrix(ny: int, nx: int, py: float, px: float, step: float, points: int, radii: int) -> Tensor:
    """Give what each pixel of a quarter takes of each radius, by cubic interpolation."""
    import torch
    from scipy.sparse import coo_array

    at, weight = np.polynomial.legendre.leggauss(points)
    y = (np.arange(ny // 2 + 1)[:, None] + at / 2) * py
    x = (np.arange(nx // 2 + 1)[:, None] + at / 2) * px
    radius = np.hypot(y[:, None, :, None], x[None, :, None, :]) / step
    share = np.broadcast_to(np.outer(weight, weight) / 4, radius.shape)
    rows = np.broadcast_to(
        np.arange(radius.shape[0] * radius.shape[1]).reshape(*radius.shape[:2], 1, 1), radius.shape
    )
    low = np.floor(radius).astype(np.int64)
    taps = _taps(radius - low)
    # The profile is the same on both sides of the middle.
    columns = np.concatenate([np.abs(low + shift).ravel() for shift, _ in taps])
    values = np.concatenate([(share * tap).ravel() for _, tap in taps])
    size = (radius.shape[0] * radius.shape[1], radii)
    found = coo_array((values, (np.tile(rows.ravel(), 4), columns)), shape=size).tocsr().tocoo()
    indices = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    entries = torch.from_numpy(found.data.astype(np.float32))
    return torch.sparse_coo_tensor(
        indices, entries, size, is_coalesced=True, check_invariants=False
    )


def _taps(t: Any) -> tuple[tuple[int, Any], ...]:
    """Give neighbours and their weights for a cubic between the middle two; t is 0 to 1."""
    return (
        (-1, -t * (t - 1) * (t - 2) / 6),
        (0, (t + 1) * (t - 1) * (t - 2) / 2),
        (1, -(t + 1) * t * (t - 2) / 2),
        (2, (t + 1) * t * (t - 1) / 6),
    )


def through_disc(radii: NDArray[Any], radius: Tensor, *, fineness: float) -> Tensor:
    """Give the matrix (radii, more radii) that takes the mean over a disc around each radius.

    Parameters
    ----------
    radii : array
        0, step, 2 step, … in µm. The columns go on with the same step, as far as the disc reaches.
    radius : Tensor
        Of the disc, in µm.
    fineness : float
        Radius of the disc in details of what is averaged.
    """
    import torch

    step = float(radii[1])
    rings, spokes = 8 + int(np.ceil(5 * fineness)), 12 + int(np.ceil(8 * fineness))
    at, weight = np.polynomial.legendre.leggauss(rings)
    # Half of the circle is enough, and in the middle of equal steps.
    angle = (np.arange(spokes) + 0.5) * np.pi / spokes
    out = torch.from_numpy((at + 1) / 2).to(radius.device)[:, None] * radius
    share = torch.from_numpy(weight / 2 * (at + 1) / spokes).to(radius.device)[:, None]
    turn = torch.from_numpy(np.cos(angle)).to(radius.device)
    r = torch.from_numpy(radii).to(radius.device)[:, None, None]
    # The root of 0 has no slope: the middle of the disc is moved by next to nothing.
    there = (r**2 + out**2 + 2 * r * out * turn + 1e-18).sqrt() / step
    low = there.detach().floor()
    taps = _taps(there - low)
    columns = len(radii) + int(float(radius.detach()) / step) + 4
    rows = torch.arange(len(radii), device=radius.device)[:, None, None].expand_as(low)
    matrix = torch.zeros(len(radii) * columns, dtype=torch.float64, device=radius.device)
    for shift, tap in taps:
        index = rows * columns + (low + shift).abs().long()
        matrix = matrix.index_add(0, index.ravel(), (share * tap).ravel())
    return matrix.reshape(len(radii), columns).float()


def bessel(order: int, radii: NDArray[Any], scale: Tensor) -> Tensor:
    """Give the Bessel function of radius times scale, (radii, nodes), float32."""
    if scale.requires_grad:
        made: Tensor = _differentiable().apply(order, radii, scale)
        return made
    key = tuple(scale.detach().cpu().tolist())
    return _fixed(order, radii.size, float(radii[-1]), key).to(scale.device)


@lru_cache(maxsize=12)
def _fixed(order: int, n: int, last: float, scale: tuple[float, ...]) -> Tensor:
    import torch

    x = np.outer(np.linspace(0, last, n), scale)
    return torch.from_numpy(_values_of(order, x).astype(np.float32))


def _values_of(order: int, x: NDArray[Any]) -> NDArray[Any]:
    from scipy.special import j0, j1

    if order < 2:
        found: NDArray[Any] = j0(x) if order == 0 else j1(x)
        return found
    # As a series where the recurrence would subtract what is nearly the same.
    small = x < 1e-2
    safe = np.where(small, 1.0, x)
    return np.where(small, x**2 / 8, 2 * j1(safe) / safe - j0(safe))


@lru_cache(maxsize=1)
def _differentiable() -> Any:
    """Give the Bessel function as an operation that torch can go backwards through."""
    import torch
    from scipy.special import j0, j1

    class Bessel(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, order: int, radii: NDArray[Any], scale: Tensor) -> Tensor:
            ctx.order, ctx.radii, ctx.scale = order, radii, scale.detach()
            x = np.outer(radii, ctx.scale.cpu().numpy())
            return torch.from_numpy(_values_of(order, x).astype(np.float32)).to(scale.device)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
            x = np.outer(ctx.radii, ctx.scale.cpu().numpy())
            if ctx.order == 0:
                slope = -j1(x)
            else:
                # J' of order n is J of order n - 1 less n J / x.
                ratio = _values_of(ctx.order, x) / np.where(x == 0, 1, x)
                below = j0(x) if ctx.order == 1 else j1(x)
                slope = np.where(x == 0, 0.5 * (ctx.order == 1), below - ctx.order * ratio)
            steep = torch.from_numpy(slope * ctx.radii[:, None]).to(gradients[0].device)
            return None, None, (gradients[0] * steep).sum(0)

    return Bessel


def blurring(radii: NDArray[Any], sigma: Tensor) -> Tensor:
    """Give the matrix that blurs a function of the radius by a Gaussian in the plane."""
    import torch

    r = torch.from_numpy(radii).to(sigma.device)
    step = r[1]
    # Less than a tenth of a step is no blur, and nothing is divided by 0.
    spread = torch.clamp(sigma, min=float(step) / 10)
    area = torch.where(r == 0, step / 8, r)  # of the rings
    weights = area * torch.exp(-((r[:, None] - r) ** 2) / (2 * spread**2))
    weights = weights * torch.special.i0e(r[:, None] * r / spread**2)
    matrix: Tensor = (weights / weights.sum(1, keepdim=True)).to(torch.float32)
    return matrix
