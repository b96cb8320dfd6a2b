"""Beads in an image: where they are, and how wide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.facts import saturation_of
from napari_deblur.kernel_measures import line_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

__all__ = ["FAINT", "FULL_WIDTH", "REACHES", "Candidate", "Seen", "chosen", "find", "look"]

Triple = tuple[int, int, int]
# A Gaussian's full width at half maximum, in standard deviations.
FULL_WIDTH = 2.3548
# Of the spread of what shows no bead: a peak that stands out by less is noise.
SIGNIFICANT = 7.0
# Half of the window, in full widths at half maximum: the least, and what is tried beyond.
REACHES = (2.0, 3.0, 4.0, 6.0, 9.0)
# A neighbour with less than this share of a bead's own light does no harm.
FAINT = 0.03


@dataclass(frozen=True, eq=False)
class Seen:
    """An image without its background, and what was measured on all of it."""

    image: Array
    noise: float
    width: Array  # full widths of a bead in pixels; 0 along an axis of length 1
    half: tuple[int, int, int]  # of the window
    full: NDArray[np.bool_]  # where the camera was full
    hot: int  # pixels that were repaired


@dataclass(eq=False)
class Candidate:
    """A peak that may be a bead; filled in as it is judged, fitted and aligned.

    Parameters
    ----------
    place : the voxel of the peak, (z, y, x)
    strength : of the filtered image there
    rejected : why it is not used
    snr : peak over noise
    light : of the median bead's
    centre : of the bead, from `place`
    width : full widths of the Gaussian that fits it, in pixels
    window : the image around it with a margin, its background taken off
    """

    place: NDArray[np.intp]
    strength: float
    rejected: str = ""
    snr: float = 0.0
    light: float = 1.0
    centre: Array = field(default_factory=lambda: np.zeros(3))
    width: Array | None = None
    window: Array | None = None


def look(array: NDArray[Any], saturation: float | None, shape: Triple | None) -> Seen:
    """Take off the background, and measure noise and the width of a bead."""
    if saturation is None:
        saturation = saturation_of([array])
    full = np.zeros(array.shape, bool) if saturation is None else array >= saturation
    image: Array = array.astype(np.float64)
    known = np.isfinite(image)
    if not known.any():
        raise ValueError("the image has no finite value: check the file")
    background = float(np.median(image[known]))
    image = np.where(known, image - background, 0.0)
    noise = _noise(image)
    # The median of whole counts is half a count off, which makes light of large windows.
    dark = known & (np.abs(image) < 3 * noise)
    if dark.any():
        image = np.where(known, image - float(image[dark].mean()), 0.0)
    image, hot = _without_hot_pixels(image, noise)
    full &= ~hot
    width = _bead_width(image, noise, full)
    if shape is not None:
        z, y, x = (n // 2 for n in shape)
    else:
        z, y, x = (int(np.ceil(REACHES[0] * w)) if w else 0 for w in width)
    return Seen(image, noise, width, (z, y, x), full, int(hot.sum()))


def _without_hot_pixels(image: Array, noise: float) -> tuple[Array, NDArray[np.bool_]]:
    """Replace pixels that no light can make: four times all their neighbours in the plane.

    Of a bead, even one of a standard deviation of 0.6 pixels, the next pixel has a quarter.
    """
    from scipy.ndimage import maximum_filter, median_filter

    around = np.ones((1, 3, 3), bool)
    around[0, 1, 1] = False
    hot = image > 4 * np.maximum(maximum_filter(image, footprint=around), 2 * noise)
    if hot.any():
        image = np.where(hot, median_filter(image, (1, 3, 3)), image)
    return image, hot


def _noise(image: Array) -> float:
    """Give the standard deviation of pixels that show no bead, from differences of neighbours."""
    steps = np.diff(image, axis=2)[:, :, ::2].ravel()
    dark = np.abs(image[:, :, :-1][:, :, ::2].ravel()) <= np.percentile(np.abs(image), 80)
    spread = steps[dark] if dark.any() else steps
    # In coarse counts half of the differences may be 0, and the median says nothing.
    robust = 1.4826 * float(np.median(np.abs(spread)))
    whole = float(np.sqrt((np.clip(spread, *np.percentile(spread, (1, 99))) ** 2).mean()))
    noise = (robust or whole) / 2**0.5
    return max(noise, 1e-6 * float(np.abs(image).max()), 1e-12)


def _bead_width(image: Array, noise: float, full: NDArray[np.bool_]) -> Array:
    """Measure the full widths (z, y, x) of a typical bead, in pixels."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    blur = [1.0 if n > 2 else 0.0 for n in image.shape]
    smooth = gaussian_filter(image, blur)
    # Smoothing over 3-D leaves less noise, but neighbours may share some: be careful.
    floor = SIGNIFICANT * noise / 2
    peaks = smooth == maximum_filter(smooth, [5 if n > 1 else 1 for n in image.shape])
    peaks &= (smooth > floor) & ~full
    places = np.argwhere(peaks)
    heights = smooth[peaks]
    order = np.argsort(heights)[::-1]
    if not order.size:
        raise ValueError(
            "only saturated beads were found: expose less, or say what full scale is (saturation)"
            if full.any()
            else "no beads were found: nothing stands out of the noise; check the channel and the "
            "exposure"
        )
    # The brightest may be an aggregate; a fifth of the third is no noise.
    least = heights[order[min(2, order.size - 1)]] / 5
    found = []
    for place in places[order[:40]]:
        if smooth[tuple(place)] < least:
            break
        found.append([_line_width(smooth, place, axis) for axis in range(3)])
    typical = np.zeros(3)
    for axis, n in enumerate(image.shape):
        column = np.array([f[axis] for f in found])
        column = column[np.isfinite(column)]
        if n > 1:
            wide = float(np.median(column)) if column.size else 4.0
            own = (FULL_WIDTH * blur[axis]) ** 2
            # What is hardly wider than the filter is 2 pixels wide, for all one can tell.
            typical[axis] = np.sqrt(max(wide**2 - own, 1.5**2))
    return typical


