"""Scenes that the network has not seen: objects held back, kernels of families not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.bench.scenes import Scene
from napari_deblur.gdunet.objects import crops, made
from napari_deblur.protocols import Blur, Facts, Sample
from napari_deblur.psfs.disc import Disc
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.psfs.pupil import Pupil
from napari_deblur.psfs.turbulence import Turbulence

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["FAMILIES", "SIDE", "Case", "objects"]

Random = np.random.Generator
# Pixels of a kernel and of a tile.
SIDE, TILE = 31, 192
PIXEL = (1.0, 1.0, 1.0)
BACKGROUND = 10.0
# Differs from every seed of a training.
SEED = 20_262


def aberrated(random: Random) -> Tensor:
    """Make the kernel of a lens with more kinds of aberrations than were trained on."""
    waves = random.standard_normal(12)
    waves *= random.uniform(0.03, 0.12) / np.linalg.norm(waves)
    model = Pupil(
        na=1.0,
        wavelength=1 / random.uniform(0.1, 0.3),
        defocus=0.0,
        zernike=tuple(waves),
    )
    return model.tensor((1, SIDE, SIDE), PIXEL)[0]


def turbulent(random: Random) -> Tensor:
    """Make the mean of many random phases."""
    return Turbulence(float(random.uniform(2, 6))).tensor((1, SIDE, SIDE), PIXEL)[0]


def speckled(random: Random) -> Tensor:
    """Make the kernel of one random phase: a few speckles."""
    model = Turbulence(
        float(random.uniform(3, 6)), "short", speckle=float(random.uniform(1.5, 3)),
        seed=int(random.integers(2**31)),
    )  # fmt: skip
    return torch.from_numpy(model((1, SIDE, SIDE), PIXEL).at()[0].copy())


def oblique(random: Random) -> Tensor:
    """Make a disc blurred by a Gaussian that lies askew."""
    disc = Disc(float(random.uniform(1, 2.5))).tensor((1, 9, 9), PIXEL)[0]
    wide = SIDE + len(disc) - 1
    places = torch.arange(wide, dtype=torch.float32) - wide // 2
    y, x = places[:, None], places[None]
    angle = random.uniform(0.3, 1.2)
    along, across = random.uniform(1.2, 3.0), random.uniform(0.7, 1.2)
    u, v = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
    skew = torch.exp(-(u**2) / (2 * along**2) - v**2 / (2 * across**2))
    return ops.blur(skew, Blur(disc[None]))


def point(random: Random) -> Tensor:
    """Make next to no blur."""
    sigma = float(random.uniform(0.1, 0.4))
    return Gaussian((0.0, sigma, sigma)).tensor((1, SIDE, SIDE), PIXEL)[0]


FAMILIES: dict[str, Callable[[Random], Tensor]] = {
    "aberrated": aberrated,
    "turbulent": turbulent,
    "speckled": speckled,
    "oblique": oblique,
}


def objects(folder: Path | None, count: int, side: int) -> NDArray[np.float32]:
    """Cut objects from the sharp images of a folder, or make some if there is none.

    Returns
    -------
    array, shape (count, side, side)
        0 is dark and 1 bright; the same every time.
    """
    if folder is None:
        return made(count, side, SEED).astype(np.float32)
    return _cut(folder, count, side)


@lru_cache(maxsize=4)
def _cut(folder: Path, count: int, side: int) -> NDArray[np.float32]:
    from napari_deblur.training import sharp_images

    images = sharp_images(folder, ["*.png", "*.tif", "*.tiff"])
    every = crops(images, side, SEED, each=1)
    if len(every) < count:
        raise ValueError(
            f"{folder.name} gives {len(every)} objects of {side} px and {count} are needed: take "
            "more or larger images"
        )
    chosen = ((np.arange(count) + 0.5) * len(every) / count).astype(int)
    cut: NDArray[np.float32] = every[chosen].astype(np.float32)
    return cut


@dataclass(frozen=True, eq=False)
class Case:
    """An object, blurred and photographed.

    Parameters
    ----------
    name : str
    thing : array (y, x), 0…1
        SIDE - 1 pixels longer than the tile along both axes.
    family : str
        Of the kernel; "point" for none.
    peak : float
        Photons at brightness 1.
    seed : int
    quick : bool
        Whether searches are to be short: to see that they work, not how well.
    """

    name: str
    thing: NDArray[np.float32]
    family: str
    peak: float
    seed: int
    quick: bool = False

    @cached_property
    def kernel(self) -> Tensor:
        """The true kernel, its centre of mass in the middle."""
        make = point if self.family == "point" else FAMILIES[self.family]
        kernel = make(np.random.default_rng((SEED, self.seed)))
        for _ in range(3):
            kernel = ops.normalised(ops.shifted(kernel, -ops.centroid(kernel)))
        return kernel

    @cached_property
    def scene(self) -> Scene:
        """What was there, and what the camera saw."""
        random = np.random.default_rng((SEED, self.seed, int(self.peak)))
        blur = Blur(self.kernel[None])
        light = torch.from_numpy(self.thing)
        seen, truth = ops.blur(light, blur), ops.crop(light, blur)
        mean = seen.mul(self.peak).clamp(min=0).add(BACKGROUND).double().numpy()
        counts = torch.from_numpy(random.poisson(mean).astype(np.float32))
        facts = Facts(
            gain=1.0,
            offset=0.0,
            read_noise=0.0,
            background=BACKGROUND,
            white=float(np.percentile(counts.numpy(), 99.9)),
            noise=BACKGROUND**0.5,
        )
        return Scene(truth * self.peak + BACKGROUND, counts, blur, facts, self.peak)

    @property
    def sample(self) -> Sample:
        """What a plan gives to those that look for kernels: no kernel, no optics."""
        scene = self.scene
        region = ((0, 1), *((0, n) for n in scene.tile.shape))
        return Sample(scene.tile, region, 0, 0, None, scene.facts)
