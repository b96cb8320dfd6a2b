"""What a network sees, and what each of its stages finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from napari_deblur.gdunet.physics import autocorrelation, inner

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Pair", "Scene", "extended", "noise_map"]

# Brightness of a dim structure; and a noise below which none counts.
TYPICAL, DARKEST = 0.1, 1e-3


class Pair(NamedTuple):
    """What a stage found: image (batch, channels, y, x) and kernel (batch, 1, ky, kx)."""

    image: Tensor
    kernel: Tensor


class Scene(NamedTuple):
    """What stays the same through the stages."""

    seen: Tensor
    data: Tensor
    noise: Tensor
    level: Tensor
    spread: Tensor

    @classmethod
    def of(cls, seen: Tensor, noise: Tensor, kernel: Tensor, without: tuple[str, ...]) -> Scene:
        """Prepare data, the map of the noise, and the correlations of the data."""
        if "noise" in without:
            noise = torch.full_like(noise, 1e-3)
        size = (kernel.shape[-2], kernel.shape[-1])
        data = inner(seen, size)
        # One number for the whole channel, lest tiles differ: the noise of a dim structure.
        level = (TYPICAL * noise[:, :1] + noise[:, 1:]).clamp(min=DARKEST**2).sqrt()
        return cls(
            seen,
            data,
            noise_map(seen, noise),
            level[..., None, None],
            autocorrelation(data, size),
        )


def noise_map(seen: Tensor, noise: Tensor) -> Tensor:
    """Give the logarithm of the noise's standard deviation at each pixel, 0 at about .03.

    Photons come as bright as the pixels around are in the mean.
    """
    around = functional.avg_pool2d(seen, 5, stride=1, padding=2, count_include_pad=False)
    per_light, dark = noise[:, :1, None, None], noise[:, 1:, None, None]
    return (per_light * around.clamp(min=0) + dark).clamp(min=DARKEST**2).log() / 2 + 3.5


def extended(tile: Tensor, size: tuple[int, int]) -> Tensor:
    """Continue a tile by the margin of a kernel of `size`, with its outermost pixels."""
    ky, kx = size
    margin = ((kx - 1) // 2, kx // 2, (ky - 1) // 2, ky // 2)
    return functional.pad(tile, margin, mode="replicate")
