"""What the image and the kernels say of themselves in OME-Zarr 0.5.

Pure: a plan goes in, plain data for ``zarr.json`` come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur.stack import AXES

if TYPE_CHECKING:
    from napari_deblur.plans import Layout, Plan
    from napari_deblur.pyramid import Level
    from napari_deblur.stack import Channel

__all__ = [
    "channels_metadata",
    "image_metadata",
    "kernel_geometry",
    "kernel_metadata",
    "kernel_pixel_size",
    "plain_metadata",
]

VERSION = "0.5"
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
# Channels without a colour of their own; one alone is grey.
COLORS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")

Sizes = tuple[float | None, float | None, float | None]


def image_metadata(plan: Plan, levels: Sequence[Level]) -> dict[str, Any]:
    """Describe the restored image: axes, units, the transforms of `levels`, and channels."""
    layout = plan.layout
    known = _known(layout, layout.pixel_size)
    datasets = []
    for level in levels:
        factors = dict(zip("zyx", level.factor, strict=True))
        scale = [_size(known, a) * factors.get(a, 1) for a in layout.axes]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if level.number:
            # The mean of 2 voxels lies between them, half a voxel further on than the first.
            shift = [_size(known, a) * (factors.get(a, 1) - 1) / 2 for a in layout.axes]
            transforms.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level.number), "coordinateTransformations": transforms})
    image = {
        "name": layout.name,
        "axes": _axes(layout.axes, known),
        "datasets": datasets,
        "type": "mean of 2 voxels along each axis that is halved",
    }
    return {"version": VERSION, "multiscales": [image], "omero": {"channels": _channels(plan)}}


def plain_metadata(
    name: str,
    axes: str,
    pixel_size: Sequence[float | None] | None = None,
    time_step: float | None = None,
    translate: Sequence[float] = (),
) -> dict[str, Any]:
    """Describe an image of one resolution that no plan was made for, in array "0".

    Parameters
    ----------
    name, axes : str
    pixel_size : (z, y, x) in µm, or None; a single number may be None too
    time_step : float or None, in seconds
    translate : numbers
        Place of the first voxel along each of the axes, in the same units.
    """
    sizes = dict(zip("zyx", pixel_size or (None,) * 3, strict=True)) | {"t": time_step}
    known = {axis: float(size) for axis, size in sizes.items() if size is not None}
    transforms: list[dict[str, Any]] = [{"type": "scale", "scale": [_size(known, a) for a in axes]}]
    if any(translate):
        transforms.append({"type": "translation", "translation": [float(v) for v in translate]})
    image = {
        "name": name,
        "axes": _axes(axes, known),
        "datasets": [{"path": "0", "coordinateTransformations": transforms}],
    }
    return {"version": VERSION, "multiscales": [image]}


def channels_metadata(channels: Sequence[Channel]) -> list[dict[str, Any]]:
    """Describe channels by what is known of them, and no more."""
    described = []
    for one in channels:
        waves = {"emissionWave": one.emission, "excitationWave": one.excitation}
        said: dict[str, Any] = {"label": one.name, "active": True}
        if one.color is not None:
            said["color"] = one.color.lstrip("#").upper()
        said |= {name: round(1000 * v, 6) for name, v in waves.items() if v is not None}
        described.append(said)
    return described


def kernel_metadata(plan: Plan) -> dict[str, Any]:
    """Describe the kernels as an image of axes t, c, z, y, x with their own voxel size."""
    known = _known(plan.layout, kernel_pixel_size(plan))
    transform = {"type": "scale", "scale": [_size(known, a) for a in AXES]}
    image = {
        "name": f"kernels of {plan.layout.name}",
        "axes": _axes(AXES, known),
        "datasets": [{"path": "0", "coordinateTransformations": [transform]}],
    }
    return {"version": VERSION, "multiscales": [image]}


def kernel_pixel_size(plan: Plan) -> Sizes | None:
    """Give the voxel size (z, y, x) of the kernels in µm; the image's if they have none."""
    return plan.kernel.pixel_size or plan.layout.pixel_size


def kernel_geometry(plan: Plan) -> dict[str, Any]:
    """Say where the kernels belong: for each axis, the cores' bounds and centres in voxels.

    The kernel of tile (iz, iy, ix) is block (iz, iy, ix) of the mosaic and belongs to the core
    ``cores["z"][iz], cores["y"][iy], cores["x"][ix]``. One kernel for all has one core.
    """
    cores: dict[str, list[list[int]]] = {}
    for axis, size, core in zip("zyx", plan.grid.shape[2:], plan.grid.core, strict=True):
        step = core if plan.finds_kernels else size
        cores[axis] = [[start, min(start + step, size)] for start in range(0, size, step)]
    nodes = {axis: [(a + b - 1) / 2 for a, b in spans] for axis, spans in cores.items()}
    return {"shape": list(plan.kernel.shape), "cores": cores, "nodes": nodes}


def _known(layout: Layout, sizes: Sizes | None) -> dict[str, float]:
    pairs = [*zip("zyx", sizes or (None, None, None), strict=True), ("t", layout.time_step)]
    return {axis: float(size) for axis, size in pairs if size is not None}


def _size(known: dict[str, float], axis: str) -> float:
    return known.get(axis, 1.0)


def _axes(axes: str, known: dict[str, float]) -> list[dict[str, str]]:
    described = [{"name": axis, "type": TYPES[axis]} for axis in axes]
    for axis in described:
        if axis["name"] in known:
            axis["unit"] = "second" if axis["name"] == "t" else "micrometer"
    return described


def _channels(plan: Plan) -> list[dict[str, Any]]:
    layout = plan.layout
    described = []
    for number, channel in enumerate(layout.channels):
        if layout.rgb:
            color = ("FF0000", "00FF00", "0000FF", "FFFFFF")[number]
        elif channel.color is not None:
            color = channel.color.lstrip("#").upper()
        else:
            color = "FFFFFF" if len(layout.channels) == 1 else COLORS[number % len(COLORS)]
        described.append(
            {
                "label": channel.name or f"channel {number}",
                "color": color,
                "active": True,
                "window": _window(plan, number),
                # Not in the standard, but what other programs write and read, in nm.
                **{
                    name: round(1000 * value, 6)
                    for name, value in (
                        ("emissionWave", channel.emission),
                        ("excitationWave", channel.excitation),
                    )
                    if value is not None
                },
            }
        )
    return described


def _window(plan: Plan, channel: int) -> dict[str, float]:
    """Give the contrast in stored values: from background to white where they are known."""
    dtype = np.dtype(plan.dtype)
    top = float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
    facts = plan.channels[min(channel, len(plan.channels) - 1)].facts
    start, end = 0.0, top
    if facts.white is not None and not plan.layout.rgb:
        low = facts.background or 0.0
        start, end = ((v - plan.offset) / plan.scale for v in (low, facts.white))
    if dtype.kind == "u":
        start, end = max(start, 0.0), min(end, top)
    if end <= start:  # a flat channel; readers divide by the difference
        end = start + 1.0
    return {"min": min(start, 0.0), "start": start, "end": end, "max": max(end, top)}
