"""The transfer function of a kernel, against what light can carry."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_deblur.protocols import Kernel

    Array = NDArray[np.floating[Any]]

__all__ = ["Transfer", "end_of", "limits", "power_beyond", "transfer"]

Triple = tuple[float, float, float]
# The transfer function has ended where it stays below this share of its value at 0.
ENDED = 0.01


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


def transfer(kernel: Kernel) -> Transfer:
    """Give the modulus of the transfer function, along the axes and averaged over directions."""
    size, one = kernel.pixel_size or (1.0, 1.0, 1.0), kernel.at().astype(np.float64)
    focus = one[[np.unravel_index(int(one.argmax()), one.shape)[0]]]
    flat = np.abs(_spectrum(focus, least=256))[0]
    flat = flat / flat[0, 0]
    _, fy, fx = _frequencies((1, *flat.shape), size)
    radius = np.hypot(fy[:, None], fx[None])
    # Circles as wide as the coarser of the two steps, out to the nearer Nyquist frequency.
    step, last = max(fy[1], fx[1]), min(np.abs(fy).max(), np.abs(fx).max())
    ring = np.rint(radius / step).astype(int).ravel()
    count = np.maximum(np.bincount(ring), 1)
    mean = np.bincount(ring, flat.ravel()) / count
    frequency = np.bincount(ring, radius.ravel()) / count
    keep = frequency <= last * 1.0001
    along = None
    if kernel.shape[0] > 1:
        solid = np.abs(_spectrum(one)).max(axis=(1, 2))
        half = slice(0, solid.size // 2)
        along = _frequencies((solid.size, 1, 1), size)[0][half], solid[half] / solid[0]
    return Transfer(
        across=(frequency[keep], mean[keep]),
        y=(fy[: fy.size // 2], flat[: fy.size // 2, 0]),
        x=(fx[: fx.size // 2], flat[0, : fx.size // 2]),
        along=along,
    )


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


def power_beyond(
    kernel: Kernel, na: float, wavelength: float, n_immersion: float | None = None
) -> float:
    """Give the share of a kernel's power at frequencies that no light of these optics carries.

    0 where the pixels are too coarse to tell.

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
    along, across = limits(na, wavelength, n_immersion)
    power = np.abs(_spectrum(kernel.at().astype(np.float64))) ** 2
    fz, fy, fx = _frequencies(power.shape, kernel.pixel_size)
    outside = (np.hypot(fy[:, None], fx[None]) > across)[None]
    if along is not None and kernel.shape[0] > 1:
        outside = outside | (np.abs(fz) > along)[:, None, None]
    return float((power * outside).sum() / power.sum())


def _spectrum(one: Array, least: int = 64) -> NDArray[np.complex128]:
    """Transform a kernel on a grid at least four times as fine as its own frequencies."""
    from scipy.fft import fftn, next_fast_len

    z, *flat = one.shape
    lengths = [
        1 if z == 1 else next_fast_len(max(4 * z, least)),
        *(next_fast_len(max(4 * n, least)) for n in flat),
    ]
    # Even lengths have a Nyquist frequency, at which half the axis ends.
    lengths = [n + n % 2 if n > 1 else 1 for n in lengths]
    found: NDArray[np.complex128] = fftn(one, lengths)
    return found


def _frequencies(shape: tuple[int, ...], size: Triple) -> tuple[Array, Array, Array]:
    made: list[Array] = [np.fft.fftfreq(n, s) for n, s in zip(shape, size, strict=True)]
    return made[0], made[1], made[2]
