"""Hyper-Laplacian prior: sparse gradients, as photographs have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._splitting import Problem
    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["HyperLaplacian"]


@dataclass(frozen=True)
class HyperLaplacian:
    """Explain the data by an object with sparse gradients: a few strong ones, hardly any weak.

    Gradients cost their length to a power below 1, so strong edges are cheaper than for total
    variation. Noise is taken as normal. The border is unknown: the object reaches beyond the image
    by half a kernel, nothing wraps around, and pixels without data (NaN, saturated) have no say.

    Parameters
    ----------
    weight : float or "auto"
        Of the gradients, against the likelihood, with the object in units of the noise. Decided by
        held-out light.
    iterations : int or "auto"
        The first ones find the large features. Decided by held-out light.
    power : float
        Of the gradient's length; 1 is total variation.
    noise : float or "auto"
        Standard deviation of a pixel, in counts.
    background : float or "auto"
        Counts without light.
    scale : float or "auto"
        Typical counts above the background. Sets the steps.
    spacing : tuple of float or "auto"
        Of the voxels along each blurred axis, relative to the finest.
    nonnegative : bool
        Whether the object may not go below the background.

    References
    ----------
    Krishnan and Fergus, Fast image deconvolution using hyper-Laplacian priors, Advances in Neural
    Information Processing Systems 22 (2009).
    Unknown border: Almeida and Figueiredo, IEEE Trans. Image Process. 22, 3074 (2013),
    doi:10.1109/TIP.2013.2258354.
    Departs from the first by taking the length of the gradient, not each derivative, by
    multipliers in place of growing penalties, and by a slope where the shrinkage jumps to 0: on
    photographs all three measured as well or better.
    """

    weight: float | Literal["auto"] = "auto"
    iterations: int | Literal["auto"] = "auto"
    power: Annotated[float, {"min": 0.3, "max": 1.0}] = 2 / 3
    noise: float | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    scale: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    nonnegative: bool = True

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 22
    arrays_torch: ClassVar[float] = 28

    def __post_init__(self) -> None:
        from napari_deblur.methods._splitting_numbers import checked

        checked(self.weight, self.iterations, self.noise, self.spacing)
        if not 0.3 <= self.power <= 1:
            raise ValueError(f"power is {self.power} and must be between 0.3 and 1")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Take the noise from the facts; decide weight and iterations by held-out light."""
        from napari_deblur.methods import _splitting_numbers as splitting
        from napari_deblur.ops.statistics import background_of

        splitting.no_field("hyper-laplacian", *(sample.blur for sample in samples))
        background = background_of(samples) if self.background == "auto" else self.background
        noise = splitting.noise_of(samples) if self.noise == "auto" else self.noise
        scale = self.scale
        if scale == "auto":
            scale = splitting.scale_of(samples, background, noise)
        spacing = splitting.spacing_of(samples) if self.spacing == "auto" else self.spacing
        fixed = replace(self, noise=noise, background=background, scale=scale, spacing=spacing)
        weight, iterations = splitting.decided(
            samples, fixed._problem(), self.weight, self.iterations
        )
        return replace(fixed, weight=weight, iterations=iterations)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        from napari_deblur.methods._splitting_numbers import no_field

        if "auto" in vars(self).values():
            raise ValueError('hyper-laplacian has an "auto" left: call resolved(samples) first')
        no_field("hyper-laplacian", blur)
        return self._problem().restored(tile, blur, int(self.iterations))

    def _problem(self) -> Problem:
        from napari_deblur.methods._splitting import Problem

        assert self.spacing != "auto"
        return Problem(
            weight=1.0 if self.weight == "auto" else self.weight,
            power=self.power,
            unit=float(self.noise),
            poisson=False,
            background=float(self.background),
            lowest=float(self.background),
            scale=float(self.scale),
            spacing=self.spacing,
            nonnegative=self.nonnegative,
        )
