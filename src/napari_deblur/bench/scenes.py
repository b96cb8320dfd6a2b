"""Synthetic objects and what a microscope makes of them: always the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from napari_deblur import ops
from napari_deblur.bench.kernels import KERNELS
from napari_deblur.protocols import Blur, Facts, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["OBJECTS", "Case", "Scene", "psnr"]

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Scene:
    """What was there, what the camera saw, and the blur between them; counts, float32.

    `truth` includes the background and has the tile's shape: the object itself goes on beyond
    the tile's border, as it does under a microscope. `limits` are what a file of 8 bits can hold:
    a restored photograph is clipped to them.
    """

    truth: Tensor
    tile: Tensor
    blur: Blur
    facts: Facts
    peak: float
    limits: tuple[float, float] | None = None

    def sample(self) -> Sample:
        """Give the tile as the only sample of its channel."""
        region = tuple((0, n) for n in (1, 1, 1, *self.tile.shape)[-3:])
        return Sample(self.tile, region, 0, 0, self.blur, self.facts)

    def psnr(self, image: Tensor) -> float:
        """Give the quality of a restored tile in dB; the peak is the object's."""
        if self.limits is not None:
            image = image.clamp(min=self.limits[0], max=self.limits[1])
        return psnr(image, self.truth, self.peak)


@dataclass(frozen=True)
class Case:
    """A scene by its names: the object, its kernel, photons in the object's brightest pixel."""

    thing: str
    kernel: str
    peak: float
    shape: tuple[int, ...]
    seed: int = 0
    background: float = 10.0

    def __str__(self) -> str:
        return f"{self.thing}, {self.kernel}, {self.peak:g} photons"

    def scene(self, camera: str = "known") -> Scene:
        """Blur the object and draw its photons; facts of the camera are known or estimated."""
        random = np.random.default_rng((self.seed, *self.shape))
        kernel = KERNELS[self.kernel]()
        wide = ops.object_shape(self.shape, kernel.shape)
        light = torch.from_numpy(OBJECTS[self.thing](wide, random).astype(np.float32))
        blur = Blur(torch.from_numpy(kernel.copy())[None])
        seen = ops.blur(light, blur)
        truth = ops.crop(light, blur)
        scale = self.peak / float(truth.max())
        mean = seen.mul(scale).clamp(min=0).add(self.background).double().numpy()
        counts = random.poisson(mean).astype(np.uint16)
        facts = Facts(
            gain=1.0,
            offset=0.0,
            read_noise=0.0,
            background=self.background,
            white=float(np.percentile(counts, 99.9)),
            noise=self.background**0.5,
        )
        if camera == "estimated":
            facts = _estimated(counts)
        tile = torch.from_numpy(counts.astype(np.float32))
        return Scene(truth * scale + self.background, tile, blur, facts, self.peak)


def psnr(image: Tensor, truth: Tensor, peak: float) -> float:
    """Give the peak signal to noise ratio in dB; pixels of which nothing is known don't count."""
    error = (image - truth).square().nanmean(dtype=torch.float64)
    return float(10 * torch.log10(peak**2 / error))


def filaments(shape: tuple[int, ...], random: Random) -> NDArray[np.float64]:
    """Thin curves that wander through the volume."""
    image = np.zeros(shape)
    for _ in range(12 + prod(shape) // 40_000):
        place = random.random(len(shape)) * shape
        wander = gaussian_filter(random.standard_normal((4 * max(shape), len(shape))), (60, 0))
        steps = random.standard_normal(len(shape)) + wander / wander.std()
        steps /= 2 * np.linalg.norm(steps, axis=1, keepdims=True)
        points = (place + np.cumsum(steps, axis=0)).round().astype(int)
        points = points[((points >= 0) & (points < shape)).all(axis=1)]
        np.add.at(image, tuple(points.T), random.uniform(0.4, 1.0))
    return _scaled(np.minimum(gaussian_filter(image, 0.7), 1.5))


def beads(shape: tuple[int, ...], random: Random) -> NDArray[np.float64]:
    """Small spheres of several brightnesses."""
    image = np.zeros(shape)
    count = 20 + prod(shape) // 8000
    places = (random.random((count, len(shape))) * shape).astype(int)
    np.add.at(image, tuple(places.T), random.uniform(0.3, 1.0, count))
    return _scaled(gaussian_filter(image, 0.9))


def blobs(shape: tuple[int, ...], random: Random) -> NDArray[np.float64]:
    """Large soft bodies with a texture, as nuclei are."""
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    image = np.zeros(shape)
    for _ in range(8 + prod(shape) // 120_000):
        radii = random.uniform(6, 14, len(shape))
        if len(shape) == 3:
            radii[0] /= 2  # its pixels are longer
        centre = random.random(len(shape)) * shape
        away = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True))
        image = np.maximum(image, random.uniform(0.5, 1) / (1 + np.exp(8 * (np.sqrt(away) - 1))))
    texture = gaussian_filter(random.standard_normal(shape), 1.5)
    return _scaled(image * (1 + 0.4 * texture / texture.std()).clip(min=0.1))


def speckles(shape: tuple[int, ...], random: Random) -> NDArray[np.float64]:
    """Structure everywhere, hardly larger than a pixel, without any darkness between."""
    return _scaled(gaussian_filter(random.exponential(1.0, shape), 1.0))


def mixed(shape: tuple[int, ...], random: Random) -> NDArray[np.float64]:
    """Filaments, beads and blobs, as in one cell."""
    return _scaled(filaments(shape, random) + beads(shape, random) + 0.4 * blobs(shape, random))


def _scaled(image: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = image / image.max()
    return scaled


def _estimated(counts: NDArray[np.uint16]) -> Facts:
    """Find the facts as a plan does for a stack of which nothing is known."""
    from napari_deblur.facts import facts_of
    from napari_deblur.opening import open_stack

    axes = "zyx"[-counts.ndim :]
    return facts_of(
        open_stack(counts, axes), 0, list(counts.reshape(-1, *counts.shape[-2:])), Facts()
    )


OBJECTS = {
    "beads": beads,
    "blobs": blobs,
    "filaments": filaments,
    "mixed": mixed,
    "speckles": speckles,
}
