"""Pictures made on the spot, always the same, of which the truth is known; by numpy and scipy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["beads", "filaments", "movie", "photograph", "photographed", "tilted"]

Random = np.random.Generator


def filaments(shape: tuple[int, int], random: Random, *, lines: int, points: int) -> Any:
    """Draw thin bent lines and bright points, as light per pixel."""
    sharp = np.zeros(shape, np.float32)
    ny, nx = shape
    for _ in range(lines):
        y, x = random.uniform(0.05, 0.95, 2) * shape
        angle, bend = random.uniform(0, 2 * np.pi), random.normal(0, 0.008)
        for _ in range(max(shape)):
            y, x, angle = y + np.sin(angle), x + np.cos(angle), angle + bend
            if not (0 <= y < ny and 0 <= x < nx):
                break
            sharp[int(y), int(x)] += 900
    at = random.integers(8, ny - 8, (points, 2))
    at[:, 1] = 8 + (at[:, 1] - 8) * (nx - 16) // (ny - 16)
    sharp[at[:, 0], at[:, 1]] += random.uniform(4000, 16000, points).astype(np.float32)
    return sharp


def photographed(light: NDArray[Any], random: Random) -> NDArray[np.uint16]:
    """Count photons, add a camera's offset of 80 counts and its noise."""
    counts = random.poisson(light + 20) + random.normal(80, 2, light.shape)
    return np.clip(np.round(counts), 0, 65535).astype(np.uint16)


def movie(
    sigmas: tuple[float, float], frames: int = 6, side: int = 128
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Make a movie (t, c, y, x): lines that drift, points that wander, each channel blurred.

    Returns
    -------
    blurred, sharp
        `sigmas` (px) are of the Gaussian that blurs each channel.
    """
    from scipy.ndimage import gaussian_filter, shift

    random = np.random.default_rng(11)
    lines = filaments((side, side), random, lines=9, points=0)
    places = random.uniform(12, side - 12, (24, 2))
    light = random.uniform(4000, 12000, 24).astype(np.float32)
    sharp = np.zeros((frames, 2, side, side), np.float32)
    for t in range(frames):
        sharp[t, 0] = shift(lines, (0.8 * t, -0.5 * t), order=1)
        y, x = np.clip(places, 1, side - 2).astype(int).T
        np.add.at(sharp[t, 1], (y, x), light)
        places = places + random.normal(0, 1.2, places.shape)
    seen = np.stack([gaussian_filter(sharp[:, c], (0, s, s)) for c, s in enumerate(sigmas)], 1)
    return photographed(seen, random), sharp


def tilted(
    least: float, most: float, shape: tuple[int, int] = (256, 384)
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Make a picture (y, x) whose blur is a Gaussian that widens from left to right.

    Returns
    -------
    blurred, sharp
        At column x the kernel is a mean of two Gaussians of the nine from `least` to `most` (px).
    """
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(13)
    sharp = filaments(shape, random, lines=22, points=70)
    sigmas = np.linspace(least, most, 9)
    nodes = np.linspace(0, shape[1] - 1, len(sigmas))
    columns = np.arange(shape[1])
    light = np.zeros(shape)
    for k, sigma in enumerate(sigmas):
        # Weights belong to where light comes from, not to where it arrives.
        share = np.interp(columns, nodes, np.eye(len(sigmas))[k])
        light += gaussian_filter(sharp * share, sigma, mode="constant")
    return photographed(light, random), sharp


def beads(
    sigma: float, depth: float, shape: tuple[int, int, int] = (32, 160, 160)
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Make a stack (z, y, x) of beads on a coverslip, far smaller than the blur.

    Four are of no use: two lie close together, one is at the border, one is saturated.

    Parameters
    ----------
    sigma : float
        Standard deviation (px) in focus; it grows with the distance from there.
    depth : float
        Planes at which it is √2 times as wide above; below, 1.25 times as many.

    Returns
    -------
    stack, places
        And where the beads lie (z, y, x), in voxels.
    """
    random = np.random.default_rng(17)
    grid = np.stack(np.meshgrid(np.arange(20, 150, 24), np.arange(20, 150, 24)), -1).reshape(-1, 2)
    across = grid + random.uniform(-3, 3, grid.shape)
    planes = random.uniform(shape[0] / 2 - 1.2, shape[0] / 2 + 0.8, (len(grid), 1))
    places = np.concatenate((planes, across), axis=1)
    bright = random.uniform(60_000, 140_000, len(places))
    places[7] = places[8] + (0.5, -6.0, 1.0)
    places[0, 1:] = (3.0, 20.0)
    bright[20] = 1.6e6
    z, y, x = (np.arange(n, dtype=float) for n in shape)
    light = np.zeros(shape)
    for (pz, py, px), total in zip(places, bright, strict=True):
        off = (z - pz) / np.where(z < pz, 1.25 * depth, depth)
        width = sigma * np.sqrt(1 + off**2)
        along = [np.exp(-((axis - p) ** 2) / (2 * width[:, None] ** 2))
                 for axis, p in ((y, py), (x, px))]  # fmt: skip
        scale = total / (2 * np.pi * width**2) / (2 * depth)
        light += scale[:, None, None] * along[0][:, :, None] * along[1][:, None, :]
    return np.minimum(photographed(light, random), 16_383).astype(np.uint16), places


def photograph(
    length: float, angle: float, side: int = 256
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a street of houses (y, x, 3) in sRGB, and the same from a camera that moved.

    Parameters
    ----------
    length, angle : float
        Of the way that it moved: pixels, and degrees from x towards y.

    Returns
    -------
    moved, sharp
    """
    random = np.random.default_rng(19)
    fine = _street(2 * side, random)  # drawn larger, so that edges are no stairs
    light = fine.reshape(side, 2, side, 2, 3).mean((1, 3))
    kernel = _way(length, angle)
    beyond = len(kernel) // 2
    padded = np.pad(light, ((beyond, beyond), (beyond, beyond), (0, 0)), mode="edge")
    moved = np.zeros_like(light)
    for y, x in zip(*np.nonzero(kernel), strict=True):
        moved += kernel[y, x] * padded[y : y + side, x : x + side]
    moved += random.normal(0, 0.002, moved.shape)
    return _in_srgb(moved), _in_srgb(light)


def _way(length: float, angle: float) -> NDArray[np.float64]:
    """Draw a straight way as a kernel of sum 1, the light of each point shared by four pixels."""
    half = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * half + 1,) * 2)
    steps = np.linspace(-length / 2, length / 2, 8 * int(np.ceil(length)) + 1)
    for step in steps:
        y, x = (half + step * f(np.deg2rad(angle)) for f in (np.sin, np.cos))
        y0, x0 = int(y), int(x)
        rows, columns = (1 - (y - y0), y - y0), (1 - (x - x0), x - x0)
        kernel[y0 : y0 + 2, x0 : x0 + 2] += np.outer(rows, columns)
    return kernel / len(steps)


