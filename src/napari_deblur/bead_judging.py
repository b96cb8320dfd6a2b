"""Which beads of an image are fit for a kernel, and how large the window around them may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.bead_finding import FAINT, FULL_WIDTH, REACHES, Candidate, Seen

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.floating[Any]]

__all__ = ["MARGIN", "REASONS", "accept", "fitting", "judge", "nothing", "rim"]

Triple = tuple[int, int, int]
# Peak over noise that a bead needs to be worth averaging.
CLEAR = 5.0
# A second peak of this share of the first is another bead, if the light between them falls to less
# than this share of the lower one.
SECOND, DIP = 0.5, 0.9
# Of the median bead: two beads in one place are twice as bright, or wider.
BRIGHT, WIDE, DIM = 1.6, 1.3, 0.1
# Pixels beyond the window that are read too, for shifts by parts of a pixel.
MARGIN = 3
# Why a bead is not used: what to change.
REASONS: dict[str, str] = {
    "saturated": "expose less, or say what full scale is (saturation)",
    "cut off": "image beads farther from the border, or take a smaller kernel (shape)",
    "close": "image fewer beads at once, or take a smaller kernel (shape)",
    "dim": "expose longer, or take brighter beads",
    "too bright": "these seem to be several beads in one place",
    "too wide": "these seem to be several beads in one place, or out of focus",
}


def fitting(seen: Seen, beads: list[Candidate], picked: Sequence[Candidate] = ()) -> Seen:
    """Choose the window: as wide as the beads have light, and of planes that are there.

    Tails of a widefield blur reach far. Of the beads that could be used with a narrow window, two
    thirds have to stay. Beads on a cover slip lie in one plane, and the stack may have few planes
    on one of its sides: then half of the beads are enough. If some were `picked`, it is for them.
    """
    strong = list(picked) or [b for b in beads if b.strength > FAINT * beads[0].strength]
    if picked:
        own = {tuple(b.place.tolist()) for b in picked}
        beads = [*picked, *(b for b in beads if tuple(b.place.tolist()) not in own)]
    sides = np.array(seen.image.shape)
    room = [
        int(np.median([min(int(b.place[a]), n - 1 - int(b.place[a])) for b in strong]))
        for a, n in enumerate(seen.image.shape)
    ]
    chosen, enough = seen.half, 0.0
    for reach in REACHES:
        wanted = np.ceil(reach * seen.width).astype(int)
        least = np.ceil(seen.width).astype(int)
        wide = np.maximum(np.minimum(wanted, room), np.minimum(least, (sides - 1) // 2))
        half = (int(wide[0]), int(wide[1]), int(wide[2]))
        crowded = _crowded(beads, half, seen.width)
        # The strong ones come first.
        fit = [
            bead
            for bead, close in zip(strong, crowded, strict=False)
            if not close and _inside(bead.place, half, seen.image.shape)
        ]
        if reach == REACHES[0]:
            enough = 2 / 3 * len(fit)
        elif not fit or len(fit) < enough or not _more_light(seen, fit, chosen, half):
            break
        chosen = half
    return replace(seen, half=chosen)


def _more_light(seen: Seen, beads: list[Candidate], half: Triple, wide: Triple) -> bool:
    """Whether a wider window holds more of the beads' light than chance and 3 % of it."""
    held = [
        sum(float(seen.image[_around(b.place, h, seen.image.shape)].sum()) for b in beads)
        for h in (half, wide)
    ]
    voxels = [float(np.prod([2 * n + 1 for n in h])) for h in (half, wide)]
    chance = 5 * seen.noise * np.sqrt(len(beads) * (voxels[1] - voxels[0]))
    return bool(held[1] - held[0] > max(0.03 * held[1], chance))


def _crowded(beads: list[Candidate], half: ArrayLike, width: Array) -> NDArray[np.bool_]:
    """Tell for each bead whether the core of another one reaches into its window."""
    reach = np.asarray(half) + 0.75 * width
    places, strengths = np.array([b.place for b in beads]), np.array([b.strength for b in beads])
    found = []
    for n, (place, strength) in enumerate(zip(places, strengths, strict=True)):
        near = (np.abs(places - place) <= reach).all(axis=1) & (strengths > FAINT * strength)
        near[n] = False
        found.append(bool(near.any()))
    return np.array(found)


def nothing() -> None:
    """Do nothing between two beads."""


def accept(
    seen: Seen, beads: list[Candidate], between: Callable[[], None] = nothing
) -> list[Candidate]:
    """Take beads that somebody chose: only those are rejected of which a part is missing.

    Gives those that are saturated: they are taken, but it should be said.
    """
    for bead in beads:
        if not _inside(bead.place, seen.half, seen.image.shape):
            bead.rejected = "cut off"
    good = [b for b in beads if not b.rejected]
    full = [b for b in good if _is_full(seen, b)]
    _fit_all(seen, good, between)
    return full


def _is_full(seen: Seen, bead: Candidate) -> bool:
    core = np.maximum(np.round(0.75 * seen.width), [0 if w == 0 else 1 for w in seen.width])
    return bool(seen.full[_around(bead.place, core.astype(int), seen.full.shape)].any())


