"""The beads of an image put together: aligned, averaged, corrected for their own size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.bead_finding import FULL_WIDTH, Candidate
from napari_deblur.bead_judging import nothing, rim
from napari_deblur.kernel_measures import best_shift, full_widths
from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

__all__ = [
    "aligned_windows",
    "averaged",
    "ball_transform",
    "corrected_for_size",
    "in_the_middle",
    "significant",
]

Size = tuple[float, float, float]
# Alignment ends when no bead moves by more, in pixels.
STILL = 0.002
ROUNDS = 20
# Beads so many times wider than their image have another diameter.
TOO_LARGE = 2.0


def aligned_windows(
    beads: list[Candidate], width: Array, between: Callable[[], None] = nothing
) -> list[Array]:
    """Find the place of each bead to parts of a pixel; give the windows moved to one place."""
    windows = [b.window for b in beads if b.window is not None]
    shape = windows[0].shape
    # What is far from the bead is noise and neighbours: it has no say where the bead is.
    wide: list[float] = width.tolist()
    reach = [min(n // 2, int(np.ceil(1.5 * w)) + 2) for n, w in zip(shape, wide, strict=True)]
    cut = tuple(slice(n // 2 - r, n // 2 + r + 1) for n, r in zip(shape, reach, strict=True))
    cores = [w[cut] for w in windows]
    middle = np.array(reach)
    taper: Array = np.ones(cores[0].shape)
    for axis, r in enumerate(reach):
        if r > 0:
            away = np.abs(np.arange(-r, r + 1)) / (1.5 * max(width[axis], 1.5))
            fall = np.cos(np.pi / 2 * np.minimum(away, 1)) ** 2
            taper = taper * fall.reshape([-1 if a == axis else 1 for a in range(3)])
    shifts = [-b.centre for b in beads]
    weight = sum(max(float((c * taper).sum()), 1e-12) for c in cores)
    for _ in range(ROUNDS if len(beads) > 1 else 0):
        moved = [_moved(c, s) for c, s in zip(cores, shifts, strict=True)]
        mean: Array = np.sum(moved, axis=0) / weight
        # The average stays where it is, or all would drift away together.
        target = _moved(mean, middle - _centre(mean * taper)) * taper
        largest = 0.0
        for i, core in enumerate(cores):
            between()
            more = np.array(best_shift(target, _moved(core, shifts[i]) * taper)[0])
            more = np.clip(more, -1, 1)
            largest = max(largest, float(np.abs(more).max()))
            shifts[i] = shifts[i] + more
        if largest < STILL:
            break
    for bead, shift in zip(beads, shifts, strict=True):
        bead.centre = -shift
    return [_moved(w, s) for w, s in zip(windows, shifts, strict=True)]


def _moved(window: Array, shift: Array) -> Array:
    """Shift by parts of a pixel: a spline of order 5, that keeps fine detail."""
    from scipy.ndimage import shift as moved

    result: Array = moved(window, shift, order=5, mode="nearest")
    return result


def _centre(array: Array) -> Array:
    """Give the centre of mass of what is above a tenth of the peak, in pixels."""
    core = np.maximum(array - 0.1 * array.max(), 0)
    grids = np.indices(array.shape)
    centre: Array = (grids * core).sum(axis=(1, 2, 3)) / core.sum()
    return centre


def in_the_middle(average: Array, beads: list[Candidate]) -> Array:
    """Move the average until its core lies at ``n // 2``."""
    by = np.zeros(3)
    moved = average
    for _ in range(3):
        by = by + np.array([n // 2 for n in average.shape]) - _centre(moved)
        moved = _moved(average, by)
    for bead in beads:
        bead.centre = bead.centre - by
    return moved


def averaged(aligned: list[Array], beads: list[Candidate], noise: float) -> tuple[Array, float]:
    """Average beads of different brightness; give that, its peak being about 1, and its noise."""
    peaks = np.array([max(b.snr, 1.0) * noise for b in beads])
    stack = np.stack([a / p for a, p in zip(aligned, peaks, strict=True)])
    spread = noise / peaks
    weights = np.broadcast_to((1 / spread**2)[:, None, None, None], stack.shape).copy()
    if len(beads) >= 5:
        middle = np.median(stack, axis=0)
        light = np.maximum(middle, 0)
        core = middle > 0.05 * middle.max()
        # The noise of the light itself grows with it: what the beads differ by says how fast.
        differ = 1.4826 * np.median(np.abs(stack - middle), axis=0)[core]
        growth = float(np.median(differ**2 / middle[core]))
        # Beads differ in their shape by some percent, too.
        own = (spread**2)[:, None, None, None]
        allowed = 6 * np.sqrt(own + growth * light + (0.1 * light) ** 2)
        weights[np.abs(stack - middle) > allowed] = 0
        weights[:, weights.sum(axis=0) == 0] = 1
    average: Array = (weights * stack).sum(axis=0) / weights.sum(axis=0)
    return average - rim(average), float(1 / np.sqrt((1 / spread**2).sum()))


def significant(average: Array, noise: float, width: Array) -> Array:
    """Set to 0 what does not rise out of the noise around, and what isn't joined to the bead."""
    from scipy.ndimage import gaussian_filter, label

    sigma = [w / FULL_WIDTH if w else 0.0 for w in width]
    smooth = gaussian_filter(average, sigma, mode="nearest")
    # White noise through a Gaussian: 1 / √(2σ√π) of it is left, for each axis.
    left = float(np.prod([1 / np.sqrt(max(2 * s * np.sqrt(np.pi), 1.0)) for s in sigma if s]))
    marks, _ = label(smooth > max(3 * noise * left, 1e-4 * smooth.max()))
    top = tuple(int(i) for i in np.unravel_index(int(smooth.argmax()), smooth.shape))
    kept: Array = np.where(marks == marks[top], average, 0.0)
    return kept


def ball_transform(
    shape: tuple[int, ...], pixel_size: Size, diameter: float
) -> NDArray[np.float64]:
    """Give the Fourier transform of a ball of light, 1 at frequency 0.

    For an image of one plane it is that of the ball seen through.

    Parameters
    ----------
    shape : (z, y, x) of the grid
    pixel_size : (z, y, x) in µm
    diameter : float, in µm
    """
    squared = np.zeros(shape)
    for axis, (n, size) in enumerate(zip(shape, pixel_size, strict=True)):
        line = np.fft.fftfreq(n, size) ** 2
        squared = squared + line.reshape([-1 if a == axis else 1 for a in range(3)])
    q = np.pi * diameter * np.sqrt(squared)
    with np.errstate(divide="ignore", invalid="ignore"):
        transform = 3 * (np.sin(q) - q * np.cos(q)) / q**3
    found: NDArray[np.float64] = np.where(q < 1e-3, 1 - q**2 / 10, transform)
    return found


def corrected_for_size(
    average: Array, aligned: list[Array], noise: float, size: Size, diameter: float
) -> tuple[Array, str | None]:
    """Take the bead's own size out of the average: Wiener's filter with the noise that is left."""
    from scipy.fft import fftn, ifftn, next_fast_len
    from scipy.ndimage import uniform_filter

    wide = [w for w in full_widths(Kernel(np.maximum(average, 0), size)) if w is not None]
    note = None
    if wide and diameter > TOO_LARGE * min(wide):
        raise ValueError(
            f"the beads are said to be {diameter:g} µm wide, but their image is {min(wide):.3g} µm "
            "across: no kernel is left when that is taken out; check the diameter, which is in µm"
        )
    if diameter > min(wide):
        note = (
            f"the beads of {diameter:g} µm are wider than their image across ({min(wide):.3g} µm): "
            "the kernel is not to be trusted; take smaller beads, or check the diameter"
        )
    elif diameter > 0.75 * min(wide):
        note = (
            f"the beads of {diameter:g} µm are nearly as wide as the blur: what the kernel has at "
            "high frequencies was lost in them; take smaller beads"
        )
    lengths = [1 if n == 1 else next_fast_len(2 * n) for n in average.shape]
    ball = ball_transform(tuple(lengths), size, diameter)
    spectrum = fftn(average, lengths)
    # The mean over neighbours in frequency: single frequencies of pure noise pass for signal.
    power = uniform_filter(np.abs(spectrum) ** 2, [5 if n > 1 else 1 for n in lengths], mode="wrap")
    # The beads' light has noise of its own, beyond that of the background: what they differ by.
    floor = np.full(power.shape, noise**2 * average.size)
    if len(aligned) > 1:
        mean = np.mean(aligned, axis=0)
        scales = [float((a * mean).sum() / (mean**2).sum()) for a in aligned]
        rests = [np.abs(fftn(a - s * mean, lengths)) ** 2
                 for a, s in zip(aligned, scales, strict=True)]  # fmt: skip
        differ = np.sum(rests, axis=0) / (len(aligned) * (len(aligned) - 1))
        # In units of the average, whose peak is near 1.
        differ = differ * (np.abs(spectrum.flat[0]) / np.abs(mean.sum())) ** 2
        smooth = [5 if n > 1 else 1 for n in lengths]
        floor = np.maximum(floor, uniform_filter(differ, smooth, mode="wrap"))
    signal = np.maximum(power - 2 * floor, 0)
    with np.errstate(divide="ignore"):
        rest = np.minimum(floor / signal, 1e6) * ball**2
    # A tenth of the ball's transform is the least that is divided by, however good the data.
    gain = ball / (ball**2 + np.maximum(rest, 0.01))
    gain = np.where(signal > 0, gain / gain.flat[0], 0.0)
    cut = tuple(slice(0, n) for n in average.shape)
    corrected: Array = np.real(ifftn(spectrum * gain))[cut]
    return corrected, note
