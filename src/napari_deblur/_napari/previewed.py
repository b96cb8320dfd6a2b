"""A preview as layers: the part that was restored, and its kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.placing import in_axes, kernel_kwargs, part_of, spatial_kwargs
from napari_deblur._napari.showing import KERNEL_GAMMA, blank, widened, without_background
from napari_deblur.stack import AXES

if TYPE_CHECKING:
    from napari_deblur._napari.preview import Preview
    from napari_deblur._napari.showing import LayerData
    from napari_deblur.stack import Stack

__all__ = ["preview_layers"]


def preview_layers(layer: Any, stack: Stack, preview: Preview, axes: str) -> list[LayerData]:
    """Give the part that was restored and its kernel, placed where they belong."""
    plan, window = preview.plan, preview.window
    spatial = spatial_kwargs(layer, axes)
    picked, c = stack.pixels.channels, window.channels[0]
    # The window counts those that were not left out, the layer counts all.
    first = {"t": window.t, "c": c if picked is None or stack.rgb else picked[c]}
    first |= {axis: start for axis, (start, _) in zip("zyx", window.box, strict=True)}
    image = preview.image
    if stack.rgb and stack.dtype.kind == "u":
        top = np.iinfo(stack.dtype).max
        image = np.clip(np.nan_to_num(image), 0, top).round().astype(stack.dtype)
    data = in_axes(image[None], f"{axes}c" if stack.rgb else axes)
    placed = part_of(spatial, [first[axis] for axis in axes])
    # Not the blending: added to the image below it, it would be seen as the sum of both.
    looks: dict[str, Any] = {"rgb": True}
    if not stack.rgb:
        low, high = map(float, layer.contrast_limits)
        looks = {"colormap": layer.colormap, "gamma": layer.gamma}
        limits = without_background((low, high), plan, channel=c)
        looks["contrast_limits"] = widened(limits, [image])
    known = {"deblur": {**blank(plan), "preview": True}}
    size, own = plan.kernel.pixel_size, plan.layout.pixel_size
    ratio = {
        axis: k / i
        for axis, k, i in zip("zyx", size or (None,) * 3, own or (None,) * 3, strict=True)
        if k and i
    }
    kernel = in_axes(preview.kernel[None, None], axes)
    # Beside the whole image, as that of a run, but at the frame, channel and planes of this part.
    plane = part_of(spatial, [0 if axis in "yx" else first[axis] for axis in axes])
    whole = dict(zip(AXES, stack.shape, strict=True))
    size_of = [whole[a] if a in "yx" else n for a, n in zip(axes, data.shape, strict=False)]
    beside = kernel_kwargs(plane, size_of, kernel.shape, ratio=ratio, beside=True)
    names = (f"{stack.name} preview", f"{stack.name} preview kernel")
    image_kwargs = {"name": names[0], "metadata": known, **looks, **placed}
    kernel_looks = {
        "name": names[1],
        "metadata": {**known, "kernel_pixel_size": size or own},
        "contrast_limits": (0.0, float(kernel.max())),
        "colormap": "inferno",
        "gamma": KERNEL_GAMMA,
        "blending": "translucent_no_depth",  # seen on a light ground, too
        **beside,
    }
    return [(data, image_kwargs, "image"), (kernel, kernel_looks, "image")]
