"""Layers that come into the window one after the other, and never take it for long."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.placing import PLACE, world_steps

if TYPE_CHECKING:
    import napari.layers

__all__ = ["adding", "free_name", "look_at_all", "turn_to"]

# Who sees so much of an image along both axes looks at it as a whole.
SEEN = 0.6


def adding(
    viewer: Any, data: Any, kwargs: Mapping[str, Any], known: Any = None
) -> Generator[None, None, napari.layers.Image]:
    """Give a layer new data if it is of the same kind, else add one under a free name.

    Napari takes 80 ms to add a layer, and some to make it and to draw it: each is a step.
    """
    from napari.layers import Image

    if known is not None and known in viewer.layers:
        same = (known.ndim, known.rgb, known.multiscale) == (
            len(kwargs["scale"]), kwargs.get("rgb", False), kwargs.get("multiscale", False)
        )  # fmt: skip
        if same:
            known.data = data
            for name in (*PLACE, "contrast_limits", "metadata"):
                if name in kwargs:
                    setattr(known, name, kwargs[name])
            return known
    layer = Image(data, **kwargs)
    yield
    layer.name = free_name(viewer, layer.name)
    viewer.add_layer(layer)
    return layer


def free_name(viewer: Any, name: str) -> str:
    """Give a name that no layer has: an earlier run's layers stay."""
    taken = {layer.name for layer in viewer.layers}
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free


def turn_to(viewer: Any, layer: Any, source: Mapping[str, Any], channels: Sequence[int]) -> None:
    """Show a channel that was restored: the nearest, if the slider stands on none of them.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : Image layer
        What was restored.
    source : mapping
        Where the image lies, which has all channels.
    channels : ints
        Those that were restored.
    """
    labels = tuple(source["axis_labels"])
    if "c" not in labels:
        return
    at = labels.index("c")
    axis = viewer.dims.ndim - len(labels) + at
    unit = world_steps(viewer, layer)[at] / layer.scale[at]
    first, step = source["translate"][at], source["scale"][at]
    now = round((viewer.dims.point[axis] / unit - first) / step)
    if now not in channels:
        nearest = min(channels, key=lambda c: abs(c - now))
        viewer.dims.set_point(axis, (first + nearest * step) * unit)


def look_at_all(viewer: Any, image: Any) -> None:
    """Let the kernel beside the image be seen, if the image as a whole was looked at."""
    displayed = list(viewer.dims.displayed[-2:])
    if viewer.dims.ndisplay != 2 or image.multiscale:
        return
    low, high = np.asarray(image.corner_pixels)
    axes = [axis - viewer.dims.ndim + image.ndim for axis in displayed]
    if all(high[a] - low[a] + 1 > SEEN * image.data.shape[a] for a in axes if a >= 0):
        viewer.reset_view()
