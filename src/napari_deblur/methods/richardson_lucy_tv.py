"""Richardson-Lucy deconvolution with total variation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from napari_deblur.methods._ascent import (
    Ascent,
    checked_iterations,
    decided,
    extrapolated,
    parts_of,
    scale_of,
    spacing_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.ops.held_out import HeldOut, Stop
    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["RichardsonLucyTv"]

MOST = 150
WEIGHTS = (0.0, 0.001, 0.003, 0.01, 0.03)
# Of the start: a difference of neighbours that counts as flat.
FLAT = 1e-2


@dataclass(frozen=True)
class RichardsonLucyTv:
    """Richardson-Lucy with a taste for flat areas between sharp edges: for few photons.

    Each step is divided by 1 − weight × the curvature of the object's level lines, which smooths
    noise and leaves edges. Steps are accelerated by the scaled heavy ball. Where light is plenty
    and the structure is fine, total variation costs detail: held-out light then finds a weight of 0.

    Parameters
    ----------
    iterations : int or "auto"
        "auto" stops where held-out light is predicted best.
    weight : float or "auto"
        Of total variation; 0.001 is little and 0.03 is much.
    spacing : tuple of float, or "auto"
        Length of the voxels along the kernel's axes, the finest being 1.
    background, start, lowest : float or "auto"
        As for ``richardson-lucy``.

    References
    ----------
    Dey et al., Microsc. Res. Tech. 69, 260 (2006), doi:10.1002/jemt.20294. Departs from it by the
    heavy ball (Wang and Miller, doi:10.1109/TIP.2013.2291324), the weights at the border and the
    background.
    """

    iterations: int | Literal["auto"] = "auto"
    weight: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 8

    def __post_init__(self) -> None:
        checked_iterations(self.iterations)
        if self.weight != "auto" and not 0 <= self.weight < 0.15:
            raise ValueError(
                f"weight is {self.weight} and must be 0 or more and below 0.15, where steps could "
                "turn negative"
            )
        if self.start != "auto" and self.start <= 0:
            raise ValueError(f"start is {self.start} counts and must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Decide weight and number of iterations by held-out light."""
        scale = scale_of(samples, self)
        fixed = replace(
            self,
            background=scale.background,
            start=scale.start,
            lowest=scale.lowest,
            spacing=spacing_of(samples) if self.spacing == "auto" else self.spacing,
        )
        if "auto" not in (self.iterations, self.weight):
            return fixed
        parts = parts_of(samples, "richardson-lucy-tv")
        tried: dict[float, Stop] = {}

        def stop(weight: float) -> float:
            if weight not in tried:
                tried[weight] = replace(fixed, weight=weight)._stop(parts)
            return tried[weight].error

        if self.weight == "auto":
            best = min(WEIGHTS, key=stop)
            if best:  # once more, half way to the neighbours
                best = min((best, best * 3**0.5, best / 3**0.5), key=stop)
        else:
            best = self.weight
            stop(best)
        return replace(fixed, weight=round(best, 6), iterations=tried[best].iterations)

    def _stop(self, parts: Sequence[HeldOut]) -> Stop:
        from napari_deblur.ops.held_out import best_stop

        runs = [self._predictions(part.sample) for part in parts]
        if self.iterations == "auto":
            return best_stop(parts, runs, most=MOST)
        return best_stop(parts, runs, most=self.iterations, least=self.iterations)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        scale = decided(self, "richardson-lucy-tv", "iterations", "weight", "spacing")
        ascent = Ascent(tile, blur, scale)
        steps = self._steps(ascent)
        for _ in range(int(self.iterations)):
            thing = next(steps)
        return ascent.finished(thing)

    def iterates(self, tile: Tensor, blur: Blur) -> Iterator[Tensor]:
        """Give the restored tile after 1, 2, … iterations, without end: for those who watch."""
        ascent = Ascent(tile, blur, decided(self, "richardson-lucy-tv", "weight", "spacing"))
        for thing in self._steps(ascent):
            yield ascent.image(thing)

    def _predictions(self, sample: Sample) -> Iterator[Tensor]:
        assert sample.blur is not None
        ascent = Ascent(sample.tile, sample.blur, decided(self, "richardson-lucy-tv"))
        for thing in self._steps(ascent):
            yield ascent.predict(thing)

    def _steps(self, ascent: Ascent) -> Iterator[Tensor]:
        """Give the object after 1, 2, … iterations."""
        from napari_deblur import ops

        weight, flat = float(self.weight), FLAT * ascent.scale.start
        axis = ascent.tile.ndim - ascent.blur.ndim

        def resisting(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
            for where, pull in ops.curvatures(parts[0], self.spacing, flat):
                cut = (slice(None),) * axis + (where,)
                yield (*(part[cut] for part in parts), pull.mul_(-weight).add_(1))

        recent, number = [ascent.flat()], 0
        while True:
            number += 1
            thing = extrapolated(recent, (number - 1) / (number + 2), 2)
            ascent.climb(thing, resisting=resisting if weight else None)
            recent.append(thing)
            yield thing
