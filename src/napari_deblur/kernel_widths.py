"""Widths of kernels, to parts of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Kernel

    Array = NDArray[np.floating[Any]]

__all__ = ["full_widths", "line_width", "profile"]

# Below this share of the peak a logarithm says more of noise than of the kernel's shape.
FAINT = 0.02
# What is this near to the peak, as a share of it, and hangs together with it is one plateau.
FLAT = 1e-3


def full_widths(
    kernel: Kernel, *, t: int = 0, c: int = 0
) -> tuple[float | None, float | None, float | None]:
    """Give the full widths (z, y, x) at half the peak, in µm or, without voxel size, in pixels.

    Within 2 % of a least-squares fit of the right curve, for Gaussians from a standard deviation of
    0.8 pixels on and for pupils that are sampled as finely as they need.
    """
    one, size = kernel.at(t, c).astype(np.float64), kernel.pixel_size or (1.0, 1.0, 1.0)
    z, y, x = (
        None if one.shape[a] == 1 else line_width(profile(one, a)) * size[a]
        for a in range(len(size))
    )
    return z, y, x


def profile(one: NDArray[np.floating], axis: int) -> Array:
    """Give the line along `axis` through the peak of an array (z, y, x), found between voxels."""
    line = np.asarray(one, np.float64)
    top = _top(line)
    through = line
    for a in (2, 1, 0):
        if a == axis:
            continue
        across = line[tuple(slice(None) if b == a else i for b, i in enumerate(top))]
        weights = np.sinc(np.arange(across.size) - top[a] - _vertex(across, top[a])[0])
        through = np.tensordot(through, weights, (a, 0))
    return np.maximum(through, 0)


def _top(values: Array) -> tuple[int, ...]:
    """Give the place of the peak; of a flat top, such as a disc's, the voxel in its middle."""
    from scipy.ndimage import label

    first = np.unravel_index(int(values.argmax()), values.shape)
    pieces, _ = label(values >= (1 - FLAT) * values[first])
    plateau = np.argwhere(pieces == pieces[first])
    nearest = ((plateau - plateau.mean(axis=0)) ** 2).sum(axis=1).argmin()
    return tuple(int(i) for i in plateau[nearest])


def _vertex(line: Array, at: int) -> tuple[float, float]:
    """Give the place of a peak relative to sample `at` and its height: a parabola of logarithms."""
    if not 0 < at < line.size - 1 or min(line[at - 1 : at + 2]) <= FAINT / 10 * line[at]:
        return 0.0, float(line[at])
    before, here, after = np.log(line[at - 1 : at + 2])
    bend = before - 2 * here + after
    if bend >= -1e-9:
        return 0.0, float(line[at])
    shift = float(np.clip((before - after) / (2 * bend), -0.5, 0.5))
    return shift, float(np.exp(here - (before - after) * shift / 4))


def line_width(line: NDArray[np.floating]) -> float:
    """Give the full width of a line at half of its peak, in samples; infinite if it has none.

    The mean of two ways: waves between the samples, exact for a pupil that is sampled finely
    enough, and a polynomial of logarithms, exact for a Gaussian. Each alone is up to 3 % off on the
    other's ground, with a standard deviation of 0.8 pixels and the peak between two of them.
    """
    line = np.asarray(line, np.float64)
    (at,) = _top(line)
    height = _vertex(line, at)[1]
    if height <= 0:
        return float("inf")
    sides = [_by_logarithms(line[::step], at if step > 0 else line.size - 1 - at, height / 2)
             for step in (1, -1)]  # fmt: skip
    if None in sides:  # hard edges, or single voxels: waves would ring
        sides = [_by_lines(line[::step], at if step > 0 else line.size - 1 - at, height / 2)
                 for step in (1, -1)]  # fmt: skip
        return sum(s for s in sides if s is not None)
    return (sum(s for s in sides if s is not None) + _by_waves(line, at)) / 2


def _by_lines(line: Array, at: int, half: float) -> float:
    """Give the distance from sample `at` at which straight lines between samples reach `half`."""
    below = np.flatnonzero(line[at:] < half)
    if not below.size:
        return float("inf")
    j = at + int(below[0])
    return float(j - 1 - at + (line[j - 1] - half) / (line[j - 1] - line[j]))


def _by_logarithms(line: Array, at: int, half: float) -> float | None:
    """Give that distance by a cubic of logarithms; None where what is too faint stands beside."""
    from scipy.optimize import brentq

    below = np.flatnonzero(line[at:] < half)
    if not below.size:
        return float("inf")
    j = at + int(below[0])
    near = np.arange(max(j - 3, 0), min(j + 2, line.size))
    near = near[line[near] > np.where(near == j, 0.1, 1.0) * FAINT * 2 * half][-4:]
    if j not in near or near.size < 3:
        return None
    curve = np.polynomial.Polynomial.fit(near, np.log(line[near] / half), near.size - 1)
    return float(brentq(curve, j - 1.0, float(j))) - at


def _by_waves(line: Array, at: int) -> float:
    """Give the full width of the band-limited curve through the samples."""
    from scipy.optimize import brentq, minimize_scalar

    samples = np.arange(line.size)

    def curve(x: float) -> float:
        return float(np.sinc(x - samples) @ line)

    place = float(minimize_scalar(lambda x: -curve(x), bounds=(at - 1, at + 1)).x)
    half = max(curve(place), float(line[at])) / 2
    width = 0.0
    for step in (1, -1):
        x = place
        while curve(x) >= half:
            x += 0.25 * step
            if not -1 < x < line.size:
                return float("inf")
        width += abs(float(brentq(lambda v: curve(v) - half, x - 0.25 * step, x)) - place)
    return width
