"""Kernels of the benchmark: arrays ([z,] y, x) with their centre at ``n // 2`` and sum 1."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, radians, sin
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KERNELS", "disc", "gaussian", "motion", "turbulence", "widefield"]

# Subpixels along each axis, for shapes with hard edges.
FINE = 8


def gaussian(shape: tuple[int, ...], sigma: float | tuple[float, ...]) -> NDArray[np.float32]:
    """Make a Gaussian, integrated over each pixel; standard deviations in pixels."""
    from napari_deblur.psfs.gaussian import Gaussian

    wide = (sigma,) * len(shape) if isinstance(sigma, float) else sigma
    z, y, x = (0.0,) * (3 - len(wide)) + wide
    full = (1,) * (3 - len(shape)) + shape
    made = Gaussian((z, y, x))((full[0], full[1], full[2]), (1.0, 1.0, 1.0))
    array: NDArray[np.float32] = made.at().reshape(shape)
    return array


def disc(radius: float) -> NDArray[np.float32]:
    """Make the blur of a lens out of focus, as rays have it."""
    size = 2 * int(np.ceil(radius)) + 3
    y, x = _fine(size)
    return _binned((y**2 + x**2 <= radius**2).astype(np.float64))


def motion(length: float, angle: float) -> NDArray[np.float32]:
    """Make a straight motion of `length` pixels, one pixel wide, at `angle` degrees."""
    size = 2 * int(np.ceil(length / 2)) + 3
    y, x = _fine(size)
    along = x * cos(radians(angle)) + y * sin(radians(angle))
    across = y * cos(radians(angle)) - x * sin(radians(angle))
    return _binned(((abs(along) <= length / 2) & (abs(across) <= 0.5)).astype(np.float64))


def turbulence(size: int, width: float) -> NDArray[np.float32]:
    """Make the blur of a long exposure through turbulent air; `width` is about its FWHM.

    The transfer function is exp(-3.44 (f / r)^(5/3)) with r = 1 / width (Fried, J. Opt. Soc. Am.
    56, 1372 (1966), doi:10.1364/JOSA.56.001372).
    """
    grid = 4 * size
    f = np.hypot(np.fft.fftfreq(grid)[:, None], np.fft.rfftfreq(grid)[None])
    return _centred(np.fft.irfft2(np.exp(-3.44 * (f * width) ** (5 / 3)), (grid, grid)), size)


def widefield(
    shape: tuple[int, int, int],
    *,
    na: float = 1.2,
    n_immersion: float = 1.33,
    wavelength: float = 0.52,
    pixel_size: tuple[float, float, float] = (0.3, 0.1, 0.1),
) -> NDArray[np.float32]:
    """Make the kernel of a widefield microscope from its pupil: scalar waves, no aberration.

    Lengths in µm. Its tails are long: out of focus the light spreads over a cone and is not lost.
    """
    grid = 256  # the cone of the last plane wraps around in a smaller one
    f = np.fft.fftfreq(grid, pixel_size[1])
    squared = f[:, None] ** 2 + f[None] ** 2
    axial = np.sqrt(np.maximum((n_immersion / wavelength) ** 2 - squared, 1e-12))
    # A lens that keeps sines lets a wave through with the root of its cosine.
    pupil = (squared <= (na / wavelength) ** 2) / np.sqrt(axial)
    planes = []
    for plane in range(shape[0]):
        height = (plane - shape[0] // 2) * pixel_size[0]
        wave = np.fft.ifft2(pupil * np.exp(2j * np.pi * height * axial))
        shifted = np.fft.fftshift(np.abs(wave) ** 2)
        where = (slice(grid // 2 - n // 2, grid // 2 + (n + 1) // 2) for n in shape[1:])
        planes.append(shifted[tuple(where)])
    return _normalised(np.stack(planes))


def _fine(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the places of subpixels, in pixels from the centre."""
    line = (np.arange(size * FINE) + 0.5) / FINE - size / 2
    return line[:, None], line[None]


def _binned(fine: NDArray[np.float64]) -> NDArray[np.float32]:
    n = fine.shape[0] // FINE
    return _normalised(fine.reshape(n, FINE, n, FINE).mean(axis=(1, 3)))


def _centred(array: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    middle = array.shape[0] // 2
    span = slice(middle - size // 2, middle + (size + 1) // 2)
    return _normalised(np.fft.fftshift(array)[span, span].clip(min=0))


def _normalised(array: NDArray[np.float64]) -> NDArray[np.float32]:
    normalised: NDArray[np.float32] = (array / array.sum()).astype(np.float32)
    return normalised


def _turbulent(size: int) -> NDArray[np.float32]:
    """Make the blur of a short exposure: speckles within a disc, always the same ones."""
    random = np.random.default_rng(5)
    speckles = gaussian_filter(random.random((size, size)) ** 6, 0.8)
    return _normalised(speckles * gaussian((size, size), size / 7.0))


# By name; those with three axes blur volumes.
KERNELS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "gaussian": lambda: gaussian((17, 17), 2.0),
    "defocus": lambda: disc(4.0),
    "motion": lambda: motion(15.0, 30.0),
    "turbulence": lambda: turbulence(31, 4.0),
    "speckled": lambda: _turbulent(15),
    "airy": lambda: widefield((1, 25, 25))[0],
    "gaussian 3-D": lambda: gaussian((13, 13, 13), (2.0, 1.5, 1.5)),
    "widefield": lambda: widefield((33, 49, 49)),
    "widefield, small": lambda: widefield((17, 33, 33)),
}
