"""Copies of a sample and a kernel that are small enough to judge by: pixels summed, the rest cut.

A kernel much wider than a pixel says the same on pixels that are summed, with more light in each;
and what is looked at may then be larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_deblur.protocols import Facts, Sample

    Array = NDArray[np.float64]

__all__ = ["best_piece", "cut", "inside", "stretched", "summed", "summed_kernel"]

# Places along each axis at which a piece is looked for.
TRIED = 4


def inside(kernel: NDArray[np.float32], lengths: Sequence[int | None]) -> float:
    """Give the share of a kernel's light that lies within some lengths about its middle."""
    part = kernel
    for axis, length in enumerate(lengths):
        if length is not None and length < kernel.shape[axis]:
            start = kernel.shape[axis] // 2 - length // 2
            part = np.take(part, range(max(start, 0), start + length), axis=axis)
    return float(part.sum(dtype=np.float64) / kernel.sum(dtype=np.float64))


def summed(sample: Sample, by: tuple[int, ...]) -> Sample:
    """Sum pixels of the last axes, `by` along each, and say what that makes of the camera.

    What is left over at the end of an axis is left out.
    """
    tile = sample.tile
    if max(by) == 1:
        return sample
    for axis, n in enumerate(by, -len(by)):
        count = tile.shape[axis] // n
        cut = tile.narrow(axis, 0, count * n)
        # An axis of its own behind this one.
        lengths = [*cut.shape[:axis], count, n, *(cut.shape[axis + 1 :] if axis < -1 else ())]
        tile = cut.reshape(lengths).sum(dim=axis)
    whole = (*(1,) * (3 - len(by)), *by)
    region = tuple((a, a + (b - a) // n) for (a, b), n in zip(sample.region, whole, strict=True))
    size = sample.pixel_size
    if size is not None:
        size = (size[0] * whole[0], size[1] * whole[1], size[2] * whole[2])
    facts = _brighter(sample.facts, int(np.prod(by)))
    return replace(sample, tile=tile, region=region, facts=facts, pixel_size=size)


def summed_kernel(kernel: NDArray[np.float32], by: tuple[int, ...]) -> NDArray[np.float32]:
    """Give the kernel of an image whose pixels were summed, its middle at ``n // 2`` as before.

    Both points of the object and pixels are now wider: the kernel is spread by one such pixel.
    """
    made = kernel.astype(np.float64)
    for axis, n in enumerate(by):
        if n == 1:
            continue
        # A point may lie anywhere in a wide pixel: a triangle, sampled at the wide pixels' middles.
        half = kernel.shape[axis] // 2
        count = half // n + 1
        places = np.arange(-count, count + 1) * n
        at = np.arange(kernel.shape[axis]) - half
        share = np.clip(1 - np.abs(places[:, None] - at[None]) / n, 0, None)
        made = np.moveaxis(np.tensordot(share, made, axes=(1, axis)), 0, axis)
    return made.astype(np.float32)


def stretched(kernel: NDArray[np.float32], factors: Sequence[float]) -> NDArray[np.float32]:
    """Stretch a kernel about its middle, each axis by its own factor, in a shape that has room."""
    from scipy.ndimage import affine_transform

    lengths = [
        2 * round(n // 2 * max(f, 1.0)) + 1 for n, f in zip(kernel.shape, factors, strict=True)
    ]
    old = np.array([n // 2 for n in kernel.shape])
    new = np.array([n // 2 for n in lengths])
    scale = 1 / np.array(factors)
    made = affine_transform(kernel, scale, old - scale * new, output_shape=tuple(lengths), order=1)
    return np.asarray(made / made.sum(dtype=np.float64), np.float32)


def cut(kernel: NDArray[np.float32], most: Sequence[int]) -> Tensor:
    """Cut a kernel to odd lengths, at most some, about its middle; its light beyond is lost."""
    import torch

    from napari_deblur import ops

    shape = tuple(min(n - 1 + n % 2, m) for n, m in zip(kernel.shape, most, strict=True))
    return torch.from_numpy(ops.reshaped(kernel, shape))


def best_piece(sample: Sample, shape: Sequence[int]) -> Sample:
    """Cut the piece of most detail out of a sample, at most of a shape; its place is not kept."""
    tile = sample.tile
    spans = []
    for length, n in zip(shape, tile.shape[-len(shape) :], strict=True):
        rest = max(n - length, 0)
        starts = sorted({round(rest * i / (TRIED - 1)) for i in range(TRIED)})
        spans.append([slice(start, start + min(length, n)) for start in starts])
    pieces = []
    for span in product(*spans):
        where: tuple[Any, ...] = (..., *span)
        pieces.append(replace(sample, tile=tile[where].contiguous()))
    return max(pieces, key=_detail)


def _detail(sample: Sample) -> float:
    """Give how much structure there is of a few pixels' size: what single ones hold is noise."""
    import torch.nn.functional as nn

    if not bool(sample.tile.isfinite().any()):
        return -1.0
    tile = sample.tile.nan_to_num(nan=float(sample.tile.nanmean()))
    lengths = [2 if n >= 4 else 1 for n in tile.shape]
    thin = tile[None, None] if tile.ndim == 3 else tile[None, None, None]
    kernel = (*(1,) * (3 - tile.ndim), *lengths)
    means = nn.avg_pool3d(thin.float(), kernel)
    return float(means.var())


def _brighter(facts: Facts, count: int) -> Facts:
    def times(value: float | None, factor: float) -> float | None:
        return None if value is None else value * factor

    return replace(
        facts,
        offset=times(facts.offset, count),
        background=times(facts.background, count),
        white=times(facts.white, count),
        saturation=times(facts.saturation, count),
        read_noise=times(facts.read_noise, count**0.5),
        noise=times(facts.noise, count**0.5),
    )
