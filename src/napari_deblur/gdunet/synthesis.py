"""Training batches, made while training: objects × kernels × noise, each a function of its number.

Objects and kernels are made once, in a `Bank`; a batch only cuts, turns, blurs and adds noise,
which takes little beside a step of training. Batch number n is the same whenever it is asked for,
so that training can go on after a crash as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_deblur.gdunet.kernels import SCALES, gaussians, made_kernels, widths
from napari_deblur.gdunet.objects import made
from napari_deblur.gdunet.physics import blurred, inner
from napari_deblur.gdunet.scene import extended

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Bank", "Batch", "Recipe", "batch", "default_kernel", "make_bank"]

Random = np.random.Generator
# The first kernel where nothing is known: of this standard deviation, relative to its size.
DEFAULT = 0.1
# How often the outermost pixels are made up, as at the edge of an image.
EDGES = 0.3
# How often only the noise of dim pixels is known, not the photons.
DARK_ONLY = 0.25
# Light of a bank's kernel that may be missing from a smaller one, which then is the true one. With
# 0.01 no kernel of a lens of NA × pixel / wavelength 0.23 fitted into 21 px, with this 89 %.
OUTSIDE = 0.05
TRIES = 4
# How often first kernels are the default, a Gaussian about as wide, nearly right, the true ones.
FIRST, FIXED = (0.55, 0.3, 0.15, 0.0), (0.0, 0.1, 0.4, 0.5)
# Of an object; the white of its blurred image is about 1.
BRIGHTEST = 4.0


@dataclass(frozen=True, eq=False)
class Bank:
    """What batches are drawn from.

    Parameters
    ----------
    objects : sequence of (share, array of shape (count, side, side))
        Kinds of objects, 0…1, and how often each is drawn.
    kernels : array, shape (count, size, size)
    """

    objects: Sequence[tuple[float, NDArray[np.float16]]]
    kernels: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not any(len(fields) for _, fields in self.objects):
            raise ValueError("there are no objects to train on: images are too small, or flat")

    @property
    def side(self) -> int:
        """Side length of an object, in pixels."""
        return min(int(fields.shape[-1]) for _, fields in self.objects if len(fields))

    def fitting(self, size: int, widest: float) -> NDArray[np.intp]:
        """Give the numbers of the kernels that fit into `size` pixels and are narrow enough.

        Of the narrowest ones a tenth, if none is.

        Raises
        ------
        ValueError
            When no kernel fits.
        """
        if size > self.kernels.shape[-1]:
            raise ValueError(f"the kernels have {self.kernels.shape[-1]} px, fewer than {size}")
        inside = self._reach <= size
        if not inside.any():
            raise ValueError(
                f"none of {len(self.kernels)} kernels fits into {size} px: make more kernels, or "
                "give larger sizes, or scales and families of less blur"
            )
        wide = self._wide
        limit = max(widest, float(np.quantile(wide[inside], 0.1)))
        fits = inside & (wide <= widest)
        return np.flatnonzero(fits if fits.any() else inside & (wide <= limit))

    @cached_property
    def _wide(self) -> NDArray[np.float64]:
        return widths(self.kernels)

    @cached_property
    def _reach(self) -> NDArray[np.intp]:
        """Give the side of the smallest square that holds enough of each kernel's light."""
        whole = self.kernels.shape[-1]
        reach = np.full(len(self.kernels), whole)
        for cut in range(1, whole // 2 + 1):
            inside = self.kernels[:, cut : whole - cut, cut : whole - cut].sum((1, 2))
            reach[inside >= 1 - OUTSIDE] = whole - 2 * cut
        return reach


@dataclass(frozen=True)
class Recipe:
    """How a batch is made, at one moment of a training.

    Parameters
    ----------
    count : int
        Items of the batch.
    side : int
        Of an image with its margin, in pixels.
    kernel : int
        Side of the kernels, odd.
    widest : float
        Largest root mean square radius of a kernel, in pixels.
    photons : (least, most)
        Per pixel at brightness 1.
    read_noise : float
        Largest, at brightness 1.
    given : float
        How often the true kernel is the first one.
    fixed : bool
        Whether first kernels are to stay: then they are right, or nearly so.
    """

    count: int = 4
    side: int = 96
    kernel: int = 31
    widest: float = 99.0
    photons: tuple[float, float] = (30.0, 5000.0)
    read_noise: float = 0.02
    given: float = 0.0
    fixed: bool = False


@dataclass(frozen=True, eq=False)
class Batch:
    """Data and truth.

    Attributes
    ----------
    seen : Tensor, shape (batch, 1, y, x)
        The blurred image on the object's grid; `made_up` tells whether its margin is.
    sharp : Tensor, shape (batch, 1, y, x)
    clean : Tensor, shape (batch, 1, y − ky + 1, x − kx + 1)
        The tile without noise.
    noise : Tensor, shape (batch, 2)
        As the network takes it; a little wrong.
    kernel, first : Tensor, shape (batch, 1, ky, kx)
        The true one, and the one to begin with.
    made_up : bool
    known : bool
        Whether the true kernel is known; else `kernel` means nothing.
    """

    seen: Tensor
    sharp: Tensor
    clean: Tensor
    noise: Tensor
    kernel: Tensor
    first: Tensor
    made_up: bool
    known: bool = True

    def to(self, device: torch.device) -> Batch:
        """Move all tensors to a device."""
        values: dict[str, Any] = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in vars(self).items()
        }
        return Batch(**values)


