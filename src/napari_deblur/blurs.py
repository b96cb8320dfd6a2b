"""Blur as data: one kernel of an image, and what a tile is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

__all__ = ["Blur", "Kernel"]


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
