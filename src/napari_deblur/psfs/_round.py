"""A lens without aberrations is round: its light is an integral over the radius alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from napari_deblur.psfs._stratified import Layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.psfs._layers import Nodes, Values

__all__ = ["Round"]


@dataclass(frozen=True, kw_only=True)
class Round(Layers):
    """A lens whose layers fit, out of focus by `defocus` µm; `edge` 1 is the sine condition's."""

    wavelength: float
    defocus: float = 0.0
    edge: float = 1.0
    # With layers that fit and no depth it has no say; large, no light goes along the coverslip.
    n_sample: float = 4.0

    name: ClassVar[str] = "pupil"

    @property
    def lights(self) -> dict[str, float]:
        """The wavelength, in µm."""
        return {"wavelength": self.wavelength}

    def middle(self, values: Values) -> Tensor:
        """Give the height of the middle plane above the focus, in µm."""
        return values["defocus"]

    def field(self, nodes: Nodes, values: Values) -> list[tuple[int, float, Tensor]]:
        """Give the scalar integral, with the rim as bright as the sine condition has it."""
        bright = (nodes.c / values["n_immersion"]) ** (-values["edge"] / 2)
        return [(0, 1.0, nodes.s * nodes.c * bright)]

    def profile(self, values: Values, radii: NDArray[Any], heights: Tensor) -> Tensor:
        """Give the intensity at radii and heights above the focus, in µm."""
        return self.wave(values, "wavelength", radii, heights)
