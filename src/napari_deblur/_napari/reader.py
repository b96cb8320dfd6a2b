"""What this package saved, and nothing else, as layers: the restored image and the kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_deblur.places import is_address, place_of

if TYPE_CHECKING:
    from napari_deblur._napari.showing import LayerData

__all__ = ["get_reader"]

PathOrPaths = str | list[str]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """Give a function that reads what this package wrote if that is what `path` is, else None.

    Stores of results by any name; OME-Zarr that the writer made of other layers; OME-TIFF.
    """
    from napari_deblur._napari.saved import marked

    given = path[0] if isinstance(path, list) else path
    if "://" in given and not is_address(given):
        return None
    first = place_of(given)
    if isinstance(first, Path) and first.name.lower().endswith((".tif", ".tiff")):
        from napari_deblur.outputs import is_ours

        return _tiffs if is_ours(first) else None
    said = marked(first)
    return read if "schema" in said else _groups if "layer" in said else None


def _tiffs(path: PathOrPaths) -> list[LayerData]:
    from napari_deblur._napari.saved import read_tiff

    return [layer for one in _each(path) for layer in read_tiff(one)]


def _groups(path: PathOrPaths) -> list[LayerData]:
    from napari_deblur._napari.saved import read_zarr

    return [layer for one in _each(path) for layer in read_zarr(one)]


def _each(path: PathOrPaths) -> list[str]:
    return path if isinstance(path, list) else [path]


def read(path: PathOrPaths) -> list[LayerData]:
    """Read results, finished or not, lazily; they lie and look as when they were made."""
    from napari_deblur._napari.looks import picked_of, recalled
    from napari_deblur._napari.placing import own_kwargs
    from napari_deblur._napari.showing import (
        image_layer,
        kernels_layer,
        map_layers,
        method_name,
    )
    from napari_deblur.results import open_result

    layers: list[LayerData] = []
    for one in _each(path):
        result = open_result(one)
        layout = result.plan.layout
        spatial, seen = recalled(result, own_kwargs(layout))
        picked = picked_of(result)
        name, method = layout.name, method_name(result)
        data, kwargs, kind = image_layer(
            result, spatial, name=f"{name} restored [{method}]", channels=picked
        )
        layers.append((data, {**kwargs, **seen}, kind))
        called = f"{name} kernels [{method}]"
        layers.append(kernels_layer(result, spatial, name=called, channels=picked))
        layers += map_layers(result, spatial, name=name, channels=picked)
    return layers