def judge(seen: Seen, beads: list[Candidate], between: Callable[[], None] = nothing) -> None:
    """Reject the beads that the kernel would be worse with, with the reason.

    `between` is called between two beads; it may raise an exception to end it.
    """
    for bead in beads:
        if _is_full(seen, bead):
            bead.rejected = "saturated"
        elif not _inside(bead.place, seen.half, seen.image.shape):
            bead.rejected = "cut off"
        elif bead.snr < CLEAR:
            bead.rejected = "dim"
    for bead, close in zip(beads, _crowded(beads, seen.half, seen.width), strict=True):
        between()
        if not bead.rejected and (close or _is_double(seen, bead)):
            bead.rejected = "close"
    good = [b for b in beads if not b.rejected]
    _fit_all(seen, good, between)
    if len(good) < 4:
        return  # nobody can tell which of three is the odd one
    widths = np.array([b.width for b in good], float)
    wide = (widths > WIDE * np.maximum(np.median(widths, axis=0), 1e-6)).any(axis=1)
    for bead, too_wide in zip(good, wide, strict=True):
        if bead.light > BRIGHT:
            bead.rejected = "too bright"
        elif too_wide:
            bead.rejected = "too wide"
        elif bead.light < DIM:
            bead.rejected = "dim"


def _fit_all(seen: Seen, good: list[Candidate], between: Callable[[], None]) -> None:
    for bead in good:
        between()
        _fit(seen, bead)
    median = float(np.median([b.light for b in good])) if good else 1.0
    for bead in good:
        bead.light /= median


def _is_double(seen: Seen, bead: Candidate) -> bool:
    """Tell whether a bead has a second peak in its window, with less light between the two.

    Two beads nearer to each other than the filter is wide, which is as wide as both where the image
    has no other bead, are one peak of the filtered image. In the image itself they are two.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

    sigma = np.minimum(seen.width / FULL_WIDTH / 2, 0.8)
    reach = np.minimum(np.ceil(1.5 * seen.width), seen.half).astype(int)
    margin = np.where(reach > 0, MARGIN, 0)
    window = seen.image[_around(bead.place, reach + margin, seen.image.shape)]
    smooth = gaussian_filter(window, sigma)
    left = float(np.prod([1 / np.sqrt(max(2 * s * np.sqrt(np.pi), 1.0)) for s in sigma]))
    peaks = smooth == maximum_filter(smooth, [3 if n > 1 else 1 for n in smooth.shape])
    top = np.array(np.unravel_index(int(smooth.argmax()), smooth.shape))
    height = float(smooth.max())
    for place in np.argwhere(peaks & (smooth >= SECOND * height)):
        lower = float(smooth[tuple(place)])
        if np.abs(place - top).max() < 2:
            continue
        line = top[:, None] + (place - top)[:, None] * np.linspace(0, 1, 21)
        between = float(map_coordinates(smooth, line, order=1).min())
        if between < DIP * lower and lower - between > CLEAR * left * seen.noise:
            return True
    return False


def _around(place: NDArray[np.intp], half: ArrayLike, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(0, int(p - h)), min(n, int(p + h) + 1))
        for p, h, n in zip(place, np.asarray(half), shape, strict=True)
    )


def _inside(place: NDArray[np.intp], half: Triple, shape: tuple[int, ...]) -> bool:
    return all(h <= p < n - h for p, h, n in zip(place, half, shape, strict=True))


def _fit(seen: Seen, bead: Candidate) -> None:
    """Cut out a bead, take off its own background, and fit a Gaussian to its core."""
    from scipy.optimize import least_squares

    half = np.array(seen.half)
    margin = np.where(half > 0, MARGIN, 0)
    inner = seen.image[_around(bead.place, half + margin, seen.image.shape)]
    start = bead.place - half - margin
    short = [
        (max(0, -int(s)), max(0, int(p + h + m + 1 - n)))
        for s, p, h, m, n in zip(start, bead.place, half, margin, seen.image.shape, strict=True)
    ]
    # The margin may lie beyond the image: there the last voxels are repeated.
    window = np.pad(inner, short, mode="edge")
    window = window - rim(window)
    bead.window = window
    core = _around(half + margin, np.ceil(np.maximum(seen.width, 1)), window.shape)
    values = window[core]
    axes = [a for a in range(3) if half[a]]
    grids = np.meshgrid(
        *(np.arange(s.start, s.stop) - h - m for s, h, m in zip(core, half, margin, strict=True)),
        indexing="ij",
    )

    def model(p: Array) -> Array:
        places, sigmas = p[2 : 2 + len(axes)], p[2 + len(axes) :]
        power = sum(
            (grids[a] - place) ** 2 / (2 * sigma**2 + 1e-9)
            for a, place, sigma in zip(axes, places, sigmas, strict=True)
        )
        shown: Array = p[0] * np.exp(-power) + p[1]
        return shown

    sigma = seen.width[axes] / FULL_WIDTH
    first = np.concatenate([[float(values.max()), 0.0], np.zeros(len(axes)), sigma])

    def wrong(p: Array) -> Array:
        return (model(p) - values).ravel()

    scale = np.maximum(np.abs(first), 0.5)
    # Not by singular values: their threads stand in each other's way on a busy machine.
    done = least_squares(wrong, first, x_scale=scale, method="lm", max_nfev=60 * (len(first) + 1))
    place, width = np.zeros(3), np.zeros(3)
    place[axes] = np.clip(done.x[2 : 2 + len(axes)], -2, 2)
    width[axes] = FULL_WIDTH * np.abs(done.x[2 + len(axes) :])
    bead.centre, bead.width = place, width
    bead.light = float(window[core].sum())
    bead.snr = float(done.x[0]) / seen.noise


def rim(window: Array) -> float:
    """Give the background of a window: the median of its outermost voxels of y and x."""
    edge = np.ones(window.shape[1:], bool)
    edge[2:-2, 2:-2] = False
    return float(np.median(window[:, edge]))
