"""Kernels to blur with, from this package's own models, in pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.psfs.disc import Disc
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.psfs.gibson_lanni import GibsonLanni
from napari_deblur.psfs.motion import Motion
from napari_deblur.psfs.pupil import Pupil

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FAMILIES", "SCALES", "gaussians", "made_kernels", "widths"]

Random = np.random.Generator
Scales = tuple[float, float]
PIXEL = (1.0, 1.0, 1.0)
# Finest and coarsest pixels: numerical aperture × pixel / wavelength. Above 0.25 a widefield
# image is undersampled.
SCALES = (0.06, 0.5)


def made_kernels(
    count: int,
    size: int,
    seed: int,
    *,
    scales: Scales = SCALES,
    shares: Mapping[str, float] | None = None,
) -> NDArray[np.float32]:
    """Make kernels of several families.

    Parameters
    ----------
    count, size, seed : int
    scales : (least, most)
        Of NA × pixel / wavelength, for what a lens makes.
    shares : mapping of family to float, optional
        How often each is made; as `FAMILIES` says by default.

    Returns
    -------
    array, shape (count, size, size)
        Of sum 1, their centres of mass in the middle; the same for the same seed.
    """
    often = shares or {name: share for name, (share, _) in FAMILIES.items()}
    names, parts = list(often), np.array(list(often.values()))
    kernels = np.empty((count, size, size), np.float32)
    for i in range(count):
        random = np.random.default_rng((seed, i))
        make = FAMILIES[names[random.choice(len(names), p=parts / parts.sum())]][1]
        kernels[i] = _centred(make(size, random, scales))
    return kernels


def gaussians(sigma: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Make round Gaussians, shape (batch, 1, ky, kx), of standard deviations (batch,) in pixels."""
    profiles = []
    for n in size:
        edges = torch.arange(n + 1, dtype=torch.float32) - n // 2 - 0.5
        profile = torch.erf(edges / (2**0.5 * sigma[:, None])).diff(dim=1)
        profiles.append(profile / profile.sum(dim=1, keepdim=True))
    return (profiles[0][:, :, None] * profiles[1][:, None, :])[:, None]


def widths(kernels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the root mean square radius along an axis of each kernel, in pixels."""
    places = np.arange(kernels.shape[-1]) - kernels.shape[-1] // 2
    square = places[:, None] ** 2 + places**2
    found: NDArray[np.float64] = np.sqrt((kernels * square).sum((1, 2)) / 2)
    return found


def lens(size: int, random: Random, scales: Scales) -> torch.Tensor:
    """Make the kernel of a lens with aberrations, often out of focus."""
    scale = np.exp(random.uniform(*np.log(scales)))
    waves = random.standard_normal(8)
    waves *= random.uniform(0, 0.15) / np.linalg.norm(waves)
    if random.random() < 0.4:
        waves[0] += random.uniform(-0.3, 0.3)
    na = 1.0
    model = Pupil(na=na, wavelength=na / scale, zernike=tuple(waves))
    return model.tensor((1, size, size), PIXEL)[0]


def layers(size: int, random: Random, scales: Scales) -> torch.Tensor:
    """Take a plane near the brightest of a point deep in a sample of another index."""
    scale = np.exp(random.uniform(np.log(min(2 * scales[0], scales[1])), np.log(scales[1])))
    na, index = 1.1, 1.515
    wavelength = na / scale
    model = GibsonLanni(
        na=na,
        wavelength=wavelength,
        n_immersion=index,
        n_sample=random.uniform(1.33, 1.45),
        depth=random.uniform(0, 40) * wavelength,
    )
    step = wavelength / (2 * index)
    planes = model.tensor((9, size, size), (step, 1.0, 1.0))
    return planes[int(random.integers(1, 8))]


def gaussian(size: int, random: Random, _: Scales) -> torch.Tensor:
    """Make a Gaussian, along the axes."""
    sigma = np.exp(random.uniform(np.log(0.6), np.log(4)))
    ratio = np.exp(random.uniform(-0.4, 0.4)) if random.random() < 0.6 else 1.0
    y, x = np.clip((sigma * ratio, sigma / ratio), 0.5, 4.5)
    return Gaussian((0.0, float(y), float(x))).tensor((1, size, size), PIXEL)[0]


def motion(size: int, random: Random, _: Scales) -> torch.Tensor:
    """Make a line, or the path of a shaking hand, blurred across."""
    model = Motion(
        length=random.uniform(1, 0.7 * size),
        angle=random.uniform(0, 180),
        width=random.uniform(0.5, 5) if random.random() < 0.7 else 0.0,
        path="line" if random.random() < 0.4 else "hand-shake",
        seed=int(random.integers(2**31)),
        anxiety=random.uniform(0.2, 1),
    )
    return model.tensor((1, size, size), PIXEL)[0]


def disc(size: int, random: Random, _: Scales) -> torch.Tensor:
    """Make a disc, as far out of focus."""
    return Disc(random.uniform(0.8, 0.25 * size)).tensor((1, size, size), PIXEL)[0]


def point(size: int, random: Random, _: Scales) -> torch.Tensor:
    """Make next to no blur: sharp images must stay what they are."""
    sigma = random.uniform(0.05, 0.55)
    return Gaussian((0.0, sigma, sigma)).tensor((1, size, size), PIXEL)[0]


FAMILIES: dict[str, tuple[float, Callable[[int, Random, Scales], torch.Tensor]]] = {
    "lens": (0.37, lens),
    "layers": (0.08, layers),
    "gaussian": (0.18, gaussian),
    "motion": (0.11, motion),
    "disc": (0.05, disc),
    "point": (0.21, point),
}


def _centred(kernel: torch.Tensor) -> NDArray[np.float32]:
    """Move a kernel's centre of mass to the middle, so that no shift has to be learned."""
    for _ in range(3):  # what falls off an edge moves the centre again
        kernel = ops.normalised(ops.shifted(kernel, -ops.centroid(kernel)))
    found: NDArray[np.float32] = kernel.numpy()
    return found
