"""What the viewer shows of a layer, in voxels: the cut through it and the visible rectangle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.preview import Window

if TYPE_CHECKING:
    import napari.layers

    from napari_deblur.stack import Stack

__all__ = ["cut_of", "window_of"]


def cut_of(viewer: Any, layer: napari.layers.Image, axes: str) -> dict[str, int]:
    """Give the index that is shown along each axis that is not displayed."""
    extra = viewer.dims.ndim - layer.ndim
    shown = {axis - extra for axis in viewer.dims.displayed}
    place = layer.world_to_data(viewer.dims.point)
    shape = _shape(layer)
    return {
        axis: int(np.clip(round(place[i]), 0, shape[i] - 1))
        for i, axis in enumerate(axes)
        if i not in shown
    }


def window_of(viewer: Any, layer: napari.layers.Image, axes: str, stack: Stack) -> Window:
    """Give what is on the screen, as voxels of the stack that the layer is."""
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
    channels = tuple(range(stack.shape[1])) if stack.rgb else (cut.get("c", 0),)
    return Window(
        cut.get("t", 0),
        channels,
        (spans["z"], spans["y"], spans["x"]),
        cut.get("z", stack.shape[2] // 2),
    )


def _shape(layer: napari.layers.Image) -> tuple[int, ...]:
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape[: layer.ndim])
