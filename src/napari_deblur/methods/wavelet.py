"""Deconvolution with sparse wavelets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur, Estimate, Sample

__all__ = ["Wavelet"]

# Where less than this share of a voxel's light reaches a pixel with data, nothing is known of it.
SEEN = 0.01
# Thresholds tried, in units of the noise, from the largest down.
TRIED = tuple(2.0**-n for n in (1.0, 2.5, 4.0, 5.5, 7.0))
# Of a volume, the middle is looked at.
LARGEST = (16, 48, 48)
FLAT = (1, 144, 144)


@dataclass(frozen=True)
class Wavelet:
    """Find an object of few wavelets, non-negative above the background; for normal noise.

    The details of the object, at every scale and every shift, are shrunk towards zero by a
    threshold between steps towards the data. The object reaches beyond the image by half a
    kernel; pixels without data (NaN, saturated) have no say. The noise is taken as equally strong
    everywhere.

    Parameters
    ----------
    weight : float or "auto"
        Threshold of a step, in counts: more is smoother. Decided by held-out light.
    iterations : int
        Accelerated steps. Few suppress noise too: 60 and 150 were worse than 30 with "haar".
    wavelet : str
        An orthogonal wavelet by its name in PyWavelets. "db2" and "sym4" were better than
        "haar" on filaments (1.8 dB at 300 photons); longer ones take longer.
    levels : int or "auto"
        Scales along the finest axis, each twice as coarse as the one before.
    background : float or "auto"
        Counts without light, camera offset included. The result doesn't go below.
    start : float or "auto"
        The flat start, in counts above the background: the channel's mean.
    spacing : tuple of float, or "auto"
        Pixel size along the blurred axes over the finest one's: coarse axes have fewer scales.

    References
    ----------
    Daubechies, Defrise and De Mol, Commun. Pure Appl. Math. 57, 1413 (2004),
    doi:10.1002/cpa.20042.
    Acceleration: Beck and Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), doi:10.1137/080716542.
    All shifts: Coifman and Donoho, Translation-invariant de-noising (1995),
    doi:10.1007/978-1-4612-2544-7_9. Their mean is used as if it was the exact proximal step.
    """

    weight: float | Literal["auto"] = "auto"
    iterations: Annotated[int, {"min": 1, "max": 1000}] = 40
    wavelet: str = "db2"
    levels: int | Literal["auto"] = "auto"
    background: float | Literal["auto"] = "auto"
    start: float | Literal["auto"] = "auto"
    spacing: tuple[float, ...] | Literal["auto"] = "auto"

    multiple_of: ClassVar[int] = 1
    arrays: ClassVar[float] = 34

    def __post_init__(self) -> None:
        from napari_deblur.methods._wavelets import check_name

        check_name(self.wavelet)
        if self.weight != "auto" and self.weight < 0:
            raise ValueError(f"weight is {self.weight} counts and must be 0 or more")
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise ValueError(
                f"iterations is {self.iterations!r} and must be a whole number of 1 or more"
            )
        if self.levels != "auto" and not (isinstance(self.levels, int) and 1 <= self.levels <= 8):
            raise ValueError(f"levels is {self.levels!r} and must be a whole number from 1 to 8")
        if self.start != "auto" and self.start <= 0:
            raise ValueError(f"start is {self.start} counts and must be above 0")
        if self.spacing != "auto":
            object.__setattr__(self, "spacing", tuple(float(v) for v in self.spacing))
            if not self.spacing or min(self.spacing) <= 0:
                raise ValueError(f"spacing is {self.spacing} and every value must be above 0")

    def resolved(self, samples: Sequence[Sample]) -> Self:
        """Decide the threshold on samples whose blur is known."""
        from napari_deblur.methods._filters import spacing_of
        from napari_deblur.ops.statistics import background_of, mean_above

        background = background_of(samples) if self.background == "auto" else self.background
        start = mean_above(samples, background) if self.start == "auto" else self.start
        axes = max((s.blur.ndim for s in samples if s.blur is not None), default=2)
        # A third scale took twice the time on a volume, and half as much memory again.
        levels = (3 if axes < 3 else 2) if self.levels == "auto" else self.levels
        fixed = replace(self, background=background, start=start, levels=levels)
        known = [sample for sample in samples if sample.blur is not None]
        if "auto" in (self.weight, self.spacing) and not known:
            raise ValueError(
                "wavelet needs a kernel to decide its weight: give weight and spacing, or a kernel"
            )
        if self.spacing == "auto":
            assert known[0].blur is not None
            fixed = replace(fixed, spacing=spacing_of(known, known[0].blur.ndim))
        return replace(fixed, weight=fixed._decided(known)) if self.weight == "auto" else fixed

    def __call__(self, tile: Tensor, blur: Blur) -> Estimate:
        """Restore a tile (..., [z,] y, x) of counts; NaN where there are no data."""
        import torch

        from napari_deblur import ops
        from napari_deblur.protocols import Estimate

        if "auto" in (self.weight, self.levels, self.background, self.start, self.spacing):
            raise ValueError('wavelet has an "auto" left: call resolved(samples) first')
        residuals = []
        for object_, residual in self._steps(tile, blur, float(self.weight)):
            image = object_
            residuals.append(residual)
        mask = torch.isfinite(tile).to(image.dtype)
        unseen = ops.crop(ops.blur_adjoint(mask, blur) <= SEEN, blur)
        image = ops.crop(image, blur) + float(self.background)
        image.masked_fill_(unseen, torch.nan)
        return Estimate(image, None, torch.stack(residuals))

    def _steps(self, tile: Tensor, blur: Blur, weight: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the object (above the background) and the mean squared residual, step by step."""
        import torch

        from napari_deblur import ops
        from napari_deblur.methods._wavelets import finest_levels, shrunk

        assert isinstance(self.levels, int)
        assert self.spacing != "auto"
        if len(self.spacing) != blur.ndim:
            raise ValueError(
                f"spacing has {len(self.spacing)} values {self.spacing} but the blur has "
                f'{blur.ndim} axes: give one value per axis, or "auto"'
            )
        levels = finest_levels(self.spacing, self.levels)
        counts, mask = ops.split(tile)
        counts -= float(self.background)
        pixels = float(counts.numel() if mask is None else mask.sum())
        shape = ops.object_shape(tuple(tile.shape), blur.shape)
        image = counts.new_full(shape, float(self.start))
        ahead, pace = image, 1.0
        for _ in range(self.iterations):
            ops.checkpoint()
            missing = torch.sub(counts, ops.blur(ahead, blur))
            if mask is not None:
                missing *= mask
            moved = ops.blur_adjoint(missing, blur)
            residual = ops.mean_square(missing, pixels)
            del missing
            moved += ahead
            if weight > 0:
                moved = shrunk(moved, self.wavelet, levels, weight)
            moved = moved.clamp_(min=0)
            following = (1 + (1 + 4 * pace**2) ** 0.5) / 2
            ahead = torch.lerp(image, moved, 1 + (pace - 1) / following)
            image, pace = moved, following
            yield image, residual

    def _decided(self, samples: Sequence[Sample]) -> float:
        """Try thresholds from the largest down; each predicts light that was held out."""
        from napari_deblur import ops
        from napari_deblur.methods._filters import spectra_of
        from napari_deblur.ops.held_out import SHARE, hold_out

        assert samples[0].blur is not None
        solid = samples[0].blur.ndim > 2
        few = [_middle(s, LARGEST if solid else FLAT) for s in samples[:1]]
        noise = samples[0].facts.noise
        plain = [s for s in samples if s.blur is not None and s.blur.weights is None]
        if plain:
            assert self.spacing != "auto"
            noise = spectra_of(plain, self.spacing).noise
        if noise is not None and samples[0].facts.gain is None:
            # Of the whole sample, bright pixels included, not of the dim ones.
            few = [replace(s, facts=replace(s.facts, noise=noise)) for s in few]
        noise = noise or 0.0
        if noise == 0:
            return 0.0
        parts = hold_out(few)
        scores: list[float] = []
        for factor in TRIED:
            score = 0.0
            for part in parts:
                blur = part.sample.blur
                assert blur is not None
                steps = self._steps(part.sample.tile, blur, factor * noise)
                image, _ = deque(steps, maxlen=1)[0]
                score += part.deviance(ops.blur(image, blur) + float(self.background))
            scores.append(score)
            # The prediction has one best threshold.
            if len(scores) > 1 and scores[-1] > scores[-2]:
                break
        best = min(range(len(scores)), key=scores.__getitem__)
        shift = 0.0
        if 0 < best < len(scores) - 1:
            before, here, after = scores[best - 1 : best + 2]
            bend = before - 2 * here + after
            shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
        # What was kept was noisier than the whole.
        return float(TRIED[best] * (TRIED[1] / TRIED[0]) ** shift * noise * SHARE**0.5)


def _middle(sample: Sample, largest: tuple[int, ...]) -> Sample:
    """Cut the middle out of a sample."""
    from napari_deblur.protocols import Blur

    blur = sample.blur
    tile = sample.tile
    if blur is not None and blur.weights is not None:
        return sample
    for axis, most in zip(range(-min(tile.ndim, 3), 0), largest[-tile.ndim :], strict=True):
        n = tile.shape[axis]
        tile = tile.narrow(axis, (n - min(n, most)) // 2, min(n, most))
    return replace(sample, tile=tile, blur=None if blur is None else Blur(blur.basis))
