"""Shrinkage in shift-invariant wavelets, a few arrays at a time."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_name", "finest_levels", "levels_of", "reach", "shrunk"]


def check_name(name: str) -> None:
    """Raise ValueError unless PyWavelets has an orthogonal wavelet of this name."""
    import pywt  # type: ignore[import-untyped, unused-ignore]

    known = pywt.wavelist(kind="discrete")
    if name not in known or not pywt.Wavelet(name).orthogonal:
        few = [n for n in known if n.startswith(name[:2].lower()) and pywt.Wavelet(n).orthogonal]
        raise ValueError(
            f"wavelet is {name!r}, which is no orthogonal wavelet of PyWavelets: "
            f"take one of {', '.join((few or ['haar', 'db2', 'sym4', 'coif1'])[:8])}"
        )


@lru_cache(maxsize=32)
def _filters(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    import pywt  # type: ignore[import-untyped, unused-ignore]

    bank = pywt.Wavelet(name)
    # Undecimated, each filter carries 1/√2: then the transform and its adjoint are the identity.
    low, high = (tuple(float(v) / 2**0.5 for v in f) for f in (bank.dec_lo, bank.dec_hi))
    return low, high


def finest_levels(spacing: tuple[float, ...], deepest: int) -> tuple[int, ...]:
    """Give the number of levels along each axis: fewer along a coarse one."""
    return tuple(max(0, deepest - ceil(log2(step) - 0.5)) for step in spacing)


def levels_of(levels: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Give, level by level, the step of the filters along each axis; 0 where there is none.

    An axis with fewer levels joins in at the coarser ones, where its pixels are as long as the
    steps.
    """
    deepest = max(levels)
    steps = []
    for level in range(deepest):
        late = [level - (deepest - n) for n in levels]
        steps.append(tuple(2**n if n >= 0 else 0 for n in late))
    return steps


def reach(name: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    """Give how far a voxel of the result depends on voxels along each axis."""
    taps = len(_filters(name)[0]) - 1
    return tuple(taps * (2**n - 1) for n in levels)


def shrunk(image: Tensor, name: str, levels: tuple[int, ...], threshold: float) -> Tensor:
    """Shrink the details of an image towards 0 by soft thresholds, and give the image again.

    That is the mean, over all shifts, of shrinking in an orthogonal basis (Coifman and Donoho,
    Translation-invariant de-noising (1995), doi:10.1007/978-1-4612-2544-7_9). The image is
    continued by its border's values; one subband is held at a time.
    """
    import torch

    axes = len(levels)
    pads = reach(name, levels)
    lead = image.shape[:-axes]
    flat = image.reshape(-1, *image.shape[-axes:])
    wide = flat
    for axis, pad in enumerate(pads, 1):
        if pad:
            index = torch.arange(-pad, wide.shape[axis] + pad, device=image.device)
            wide = wide.index_select(axis, index.clamp_(0, wide.shape[axis] - 1))
    box = [wide]
    shape = flat.shape[1:]
    del wide, flat
    wide = _level(box, name, levels_of(levels), 0, threshold)
    for axis, (pad, n) in enumerate(zip(pads, shape, strict=True), 1):
        wide = wide.narrow(axis, pad, n)
    return wide.reshape(*lead, *shape)


# Images are handed on in a box of one, out of which they are taken: what nobody needs is freed.


def _level(
    box: list[Tensor], name: str, steps: list[tuple[int, ...]], level: int, threshold: float
) -> Tensor:
    if level == len(steps):
        return box.pop()
    used = sum(step > 0 for step in steps[level])
    # Details of white noise are smaller by √2 for each filter: so is the threshold.
    smaller = threshold / 2 ** (used / 2)
    return _split(box, name, steps, level, 0, smaller, detail=False)


def _split(
    box: list[Tensor],
    name: str,
    steps: list[tuple[int, ...]],
    level: int,
    axis: int,
    threshold: float,
    *,
    detail: bool,
) -> Tensor:
    """Split along one axis after the other, shrink or go on to the next level, and join."""
    if axis == len(steps[level]):
        if not detail:
            return _level(box, name, steps, level + 1, threshold)
        details = box.pop()
        return details.sub_(details.clamp(-threshold, threshold))
    step = steps[level][axis]
    if not step:
        return _split(box, name, steps, level, axis + 1, threshold, detail=detail)
    low, high = _filters(name)
    image = box.pop()
    box = [_filtered(image, high, axis + 1, step)]
    details = _split(box, name, steps, level, axis + 1, threshold, detail=True)
    joined = _filtered(details, high, axis + 1, -step)
    del details
    box = [_filtered(image, low, axis + 1, step)]
    del image
    rough = _split(box, name, steps, level, axis + 1, threshold, detail=detail)
    return _filtered(rough, low, axis + 1, -step, onto=joined)


def _filtered(
    image: Tensor, taps: tuple[float, ...], axis: int, step: int, onto: Tensor | None = None
) -> Tensor:
    """Add up shifted copies, around the end: the margin keeps that out of the result."""
    import torch

    total = torch.zeros_like(image) if onto is None else onto
    n = image.shape[axis]
    for number, tap in enumerate(taps):
        shift = (number * step) % n
        if shift == 0:
            total.add_(image, alpha=tap)
            continue
        total.narrow(axis, 0, n - shift).add_(image.narrow(axis, shift, n - shift), alpha=tap)
        total.narrow(axis, n - shift, shift).add_(image.narrow(axis, 0, shift), alpha=tap)
    return total
