"""Centre, shift and compare kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["centroid", "delta", "normalised", "reshaped", "shifted", "stretched"]


def centroid(kernel: Tensor) -> Tensor:
    """Give the centre of mass of a kernel relative to ``n // 2``, shape (ndim,), in pixels."""
    total = kernel.sum()
    places = []
    for axis, n in enumerate(kernel.shape):
        others = [a for a in range(kernel.ndim) if a != axis]
        marginal = kernel.sum(dim=others) if others else kernel
        offsets = torch.arange(n, device=kernel.device, dtype=kernel.dtype) - n // 2
        places.append((marginal * offsets).sum() / total)
    return torch.stack(places)


def delta(shape: tuple[int, ...]) -> Tensor:
    """Make the kernel that changes nothing."""
    kernel = torch.zeros(shape)
    kernel[tuple(n // 2 for n in shape)] = 1
    return kernel


def normalised(kernel: Tensor) -> Tensor:
    """Project to non-negative values of sum 1."""
    kernel = kernel.clamp(min=0)
    return kernel / kernel.sum()


def reshaped(kernel: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Crop a kernel or pad it with zeros to a shape, its centre staying at ``n // 2``."""
    fitted = np.zeros(shape, np.float32)
    to, of = [], []
    for have, want in zip(kernel.shape, shape, strict=True):
        before, after = min(have // 2, want // 2), min((have - 1) // 2, (want - 1) // 2)
        of.append(slice(have // 2 - before, have // 2 + after + 1))
        to.append(slice(want // 2 - before, want // 2 + after + 1))
    fitted[tuple(to)] = kernel[tuple(of)]
    return fitted


def shifted(kernel: Tensor, shift: Tensor | tuple[float, ...]) -> Tensor:
    """Shift a kernel by a fraction of a pixel along each axis: linear, zeros come in.

    Linear weights keep a kernel non-negative and move its centroid by exactly `shift` where
    nothing falls off the edge; a Fourier shift would ring at a motion kernel's ends.
    """
    for axis, by in enumerate(float(s) for s in shift):
        whole = int(torch.floor(torch.tensor(by)))
        part = by - whole
        kernel = (1 - part) * _moved(kernel, whole, axis) + part * _moved(kernel, whole + 1, axis)
    return kernel


def stretched(kernel: Tensor, factor: float) -> Tensor:
    """Stretch a kernel about its centre, ``n // 2`` on each axis, in its shape; its sum is 1.

    Linear between pixels; what leaves the shape is lost.
    """
    from scipy.ndimage import affine_transform

    offset = [n // 2 * (1 - 1 / factor) for n in kernel.shape]
    made = affine_transform(kernel.numpy(), [1 / factor] * kernel.ndim, offset, order=1)
    return normalised(torch.from_numpy(made))


def _moved(kernel: Tensor, by: int, axis: int) -> Tensor:
    """Shift by whole pixels along one axis; zeros come in."""
    n = kernel.shape[axis]
    if abs(by) >= n:
        return torch.zeros_like(kernel)
    moved = torch.roll(kernel, by, axis)
    edge = slice(0, by) if by >= 0 else slice(n + by, n)
    moved[(slice(None),) * axis + (edge,)] = 0
    return moved
