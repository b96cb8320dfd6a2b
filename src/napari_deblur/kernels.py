"""Kernels centred, padded, cropped, resampled to another voxel size; and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.kernel_files import load_kernel, save_kernel
from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["centred", "cropped", "lean", "load_kernel", "padded", "resampled", "save_kernel"]

Size = tuple[float, float, float]
# Light that a kernel does without: float32 sums show no less. A Gaussian that was sampled up to
# 7 σ reaches 5 σ then, and tiles of 64 planes are padded to 80 instead of 96.
UNSEEN = 1e-6


def centred(kernel: Kernel) -> Kernel:
    """Shift each kernel so that its centre of mass lies at ``n // 2``, odd or even.

    The shift is linear between pixels, which widens the kernel by a fraction of one. Where light
    would leave the array, the array grows on both sides.
    """
    import torch

    from napari_deblur import ops

    array = _with_room(kernel)
    for place in np.ndindex(*array.shape[:2]):
        one = torch.from_numpy(array[place])
        array[place] = ops.shifted(one, -ops.centroid(one)).numpy()
    return Kernel(array, kernel.pixel_size, {**kernel.report, "centred": True})


def _with_room(kernel: Kernel) -> NDArray[np.float32]:
    """Copy the kernels, with zeros on both sides where they would be shifted over the edge."""
    pad, light = [(0, 0), (0, 0)], kernel.array.sum(axis=(0, 1))
    centres = [kernel.centroid(*place) for place in np.ndindex(*kernel.array.shape[:2])]
    for axis, n in enumerate(kernel.shape):
        filled = np.flatnonzero(light.sum(axis=tuple(a for a in range(3) if a != axis)))
        by = [-centre[axis] for centre in centres]
        before = np.ceil(-min(*by, 0.0) - 1e-3) - filled[0]
        behind = np.ceil(max(*by, 0.0) - 1e-3) - (n - 1 - filled[-1])
        # As much on both sides: the middle stays the middle.
        more = max(int(before), int(behind), 0)
        pad.append((more, more))
    return np.pad(kernel.array, pad)


def cropped(
    kernel: Kernel,
    *,
    shape: tuple[int, int, int] | None = None,
    energy: float | None = None,
) -> Kernel:
    """Cut kernels down around ``n // 2``; what is left sums to 1 again.

    Parameters
    ----------
    kernel : Kernel
    shape : (z, y, x) or None
        An axis that is shorter stays as it is.
    energy : float or None
        A share of the light that is to stay, such as 0.999: voxels at both ends of the axis that
        holds least light there are left out, one pair after the other. Of several kernels the mean
        is looked at. What is cut becomes odd.

    Returns
    -------
    Kernel
        The report has ``left_out``, the share of the light that was cut.

    Raises
    ------
    ValueError
        When neither or both are given, or a number makes no sense.
    """
    if (shape is None) == (energy is None):
        raise ValueError("give a shape to crop a kernel to, or the share of energy to keep")
    if shape is None:
        assert energy is not None
        if not 0 < energy <= 1:
            raise ValueError(f"energy is {energy:g}: give a share of the light, up to 1")
        shape = _holding(kernel.array.mean(axis=(0, 1), dtype=np.float64), energy)
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape is (z, y, x), each 1 or more, got {shape}")
    cut = [slice(None), slice(None)]
    for have, want in zip(kernel.shape, shape, strict=True):
        start = have // 2 - want // 2
        cut.append(slice(max(start, 0), start + want) if want < have else slice(None))
    array = kernel.array[tuple(cut)]
    left_out = float(1 - array.sum(axis=(2, 3, 4), dtype=np.float64).mean())
    said = {"left_out": max(left_out, 0.0) + float(kernel.report.get("left_out", 0.0))}
    return Kernel(array, kernel.pixel_size, {**kernel.report, **said})


def lean(kernel: Kernel, methods: Iterable[object]) -> Kernel:
    """Leave out the margins of kernels that make no difference: tiles needn't be padded for them.

    A kernel with several planes keeps three at least. Nothing is left out if one of the methods
    finds kernels itself: what it is given says how large they are.
    """
    if any(hasattr(one, "estimate") for one in methods):
        return kernel
    z, y, x = _holding(kernel.array.mean(axis=(0, 1), dtype=np.float64), 1 - UNSEEN)
    return cropped(kernel, shape=(max(z, min(kernel.shape[0], 3)), y, x))


def _holding(mean: NDArray[np.float64], energy: float) -> tuple[int, int, int]:
    """Choose a small shape around ``n // 2`` that holds a share of the light."""
    total, lost = float(mean.sum()), 0.0
    while True:
        cuts = []
        for axis, n in enumerate(mean.shape):
            if n > 1:
                # An even axis has one voxel more before its middle than after it.
                inner = slice(1, n if n % 2 == 0 else n - 1)
                kept = mean[(slice(None),) * axis + (inner,)]
                cuts.append((float(mean.sum() - kept.sum()), axis, inner))
        if not cuts:
            break
        loss, axis, inner = min(cuts)
        if lost + loss > (1 - energy) * total + 1e-12:
            break
        lost += loss
        mean = mean[(slice(None),) * axis + (inner,)]
    z, y, x = mean.shape
    return z, y, x


