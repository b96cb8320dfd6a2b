"""The finest detail that a plane holds: no wide kernel lets that much of it through.

The noise of photons is known from the counts, so the power of the image alone is known at each
frequency. Divided by what a kernel passes it must be the power of an object; and the power of
objects falls with the frequency or, for points, stays even but for chance. A kernel with which it
clearly rises is wrong, whatever the object is. It tells nothing about kernels that are too narrow,
nor where no detail is above the noise. Pixels without data, and the few that a broken camera makes
up, are no detail: they are filled from those around. On volumes it was tried and failed: they are
cut off where their light goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Facts, Sample

    Array = NDArray[np.float64]

__all__ = ["RISES", "SHARP", "Detail", "detail_of", "outliers"]

# Rings up to Nyquist's frequency; one needs so many independent frequencies.
RINGS, LEAST = 20, 12
# Standard errors by which detail must be above 0; what is passed of the power at least; and the
# loss of independence by the window, of each axis.
CLEARLY, PASSED, TAPER = 4.0, 5e-4, 1.5
# Beyond so many rings in a row without detail, detail must be as clear as that: of many rings with
# noise alone one is above 4 now and then (nuclei of 1000 photons were called sharp for one).
GAP, LONELY = 2, 6.0
# By what share of itself the noise may be known wrongly where it was estimated.
ROUGHLY = 0.15
# Frequencies (cycles a pixel) that are compared for the widest blur lie so far apart.
APART = 0.1
# Rings of few frequencies hold more or less light by chance: so many standard errors of points that
# lie anywhere are no rise, and what is above this is one. Over 120 planes (5 objects, 3 kernels, 2
# amounts of light, 4 seeds) the largest of a true kernel was -0.33, of 44 planes of points 0.24 (2
# were above). Without the errors the true kernels of 35 of these were doubted.
SPECKLE, RISES = 3.0, 0.05
# An image that allows no wider Gaussian blur than this σ in pixels, 1.9 in FWHM, is as sharp as its
# pixels. Objects drawn on a grid three times finer gave 0 to 0.9, photographs 0.3 to 0.65;
# blurred by σ of 0.8 px 0.85 and more, by 1 px 1.03 and more.
SHARP = 0.8
# A pixel that differs from those around by so many standard deviations of its noise, while all but
# one beside it differ by less than this share of that, is no image: blurred by σ of 0.8 px four of
# them have half of it, by 0.5 px a quarter. Where there are more of them than this share of all,
# they are what the image is of.
APART_BY, ALONE, BROKEN = 8.0, 0.3, 2e-3
# Pixels around that are compared with it; and rounds by which a filled hole is smoothed.
AROUND, ROUNDS = 2, 64
# However a hole is filled, its rim shows if it is large: more than this across. So far from such
# ones the image counts again, by and by.
LARGE, FADING = 5, 16


def detail_of(samples: Sequence[Sample]) -> Detail | None:
    """Give the detail of planes; None where their noise is not known well enough."""
    facts = samples[0].facts
    noise = facts.noise is not None and facts.origins.get("noise") != "estimated"
    if facts.gain is None and not noise:
        return None
    return Detail(samples)


class Detail:
    """The power of planes at each frequency, without its noise.

    Parameters
    ----------
    samples : of one channel; the middle plane of each
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        import torch

        sizes = zip(*(sample.tile.shape[-2:] for sample in samples), strict=True)
        ny, nx = (min(n) for n in sizes)
        self.shape = (ny, nx)
        radius = np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.fftfreq(nx)[None])
        rings = max(min(RINGS, min(self.shape) // 4), 1)
        # The last bin is of the corners, beyond Nyquist's frequency.
        self._bins = np.minimum((radius * 2 * rings).astype(np.intp), rings).ravel()
        self.places: Array = (np.arange(rings) + 0.5) / (2 * rings)
        window = torch.hann_window(ny, periodic=False)[:, None]
        window = window * torch.hann_window(nx, periodic=False)
        self._count = self._sums(torch.ones(self.shape))
        power, noise, seen = np.zeros(rings), 0.0, 0.0
        for sample in samples:
            tile, known = _without_faults(_middle(sample.tile, self.shape), sample.facts)
            if not bool(known.any()):
                continue
            fading = _fading(~known)
            weight = window if fading is None else window * fading
            ground = (tile - tile[known].mean()) * weight
            power += self._sums(torch.fft.fft2(ground).abs().square())
            variance = torch.where(known, _variance(tile, sample.facts), 0)
            noise += float((variance * weight.square()).sum())
            whole = float(window.square().sum())
            seen += 1.0 if fading is None else float(weight.square().sum()) / whole
        self.power: Array = power / self._count - noise
        self._free: Array = self._count * seen / 2 / TAPER**2
        free = self._free
        rough = ROUGHLY if samples[0].facts.origins.get("gain") == "estimated" else 0.0
        certain, lonely = (
            self.power - noise * (errors * free.clip(min=1) ** -0.5 + rough)
            for errors in (CLEARLY, LONELY)
        )
        dark = np.convolve(certain[1:] <= 0, np.ones(GAP))[GAP - 1 : len(certain) - 1] >= GAP
        after = 1 + int(dark.argmax()) if dark.any() else len(certain)
        certain = np.where(np.arange(rings) < after, certain, lonely)
        self._certain: Array = np.where(free >= LEAST, certain, 0.0)

    def rise(self, kernel: Tensor) -> float:
        """Give how far the power of the object rises if this kernel (y, x) is right.

        Returns
        -------
        float
            The logarithm of the largest ratio of a frequency's to a lower one's, less what chance
            makes of points; -inf where no detail is above the noise.
        """
        passed = np.log(np.maximum(self._passed(kernel), PASSED))
        chance = self._free.clip(min=1) ** -0.5
        falls = self._falls() + SPECKLE * np.hypot(chance[:, None], chance[None])
        return float((passed[:, None] - passed[None] - falls).max(initial=-np.inf))

    def widest(self) -> float:
        """Give the σ in pixels of the widest Gaussian blur that the detail allows; inf for any."""
        falls = self._falls().clip(min=0)
        between = self.places[None] ** 2 - self.places[:, None] ** 2
        fine = self.places[None] - self.places[:, None] >= APART
        squares = falls[fine] / (4 * np.pi**2 * between[fine])
        return float(np.sqrt(squares.min(initial=np.inf)))

    def _falls(self) -> Array:
        """Give by how much, at most, the logarithm of the power falls from one ring to a later one.

        inf where one is not known. The lowest frequencies are those of the window and the ground.
        """
        made = np.full((len(self.places),) * 2, np.inf)
        clear = np.flatnonzero(self._certain > 0)
        for i in clear[clear > 0]:
            for j in clear[clear > i]:
                made[i, j] = np.log(self.power[i] / self._certain[j])
        return made

    def _passed(self, kernel: Tensor) -> Array:
        import torch

        from napari_deblur import ops

        array = kernel.detach().cpu()
        fitting = tuple(min(n, m) for n, m in zip(array.shape, self.shape, strict=True))
        if fitting != tuple(array.shape):
            array = torch.from_numpy(ops.reshaped(array.numpy(), fitting))
        passed = torch.fft.fft2(array / array.sum(), s=self.shape).abs().square()
        return self._sums(passed) / self._count

    def _sums(self, values: Tensor) -> Array:
        flat = values.double().numpy().ravel()
        made = np.bincount(self._bins, weights=flat, minlength=len(self.places) + 1)
        return made[:-1].astype(np.float64)


def _middle(tile: Tensor, shape: tuple[int, int]) -> Tensor:
    made = tile.detach().cpu().float()
    while made.ndim > 2:
        made = made[made.shape[0] // 2]
    for axis, n in enumerate(shape):
        made = made.narrow(axis, (made.shape[axis] - n) // 2, n)
    return made


def _without_faults(tile: Tensor, facts: Facts) -> tuple[Tensor, Tensor]:
    """Fill holes and single outliers of a plane, and say which pixels are as they were.

    The pixels beside them count as holes, too: a saturated one spills.
    """
    import torch

    known = tile.isfinite()
    if not bool(known.all()):
        known = ~_grown(~known)
        tile = _filled(tile, known)
    odd = outliers(tile, facts)
    if len(odd[0]):
        faults = torch.zeros_like(known)
        faults[odd] = True
        known &= ~_grown(faults)
        tile = _filled(tile, known)
    return tile, known


def outliers(tile: Tensor, facts: Facts) -> tuple[Tensor, ...]:
    """Give the places (y, x) of a plane's single pixels that are no image; none if there are many.

    A plane may have holes; what lies beside them is not looked at.
    """
    import torch
    from torch.nn import functional

    padded = functional.pad(tile[None], (AROUND,) * 4, mode="replicate")[0]
    ny, nx = tile.shape
    a, b = AROUND, AROUND + 1
    beside = (
        padded[a - 1 : a - 1 + ny, a : a + nx]
        + padded[b : b + ny, a : a + nx]
        + padded[a : a + ny, a - 1 : a - 1 + nx]
        + padded[a : a + ny, b : b + nx]
    ) / 4
    # Below the offset, as it was estimated, there is noise as well.
    least = max(facts.gain or 0.0, facts.noise or 0.0) ** 2
    # Squares of huge counts are beyond float32.
    variance = _variance(torch.maximum(tile, beside).double(), facts).clamp(min=least)
    limit = APART_BY * variance.sqrt()
    # What is found must differ from the four by so much at least; as those do which have it beside.
    y, x = torch.nonzero((tile - beside).abs() > (1 - ALONE) * limit, as_tuple=True)
    if len(y) > 10 * BROKEN * tile.numel():
        return y[:0], x[:0]
    side = torch.arange(2 * AROUND + 1)
    squares = padded[y[:, None, None] + side[:, None], x[:, None, None] + side]
    level = squares.flatten(1).median(dim=1).values
    away = tile[y, x] - level
    # Of the eight around, the second that is most like it: two may be broken side by side.
    near = ((squares[:, 1:-1, 1:-1].flatten(1) - level[:, None]) * away[:, None].sign()).sort(dim=1)
    odd = (away.abs() > limit[y, x]) & (near.values[:, -3] < ALONE * away.abs())
    if int(odd.sum()) > BROKEN * tile.numel():
        odd = torch.zeros_like(odd)
    return y[odd], x[odd]


def _grown(holes: Tensor) -> Tensor:
    """Add the eight pixels around."""
    from torch.nn import functional

    return functional.max_pool2d(holes[None].float(), 3, stride=1, padding=1)[0] > 0


def _filled(tile: Tensor, known: Tensor) -> Tensor:
    """Fill what is not known from around, smoothly: without a step at any border."""
    import torch
    from torch.nn import functional

    from napari_deblur import ops

    if not bool(known.any()):
        return torch.zeros_like(tile)
    values = tile.masked_fill(~known, 0)
    made = ops.filled(values, known.to(tile.dtype), tuple(tile.shape), (0, 0))
    for _ in range(ROUNDS):
        wide = functional.pad(made[None], (1, 1, 1, 1), mode="replicate")[0]
        beside = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
        made = torch.where(known, tile, beside / 4)
    return made


def _fading(holes: Tensor) -> Tensor | None:
    """Give factors that fall to 0 on the way to large holes, smoothly; None if there are none."""
    import torch
    from torch.nn import functional

    core = -functional.max_pool2d(-holes[None].float(), LARGE, stride=1, padding=LARGE // 2)
    if not bool(core.any()):
        return None
    reach = LARGE // 2 + FADING // 2
    large = functional.max_pool2d(core, 2 * reach + 1, stride=1, padding=reach)[0]
    profile = torch.hann_window(FADING + 3, periodic=False)[1:-1]
    profile = profile / profile.sum()
    half = FADING // 2
    made = functional.pad(1 - large[None, None], (half,) * 4, mode="replicate")
    made = functional.conv2d(made, profile[None, None, None])
    return functional.conv2d(made, profile[None, None, :, None])[0, 0].clamp(min=0)


def _variance(tile: Tensor, facts: Facts) -> Tensor:
    """Give the variance of the noise of each pixel."""
    import torch

    from napari_deblur.ops.held_out import no_light

    if facts.gain is not None:
        return (tile - no_light(facts)).clamp(min=0) * facts.gain
    return torch.full_like(tile, (facts.noise or 0.0) ** 2)
