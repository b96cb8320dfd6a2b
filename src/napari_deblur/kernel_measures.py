"""What can be measured on kernels, and between two: widths, energy, symmetry, transfer function.

Lengths are in µm where the kernel has a voxel size, and in pixels where it has none. A kernel holds
the light that falls into each pixel, so its widths include that of the pixel: they are those of
the blur as the image has it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.kernel_comparison import (
    aligned_ncc,
    array_of,
    best_shift,
    ncc,
    signal_to_noise,
)
from napari_deblur.kernel_transfer import (
    Transfer,
    band_of,
    end_of,
    limits,
    optics_for,
    power_beyond,
    transfer,
    trimmed,
)
from napari_deblur.kernel_widths import full_widths, line_width, profile
from napari_deblur.protocols import Facts, Kernel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Measures", "Transfer", "aligned_ncc", "asymmetry", "best_shift", "border_mass",
    "encircled", "encircled_radius", "full_widths", "limits", "line_width", "measured", "ncc",
    "numbers_of", "optics_for", "power_beyond", "profile", "signal_to_noise", "transfer",
    "write_table",
]  # fmt: skip

Triple = tuple[float, float, float]
# Parts of a pixel along each axis when energy is counted within circles; of a plane larger than
# this many pixels, whole ones do.
FINE, LARGE = 5, 1 << 20


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
    ends : light of the first and the last plane, as a share of that of the brightest plane, the
        larger of both; None with one plane. Much of it says that the kernel was cut along z, which
        makes its transfer function ring along z, beyond any limit.
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
    ends: float | None = None


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
        single = Kernel(one, kernel.pixel_size, kernel.report)
        limit = band_of(single, optics.na, optics.wavelength, optics.n_immersion)
        beyond = power_beyond(single, optics.na, optics.wavelength, optics.n_immersion)
    seen = transfer(Kernel(one, kernel.pixel_size))
    cz, cy, cx = (v * s for v, s in zip(kernel.centroid(t, c), size, strict=True))
    half, most = _radii(one, size, (0.5, 0.9))
    planes = one.sum(axis=(1, 2))
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
        ends=None if planes.size == 1 else float(max(planes[0], planes[-1]) / planes.max()),
    )


def encircled_radius(kernel: Kernel, share: float) -> float:
    """Give the radius of the circle that holds `share` of the light, in the plane of the peak.

    The circle lies about that plane's centre of mass; light is even within a pixel.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share:g}: give one between 0 and 1, such as 0.5")
    size = kernel.pixel_size or (1.0, 1.0, 1.0)
    return _radii(kernel.at().astype(np.float64), size, (share,))[0]


def encircled(
    kernel: Kernel, *, t: int = 0, c: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the share of the light within circles, in the plane of the peak: (radii, shares).

    The circles lie about that plane's centre of mass; light is even within a pixel.
    """
    size = kernel.pixel_size or (1.0, 1.0, 1.0)
    radius, held = _held(kernel.at(t, c).astype(np.float64), size)
    # Steps of a fifth of a pixel, as fine as light is counted.
    count = int(radius[-1] / (min(size[1:]) / FINE)) + 2
    radii = np.linspace(0.0, float(radius[-1]), count)
    shares = np.interp(radii, radius, held)
    shares[0] = 0.0
    return radii, shares


def _radii(one: NDArray[np.float64], size: Triple, shares: Sequence[float]) -> list[float]:
    radius, held = _held(one, size)
    return [float(np.interp(share, held, radius)) for share in shares]


def _held(
    one: NDArray[np.float64], size: Triple
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give distances from the centre of mass, rising, and the light that lies no farther."""
    plane = one[np.unravel_index(int(one.argmax()), one.shape)[0]]
    fine = FINE if plane.size <= LARGE else 1
    places = [np.arange(n * fine) / fine + (0.5 / fine - 0.5) for n in plane.shape]
    light = np.kron(plane, np.full((fine, fine), 1 / fine**2)) / plane.sum()
    y, x = (
        (p - (light.sum(axis=1 - a) * p).sum()) * s
        for a, (p, s) in enumerate(zip(places, size[1:], strict=True))
    )
    radius = np.hypot(y[:, None], x[None]).ravel()
    order = np.argsort(radius)
    return radius[order], np.cumsum(light.ravel()[order])


def asymmetry(
    kernel: Kernel | ArrayLike,
) -> tuple[float | None, float | None, float | None]:
    """Give, for z, y and x, the share of the light that a mirror at the centre of mass moves."""
    one = trimmed(array_of(kernel))
    found: list[float | None] = []
    for axis, n in enumerate(one.shape):
        if n == 1:
            found.append(None)
            continue
        line = one.sum(axis=tuple(a for a in range(3) if a != axis))
        centre = float((line * np.arange(n)).sum() / line.sum())
        # Mirrored at (n - 1) / 2, and moved to where the centre of mass was.
        by = 2 * centre - (n - 1)
        mirrored = np.flip(one, axis)
        if abs(by) > 1e-3:
            mirrored = np.maximum(_moved(mirrored, by, axis), 0)
        found.append(float(0.5 * np.abs(one - mirrored).sum() / one.sum()))
    z, y, x = found
    return z, y, x


def _moved(one: NDArray[np.floating], by: float, axis: int) -> NDArray[np.floating]:
    """Shift an array along one axis by parts of a pixel, with cubic splines; zeros come in."""
    from scipy.ndimage import spline_filter1d

    n, whole = one.shape[axis], int(np.floor(by))
    pad = min(abs(whole), n) + 3
    wide = [(pad, pad) if a == axis else (0, 0) for a in range(one.ndim)]
    filtered = spline_filter1d(np.pad(one, wide), 3, axis)
    u = by - whole
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, 1 + 3 * u + 3 * u**2 - 3 * u**3, u**3)
    moved = np.zeros_like(one)
    if abs(whole) >= n:
        return moved
    for k, weight in enumerate(weights):
        start = pad - whole + 1 - k
        part = (slice(None),) * axis + (slice(start, start + n),)
        moved += weight / 6 * filtered[part]
    return moved


def border_mass(kernel: Kernel | ArrayLike) -> float:
    """Give the share of the light in the outermost voxels of y and x.

    Much of it says that the kernel was cut. The ends of z don't count: each plane of a widefield
    kernel holds as much light as the others, however far from focus.
    """
    one = array_of(kernel)
    inside = tuple(slice(1, -1) if n > 2 else slice(None) for n in one.shape[1:])
    return float(1 - one[:, *inside].sum() / one.sum())


def numbers_of(found: Measures) -> dict[str, float | str | None]:
    """Give the measures under flat names, a row of a table; None where nothing can be said."""
    row: dict[str, float | str | None] = {"unit": found.unit}
    for name in ("shape", "fwhm", "centroid", "asymmetry"):
        row |= {f"{name}_{axis}": v for axis, v in zip("zyx", getattr(found, name), strict=True)}
    row |= {"radius_50": found.radius_50, "radius_90": found.radius_90}
    for name in ("cutoff", "limit"):
        along, across = getattr(found, name) or (None, None)
        row |= {f"{name}_along": along, f"{name}_across": across}
    return row | {"border": found.border, "beyond": found.beyond, "ends": found.ends}


def write_table(path: str | Path, rows: Sequence[Mapping[str, float | str | None]]) -> None:
    """Write rows as CSV in UTF-8, one for each kernel; empty where nothing can be said."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows(rows)
