"""What is known of a kernel before it is found, as a projection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, hypot
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_deblur.protocols import Sample

__all__ = ["Constraints", "Symmetry", "limit_of"]

Symmetry = Literal["none", "mirror", "radial"]


@dataclass(frozen=True)
class Constraints:
    """Support, band limit and symmetry of a kernel; `least` is left where it would be 0.

    Parameters
    ----------
    support : float or None
        Radius in pixels across the planes, beyond which there is nothing.
    band_limit : float or None
        Cycles per pixel across the planes, above which no frequency passes.
    symmetry : "none", "mirror" or "radial"
    least : float
        Of the sum, shared by all pixels inside the support: no factor leads away from 0.
    """

    support: float | None = None
    band_limit: float | None = None
    symmetry: Symmetry = "none"
    least: float = 0.0

    def applied(self, kernel: Tensor) -> Tensor:
        """Project a kernel ([z,] y, x) of sum 1: first the symmetry, the support last."""
        from napari_deblur import ops

        if self.band_limit is not None:
            kernel = _limited(kernel, self.band_limit)
        if self.symmetry == "mirror":
            kernel = _mirrored(kernel)
        elif self.symmetry == "radial":
            kernel = _round(kernel)
        kernel = kernel.clamp(min=self.least / kernel.numel())
        if self.support is not None:
            kernel = kernel * (_radii(tuple(kernel.shape[-2:])).to(kernel.device) <= self.support)
        return ops.normalised(kernel)


def limit_of(samples: Sequence[Sample]) -> float | None:
    """Give the highest frequency that a widefield microscope passes, in cycles per pixel.

    2 NA / λ; None where the optics aren't known or pixels are too large to see it.
    """
    sample = samples[0]
    facts, size = sample.facts, sample.pixel_size
    if facts.na is None or facts.wavelength is None or size is None:
        return None
    # The larger pixel, lest something that passes is cut off.
    limit = 2 * facts.na / facts.wavelength * max(size[1:])
    return limit if limit < hypot(0.5, 0.5) else None


def _mirrored(kernel: Tensor) -> Tensor:
    """Average a kernel with its mirror image along each axis, about ``n // 2``."""
    for axis, n in enumerate(kernel.shape):
        other = kernel.flip(axis)
        if n % 2 == 0:  # the first pixel has no partner
            other = other.roll(1, axis)
        kernel = (kernel + other) / 2
    return kernel


def _round(kernel: Tensor) -> Tensor:
    """Find the nearest kernel that depends on the radius alone in each plane."""
    rows, columns = kernel.shape[-2:]
    hats, solved = _hats(rows, columns)
    values = kernel.reshape(-1, rows * columns)
    means = values @ solved.to(kernel.device).T @ hats.to(kernel.device).T
    return means.reshape(kernel.shape)


@lru_cache(maxsize=8)
def _hats(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Give hats over the radius, half a pixel apart, and what finds their heights.

    By least squares. Averages over rings would widen the kernel a little each time; this changes
    nothing twice. Hats a whole pixel apart were too coarse for a kernel of 2 px: they lost 0.7 dB
    in the mean of four scenes.
    """
    import torch

    radii = _radii((rows, columns)).flatten().double()
    rings = torch.arange(2 * ceil(float(radii.max())) + 1).double()
    hats = (1 - (2 * radii[:, None] - rings).abs()).clamp(min=0)
    return hats.float(), torch.linalg.pinv(hats).float()


def _radii(shape: tuple[int, ...]) -> Tensor:
    import torch

    y, x = (torch.arange(n) - n // 2 for n in shape)
    return torch.hypot(y[:, None].float(), x.float())


def _limited(kernel: Tensor, limit: float) -> Tensor:
    """Take away what a kernel has beyond a frequency across its planes."""
    import torch

    from napari_deblur import ops

    rows, columns = (2 * n for n in kernel.shape[-2:])  # room, for nothing may wrap around
    spectrum = ops.forward(kernel, (rows, columns))
    f = torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns))
    spectrum = spectrum * (f <= limit).to(kernel.device)
    wide = ops.backward(spectrum, (rows, columns))
    return wide[..., : kernel.shape[-2], : kernel.shape[-1]].contiguous()
