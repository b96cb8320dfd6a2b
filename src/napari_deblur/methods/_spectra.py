"""How much a direct filter smooths: what samples show of the noise and of the object.

How much is decided by the expected error of the restored object. Its spectrum is measured in
shells of frequency where it stands out from the noise, and falls on as a power where it doesn't.
Held-out light was tried instead; it judges the blurred prediction, which knows nothing of the
frequencies that a disc or motion blur blocks, and lost up to 3 dB there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.methods._filters import LEAST, Operator, penalty

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Sample

    Values = NDArray[np.float64]

__all__ = ["Spectra", "spectra_of"]

# The largest weight.
MOST = 10.0
# Where nothing stands out from the noise: hardly sharper than it was.
NOTHING = 0.3
# Cameras have at least this share of their peak as noise. Filtered as if there was less, images
# without noise ring far from holes and borders, where the continuation is wrong by more.
ROUNDING = 1e-4
# Integers differ from what was rounded to them by so much.
INTEGER = 12**-0.5
# The noise is seen where the blur lets less than this share pass, if that concerns enough of the
# frequencies; else an object's fine structure would be taken for noise.
BLOCKED, ENOUGH = 1e-3, 0.05
# Squared frequencies below this (a quarter of a pixel's highest is 4) are the window's.
LOWEST = 0.01
# Shells of frequency, those at the end that say how the spectrum falls on, and how well known
# the spectrum of a shell must be.
SHELLS, TAIL, KNOWN = 24, 6, 0.25
# Frequencies looked at: enough for every shell, and quick for volumes.
FIT, LOOK = 20_000, 120_000


@dataclass(frozen=True, eq=False)
class Spectra:
    """What samples show of the noise and of the object, frequency by frequency.

    Parameters
    ----------
    seen : power of the samples, counts²; flat where there is nothing but noise
    gain : power that the blur lets pass
    rough : squared frequency in radians per finest pixel (as differences see it)
    lengths, spacing : of the grid
    place : indices of the frequencies used, in the flattened half grid
    noise : standard deviation of the noise in counts
    """

    seen: Values
    gain: Values
    rough: Values
    lengths: tuple[int, ...]
    spacing: tuple[float, ...]
    place: NDArray[np.int64]
    noise: float
    rounding: float

    def best_weight(self, operator: Operator) -> float:
        """Give the weight of an operator with the least expected error of the object."""
        wanted = self._object()
        if wanted is None:
            return NOTHING
        smooth = penalty(self.lengths, operator, self.spacing).ravel()[self.place]
        powers = np.arange(np.log10(LEAST), np.log10(MOST) + 0.01, 0.125)
        errors = [self._error(10.0**power, smooth, wanted) for power in powers]
        return float(10.0 ** _lowest(powers, np.array(errors)))

    def _error(self, weight: float, smooth: Values, wanted: Values) -> float:
        divisor = self.gain + weight * smooth + 1e-30
        lost = (weight * smooth / divisor) ** 2 * wanted
        return float((lost + self.gain / divisor**2 * max(self.noise, self.rounding) ** 2).mean())

    def _object(self) -> Values | None:
        """Estimate the object's power: weighted means in shells, then a falling power.

        None where nothing stands out from the noise.
        """
        noise = max(self.noise, self.rounding) ** 2
        if self.place.size < SHELLS or float(self.seen.max()) <= 0:
            return None
        edges = np.linspace(log(self.rough.min()), log(self.rough.max()) + 1e-9, SHELLS + 1)
        shell = np.clip(np.digitize(np.log(self.rough), edges) - 1, 0, SHELLS - 1)
        middle = (edges[1:] + edges[:-1]) / 2
        many: Any = np.bincount(shell, minlength=SHELLS)
        # A shell of few frequencies is unsure without any noise.
        enough = np.maximum(KNOWN, 2 / np.sqrt(np.maximum(many, 1)))
        gain = np.maximum(self.gain, 1e-12)
        found: Any = np.bincount(shell, self.seen, SHELLS) / np.maximum(many, 1)
        total: Any = np.zeros(SHELLS)
        for _ in range(20):
            weight = (gain / (gain * np.maximum(found, 0)[shell] + noise)) ** 2
            total = np.bincount(shell, weight, SHELLS) + 1e-300
            above = np.bincount(shell, weight * (self.seen - noise) / gain, SHELLS)
            found = np.asarray(above / total, np.float64)
        positive = np.maximum(found, 1e-100)
        unsure = np.where(found > 1e-100, total**-0.5 / positive, np.inf)
        # Behind the first shell that is lost, one in hundreds stands out by chance.
        lost = np.logical_or.accumulate((unsure > enough) & (many > 0))
        known = np.flatnonzero(unsure < np.where(lost, KNOWN / 4, enough))
        if known.size < 3:
            return None
        power = np.exp(np.interp(middle, middle[known], np.log(found[known])))
        tail, last = known[-TAIL:], known[-1]
        trust = 1 / np.maximum(unsure[tail], 0.02)
        slope = np.polyfit(middle[tail], np.log(found[tail]), 1, w=trust)[0]
        # Objects' spectra fall; a rise would be noise.
        power[last:] = found[last] * np.exp(min(slope, -0.5) * (middle[last:] - middle[last]))
        result: Values = power[shell]
        return result


def spectra_of(
    samples: Sequence[Sample], spacing: tuple[float, ...], *, noise: float | None = None
) -> Spectra:
    """Measure samples that have a known blur, the same everywhere.

    Parameters
    ----------
    noise : float or None
        In counts where it is given. Else as the fall of the spectrum says (Whittle's
        likelihood of a power law behind the blur, and white noise) where the blur blocks enough;
        else of the facts.
    """
    from napari_deblur import ops

    blur = samples[0].blur
    assert blur is not None
    axes = blur.ndim
    many = samples if axes < 3 else samples[:2]
    size = tuple(samples[0].tile.shape[-axes:])
    lengths = tuple(max(n, k) for n, k in zip(size, blur.shape, strict=True))
    many = [sample for sample in many if tuple(sample.tile.shape[-axes:]) == size]
    seen = np.mean([_periodogram(sample.tile, size, lengths) for sample in many], axis=0).ravel()
    gain = ops.transfer_function(blur.basis[0].float(), lengths).abs().double().square()
    gains = gain.cpu().numpy().ravel()
    rough = penalty(lengths, "gradient", spacing).ravel()
    place = np.flatnonzero(rough > LOWEST)
    if place.size < SHELLS:
        place = np.flatnonzero(rough > 0)
    place = place[:: max(1, place.size // LOOK)]
    peak = max(float(sample.tile.nan_to_num(0, 0, 0).abs().max()) for sample in many)
    rounding = ROUNDING * peak
    if place.size == 0:
        given = noise if noise is not None else (samples[0].facts.noise or 0.0)
        return Spectra(seen, gains, rough + 1, lengths, spacing, place, given, 0.0)
    picked = seen[place], gains[place], rough[place]
    if noise is None:
        noise = _noise(many, *picked)
        if all(_whole(sample.tile) for sample in many):
            noise = max(noise, INTEGER)
    return Spectra(*picked, lengths, spacing, place, float(noise), rounding)


def _periodogram(tile: Tensor, size: tuple[int, ...], lengths: tuple[int, ...]) -> Values:
    """Give the mean power of a tile's items under a window, per pixel."""
    import torch

    from napari_deblur import ops

    dims = tuple(range(-len(size), 0))
    values, mask = ops.split(tile.double())
    if mask is not None:
        values = ops.filled(values, mask, size, (0,) * len(size))
    window = torch.ones((), dtype=values.dtype, device=values.device)
    for n in size:
        line = torch.hann_window(n + 2, periodic=False, dtype=values.dtype, device=values.device)
        window = window[..., None] * line[1:-1]
    values = values - (values * window).sum(dims, keepdim=True) / window.sum()
    values = values * window / window.square().sum().sqrt()
    power = torch.fft.rfftn(values, s=lengths, dim=dims).abs().square()
    items = power.reshape(-1, *power.shape[-len(size) :])
    mean: Values = items.mean(dim=0).cpu().numpy()
    return mean


