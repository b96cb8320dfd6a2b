"""Richardson-Lucy deconvolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from napari_deblur.methods._ascent import (
    Ascent,
    Scale,
    checked_iterations,
    decided,
    parts_of,
    scale_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["RichardsonLucy"]

# Of plain Richardson-Lucy; who needs more is better served by the accelerated one.
MOST = 500


@dataclass(frozen=True)
class RichardsonLucy:
    """Find the most likely object under Poisson noise, non-negative, one iteration after another.

    The background is part of the model and never subtracted; the start is flat. The object
    reaches beyond the image by half a kernel, each voxel weighted by how much of its light was
    seen, so nothing wraps around or rings at the border; pixels without data (NaN, saturated)
    have no say.

    Parameters
    ----------
    iterations : int or "auto"
        More sharpen further and amplify noise. "auto" stops where held-out light is predicted best.
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

    iterations: int | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"

    most: ClassVar[int] = MOST
    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 6

    def __post_init__(self) -> None:
        checked_iterations(self.iterations)
        if self.start != "auto" and self.start <= 0:
            raise ValueError(f"start is {self.start} counts and must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Take the background from the facts, the rest from samples.

        The number of iterations is the one that predicts held-out light best.
        """
        scale = scale_of(samples, self)
        fixed = replace(self, background=scale.background, start=scale.start, lowest=scale.lowest)
        if self.iterations != "auto":
            return fixed
        from napari_deblur.ops.held_out import best_stop

        parts = parts_of(samples, "richardson-lucy")
        runs = [_predictions(part.sample, scale) for part in parts]
        stop = best_stop(parts, runs, most=MOST)
        return replace(fixed, iterations=min(stop.with_all_light(1 / 2), MOST))

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        ascent = Ascent(tile, blur, decided(self, "richardson-lucy", "iterations"))
        thing = ascent.flat()
        for _ in range(int(self.iterations)):
            ascent.climb(thing)
        return ascent.finished(thing)

    def iterates(self, tile: Tensor, blur: Blur) -> Iterator[Tensor]:
        """Give the restored tile after 1, 2, … iterations, without end: for those who watch."""
        ascent = Ascent(tile, blur, decided(self, "richardson-lucy"))
        thing = ascent.flat()
        while True:
            ascent.climb(thing)
            yield ascent.image(thing)


def _predictions(sample: Sample, scale: Scale) -> Iterator[tuple[Tensor, Tensor]]:
    """Give what the object predicts, and its tile, after 1, 2, … iterations."""
    from napari_deblur import ops

    assert sample.blur is not None
    ascent = Ascent(sample.tile, sample.blur, scale)
    thing = ascent.flat()
    ascent.climb(thing)
    while True:
        predicted = ascent.predict(thing)
        yield predicted, ops.crop(thing, ascent.blur)
        ascent.climb(thing, predicted=predicted)
