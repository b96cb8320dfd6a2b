"""What a TIFF says of itself, as OME, ImageJ, tifffile and Zeiss LSM do or in plain tags."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_deblur.readers._building import Found
from napari_deblur.readers._ome_xml import read_ome_xml
from napari_deblur.readers._units import above_zero, micrometres, seconds
from napari_deblur.stack import Channel

__all__ = ["read_facts"]

# Coarser than 20 µm is not the microscope but a printer: 72 to 600 dpi are 353 to 42 µm.
COARSEST = 20.0
RESOLUTION_UNITS = {2: "inch", 3: "cm"}


def read_facts(tif: Any, series: int, count: int) -> Found:
    """Give voxel size, time step, channels and optics of a series.

    Parameters
    ----------
    tif : tifffile.TiffFile
    series : int
    count : int
        Number of channels.
    """
    if tif.is_ome:
        return read_ome_xml(tif.ome_metadata, series, [one.name for one in tif.series])
    page = tif.series[series].keyframe
    if tif.is_imagej:
        return _like_imagej(tif.imagej_metadata or {}, page, count)
    if tif.is_lsm:
        return _lsm(tif.lsm_metadata or {})
    if tif.is_shaped:
        known = dict((tif.shaped_metadata or ({},) * (series + 1))[series])
        if known.get("unit"):
            return _like_imagej(known, page, count)
    unit = RESOLUTION_UNITS.get(int(page.tags.valueof("ResolutionUnit", 2)), "")
    sizes = [_resolution(page, name, unit) for name in ("YResolution", "XResolution")]
    y, x = (size if size is not None and size < COARSEST else None for size in sizes)
    return Found((None, y, x))


def _resolution(page: Any, name: str, unit: object) -> float | None:
    """Give the µm per pixel of a tag that holds pixels per unit."""
    value = page.tags.valueof(name)
    if value is None or len(value) != 2 or not value[0]:
        return None
    return micrometres(value[1] / value[0], unit)


def _like_imagej(known: dict[str, Any], page: Any, count: int) -> Found:
    unit = known.get("unit")
    y, x = (
        _resolution(page, f"{axis}Resolution", known.get(f"{axis.lower()}unit") or unit)
        for axis in "YX"
    )
    spacing = known.get("spacing")
    if isinstance(spacing, int | float):
        spacing = abs(spacing)  # below zero, where the first plane is the top one
    z = micrometres(spacing, known.get("zunit") or unit)
    step = seconds(known.get("finterval"), known.get("tunit") or "s")
    rate = above_zero(known.get("fps"))
    step = step if step is not None or rate is None else 1 / rate
    tables = known.get("LUTs") or []
    colors = [_table_color(table) for table in tables] if len(tables) == count else [None] * count
    return Found((z, y, x), step, tuple(Channel("", color) for color in colors))


def _table_color(table: Any) -> str | None:
    """Give the brightest colour of a lookup table; None for grey, which is no colour."""
    ramps = np.asarray(table)
    if ramps.shape != (3, 256) or (ramps == ramps[0]).all():
        return None
    red, green, blue = (int(ramp[-1]) & 255 for ramp in ramps)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _lsm(known: dict[str, Any]) -> Found:
    z, y, x = (micrometres(known.get(f"VoxelSize{axis}"), "m") for axis in "ZYX")
    return Found((z, y, x), above_zero(known.get("TimeIntervall")))
