"""The transfer function of a kernel, against what light can carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import log, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.protocols import Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Kernel

    Array = NDArray[np.floating[Any]]

__all__ = [
    "Transfer", "band_of", "end_of", "limits", "optics_for", "power_beyond", "transfer", "trimmed",
]  # fmt: skip

Triple = tuple[float, float, float]
# The transfer function has ended where it stays below this share of its value at 0.
ENDED = 0.01
# Of the light, what may be cut off before a transform; and how large that becomes for finer steps.
TRIMMED, LARGEST = 1e-4, 1024
# Columns of a spectrum that are transformed at once, in numbers.
BLOCK = 1 << 23


@dataclass(frozen=True, eq=False)
class Transfer:
    """The modulus of a kernel's transfer function against frequency, 1 at 0.

    `across` is the mean over all directions in the plane; `y` and `x` run along their axes. These
    are of the plane of the peak, as a thin object in focus is imaged. `along` is, for each
    frequency in z, the largest value over all frequencies of the plane: widefield light carries
    none at the axis itself. Each is (frequencies in cycles per unit, values).
    """

    across: tuple[Array, Array]
    y: tuple[Array, Array]
    x: tuple[Array, Array]
    along: tuple[Array, Array] | None


def trimmed(one: Array) -> Array:
    """Cut off the margins of an array (z, y, x) that hold no more than 0.01 % of its light."""
    cut = []
    for axis in range(one.ndim):
        line = np.cumsum(one.sum(axis=tuple(a for a in range(one.ndim) if a != axis)))
        share = TRIMMED / (2 * one.ndim) * line[-1]
        first, last = np.searchsorted(line, (share, line[-1] - share))
        # An axis that is there stays one.
        first = max(min(int(first), line.size - 2), 0)
        cut.append(slice(first, max(int(last), first + 1) + 1))
    return one[tuple(cut)]


def transfer(kernel: Kernel) -> Transfer:
    """Give the modulus of the transfer function, along the axes and averaged over directions."""
    size, one = kernel.pixel_size or (1.0, 1.0, 1.0), trimmed(kernel.at().astype(np.float64))
    return Transfer(*_in_focus(one, size), along=_along(one, size))


def _in_focus(
    one: Array, size: Triple
) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
    """Transform the plane of the peak: the mean over directions, along y, along x."""
    from scipy.fft import fft2

    focus = one[np.unravel_index(int(one.argmax()), one.shape)[0]]
    flat = np.abs(fft2(focus, [_length(n, 4, 256) for n in focus.shape]))
    flat = flat / flat[0, 0]
    fy, fx = (np.fft.fftfreq(n, s) for n, s in zip(flat.shape, size[1:], strict=True))
    radius = np.hypot(fy[:, None], fx[None])
    # Circles as wide as the coarser of the two steps, out to the nearer Nyquist frequency.
    step, last = max(fy[1], fx[1]), min(np.abs(fy).max(), np.abs(fx).max())
    ring = np.rint(radius / step).astype(int).ravel()
    count = np.maximum(np.bincount(ring), 1)
    mean = np.bincount(ring, flat.ravel()) / count
    frequency = np.bincount(ring, radius.ravel()) / count
    keep = frequency <= last * 1.0001
    return (
        (frequency[keep], mean[keep]),
        (fy[: fy.size // 2], flat[: fy.size // 2, 0]),
        (fx[: fx.size // 2], flat[0, : fx.size // 2]),
    )


def _along(one: Array, size: Triple) -> tuple[Array, Array] | None:
    if one.shape[0] == 1:
        return None
    largest = 0.0
    for modulus, _, _ in _columns(one, size, 4):
        largest = np.maximum(largest, modulus.max(axis=(1, 2)))
    solid = np.asarray(largest)
    half = slice(0, solid.size // 2)
    # The whole light is at frequency 0.
    return np.fft.fftfreq(solid.size, size[0])[half], solid[half] / float(one.sum())


def end_of(frequency: Array, values: Array) -> float:
    """Give the frequency from which on values stay below `ENDED`; the last one if they don't."""
    above = np.flatnonzero(values >= ENDED)
    last = int(above[-1])
    if last + 1 >= values.size:
        return float(frequency[-1])
    step = (values[last] - ENDED) / (values[last] - values[last + 1])
    return float(frequency[last] + step * (frequency[last + 1] - frequency[last]))


def limits(
    na: float, wavelength: float, n_immersion: float | None = None
) -> tuple[float | None, float]:
    """Give the largest frequencies that fluorescence carries, in cycles per µm: along z, across.

    Across it is 2 NA/λ. Along z it is (n − √(n² − NA²))/λ.

    Raises
    ------
    ValueError
        When the numbers are of no lens.
    """
    if not (na > 0 and wavelength > 0):
        raise ValueError(f"na {na:g} and wavelength {wavelength:g} µm: give both above 0")
    if n_immersion is None:
        return None, 2 * na / wavelength
    if na >= n_immersion:
        raise ValueError(
            f"na={na:g} is not below n_immersion={n_immersion:g}: no light enters at that angle; "
            "check the objective"
        )
    return (n_immersion - sqrt(n_immersion**2 - na**2)) / wavelength, 2 * na / wavelength


