"""Deconvolution with sparse wavelets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from napari_deblur.methods._ascent import (
    SEEN,
    Ascent,
    Scale,
    checked_iterations,
    decided,
    parts_of,
    scale_of,
    spacing_of,
)
from napari_deblur.methods._pacing import paced

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.ops.held_out import HeldOut, Stop
    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["Wavelet"]

MOST = 100
# Thresholds tried, in units of the noise: from the middle on in the direction that is better.
WEIGHTS = (0.0, 0.03, 0.09, 0.27, 0.8)
MIDDLE = 2
# Momentum of an iteration, at most: a step later than that overshoots, in the light of points too.
FASTEST = 0.5
# The least noise, as a share of the start: nothing may be divided by 0.
LEAST = 1e-4


@dataclass(frozen=True)
class Wavelet:
    """Find an object of few wavelets, non-negative above the background: for few photons.

    Between Richardson-Lucy's steps the details of the object are shrunk, at every scale and every
    shift, by a threshold that is as many times larger as the noise is there: photons make more of
    it where there is light. Steps are accelerated by momentum. Soft bodies gain most, and
    isolated thin lines or points least, for which held-out light then finds a weight of 0.

    Parameters
    ----------
    weight : float or "auto"
        Threshold of a step over the noise's standard deviation: 0.03 is little and 0.3 is much.
    iterations : int or "auto"
        "auto" stops where held-out light is predicted best.
    wavelet : str
        An orthogonal wavelet by its name in PyWavelets. Longer ones take longer.
    levels : int or "auto"
        Scales along the finest axis, each twice as coarse as the one before.
    spacing : tuple of float, or "auto"
        Length of the voxels along the kernel's axes, the finest being 1: coarse axes have fewer
        scales.
    noise : float or "auto"
        Standard deviation of a pixel without light, in counts.
    gain : float or "auto"
        Counts for a photon; 0 where the noise is equally strong everywhere.
    background, start, lowest : float or "auto"
        As for ``richardson-lucy``.

    References
    ----------
    Thresholds between steps: Daubechies, Defrise and De Mol, Commun. Pure Appl. Math. 57, 1413
    (2004), doi:10.1002/cpa.20042. Departs from it: the steps are Richardson-Lucy's, and those of
    the thresholds follow the noise.
    Acceleration: Beck and Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), doi:10.1137/080716542.
    All shifts, no direction: Beylkin and Torrésani, Appl. Comput. Harmon. Anal. 3, 164 (1996),
    doi:10.1006/acha.1996.0014. Shrinking is used as if it was the exact proximal step.
    """

    weight: float | Literal["auto"] = "auto"
    iterations: int | Literal["auto"] = "auto"
    wavelet: str = "sym4"
    levels: int | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"
    noise: float | Literal["auto"] = "auto"
    gain: float | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    lowest: float | Literal["auto"] = "auto"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 17

    def __post_init__(self) -> None:
        from napari_deblur.methods._wavelets import check_name

        check_name(self.wavelet)
        checked_iterations(self.iterations)
        for name in ("weight", "noise", "gain"):
            value = getattr(self, name)
            if value != "auto" and value < 0:
                raise ValueError(f"{name} is {value} and must be 0 or more")
        if self.levels != "auto" and not (isinstance(self.levels, int) and 1 <= self.levels <= 8):
            raise ValueError(f"levels is {self.levels!r} and must be a whole number from 1 to 8")
        if self.start != "auto" and self.start <= 0:
            raise ValueError(f"start is {self.start} counts and must be above 0")
        if self.spacing != "auto":
            object.__setattr__(self, "spacing", tuple(float(v) for v in self.spacing))
            if not self.spacing or min(self.spacing) <= 0:
                raise ValueError(f"spacing is {self.spacing} and every value must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Take the noise from the facts; decide weight and iterations by held-out light."""
        scale = scale_of(samples, self)
        axes = max((s.blur.ndim for s in samples if s.blur is not None), default=2)
        gain = (samples[0].facts.gain or 0.0) if self.gain == "auto" else self.gain
        fixed = replace(
            self,
            # A third scale took twice the time on a volume.
            levels=(3 if axes < 3 else 2) if self.levels == "auto" else self.levels,
            spacing=spacing_of(samples) if self.spacing == "auto" else self.spacing,
            noise=_dark(samples, scale, gain) if self.noise == "auto" else self.noise,
            gain=gain,
            background=scale.background,
            start=scale.start,
            lowest=scale.lowest,
        )
        if "auto" not in (self.weight, self.iterations):
            return fixed
        parts = parts_of(samples, "wavelet")
        found: dict[float, Stop] = {}

        def error(weight: float) -> float:
            if weight not in found:
                found[weight] = replace(fixed, weight=weight)._stopped(parts)
            return found[weight].error

        best = _least(error) if self.weight == "auto" else float(self.weight)
        error(best)
        iterations = self.iterations
        if iterations == "auto":
            iterations = found[best].with_all_light(1 / 4)
        return replace(fixed, weight=best, iterations=iterations)

    def _stopped(self, parts: Sequence[HeldOut]) -> Stop:
        """Decide the iterations for a given weight."""
        from napari_deblur.ops.held_out import SHARE, best_stop

        # What was kept is noisier than the whole.
        noisy = replace(self, noise=float(self.noise) / SHARE**0.5, gain=float(self.gain) / SHARE)
        runs = [noisy._predictions(part.sample) for part in parts]
        if self.iterations == "auto":
            return best_stop(parts, runs, most=MOST, patience=4)
        return best_stop(parts, runs, most=self.iterations, least=self.iterations)

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        ascent = self._ascent(tile, blur, "iterations")
        steps = _steps(ascent)
        for _ in range(int(self.iterations)):
            thing = next(steps)
        return ascent.finished(thing)

    def iterates(self, tile: Tensor, blur: Blur) -> Iterator[Tensor]:
        """Give the restored tile after 1, 2, … iterations, without end: for those who watch."""
        ascent = self._ascent(tile, blur)
        for thing in _steps(ascent):
            yield ascent.image(thing)

    def _predictions(self, sample: Sample) -> Iterator[Tensor]:
        """Give what the object predicts after 1, 2, … iterations."""
        assert sample.blur is not None
        ascent = self._ascent(sample.tile, sample.blur)
        for thing in _steps(ascent):
            yield ascent.predict(thing)

    def _ascent(self, tile: Tensor, blur: Blur, *fields: str) -> _Shrinking:
        scale = decided(self, "wavelet", "weight", "levels", "spacing", "noise", "gain", *fields)
        return _Shrinking(tile, blur, scale, self)


