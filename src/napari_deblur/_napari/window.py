"""What the viewer shows of a layer, in voxels: the cut through it and the visible rectangle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.placing import voxel_at, world_of, world_steps
from napari_deblur._napari.preview import Window
from napari_deblur._napari.reading import channel_in

if TYPE_CHECKING:
    import napari.layers

    from napari_deblur.stack import Stack

__all__ = ["cut_of", "same_view", "turn_to_used", "window_of"]

Span = tuple[int, int]


def cut_of(viewer: Any, layer: napari.layers.Image, axes: str) -> dict[str, int]:
    """Give the index that is shown along each axis that is not displayed."""
    extra = viewer.dims.ndim - layer.ndim
    shown = {axis - extra for axis in viewer.dims.displayed}
    place = voxel_at(viewer, layer, viewer.dims.point)
    shape = _shape(layer)
    return {
        axis: int(np.clip(round(place[i]), 0, shape[i] - 1))
        for i, axis in enumerate(axes)
        if i not in shown
    }


def window_of(
    viewer: Any,
    layer: napari.layers.Image,
    axes: str,
    stack: Stack,
    region: tuple[Span, Span] | None = None,
    around: int = 0,
) -> Window:
    """Give what is on the screen, as voxels of the stack that the layer is.

    Parameters
    ----------
    region : ((start, stop), (start, stop)) or None
        Of y and x, in place of what is on the screen: then so many planes `around` the one that is
        shown are taken.

    Raises
    ------
    ValueError
        When the channel that is shown was left out.
    """
    cut = cut_of(viewer, layer, axes)
    shape = _shape(layer)
    factors = layer.downsample_factors[layer.data_level] if layer.multiscale else [1] * layer.ndim
    low, high = np.asarray(layer.corner_pixels)
    sizes = dict(zip("tczyx", stack.shape, strict=True))
    spans = {axis: (0, sizes[axis]) for axis in "zyx"}
    for i, axis in enumerate(axes):
        if axis not in "yx" or axis in cut:
            continue
        start = max(0, int(low[i] * factors[i]))
        stop = min(shape[i], int((high[i] + 1) * factors[i]))
        if high[i] > low[i] and stop > start:  # else nothing was drawn yet
            spans[axis] = (start, stop)
    channels = tuple(range(stack.shape[1])) if stack.rgb else (_channel(stack, cut.get("c", 0)),)
    plane = cut.get("z", stack.shape[2] // 2)
    if region is not None:
        spans["z"] = (max(0, plane - around), min(sizes["z"], plane + around + 1))
        spans["y"], spans["x"] = region
    box = (spans["z"], spans["y"], spans["x"])
    return Window(cut.get("t", 0), channels, box, plane, chosen=region is not None)


def turn_to_used(viewer: Any, layer: napari.layers.Image, axes: str, stack: Stack) -> None:
    """Show the nearest channel that is deblurred, where one is shown that was left out."""
    shown, used = cut_of(viewer, layer, axes).get("c"), stack.pixels.channels
    if shown is None or used is None or shown in used:
        return
    at = axes.index("c")
    voxel = voxel_at(viewer, layer, viewer.dims.point)
    voxel[at] = min(used, key=lambda c: abs(c - shown))
    world = world_of(viewer, layer, voxel)
    viewer.dims.set_point(viewer.dims.ndim - layer.ndim + at, float(world[at]))


@contextmanager
def same_view(viewer: Any, layer: napari.layers.Image) -> Iterator[None]:
    """Let the same voxels of a layer be seen when its scale was changed within."""
    camera = getattr(viewer, "scene", viewer).camera  # 0.9 moved it
    axes = [axis - viewer.dims.ndim + layer.ndim for axis in viewer.dims.displayed[-2:]]
    before, first = world_steps(viewer, layer), camera.center[0]
    world = np.array(viewer.dims.point, float)
    world[list(viewer.dims.displayed[-2:])] = camera.center[1:]
    voxel = voxel_at(viewer, layer, world)
    yield
    if viewer.dims.ndisplay != 2 or min(axes) < 0:
        return
    ratio = (world_steps(viewer, layer) / before)[axes]
    if np.array_equal(ratio, (1, 1)):
        return
    camera.center = (first, *world_of(viewer, layer, voxel)[axes])
    camera.zoom /= float(np.sqrt(ratio.prod()))


def _channel(stack: Stack, c: int) -> int:
    """Give the place of a layer's channel among those that were not left out."""
    found = channel_in(stack, c)
    if found is None:
        raise ValueError(f"channel {c} was left out: show another one to preview it")
    return found


def _shape(layer: napari.layers.Image) -> tuple[int, ...]:
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape[: layer.ndim])
