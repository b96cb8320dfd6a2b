"""OME-Zarr 0.4 and 0.5: images with pyramids, plates, and several images in one store."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import zarr

from napari_deblur.readers._building import Found, build_stack, chosen_axes, stored_in
from napari_deblur.readers._ome_xml import read_ome_xml
from napari_deblur.readers._ome_zarr_images import image_group, ome_attributes
from napari_deblur.readers._units import above_zero, micrometres, seconds
from napari_deblur.readers._zarr_nodes import looks_like_zarr, open_array, open_node
from napari_deblur.readers._zarr_pixels import stored_pixels
from napari_deblur.readers._zarr_samples import fingerprint
from napari_deblur.stack import Channel, Optics, Source, Stack

__all__ = ["OmeZarr"]

MOST_XML = 2**28  # bytes


@dataclass(frozen=True)
class OmeZarr:
    """Opens one image of an OME-Zarr store at one of its resolutions."""

    patterns: ClassVar[tuple[str, ...]] = ("*.ome.zarr", "*.deblur.zarr", "*.zarr")

    def accepts(self, address: str) -> bool:
        """Say whether there is a zarr group with OME metadata."""
        if not looks_like_zarr(address):
            return False
        try:
            node = open_node(address)
        except FileNotFoundError:
            return False
        return isinstance(node, zarr.Group) and bool(ome_attributes(node))

    def __call__(self, source: Source) -> Stack:
        """Open an image: its axes, voxel size at this level, channels and time step.

        Raises
        ------
        ValueError
            When the metadata break the rules of OME-Zarr, a scale is not above zero, or there
            is no such series, level or field.
        """
        root = open_node(source.address)
        group, path, position = image_group(root, source)
        known = ome_attributes(group)
        image = _validated(known, position, source.address)
        datasets = image["datasets"]
        if not 0 <= source.level < len(datasets):
            raise ValueError(
                f'level={source.level} was asked for but "{source.address}" has {len(datasets)} '
                f"resolutions, counted from 0: choose 0 to {len(datasets) - 1}"
            )
        array = open_array(group, datasets[source.level]["path"], source.address)
        stated = _letters(image["axes"])
        if len(stated) != array.ndim:
            raise ValueError(
                f'the metadata of "{source.address}" name {len(stated)} axes but the array has '
                f"shape {array.shape}: correct the metadata"
            )
        axes = chosen_axes(source.axes, stated, tuple(array.shape))
        found = _found(image, source.level, stated, source.address)
        xml = read_metadata_xml(source, path)
        found = replace(found, channels=_channels(known.get("omero")) or xml.channels)
        found = replace(found, optics=_own_optics(group) or xml.optics)
        pixels = stored_pixels(array, source.address, sparse=source.sparse)
        source = stored_in(source, "ome-zarr", fingerprint(pixels, image))
        stack = build_stack(source, pixels, axes, found, stated=stated, levels=len(datasets))
        own = _own_name(group)
        return replace(stack, name=own) if own else stack


def _validated(known: dict[str, Any], position: int, address: str) -> dict[str, Any]:
    from pydantic import ValidationError
    from yaozarrs import v04, v05

    model = v05.Image if "version" in known else v04.Image
    # omero is for display and often incomplete; the images can be read all the same.
    wanted = {name: known[name] for name in ("version", "multiscales") if name in known}
    try:
        with warnings.catch_warnings():
            # A unit outside the list of the standard is unknown to `micrometres` too.
            warnings.simplefilter("ignore")
            checked = model.model_validate(wanted).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = " ".join(str(first["msg"]).split("TIP")[0].split())
        raise ValueError(
            f'the OME-Zarr metadata of "{address}" break the rules of version 0.4 and 0.5 at '
            f"{place}: {said}"
        ) from error
    return dict(checked["multiscales"][position])


def _own_optics(group: Any) -> Optics | None:
    """Give the optics of a result or simulation of ours, which OME-Zarr has no words for."""
    ours = group.attrs.get("napari_deblur")
    try:
        known = ours.get("optics") or ours["plan"]["layout"]["optics"]
        numbers = {field.name: above_zero(known.get(field.name)) for field in fields(Optics)}
    except (KeyError, TypeError, AttributeError):
        return None
    return Optics(**numbers)


def _own_name(group: Any) -> str | None:
    """Give the name of a layer that was saved here: it may be none that a disk takes."""
    ours = group.attrs.get("napari_deblur")
    name = ours.get("layer") if isinstance(ours, dict) else None
    return name if isinstance(name, str) and name else None


def _letters(axes: list[dict[str, Any]]) -> str:
    """Give a letter for each axis: by type, and by name or else order for those of space."""
    spatial = [axis["name"].lower() for axis in axes if axis.get("type") == "space"]
    by_order = dict(zip(spatial, "zyx"[3 - len(spatial) :], strict=True))
    named = set(spatial) <= set("zyx")
    letters = ""
    for axis in axes:
        name, kind = axis["name"].lower(), axis.get("type")
        if kind == "space":
            letters += name if named else by_order[name]
        else:
            letters += {"time": "t", "channel": "c"}.get(
                kind or "", name if len(name) == 1 else "?"
            )
    return letters


def _found(image: dict[str, Any], level: int, letters: str, address: str) -> Found:
    own = _scale(image["datasets"][level], len(letters))
    common = _scale(image, len(letters))
    scale = [a * b for a, b in zip(own, common, strict=True)]
    for letter, value in zip(letters, scale, strict=True):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(
                f'the scale of axis {letter} in "{address}" is {value:g}, and a scale is above 0: '
                "correct the metadata"
            )
    units = {letter: axis.get("unit") for letter, axis in zip(letters, image["axes"], strict=True)}
    sizes = dict(zip(letters, scale, strict=True))
    # Without a unit the numbers only compare the levels with each other.
    z, y, x = (micrometres(sizes.get(axis), units.get(axis)) for axis in "zyx")
    return Found((z, y, x), seconds(sizes.get("t"), units.get("t")))


def _scale(holder: dict[str, Any], count: int) -> list[float]:
    for step in holder.get("coordinateTransformations") or ():
        if step["type"] == "scale":
            return [float(value) for value in step["scale"]]
    return [1.0] * count


def _channels(omero: Any) -> tuple[Channel, ...]:
    listed = omero.get("channels") if isinstance(omero, dict) else None
    channels = []
    for entry in listed if isinstance(listed, list) else ():
        known = entry if isinstance(entry, dict) else {}
        color = str(known.get("color") or "").lstrip("#").lower()
        waves = [micrometres(known.get(name), "nm") for name in ("emissionWave", "excitationWave")]
        is_hex = len(color) == 6 and set(color) <= set("0123456789abcdef")
        channels.append(
            Channel(str(known.get("label") or ""), f"#{color}" if is_hex else None, *waves)
        )
    return tuple(channels)


def read_metadata_xml(source: Source, path: str) -> Found:
    """Read the OME-XML that converters leave beside the images of a local store."""
    file = Path(source.address, "OME", "METADATA.ome.xml")
    if "://" in source.address or source.field or not path.isdigit() or not file.is_file():
        return Found()
    if file.stat().st_size > MOST_XML:
        return Found()
    return read_ome_xml(file.read_text(encoding="utf-8", errors="replace"), source.series or 0)