class _Shrinking(Ascent):
    """Richardson-Lucy's steps, each with the details shrunk."""

    def __init__(self, tile: Tensor, blur: Blur, scale: Scale, method: Wavelet) -> None:
        from napari_deblur.methods._wavelets import Shrinkage, finest_levels

        assert not isinstance(method.levels, str)
        assert not isinstance(method.spacing, str)
        if len(method.spacing) != blur.ndim:
            raise ValueError(
                f"spacing has {len(method.spacing)} values {method.spacing} but the blur has "
                f'{blur.ndim} axes: give one value per axis, or "auto"'
            )
        super().__init__(tile, blur, scale)
        self.shrinkage: Shrinkage | None = None
        if method.weight:
            levels = finest_levels(method.spacing, method.levels)
            self.shrinkage = Shrinkage(method.wavelet, levels, float(method.weight))
            self._look_around(float(method.gain), max(float(method.noise), LEAST * scale.start))

    def _look_around(self, gain: float, dark: float) -> None:
        """Find the noise around each voxel, from the light that the blur brings there."""
        import torch

        from napari_deblur import ops

        light = (self.tile - self.scale.background).clamp_(min=0)
        if self.holes:
            light.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        around = ops.blur_adjoint(light, self.blur, self.work)
        del light
        self.noise = self.weight.new_tensor(dark)
        if gain:
            self.noise = self.weight.clone()
            for one, found in ops.blocks(self.noise, around):
                one.mul_(found).clamp_(min=0).mul_(gain).add_(dark**2).sqrt_()
        # Where next to nothing is seen the object goes on smoothly: an edge would have details.
        self.blind = self.weight == 0
        beyond = around.masked_select(self.blind).clamp_(min=0)
        known = torch.isfinite(self.tile).to(self.tile.dtype)
        seen = ops.blur_adjoint(known, self.blur, self.work).masked_select(self.blind)
        self.beyond = beyond.div_(seen.clamp_(min=SEEN / 100))

    def climb(self, thing: Tensor, **options: Any) -> None:
        """Make one Richardson-Lucy step and shrink the details, in place."""
        import torch

        if self.shrinkage is None:
            super().climb(thing, **options)
            return
        super().climb(thing, **options)
        thing.masked_scatter_(self.blind, self.beyond)
        image = torch.div(thing, self.noise, out=self.shrinkage.space(thing))
        taken = self.shrinkage.clipped(image)
        thing.addcmul_(taken, self.noise, value=-1).clamp_(min=0)
        self.shrinkage.spare.append(taken)


def _steps(ascent: _Shrinking) -> Iterator[Tensor]:
    """Give the object after 1, 2, … iterations."""
    return paced(ascent, [min(k / (k + 3), FASTEST) for k in range(10)])


def _dark(samples: Sequence[Sample], scale: Scale, gain: float) -> float:
    """Give the noise of a pixel without light: of the background's photons, or as stated."""
    from napari_deblur.methods._splitting_numbers import noise_of
    from napari_deblur.ops.held_out import no_light

    facts = replace(samples[0].facts, gain=gain or None)
    if gain:
        return float(max(gain * (scale.background - no_light(facts)), 0.0) ** 0.5)
    return noise_of([replace(sample, facts=facts) for sample in samples])


def _least(error: Callable[[float], float]) -> float:
    """Find the weight of least error: down or up from the middle, then between neighbours."""
    place = MIDDLE
    for step in (-1, 1):
        while 0 <= place + step < len(WEIGHTS) and error(WEIGHTS[place + step]) < error(
            WEIGHTS[place]
        ):
            place += step
        if place != MIDDLE:
            break
    best = WEIGHTS[place]
    if not best:
        return best
    return min((best, round(best * 3**0.5, 4), round(best / 3**0.5, 4)), key=error)
