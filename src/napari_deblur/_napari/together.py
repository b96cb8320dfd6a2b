"""What lies on an image stays on it when its voxel size is corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.placing import correct, rescale
from napari_deblur._napari.reading import finest
from napari_deblur._napari.stated import said_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["correct_all"]


def correct_all(
    viewer: Any, image: Any, axes: str, pixel_size: Sequence[float | None]
) -> list[Any]:
    """Give an image its voxel size, and all that lies on it; give those other layers.

    These are labels, points, other channels and the like of the same scale and units. Kernels and
    images whose files say another voxel size are left as they are.
    """
    others = [one for one in viewer.layers if one is not image and _lies_on(one, image, axes)]
    if not correct(image, axes, pixel_size):
        return []
    moved = [one for one in others if not _says_otherwise(one, axes, pixel_size)]
    for one in moved:
        n = min(one.ndim, image.ndim)
        scale = (*one.scale[: one.ndim - n], *image.scale[image.ndim - n :])
        units = (*one.units[: one.ndim - n], *image.units[image.ndim - n :])
        rescale(one, scale, units)
    return moved


def _lies_on(one: Any, image: Any, axes: str) -> bool:
    """Tell whether a layer shares scale and units with an image, and its planes or its place."""
    if "kernel_pixel_size" in one.metadata or "preview" in one.metadata.get("deblur", {}):
        return False  # they follow by themselves
    n = min(one.ndim, image.ndim)
    if n < 2 or not np.allclose(one.scale[-n:], image.scale[-n:], rtol=1e-9, atol=0):
        return False
    if list(map(str, one.units[-n:])) != list(map(str, image.units[-n:])):
        return False
    own, whole = _shape(one), _shape(image)
    if own is not None and whole is not None:
        back = [axes.index(axis) - image.ndim for axis in "yx"]  # as napari aligns axes
        return all(-i <= n and own[i] == whole[i] for i in back)
    low, high = np.asarray(one.extent.world)[:, -n:]
    first, last = np.asarray(image.extent.world)[:, -n:]
    return not bool(((high < first) | (low > last)).any())  # nothing drawn yet lies anywhere


def _shape(layer: Any) -> tuple[int, ...] | None:
    """Give the shape of an image or of labels; None for what is no array of pixels."""
    from napari.layers import Image, Labels

    if not isinstance(layer, Image | Labels):
        return None
    return tuple(int(size) for size in finest(layer).shape[: layer.ndim])


def _says_otherwise(one: Any, axes: str, pixel_size: Sequence[float | None]) -> bool:
    """Tell whether the layer's own file says that its voxels have another size."""
    said = said_at_once(one.source.path)
    known = said.pixel_size if said is not None else None
    return known is not None and any(
        a is not None and b is not None and not np.isclose(a, b, rtol=1e-3)
        for axis, a, b in zip("zyx", known, pixel_size, strict=True)
        if axis in axes
    )
