"""Richardson-Lucy deconvolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["RichardsonLucy"]

# Where less than this share of a voxel's light reaches a pixel with data, nothing is known of it.
SEEN = 0.01


@dataclass(frozen=True)
class RichardsonLucy:
    """Find the most likely object under Poisson noise, non-negative, one iteration after another.

    The background is part of the model and never subtracted; the start is flat. The object
    reaches beyond the image by half a kernel, each voxel weighted by how much of its light was
    seen, so nothing wraps around or rings at the border; pixels without data (NaN, saturated)
    have no say.

    Parameters
    ----------
    iterations : int
        More sharpen further and amplify noise.
    background : float or "auto"
        Counts without light, camera offset included.
    start : float or "auto"
        The flat start, in counts above the background: the channel's mean.
    lowest : float or "auto"
        Counts that are no light at all, such as a camera's offset: the data and the background
        are shifted by it. Found as the background less four times its noise; below zero for
        images that something was subtracted from.

    References
    ----------
    Richardson, J. Opt. Soc. Am. 62, 55 (1972), doi:10.1364/JOSA.62.000055.
    Lucy, Astron. J. 79, 745 (1974), doi:10.1086/111605.
    Weights at the border: Bertero and Boccacci, Astron. Astrophys. 437, 369 (2005),
    doi:10.1051/0004-6361:20052717.
    """

    iterations: Annotated[int, {"min": 1, "max": 1000}] = 30
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 16

    def __post_init__(self) -> None:
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise ValueError(
                f"iterations is {self.iterations!r} and must be a whole number of 1 or more"
            )
        if self.start != "auto" and self.start <= 0:
            raise ValueError(f"start is {self.start} counts and must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Take the background from the facts, the flat start and the darkest count from samples."""
        from napari_deblur.ops.statistics import background_of, lowest_of, mean_above

        background = background_of(samples) if self.background == "auto" else self.background
        start = mean_above(samples, background) if self.start == "auto" else self.start
        lowest = lowest_of(samples, background) if self.lowest == "auto" else self.lowest
        return replace(self, background=background, start=start, lowest=lowest)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        import torch

        from napari_deblur import ops
        from napari_deblur.protocols import Estimate

        if "auto" in (self.background, self.start, self.lowest):
            raise ValueError('richardson-lucy has an "auto" left: call resolved(samples) first')
        background, start, lowest = float(self.background), float(self.start), float(self.lowest)
        counts, mask = ops.split(tile)
        counts.sub_(lowest).clamp_(min=0)
        if mask is not None:
            counts *= mask
        dark, floor = background - lowest, 1e-6 * start
        pixels = float(counts.numel() if mask is None else mask.sum())

        seen = ops.blur_adjoint(torch.ones_like(counts) if mask is None else mask, blur)
        unseen = seen <= SEEN
        weight = seen.reciprocal_().masked_fill_(unseen, 0)
        image = torch.full_like(weight, start)
        residuals = []
        for _ in range(self.iterations):
            ops.checkpoint()
            blurred = ops.blur(image, blur).add_(dark).clamp_(min=floor)
            residuals.append(ops.mean_square((blurred - counts).mul_(_one(mask)), pixels))
            ratio = torch.div(counts, blurred, out=blurred)
            image *= ops.blur_adjoint(ratio, blur).clamp_(min=0)
            image *= weight
        image = ops.crop(image, blur) + background
        image.masked_fill_(ops.crop(unseen, blur), torch.nan)
        return Estimate(image, None, torch.stack(residuals))


def _one(mask: Tensor | None) -> Tensor | float:
    return 1.0 if mask is None else mask
