"""Which layers a box offers, and where the result of one goes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from napari_deblur._napari.reading import finest
from napari_deblur._napari.settings import preferences

__all__ = ["offer", "output_for", "voxels"]


def output_for(layer: Any) -> Path:
    """Give the place beside the layer's file if one can write there, else the scratch folder."""
    bare = "".join(c if c.isalnum() or c in "-_." else "-" for c in layer.name)
    folder = Path(layer.source.path).parent if layer.source.path else None
    if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK):
        folder = preferences().folder
    return folder.absolute() / f"{bare}.deblur.zarr"


def offer(box: Any, layers: list[Any], kept: Any, first: Any) -> None:
    """Fill a box with layers; `kept` stays chosen if it is there, else `first` is, or none."""
    box.blockSignals(True)
    box.clear()
    for layer in layers:
        box.addItem(layer.name, layer)
    wanted = kept if kept in layers else first
    box.setCurrentIndex(layers.index(wanted) if wanted in layers else -1)
    box.blockSignals(False)


def voxels(layer: Any) -> int:
    """Count the voxels of a layer."""
    return math.prod(int(n) for n in finest(layer).shape)
