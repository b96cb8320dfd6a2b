"""A kernel that was measured: from a file, at the voxel size that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from napari_deblur.psfs._compact import Compact, odd

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Measured"]

# Of the energy, beyond both ends of one axis: 1e-3 for three.
BEYOND = 1e-3 / 3


@dataclass(frozen=True)
class Measured(Compact):
    """A kernel that was measured, from a file, at any voxel size.

    The file has axes y,x or z,y,x. Between its voxels values are linear; larger voxels are averaged
    over. Negative values and NaN become 0.

    Parameters
    ----------
    path : str
        TIFF, NPZ, NPY or zarr.
    pixel_size : (z, y, x) in µm, or None
        Of the file, if it does not say; goes before what it says.
    centre : "centroid", "peak" or "none"
        What comes to lie at ``n // 2``: the centre of mass (by linear interpolation, which widens
        the kernel by a fraction of a voxel), the brightest voxel, or the file's voxel ``n // 2``.
    """

    path: str
    pixel_size: tuple[float, float, float] | None = None
    centre: Annotated[Literal["centroid", "peak", "none"], {"label": "centre"}] = "centroid"

    def __post_init__(self) -> None:
        if self.centre not in ("centroid", "peak", "none"):
            raise ValueError(f'centre of measured is "{self.centre}": take centroid, peak or none')

    def reach(self, pixel_size: tuple[float, float, float]) -> tuple[int, int, int]:
        """Give the shape of 99.9 %, no larger than the file's."""
        array, old = self._kernel()
        lengths = []
        for axis, (n, p) in enumerate(zip(array.shape, pixel_size, strict=True)):
            if n == 1:
                lengths.append(1)
                continue
            profile = array.sum(axis=tuple(a for a in range(3) if a != axis))
            far = np.abs(np.arange(n) - n // 2 - self._middle(array)[axis])
            order = np.argsort(far)
            held = np.cumsum(profile[order]) / profile.sum()
            half = far[order][min(np.searchsorted(held, 1 - BEYOND), n - 1)] + 0.5
            lengths.append(odd(half * old[axis], p))
        z, y, x = lengths
        return z, y, x

    def share(
        self,
        shape: tuple[int, int, int],
        pixel_size: tuple[float, float, float],
        values: Mapping[str, Tensor],
    ) -> Tensor:
        """Give the share of the energy in each voxel."""
        import torch

        array, old = self._kernel()
        middle = self._middle(array)
        made = torch.from_numpy(array)
        for axis, (m, n) in enumerate(zip(array.shape, shape, strict=True)):
            ratio = pixel_size[axis] / old[axis]
            if m == 1:
                weights = torch.zeros(n, 1, dtype=torch.float64)
                weights[n // 2] = 1
            else:
                places = m // 2 + middle[axis] + (np.arange(n) - n // 2) * ratio
                weights = _weights(places, m, ratio)
            made = torch.tensordot(weights, made, dims=([1], [axis])).movedim(0, axis)
        if shape[0] == 1 and array.shape[0] > 1:
            made = made / self._plane(array, pixel_size[0] / old[0])
        return made

    def _plane(self, array: NDArray[np.float64], ratio: float) -> float:
        """Give the share of the file's energy that is in the middle plane."""
        m = array.shape[0]
        weights = _weights(np.array([m // 2 + self._middle(array)[0]]), m, ratio)[0].numpy()
        return max(float(weights @ array.sum(axis=(1, 2))), np.finfo(float).tiny)

    def _middle(self, array: NDArray[np.float64]) -> tuple[float, ...]:
        """Give what is to be the centre, relative to ``n // 2``, in the file's voxels."""
        if self.centre == "none":
            return (0.0,) * 3
        if self.centre == "peak":
            peak = np.unravel_index(int(array.argmax()), array.shape)
            return tuple(float(at - n // 2) for at, n in zip(peak, array.shape, strict=True))
        sums = (array.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3))
        return tuple(float(s @ (np.arange(s.size) - s.size // 2)) for s in sums)

    def _kernel(self) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
        path = Path(self.path).expanduser()
        changed = path.stat().st_mtime_ns if path.exists() else 0
        kernel = _loaded(str(path), self.pixel_size, changed)
        if kernel.pixel_size is None:
            raise ValueError(
                f"{path} does not say its voxel size: give it in µm, "
                "--psf-set pixel_size=z,y,x (pixel_size)"
            )
        return kernel.at().astype(np.float64), kernel.pixel_size


@lru_cache(maxsize=4)
def _loaded(path: str, pixel_size: tuple[float, float, float] | None, changed: int) -> Any:
    # Files are opened in a layer above: numerics know none.
    return import_module("napari_deblur.kernels").load_kernel(path, pixel_size=pixel_size)


def _weights(places: NDArray[np.float64], n: int, ratio: float) -> torch.Tensor:
    """Give the weights of n old voxels in new ones at `places`, `ratio` times as large.

    The values of a file are sums over its voxels already: what is averaged over is less than the
    new voxel, so that the variances add up.
    """
    import torch

    wide = np.sqrt(max(ratio**2 - 1, 0.0))
    apart = places[:, None] - np.arange(n)[None]
    if wide < 1e-3:
        weights = np.maximum(1 - np.abs(apart), 0)
    else:
        weights = (_hat(apart + wide / 2) - _hat(apart - wide / 2)) / wide
    return torch.from_numpy(weights * ratio)


def _hat(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate a triangle of half width 1 up to x."""
    x = np.clip(x, -1, 1)
    return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)
