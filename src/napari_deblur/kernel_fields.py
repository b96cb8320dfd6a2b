"""A blur that varies from place to place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.blurs import Blur, Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KernelField"]

# How far from 1 the kernels of a field may sum: more would be light that is lost or made.
SUM = 1e-3


@dataclass(frozen=True, eq=False)
class KernelField:
    """A blur that varies from place to place: a few basis kernels and their weights at nodes.

    The kernel of a place is the sum of the basis, weighted; weights lie between those of the
    nodes around it, along straight lines, and stay what they are beyond the last node. They act
    on the object, so light is neither lost nor made where they vary.

    Parameters
    ----------
    basis : array of shape (rank, y, x) or (rank, z | 1, y, x)
        Kernels, or a mean and modes that sum to 0; the centre is at index ``n // 2``.
    nodes : (z, y, x)
        Along each axis the places of the nodes in voxels of the stack, rising.
    weights : array of shape (rank, nz, ny, nx)
        One number for each node; at each node the kernels' weighted sums are 1.
    maps : mapping
        What varies, by name, as arrays of shape (nz, ny, nx): a parameter's values at the nodes.
    pixel_size : (z, y, x) in µm, or None
        None says: the same as the image's.
    report : mapping
        How the field was found: plain data.

    Raises
    ------
    ValueError
        When shapes don't fit, a value is not finite, nodes don't rise, or light would be lost.
    """

    basis: NDArray[Any]
    nodes: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    weights: NDArray[Any]
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    pixel_size: tuple[float, float, float] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        basis, weights = _kept(self.basis), _kept(self.weights)
        if basis.ndim == 3:
            basis = basis[:, None]
        z, y, x = (tuple(float(v) for v in line) for line in self.nodes)
        grid = (len(z), len(y), len(x))
        if basis.ndim != 4 or 0 in basis.shape:
            raise ValueError(
                f"a field's basis has axes (rank, y, x) or (rank, z, y, x), got {basis.shape}"
            )
        if weights.shape != (len(basis), *grid):
            raise ValueError(
                f"a field of rank {len(basis)} with {grid} nodes (z, y, x) has weights of shape "
                f"{(len(basis), *grid)}, got {weights.shape}"
            )
        for axis, line in zip("zyx", (z, y, x), strict=True):
            if not np.isfinite(line).all() or any(b <= a for a, b in pairwise(line)):
                raise ValueError(f"the nodes along {axis} must be finite and rise, got {line}")
        maps = {name: _kept(values) for name, values in self.maps.items()}
        for name, values in maps.items():
            if values.shape != grid:
                raise ValueError(f'the map "{name}" has shape {values.shape}, the nodes {grid}')
        if not np.isfinite(basis).all() or not np.isfinite(weights).all():
            raise ValueError("a field's basis and weights must be finite")
        sums = np.tensordot(basis.sum(axis=(1, 2, 3), dtype=np.float64), weights, axes=1)
        if abs(sums - 1).max() > SUM:
            raise ValueError(
                f"the kernels of a field must sum to 1, got {sums.min():.4g} to {sums.max():.4g}: "
                "divide each by its sum first"
            )
        new = {"basis": basis, "weights": weights, "nodes": (z, y, x), "maps": maps}
        if self.pixel_size is not None:
            size = tuple(float(v) for v in self.pixel_size)
            if len(size) != 3 or not all(v > 0 and np.isfinite(v) for v in size):
                raise ValueError(
                    f"pixel_size of a field is (z, y, x) in µm, all > 0, got {self.pixel_size}"
                )
            new["pixel_size"] = size
        for name, value in new.items():
            object.__setattr__(self, name, value)

    @property
    def rank(self) -> int:
        """Number of basis kernels."""
        return len(self.basis)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one kernel, (z, y, x)."""
        _, z, y, x = self.basis.shape
        return z, y, x

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of nodes along z, y, x."""
        _, z, y, x = self.weights.shape
        return z, y, x

    def at(self, region: Sequence[tuple[int, int]], device: str = "cpu") -> Blur:
        """Give the blur of a tile.

        Parameters
        ----------
        region : ((start, stop), ...) in voxels of the stack, one pair for z, y, x
        device : str

        Returns
        -------
        Blur
            With weights on the tile's object, which begins (n - 1) // 2 before the tile. A kernel
            of one plane leaves z to the batch, so the weights have an axis for it only where they
            vary along z.
        """
        import torch

        weights = self.weights.astype(np.float64)
        solid = self.shape[0] > 1
        for axis, ((start, stop), n) in enumerate(zip(region, self.shape, strict=True)):
            if axis == 0 and not solid and self.grid[0] == 1:
                continue
            places = np.arange(start - (n - 1) // 2, stop + n // 2)
            share = _shares(self.nodes[axis], places)
            weights = np.moveaxis(np.tensordot(share, weights, axes=(1, axis + 1)), 0, axis + 1)
        if not solid and self.grid[0] == 1:
            weights = weights[:, 0]
        basis = torch.from_numpy(self.basis.copy() if solid else self.basis[:, 0].copy())
        dense = torch.from_numpy(np.ascontiguousarray(weights, np.float32))
        return Blur(basis.to(device), dense.to(device))

    def kernel_at(self, point: Sequence[float]) -> NDArray[np.float32]:
        """Give the kernel of a place (z, y, x) in voxels, shape (z, y, x): ≥ 0, of sum 1."""
        weights = self.weights.astype(np.float64)
        for line, place in zip(self.nodes, point, strict=True):
            weights = np.tensordot(weights, _shares(line, np.array([place]))[0], axes=(1, 0))
        return _shown(np.tensordot(weights, self.basis, axes=1))

    def kernels(self) -> NDArray[np.float32]:
        """Give the kernels at all nodes, shape (nz, ny, nx, z, y, x): each ≥ 0, of sum 1."""
        every = np.tensordot(np.moveaxis(self.weights, 0, -1), self.basis, axes=1)
        return _shown(every)

    def typical(self) -> Kernel:
        """Give the mean of the kernels at the nodes as one kernel for all."""
        mean = self.kernels().mean(axis=(0, 1, 2))
        return Kernel(mean, self.pixel_size, self.report)

    def moved(self, by: Sequence[float]) -> KernelField:
        """Give the field of a stack that begins elsewhere: nodes lie `by` (z, y, x) further."""
        z, y, x = (tuple(v + way for v in line) for line, way in zip(self.nodes, by, strict=True))
        return replace(self, nodes=(z, y, x))

    def on(self, nodes: Sequence[Sequence[float]]) -> KernelField:
        """Give the same field on other nodes: exact where all of its own are among them."""
        weights, maps = self.weights.astype(np.float64), dict(self.maps)
        z, y, x = (tuple(float(v) for v in line) for line in nodes)
        for axis, line in enumerate((z, y, x)):
            share = _shares(self.nodes[axis], np.array(line))
            weights = np.moveaxis(np.tensordot(share, weights, axes=(1, axis + 1)), 0, axis + 1)
            for name, values in maps.items():
                maps[name] = np.moveaxis(np.tensordot(share, values, axes=(1, axis)), 0, axis)
        return KernelField(self.basis, (z, y, x), weights, maps, self.pixel_size, self.report)


def _kept(values: NDArray[Any]) -> NDArray[np.float32]:
    """Copy into native float32 that nobody can change."""
    array = np.array(values, dtype=np.float32, order="C")
    array.flags.writeable = False
    return array


def _shares(nodes: tuple[float, ...], places: NDArray[Any]) -> NDArray[np.float64]:
    """Give how much each node counts at each place, (places, nodes); rows sum to 1."""
    line = np.asarray(nodes, np.float64)
    return np.stack([np.interp(places, line, unit) for unit in np.eye(line.size)], axis=1)


def _shown(kernels: NDArray[Any]) -> NDArray[np.float32]:
    """Clamp kernels (..., z, y, x) at 0, where a truncated basis undershoots, and sum them to 1."""
    positive = np.maximum(kernels, 0).astype(np.float64)
    shown: NDArray[np.float32] = (positive / positive.sum(axis=(-3, -2, -1), keepdims=True)).astype(
        np.float32
    )
    return shown
