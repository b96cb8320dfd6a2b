"""How the layer of a source looked and lay, kept in its result so that this opens the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import places

if TYPE_CHECKING:
    from napari_deblur.results import Result

__all__ = ["looks_of", "recalled", "remember"]

PLACE = ("translate", "rotate", "shear", "affine")
SEEN = ("colormap", "gamma")
FILE = "layer.json"


def looks_of(layer: Any) -> dict[str, Any]:
    """Give place and colours of an image layer, or of its attributes, as plain data."""
    labels = [str(label) for label in layer.axis_labels]
    place = {
        name: np.asarray(getattr(layer, name), float).tolist()
        for name in PLACE
        if hasattr(layer, name)
    }
    seen: dict[str, Any] = {}
    if not layer.rgb:
        colours = layer.colormap  # of the data of a layer, a mapping
        name = colours["name"] if isinstance(colours, Mapping) else colours.name
        seen = {"colormap": str(name), "gamma": float(layer.gamma)}
    return {"axes": labels, **place, **seen}


def remember(result: Result, looks: Mapping[str, Any]) -> None:
    """Keep looks in a result, in a file of their own, which its ledger knows."""
    from napari_deblur.store import Store

    store, content = Store(result.path, result.plan), json.dumps(dict(looks), indent=2).encode()
    store.record_metadata(result.path / FILE, content)
    places.write_atomically(result.path / FILE, content)
    store.close()


def recalled(result: Result, spatial: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what `own_kwargs` gave with the place that was kept, and the colours for the image.

    What does not fit the result, or that this napari does not know, is left out.
    """
    from napari.utils.colormaps import AVAILABLE_COLORMAPS

    try:
        kept = json.loads((result.path / FILE).read_bytes())
    except (OSError, ValueError):
        return dict(spatial), {}
    if not isinstance(kept, Mapping) or kept.get("axes") != list(spatial["axis_labels"]):
        return dict(spatial), {}
    place = {name: kept[name] for name in PLACE if kept.get(name) is not None}
    n = len(spatial["axis_labels"])
    if np.shape(place.get("translate", ())) != (n,):
        place = {}
    seen = {name: kept[name] for name in SEEN if name in kept}
    if result.plan.layout.rgb or seen.get("colormap") not in AVAILABLE_COLORMAPS:
        seen.pop("colormap", None)
    if "translate" in place:
        place["translate"] = tuple(float(v) for v in place["translate"])
    arrays = {name: np.asarray(place[name]) for name in PLACE[1:] if name in place}
    return {**spatial, **place, **arrays}, seen
