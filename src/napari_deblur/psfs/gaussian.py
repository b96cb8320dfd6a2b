"""A Gaussian: the blur of a confocal microscope near enough, or of nothing better known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import numpy as np

from napari_deblur.psfs._compact import Compact, are_three, number, offsets

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Kernel

__all__ = ["Gaussian"]

# Standard deviations, on both sides of the middle.
REACH = 4
# Pixels: what is narrower is all in one pixel, and needs no infinities.
NARROWEST = 1e-3


@dataclass(frozen=True)
class Gaussian(Compact):
    """A Gaussian blur, integrated over each pixel.

    Its middle is that of pixel ``n // 2``.

    Parameters
    ----------
    sigma : (z, y, x) in µm
        Standard deviations; 0 for none along an axis. One number is that of all three.

    References
    ----------
    Widths from the optics: Zhang, Zerubia and Olivo-Marin, Appl. Opt. 46, 1819 (2007),
    doi:10.1364/AO.46.001819.
    """

    sigma: Annotated[tuple[float, float, float], {"label": "sigma z, y, x (µm)"}] = (0.3, 0.1, 0.1)

    continuous: ClassVar[tuple[str, ...]] = ("sigma",)

    def __post_init__(self) -> None:
        if isinstance(self.sigma, int | float):
            object.__setattr__(self, "sigma", (float(self.sigma),) * 3)
        if not are_three(self.sigma) or min(self.sigma) < 0:
            raise ValueError(f"sigma is (z, y, x) in µm, each 0 or more, got {self.sigma!r}")

    @classmethod
    def from_optics(cls, na: float, wavelength: float, n_immersion: float = 1.515) -> Self:
        """Match the paraxial widefield PSF: σ 0.225 λ/NA across, 0.78 nλ/NA² along the axis."""
        across, along = 0.225 * wavelength / na, 0.78 * n_immersion * wavelength / na**2
        return cls((along, across, across))

    @classmethod
    def wide(cls, shape: tuple[int, int, int]) -> Kernel:
        """Make a kernel to start a search from: σ of a sixth of the shape, in pixels.

        Rather too wide than too narrow: a kernel narrower than the blur, with an image that is
        blurred for the rest, explains the data as well as the truth does, and a search stays
        there. Of σ 1.97 px, wide starts found 1.7 to 2.25 px, a start of 1 px 0.75 to 1.0.
        """
        from napari_deblur.protocols import Kernel

        z, y, x = (n / 6 if n > 1 else 0.0 for n in shape)
        made = cls((z, y, x))(shape, (1.0, 1.0, 1.0))
        return Kernel(made.array, None, made.report)  # in pixels, whatever their size

    def reach(self, pixel_size: tuple[float, float, float]) -> tuple[int, int, int]:
        """Give an odd shape (z, y, x) that holds all but 6e-5 of it along each axis: ± 4 σ."""
        z, y, x = (
            2 * int(np.ceil(REACH * s / p)) + 1 for s, p in zip(self.sigma, pixel_size, strict=True)
        )
        return z, y, x

    def share(
        self,
        shape: tuple[int, int, int],
        pixel_size: tuple[float, float, float],
        values: Mapping[str, Tensor],
    ) -> Tensor:
        """Give the share of the Gaussian in each pixel; of one plane, the share of that plane."""
        import torch

        sigma = number(self, values, "sigma")
        profiles = []
        for axis, (n, p) in enumerate(zip(shape, pixel_size, strict=True)):
            if n == 1 and axis == 0:
                profiles.append(sigma.new_ones(1))
                continue
            edges = offsets(n, p, sigma) / (np.sqrt(2) * sigma[axis].clamp(min=NARROWEST * p))
            profiles.append(torch.erf(edges).diff() / 2)
        z, y, x = profiles
        return z[:, None, None] * y[None, :, None] * x[None, None, :]
