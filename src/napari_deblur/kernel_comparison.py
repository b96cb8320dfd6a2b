"""Two kernels compared, as they lie or at the best shift."""

from __future__ import annotations

from itertools import pairwise
from math import log10, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.floating[Any]]

__all__ = ["aligned_ncc", "array_of", "best_shift", "ncc", "signal_to_noise"]

# Iterations of Newton's method; five suffice from the nearest voxel.
STEPS = 30


def signal_to_noise(true: Kernel | ArrayLike, estimate: Kernel | ArrayLike) -> float:
    """Give 10 log10 of the power of `true` over that of the difference, in dB; the centres fixed.

    Both are brought to one shape around ``n // 2``; equal kernels give infinity.
    """
    first, second = _together(true, estimate)
    wrong = float(((first - second) ** 2).sum())
    return float("inf") if wrong == 0 else 10 * log10(float((first**2).sum()) / wrong)


def ncc(first: Kernel | ArrayLike, second: Kernel | ArrayLike) -> float:
    """Give the correlation of two kernels as they lie, 0 to 1; no mean is taken off."""
    one, other = _together(first, second)
    return float((one * other).sum() / sqrt((one**2).sum() * (other**2).sum()))


def aligned_ncc(
    first: Kernel | ArrayLike, second: Kernel | ArrayLike
) -> tuple[float, tuple[float, float, float]]:
    """Give the correlation of two kernels at the best shift, and that shift.

    Parameters
    ----------
    first, second : kernels, of any two shapes and one voxel size

    Returns
    -------
    correlation : float
    shift : (z, y, x) in pixels
        By which `second` is moved onto `first`.
    """
    one, other = _together(first, second)
    shift, correlation = best_shift(one, other)
    z, y, x = shift
    return correlation, (z, y, x)


def best_shift(first: Array, second: Array) -> tuple[tuple[float, ...], float]:
    """Find by how many pixels, and parts of one, `second` is to be moved onto `first`.

    The largest value of the cross correlation: first of those at whole pixels, then Newton's
    method on the trigonometric polynomial through them. What leaves the array comes back as zeros.

    Returns
    -------
    shift : one number for each axis
    correlation : float
        At that shift, over the two norms.
    """
    from scipy.fft import fftn, ifftn, next_fast_len

    lengths = [1 if n == 1 else next_fast_len(2 * n) for n in first.shape]
    spectrum = fftn(first, lengths) * np.conj(fftn(second, lengths))
    norm = sqrt(float((first**2).sum()) * float((second**2).sum()))
    whole = np.real(ifftn(spectrum))
    place = np.unravel_index(int(whole.argmax()), whole.shape)
    shift = np.array([i - n if i > n // 2 else i for i, n in zip(place, lengths, strict=True)])
    axes = [a for a, n in enumerate(lengths) if n > 1]
    turns: list[Array] = [2 * np.pi * np.fft.fftfreq(n) for n in lengths]
    at = shift.astype(float)
    best = float(whole.max())
    for _ in range(STEPS):
        value, slope, bend = _correlation(spectrum, turns, at, axes)
        best = value
        try:
            step = -np.linalg.solve(bend, slope)
        except np.linalg.LinAlgError:
            break
        # Where the surface is not a hill Newton's step leads away: then the pixel has to do.
        if np.linalg.eigvalsh(bend).max() >= 0 or np.abs(at[axes] + step - shift[axes]).max() > 1.5:
            break
        at[axes] += step
        if np.abs(step).max() < 1e-5:
            break
    return tuple(float(v) for v in at), float(min(best / max(norm, 1e-300), 1.0))


def _correlation(
    spectrum: NDArray[np.complex128], turns: list[Array], at: Array, axes: list[int]
) -> tuple[float, Array, Array]:
    """Give the cross correlation at a shift between pixels, its slope and its curvature."""
    # For each axis the wave and its first two derivatives; one product with all of them each.
    block: Any = spectrum
    for turn, by in zip(turns[::-1], at[::-1], strict=True):
        wave = np.exp(1j * turn * by)
        columns = np.stack([wave * (1j * turn) ** order for order in range(3)], axis=1)
        block = np.tensordot(block, columns, (spectrum.ndim - 1, 0))
        block = np.moveaxis(block, -1, 0)  # so that the next axis is the last again
    derivatives = np.real(block) / spectrum.size
    ndim = spectrum.ndim

    def at_order(*which: int) -> float:
        return float(derivatives[tuple(which.count(a) for a in range(ndim))])

    slope = np.array([at_order(a) for a in axes])
    bend = np.array([[at_order(a, b) for b in axes] for a in axes])
    return at_order(), slope, bend


def _together(first: Kernel | ArrayLike, second: Kernel | ArrayLike) -> tuple[Array, Array]:
    """Bring two kernels to one shape around ``n // 2``, each divided by its sum."""
    sizes = [k.pixel_size for k in (first, second) if isinstance(k, Kernel) and k.pixel_size]
    for one, other in pairwise(sizes):
        if any(abs(a / b - 1) > 0.01 for a, b in zip(one, other, strict=True)):
            raise ValueError(
                f"the kernels have voxels of {one} and {other} µm: resample one of them first"
            )
    arrays = [array_of(first), array_of(second)]
    shape = tuple(max(pair) for pair in zip(*(a.shape for a in arrays), strict=True))
    made = []
    for array in arrays:
        whole = np.zeros(shape)
        where = tuple(
            slice(n // 2 - m // 2, n // 2 - m // 2 + m)
            for n, m in zip(shape, array.shape, strict=True)
        )
        whole[where] = array / array.sum()
        made.append(whole)
    return made[0], made[1]


def array_of(kernel: Kernel | ArrayLike) -> Array:
    """Give the first kernel as an array (z, y, x)."""
    array = kernel.at() if isinstance(kernel, Kernel) else np.asarray(kernel)
    if array.ndim not in (2, 3):
        raise ValueError(f"a kernel has axes (y, x) or (z, y, x), got shape {array.shape}")
    found: Array = array.reshape((1,) * (3 - array.ndim) + array.shape).astype(np.float64)
    return found
