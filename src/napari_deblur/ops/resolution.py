"""Fourier ring and shell correlation: down to which detail two images of a scene agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_deblur.ops.transforms import forward

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["THRESHOLD", "Rings", "ring_correlation"]

# Where two halves agree by 1/7, an image of all their light agrees with the truth by a half.
THRESHOLD = 1 / 7
# Rings that a curve is averaged over: weights 1, 2, 1, and the number of frequencies in each.
KERNEL = (1.0, 2.0, 1.0)
# Standard errors that agreement before the cut-off must be away from nothing: with 3, 2 % of 400
# pairs of noise had a resolution.
CLEARLY = 4.0


@dataclass(frozen=True, eq=False)
class Rings:
    """How well two images agree, by frequency.

    Parameters
    ----------
    frequency : array (n,), float64
        Of each ring's middle, in cycles per unit of the spacing; from the first ring after 0.
    correlation : array (n,), float64
        1 where they agree, 0 where they have nothing in common.
    counts : array (n,), float64
        Frequencies in each ring, fewer where a window makes neighbours alike.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def smooth(self) -> NDArray[np.float64]:
        """The correlation averaged over neighbouring rings."""
        if self.counts.size < 3:
            return self.correlation

        def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
            wide = np.convolve(values, KERNEL)
            return wide[1:-1]

        smooth: NDArray[np.float64] = spread(self.correlation * self.counts) / spread(self.counts)
        return smooth

    @property
    def whole(self) -> NDArray[np.float64]:
        """The smooth curve as it would be with all of the light instead of half: 2c / (1 + c)."""
        half = np.maximum(self.smooth, 0)
        whole: NDArray[np.float64] = 2 * half / (1 + half)
        return whole

    @property
    def cutoff(self) -> float | None:
        """The frequency at which the smooth curve falls below 1/7; None if nothing rises above it.

        The last frequency when it never falls below.
        """
        smooth = self.smooth
        below = np.flatnonzero(smooth < THRESHOLD)
        end = int(below[0]) if below.size else smooth.size
        # A few rings of few frequencies agree by chance.
        sure = (self.correlation * self.counts)[:end].sum()
        if end == 0 or sure < CLEARLY * self.counts[:end].sum() ** 0.5:
            return None
        if end == smooth.size:
            return float(self.frequency[-1])
        high, low = smooth[end - 1], smooth[end]
        share = (high - THRESHOLD) / (high - low)
        step = self.frequency[end] - self.frequency[end - 1]
        return float(self.frequency[end - 1] + share * step)

    @property
    def resolution(self) -> float | None:
        """The finest detail on which the images agree: 1 / cut-off, in units of the spacing."""
        return None if self.cutoff is None else 1 / self.cutoff

    @property
    def at_the_end(self) -> bool:
        """Whether the images still agree at the finest detail that pixels can hold."""
        cutoff = self.cutoff
        return cutoff is not None and cutoff == float(self.frequency[-1])


def ring_correlation(one: Tensor, other: Tensor, spacing: tuple[float, ...]) -> Rings:
    """Correlate two images of one scene, whose noise is independent, ring by ring.

    Rings are of equal physical frequency, so voxels may be longer along an axis. Their width is
    one frequency of the shorter side of a plane; the last ring is at the Nyquist frequency of the
    coarser axis of a plane. A Hann window takes the borders away; it spreads the curve by a ring,
    and so does the average over neighbours: a sharp edge of the spectrum is found 1 to 3 rings too
    high.

    Parameters
    ----------
    one, other : Tensor, shape (..., [z,] y, x)
        Axes in front of the last ``len(spacing)`` are a batch that is summed. NaN is no data.
    spacing : ([z,] y, x)
        Size of a pixel along the correlated axes.

    Returns
    -------
    Rings

    Raises
    ------
    ValueError
        When the shapes differ, there are fewer than 8 pixels along y or x, or a plane's sides or
        pixels are so unlike that fewer than 3 rings are left.

    References
    ----------
    Nieuwenhuizen and others, Nat. Methods 10, 557 (2013), doi:10.1038/nmeth.2448. Threshold:
    Rosenthal and Henderson, J. Mol. Biol. 333, 721 (2003), doi:10.1016/j.jmb.2003.07.013.
    """
    ndim = len(spacing)
    if one.shape != other.shape or one.ndim < ndim:
        raise ValueError(
            f"images to be correlated have shapes {tuple(one.shape)} and {tuple(other.shape)}, "
            f"and the spacing {ndim} axes: give images of the same shape"
        )
    lengths = tuple(one.shape[-ndim:])
    if min(lengths[-2:]) < 8:
        raise ValueError(f"the image has {lengths} pixels: correlation needs 8 along y and x")
    known = one.isfinite() & other.isfinite()
    window = torch.ones(())
    for n in lengths:
        line = (
            torch.sin(torch.pi * (torch.arange(n) + 0.5) / n).square() if n > 2 else torch.ones(n)
        )
        window = window[..., None] * line
    spectra = []
    for image in (one, other):
        mean = image[known].mean() if bool(known.any()) else 0.0
        flat = torch.where(known, image - mean, 0.0).mul_(window.to(image.device))
        spectra.append(forward(flat, lengths).cpu().to(torch.complex128))
    first, second = spectra
    index, frequencies, twice = _rings(lengths, spacing)
    if frequencies.size < 3:
        raise ValueError(
            f"{lengths} pixels of {spacing} leave {frequencies.size} rings to correlate, and 3 are "
            "needed: take a larger region"
        )
    batch = (first.numel() // index.numel(), index.numel())

    def summed(values: Tensor) -> NDArray[np.float64]:
        flat = (values.reshape(batch).sum(dim=0) * twice.flatten()).numpy()
        sums = np.bincount(index.flatten().numpy(), flat, minlength=frequencies.size + 2)
        return sums[1 : frequencies.size + 1].astype(np.float64)

    both = summed((first * second.conj()).real)
    power = summed(first.abs().square()) * summed(second.abs().square())
    counts = summed(torch.ones(batch, dtype=torch.float64))
    # The Hann window makes neighbours alike: 1.5 along each axis count as one.
    counts /= 1.5 ** sum(n > 2 for n in lengths)
    correlation = np.divide(both, np.sqrt(power), out=np.zeros_like(both), where=power > 0)
    kept = counts > 0
    return Rings(frequencies[kept], correlation[kept], counts[kept])


def _rings(
    lengths: tuple[int, ...], spacing: tuple[float, ...]
) -> tuple[Tensor, NDArray[np.float64], Tensor]:
    """Give each frequency's ring (0 is the mean), the rings' frequencies, and how often it counts.

    Frequencies of a half spectrum between the first and the last column stand for two.
    """
    ndim = len(lengths)
    squared = torch.zeros((), dtype=torch.float64)
    for axis, (n, size) in enumerate(zip(lengths, spacing, strict=True)):
        make = torch.fft.rfftfreq if axis == ndim - 1 else torch.fft.fftfreq
        f = make(n, float(size), dtype=torch.float64)
        squared = squared[..., None] + f.square()
    step = 1 / min(n * s for n, s in zip(lengths[-2:], spacing[-2:], strict=True))
    end = 0.5 / max(spacing[-2:])
    count = int(np.floor(end / step + 1e-9))
    index = (squared.sqrt() / step).round().long().clamp_(max=count + 1)
    twice = torch.full(index.shape, 2.0, dtype=torch.float64)
    twice[..., 0] = 1
    if lengths[-1] % 2 == 0:
        twice[..., -1] = 1
    return index, step * np.arange(1, count + 1, dtype=np.float64), twice
