"""Tikhonov-regularised deconvolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, get_args

from napari_deblur.methods._filters import Operator

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["Tikhonov"]


@dataclass(frozen=True)
class Tikhonov:
    """Find the object of least squares that is also small, flat or smooth; in closed form.

    What is minimised is the squared difference to the data plus `weight` times the squared
    operator. The result may go below zero. Beyond its border, and in holes, the image is
    continued to suit the restored object.

    Parameters
    ----------
    operator : "identity", "gradient" or "laplacian"
        What is kept small: the light above the background, its steps or its bends.
    weight : float or "auto"
        More is smoother. Decided so that the expected error of the object is least.
    background : float or "auto"
        Counts without light: the level that the identity pulls to.
    spacing : tuple of float, or "auto"
        Pixel size along the blurred axes over the finest one's: steps are per length.
    border : int
        How often the image beyond its border is replaced by what the restored object shows
        there. 0 is faster and leaves stripes along the border at high light.

    References
    ----------
    Tikhonov, Sov. Math. Dokl. 4, 1035 (1963).
    Hunt, IEEE Trans. Comput. C-22, 805 (1973), doi:10.1109/TC.1973.5009169.
    The border: Reeves, IEEE Trans. Image Process. 14, 1448 (2005), doi:10.1109/TIP.2005.854474.
    """

    operator: Operator = "gradient"
    weight: float | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    border: Annotated[int, {"min": 0, "max": 1000}] = 20

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 13

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator):
            raise ValueError(
                f"operator is {self.operator!r}; there are: {', '.join(get_args(Operator))}"
            )
        if self.weight != "auto" and self.weight <= 0:
            raise ValueError(f"weight is {self.weight} and must be above 0")
        if self.spacing != "auto":
            object.__setattr__(self, "spacing", tuple(float(v) for v in self.spacing))
            if not self.spacing or min(self.spacing) <= 0:
                raise ValueError(f"spacing is {self.spacing} and every value must be above 0")
        if not isinstance(self.border, int) or self.border < 0:
            raise ValueError(f"border is {self.border!r} and must be a whole number of 0 or more")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Decide the weight on samples whose blur is known."""
        from napari_deblur.methods._filters import spacing_of
        from napari_deblur.methods._spectra import spectra_of
        from napari_deblur.ops.statistics import background_of

        background = background_of(samples) if self.background == "auto" else self.background
        weight, spacing = self.weight, self.spacing
        if "auto" in (weight, spacing):
            known = [s for s in samples if s.blur is not None and s.blur.weights is None]
            if not known:
                raise ValueError(
                    "tikhonov needs a kernel to decide its weight: give weight and spacing, "
                    "or a kernel"
                )
            assert known[0].blur is not None
            if spacing == "auto":
                spacing = spacing_of(known, known[0].blur.ndim)
            if weight == "auto":
                weight = spectra_of(known, spacing).best_weight(self.operator)
        return replace(self, weight=weight, background=background, spacing=spacing)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        import torch

        from napari_deblur.methods._filters import filtered
        from napari_deblur.protocols import Estimate

        if self.weight == "auto" or self.background == "auto" or self.spacing == "auto":
            raise ValueError('tikhonov has an "auto" left: call resolved(samples) first')
        if blur.weights is not None:
            raise ValueError(
                "tikhonov can't use a blur that varies over the field: take richardson-lucy, "
                "or one kernel"
            )
        image = filtered(
            tile,
            blur,
            weight=self.weight,
            operator=self.operator,
            spacing=self.spacing,
            background=self.background,
            border=self.border,
        )
        return Estimate(image, None, torch.zeros(0, device=tile.device))
