"""What the noise of a channel says of its camera: counts for a photon, and where counts begin.

The variance of a pixel rises with its mean: ``variance = gain · (mean − zero)``. Structure must not
pass for noise. Optics leave next to nothing at the highest frequencies, so the noise is measured
there; what structure there is shows at lower frequencies first, and such pixels and brightnesses
count less or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Camera", "estimate_camera"]

# Fourth and second differences and a low pass, of unit power each. Of filaments with a peak of 1000
# photons and a blur of σ = 1 px the first, along both axes, leaves 1 % of the noise's power; second
# differences leave 22 %, and the diagonal Haar wavelet more than the noise.
FOURTH = np.array([1.0, -4, 6, -4, 1]) / 70**0.5
SECOND = np.array([0.0, 1, -2, 1, 0]) / 6**0.5
LOW = np.array([1.0, 4, 6, 4, 1]) / 70**0.5
FLAT = np.full(7, 1 / 7)
# Pixels looked at, at most: more make the line no better, since bins are trusted to 5 % at best.
PIXELS = 2**19
BINS, LEAST_IN_BIN = 30, 200
TRUST = 0.05
# Neighbouring differences overlap: a bin of n has as much to say as n / 3 of its own.
OVERLAP = 3
# Squares beyond 2.5 σ count as 2.5 σ; of normal noise that leaves this share of the variance.
WINSOR, WINSORED = 2.5, 0.977560
# The line's slope over its standard error, and how much the variance must rise on the way.
SURE, RISE = 6.0, 1.5
# Root mean square of the bins' distances from the line, in standard errors.
STRAIGHT = 2.0
# White noise has the same variance in each filter.
WHITE, CLOSE = (0.6, 1.7), 0.8
# Of filtered noise the variances are in the same ratios for all pixels: between quarters of them
# they differ by less than this. Second differences leave no more than this over fourth ones: of an
# image moved by half a pixel it is 2.8, of one smoothed with σ = 0.7 px 2.5; structure without
# noise has more, or not the same everywhere.
ALIKE, FILTERED = 1.7, 3.0
# Bins of filtered images are trusted less, and their structure shows less.
LESS_TRUST, SHOWN = 0.11, 3.0
# Gain and zero of counted photons are 1 and 0 within this. Interpolation takes more off the gain.
SINGLE = 0.15
# No camera holds that many photons in a pixel: this is rounding, not noise.
MOST_PHOTONS = 1e7


@dataclass(frozen=True)
class Camera:
    """A line through variance against mean: ``variance = gain · (mean − zero)``, in counts.

    Parameters
    ----------
    gain : float
        Counts for a photon, above 0.
    zero : float
        The count at which the variance vanishes: the offset less the read noise's variance over
        the gain. Without dark frames only this combination can be told.
    colour : float
        How much larger the variance of the noise is at low frequencies than at the highest: 1 for
        a camera's own, more for an image that was filtered or resampled. The gain is then that of
        the low ones, with which blurred objects must be told from noise.
    """

    gain: float
    zero: float
    colour: float = 1.0


@dataclass(frozen=True, eq=False)
class _Bins:
    """Means and variances of pixels of like brightness; `error` is relative.

    `ratios` are the variances of second differences, and of fourth ones along one axis, over
    `variance`, (3, n); `count` are the pixels.
    """

    mean: Array
    variance: Array
    error: Array
    ratios: Array
    count: Array
    white: bool


def estimate_camera(
    arrays: Sequence[NDArray[np.float32]],
    *,
    gain: float | None = None,
    offset: float | None = None,
    read_noise: float | None = None,
) -> Camera | None:
    """Find the camera's line from pieces of a channel (..., y, x); what is given stays.

    Parameters
    ----------
    arrays : counts; NaN where there are no data or the camera was full
        Planes of 7 × 7 pixels at least.
    gain, offset, read_noise : float, or None where not known
        Counts for a photon, counts of no light, standard deviation in counts.

    Returns
    -------
    Camera or None
        None when the noise is not that of photons: it does not rise with the brightness, or not
        clearly, or there is none; or when fine structure can't be told from it. With a given gain
        only `zero` is looked for, and None says that there are too few pixels.

    References
    ----------
    .. [1] Mean-variance lines: Janesick, Klaasen and Elliott, Opt. Eng. 26, 972 (1987),
       doi:10.1117/12.7974183.
    .. [2] A line through robust variances of one image: Foi, Trimeche, Katkovnik and Egiazarian,
       IEEE Trans. Image Process. 17, 1737 (2008), doi:10.1109/TIP.2008.2001399.
    """
    bins = _binned(arrays)
    if bins is None:
        return None
    if gain is not None:
        return Camera(gain, _zero(bins, gain))
    if not bins.white:
        # Fine structure everywhere looks like noise that isn't white; but single photons are known
        # by their numbers.
        found = _line(bins) if _whole(arrays) else None
        if found is not None and _counts_photons(found, bins):
            return found
        return _filtered_camera(bins)
    if offset is not None and read_noise is not None:
        return _through(bins, offset, read_noise)
    found = _line(bins)
    if found is not None and offset is not None and found.zero > offset:
        # There is no read noise below 0.
        return _through(bins, offset, 0.0)
    return found


def _whole(arrays: Sequence[NDArray[np.float32]]) -> bool:
    """Tell whether all counts are whole numbers."""
    return all(bool((a[np.isfinite(a)] % 1 == 0).all()) for a in arrays)


def _counts_photons(camera: Camera, bins: _Bins) -> bool:
    """Tell whether each count is a photon, and none is none: the variance is the mean."""
    dimmest = max(float(bins.mean.min()), 1.0)
    return abs(camera.gain - 1) < SINGLE and abs(camera.zero) < SINGLE * dimmest


def _filtered_camera(bins: _Bins) -> Camera | None:
    """Find the camera behind noise of which neighbouring pixels share some.

    What moves or smooths an image does so along each axis by itself, nearly. Of noise of variance
    v, whose filters leave the shares a, b of the highest and 1 of the low frequencies along y and
    x, the three of `bins` see v·a·b, v·a and v·b: the second and third over the first give v.
    """
    seen = bins.variance > 1e-9 * bins.variance.max()
    if seen.sum() < 2:
        return None
    ratios, count = bins.ratios[:, seen], bins.count[seen]
    # Where there is structure they are larger.
    usual, larger = (np.array([_quantile(one, count, q) for one in ratios]) for q in (0.25, 0.75))
    colour = float(usual[1] * usual[2])
    if (larger > ALIKE * usual).any() or usual[0] > FILTERED or not colour > 1:
        return None
    excess = np.maximum(ratios / usual[:, None] - 1, 0)
    more = np.maximum(excess[1], excess[2]) / SHOWN
    error = np.sqrt(2 * OVERLAP / count + LESS_TRUST**2 + (excess[0] / 1.5) ** 2 + more**2)
    found = _line(replace(bins, mean=bins.mean[seen], variance=bins.variance[seen], error=error))
    return None if found is None else Camera(found.gain * colour, found.zero, colour)


def _quantile(values: Array, weights: Array, share: float) -> float:
    """Give the value below which this share of the weights lies."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, share * below[-1])])


