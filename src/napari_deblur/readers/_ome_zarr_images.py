"""Which image of an OME-Zarr store is meant: of a plate, of a series, or the only one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zarr

from napari_deblur.readers._zarr_nodes import DAMAGED, safe_path

if TYPE_CHECKING:
    from napari_deblur.stack import Source

__all__ = ["image_group", "ome_attributes", "wells_of"]

# A plate of 384 wells is not looked through to write an error.
WELLS_LISTED = 6


def ome_attributes(group: Any) -> dict[str, Any]:
    """Give the OME metadata of a group: under "ome" in version 0.5, plain in 0.4."""
    attributes = dict(group.attrs)
    if isinstance(attributes.get("ome"), dict):
        return dict(attributes["ome"])
    keys = ("multiscales", "omero", "plate", "well", "bioformats2raw.layout", "series")
    return {key: attributes[key] for key in keys if key in attributes}


def image_group(root: Any, source: Source) -> tuple[Any, str, int]:
    """Give the group of the image, its path in the store, and which of its pyramids is meant.

    Raises
    ------
    ValueError
        When the field or series does not exist, or none is named where there are several.
    """
    address, known = source.address, ome_attributes(root)
    if "plate" in known:
        path = _field_path(root, known["plate"], source)
        return _child(root, path, address), path, 0
    if source.field is not None:
        raise ValueError(
            f'field="{source.field}" was asked for but "{address}" is no plate: leave field out'
        )
    if "multiscales" in known:
        count = len(known["multiscales"]) if isinstance(known["multiscales"], list) else 1
        return root, "", _within(source.series, max(count, 1), address)
    if "bioformats2raw.layout" in known:
        paths = _series_paths(root)
        path = safe_path(paths[_within(source.series, len(paths), address)], address)
        return _child(root, path, address), path, 0
    raise ValueError(
        f'"{address}" has OME metadata ({", ".join(known)}) but no image: give the path of an image'
    )


def _within(series: int | None, count: int, address: str) -> int:
    if not 0 <= (series or 0) < count:
        raise ValueError(
            f'series={series} was asked for but "{address}" has {count}, counted from 0: '
            f"choose 0 to {count - 1}"
        )
    return series or 0


def _series_paths(root: Any) -> list[str]:
    names = ome_attributes(root["OME"]).get("series") if "OME" in root else None
    if isinstance(names, list) and names:
        return [str(name) for name in names]
    paths: list[str] = []
    while str(len(paths)) in root:
        paths.append(str(len(paths)))
    return paths


def wells_of(plate: Any, address: str) -> list[str]:
    """Give the paths of the wells that the metadata of a plate name."""
    try:
        return [str(well["path"]).strip("/") for well in plate["wells"]]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'the plate "{address}" does not list its wells: give the path of an image in it'
        ) from error


def _field_path(root: Any, plate: Any, source: Source) -> str:
    wells = wells_of(plate, source.address)
    if source.field is not None:
        well, _, name = source.field.strip("/").rpartition("/")
        if well in wells and name in _fields(root, well, source.address):
            return f"{well}/{name}"
    listed = [
        f"{well}/{name}"
        for well in wells[:WELLS_LISTED]
        for name in _fields(root, well, source.address)
    ]
    if source.field is None and len(wells) == 1 and len(listed) == 1:
        return listed[0]
    more = f" and those of {len(wells) - WELLS_LISTED} more wells" if wells[WELLS_LISTED:] else ""
    asked = "no field is named" if source.field is None else f'there is no field "{source.field}"'
    example = f', e.g. field="{listed[0]}"' if listed else ""
    raise ValueError(
        f'"{source.address}" is a plate and {asked}, of {", ".join(listed) or "none"}{more}: '
        f"name one{example}"
    )


def _fields(root: Any, well: str, address: str) -> list[str]:
    known = ome_attributes(_child(root, safe_path(well, address), address)).get("well")
    images = known.get("images") if isinstance(known, dict) else None
    listed = [one for one in images or () if isinstance(one, dict)]
    return [safe_path(str(image["path"]), address) for image in listed if "path" in image]


def _child(root: Any, path: str, address: str) -> Any:
    try:
        group = root[path]
    except DAMAGED as error:
        raise ValueError(
            f'"{address}" promises a group at "{path}" that is missing: copy the store again'
        ) from error
    if not isinstance(group, zarr.Group):
        raise ValueError(f'"{path}" inside "{address}" is an array, but a group is expected there')
    return group
