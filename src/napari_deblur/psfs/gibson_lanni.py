"""Widefield through layers, light as a number: Gibson and Lanni."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from napari_deblur.psfs._stratified import Layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.psfs._layers import Values
    from napari_deblur.psfs._sampling import Shape, Size

__all__ = ["GibsonLanni"]


@dataclass(frozen=True, kw_only=True)
class GibsonLanni(Layers):
    """A widefield microscope that looks at a point through immersion, coverslip and sample.

    Where a refractive index or a thickness is not the one that the lens was made for, or where the
    point lies deep in a sample of another index, the rays miss each other: spherical aberration,
    longer and one-sided along the axis. Light is a number here, without a direction; for numerical
    apertures above about 1.2 `vectorial` is nearer to the truth.

    Averaged over each pixel; along the axis, the planes are points in z, as a camera sees them.
    Across, the centre is at ``n // 2``. Planes go deeper into the sample with their index; the
    centre along z is the plane ``n // 2``, see `centre`.

    Parameters
    ----------
    na : float
        Numerical aperture.
    wavelength : float
        Of the emission in a vacuum, in µm.
    n_immersion : float
        Refractive index of what is between lens and coverslip.
    n_sample : float
        Refractive index of the sample around the point.
    depth : float
        Of the point below the coverslip, in µm.
    blur : float
        An extra Gaussian blur across, standard deviation in µm.
    coverslip : float
        Its thickness in µm.
    coverslip_design : float
        The thickness that the lens was made for, in µm.
    n_coverslip : float
        Refractive index of the coverslip.
    n_coverslip_design : float
        The one that the lens was made for.
    n_immersion_design : float or "same"
        The immersion's that the lens was made for; "same" as `n_immersion`.
    working_distance : float
        Thickness of the immersion that the lens was made for, in µm; it matters only where the
        immersion's index is not the one that the lens was made for.
    centre : "focus" or "paraxial"
        What lies in the middle plane. "focus" is the plane in which the wavefront deviates least
        from a sphere (root mean square over the pupil), near where the eye would focus; it moves
        smoothly with every parameter. "paraxial" is the focus of the rays near the axis.

    References
    ----------
    Layers: Gibson and Lanni, J. Opt. Soc. Am. A 9, 154 (1992), doi:10.1364/JOSAA.9.000154; in the
    form of Aguet, Geissbühler, Märki, Lasser and Unser, Opt. Express 17, 6829 (2009),
    doi:10.1364/OE.17.006829.
    """

    wavelength: Annotated[float, {"label": "wavelength (µm)"}]

    name: ClassVar[str] = "gibson-lanni"
    light_is_known: ClassVar[bool] = True

    @property
    def lights(self) -> dict[str, float]:
        """The wavelength, in µm."""
        return {"wavelength": self.wavelength}

    def profile(self, values: Values, radii: NDArray[Any], heights: Tensor) -> Tensor:
        """Give the intensity at radii and heights above the paraxial focus, in µm."""
        return self.wave(values, "wavelength", radii, heights)

    def light_of_planes(self, heights: NDArray[Any], shape: Shape, pixel_size: Size) -> float:
        """Give all light of the planes: every one holds the same."""
        return float(heights.size)
