"""From a blur that is known everywhere to pixels: averages over pixels, and how many of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "FAR",
    "INDEX",
    "LIGHT",
    "Auto",
    "Shape",
    "Size",
    "auto_shape",
    "check_lens",
    "check_names",
    "check_values",
    "nodes_per_pixel",
    "pixel_averages",
    "pixel_nodes",
    "report_of",
    "whole",
]

Shape = tuple[int, int, int]
Size = tuple[float, float, float]
Auto = Literal["auto"]

# Bounds of fields, for forms: of refractive indices, of wavelengths, and of lengths, in µm; lenses
# that stand two centimetres off are sold.
INDEX: dict[str, float] = {"min": 1.0, "max": 4.0}
LIGHT: dict[str, float] = {"min": 0.1, "max": 20.0}
FAR = 100_000.0

# Along the axis, a plane belongs to the kernel as long as its middle has this share of the peak.
AXIAL = 1e-3
# Of the lens, beyond the geometric cone, in radii of the Airy disc.
RADII = 5
# Without an image there is no other limit to the planes.
MOST_PLANES = 255
# Nor to the cone of a deep point: a kernel of so many voxels takes seconds, of ten times as many
# minutes, and gigabytes.
MOST_VOXELS = 1 << 24


def check_lens(na: float, n_immersion: float, **wavelengths: float) -> None:
    """Refuse what no lens can be.

    Raises
    ------
    ValueError
        When the aperture is larger than the immersion allows, or a wavelength is not in µm.
    """
    if not INDEX["min"] <= n_immersion <= INDEX["max"]:
        raise ValueError(f"n_immersion is {n_immersion:g}: a refractive index lies between 1 and 4")
    if not 0 < na < n_immersion:
        raise ValueError(
            f"na is {na:g} and n_immersion {n_immersion:g}: na must be above 0 and below the "
            "immersion's refractive index, since no light enters beyond that; check the objective"
        )
    for name, value in wavelengths.items():
        if not LIGHT["min"] <= value <= LIGHT["max"]:
            raise ValueError(f"{name} is {value:g} µm: give it in µm, such as 0.52 for 520 nm")


def check_values(model: object, names: tuple[str, ...], *, low: float = 0.0) -> None:
    """Refuse values of a model that are not finite or below `low`."""
    for name in names:
        value = getattr(model, name)
        if not (np.isfinite(value) and value >= low):
            raise ValueError(f"{name} is {value}: it must be {low:g} or more")


def check_names(model: object, given: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """Refuse parameters that a model doesn't have.

    Raises
    ------
    TypeError
        With the names there are.
    """
    for name in given:
        if name not in allowed:
            raise TypeError(
                f'{type(model).__name__}.tensor has no parameter "{name}"; there are: '
                + ", ".join(allowed)
            )


def whole(value: float) -> int:
    """Give the odd number of pixels that reaches `value` pixels to both sides of the middle."""
    return 2 * int(np.ceil(value - 1e-9)) + 1


def auto_shape(
    pixel_size: Size,
    image: Shape | None,
    *,
    axial: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    reach: float,
    slope: float,
    airy: float,
    besides: float = 0.0,
) -> Shape:
    """Choose an odd shape (z, y, x) of a kernel of a lens.

    Along z, up to the last plane whose middle has 1e-3 of the peak, at most ``2 * nz - 1`` planes.
    Across, the geometric cone at the outermost plane and 5 Airy radii, at most the image's size.
    Without an image the kernel has at most 255 planes and 17 million voxels.

    Parameters
    ----------
    axial : callable
        Gives the intensity on the axis at distances from the focus in µm.
    reach : float
        How far from the focus to look, in µm.
    slope : float
        Tangent of the half-angle of the cone.
    airy : float
        Radius of the Airy disc in µm.
    besides : float
        What the plane in the middle needs more than that, in µm.
    """
    step = pixel_size[0]
    most = MOST_PLANES if image is None else 2 * image[0] - 1
    far = min((most // 2) * step, reach)
    # Between the planes too: a plane may lie in a zero of the axis.
    distances = np.arange(0, far + step / 2, min(step, reach / 100))
    both = axial(np.concatenate([distances, -distances])).reshape(2, -1).max(0)
    last = distances[np.flatnonzero(both >= AXIAL * both.max())[-1]]
    planes = min(whole(last / step), most)
    radius = (planes // 2) * step * slope + RADII * airy + besides
    y, x = (whole(radius / p) for p in pixel_size[1:])
    if image is None:
        part = min(1.0, (MOST_VOXELS / (planes * y * x)) ** 0.5)
        y, x = (max(1, 2 * int((part * n + 1) / 2) - 1) for n in (y, x))
    else:
        y, x = (
            min(n, 2 * ((there - 1) // 2) + 1) for n, there in zip((y, x), image[1:], strict=True)
        )
    return planes, y, x


def report_of(name: str, model: Any, **said: float) -> dict[str, Any]:
    """Say how a kernel was made: the model's name, its parameters and what is said besides."""
    values = asdict(model)
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return {"psf": name, **plain, **said}


def nodes_per_pixel(pixel: float, cutoff: float) -> int:
    """Give how many points per pixel its average needs; `cutoff` in 1/µm.

    By Gauss and Legendre two points err by .2 % at half the cut-off for pixels at the Nyquist
    limit.
    """
    coarse = pixel * cutoff
    return 2 if coarse <= 0.6 else 3 if coarse <= 1.2 else int(np.ceil(coarse)) + 2


@lru_cache(maxsize=64)
def pixel_nodes(n: int, pixel: float, points: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give positions in µm, and weights, of `points` nodes in each of n pixels (n, points)."""
    at, weight = np.polynomial.legendre.leggauss(points)
    middles = np.arange(n) - n // 2
    return (middles[:, None] + at / 2) * pixel, np.tile(weight / 2, (n, 1))


def pixel_averages(n: int, pixel: float, points: int, sigma: Tensor | None) -> Tensor:
    """Give the matrix (n, n * points) that blurs by a Gaussian and averages over each pixel.

    Parameters
    ----------
    sigma : Tensor or None
        Standard deviation in µm.
    """
    import torch

    if sigma is None:
        return _averages(n, pixel, points)
    at, weights = _nodes(n, pixel, points)
    at, weights = at.to(sigma.device), weights.to(sigma.device)
    edges = (torch.arange(n + 1, device=sigma.device) - n // 2 - 0.5) * pixel
    # Less than a thousandth of a pixel is no blur, and nothing is divided by 0.
    spread = torch.clamp(sigma.to(torch.float32), min=1e-3 * pixel) * 2**0.5
    below = torch.erf((edges[:, None] - at[None, :]) / spread)
    return (below[1:] - below[:-1]) * (weights / 2)


@lru_cache(maxsize=64)
def _averages(n: int, pixel: float, points: int) -> Tensor:
    import torch

    _, weights = pixel_nodes(n, pixel, points)
    matrix = np.zeros((n, n, points))
    matrix[np.arange(n), np.arange(n)] = weights
    return torch.from_numpy(matrix.reshape(n, n * points).astype(np.float32))


@lru_cache(maxsize=64)
def _nodes(n: int, pixel: float, points: int) -> tuple[Tensor, Tensor]:
    import torch

    at, weights = pixel_nodes(n, pixel, points)
    return (
        torch.from_numpy(at.ravel().astype(np.float32)),
        torch.from_numpy(weights.ravel().astype(np.float32)),
    )
