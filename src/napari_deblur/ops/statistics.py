"""What samples of a channel say of its background, noise and brightness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Sample

__all__ = [
    "background_of",
    "estimate_background",
    "estimate_noise",
    "gradient_power",
    "lowest_of",
    "mean_above",
]

# A block of 8 × 8 pixels has an eighth of a pixel's noise and still fits between objects.
BLOCK = 8
FEW = 16
# The median absolute deviation of a normal distribution is 0.6745 of its standard deviation.
MAD = 0.6745
_ZERO = np.zeros(1, np.float32)


def _planes(arrays: Iterable[NDArray[np.float32]]) -> Iterable[NDArray[np.float32]]:
    for array in arrays:
        yield from array.reshape(-1, *array.shape[-2:])


def estimate_background(arrays: Sequence[NDArray[np.float32]]) -> float:
    """Estimate the counts where there is no light, from pieces of a channel (..., y, x).

    The planes are averaged in blocks of 8 × 8; from the darkest blocks on, the level is moved to
    the centre of the cluster of blocks that differ by no more than their noise. A low percentile
    of pixels would be too dark by the noise. Zeros that only pad an image (of a stack that was
    sheared, say) don't count.
    """
    means, scatters, zeros = [], [], []
    for plane in _planes(arrays):
        side = min(BLOCK, *plane.shape)
        rows, columns = (n // side for n in plane.shape)
        cut = plane[: rows * side, : columns * side].reshape(rows, side, columns, side)
        blocks = cut.transpose(0, 2, 1, 3).reshape(rows * columns, side * side)
        blocks = blocks[np.isfinite(blocks).all(axis=1)]
        if blocks.size == 0:
            continue
        # Neighbours differ by the noise alone where nothing is to be seen. Their mean difference:
        # a median of coarse counts is 0 or 1, and of few photons 0, where they differ at all.
        steps = np.abs(np.diff(blocks, axis=1)) if side > 1 else np.zeros_like(blocks)
        coarse = np.median(steps, axis=1) == 0
        even = steps.mean(axis=1) * np.sqrt(np.pi) / 2
        rare = np.sqrt(np.square(steps, dtype=np.float64).mean(axis=1) / 2)
        scatters.append(np.where(coarse, rare, even))
        means.append(blocks.mean(axis=1))
        zeros.append((blocks == 0).mean(axis=1))
    mean = np.concatenate(means) if means else np.zeros(0)
    scatter = np.concatenate(scatters) if scatters else np.zeros(0)
    if mean.size == 0:
        finite = np.concatenate([a[np.isfinite(a)].ravel() for a in arrays] or [_ZERO])
        return float(finite.min()) if finite.size else 0.0
    finite = np.concatenate([a[np.isfinite(a)].ravel() for a in arrays])
    share = np.concatenate(zeros) if zeros else np.zeros(0)
    empty = share > 0.5
    # Padding is all zeros; where a photon is seen now and then it is dark instead.
    if empty.any() and not empty.all() and np.median(share[empty]) == 1:
        rest, noise = mean[~empty], float(np.median(scatter[~empty])) / BLOCK
        if np.percentile(rest, 1) > 5 * max(noise, 1e-3 * float(np.median(rest))):
            clean = share <= 0.05
            if clean.any():
                mean, scatter, finite = mean[clean], scatter[clean], finite[finite != 0]
    level = float(np.percentile(mean, 2))
    for _ in range(10):
        near = np.abs(mean - level) <= max(3 * _noise_at(level, mean, scatter), 1e-6 * abs(level))
        if not near.any():
            break
        moved = float(np.median(mean[near]))
        if moved == level:
            break
        level = moved
    # A background has nothing below it but its noise. A photograph, or a field full of cells, has
    # none: then the darkest pixels are all that can be said.
    below = level - 4 * BLOCK * _noise_at(level, mean, scatter) - 1e-6 * abs(level)
    if float((finite < below).mean()) > 2e-3:
        return float(min(level, np.percentile(finite, 0.1)))
    # A few blocks of a tiny image may all lie on something bright.
    return float(min(level, np.median(finite))) if mean.size < FEW else level


def _noise_at(level: float, mean: NDArray[np.floating], scatter: NDArray[np.floating]) -> float:
    """Give the standard deviation of a block's mean near a level, from the closest blocks."""
    order = np.argsort(np.abs(mean - level))[: max(8, mean.size // 50)]
    return float(np.median(scatter[order])) / BLOCK


def estimate_noise(arrays: Sequence[NDArray[np.float32]]) -> float:
    """Estimate the standard deviation of the noise of a pixel, from pieces (..., y, x).

    The median absolute value of the finest diagonal Haar coefficients (Donoho and Johnstone,
    Biometrika 81, 425 (1994), doi:10.1093/biomet/81.3.425): optics leave nothing there but noise.
    """
    details = []
    for plane in _planes(arrays):
        if min(plane.shape) < 2:
            # One pixel wide: second differences along the line, of the same variance.
            line = plane.ravel()
            bends = (line[2:] - 2 * line[1:-1] + line[:-2]) / np.sqrt(6)
            details.append(bends[np.isfinite(bends)])
            continue
        even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        detail = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
        details.append(detail[np.isfinite(detail)].ravel())
    every = np.concatenate(details) if details else np.zeros(0)
    if every.size == 0:
        return 0.0
    median = float(np.median(np.abs(every)))
    # Counts of a few photons are so coarse that more than half of the details are 0.
    return median / MAD if median > 0 else float(every.std())


def gradient_power(array: NDArray[np.float32], axes: int) -> float:
    """Give the mean squared difference of neighbours, summed over the last `axes` axes."""
    total = 0.0
    for axis in range(-axes, 0):
        if array.shape[axis] > 1:
            steps = np.diff(array, axis=axis).astype(np.float64)
            total += float(np.nanmean(np.square(steps))) if np.isfinite(steps).any() else 0.0
    return total


def _arrays(samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
    return [sample.tile.detach().cpu().numpy() for sample in samples]


def background_of(samples: Sequence[Sample]) -> float:
    """Take the background from the samples' facts, or estimate it where it is not known."""
    known = samples[0].facts.background if samples else None
    return known if known is not None else estimate_background(_arrays(samples))


def lowest_of(samples: Sequence[Sample], background: float) -> float:
    """Give the counts that are no light at all: the background less four times its noise.

    A camera's offset has no photon noise. Left in a Poisson model it makes every iteration
    smaller: of a bead of 400 counts on 1000, thirty iterations found a quarter of the light.
    What noise is left above this level is light as far as the model is concerned, as read noise
    is in the shifted Poisson model (Snyder, Hammoud and White, J. Opt. Soc. Am. A 10, 1014
    (1993), doi:10.1364/JOSAA.10.001014).
    """
    arrays = _arrays(samples)
    values = np.concatenate([a[np.isfinite(a)].ravel() for a in arrays] or [_ZERO])
    known = samples[0].facts.noise if samples else None
    noise = known if known is not None else estimate_noise(arrays)
    low = background - 4 * noise
    if values.size and values.min() < 0:
        return float(min(np.percentile(values, 0.1), low))
    return min(max(low, 0.0), background)


def mean_above(samples: Sequence[Sample], background: float) -> float:
    """Give the mean of the samples above the background; where there is nothing, 1 count."""
    means = [float(np.nanmean(a)) for a in _arrays(samples) if np.isfinite(a).any()]
    above = float(np.mean(means)) - background if means else 0.0
    return above if above > 1e-6 * max(1.0, abs(background)) else 1.0