def _line_width(smooth: Array, place: NDArray[np.intp], axis: int) -> float:
    """Measure the full width of a peak along an axis, in pixels; NaN if it has none."""
    line = smooth[tuple(slice(None) if a == axis else int(p) for a, p in enumerate(place))]
    at = int(place[axis])
    near = line[max(0, at - 60) : at + 61]
    near = near - max(float(np.percentile(near, 20)), 0.0)
    # A brighter neighbour on the same line is cut down.
    near = np.where(near > near[at - max(0, at - 60)], 0.0, np.maximum(near, 0.0))
    width = line_width(near) if near.size > 1 and near.any() else np.nan
    return width if np.isfinite(width) else float("nan")


def _response(seen: Seen) -> Array:
    """Filter at the beads' width: second derivatives of a Gaussian."""
    from scipy.ndimage import gaussian_filter

    sigma = seen.width / FULL_WIDTH
    response = np.zeros(seen.image.shape)
    for axis in range(3):
        if sigma[axis]:
            order = [2 if a == axis else 0 for a in range(3)]
            response -= sigma[axis] ** 2 * gaussian_filter(seen.image, sigma, order)
    return response


def chosen(seen: Seen, places: NDArray[np.floating[Any]]) -> list[Candidate]:
    """Take the peaks next to places that somebody chose; places of the same peak are one bead.

    A place is moved uphill, by the width of a bead at most: a click is rarely on the peak.

    Parameters
    ----------
    places : array of shape (n, 3), voxels
        z may be NaN: the brightest peak above and below that y and x is taken.

    Raises
    ------
    ValueError
        When a place lies outside of the image.
    """
    from scipy.ndimage import gaussian_filter

    response = _response(seen)
    smooth = gaussian_filter(seen.image, seen.width / FULL_WIDTH / 2)
    near = np.maximum(np.ceil(seen.width / 2), [1 if w else 0 for w in seen.width]).astype(int)
    sides = np.array(seen.image.shape)
    found: list[Candidate] = []
    for given in places:
        one = given.copy()
        if np.isnan(one[0]) and np.isfinite(one[1:]).all():
            y, x = (slice(max(round(v) - n, 0), round(v) + n + 1)
                    for v, n in zip(one[1:].tolist(), near[1:].tolist(), strict=True))  # fmt: skip
            column = response[:, y, x]
            one[0] = float(column.max(axis=(1, 2)).argmax()) if column.size else 0.0
        if not ((one >= -0.5) & (one < sides - 0.5)).all():  # NaN is neither
            raise ValueError(
                f"the place {', '.join(f'{v:g}' for v in one)} (z, y, x) lies outside of the "
                f"image of {' × '.join(map(str, seen.image.shape))} voxels: delete that point"
            )
        first = place = np.round(one).astype(np.intp)
        while True:
            low, high = np.maximum(place - 1, first - near), np.minimum(place + 2, first + near + 1)
            low, high = np.maximum(low, 0), np.minimum(high, sides)
            around = response[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
            best = low + np.array(np.unravel_index(int(around.argmax()), around.shape))
            if response[tuple(best)] <= response[tuple(place)]:
                break
            place = best
        if any((place == known.place).all() for known in found):
            continue
        snr = float(smooth[tuple(place)]) / seen.noise
        found.append(Candidate(place, float(response[tuple(place)]), snr=snr))
    return sorted(found, key=lambda bead: -bead.strength)


def find(seen: Seen) -> list[Candidate]:
    """Find peaks of the image filtered at the beads' width."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    sigma = seen.width / FULL_WIDTH
    response = _response(seen)
    typical = np.abs(response - np.median(response))
    spread = 1.4826 * float(np.median(typical))
    foot = [max(1, 2 * int(np.ceil(0.75 * w)) + 1) for w in seen.width]
    peaks = (response == maximum_filter(response, foot)) & (
        response > max(SIGNIFICANT * spread, 1e-3 * float(response.max()))
    )
    smooth = gaussian_filter(seen.image, sigma / 2)
    places = np.argwhere(peaks & (smooth >= SIGNIFICANT / 2 * seen.noise))
    places = places[np.argsort(-response[tuple(places.T)], kind="stable")]
    strengths = response[tuple(places.T)]
    found: list[Candidate] = []
    for n, (place, strength) in enumerate(zip(places, strengths, strict=True)):
        away = np.abs(places[:n] - place)
        # A plateau has one peak; and ripples of a bright bead are no beads of their own.
        same = (away <= np.array(foot) // 2).all(axis=1)
        lobes = (away <= REACHES[-1] * seen.width).all(axis=1) & (strength < FAINT * strengths[:n])
        if not (same | lobes).any():
            snr = float(smooth[tuple(place)]) / seen.noise
            found.append(Candidate(place, float(strength), snr=snr))
    if not found:
        raise ValueError(
            "no beads were found: nothing stands out of the noise; check the channel and the "
            "exposure"
        )
    return found
