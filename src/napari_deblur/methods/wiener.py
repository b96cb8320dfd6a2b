"""Wiener deconvolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["Wiener"]


@dataclass(frozen=True)
class Wiener:
    """Filter nearly in one go: the linear estimate of least expected error, for those in a hurry.

    The object's spectrum is taken to fall as one over frequency squared, as edges and most
    images do. Noise and power are measured on samples: the noise where the blur lets nothing
    pass, the power so that the expected error of the object, whose spectrum is measured in
    shells of frequency, is least. The result may go below zero. Beyond its border, and in holes,
    the image is continued to suit the restored object.

    Parameters
    ----------
    noise : float or "auto"
        Standard deviation of a pixel, in counts. Less is sharper and noisier.
    power : float or "auto"
        Mean squared difference of neighbouring pixels of the sharp object, in counts². Only
        noise² ÷ power matters to the result.
    background : float or "auto"
        Counts without light, to which the image is continued far beyond its border.
    spacing : tuple of float, or "auto"
        Pixel size along the blurred axes over the finest one's: the spectrum falls per length.
        All equal where it is not resolved.
    border : int
        How often the image beyond its border is replaced by what the restored object shows
        there. 0 is faster and leaves stripes along the border at high light.

    References
    ----------
    Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series (1949),
    doi:10.7551/mitpress/2946.001.0001.
    The border: Reeves, IEEE Trans. Image Process. 14, 1448 (2005), doi:10.1109/TIP.2005.854474.
    """

    noise: float | Literal["auto"] = "auto"
    power: float | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    border: Annotated[int, {"min": 0, "max": 1000}] = 20

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 13

    def __post_init__(self) -> None:
        if self.noise != "auto" and self.noise < 0:
            raise ValueError(f"noise is {self.noise} counts and must be 0 or more")
        if self.power != "auto" and self.power <= 0:
            raise ValueError(f"power is {self.power} counts² and must be above 0")
        if self.spacing != "auto":
            object.__setattr__(self, "spacing", tuple(float(v) for v in self.spacing))
            if not self.spacing or min(self.spacing) <= 0:
                raise ValueError(f"spacing is {self.spacing} and every value must be above 0")
        if not isinstance(self.border, int) or self.border < 0:
            raise ValueError(f"border is {self.border!r} and must be a whole number of 0 or more")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Measure noise and power on samples whose blur is known."""
        from napari_deblur.methods._filters import spacing_of
        from napari_deblur.methods._spectra import spectra_of
        from napari_deblur.ops.statistics import background_of

        background = background_of(samples) if self.background == "auto" else self.background
        noise, power, spacing = self.noise, self.power, self.spacing
        if spacing == "auto":
            axes = max((s.blur.ndim for s in samples if s.blur is not None), default=2)
            spacing = spacing_of(samples, axes)
        if "auto" in (noise, power):
            known = [s for s in samples if s.blur is not None and s.blur.weights is None]
            if not known:
                raise ValueError(
                    "wiener needs a kernel to measure noise and power: give both, or a kernel"
                )
            given = None if noise == "auto" else float(noise)
            spectra = spectra_of(known, spacing, noise=given)
            # The noise may be none at all, and the power must remain above 0.
            noise = found = max(spectra.noise, 1e-12)
            if power == "auto":
                power = found**2 / spectra.best_weight("gradient")
        return replace(self, noise=noise, power=power, background=background, spacing=spacing)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        import torch

        from napari_deblur.methods._filters import LEAST, filtered
        from napari_deblur.protocols import Estimate

        if blur.weights is not None:
            raise ValueError(
                "wiener can't use a blur that varies over the field: take richardson-lucy, "
                "or one kernel"
            )
        if "auto" in (self.noise, self.power, self.background):
            raise ValueError('wiener has an "auto" left: call resolved(samples) first')
        image = filtered(
            tile,
            blur,
            weight=max(float(self.noise) ** 2 / float(self.power), LEAST),
            operator="gradient",
            spacing=(1.0,) * blur.ndim if self.spacing == "auto" else self.spacing,
            background=float(self.background),
            border=self.border,
        )
        return Estimate(image, None, torch.zeros(0, device=tile.device))
