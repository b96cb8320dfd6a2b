"""Apply a trained network: restore tiles with a given kernel, or find the kernel of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_deblur import ops
from napari_deblur.gdunet.physics import inner
from napari_deblur.gdunet.scene import Pair, extended
from napari_deblur.gdunet.synthesis import default_kernel

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.gdunet.network import Network, Part

__all__ = ["Found", "Scale", "found_kernel", "restored", "stages"]

# Rounds of the mean that heeds kernels far from the others less; and how near is near, relative to
# the mean's energy.
ROUNDS, NEAR = 6, 0.05


@dataclass(frozen=True)
class Scale:
    """How counts become what a network knows, the same for all tiles of a channel.

    Parameters
    ----------
    background, white : float
        Counts that become 0 and 1.
    gain : float
        Counts per photon; 0 where it isn't known.
    noise : float
        Standard deviation of dim pixels, in counts.
    """

    background: float
    white: float
    gain: float
    noise: float

    def __post_init__(self) -> None:
        if not self.white > self.background:
            raise ValueError(
                f"white={self.white} must be above background={self.background}: a network "
                "works between the two"
            )

    @property
    def span(self) -> float:
        """Counts from 0 to 1."""
        return self.white - self.background

    def noise_of(self, count: int, like: Tensor) -> Tensor:
        """Give what `Network` takes, shape (count, 2)."""
        variances = [self.gain / self.span, (self.noise / self.span) ** 2]
        return like.new_tensor(variances).expand(count, 2)


@dataclass(frozen=True, eq=False)
class Found:
    """A kernel and what it was found from.

    Attributes
    ----------
    kernel : Tensor, shape (y, x)
    each : Tensor, shape (samples, y, x)
    weights : Tensor, shape (samples,)
        Of sum 1: how much each counted.
    """

    kernel: Tensor
    each: Tensor
    weights: Tensor


def restored(
    network: Network, tile: Tensor, kernel: Tensor, scale: Scale, *, part: Part = "all"
) -> Tensor:
    """Restore a tile with a kernel that stays as it is.

    Parameters
    ----------
    network : Network
    tile : Tensor, shape (..., y, x), float32
        In counts; NaN where nothing is known. Axes in front are planes of one kernel.
    kernel : Tensor, shape (y, x)
    scale : Scale
    part : "all", "small" or "dense"
        See `Network.forward`.

    Returns
    -------
    Tensor, shape of `tile`
        In counts, background included; where nothing is known, what suits the pixels around.
    """
    return stages(network, tile, kernel, scale, fixed=True, part=part)[-1].image


def stages(
    network: Network,
    tile: Tensor,
    kernel: Tensor,
    scale: Scale,
    *,
    fixed: bool = False,
    part: Part = "all",
) -> list[Pair]:
    """Give image (shape and unit of `tile`) and kernel (y, x) after each stage; see `restored`.

    A tile that is smaller than the kernel is continued by its outermost pixels, for the time being.
    """
    if kernel.ndim != 2:
        raise ValueError(
            f"gdunet restores plane by plane, with kernels of two axes, got {tuple(kernel.shape)}: "
            "take the kernel's middle plane, or a method for volumes"
        )
    planes = tile.reshape(-1, *tile.shape[-2:])
    known = torch.isfinite(planes)
    whole = _filled(planes, known).sub_(scale.background).div_(scale.span)
    _check(network, fixed=fixed)
    # A row that has no counterpart on the other side is left out of a search.
    cut = [0 if fixed or n % 2 else 1 for n in kernel.shape]
    kernel = kernel[cut[0] :, cut[1] :]
    odd = _odd(kernel)
    size = (odd.shape[-2], odd.shape[-1])
    beyond = [max(k - n, 0) for n, k in zip(planes.shape[-2:], size, strict=True)]
    if any(beyond):
        whole = functional.pad(whole, (0, beyond[1], 0, beyond[0]), mode="replicate")
    seen = extended(whole[None], size)
    with torch.no_grad():
        pairs = network(seen, scale.noise_of(1, seen), odd[None, None], fixed=fixed, part=part)
    done = []
    ny, nx = planes.shape[-2:]
    for pair in pairs:
        image = inner(pair.image[0], size)[..., :ny, :nx].mul(scale.span).add_(scale.background)
        image = image.reshape(tile.shape)
        ky, kx = kernel.shape
        found = functional.pad(pair.kernel[0, 0, :ky, :kx], (cut[1], 0, cut[0], 0))
        done.append(Pair(image, found))
    return done


def found_kernel(
    network: Network,
    tiles: Sequence[Tensor],
    first: Tensor | tuple[int, int],
    scale: Scale,
    *,
    part: Part = "all",
) -> Found:
    """Find the kernel that several tiles have in common.

    Each tile gives one of its own, all from the same first kernel; they are averaged by how much
    structure a tile has above its noise, and those far from the others count less.

    Parameters
    ----------
    network : Network
    tiles : sequence of Tensor, shape (..., y, x)
        In counts; NaN where nothing is known. Planes of one tile share a kernel.
    first : Tensor of shape (y, x), or (y, x)
        The kernel to begin with, or the shape of the default one; odd.
    scale : Scale
    part : "all", "small" or "dense"
        See `Network.forward`.
    """
    start = default_kernel(1, first)[0, 0] if isinstance(first, tuple) else first
    if not all(n % 2 for n in start.shape):
        raise ValueError(f"gdunet finds kernels of odd sizes, got {tuple(start.shape)}")
    _check(network, fixed=False)
    kernels, structure = [], []
    for tile in tiles:
        planes = tile.reshape(-1, *tile.shape[-2:])
        if any(n < 2 * k > 2 for n, k in zip(planes.shape[-2:], start.shape, strict=True)):
            raise ValueError(
                f"a sample of {tuple(planes.shape[-2:])} px is too small for a kernel of "
                f"{tuple(start.shape)} px: take samples of twice the kernel at least"
            )
        whole = _filled(planes, torch.isfinite(planes)).sub_(scale.background).div_(scale.span)
        seen = whole[None]
        with torch.no_grad():
            noise = scale.noise_of(1, seen)
            pair = network(seen, noise, start.to(seen)[None, None], part=part)[-1]
        kernels.append(pair.kernel[0, 0])
        steep = sum(pair.image.diff(dim=axis).square().mean() for axis in (-2, -1))
        structure.append(steep / ((scale.noise / scale.span) ** 2 + 1e-6))
    each, worth = torch.stack(kernels), torch.stack(structure)
    # Twice as steep, once there is enough of it, is not twice as good.
    weights = _robust(each, worth / (1 + worth) + 1e-6)
    kernel = (weights[:, None, None] * each).sum(dim=0)
    return Found(kernel / kernel.sum(), each, weights)


def _check(network: Network, *, fixed: bool) -> None:
    if not (fixed or network.configuration.blind):
        raise ValueError(
            'these weights are a plain U-Net\'s, which finds no kernels: take kernel="given", or '
            "the weights of another network"
        )


def _robust(each: Tensor, weights: Tensor) -> Tensor:
    """Weigh kernels so that their mean is near their median (iterated least squares)."""
    weights = weights / weights.sum()
    chosen = weights
    for _ in range(ROUNDS):
        mean = (chosen[:, None, None] * each).sum(dim=0)
        away = (each - mean).square().sum(dim=(1, 2)).sqrt()
        chosen = weights / (away + NEAR * mean.norm())
        chosen = chosen / chosen.sum()
    return chosen


def _odd(kernel: Tensor) -> Tensor:
    """Give an even kernel a last row or column of zeros: the centre stays at n // 2."""
    ny, nx = kernel.shape
    return functional.pad(kernel, (0, 1 - nx % 2, 0, 1 - ny % 2))


def _filled(planes: Tensor, known: Tensor) -> Tensor:
    """Fill holes with the means of what is around; a copy."""
    if bool(known.all()):
        return planes.clone()
    if not bool(known.any()):
        return torch.zeros_like(planes)
    values, mask = ops.split(planes)
    return ops.filled(values, mask, tuple(planes.shape[-2:]), (0, 0))
