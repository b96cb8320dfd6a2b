"""The types that everything shares. Read this first.

A *kernel* is sampled blur; a *method* restores one tile with a kernel; an *estimator* finds
kernels. Methods and estimators are frozen dataclasses of parameters: the same object is data for
forms, TOML files and provenance, and a function for tiles.

Arrays inside these types are changed by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

__all__ = [
    "Blur",
    "Cancelled",
    "Estimate",
    "Estimator",
    "Facts",
    "Kernel",
    "KernelField",
    "Method",
    "Sample",
]

Auto = Literal["auto"]
Origin = Literal["given", "read", "estimated"]
# How far from 1 the kernels of a field may sum: more would be light that is lost or made.
SUM = 1e-3


class Cancelled(Exception):
    """Raised inside an iteration when the run was cancelled."""


@dataclass(frozen=True)
class Facts:
    """What is known of one channel's camera and optics; None where nothing is.

    Counts are in the unit of the stack; lengths in µm. `origins` says for each name whether the
    value was given by the user, read from metadata or estimated from samples.
    """

    gain: float | None = None
    offset: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    background: float | None = None
    white: float | None = None
    noise: float | None = None
    na: float | None = None
    wavelength: float | None = None
    n_immersion: float | None = None
    n_sample: float | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def completed(self, origin: Origin, **values: float | None) -> Self:
        """Fill in those of `values` that are not known yet, and say where they come from."""
        new = {k: float(v) for k, v in values.items() if v is not None and getattr(self, k) is None}
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "origins"}
        return type(self)(**(kept | new), origins={**self.origins, **dict.fromkeys(new, origin)})


@dataclass(frozen=True, eq=False)
class Kernel:
    """Sampled blur, float32, with the physical size of its pixels.

    Parameters
    ----------
    array : array of shape (y, x), (z, y, x) or (t | 1, c | 1, z | 1, y, x)
        Finite, non-negative; the centre is at index ``n // 2`` of each axis, odd or even. Each
        kernel is divided by its sum. Negative values are an error here: clean measured kernels
        with `Kernel.cleaned`.
    pixel_size : (z, y, x) in µm, or None
        None says: the same as the image's.
    report : mapping
        How the kernel was found: plain numbers, strings and lists (it goes into JSON).

    Raises
    ------
    ValueError
        When a kernel is empty, not finite, negative somewhere or zero everywhere.
    """

    array: NDArray[Any]
    pixel_size: tuple[float, float, float] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        raw = np.array(self.array, dtype=np.float64)  # a copy, writable and native
        if raw.ndim not in (2, 3, 5) or 0 in raw.shape:
            raise ValueError(
                f"a kernel has axes (y, x), (z, y, x) or (t, c, z, y, x), got shape {raw.shape}"
            )
        raw = raw.reshape((1,) * (5 - raw.ndim) + raw.shape)
        if not np.isfinite(raw).all():
            bad = int((~np.isfinite(raw)).sum())
            raise ValueError(
                f"the kernel has {bad} values that are NaN or infinite: repair it first, "
                "or use Kernel.cleaned(array), which sets them to 0"
            )
        if raw.min() < 0:
            raise ValueError(
                f"the kernel goes down to {raw.min():.3g}, and a kernel is non-negative: "
                "use Kernel.cleaned(array), which removes a measured background"
            )
        sums = raw.sum(axis=(2, 3, 4), keepdims=True)
        if (sums <= 0).any():
            raise ValueError("the kernel is zero everywhere: there is nothing to divide by")
        array = (raw / sums).astype(np.float32)
        array.flags.writeable = False
        object.__setattr__(self, "array", array)
        if self.pixel_size is not None:
            size = tuple(float(v) for v in self.pixel_size)
            if len(size) != 3 or not all(v > 0 and np.isfinite(v) for v in size):
                raise ValueError(
                    f"pixel_size of a kernel is (z, y, x) in µm, all > 0, got {self.pixel_size}"
                )
            object.__setattr__(self, "pixel_size", size)

    @classmethod
    def cleaned(
        cls, array: ArrayLike, *, pixel_size: tuple[float, float, float] | None = None
    ) -> Self:
        """Make a kernel of a measured array: NaN and negative values become 0, and it is said.

        Measured kernels have a background that was subtracted imperfectly. The report holds
        the changes under ``"cleaned"``.
        """
        raw = np.asarray(array, dtype=np.float64)
        said = []
        bad = ~np.isfinite(raw)
        if bad.any():
            said.append(f"{int(bad.sum())} values that were NaN or infinite were set to 0")
        if raw.size and bad.all():
            raise ValueError("the kernel has no finite value: measure or export it again")
        raw = np.where(bad, 0.0, raw)
        negative = raw < 0
        if negative.any():
            if raw.max() <= 0:
                raise ValueError(
                    f"the kernel has no value above 0 (it goes from {raw.min():.3g} to "
                    f"{raw.max():.3g}): turn its sign, or subtract less background"
                )
            share = -raw[negative].sum() / max(np.abs(raw).sum(), np.finfo(float).tiny)
            said.append(f"negative values ({share:.1%} of the total) were set to 0")
        return cls(
            np.maximum(raw, 0).astype(np.float64),
            pixel_size,
            {"cleaned": said} if said else {},
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one kernel, (z, y, x)."""
        _, _, z, y, x = self.array.shape
        return z, y, x

    def at(self, t: int = 0, c: int = 0) -> NDArray[np.float32]:
        """Give the kernel of one frame and channel, shape (z, y, x)."""
        frames, channels = self.array.shape[:2]
        one: NDArray[np.float32] = self.array[t if frames > 1 else 0, c if channels > 1 else 0]
        return one

    def centroid(self, t: int = 0, c: int = 0) -> tuple[float, float, float]:
        """Give the centre of mass relative to ``n // 2``, (z, y, x) in pixels."""
        one = self.at(t, c).astype(np.float64)
        marginals = [one.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        z, y, x = (
            float((m * (np.arange(m.size) - m.size // 2)).sum() / m.sum()) for m in marginals
        )
        return z, y, x


@dataclass(frozen=True, eq=False)
class Blur:
    r"""What a tile is given: a basis of kernels and, for a blur that varies, their weights.

    Parameters
    ----------
    basis : Tensor, shape (rank, [z,] y, x), float32
        Two axes for a blur that acts plane by plane; three for one with several planes.
    weights : Tensor, shape (rank, \*object), or None
        On the object side; None for rank 1, the same everywhere. With an axis more where planes of
        a batch have weights of their own.
    """

    basis: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.basis.ndim not in (2, 3, 4):
            raise ValueError(
                f"a blur's basis has axes (rank, [z,] y, x), got shape {tuple(self.basis.shape)}"
            )
        if self.weights is None and self.basis.shape[0] != 1:
            raise ValueError(f"a blur of rank {self.basis.shape[0]} needs weights")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kernels, ([z,] y, x)."""
        return tuple(self.basis.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes that the blur acts on."""
        return self.basis.ndim - 1


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


@dataclass(frozen=True, eq=False)
class Sample:
    """A piece of a channel on which `plan` decides.

    Parameters
    ----------
    tile : Tensor, shape ([z,] y, x), float32
        Counts of the input; NaN where there are no data.
    region : ((start, stop), ...) in voxels of the stack, one pair for z, y, x
    time, channel : int
    blur : Blur or None
        None as long as no kernel is known.
    facts : Facts
    pixel_size : (z, y, x) in µm, or None where it is not known
    """

    tile: Tensor
    region: tuple[tuple[int, int], ...]
    time: int
    channel: int
    blur: Blur | None
    facts: Facts
    pixel_size: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method makes of one tile.

    Parameters
    ----------
    image : Tensor, shape of the tile, float32
        In counts of the input, background included; NaN where nothing is known.
    kernel : Tensor, shape ([z,] y, x), or None
        The kernel found in this tile; None if it was given.
    residuals : Tensor, shape (n,), float32
        What the method says of its progress, one number per iteration; may be empty.
    """

    image: Tensor
    kernel: Tensor | None
    residuals: Tensor


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of parameters that restores one tile.

    `arrays` is the number of float32 arrays of the padded tile's size that memory must hold at the
    peak of a call, the tile itself included: the planner counts memory with it.
    """

    multiple_of: ClassVar[int]
    arrays: ClassVar[float]

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Give the same method with every "auto" decided from these samples of one channel."""
        ...

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x); pure. Raise ValueError if an "auto" is left."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """A frozen dataclass of parameters that finds kernels.

    One that serves scope "field" has, besides,
    ``estimate_field(samples, shape, first, size) -> KernelField``: `samples` are from all over the
    stack, whose (z, y, x) is `size`.

    Whose report has a ``verdict`` may have ``cautious() -> Method`` too: what restores where that
    is "doubtful".
    """

    estimate_shapes: ClassVar[tuple[tuple[int, ...], ...]]

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Give the same estimator with every "auto" decided from these samples."""
        ...

    def estimate(
        self, samples: Sequence[Sample], shape: tuple[int, int, int], first: Kernel | None
    ) -> Kernel:
        """Find the kernel (1, 1, z, y, x) that suits all samples; its report says why."""
        ...

    def restorer(self) -> Method:
        """Give the method that restores once the kernel is known."""
        ...
