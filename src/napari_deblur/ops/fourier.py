r"""Blur, its exact adjoint, and the domain on which the object lives.

A kernel of n pixels with its centre at ``n // 2`` lets pixels of the object reach into the tile
from ``(n - 1) // 2`` before it to ``n // 2`` behind it. So the object is n − 1 longer than the
tile on each axis that is blurred:

.. code-block:: text

    object   |--(n-1)//2--|---------- tile ----------|--n//2--|      T + n − 1
    tile                  |----------- T ------------|

With transforms at least as long as the object the valid part never wraps around. Axes in front of
the blur's are a batch: all items share one blur.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from napari_deblur.ops.blocks import blocks
from napari_deblur.ops.transforms import backward, forward, real_view

if TYPE_CHECKING:
    from torch import Tensor

    from napari_deblur.protocols import Blur

__all__ = [
    "blur",
    "blur_adjoint",
    "crop",
    "good_length",
    "kernel_adjoint",
    "length_cost",
    "object_shape",
    "tile_view",
    "transfer_function",
    "transform_shape",
    "workspace",
]

# A run uses one tile shape, and the thin tiles of a split a few more.
_KEPT = 4
# How much longer a transform takes, for each voxel, whose length is even so many times; halfway
# between a volume on an Intel processor with AVX-512, where rows of 2·odd voxels take 1.5 times as
# long as rows of 16·n and other axes hardly differ, and MKL's general code, which AMD's get: up to
# 1.2 on all axes. Lengths with a factor of 49 took up to 1.7 times as long, with 11 or 13 more.
SLOWER_ROWS = {4: 1.0, 3: 1.08, 2: 1.17, 1: 1.25, 0: 1.3}
SLOWER = {4: 1.0, 3: 1.0, 2: 1.03, 1: 1.06, 0: 1.1}
_kept: WeakKeyDictionary[Blur, dict[tuple[int, ...], Tensor]] = WeakKeyDictionary()


def length_cost(length: int, *, even: bool = False) -> float:
    """Weigh a length by the time of its transform: the length itself, and more where it is slow."""
    twos = next(n for n in (4, 3, 2, 1, 0) if length % 2**n == 0)
    return length * (SLOWER_ROWS if even else SLOWER)[twos]


@lru_cache(maxsize=4096)
def good_length(n: int, *, even: bool = False) -> int:
    """Give the length ≥ `n` of the form 2ᵃ·3ᵇ·5ᶜ or 7 times that, of which a transform is fastest.

    Parameters
    ----------
    n : int
    even : bool
        For the last axis, along which memory runs: even lengths only, and by their own weights.
    """
    best, least, length = 0, inf, max(n, 1)
    # No weight is below 1: what is longer than the least cost can't be cheaper.
    while length < least:
        rest = length // 7 if length % 7 == 0 else length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        cost = length_cost(length, even=even)
        if rest == 1 and cost < least and not (even and length % 2):
            best, least = length, cost
        length += 1
    return best


def object_shape(tile: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Give the shape of the object: T + n − 1 along the kernel's axes, the batch in front."""
    lead = len(tile) - len(kernel)
    if lead < 0:
        raise ValueError(f"a kernel of shape {kernel} has more axes than a tile of shape {tile}")
    return (*tile[:lead], *(t + n - 1 for t, n in zip(tile[lead:], kernel, strict=True)))