def padded(kernel: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Pad one kernel (z, y, x) with zeros to a larger shape, its centre staying at ``n // 2``."""
    result = np.zeros(shape, np.float32)
    where = tuple(
        slice(want // 2 - have // 2, want // 2 - have // 2 + have)
        for have, want in zip(kernel.shape, shape, strict=True)
    )
    result[where] = kernel
    return result


def resampled(kernel: Kernel, pixel_size: Size) -> Kernel:
    """Sample a kernel at another voxel size: linear between its samples, summed over each voxel.

    Beyond its outermost samples it falls to 0 within a voxel. Its lengths become odd.

    Raises
    ------
    ValueError
        When the kernel's own voxel size is not known, or the other one is none.
    """
    if kernel.pixel_size is None:
        raise ValueError("the kernel has no voxel size to resample from: give its pixel_size")
    if np.shape(pixel_size) != (3,) or not all(v > 0 and np.isfinite(v) for v in pixel_size):
        raise ValueError(f"pixel_size is (z, y, x) in µm, each above 0, got {pixel_size}")
    from scipy.ndimage import affine_transform

    ratios = [new / old for new, old in zip(pixel_size, kernel.pixel_size, strict=True)]
    shape = kernel.shape
    # Odd, so that the centre stays a voxel; planes of a flat kernel stay one.
    target = [
        1 if n == 1 else max(1, round((n // 2 * 2 + 1) / r) // 2 * 2 + 1)
        for n, r in zip(shape, ratios, strict=True)
    ]
    # Voxels are averaged over fine parts of them, each no wider than an old voxel.
    parts = [1 if n == 1 else int(np.ceil(r)) for n, r in zip(shape, ratios, strict=True)]
    fine = [n * p for n, p in zip(target, parts, strict=True)]
    steps = [r / p for r, p in zip(ratios, parts, strict=True)]
    offsets = [
        o // 2 - (n // 2 * p + (p - 1) / 2) * s if o > 1 else 0.0
        for o, n, p, s in zip(shape, target, parts, steps, strict=True)
    ]
    array = np.stack(
        [
            affine_transform(
                kernel.array[place].astype(np.float64),
                steps,
                offsets,
                tuple(fine),
                order=1,
                mode="grid-constant",
            )
            .reshape(target[0], parts[0], target[1], parts[1], target[2], parts[2])
            .sum(axis=(1, 3, 5))
            for place in np.ndindex(*kernel.array.shape[:2])
        ]
    ).reshape(*kernel.array.shape[:2], *target)
    said = {"resampled_from": list(kernel.pixel_size)}
    return Kernel(np.maximum(array, 0), pixel_size, {**kernel.report, **said})