def _street(side: int, random: Random) -> NDArray[np.float64]:
    """Draw sky, houses with lit windows, lamps and a road, in linear light from 0 to 1."""
    y, x = np.mgrid[:side, :side] / side
    image = np.empty((side, side, 3))
    image[:] = np.array([0.10, 0.20, 0.45]) * (0.35 + 0.9 * y[..., None])
    image[(y - 0.16) ** 2 + (x - 0.8) ** 2 < 0.055**2] = (1.0, 0.93, 0.7)
    left = -0.02
    while left < 1:
        width, top = random.uniform(0.1, 0.2), random.uniform(0.25, 0.5)
        wall = random.uniform(0.05, 0.4) * np.array([1, 0.75, 0.6]) * random.uniform(0.6, 1.2, 3)
        image[(x >= left) & (x < left + width) & (y > top) & (y < 0.86)] = wall
        middle, half = left + width / 2, width / 2
        roof = (np.abs(x - middle) < half + 0.01) & (y <= top)
        image[roof & (y > top - 0.07 * (1 - np.abs(x - middle) / half))] = 0.3 * wall
        for wy in np.arange(top + 0.04, 0.8, 0.075):
            for wx in np.arange(left + 0.022, left + width - 0.04, 0.045):
                lit = (0.95, 0.75, 0.3) if random.random() < 0.55 else (0.03, 0.04, 0.07)
                image[(y > wy) & (y < wy + 0.04) & (x > wx) & (x < wx + 0.024)] = lit
        left += width
    image[y >= 0.86] = (0.06, 0.06, 0.07)
    image[(y > 0.925) & (y < 0.94) & ((x * 9) % 1 < 0.55)] = 0.8
    for at in (0.12, 0.45, 0.78):
        image[(np.abs(x - at) < 0.003) & (y > 0.6) & (y < 0.88)] = 0.02
        image[(y - 0.6) ** 2 + (x - at) ** 2 < 0.011**2] = (1.0, 0.97, 0.85)
    return image


def _in_srgb(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Encode linear light as sRGB (IEC 61966-2-1)."""
    light = light.clip(0, 1)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * values).astype(np.uint8)
