"""Shapes of kernels: the ellipse that is as wide at half the peak, and those of a whole field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, degrees, hypot, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.kernel_fields import KernelField
    from napari_deblur.protocols import Kernel

    Array = NDArray[np.floating[Any]]

__all__ = ["Ellipse", "Shapes", "ellipse", "field_shapes", "places_of", "shapes_of"]

# Lines through the middle along which widths are measured, and samples per pixel on each.
LINES, FINE = 36, 4
# Where light falls from above half the peak to less than the first share of it from one pixel to
# the next, an edge is hard; logarithms end at the second.
FAINT, FLOOR = 0.02, 0.001
# An ellipse this little longer than wide has no direction.
ROUND = 1.02


@dataclass(frozen=True)
class Ellipse:
    """What the peak of a kernel looks like at half its height, in the plane of the peak.

    Parameters
    ----------
    major, minor : full widths at half the peak along the two axes of the ellipse, in µm or,
        without voxel size, in pixels; infinite where the kernel doesn't fall to half
    angle : direction of the longer axis in degrees from x towards y (y runs down), -90 to 90;
        0 where the ellipse is round within 2 %
    """

    major: float
    minor: float
    angle: float

    @property
    def mean(self) -> float:
        """Width of the circle of the same area."""
        return sqrt(self.major * self.minor)

    @property
    def elongation(self) -> float:
        """How many times longer than wide; 1 is round."""
        return self.major / self.minor if np.isfinite(self.major) else float("inf")

    def axes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Give the longer and the shorter axis as (y, x), as long as they are wide."""
        turn = np.deg2rad(self.angle)
        along, across = (np.sin(turn), np.cos(turn)), (np.cos(turn), -np.sin(turn))
        long = (self.major * float(along[0]), self.major * float(along[1]))
        return long, (self.minor * float(across[0]), self.minor * float(across[1]))


@dataclass(frozen=True, eq=False)
class Shapes:
    """Ellipses of kernels at places of an image.

    Parameters
    ----------
    places : array (n, 3), z, y, x in voxels of the image
    ellipses : one for each place
    unit : "µm" or "px"
    """

    places: NDArray[np.float64]
    ellipses: tuple[Ellipse, ...]
    unit: str


def ellipse(kernel: Kernel, *, t: int = 0, c: int = 0) -> Ellipse:
    """Find the axes of a kernel, in the plane of its peak, and the widths at half the peak there.

    Widths are those of splines through the samples, along lines through the middle of what
    is brighter than half. Of an ellipse 1/width² is a quadratic form of the direction: the one that
    fits 36 directions has the axes. Within 2 % for Gaussians from a standard deviation of 1 pixel
    on, within 4 % from 0.8 on.
    """
    one = kernel.at(t, c).astype(np.float64)
    size = kernel.pixel_size or (1.0, 1.0, 1.0)
    plane = one[np.unravel_index(int(one.argmax()), one.shape)[0]]
    return _fitted(plane, (size[1], size[2]))


def _fitted(plane: Array, size: tuple[float, float]) -> Ellipse:
    from scipy.ndimage import spline_filter

    # As on the border beyond it, too: what doesn't fall to half within the kernel never does.
    wide = np.pad(plane, 2, mode="edge")
    # Splines through logarithms are exact for Gaussians, those through values flatten a narrow peak
    # between two pixels by a tenth; of hard edges logarithms would ring.
    logs = not _hard(wide)
    level = np.log(0.5) if logs else 0.5
    values = wide / wide.max()
    spline = spline_filter(np.log(np.maximum(values, FLOOR)) if logs else values)
    middle, peak = _middle(values, spline)
    half = peak + level if logs else peak * level

    def width(angle: float) -> float:
        """Measure along a direction in µm, so that pixels that are not square don't count."""
        return _width(spline, middle, (np.sin(angle), np.cos(angle)), size, half)

    angle = _direction([width(a) for a in np.arange(LINES) * np.pi / LINES])
    major, minor = width(angle), width(angle + np.pi / 2)
    if minor > major:
        major, minor, angle = minor, major, angle + np.pi / 2
    round_ = not major >= ROUND * minor or not np.isfinite(minor)
    return Ellipse(float(major), float(minor), 0.0 if round_ else (degrees(angle) + 90) % 180 - 90)


