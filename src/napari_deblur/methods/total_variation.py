"""Total variation: the least gradient that explains the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.methods._splitting import Problem
    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["TotalVariation"]


@dataclass(frozen=True)
class TotalVariation:
    """Explain the data by an object whose gradients are few: flat pieces with sharp edges.

    The data may be photons or have normal noise. The border is unknown: the object reaches beyond
    the image by half a kernel, nothing wraps around, and pixels without data (NaN, saturated)
    have no say. Each iteration takes one division of transforms.

    Parameters
    ----------
    weight : float or "auto"
        Of the gradients, against the likelihood, with the object in photons or in units of the
        noise. More is flatter. Decided by held-out light.
    iterations : int or "auto"
        The first ones find the large features. Decided by held-out light.
    data : "auto", "gaussian" or "poisson"
        What noise the data have; photons where the camera's gain is known.
    noise : float or "auto"
        Standard deviation of a pixel, in counts; for normal noise.
    gain : float or "auto"
        Counts for a photon; for photons.
    background : float or "auto"
        Counts without light, camera offset included.
    lowest : float or "auto"
        Counts that are no photons at all: the camera's offset less its read noise.
    scale : float or "auto"
        Typical counts above the background. Sets the steps, not where they lead.
    spacing : tuple of float or "auto"
        Of the voxels along each blurred axis, relative to the finest.
    nonnegative : bool
        Whether the object may not go below the background.

    References
    ----------
    Rudin, Osher and Fatemi, Physica D 60, 259 (1992), doi:10.1016/0167-2789(92)90242-F.
    Photons: Figueiredo and Bioucas-Dias, IEEE Trans. Image Process. 19, 3133 (2010),
    doi:10.1109/TIP.2010.2053941.
    Unknown border: Almeida and Figueiredo, IEEE Trans. Image Process. 22, 3074 (2013),
    doi:10.1109/TIP.2013.2258354.
    Departs from these by over-relaxation, and by stopping where held-out light is predicted best.
    """

    weight: float | Literal["auto"] = "auto"
    iterations: int | Literal["auto"] = "auto"
    data: Literal["auto", "gaussian", "poisson"] = "auto"
    noise: float | Literal["auto"] = "auto"
    gain: float | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"
    scale: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    nonnegative: bool = True

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 22
    arrays_torch: ClassVar[float] = 28

    def __post_init__(self) -> None:
        from napari_deblur.methods._splitting_numbers import checked

        checked(self.weight, self.iterations, self.noise, self.spacing)
        if self.data not in ("auto", "gaussian", "poisson"):
            raise ValueError(f'data is {self.data!r} and must be "auto", "gaussian" or "poisson"')
        if self.gain != "auto" and self.gain <= 0:
            raise ValueError(f"gain is {self.gain} counts for a photon and must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Take the camera from the facts; decide weight and iterations by held-out light."""
        from napari_deblur.methods import _splitting_numbers as splitting
        from napari_deblur.ops.held_out import no_light
        from napari_deblur.ops.statistics import background_of

        splitting.no_field("total-variation", *(sample.blur for sample in samples))
        facts = samples[0].facts
        gain = facts.gain if self.gain == "auto" else self.gain
        data = self.data
        if data == "auto":
            data = "gaussian" if gain is None else "poisson"
        if data == "poisson" and gain is None:
            raise ValueError(
                'data="poisson" needs the camera\'s gain: give gain (counts for a photon), '
                'or take data="gaussian"'
            )
        samples = [replace(s, facts=replace(s.facts, gain=gain)) for s in samples]
        background = background_of(samples) if self.background == "auto" else self.background
        lowest = no_light(samples[0].facts) if self.lowest == "auto" else self.lowest
        noise = splitting.noise_of(samples) if self.noise == "auto" else self.noise
        scale = self.scale
        if scale == "auto":
            scale = splitting.scale_of(samples, background, noise)
        spacing = splitting.spacing_of(samples) if self.spacing == "auto" else self.spacing
        fixed = replace(
            self,
            data=data,
            noise=noise,
            gain=1.0 if gain is None else gain,
            background=background,
            lowest=min(lowest, background),
            scale=scale,
            spacing=spacing,
        )
        weight, iterations = splitting.decided(
            samples, fixed._problem(), self.weight, self.iterations
        )
        return replace(fixed, weight=weight, iterations=iterations)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        from napari_deblur.methods._splitting_numbers import no_field

        if "auto" in vars(self).values():
            raise ValueError('total-variation has an "auto" left: call resolved(samples) first')
        no_field("total-variation", blur)
        return self._problem().restored(tile, blur, int(self.iterations))

    def _problem(self) -> Problem:
        from napari_deblur.methods._splitting import Problem

        assert self.spacing != "auto"
        poisson = self.data == "poisson"
        return Problem(
            weight=1.0 if self.weight == "auto" else self.weight,
            power=1.0,
            unit=float(self.gain if poisson else self.noise),
            poisson=poisson,
            background=float(self.background),
            lowest=float(self.lowest),
            scale=float(self.scale),
            spacing=self.spacing,
            nonnegative=self.nonnegative,
        )
