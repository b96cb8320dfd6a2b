"""The finest detail that a plane holds: no wide kernel lets that much of it through.

The noise of photons is known from the counts, so the power of the image alone is known at each
frequency. Divided by what a kernel passes it must be the power of an object; and the power of
objects falls with the frequency or, for points, stays even. A kernel with which it rises is wrong,
whatever the object is. It tells nothing about kernels that are too narrow, nor where no detail is
above the noise. On volumes it was tried and failed: they are cut off where their light goes on.
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

__all__ = ["RISES", "SHARP", "Detail", "detail_of"]

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
# A rise above this is one. Over 120 planes (5 objects, 3 kernels, 2 amounts of light, 4 seeds) the
# largest of a true kernel was 0.10; it refuted 64 % of those 1.5 times too wide, 73 % of those of
# another family and 62 % of those of another defocus.
RISES = 0.15
# An image that allows no wider Gaussian blur than this σ in pixels, 1.9 in FWHM, is as sharp as its
# pixels. Objects drawn on a grid three times finer gave 0 to 0.9, photographs 0.3 to 0.65;
# blurred by σ of 0.8 px 0.85 and more, by 1 px 1.03 and more.
SHARP = 0.8


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
        power, noise = np.zeros(rings), 0.0
        for sample in samples:
            tile = _middle(sample.tile, self.shape)
            known = tile.isfinite()
            if not bool(known.any()):
                continue
            ground = torch.where(known, tile - tile[known].mean(), 0) * window
            power += self._sums(torch.fft.fft2(ground).abs().square())
            variance = torch.where(known, _variance(tile, sample.facts), 0)
            noise += float((variance * window.square()).sum())
        self.power: Array = power / self._count - noise
        free = self._count * len(samples) / 2 / TAPER**2
        rough = ROUGHLY if samples[0].facts.origins.get("gain") == "estimated" else 0.0
        certain, lonely = (
            self.power - noise * (errors * free**-0.5 + rough) for errors in (CLEARLY, LONELY)
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
            The logarithm of the largest ratio of a frequency's to a lower one's; -inf where no
            detail is above the noise.
        """
        passed = np.log(np.maximum(self._passed(kernel), PASSED))
        falls = self._falls()
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


def _variance(tile: Tensor, facts: Facts) -> Tensor:
    """Give the variance of the noise of each pixel."""
    import torch

    from napari_deblur.ops.held_out import no_light

    if facts.gain is not None:
        return (tile - no_light(facts)).clamp(min=0) * facts.gain
    return torch.full_like(tile, (facts.noise or 0.0) ** 2)