def _whole(tile: Tensor) -> bool:
    known = tile[tile.isfinite()]
    return bool((known == known.round()).all()) and bool((known != known[:1]).any())


def _noise(samples: Sequence[Sample], seen: Values, gain: Values, rough: Values) -> float:
    from napari_deblur.ops.statistics import estimate_noise

    facts = samples[0].facts
    blocked = gain < BLOCKED
    given = facts.origins.get("noise") == "given"
    if given or float(blocked.mean()) < ENOUGH:
        if facts.noise is not None:
            return facts.noise
        return estimate_noise([sample.tile.cpu().numpy() for sample in samples])
    # What little of the object is left in the blocked frequencies only adds to the noise, least
    # where the blur lets the least pass.
    most = float(np.median(seen[blocked])) / log(2)
    darkest = gain <= np.quantile(gain, ENOUGH / 2)
    least = min(float(np.median(seen[darkest])) / log(2) / 1.5, most)
    fitted = _whittle(seen, gain, rough, most)
    return float(np.clip(fitted, least, 1.2 * most) ** 0.5)


def _whittle(seen: Values, gain: Values, rough: Values, floor: float) -> float:
    """Fit gain × height ÷ rough^slope + noise² to a spectrum and give the noise²."""
    from scipy.optimize import minimize

    step = max(1, seen.size // FIT)
    seen, gain, rough = (values[::step] for values in (seen, gain, rough))
    scale = float(seen.mean())
    if scale <= 0 or floor <= 0:
        return 0.0
    passed = gain > 0.1
    if not passed.any():
        return floor
    height = float((np.maximum(seen - floor, 0) * rough / np.maximum(gain, 1e-3))[passed].mean())
    lines = np.log(rough)

    def unlikely(values: Values) -> float:
        model = gain * np.exp(np.clip(values[0] - values[2] * lines, -200, 200))
        model = model + np.exp(np.clip(values[1], -200, 200)) + 1e-30 * scale
        return float((np.log(model) + seen / model).mean())

    start = np.array([log(max(height, 1e-3 * floor)), log(floor), 1.0])
    moves = np.vstack([start, start + np.diag([0.7, 0.3, 0.3])])
    found = minimize(
        unlikely,
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-2, "fatol": 1e-7, "maxiter": 300, "initial_simplex": moves},
    )
    return float(np.exp(found.x[1]))


def _lowest(places: Values, values: Values) -> float:
    """Give the place of the least value, between three places by a parabola."""
    best = int(values.argmin())
    if best in (0, values.size - 1):
        return float(places[best])
    before, here, after = np.log(values[best - 1 : best + 2])
    bend = before - 2 * here + after
    shift = 0.0 if bend <= 0 else 0.5 * (before - after) / bend
    return float(places[best] + shift * (places[1] - places[0]))
