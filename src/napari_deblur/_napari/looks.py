"""How the layer of a source looked and lay, kept in its result so that this opens the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_deblur import places
from napari_deblur.results import LAYER
from napari_deblur.stack import AXES

if TYPE_CHECKING:
    from napari_deblur.results import Result

__all__ = ["applied", "looks_of", "picked_of", "recalled", "remember"]

# Channels of an image; files from outside may say any number.
MOST = 1000
ARRAYS = ("scale", "translate", "rotate", "shear", "affine")


def looks_of(layer: Any) -> dict[str, Any]:
    """Give place, with its units, and colours of an image layer, or its attributes, as plain data.

    Numbers of a place mean nothing without their units, so they are kept together.
    """
    place: dict[str, Any] = {
        name: np.asarray(getattr(layer, name), float).tolist()
        for name in ARRAYS
        if hasattr(layer, name)
    }
    place["units"] = [str(unit) for unit in layer.units]
    seen: dict[str, Any] = {"blending": str(layer.blending)} if hasattr(layer, "blending") else {}
    if not layer.rgb:
        colours = layer.colormap  # of the data of a layer, a mapping
        name = colours["name"] if isinstance(colours, Mapping) else colours.name
        seen |= {"colormap": str(name), "gamma": float(layer.gamma)}
        seen["contrast_limits"] = [float(v) for v in layer.contrast_limits]
    made = getattr(layer, "metadata", {}).get("deblur")
    channels = made.get("channels") if isinstance(made, Mapping) else None
    picked = {"channels": list(channels)} if channels else {}
    return {"axes": [str(label) for label in layer.axis_labels], **place, **seen, **picked}


def remember(result: Result, looks: Mapping[str, Any]) -> None:
    """Keep looks in a result, in a file of their own, which its ledger knows.

    Also while a run writes there: the ledger has a file for each process.
    """
    from napari_deblur.store import Store

    file, content = result.path / LAYER, json.dumps(dict(looks), indent=2).encode()
    if file.is_file() and file.read_bytes() == content:
        return
    store = Store(result.path, result.plan)
    store.record_metadata(file, content)
    places.write_atomically(file, content)
    store.close()


def recalled(result: Result, spatial: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what `own_kwargs` gave with the place that was kept, and the colours for the image."""
    kept = _kept(result)
    axes = kept.get("axes") if isinstance(kept, Mapping) else None
    return applied(kept, _in_order(spatial, axes, result), rgb=result.plan.layout.rgb)


def picked_of(result: Result) -> list[int] | None:
    """Give the channels of the image that were restored, if that was kept and some were left out.

    They say where the gaps are between those that there are.
    """
    kept = _kept(result)
    picked = kept.get("channels") if isinstance(kept, Mapping) else None
    if not isinstance(picked, list) or len(picked) != result.plan.layout.shape[1]:
        return None
    if not all(isinstance(c, int) and 0 <= c < MOST for c in picked):
        return None
    return picked if sorted(set(picked)) == picked else None


def _kept(result: Result) -> Any:
    try:
        return json.loads((result.path / LAYER).read_bytes())
    except (OSError, ValueError):
        return None


def _in_order(spatial: Mapping[str, Any], axes: Any, result: Result) -> Mapping[str, Any]:
    """Give the place with the axes of the image's layer, whose order may be another."""
    own = list(spatial["axis_labels"])
    if not isinstance(axes, list) or not all(axis in own for axis in axes):
        return spatial
    sizes = dict(zip(AXES, result.plan.layout.shape, strict=True))
    gone = [axis for axis in own if axis not in axes]
    if len(set(axes)) != len(axes) or any(sizes[a] > 1 or a in "yx" for a in gone):
        return spatial
    order = [own.index(axis) for axis in axes]
    return {name: tuple(value[i] for i in order) for name, value in spatial.items()}


def applied(
    kept: Any, spatial: Mapping[str, Any], *, rgb: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a place with what was kept of it, and the colours that were kept.

    What does not fit the axes, or that this napari does not know, is left out.

    Parameters
    ----------
    kept : mapping
        What `looks_of` gave, after it was in a file.
    spatial : mapping
        What `own_kwargs` gave.
    """
    if not isinstance(kept, Mapping) or kept.get("axes") != list(spatial["axis_labels"]):
        return dict(spatial), {}
    return {**spatial, **_place(kept)}, _seen(kept, rgb=rgb)


def _place(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Give the place as layers take it; nothing if a part of it is not what it should be."""
    import pint
    from pint.errors import PintError

    n = len(kept["axes"])
    try:
        place: dict[str, Any] = {
            name: np.asarray(kept[name], float) for name in ARRAYS if kept.get(name) is not None
        }
        units = tuple(str(unit) for unit in kept["units"])
        for unit in units:
            pint.Unit(unit)
        shapes = {"scale": (n,), "translate": (n,), "rotate": (n, n), "affine": (n + 1, n + 1)}
        fits = len(units) == n and all(place[name].shape == (n,) for name in ARRAYS[:2])
        shears = ((n * (n - 1) // 2,), (n, n))
        fits = fits and all(
            array.shape in (shears if name == "shear" else (shapes[name],))
            for name, array in place.items()
        )
        fits = fits and bool((place["scale"] != 0).all())
        fits = fits and all(bool(np.isfinite(value).all()) for value in place.values())
    except (KeyError, TypeError, ValueError, AttributeError, PintError):
        return {}
    if not fits:
        return {}
    plain = {name: tuple(float(v) for v in place.pop(name)) for name in ARRAYS[:2]}
    return {**place, **plain, "units": units}


def _seen(kept: Mapping[str, Any], *, rgb: bool) -> dict[str, Any]:
    from napari.layers.base._base_constants import Blending
    from napari.utils.colormaps import AVAILABLE_COLORMAPS

    seen: dict[str, Any] = {}
    blending, colormap = kept.get("blending"), kept.get("colormap")
    if isinstance(blending, str) and blending in {str(one.value) for one in Blending}:
        seen["blending"] = blending
    if rgb:
        return seen
    if isinstance(colormap, str) and colormap in AVAILABLE_COLORMAPS:
        seen["colormap"] = colormap
    if isinstance(gamma := kept.get("gamma"), int | float) and gamma > 0:
        seen["gamma"] = float(gamma)
    limits = kept.get("contrast_limits")
    if isinstance(limits, list) and len(limits) == 2:
        if all(isinstance(v, int | float) and np.isfinite(v) for v in limits):
            seen["contrast_limits"] = (float(limits[0]), float(limits[1]))
        if "contrast_limits" in seen and limits[0] >= limits[1]:
            del seen["contrast_limits"]
    return seen