def make_bank(
    made_up: float,
    others: Mapping[str, tuple[float, NDArray[np.float16]]],
    *,
    side: int,
    kernel: int,
    counts: tuple[int, int],
    seed: int,
    scales: tuple[float, float] = SCALES,
    shares: Mapping[str, float] | None = None,
) -> Bank:
    """Make a bank.

    Parameters
    ----------
    made_up : float
        Share of objects that are made by chance.
    others : mapping of name to (share, objects)
        From `objects.crops`.
    side, kernel : int
        Side lengths of objects and kernels.
    counts : (objects, kernels)
        How many are made.
    seed : int
    scales, shares : see `kernels.made_kernels`
    """
    fields = made(counts[0] if made_up else 0, side, seed)
    kernels = made_kernels(counts[1], kernel, seed + 1, scales=scales, shares=shares)
    return Bank([(made_up, fields), *others.values()], kernels)


def batch(bank: Bank, recipe: Recipe, number: int, seed: int) -> Batch:
    """Make the batch of a number: the same for the same number and seed.

    Raises
    ------
    ValueError
        When the bank's objects are smaller than image and kernel ask for.
    """
    random = np.random.default_rng((seed, number))
    wide = recipe.side + recipe.kernel - 1
    if wide > bank.side:
        raise ValueError(
            f"images of {recipe.side} px and kernels of {recipe.kernel} px need objects of "
            f"{wide} px, these have {bank.side} px"
        )
    sharp = torch.from_numpy(np.stack([_object(bank, wide, random) for _ in range(recipe.count)]))
    kernel = torch.from_numpy(_drawn(bank, recipe, random))[:, None]
    with torch.no_grad():
        sharp, clean = _lit(sharp[:, None], blurred(sharp[:, None], kernel), random)
    seen, noise = _photographed(clean, recipe, random)
    size = (recipe.kernel, recipe.kernel)
    made_up = bool(random.random() < EDGES)
    if made_up:
        seen = extended(inner(seen, size), size)
    first = _first(kernel, recipe, random)
    return Batch(seen, inner(sharp, size), inner(clean, size), noise, kernel, first, made_up)


def default_kernel(count: int, size: tuple[int, int]) -> Tensor:
    """Give the kernel to begin with where nothing is known, shape (count, 1, ky, kx)."""
    return gaussians(torch.full((count,), DEFAULT * max(size)), size)


def _object(bank: Bank, side: int, random: Random) -> NDArray[np.float32]:
    """Cut out a piece that is not empty, turned and flipped by chance."""
    shares = np.array([share * bool(len(fields)) for share, fields in bank.objects])
    fields = bank.objects[random.choice(len(shares), p=shares / shares.sum())][1]
    best: NDArray[np.float32] | None = None
    for _ in range(TRIES):
        field = fields[random.integers(len(fields))]
        y, x = (random.integers(0, n - side + 1) for n in field.shape)
        piece = field[y : y + side, x : x + side].astype(np.float32)
        if best is None or piece.std() > best.std():
            best = piece
        if best.std() > 0.1:
            break
    assert best is not None
    return _turned(best, random)


