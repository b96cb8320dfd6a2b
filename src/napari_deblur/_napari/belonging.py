"""Whether a layer still shows what a result holds: what napari makes of it copies its metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur._napari.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_deblur.results import Result

__all__ = ["DRAWN", "is_resized", "named_store", "store_in", "store_of"]

# In the metadata of images that were drawn from a result in memory: their shape.
DRAWN = "drawn"
# Sizes that differ by a larger share are others: files round them.
SAME = 1e-3


def named_store(metadata: Mapping[str, Any]) -> str | None:
    """Give the path of the result that metadata name, which may be those of a projection of it."""
    known = metadata.get("deblur")
    store = known.get("store") if isinstance(known, dict) else None
    return None if store is None else str(store)


def store_in(data: Any, attributes: Mapping[str, Any], kind: str = "image") -> str | None:
    """Give the path of the result that data of a layer show as it is, or None.

    Projections, crops and channels that were split off are images of their own.
    """
    metadata = attributes.get("metadata", {})
    store = named_store(metadata)
    if store is None or kind != "image":
        return store
    finest = data[0] if attributes.get("multiscale") else data
    if isinstance(finest, Seen):
        return store
    drawn = metadata.get(DRAWN)
    return store if drawn is not None and tuple(drawn) == tuple(np.shape(finest)) else None


def store_of(layer: Any) -> str | None:
    """Give the path of the result that a layer shows as it is, or None."""
    attributes = {"metadata": layer.metadata, "multiscale": getattr(layer, "multiscale", False)}
    kind = "image" if hasattr(layer, "rgb") else "other"
    return store_in(layer.data, attributes, kind)


def is_resized(result: Result, attributes: Mapping[str, Any]) -> bool:
    """Tell whether a restored layer says other voxel sizes than its result."""
    import pint

    from napari_deblur._napari.reading import size_in

    labels = [str(label) for label in attributes.get("axis_labels", ())]
    if not labels or "units" not in attributes:
        return False
    known = dict(zip("zyx", result.pixel_size or (None,) * 3, strict=True))
    rows = zip(labels, attributes["scale"], attributes["units"], strict=True)
    for axis, scale, unit in rows:
        size, own = known.get(axis), size_in(pint.Unit(str(unit)), float(scale), "um")
        if size is not None and own is not None and abs(own - size) > SAME * size:
            return True
    return False
