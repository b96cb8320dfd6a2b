"""A scanned spot of light, seen through a pinhole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from napari_deblur.psfs._layers import vector_field
from napari_deblur.psfs._radial import through_disc
from napari_deblur.psfs._sampling import LIGHT
from napari_deblur.psfs._stratified import Layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.psfs._layers import Nodes, Values

__all__ = ["Confocal"]

# Airy units; beyond, a pinhole holds back nothing that matters.
WIDEST = 10


@dataclass(frozen=True, kw_only=True)
class Confocal(Layers):
    """A confocal microscope: the focus of the excitation times what the pinhole lets through.

    Excitation and emission go through the same layers, as in `vectorial`. The spot is polarised
    circularly and fills the lens; the pinhole is round and in the middle.

    Averaged over each pixel; along the axis, the planes are points in z, as a scan takes them.
    Across, the centre is at ``n // 2``. Planes go deeper into the sample with their index; the
    centre along z is the plane ``n // 2``, see `centre`.

    Parameters
    ----------
    na : float
        Numerical aperture.
    wavelength : float
        Of the emission in a vacuum, in µm.
    excitation : float
        Wavelength of the excitation in a vacuum, in µm.
    pinhole : float
        Diameter of the pinhole, in diameters of the emission's Airy disc (1.22 λ / NA).
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
    Vectors: Richards and Wolf, Proc. R. Soc. Lond. A 253, 358 (1959), doi:10.1098/rspa.1959.0200;
    through layers: Török and Varga, Appl. Opt. 36, 2305 (1997), doi:10.1364/AO.36.002305.
    Layers: Gibson and Lanni, J. Opt. Soc. Am. A 9, 154 (1992), doi:10.1364/JOSAA.9.000154; in the
    form of Aguet, Geissbühler, Märki, Lasser and Unser, Opt. Express 17, 6829 (2009),
    doi:10.1364/OE.17.006829.
    """

    wavelength: Annotated[float, {"label": "wavelength (µm)"}]
    excitation: Annotated[float, {"label": "excitation (µm)", **LIGHT}] = 0.488
    pinhole: Annotated[float, {"label": "pinhole (Airy units)", "max": WIDEST}] = 1.0

    name: ClassVar[str] = "confocal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pinhole <= WIDEST:
            raise ValueError(
                f"pinhole is {self.pinhole:g} Airy units: it must be 0 to {WIDEST}; take the psf "
                "vectorial for a microscope without one"
            )

    @property
    def lights(self) -> dict[str, float]:
        """The wavelengths, in µm."""
        return {"wavelength": self.wavelength, "excitation": self.excitation}

    def field(self, nodes: Nodes, values: Values) -> list[tuple[int, float, Tensor]]:
        """Give the three integrals of a dipole that turns freely."""
        return vector_field(nodes, values)

    def profile(self, values: Values, radii: NDArray[Any], heights: Tensor) -> Tensor:
        """Give the intensity at radii and heights above the paraxial focus, in µm."""
        radius = values["pinhole"] * 0.61 * values["wavelength"] / values["na"]
        matrix = through_disc(radii, radius, fineness=self.pinhole)
        wide = np.arange(matrix.shape[1]) * self.step
        seen = matrix @ self.wave(values, "wavelength", wide, heights)
        return seen * self.wave(values, "excitation", radii, heights)
