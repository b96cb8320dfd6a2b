"""What the commands about kernels do: measure, compare, find by beads, and write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_deblur.beads import BeadReport, beads_to_kernel
from napari_deblur.checking import three
from napari_deblur.kernel_measures import aligned_ncc, full_widths, ncc, signal_to_noise
from napari_deblur.kernel_sets import together
from napari_deblur.kernels import load_kernel, resampled, save_kernel
from napari_deblur.protocols import Kernel

if TYPE_CHECKING:
    from napari_deblur.stack import Stack

__all__ = ["compared", "from_beads", "opened", "write"]

Size = tuple[float, float, float]
# Voxel sizes in files are rounded.
SAME_SIZE = 0.01


def opened(path: Path, pixel_size: Size | None, time: int, channel: int) -> Kernel:
    """Read one kernel of a file, which may hold those of several frames and channels."""
    every = load_kernel(path, pixel_size=pixel_size, several=True)
    for what, index, count in (
        ("frame", time, every.array.shape[0]),
        ("channel", channel, every.array.shape[1]),
    ):
        if index >= count:
            raise ValueError(f"{path} has kernels of {count} {what}s, from 0: there is no {index}")
    return Kernel(every.at(time, channel), every.pixel_size, every.report)


def compared(one: Kernel, other: Kernel) -> dict[str, str]:
    """Compare a kernel with another, which is brought to its voxel size first."""
    said = {}
    if one.pixel_size is None or other.pixel_size is None:
        if one.pixel_size != other.pixel_size:
            said["compared"] = "pixel by pixel, for one of them has no voxel size"
        one, other = Kernel(one.array), Kernel(other.array)
    else:
        pairs = zip(one.pixel_size, other.pixel_size, one.shape, strict=True)
        if any(abs(a / b - 1) > SAME_SIZE and n > 1 for a, b, n in pairs):
            other = resampled(other, one.pixel_size)
            said["compared"] = "at the voxel size of the first"
        other = Kernel(other.array, one.pixel_size)
    ratios = [
        None if a is None or b is None else a / b
        for a, b in zip(full_widths(one), full_widths(other), strict=True)
    ]
    known = [(axis, r) for axis, r in zip("zyx", ratios, strict=True) if r is not None]
    aligned, shift = aligned_ncc(one, other)
    return said | {
        "widths, of the other": ", ".join(f"{axis} {r:.3f}" for axis, r in known),
        "correlation": f"{ncc(one, other):.4f} as they lie, {aligned:.4f} aligned",
        "shift": ", ".join(f"{v:+.2f}" for v in shift) + " px aligns the other (z, y, x)",
        "signal to noise": f"{signal_to_noise(other, one):.1f} dB, the other being the truth",
    }


def from_beads(
    stack: Stack,
    shape: Sequence[int] | None,
    *,
    diameter: float | None = None,
    saturation: float | None = None,
) -> tuple[Kernel, list[BeadReport]]:
    """Average the beads of each channel, in the first frame; give the kernels of all channels."""
    wanted = three(shape, "shape", 1)
    kernels, reports = {}, []
    for c in range(stack.shape[1]):
        try:
            kernels[c], report = beads_to_kernel(
                stack, shape=wanted, diameter=diameter, saturation=saturation, channel=c
            )
        except ValueError as error:
            if stack.shape[1] == 1:
                raise
            raise ValueError(f"channel {c}: {error}") from error
        reports.append(report)
    return together(kernels), reports


def write(found: Kernel, targets: Sequence[Path]) -> Sequence[Path]:
    """Write the kernels to their files, each channel's to its own unless it is an OME-Zarr."""
    if targets[0].suffix.lower() == ".zarr":
        save_kernel(found, targets[0])
        return targets
    for c, target in enumerate(targets):
        report = found.report.get("channels", [found.report] * len(targets))[c]
        save_kernel(Kernel(found.at(0, c), found.pixel_size, report), target)
    return targets