def _binned(arrays: Sequence[NDArray[np.float32]]) -> _Bins | None:
    """Sort pixels by the brightness around them, and measure each bin's mean and variances."""
    large = [a for a in arrays if min(a.shape[-2:]) >= 7]
    planes = [plane for a in large for plane in a.reshape(-1, *a.shape[-2:])]
    every = max(1, -(-sum(p.size for p in planes) // PIXELS))
    parts = list(_details(planes[::every]))
    if not parts:
        return None
    pixels = np.concatenate(parts, axis=1)
    pixels = pixels[:, np.argsort(pixels[0])]
    around = pixels[0]
    if around.size < 5 * LEAST_IN_BIN or around[-1] <= around[0]:
        return None
    # Equal steps of the square root are about equal steps of the noise.
    steps = np.sqrt((around - around[0]) / (around[-1] - around[0]))
    cuts = [0]
    for place in np.searchsorted(steps, np.linspace(0, 1, BINS + 1)[1:-1]):
        if place - cuts[-1] >= LEAST_IN_BIN and around.size - place >= LEAST_IN_BIN:
            cuts.append(int(place))
    spans = list(zip(cuts, [*cuts[1:], around.size], strict=True))
    if len(spans) < 2:
        return None
    mean = np.array([pixels[1, a:b].mean() for a, b in spans])
    fine, coarse, across, along = (
        np.array([_variance(pixels[i, a:b]) for a, b in spans]) for i in range(2, 6)
    )
    count = np.array([b - a for a, b in spans])
    safe = np.maximum(fine, 1e-30 + 1e-12 * fine.max())
    # What coarser filters see besides the noise is structure; the finest sees the less of it.
    excess = np.maximum(coarse / safe - 1, 0) / 1.5
    # Of blobs of σ = 0.7 px 3 to 14 times the noise is seen there, and up to 45 times here.
    more = np.maximum(np.maximum(across, along) / safe - 1, 0) / 10
    error = np.sqrt(2 * OVERLAP / count + TRUST**2 + excess**2 + more**2)
    # Where little is to be seen all filters agree, if noise is white; bins with structure don't.
    # Where it is nearly everywhere a few bins will do that agree the better.
    shares = np.stack([safe / np.maximum(one, 1e-30) for one in (across, along)])
    agreed = all(np.percentile(r, 75) >= WHITE[0] for r in shares)
    agreed |= bool(np.percentile(shares.min(axis=0), 92) >= CLOSE)
    white = agreed and all(np.percentile(r, 25) <= WHITE[1] for r in shares)
    ratios = np.stack([coarse, across, along]) / safe
    return _Bins(mean, fine, error, ratios, count, white)


def _details(planes: Sequence[NDArray[np.float32]]) -> Iterator[Array]:
    """Give for each pixel the brightness around it, its mean, and four differences, (6, n).

    The mean has the weights of the finest difference, squared: of Poisson counts its noise and that
    of the squared difference go together, along the same line. Sorting by it alone would let read
    noise flatten the line; the mean over 7 × 7 pixels has a quarter of that noise's variance.
    """
    for plane in planes:
        counts = plane.astype(np.float64)
        inner = counts[1:-1, 1:-1]
        found = np.stack(
            [
                _filtered(counts, FLAT, FLAT),
                _filtered(inner, FOURTH**2, FOURTH**2),
                _filtered(inner, FOURTH, FOURTH),
                _filtered(inner, SECOND, SECOND),
                _filtered(inner, LOW, FOURTH),
                _filtered(inner, FOURTH, LOW),
            ]
        ).reshape(6, -1)
        # Pixels that equal all their neighbours are padding (or dark: leaving them out does no
        # harm, since n counts fall among pixels in the same way whatever n is, if not 0).
        flat = (np.abs(found[2:]) <= 1e-9 * np.abs(found[1])).all(axis=0)
        yield found[:, np.isfinite(found).all(axis=0) & ~flat]


def _filtered(plane: Array, rows: Array, columns: Array) -> Array:
    """Filter along both axes, where the filter fits."""
    n, m = plane.shape[0] - rows.size + 1, plane.shape[1] - columns.size + 1
    part = sum(w * plane[k : n + k] for k, w in enumerate(rows))
    total: Array = sum(w * part[:, k : m + k] for k, w in enumerate(columns))
    return total


def _variance(details: Array) -> float:
    """Give the variance of differences around 0, to which the largest add no more than 2.5 σ do.

    A median would be 0 for counts of few photons, which are coarse.
    """
    squares = np.sort(details**2)
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    variance = float(squares.mean())
    for _ in range(40):
        limit = WINSOR**2 * variance
        below = int(np.searchsorted(squares, limit))
        new = float(sums[below] + limit * (squares.size - below)) / squares.size / WINSORED
        if abs(new - variance) <= 1e-4 * variance:
            break
        variance = new
    return variance


def _weights(bins: _Bins, predicted: Array) -> tuple[Array, Array]:
    """Weigh each bin by what the line says its error is, those far away from the line less."""
    error = predicted * bins.error
    distance = (bins.variance - predicted) / error
    return 1 / (error**2 * np.maximum(1, np.abs(distance) / 1.5)), distance


def _line(bins: _Bins) -> Camera | None:
    """Fit a line; None unless the variance clearly rises with the mean, and straight."""
    mean, variance = bins.mean, bins.variance
    predicted = np.maximum(variance, 1e-12 * variance.max() + 1e-30)
    for _ in range(40):
        weights, _ = _weights(bins, predicted)
        total = weights.sum()
        middle, level = (weights * mean).sum() / total, (weights * variance).sum() / total
        spread = (weights * (mean - middle) ** 2).sum()
        if not spread > 0:
            return None
        gain = float((weights * (mean - middle) * (variance - level)).sum() / spread)
        predicted = np.maximum(level + gain * (mean - middle), max(0.05 * level, 1e-30))
    _, distance = _weights(bins, predicted)
    rise = predicted.max() / predicted.min()
    sure = gain * np.sqrt(spread) > SURE and rise > RISE
    if not sure or np.sqrt((distance**2).mean()) > STRAIGHT:
        return None
    return _camera(bins, gain, float(middle - level / gain))


def _through(bins: _Bins, offset: float, read_noise: float) -> Camera | None:
    """Find the gain where offset and read noise are known."""
    light, variance = bins.mean - offset, bins.variance - read_noise**2
    bright = light > 0
    if not bright.any():
        return None
    gain = 0.0
    predicted = np.maximum(bins.variance, 1e-12 * bins.variance.max() + 1e-30)
    for _ in range(40):
        weights, _ = _weights(bins, predicted)
        weights = weights * bright
        power = (weights * light**2).sum()
        gain = float((weights * light * variance).sum() / power)
        predicted = np.maximum(gain * light + read_noise**2, 0.05 * predicted.max() + 1e-30)
    if not gain * np.sqrt(power) > SURE:
        return None
    return _camera(bins, gain, offset - read_noise**2 / gain)


def _camera(bins: _Bins, gain: float, zero: float) -> Camera | None:
    photons = (bins.mean.max() - zero) / gain
    return Camera(gain, zero) if gain > 0 and photons < MOST_PHOTONS else None


def _zero(bins: _Bins, gain: float) -> float:
    """Find where the line begins if its slope is known."""
    predicted = np.maximum(bins.variance, 1e-12 * bins.variance.max() + 1e-30)
    zero = 0.0
    for _ in range(40):
        weights, _ = _weights(bins, predicted)
        zero = float((weights * (bins.mean - bins.variance / gain)).sum() / weights.sum())
        predicted = np.maximum(gain * (bins.mean - zero), 0.05 * predicted.mean() + 1e-30)
    return zero
