"""Scenes without noise on which methods are checked, and what is measured in their images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur import ops
from napari_deblur.protocols import Blur, Facts, Kernel, Sample
from napari_deblur.psfs.gaussian import Gaussian

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BACKGROUND",
    "Scene",
    "centre_of",
    "kernel_of",
    "light_of",
    "range_of",
    "resolved",
    "rms_of",
    "scene",
]

BACKGROUND = 20.0


@dataclass(frozen=True, eq=False)
class Scene:
    """An object, what a camera sees of it, and the blur between them; float32, no noise."""

    sharp: Tensor
    seen: Tensor
    blur: Blur
    background: float = BACKGROUND

    def sample(self, factor: float = 1.0, noise: float = 1.0) -> Sample:
        """Give what was seen as a sample, counts and facts times a factor; the noise is stated."""
        facts = Facts(
            background=self.background * factor,
            white=float(self.seen.max()) * factor,
            noise=noise * factor,
        )
        region = tuple((0, n) for n in (1, 1, 1, *self.seen.shape)[-3:])
        return Sample(self.seen * factor, region, 0, 0, self.blur, facts)


def kernel_of(shape: tuple[int, ...], sigma: float = 1.3) -> Kernel:
    """Make a Gaussian kernel of 2 or 3 axes."""
    solid = len(shape) == 3
    size = shape if solid else (1, *shape)
    z, y, x = size
    return Gaussian((sigma if solid else 0.0, sigma, sigma))((z, y, x), (1.0, 1.0, 1.0))


def scene(
    shape: tuple[int, ...], kernel: tuple[int, ...], *, sigma: float = 1.3, beads: int = 1
) -> Scene:
    """Blur beads of σ = 1.3 px on a background of 20 counts; the first lies near the middle.

    Parameters
    ----------
    shape : of the image, 2 or 3 axes
    kernel : shape of the kernel, as many axes
    sigma : of the kernel, in px
    beads : int
        The others lie anywhere, at least a kernel away from the border where there is room.
    """
    array = torch.from_numpy(kernel_of(kernel, sigma).at().copy())
    blur = Blur(array[None] if len(kernel) == 3 else array)
    whole = ops.object_shape(shape, kernel)
    random = np.random.default_rng(7)
    thing = torch.zeros(whole)
    for bead in range(beads):
        place = [(n - 1) // 2 + t // 2 for n, t in zip(kernel, shape, strict=True)]
        if bead:
            place = [
                int(random.integers(min(2 * n, m // 2), max(m - 2 * n, m // 2 + 1)))
                for n, m in zip(kernel, whole, strict=True)
            ]
        spot = torch.ones(())
        for axis, m in enumerate(whole):
            line = torch.exp(-((torch.arange(m) - place[axis]) ** 2) / (2 * 1.3**2))
            spot = spot[..., None] * line if axis else line
        thing += 1000.0 * spot
    seen = ops.blur(thing, blur) + BACKGROUND
    return Scene(ops.crop(thing, blur) + BACKGROUND, seen, blur)


def resolved(method: Any, made: Scene, factor: float = 1.0, noise: float = 1.0) -> Any:
    """Let a method decide its numbers on a scene."""
    return method.resolved([made.sample(factor, noise)])


def centre_of(image: Tensor, axis: int) -> float:
    """Give where the light above the background has its centre along an axis, in pixels."""
    light = (image - BACKGROUND).clamp(min=0)
    light = light.where(light > 0.02 * light.max(), 0.0).double()
    others = [a for a in range(image.ndim) if a != axis]
    line = light.sum(dim=others)
    return float((line * torch.arange(line.numel())).sum() / line.sum())


def light_of(image: Tensor, kernel: tuple[int, ...]) -> float:
    """Sum a bead's light in a box around the middle, above the level on the box's surface."""
    sides = [(n // 2, k + 6) for n, k in zip(image.shape, kernel, strict=True)]
    box = image[tuple(slice(c - r, c + r + 1) for c, r in sides)].double()
    inner = box[(slice(1, -1),) * box.ndim]
    level = (box.sum() - inner.sum()) / (box.numel() - inner.numel())
    return float((inner - level).sum())


def range_of(made: Scene) -> float:
    """Give the range of what was seen, in counts."""
    return float(made.seen.max()) - made.background


def rms_of(difference: Tensor) -> float:
    """Give the root mean square."""
    return float(difference.square().mean().sqrt())