def transform_shape(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Give good lengths ≥ `lengths`; along the last, memory runs."""
    return (*(good_length(n) for n in lengths[:-1]), good_length(lengths[-1], even=True))


def transfer_function(kernel: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Transform a kernel so that the valid part of a product begins at index 0.

    Parameters
    ----------
    kernel : Tensor, shape (..., [z,] y, x), float32
    lengths : ([z,] y, x)
        Of the transform, each at least the kernel's.

    Returns
    -------
    Tensor, shape (..., [z,] y, x // 2 + 1), complex64
    """
    size = tuple(kernel.shape[-len(lengths) :])
    lead = tuple(kernel.shape[: -len(lengths)])
    # The last pixel at 0 and those before it from the end: what a roll would do, without a copy.
    places = [
        (torch.arange(n, device=kernel.device) + 1 - n) % m
        for n, m in zip(size, lengths, strict=True)
    ]
    where: tuple[Any, ...] = (..., *torch.meshgrid(*places, indexing="ij"))
    if kernel.requires_grad and torch.is_grad_enabled():
        padded = kernel.new_zeros((*lead, *lengths))
        padded[where] = kernel
        return forward(padded, lengths)
    half = (*lead, *lengths[:-1], lengths[-1] // 2 + 1)
    spectrum = torch.zeros(half, dtype=torch.complex64, device=kernel.device)
    grid = real_view(spectrum, lengths)
    grid[where] = kernel
    return forward(grid, lengths, out=spectrum)


def _transfer(of: Blur, lengths: tuple[int, ...]) -> Tensor:
    """Give the transfer functions of a blur's basis, kept while the blur lives."""
    if torch.is_grad_enabled() and of.basis.requires_grad:
        return transfer_function(of.basis, lengths)
    known = _kept.setdefault(of, {})
    if lengths not in known:
        if len(known) >= _KEPT:
            known.pop(next(iter(known)))
        known[lengths] = transfer_function(of.basis, lengths)
    return known[lengths]


def _weighted(of: Blur, rank: int, thing: Tensor) -> Tensor:
    return thing if of.weights is None else thing * of.weights[rank]


def workspace(tile: Tensor, of: Blur) -> Tensor:
    """Make the memory that `blur` and `blur_adjoint` of one tile work in, call after call.

    Returns
    -------
    Tensor, complex64
        As large as the transform of the object. What they return lies in it and is good until
        the next call.
    """
    lengths = transform_shape(object_shape(tuple(tile.shape[-of.ndim :]), of.shape))
    half = (*tile.shape[: -of.ndim], *lengths[:-1], lengths[-1] // 2 + 1)
    return torch.empty(half, dtype=torch.complex64, device=tile.device)


def tile_view(work: Tensor, tile: Tensor, of: Blur) -> Tensor:
    """Give the place of the tile in a workspace: what is written there needs no copy."""
    size = tuple(tile.shape[-of.ndim :])
    lengths = transform_shape(object_shape(size, of.shape))
    return real_view(work, lengths)[_first(size)]


def blur(thing: Tensor, of: Blur, work: Tensor | None = None) -> Tensor:
    """Blur an object into the tile that a camera would see.

    Parameters
    ----------
    thing : Tensor, shape (..., [z,] y, x), float32
        The object, n − 1 longer than the tile along the blur's axes.
    of : Blur
    work : Tensor or None
        From `workspace`: used up instead of fresh memory.

    Returns
    -------
    Tensor, shape (..., [z,] y, x), float32
        The tile, in the object's unit.
    """
    shape = tuple(thing.shape[-of.ndim :])
    lengths = transform_shape(shape)
    otfs = _transfer(of, lengths)
    if _differentiated(thing, of):
        spectrum = forward(_weighted(of, 0, thing), lengths) * otfs[0]
    else:
        spectrum = forward(_weighted(of, 0, thing), lengths, out=work)
        _multiply(spectrum, otfs[0])
    for rank in range(1, otfs.shape[0]):
        spectrum = spectrum.add_(forward(_weighted(of, rank, thing), lengths) * otfs[rank])
    size = tuple(m - n + 1 for m, n in zip(shape, of.shape, strict=True))
    tile = backward(spectrum, lengths, planes=size[0])[_first(size)]
    # The modes of a varying blur sum to what is non-negative only up to their truncation.
    return tile if of.weights is None else tile.clamp(min=0)


def blur_adjoint(
    tile: Tensor, of: Blur, work: Tensor | None = None, *, shaped: Tensor | None = None
) -> Tensor:
    r"""Apply the adjoint of `blur` (before its clamp): from the tile back to the object.

    Parameters
    ----------
    tile : Tensor, shape (..., [z,] y, x), float32
    of : Blur
    work : Tensor or None
        From `workspace`: used up instead of fresh memory. `tile` may be what `blur` returned.
    shaped : Tensor, shape ([z,] y, x // 2 + 1), or None
        Real factors on the transform's grid: another back projector than the adjoint.

    Returns
    -------
    Tensor, shape (..., \*object), float32
    """
    shape = object_shape(tuple(tile.shape[-of.ndim :]), of.shape)
    lengths = transform_shape(shape)
    spectrum = forward(tile, lengths, out=work)
    where = _first(shape)
    total: Tensor | None = None
    for rank, otf in enumerate(_transfer(of, lengths)):
        last = rank == of.basis.shape[0] - 1
        if _differentiated(tile, of):
            product = spectrum * otf.conj()
        else:
            product = spectrum if last else spectrum.clone()
            _multiply(product, otf, conjugate=True)
        if shaped is not None and _differentiated(tile, of):
            product = product * shaped
        elif shaped is not None:
            _shape(product, shaped)
        part = _weighted(of, rank, backward(product, lengths, planes=shape[0])[where])
        total = part if total is None else total + part
    assert total is not None
    return total


def _differentiated(thing: Tensor, of: Blur) -> bool:
    varied = of.weights is not None and of.weights.requires_grad
    return torch.is_grad_enabled() and (thing.requires_grad or of.basis.requires_grad or varied)


def _multiply(spectrum: Tensor, otf: Tensor, *, conjugate: bool = False) -> None:
    """Multiply each item of a batch in place, in blocks that stay in the cache."""
    items = spectrum.reshape(-1, *otf.shape) if spectrum.ndim > otf.ndim else spectrum[None]
    if items.shape[0] > 1 and otf.ndim < 3:  # many planes: one call for all of them
        spectrum *= otf.conj() if conjugate else otf
        return
    for item in items:
        for piece, factor in blocks(item, otf):
            piece *= factor.conj() if conjugate else factor


def _shape(spectrum: Tensor, factors: Tensor) -> None:
    """Multiply each item of a batch by real factors, in place, without making these complex."""
    for item in spectrum.reshape(-1, *factors.shape):
        for piece, factor in blocks(item, factors):
            parts = torch.view_as_real(piece)
            parts *= factor[..., None]


def crop(thing: Tensor, of: Blur) -> Tensor:
    """Cut the tile's part out of an object; a view."""
    where = (
        slice((n - 1) // 2, m - n // 2)
        for m, n in zip(thing.shape[-of.ndim :], of.shape, strict=True)
    )
    cut: tuple[Any, ...] = (..., *where)
    return thing[cut]


def kernel_adjoint(tile: Tensor, thing: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Apply the adjoint of `blur` as a function of the kernel, the object being fixed.

    Parameters
    ----------
    tile : Tensor, shape (..., [z,] y, x)
    thing : Tensor, shape (..., [z,] y, x)
        The object, n − 1 longer.
    shape : ([z,] y, x) of the kernel

    Returns
    -------
    Tensor, shape ([z,] y, x)
        Summed over the batch, whose items share the kernel.
    """
    ndim = len(shape)
    dims = tuple(range(-ndim, 0))
    lengths = transform_shape(tuple(thing.shape[-ndim:]))
    spectrum = forward(thing, lengths)
    spectrum = spectrum * forward(tile, lengths).conj()
    if spectrum.ndim > ndim:
        spectrum = spectrum.reshape(-1, *spectrum.shape[-ndim:]).sum(dim=0)
    correlation = backward(spectrum, lengths)
    # blur(x)[i] = sum_j h[j] x[i + n - 1 - j], so h[j] sees the shift n - 1 - j.
    return correlation[_first(shape)].flip(dims)


def _first(lengths: Iterable[int]) -> tuple[Any, ...]:
    """Index the first so many of the last axes."""
    return (..., *(slice(n) for n in lengths))