def _turned(square: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    turned = np.rot90(square, int(random.integers(4)))
    turned = turned[::-1] if random.random() < 0.5 else turned
    return np.ascontiguousarray(turned)


def _drawn(bank: Bank, recipe: Recipe, random: Random) -> NDArray[np.float32]:
    """Draw kernels that are small enough, turned and flipped by chance."""
    cut = (bank.kernels.shape[-1] - recipe.kernel) // 2
    fitting = bank.fitting(recipe.kernel, recipe.widest)
    kernels = bank.kernels[:, cut : recipe.kernel + cut, cut : recipe.kernel + cut]
    chosen = kernels[random.choice(fitting, recipe.count)]
    turned = np.stack([_turned(kernel, random) for kernel in chosen])
    return np.asarray(turned / turned.sum((1, 2), keepdims=True))


def _lit(sharp: Tensor, clean: Tensor, random: Random) -> tuple[Tensor, Tensor]:
    """Scale the light so that a tile is as bright, relative to its image, as tiles are."""
    count = len(sharp)
    usual, dim = random.uniform(0.5, 1.1, count), np.exp(random.uniform(-3, 0, count))
    bright = np.where(random.random(count) < 0.6, usual, dim)
    top = torch.quantile(clean.flatten(1), 0.998, dim=1).clamp(min=0.02)
    factor = torch.from_numpy(bright).float() / top
    # A few points, much blurred: as sharp ones they would outshine all else that is learned.
    factor = torch.minimum(factor, BRIGHTEST / sharp.flatten(1).amax(dim=1))[:, None, None, None]
    # What is taken for the background isn't quite that.
    pedestal = torch.from_numpy(random.uniform(-0.01, 0.03, count)).float()[:, None, None, None]
    return sharp * factor + pedestal, clean * factor + pedestal


def _photographed(clean: Tensor, recipe: Recipe, random: Random) -> tuple[Tensor, Tensor]:
    """Add the noise of photons and of the camera; give what is known of it, too."""
    count = len(clean)
    column = (count, 1, 1, 1)
    least, most = np.log(recipe.photons)
    photons = np.exp(random.uniform(least, most, column))
    behind = random.uniform(0, 0.1, column) + 0.01  # light of the background
    read = recipe.read_noise * random.random(column) ** 2
    light = np.maximum(clean.numpy().astype(np.float64) + behind, 0)
    seen = random.poisson(light * photons) / photons - behind
    seen = seen + read * random.standard_normal(seen.shape)
    per_light, dark = 1 / photons, behind / photons + read**2
    typical = np.maximum(clean.numpy().mean(axis=(1, 2, 3), keepdims=True), 0) * per_light + dark
    only = random.random(column) < DARK_ONLY
    known = np.concatenate(
        (np.where(only, 0, per_light), np.where(only, typical, dark)), axis=1
    ).reshape(count, 2)
    known = known * random.uniform(0.8, 1.2, (count, 2)) ** 2
    return torch.from_numpy(seen).float(), torch.from_numpy(known).float()


def _first(kernel: Tensor, recipe: Recipe, random: Random) -> Tensor:
    """Choose kernels to begin with: the default, a Gaussian about as wide, one nearly right."""
    count, size = len(kernel), (kernel.shape[-2], kernel.shape[-1])
    width = torch.from_numpy(widths(kernel[:, 0].numpy())).float()
    about = width * torch.from_numpy(np.exp(random.uniform(-0.5, 0.5, count))).float()
    about = gaussians(about.clamp(min=0.3), size)
    default = default_kernel(count, size)
    wrong = torch.from_numpy(random.uniform(0, 0.6, count)).float()[:, None, None, None]
    nearly = (1 - wrong) * kernel + wrong * about
    choices = torch.stack((default, about, nearly, kernel))
    kind = random.choice(4, size=count, p=FIXED if recipe.fixed else FIRST)
    kind = np.where(random.random(count) < recipe.given, 3, kind)
    return choices[torch.from_numpy(kind), torch.arange(count)]
