"""Kernels that vary, as a few of them: a mean and the modes in which they differ from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.protocols import KernelField

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ERROR", "MODES", "field_of", "modes_of"]

# Of discs of radius 1 to 6 px, with as many modes the worst kernel differed by 1 %; each costs
# two transforms more in every iteration.
MODES = 6
ERROR = 0.01


def modes_of(
    kernels: NDArray[Any], *, most: int = MODES, error: float = ERROR
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Describe kernels by their mean and as few modes as describe the worst of them well.

    The modes are those of a singular value decomposition of what is left without the mean. They
    sum to 0 and the mean counts 1 everywhere: whatever the weights, no light is lost.

    Parameters
    ----------
    kernels : array of shape (n, ..., y, x)
        Each is divided by its sum.
    most : int
        Modes at most.
    error : float
        Of the worst kernel, root mean square over that of the kernel.

    Returns
    -------
    basis : array of shape (1 + modes, ..., y, x), float32
    weights : array of shape (1 + modes, n)
    """
    count, shape = len(kernels), kernels.shape[1:]
    flat = np.asarray(kernels, np.float64).reshape(count, -1)
    flat = flat / flat.sum(axis=1, keepdims=True)
    mean = flat.mean(axis=0)
    left, values, right = np.linalg.svd(flat - mean, full_matrices=False)
    sizes = np.linalg.norm(flat, axis=1)
    modes = 0
    while modes < min(most, values.size):
        rest = np.linalg.norm(left[:, modes:] * values[modes:], axis=1)
        if (rest <= error * sizes).all():
            break
        modes += 1
    scaled = right[:modes] - right[:modes].mean(axis=1, keepdims=True)
    basis = np.concatenate([mean[None], scaled]).reshape(1 + modes, *shape)
    weights = np.concatenate([np.ones((1, count)), (left[:, :modes] * values[:modes]).T])
    return basis.astype(np.float32), weights


def field_of(
    kernels: NDArray[Any],
    nodes: Sequence[Sequence[float]],
    *,
    maps: Mapping[str, NDArray[Any]] | None = None,
    pixel_size: tuple[float, float, float] | None = None,
    report: Mapping[str, Any] | None = None,
    most: int = MODES,
    error: float = ERROR,
) -> KernelField:
    """Make a field of kernels that were measured, or computed, at the nodes of a grid.

    Parameters
    ----------
    kernels : array of shape (nz, ny, nx, z | 1, y, x)
    nodes : (z, y, x)
        Along each axis the places of the nodes in voxels of the stack, rising.
    maps, pixel_size, report
        As for `KernelField`.
    most, error : int, float
        As for `modes_of`.
    """
    array = np.asarray(kernels)
    z, y, x = (tuple(float(v) for v in line) for line in nodes)
    if array.ndim != 6 or array.shape[:3] != (len(z), len(y), len(x)):
        raise ValueError(
            f"kernels at {len(z)} × {len(y)} × {len(x)} nodes (z, y, x) have axes "
            f"(nz, ny, nx, z, y, x), got shape {array.shape}"
        )
    basis, weights = modes_of(array.reshape(-1, *array.shape[3:]), most=most, error=error)
    grid = weights.reshape(len(basis), *array.shape[:3])
    return KernelField(basis, (z, y, x), grid, maps or {}, pixel_size, report or {})
