"""What can be measured on kernels, and between two: widths, energy, symmetry, transfer function.

Lengths are in µm where the kernel has a voxel size, and in pixels where it has none. A kernel holds
the light that falls into each pixel, so its widths include that of the pixel: they are those of
the blur as the image has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.kernel_comparison import (
    aligned_ncc,
    array_of,
    best_shift,
    ncc,
    signal_to_noise,
)
from napari_deblur.kernel_transfer import Transfer, end_of, limits, power_beyond, transfer
from napari_deblur.kernel_widths import full_widths, line_width, profile
from napari_deblur.protocols import Facts, Kernel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "Measures", "Transfer", "aligned_ncc", "asymmetry", "best_shift", "border_mass",
    "encircled_radius", "full_widths", "limits", "line_width", "measured", "ncc", "power_beyond",
    "profile", "signal_to_noise", "transfer",
]  # fmt: skip

Triple = tuple[float, float, float]
# Parts of a pixel along each axis when energy is counted within circles.
FINE = 5


@dataclass(frozen=True)
class Measures:
    """What `measured` finds on one kernel; axes z, y, x, and None where nothing can be said.

    Parameters
    ----------
    unit : "µm" or "px"
        Of all lengths; frequencies are in cycles per unit.
    fwhm : full widths at half the peak, each along a line through it; infinite where the kernel
        does not fall to half of it. None along an axis of length 1.
    centroid : centre of mass, from the voxel ``n // 2``
    radius_50, radius_90 : of circles about the centre of mass, in the plane of the peak, that hold
        these shares of that plane's light
    asymmetry : share of the light that lies elsewhere once the kernel is mirrored at its centre
        of mass, 0 to 1, for each axis
    cutoff : frequency from which on the transfer function (`Transfer`) stays below 1 %: along z,
        and across in the plane of the peak
    limit : the largest frequency that light can carry: along z, and across. None without optics.
    border : share of the light in the outermost voxels of y and x
    beyond : share of the power at frequencies above `limit`; None without optics
    """

    shape: tuple[int, int, int]
    unit: str
    fwhm: tuple[float | None, float | None, float | None]
    centroid: Triple
    radius_50: float
    radius_90: float
    asymmetry: tuple[float | None, float | None, float | None]
    cutoff: tuple[float | None, float]
    limit: tuple[float | None, float] | None
    border: float
    beyond: float | None


def measured(kernel: Kernel, optics: Facts | None = None, *, t: int = 0, c: int = 0) -> Measures:
    """Measure one kernel.

    Parameters
    ----------
    kernel : Kernel
    optics : Facts or None
        With `na` and `wavelength` (emission, µm) the optical limit is known across; with
        `n_immersion` too, along z.
    t, c : int
        Which frame's and channel's kernel.
    """
    one, size = kernel.at(t, c).astype(np.float64), kernel.pixel_size or (1.0, 1.0, 1.0)
    optics = optics or Facts()
    limit = beyond = None
    if optics.na and optics.wavelength and kernel.pixel_size is not None:
        limit = limits(optics.na, optics.wavelength, optics.n_immersion)
        single = Kernel(one, kernel.pixel_size)
        beyond = power_beyond(single, optics.na, optics.wavelength, optics.n_immersion)
    seen = transfer(Kernel(one, kernel.pixel_size))
    cz, cy, cx = (v * s for v, s in zip(kernel.centroid(t, c), size, strict=True))
    half, most = (encircled_radius(Kernel(one, kernel.pixel_size), share) for share in (0.5, 0.9))
    return Measures(
        shape=kernel.shape,
        unit="px" if kernel.pixel_size is None else "µm",
        fwhm=full_widths(kernel, t=t, c=c),
        centroid=(cz, cy, cx),
        radius_50=half,
        radius_90=most,
        asymmetry=asymmetry(one),
        cutoff=(None if seen.along is None else end_of(*seen.along), end_of(*seen.across)),
        limit=limit,
        border=border_mass(one),
        beyond=beyond,
    )


def encircled_radius(kernel: Kernel, share: float) -> float:
    """Give the radius of the circle that holds `share` of the light, in the plane of the peak.

    The circle lies about that plane's centre of mass; light is even within a pixel.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share:g}: give one between 0 and 1, such as 0.5")
    one, size = kernel.at().astype(np.float64), kernel.pixel_size or (1.0, 1.0, 1.0)
    plane = one[np.unravel_index(int(one.argmax()), one.shape)[0]]
    places = [np.arange(n * FINE) / FINE + (0.5 / FINE - 0.5) for n in plane.shape]
    light = np.kron(plane, np.full((FINE, FINE), 1 / FINE**2)) / plane.sum()
    y, x = (
        (p - (light.sum(axis=1 - a) * p).sum()) * s
        for a, (p, s) in enumerate(zip(places, size[1:], strict=True))
    )
    radius = np.hypot(y[:, None], x[None]).ravel()
    order = np.argsort(radius)
    held = np.cumsum(light.ravel()[order])
    return float(np.interp(share, held, radius[order]))


def asymmetry(
    kernel: Kernel | ArrayLike,
) -> tuple[float | None, float | None, float | None]:
    """Give, for z, y and x, the share of the light that a mirror at the centre of mass moves."""
    from scipy.ndimage import shift

    one = array_of(kernel)
    found: list[float | None] = []
    for axis, n in enumerate(one.shape):
        if n == 1:
            found.append(None)
            continue
        line = one.sum(axis=tuple(a for a in range(3) if a != axis))
        centre = float((line * np.arange(n)).sum() / line.sum())
        # Mirrored at (n - 1) / 2, and moved to where the centre of mass was.
        by = [0.0] * 3
        by[axis] = 2 * centre - (n - 1)
        mirrored = np.flip(one, axis)
        if abs(by[axis]) > 1e-3:
            mirrored = np.maximum(shift(mirrored, by, order=3, mode="constant"), 0)
        found.append(float(0.5 * np.abs(one - mirrored).sum() / one.sum()))
    z, y, x = found
    return z, y, x


def border_mass(kernel: Kernel | ArrayLike) -> float:
    """Give the share of the light in the outermost voxels of y and x.

    Much of it says that the kernel was cut. The ends of z don't count: each plane of a widefield
    kernel holds as much light as the others, however far from focus.
    """
    one = array_of(kernel)
    inside = tuple(slice(1, -1) if n > 2 else slice(None) for n in one.shape[1:])
    return float(1 - one[:, *inside].sum() / one.sum())
