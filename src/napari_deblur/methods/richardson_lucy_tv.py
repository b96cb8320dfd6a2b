"""Richardson-Lucy deconvolution with total variation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from napari_deblur.methods._ascent import (
    Ascent,
    checked_iterations,
    decided,
    parts_of,
    scale_of,
    spacing_of,
)
from napari_deblur.methods._pacing import KEPT, paced

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.ops.held_out import HeldOut, Stop
    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["RichardsonLucyTv"]

MOST = 150
WEIGHTS = (0.0, 0.001, 0.003, 0.01, 0.03)
# A difference of neighbours that counts as flat: a share of the start, and, for a weight, of the
# object itself. Explicit steps would swing where light flowed faster than that.
FLAT, STABLE = 1e-3, 6.0


@dataclass(frozen=True)
class RichardsonLucyTv:
    """Richardson-Lucy with a taste for flat areas between sharp edges: for few photons.

    After each step light flows along the object's gradient, as much for a small step as for a large
    one, which flattens noise and leaves edges. Steps are accelerated as Biggs and Andrews do. Where
    light is plenty and the structure fine, this costs detail; held-out light then finds a weight
    of 0.

    Parameters
    ----------
    iterations : int or "auto"
        "auto" stops where held-out light is predicted best.
    weight : float or "auto"
        Of total variation; 0.001 is little and 0.03 is much.
    spacing : tuple of float, or "auto"
        Length of the voxels along the kernel's axes, the finest being 1.
    momentum : tuple of float, or "auto"
        As for ``accelerated-richardson-lucy``.
    background, start, lowest : float or "auto"
        As for ``richardson-lucy``.

    References
    ----------
    Dey et al., Microsc. Res. Tech. 69, 260 (2006), doi:10.1002/jemt.20294. Departs from it: the
    total variation's pull is written as a flow, so that no light is lost; there is momentum, and
    weights at the border.
    Biggs and Andrews, Appl. Opt. 36, 1766 (1997), doi:10.1364/AO.36.001766.
    """

    iterations: int | Literal["auto"] = "auto"
    weight: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    momentum: tuple[float, ...] | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 8.4

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
        if "auto" not in (self.iterations, self.weight, self.momentum):
            return fixed
        parts = parts_of(samples, "richardson-lucy-tv")
        found: dict[float, Self] = {}

        def error(weight: float) -> float:
            found[weight], stop = replace(fixed, weight=weight)._stopped(parts)
            return stop.error

        if self.weight == "auto":
            best = min(WEIGHTS, key=error)
            if best:  # once more, half way to the neighbours
                best = min((best, round(best * 3**0.5, 5), round(best / 3**0.5, 5)), key=error)
        else:
            best = float(self.weight)
            error(best)
        return found[best]

    def _stopped(self, parts: Sequence[HeldOut]) -> tuple[Self, Stop]:
        """Decide iterations and momentum for a given weight."""
        from napari_deblur.ops.held_out import best_stop

        momentum = self._momentum()
        measured = self.momentum == "auto"
        runs = [
            self._predictions(part.sample, momentum, measured=measured and i == 0)
            for i, part in enumerate(parts)
        ]
        fixed = self.iterations != "auto"
        most = int(self.iterations) if fixed else MOST
        stop = best_stop(parts, runs, most=most, least=most if fixed else 1)
        iterations = most if fixed else stop.with_all_light(1 / 4)
        kept = tuple(round(a, 4) for a in momentum[: min(iterations, KEPT)])
        return replace(self, iterations=iterations, momentum=kept), stop

    def _momentum(self) -> list[float]:
        return [] if self.momentum == "auto" else [float(a) for a in self.momentum]

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        scale = decided(self, "richardson-lucy-tv", "iterations", "weight", "spacing", "momentum")
        ascent = Ascent(tile, blur, scale)
        steps = self._steps(ascent, self._momentum())
        for _ in range(int(self.iterations)):
            thing = next(steps)
        return ascent.finished(thing)

    def iterates(self, tile: Tensor, blur: Blur) -> Iterator[Tensor]:
        """Give the restored tile after 1, 2, … iterations, without end: for those who watch."""
        ascent = Ascent(tile, blur, decided(self, "richardson-lucy-tv", "weight", "momentum"))
        for thing in self._steps(ascent, self._momentum()):
            yield ascent.image(thing)

    def _predictions(
        self, sample: Sample, momentum: list[float], *, measured: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give what the object predicts, and its tile, after 1, 2, … iterations."""
        from napari_deblur import ops

        assert sample.blur is not None
        ascent = Ascent(sample.tile, sample.blur, decided(self, "richardson-lucy-tv"))
        for thing in self._steps(ascent, momentum, measured=measured):
            yield ascent.predict(thing), ops.crop(thing, ascent.blur)

    def _steps(
        self, ascent: Ascent, momentum: list[float], *, measured: bool = False
    ) -> Iterator[Tensor]:
        """Give the object after 1, 2, … iterations; `momentum` grows where it is `measured`."""
        from napari_deblur import ops

        weight, flat = float(self.weight), FLAT * ascent.scale.start
        share = max(STABLE * weight, 0.01)
        spacing = tuple(float(size) for size in self.spacing)
        axis = ascent.tile.ndim - ascent.blur.ndim

        def resisting(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
            for where, pull in ops.curvatures(parts[0], spacing, flat, share):
                cut = (slice(None),) * axis + (where,)
                yield (*(part[cut] for part in parts), pull.mul_(weight))

        return paced(ascent, momentum, measured=measured, resisting=resisting if weight else None)
