"""A sheet of light from the side, seen by a camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from napari_deblur.psfs._layers import vector_field
from napari_deblur.psfs._sampling import FAR
from napari_deblur.psfs._stratified import Layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.psfs._layers import Nodes, Values
    from napari_deblur.psfs._sampling import Shape, Size

__all__ = ["LightSheet"]


@dataclass(frozen=True, kw_only=True)
class LightSheet(Layers):
    """A light-sheet microscope: what a camera sees, times a sheet of light across the axis.

    The sheet is a Gaussian along the axis of the detection, equally thick everywhere; its middle
    lies in the kernel's middle plane. Detection is as in `vectorial`.

    Averaged over each pixel; along the axis, the planes are points in z, as a camera sees them.
    Across, the centre is at ``n // 2``. Planes go deeper into the sample with their index; the
    centre along z is the plane ``n // 2``, see `centre`.

    Parameters
    ----------
    na : float
        Numerical aperture.
    wavelength : float
        Of the emission in a vacuum, in µm.
    thickness : float
        Full width of the sheet at half of its maximum, in µm.
    offset : float
        Of the sheet from the focus, in µm; positive is deeper.
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
    thickness: Annotated[float, {"label": "thickness (µm)", "max": FAR}] = 2.0
    offset: Annotated[float, {"label": "offset (µm)", "min": -FAR, "max": FAR}] = 0.0

    name: ClassVar[str] = "light-sheet"
    light_is_known: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.thickness > 0 and np.isfinite([self.thickness, self.offset]).all()):
            raise ValueError(
                f"thickness is {self.thickness} and offset {self.offset}: they are in µm, and the "
                "thickness is above 0"
            )

    @property
    def lights(self) -> dict[str, float]:
        """The wavelength, in µm."""
        return {"wavelength": self.wavelength}

    def field(self, nodes: Nodes, values: Values) -> list[tuple[int, float, Tensor]]:
        """Give the three integrals of a dipole that turns freely."""
        return vector_field(nodes, values)

    def profile(self, values: Values, radii: NDArray[Any], heights: Tensor) -> Tensor:
        """Give the intensity at radii and heights above the paraxial focus, in µm."""
        sheet = _sheet(values, heights - self.middle(values))
        return self.wave(values, "wavelength", radii, heights) * sheet.float()

    def light_of_planes(self, heights: NDArray[Any], shape: Shape, pixel_size: Size) -> float:
        """Give all light of the planes: what the sheet lights up."""
        import torch

        return float(_sheet(self.values({}), torch.from_numpy(heights)).sum())


def _sheet(values: Values, heights: Tensor) -> Tensor:
    sigma = values["thickness"] / 8**0.5 / np.log(2) ** 0.5
    sheet: Tensor = (-((heights - values["offset"]) ** 2) / (2 * sigma**2)).exp()
    return sheet
