"""A kernel that was made, as a layer that every other widget knows for a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.reading import axes_of, size_in
from napari_deblur._napari.showing import KERNEL_GAMMA

if TYPE_CHECKING:
    from napari_deblur._napari.showing import LayerData
    from napari_deblur.protocols import Kernel

__all__ = ["add_kernel", "kernel_data"]

# Of the image's width: between the image and the kernel beside it.
GAP = 0.04
# Of an image's sides: who sees more looks at all of it.
WHOLE = 0.6


def kernel_data(kernel: Kernel, name: str, beside: Any = None) -> LayerData:
    """Give one kernel as data of a layer, in µm; one of a single plane has two axes.

    Parameters
    ----------
    kernel : Kernel
        Of one frame and channel, with a voxel size.
    name : str
    beside : image layer or None
        It lies to the right of that layer, its middle in the image's middle plane; else at 0.
    """
    if kernel.pixel_size is None:
        raise ValueError("the kernel has no voxel size: give it, z, y, x in µm")
    array = kernel.at()
    axes = "zyx" if array.shape[0] > 1 else "yx"
    scale = kernel.pixel_size[-len(axes) :]
    array = array[0] if axes == "yx" else array
    kwargs = {
        "name": name,
        "scale": scale,
        "translate": _place(array.shape, scale, axes, beside),
        "units": ("um",) * len(axes),
        "axis_labels": tuple(axes),
        "colormap": "inferno",
        "gamma": KERNEL_GAMMA,
        "contrast_limits": (0.0, float(array.max()) or 1.0),
        "blending": "translucent_no_depth",  # seen on a light ground, too
        "metadata": {
            "kernel_pixel_size": kernel.pixel_size,
            "deblur": {"kernel": dict(kernel.report)},
        },
    }
    return array, kwargs, "image"


def add_kernel(viewer: Any, kernel: Kernel, name: str, beside: Any = None) -> Any:
    """Add one kernel to the viewer under a name that no layer has; what was active stays so."""
    from napari_deblur._napari.adding import free_name

    active = viewer.layers.selection.active
    data, kwargs, _ = kernel_data(kernel, free_name(viewer, name), beside)
    layer = viewer.add_image(data, **kwargs)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
    if beside is not None:
        _look_at_all(viewer, beside)
    return layer


def _look_at_all(viewer: Any, image: Any) -> None:
    """Let the kernel beside the image be seen, if the image as a whole was looked at."""
    if viewer.dims.ndisplay != 2 or image.multiscale:
        return
    low, high = np.asarray(image.corner_pixels)[:, -2:]
    sides = np.array(image.data.shape[: image.ndim][-2:])
    if (high - low + 1 > WHOLE * sides).all():
        viewer.reset_view()


def _place(shape: Any, scale: Any, axes: str, beside: Any) -> tuple[float, ...]:
    if beside is None:
        return (0.0,) * len(axes)
    low, high = beside.extent.world
    found = {}
    for n, axis in enumerate(axes_of(beside)):
        ends = [size_in(beside.units[n], float(v[n]), "um") for v in (low, high)]
        # A layer in pixels: any scale of it is taken for µm elsewhere, too.
        both = zip((low, high), ends, strict=True)
        found[axis] = [float(v[n]) if e is None else e for v, e in both]
    place = []
    for axis, n, step in zip(axes, shape, scale, strict=True):
        first, last = found.get(axis, [0.0, 0.0])
        if axis == "z":
            place.append((first + last) / 2 - n // 2 * step)
        elif axis == "y":
            place.append(first)
        else:
            place.append(last + GAP * (last - first) + step)
    return tuple(place)
