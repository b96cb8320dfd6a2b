"""The halo a method needs, measured: how far a cut reaches.

A piece is restored whole, and again without an eighth at both ends of one axis. The largest
difference at a distance ≥ d from a cut is the seam that a halo of d leaves: one cut gives it for
every d at once. On a short axis an eighth is less than tiles do without: there a third is left out,
at one end after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_deblur.restoring import as_counts
from napari_deblur.sampling import enlarged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Blur, Facts, Method
    from napari_deblur.sampling import Blurs
    from napari_deblur.stack import Stack
    from napari_deblur.tiles import Box

__all__ = ["Halo", "at_border", "measure"]

# Each next length is tried when the halo came out longer than a quarter of the piece.
LENGTHS = (144, 288, 576, 1024)
# Voxels of a probe's padded piece; beyond that a probe would cost more than it saves.
MOST_VOXELS = 12_000_000
# So much less than the seam is aimed at: other places of the stack may be harder than the few
# that are measured. With 3, a seam of 1e-3 was missed on some (1.35e-3 at worst, a noisy volume).
SAFETY = 6
# Below this share of the peak float32 itself differs, cut or not, and no halo helps.
ROUNDING = 1.6e-5


@dataclass(frozen=True)
class Halo:
    """What a probe found along one axis.

    `width` is None when no halo within reach keeps the seam. `curve` holds the worst difference
    ÷ peak for each distance from the cut.
    """

    width: int | None
    curve: tuple[float, ...]

    def seam(self, width: int) -> float:
        """Give the seam that a halo of `width` leaves, as far as the curve goes."""
        return self.curve[min(width, len(self.curve) - 1)]

    def points(self) -> tuple[tuple[int, float], ...]:
        """Give the curve thinned out to about 32 points, for the plan."""
        step = max(1, len(self.curve) // 32)
        return tuple((d, float(f"{self.curve[d]:.3g}")) for d in range(0, len(self.curve), step))


def measure(
    stack: Stack,
    method: Method,
    blurs: Blurs,
    facts: Facts,
    places: Sequence[tuple[int, int, Box]],
    axis: Literal[0, 1, 2],
    seam: float,
) -> Halo:
    """Measure the halo along one axis (0, 1, 2 for z, y, x) on some places of the stack.

    Parameters
    ----------
    blurs : function of a box that gives its blur
    places : (time, channel, box) of the samples
    seam : float
        Largest difference over the channel's peak above its background that is allowed.
    """
    size = stack.shape[2:][axis]
    peak = max((facts.white or 0.0) - (facts.background or 0.0), 1e-12)
    halo = Halo(None, (np.inf,))
    blur = blurs(places[0][2])
    for length in LENGTHS:
        shape = _piece(stack, blur, axis, length)
        if shape is None:
            break
        curves = [_curve(stack, method, blurs, facts, place, shape, axis, peak) for place in places]
        curve = np.max(np.stack(curves), axis=0)
        aim = max(seam / SAFETY, min(ROUNDING, seam / 3))
        reached = np.flatnonzero(curve <= aim)
        width = int(reached[0]) if reached.size else None
        halo = Halo(width, tuple(float(v) for v in curve))
        # A piece that is the whole axis leaves nothing to extrapolate to.
        if width is not None and (width <= shape[axis] // 4 or shape[axis] >= size):
            return halo
        if shape[axis] >= size:
            break
    return Halo(None, halo.curve)


def at_border(place: tuple[int, int, Box], axis: int, stack: Stack) -> tuple[int, int, Box]:
    """Move a place to the stack's border on the axes across: cuts reach farthest along it."""
    t, c, box = place
    spans = []
    for a, (span, n) in enumerate(zip(box, stack.shape[2:], strict=True)):
        near = (0, 1) if span[0] + span[1] < n else (n - 1, n)
        spans.append(span if a in (0, axis) else near)
    z, y, x = spans
    return t, c, (z, y, x)


def _piece(stack: Stack, blur: Blur, axis: int, length: int) -> tuple[int, int, int] | None:
    """Give the shape of a piece `length` long on one axis; None when it is too large to probe."""
    kernel = (1,) * (3 - blur.ndim) + blur.shape
    sides = []
    for a, n in enumerate(stack.shape[2:]):
        if a == axis:
            sides.append(min(n, length))
        elif a == 0 and blur.ndim == 2:
            sides.append(1)
        else:
            # Wide enough for the kernel; a cut along one axis is much the same everywhere.
            sides.append(min(n, 48 if a == 0 else 96 if blur.ndim == 3 else 144))
    padded = np.prod([s + k for s, k in zip(sides, kernel, strict=True)], dtype=float)
    if padded > MOST_VOXELS and length > LENGTHS[0]:
        return None
    z, y, x = sides
    return z, y, x


def _curve(
    stack: Stack,
    method: Method,
    blurs: Blurs,
    facts: Facts,
    place: tuple[int, int, Box],
    shape: tuple[int, int, int],
    axis: int,
    peak: float,
) -> NDArray[np.float64]:
    """Give the worst difference at distance ≥ d from a cut, for d = 0 … half of the piece."""
    t, c, box = place
    z, y, x = (
        enlarged(span, n, size) for span, n, size in zip(box, shape, stack.shape[2:], strict=True)
    )
    blur = blurs((z, y, x))
    tile = as_counts(stack.read(t, c, (z, y, x)), facts).to(blur.basis.device)
    length, many = shape[axis], method.multiple_of
    reach = blur.shape[axis - 3] // 2 if axis or blur.ndim == 3 else 0
    # What bins pixels, as a network does, bins the same ones in both.
    away = usual = _up(max(1, length // 8), many)
    short = length >= stack.shape[2:][axis] and away < reach
    if short:
        away = max(away, _up(min(reach, length // 3), many))
    if length <= 2 * away:
        return np.full(1, np.inf)
    whole = method(tile, blur).image

    def differing(first: int, last: int) -> NDArray[np.float64]:
        """Restore a part of the axis alone; give how far it is from the whole, along the axis."""
        inner, cut = [z, y, x], [slice(None)] * 3
        inner[axis] = (inner[axis][0] + first, inner[axis][0] + last)
        cut[axis] = slice(first, last)
        where = tuple(cut)
        apart = method(tile[where].contiguous(), blurs((inner[0], inner[1], inner[2]))).image
        return _profile((whole[where] - apart).abs(), axis) / peak

    if short:
        both = np.fmax(differing(away, length), differing(0, length - away)[::-1])
    else:
        found = differing(away, length - away)
        both = np.fmax(found, found[::-1])[: (found.size + 1) // 2]
    # Distance d is left of the end; the curve at d is the worst from d on. A halo of more than half
    # of what is left of an axis is none: the axis is better not cut.
    reached = (length - 2 * usual + 1) // 2
    return np.fmax.accumulate(both[::-1])[::-1][:reached]


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _profile(difference: Tensor, axis: int) -> NDArray[np.float64]:
    others = tuple(a for a in range(3) if a != axis)
    array = difference.cpu().numpy().astype(np.float64)
    array[~np.isfinite(array)] = 0  # holes: nothing is restored there, whole or cut
    profile: NDArray[np.float64] = array.max(axis=others)
    return profile