def band_of(
    kernel: Kernel, na: float, wavelength: float, n_immersion: float | None = None
) -> tuple[float | None, float]:
    """Give the `limits` of the microscope that a kernel's report names.

    A sheet of light, seen by a camera, multiplies the blur along z: the frequencies of its own
    profile come on top of the lens's, as far as that profile's transfer is above 1 %.

    Raises
    ------
    ValueError
        As `limits`.
    """
    along, across = limits(na, wavelength, n_immersion)
    thick = _number(kernel.report, "thickness", 1e-3, 1e6)
    if kernel.report.get("psf") == "light-sheet" and thick and along is not None:
        sigma = thick / sqrt(8 * log(2))
        along += sqrt(-2 * log(ENDED)) / (2 * pi * sigma)
    return along, across


def optics_for(kernel: Kernel, given: Facts | None = None) -> Facts:
    """Complete what is given of the optics by what a kernel's report says of its model's.

    Numbers of no lens are not taken. Of a confocal and a two-photon model the wavelength is that
    of a widefield lens of the same reach: blurs of excitation and emission multiply, so the
    frequencies that they carry add up. So a wavelength that is given, which is the emission's, is
    combined with the excitation of a confocal model, and has no say in a two-photon one.
    """
    facts, report = given or Facts(), kernel.report
    na, index = _number(report, "na", 1e-3, 4), _number(report, "n_immersion", 1, 4)
    excitation = _number(report, "excitation", 0.1, 20)
    emission = facts.wavelength or _number(report, "wavelength", 0.1, 20)
    if report.get("psf") == "two-photon":
        emission = None if excitation is None else excitation / 2
    elif report.get("psf") == "confocal" and emission and excitation:
        emission = 1 / (1 / emission + 1 / excitation)
    if (facts.na or na or 0) >= (facts.n_immersion or index or np.inf):  # of no one lens
        na = index = None
    known = facts.completed("read", na=na, wavelength=emission, n_immersion=index)
    return replace(known, wavelength=emission)


def _number(report: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    value = report.get(name)
    fits = isinstance(value, int | float) and low <= value <= high
    return float(value) if fits and value is not None else None


def power_beyond(
    kernel: Kernel, na: float, wavelength: float, n_immersion: float | None = None
) -> float:
    """Give the share of a kernel's power at frequencies that no light of these optics carries.

    0 where the pixels are too coarse to tell. What the optics carry is `band_of` the kernel.

    Parameters
    ----------
    na : float
    wavelength : float
        Of the emission, in µm.
    n_immersion : float or None
        With it frequencies along z are judged too.

    Raises
    ------
    ValueError
        Without a voxel size.
    """
    if kernel.pixel_size is None:
        raise ValueError("the kernel has no voxel size to compare with the optics: give its own")
    along, across = band_of(kernel, na, wavelength, n_immersion)
    one = trimmed(kernel.at().astype(np.float64))
    deep = along is not None and one.shape[0] > 1
    fz = None
    within = whole = 0.0
    for modulus, radius, twice in _columns(one, kernel.pixel_size, 2):
        power = modulus.astype(np.float64) ** 2 * twice
        inside = (radius <= across)[None]
        if deep and along is not None:
            fz = np.fft.fftfreq(len(power), kernel.pixel_size[0]) if fz is None else fz
            inside = inside & (np.abs(fz) <= along)[:, None, None]
        whole += float(power.sum())
        within += float((power * inside).sum())
    return max(1 - within / whole, 0.0)


def _length(n: int, times: int, least: int) -> int:
    """Choose an even length for a transform: finer steps, but no monsters for large kernels."""
    from scipy.fft import next_fast_len

    if n == 1 and least == 1:
        return 1
    length = next_fast_len(max(n, least, min(times * n, LARGEST)))
    # Even lengths have a Nyquist frequency, at which half the axis ends.
    return length + length % 2


def _columns(one: Array, size: Triple, times: int) -> Iterator[tuple[Array, Array, Array]]:
    """Transform a kernel, and give the modulus of some rows of frequencies y after the other.

    With each comes the frequency across, and how often each column counts: of two that are alike,
    for positive and negative frequencies x, one is computed.
    """
    from scipy.fft import fft, rfft2

    deep = 1 if one.shape[0] == 1 else _length(one.shape[0], times, 64)
    across = [_length(n, 2, 64) for n in one.shape[1:]]
    # Half the precision in half the time: 1e-7 of the light is far below what is looked for.
    flat = rfft2(one.astype(np.float32), across)
    fy, fx = np.fft.fftfreq(across[0], size[1]), np.fft.rfftfreq(across[1], size[2])
    twice = np.where((fx == 0) | (np.arange(fx.size) == fx.size - 1), 1.0, 2.0)
    rows = max(1, BLOCK // (deep * fx.size))
    for start in range(0, fy.size, rows):
        part = flat[:, start : start + rows]
        spectrum = part if deep == 1 else fft(part, deep, axis=0)
        yield np.abs(spectrum), np.hypot(fy[start : start + rows, None], fx[None]), twice
