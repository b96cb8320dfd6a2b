"""Held-out light: what decides how many iterations and how much regularisation.

A sample is split at random into two independent images of the same scene. One is restored, and
what the restored object predicts, blurred again, is compared with the other. Noise that was fitted
in the one does not help to predict the other, so the prediction is best where restoring ought to
end.

Photons are split by binomial draws, which is exact (Neufeld, Dharamshi, Gao and Witten, J. Mach.
Learn. Res. 25 (2024)). Where no camera is known the noise is taken as normal: for normal z of the
noise's standard deviation, y + τz and y − z/τ are independent.

Two measures. The deviance says how well the blurred scene is explained. But noise that restoring
amplified is hardly seen once it is blurred again: stopping by the deviance, over 48 scenes, lost up
to 3.6 dB. So decisions take the error with the blur divided out as far as it can be, which is the
squared error of the object itself where the blur passed anything, and a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_deblur.ops.fourier import transfer_function
from napari_deblur.ops.statistics import estimate_noise
from napari_deblur.ops.transforms import forward

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Facts, Sample

__all__ = ["HeldOut", "Stop", "best_stop", "hold_out", "no_light"]

# Of the photons, kept to restore; and how much the power passed by the blur must be to be divided
# out. Of .5, .8, .9 and of 1 to .003, over 48 scenes (4 objects, 4 kernels, 3 light levels), these
# lost least against the best iteration: median 0.02 dB, 0.2 in nine of ten, 0.6 at worst.
SHARE = 0.8
PASSED = 0.01
# How much the spread of objects from different splits counts where the blur passes nothing. It is a
# quarter of the noise's, since the splits share most of their light, and the whole would be too
# much: restoring also finds something there. On 6 widefield volumes 0 lost 1.2 dB in the median, 1
# and 2 lost 0.2 and 0.01, 8 lost 0.5; on 18 planes 0.01, 0.03, 0.03 and 0.16.
UNSEEN = 1.0
LEAST = 1e-6
# Part of the seed. Without it, sample 0 of seed 0 would be split by the very numbers that made the
# noise of an image simulated with ``default_rng(0)``.
SALT = 2010


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A sample of which a part of the light was held out.

    Parameters
    ----------
    sample : Sample
        What was kept, at the brightness of the whole: its tile is in counts of the input and its
        facts say how much noisier it is.
    held : Tensor, shape of the tile
        What was held out: photons, or counts where noise is normal. NaN where there are no data.
    scale, shift : float
        Light that falls on `held` for a count of the input: ``(count - shift) * scale``.
    noise : float or None
        Standard deviation of `held` where noise is normal; None for photons.
    number : int
        Of the sample: splits of the same one have the same number.
    """

    sample: Sample
    held: Tensor
    scale: float
    shift: float
    noise: float | None
    number: int = 0

    def deviance(self, predicted: Tensor) -> float:
        """Compare what a restored object predicts with what was held out, per pixel.

        Parameters
        ----------
        predicted : Tensor, shape of the tile
            The restored object blurred again, background included, in counts of the input.

        Returns
        -------
        float
            Around 1 when the scene is explained down to the noise; less is better.
        """
        light = (predicted - self.shift) * self.scale
        if self.noise is not None:
            parts = ((self.held - light) / self.noise).square_()
        else:
            light.clamp_(min=LEAST)
            parts = torch.xlogy(self.held, self.held / light).sub_(self.held).add_(light).mul_(2)
        return float(parts.nanmean(dtype=torch.float64))

    def error(self, predicted: Tensor) -> float:
        """Estimate the mean squared error of the restored object, apart from a constant.

        The difference to what was held out, divided by the blur in Fourier space (Eldar's
        generalisation of Stein's estimate, IEEE Trans. Signal Process. 57, 471 (2009),
        doi:10.1109/TSP.2008.2008212, with held-out light in the place of Stein's formula).

        Parameters
        ----------
        predicted : Tensor, shape of the tile
            As for `deviance`.

        Returns
        -------
        float
            In squared counts of the input; less is better.
        """
        window, weights = self.spectral
        difference = (self.held / self.scale + self.shift).sub_(predicted)
        difference.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0).mul_(window)
        lengths = tuple(difference.shape[-weights.ndim :])
        power = torch.view_as_real(forward(difference, lengths)).square_().sum(dim=-1)
        return float(power.mul_(weights).sum(dtype=torch.float64)) / difference.numel() ** 2

    @cached_property
    def spectral(self) -> tuple[Tensor, Tensor]:
        """The window that takes the tile's border away, and a weight for each frequency."""
        blur = self.sample.blur
        if blur is None:
            raise ValueError("light is held out to judge a kernel, and the sample has none")
        lengths = tuple(self.held.shape[-blur.ndim :])
        device = self.held.device
        window = torch.ones((), device=device)
        for n in lengths:
            # What lies beyond the border is part of the blur but not of the tile.
            line = torch.sin(torch.pi * (torch.arange(n, device=device) + 0.5) / n).sqrt_()
            window = window[..., None] * line
        wide = tuple(max(n, m) for n, m in zip(lengths, blur.shape, strict=True))
        gain = transfer_function(blur.basis[0], wide).abs().square_()
        if wide != lengths:  # a kernel larger than the tile: at the tile's own frequencies
            gain = _picked(gain, wide, lengths)
        # Frequencies between the first and the last stand for two.
        twice = torch.full((lengths[-1] // 2 + 1,), 2.0, device=device)
        twice[0] = 1
        if lengths[-1] % 2 == 0:
            twice[-1] = 1
        return window, gain.add_(PASSED).reciprocal_().mul_(twice)


def _picked(gain: Tensor, wide: tuple[int, ...], lengths: tuple[int, ...]) -> Tensor:
    """Take the nearest frequencies of a shorter grid out of a longer one's."""
    for axis, (m, n) in enumerate(zip(wide, lengths, strict=True)):
        last = axis == len(lengths) - 1
        make = torch.fft.rfftfreq if last else torch.fft.fftfreq
        index = (make(n, device=gain.device) * m).round().long()
        # The last one of half the spectrum may be rounded up to one that isn't there.
        gain = gain.index_select(axis, index.clamp(max=m // 2) if last else index % m)
    return gain


def hold_out(
    samples: Sequence[Sample], *, share: float = SHARE, seed: int = 0, times: int = 1
) -> list[HeldOut]:
    """Split each sample, `times` over; the same seed gives the same splits.

    Photons where the facts know the camera's gain, else normal noise of the facts' standard
    deviation, or of an estimated one.
    """
    made = []
    for number, sample in enumerate(samples):
        for time in range(times):
            random = np.random.default_rng((SALT, seed, number, time))
            gain = sample.facts.gain
            part = (
                _thinned(sample, gain, share, random)
                if gain is not None
                else _noised(sample, share, random)
            )
            made.append(replace(part, number=number))
    return made


def no_light(facts: Facts) -> float:
    """Give the count at which the variance of a pixel is 0, as a line through its mean says.

    The camera's offset less its read noise as photons: counts above it, divided by the gain, have
    the variance of photons (Snyder, Hammoud and White, J. Opt. Soc. Am. A 10, 1014 (1993),
    doi:10.1364/JOSAA.10.001014).
    """
    return (facts.offset or 0.0) - (facts.read_noise or 0.0) ** 2 / (facts.gain or 1.0)


def _thinned(sample: Sample, gain: float, share: float, random: np.random.Generator) -> HeldOut:
    shift = no_light(sample.facts)
    photons = ((sample.tile.cpu().numpy().astype(np.float64) - shift) / gain).clip(min=0)
    known = np.isfinite(photons)
    # Rounding at random keeps the mean of what is no whole number.
    whole = np.floor(np.where(known, photons, 0) + random.random(photons.shape)).astype(np.int64)
    kept = random.binomial(whole, share)
    image, held = kept * (gain / share) + shift, whole - kept
    facts = replace(sample.facts, gain=gain / share, noise=_more(sample.facts.noise, share))
    return HeldOut(
        replace(sample, tile=_like(image, known, sample.tile), facts=facts),
        _like(held, known, sample.tile),
        (1 - share) / gain,
        shift,
        None,
    )


def _noised(sample: Sample, share: float, random: np.random.Generator) -> HeldOut:
    sigma = sample.facts.noise
    if sigma is None:
        sigma = estimate_noise([sample.tile.cpu().numpy()])
    counts = sample.tile.cpu().numpy().astype(np.float64)
    known = np.isfinite(counts)
    tau = ((1 - share) / share) ** 0.5
    extra = sigma * random.standard_normal(counts.shape)
    facts = replace(sample.facts, noise=_more(sigma, share))
    spread = max(
        sigma * (1 + 1 / tau**2) ** 0.5, LEAST * float(np.abs(counts[known]).max(initial=1))
    )
    return HeldOut(
        replace(sample, tile=_like(counts + tau * extra, known, sample.tile), facts=facts),
        _like(counts - extra / tau, known, sample.tile),
        1.0,
        0.0,
        spread,
    )


def _more(noise: float | None, share: float) -> float | None:
    return None if noise is None else noise / share**0.5


def _like(array: np.ndarray, known: np.ndarray, tile: Tensor) -> Tensor:
    values = np.where(known, array, np.nan).astype(np.float32)
    return torch.from_numpy(values).to(tile.device)


@dataclass(frozen=True)
class Stop:
    """Where to stop: the number of iterations, and the estimated error there, of each part too."""

    iterations: int
    error: float
    errors: tuple[float, ...] = ()

    def clearly_better(self, other: Stop) -> bool:
        """Tell whether the error is less than another's by more than twice its standard error."""
        gained = np.array(other.errors) - np.array(self.errors)
        return bool(gained.mean() > 2 * gained.std(ddof=1) / gained.size**0.5)

    def with_all_light(self, power: float, share: float = SHARE) -> int:
        """Give the number of iterations for all of the light instead of what was kept.

        `power` says how the best number grows with the light: 1/2 for plain Richardson-Lucy (over
        scenes of 80, 300 and 3000 photons), half of that with momentum.
        """
        return max(1, round(float(self.iterations * share**-power)))


def best_stop(
    parts: Sequence[HeldOut],
    runs: Sequence[Iterator[Tensor | tuple[Tensor, Tensor]]],
    *,
    most: int,
    least: int = 1,
    patience: int = 8,
) -> Stop:
    """Run until the object's estimated error gets worse, all samples in step.

    Parameters
    ----------
    parts : of `hold_out`
    runs : for each part, what it predicts (as for `HeldOut.error`) after 1, 2, … iterations
        Or pairs of that and the object's tile: the spread between splits of a sample then stands
        for the error at frequencies of which the blur passes nothing.
    most, least : int
        Iterations at most, and at least.
    patience : int
        Iterations without a better prediction, at least; a quarter of those so far when more.
    """
    best = Stop(1, np.inf)
    sizes = np.array([int(part.held.isfinite().sum()) for part in parts], np.float64)
    for number in range(1, most + 1):
        try:
            found = [next(run) for run in runs]
        except StopIteration:
            break
        each = [
            part.error(one[0] if isinstance(one, tuple) else one)
            for part, one in zip(parts, found, strict=True)
        ]
        objects = [one[1] for one in found if isinstance(one, tuple)]
        if len(objects) == len(parts):
            each = [e + UNSEEN * s for e, s in zip(each, _spreads(parts, objects), strict=True)]
        error = float((sizes * each).sum() / sizes.sum())
        if number <= least or error < best.error:
            best = Stop(number, error, tuple(each))
        elif number - best.iterations >= max(patience, best.iterations // 4):
            break
    return best


def _spreads(parts: Sequence[HeldOut], objects: Sequence[Tensor]) -> list[float]:
    """Give for each part how much the objects of its sample's splits differ, where nothing passes.

    Weighted with what the weights of `HeldOut.error` leave.
    """
    spreads = []
    for number in [part.number for part in parts]:
        own = [i for i, part in enumerate(parts) if part.number == number]
        if len(own) < 2:
            spreads.append(0.0)
            continue
        if own[0] < len(spreads):  # another split of this sample had the same
            spreads.append(spreads[own[0]])
            continue
        window, weights = parts[own[0]].spectral
        mean = torch.stack([objects[i] for i in own]).mean(dim=0)
        total = 0.0
        for i in own:
            difference = (objects[i] - mean).nan_to_num_(nan=0.0).mul_(window)
            lengths = tuple(difference.shape[-weights.ndim :])
            power = torch.view_as_real(forward(difference, lengths)).square_().sum(dim=-1)
            total += float(power.mul_(weights).sum(dtype=torch.float64)) / mean.numel() ** 2
        spreads.append(PASSED * total / (len(own) - 1))
    return spreads