def _direction(widths: Sequence[float]) -> float:
    """Give the direction of the longer axis of the ellipse that fits widths in all directions."""
    shortest = min(widths)
    if not np.isfinite(shortest):
        return 0.0
    angles = np.arange(len(widths)) * np.pi / len(widths)
    # Weighed by 1/width², else short ones say everything; what is infinite is as good as long.
    known = np.minimum(widths, 1e3 * max(shortest, 1e-9)) ** 2
    form = np.stack([np.cos(angles) ** 2, np.sin(2 * angles), np.sin(angles) ** 2], axis=1)
    xx, xy, yy = np.linalg.lstsq(form * known[:, None], np.ones(len(widths)), rcond=None)[0]
    # The form is smallest along the longer axis.
    return atan2(-2 * xy, yy - xx) / 2


def _hard(plane: Array) -> bool:
    """Whether a bright pixel has one beside it that is all but dark."""
    from scipy.ndimage import minimum_filter

    bright = plane >= plane.max() / 2
    return bool((minimum_filter(plane, 3)[bright] < FAINT * plane.max()).any())


def _middle(plane: Array, spline: Array) -> tuple[tuple[float, float], float]:
    """Give the middle of what hangs together with the peak above half, and the spline's peak."""
    from scipy.ndimage import label, map_coordinates

    top = np.unravel_index(int(plane.argmax()), plane.shape)
    near = np.linspace(-1, 1, 41)
    fine = np.meshgrid(top[0] + near, top[1] + near, indexing="ij")
    peak = float(map_coordinates(spline, fine, prefilter=False).max())
    pieces, _ = label(plane >= plane[top] / 2)
    weights = np.where(pieces == pieces[top], plane - plane[top] / 2 + 1e-9, 0.0)
    y, x = (float((weights.sum(axis=1 - a) * np.arange(n)).sum() / weights.sum())
            for a, n in enumerate(plane.shape))  # fmt: skip
    return (y, x), peak


def _width(
    spline: Array,
    middle: tuple[float, float],
    direction: tuple[float, float],
    size: tuple[float, float],
    half: float,
) -> float:
    """Give the distance of the two places on a line at which the spline falls to half."""
    from scipy.ndimage import map_coordinates

    step = min(size) / FINE
    count = int(hypot(*(n * s for n, s in zip(spline.shape, size, strict=True))) / step) + 1
    width = 0.0
    for sign in (1, -1):
        way = sign * step * np.arange(count)
        places = [m + way * d / s for m, d, s in zip(middle, direction, size, strict=True)]
        line = map_coordinates(spline, places, prefilter=False, mode="nearest")
        below = np.flatnonzero(line < half)
        if not below.size:
            return float("inf")
        j = int(below[0])
        width += step * (j - 1 + (line[j - 1] - half) / (line[j - 1] - line[j])) if j else 0.0
    return width


def field_shapes(field: KernelField) -> Shapes:
    """Give the ellipses of the kernels at a field's nodes, in the order of the nodes z, y, x."""
    from napari_deblur.protocols import Kernel

    every = field.kernels().reshape(-1, *field.shape)
    kernels = [Kernel(one, field.pixel_size) for one in every]
    return shapes_of(kernels, places_of(field.nodes))


def shapes_of(kernels: Sequence[Kernel], places: NDArray[np.floating[Any]]) -> Shapes:
    """Give the ellipses of kernels of one voxel size at places (n, 3) of an image."""
    unit = "px" if kernels[0].pixel_size is None else "µm"
    return Shapes(np.asarray(places, np.float64), tuple(map(ellipse, kernels)), unit)


def places_of(lines: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Give every place of a grid, shape (n, 3), from its lines along z, y and x."""
    grid = np.meshgrid(*[np.asarray(line, np.float64) for line in lines], indexing="ij")
    return np.stack([axis.ravel() for axis in grid], axis=1)
