"""What the commands about kernels do: measure, compare, find by beads, and write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deblur.beads import BeadReport, beads_to_kernel
from napari_deblur.checking import three
from napari_deblur.kernel_files import is_mosaic, load_mosaic
from napari_deblur.kernel_measures import aligned_ncc, full_widths, ncc, signal_to_noise
from napari_deblur.kernel_sets import together
from napari_deblur.kernels import load_kernel, resampled, save_kernel
from napari_deblur.modelled import advice, check_optics, model_of, too_far
from napari_deblur.protocols import Facts, Kernel, KernelField
from napari_deblur.results import is_field, load_field, save_field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_deblur.places import Place
    from napari_deblur.stack import Stack

__all__ = [
    "Nodes", "compared", "from_beads", "nodes_of", "of_model", "opened", "refuse_targets", "write",
    "write_fields",
]  # fmt: skip

Triple = tuple[int, int, int]
Size = tuple[float, float, float]
# Voxel sizes in files are rounded.
SAME_SIZE = 0.01


@dataclass(frozen=True, eq=False)
class Nodes:
    """The kernels of a field, or of a result's tiles.

    Parameters
    ----------
    kernels : Kernel
        One for each node, as its frames, in the order of the nodes z, y, x.
    grid : (z, y, x), how many there are along each axis
    maps : mapping
        What varies, by name, where the file says it.
    """

    kernels: Kernel
    grid: Triple
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def typical(self) -> Kernel:
        """Give the mean of all kernels."""
        one = self.kernels
        return Kernel(one.array.mean(axis=(0, 1)), one.pixel_size, one.report)


def nodes_of(path: Place, pixel_size: Size | None = None, channel: int = 0) -> Nodes | None:
    """Read the kernels of a field, of one channel; None where a file holds no field."""
    if is_field(path):
        if channel and path.is_file():
            raise ValueError(
                f"{path} holds the field of one channel: there is no channel {channel}"
            )
        found = load_field(path, channel)
        every = found.kernels().reshape(-1, 1, *found.shape)
        size = pixel_size or found.pixel_size
        return Nodes(Kernel(every, size, found.report), found.grid, found.maps)
    if not path.is_dir() or not is_mosaic(path):
        return None
    kernels, grid = load_mosaic(path, pixel_size=pixel_size)
    _check("channel", channel, kernels.array.shape[1], path)
    one = kernels.array[:, channel][:, None]
    return Nodes(Kernel(one, kernels.pixel_size, kernels.report), grid)


def opened(path: Place, pixel_size: Size | None, time: int, channel: int) -> Kernel:
    """Read one kernel of a file, which may hold those of several frames and channels.

    Of a field it is the mean of its kernels. If there are several, the report says as ``one_of``
    which one it is: {"frame": (its number, how many), "channel": …}.
    """
    nodes = nodes_of(path, pixel_size, channel)
    if nodes is not None:
        return nodes.typical()
    every = load_kernel(path, pixel_size=pixel_size, several=True)
    _check("frame", time, every.array.shape[0], path)
    _check("channel", channel, every.array.shape[1], path)
    places = {"frame": (time, every.array.shape[0]), "channel": (channel, every.array.shape[1])}
    several = {what: place for what, place in places.items() if place[1] > 1}
    report = _of_frame(every.report, time)
    report = {**report, "one_of": several} if several else report
    return Kernel(every.at(time, channel), every.pixel_size, report)


def _of_frame(report: Mapping[str, Any], time: int) -> Mapping[str, Any]:
    """Give what a report for all frames says of one of them."""
    frames = report.get("frames")
    if not isinstance(frames, list) or not time < len(frames):
        return report
    every = ("frames", "verdict", "why", "doubt", "judged", "family", "parameters")
    return {name: v for name, v in report.items() if name not in every} | dict(frames[time])


def _check(what: str, index: int, count: int, path: Place) -> None:
    if index >= count:
        of = f"kernels of {count} {what}s, from 0" if count > 1 else f"the kernel of one {what}"
        raise ValueError(f"{path} has {of}: there is no {what} {index}")


def of_model(
    name: str,
    parameters: Mapping[str, Any],
    optics: Facts,
    pixel_size: Sequence[float],
    shape: Sequence[int] | None = None,
) -> tuple[Kernel, list[str]]:
    """Make the kernel of a PSF model; give notes on its voxels and on the light left out, too.

    Parameters
    ----------
    pixel_size : (z, y, x) in µm, or (y, x) for a kernel of one plane
    shape : (z, y, x) or (y, x), or None for what the model takes by itself

    Raises
    ------
    ValueError
        When the model can't be made of what is known.
    """
    check_optics(optics)
    model = model_of((name, parameters), optics)
    flat = len(pixel_size) == 2
    z, y, x = (1.0, *pixel_size) if flat else pixel_size
    size = (z, y, x)
    wanted = three(shape, "shape", 1)
    if wanted is None and flat:
        _, y_length, x_length = model.default_shape(size)
        wanted = (1, y_length, x_length)
    kernel: Kernel = model("auto" if wanted is None else wanted, size)
    said = advice(model, optics, size, flat=kernel.shape[0] == 1)
    far = too_far(kernel, chosen=shape is not None)
    if far and shape is None:  # without an image there is none that could be larger
        far = [
            f"{kernel.report['left_out']:.0%} of the light of the {name} falls farther than its "
            "kernel reaches, and that is left out: --shape (shape) takes a larger one"
        ]
    return kernel, [*said, *far]


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


def refuse_targets(targets: Sequence[Path], scope: str, frames: int) -> None:
    """Raise ValueError if files can't hold what is going to be found in a scope."""
    suffix = targets[0].suffix.lower()
    if scope == "field" and suffix != ".npz":
        raise ValueError(f'kernels that vary are saved as .npz, and "{targets[0].name}" is none')
    if scope == "channel-time" and frames > 1 and suffix in (".tif", ".tiff"):
        raise ValueError(
            f"a TIFF holds one kernel, and there will be one for each of {frames} frames: save "
            "them as .npz or .zarr"
        )


def write(found: Kernel, targets: Sequence[Path]) -> Sequence[Path]:
    """Write the kernels to their files, each channel's to its own unless it is an OME-Zarr.

    A file holds those of all frames.
    """
    if targets[0].suffix.lower() == ".zarr":
        save_kernel(found, targets[0])
        return targets
    for c, target in enumerate(targets):
        report = found.report.get("channels", [found.report] * len(targets))[c]
        own = c if found.array.shape[1] > 1 else 0
        save_kernel(Kernel(found.array[:, own][:, None], found.pixel_size, report), target)
    return targets


def write_fields(found: Mapping[int, KernelField], targets: Sequence[Path]) -> Sequence[Path]:
    """Write the field of each channel to its own NPZ file."""
    for c, target in enumerate(targets):
        save_field(found[c], target)
    return targets
