"""The kernels of all channels: fitted to the stack, put into one array, and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_deblur.kernels import padded, resampled
from napari_deblur.protocols import Kernel
from napari_deblur.stack import complete_size

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["fitted", "off_centre", "together"]

Kernels = Kernel | Mapping[int, Kernel]
# A centre of mass farther from the kernel's middle than this is worth a sentence, in pixels.
OFF_CENTRE = 0.25
# Kernels from files carry rounded voxel sizes.
SAME_SIZE = 0.01


def fitted(stack: Stack, kernel: Kernels | None, notes: list[str]) -> dict[int, Kernel]:
    """Fit the user's kernels to the stack: one for each channel, at the stack's voxel size."""
    if kernel is None:
        return {}
    if isinstance(kernel, np.ndarray):
        kernel = Kernel(kernel)
    each = dict(kernel) if isinstance(kernel, Mapping) else {}
    if isinstance(kernel, Kernel):
        for c in range(stack.shape[1]):
            one = kernel.array[:, c if kernel.array.shape[1] > 1 else 0][:, None]
            if kernel.array.shape[1] not in (1, stack.shape[1]):
                raise ValueError(
                    f"there are kernels for {kernel.array.shape[1]} channels but the stack has "
                    f"{stack.shape[1]}: give one, or one for each"
                )
            each[c] = Kernel(one, kernel.pixel_size, kernel.report)
    extra = sorted(set(each) - set(range(stack.shape[1])), key=str)
    if extra:
        raise ValueError(
            f"a kernel is given for channel {extra[0]} but the stack has {stack.shape[1]} "
            "(from 0): leave it out"
        )
    missing = sorted(set(range(stack.shape[1])) - set(each))
    if missing:
        raise ValueError(f"there is no kernel for channel {missing[0]}: give one for each")
    return {c: _at_size(stack, one, notes) for c, one in each.items()}


def _at_size(stack: Stack, kernel: Kernel, notes: list[str]) -> Kernel:
    for said in kernel.report.get("cleaned", []):
        _say(notes, f"the kernel was cleaned: {said}")
    wanted = stack.pixel_size
    if kernel.pixel_size is None:
        _say(notes, "the kernel has no voxel size: it is taken to have the image's")
        return (
            replace(kernel, pixel_size=complete_size(wanted)) if complete_size(wanted) else kernel
        )
    if wanted is None:
        _say(notes, "the image has no voxel size: the kernel is used pixel for pixel")
        return kernel
    target = tuple(w or k for w, k in zip(wanted, kernel.pixel_size, strict=True))
    axes = range(0 if kernel.shape[0] > 1 else 1, 3)
    if all(abs(target[a] / kernel.pixel_size[a] - 1) <= SAME_SIZE for a in axes):
        return kernel
    size = " × ".join(f"{v:.4g}" for v in kernel.pixel_size)
    _say(notes, f"the kernel, of {size} µm voxels, was resampled to the image's")
    z, y, x = target
    return resampled(kernel, (z, y, x))


def _say(notes: list[str], sentence: str) -> None:
    if sentence not in notes:
        notes.append(sentence)


def together(kernels: Mapping[int, Kernel]) -> Kernel:
    """Put the channels' kernels into one array, padded to one shape around their centres."""
    every = [kernels[c] for c in sorted(kernels)]
    frames = max(k.array.shape[0] for k in every)
    sizes = [k.shape for k in every]
    shape = (max(s[0] for s in sizes), max(s[1] for s in sizes), max(s[2] for s in sizes))
    same = all(np.array_equal(k.array, every[0].array) for k in every)
    used = every[:1] if same and len(every) > 1 else every
    array = np.stack([np.stack([padded(k.at(t), shape) for k in used]) for t in range(frames)])
    reports = [dict(k.report) for k in used]
    report = reports[0] if len(reports) == 1 else {"channels": reports}
    return Kernel(array, every[0].pixel_size, report)


def off_centre(kernel: Kernel) -> list[str]:
    """Report centres of mass that are off the middle; the image will be moved by as much."""
    said = []
    for c in range(kernel.array.shape[1]):
        z, y, x = kernel.centroid(0, c)
        if max(abs(z), abs(y), abs(x)) > OFF_CENTRE:
            of = f" of channel {c}" if kernel.array.shape[1] > 1 else ""
            said.append(
                f"the kernel's centre of mass{of} lies ({z:+.2f}, {y:+.2f}, {x:+.2f}) px (z, y, x) "
                "off its middle, and the image will be moved the other way: centre the kernel "
                "if that is not meant"
            )
    return said
