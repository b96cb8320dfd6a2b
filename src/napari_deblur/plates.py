"""Which images a file or store holds: the fields of a plate, the positions or series of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_deblur.readers._files import opened
from napari_deblur.registry import readers

__all__ = ["Image", "files_of", "images_in", "others_in", "reader_of"]


@dataclass(frozen=True)
class Image:
    """One image of an input.

    Parameters
    ----------
    series : int or None
        Which one of a file with several.
    field : str or None
        Which one of a plate, such as "A/1/0".
    title : str
        What the file calls it.
    """

    series: int | None = None
    field: str | None = None
    title: str = ""

    @property
    def place(self) -> str:
        """Its path among the images of its input: "A/1/0", "2"; nothing for an only image."""
        return self.field or ("" if self.series is None else str(self.series))


def reader_of(address: str) -> str | None:
    """Name the reader that accepts the content; None if none does."""
    return next((name for name in readers if readers[name]().accepts(address)), None)


def images_in(address: str) -> tuple[Image, ...]:
    """List the images that a path or URL holds, without reading pixels.

    A reader with a method ``titles(address)`` names them itself. What holds a single image gives
    ``Image()``, and so does what no reader accepts: opening it says what is wrong.

    Raises
    ------
    ValueError, OSError
        When it is damaged.
    """
    name = reader_of(address)
    if name == "ome-zarr":
        return tuple(_of_zarr(address)) or (Image(),)
    if name == "tiff":
        titles = _titles_in_tiff(address)
    else:
        reader: Any = None if name is None else readers[name]()
        titles = reader.titles(address) if hasattr(reader, "titles") else ()
    if len(titles) < 2:
        return (Image(),)
    return tuple(Image(series=n, title=title) for n, title in enumerate(titles))


def others_in(address: str) -> str:
    """Say in one sentence that a file holds other images than its first one; else nothing."""
    try:
        images = images_in(address)
    except Exception:  # noqa: BLE001 - opening it says what is wrong
        return ""
    if len(images) < 2 or images[0].series is None:  # of a plate none is taken for the first
        return ""
    title = f', "{images[0].title}"' if images[0].title else ""
    return (
        f'"{address}" holds {len(images)} images, and this is the first{title}: name another one '
        f"by --series 1 to {len(images) - 1}, or a folder as output for all of them"
    )


def files_of(address: str) -> set[Path]:
    """Name the files that an OME-TIFF is spread over, each of which opens as the whole."""
    if reader_of(address) != "tiff":
        return {Path(address)}
    import tifffile

    try:
        with tifffile.TiffFile(opened(address)) as tif:
            xml = (tif.ome_metadata if tif.is_ome else None) or ""
    except Exception:  # noqa: BLE001 - a damaged file speaks for itself when it is opened
        xml = ""
    folder = Path(address).parent
    return {Path(address), *(folder / name for name in re.findall(r'\bFileName="([^"]+)"', xml))}


def _titles_in_tiff(address: str) -> tuple[str, ...]:
    """Name the series of formats that mean each as an image: others add labels and thumbnails."""
    from napari_deblur.readers._tiff_files import file_at

    with file_at(address) as tif:
        if not (tif.is_ome or tif.is_shaped):
            return ()
        return tuple(str(series.name) for series in tif.series)


def _of_zarr(address: str) -> Iterator[Image]:
    from napari_deblur.readers._ome_zarr_images import ome_attributes, wells_of
    from napari_deblur.readers._zarr_nodes import open_node, safe_path

    root = open_node(address)
    known = ome_attributes(root)
    if "plate" in known:
        for path in wells_of(known["plate"], address):
            safe_path(path, address)
            for name in _fields(root, path):
                yield Image(field=f"{path}/{safe_path(name, address)}")
        return
    paths: list[str] = []
    if "bioformats2raw.layout" in known and "multiscales" not in known:
        listed = ome_attributes(root["OME"]).get("series") if "OME" in root else None
        paths = [str(name) for name in listed] if isinstance(listed, list) else []
        while not listed and str(len(paths)) in root:
            paths.append(str(len(paths)))
    elif isinstance(known.get("multiscales"), list):
        paths = [str(one.get("name", "")) for one in known["multiscales"] if isinstance(one, dict)]
    if len(paths) > 1:
        yield from (Image(series=n, title=path) for n, path in enumerate(paths))


def _fields(root: Any, well: str) -> list[str]:
    """Name the images of a well; one that cannot be opened where the well is not there."""
    from napari_deblur.readers._ome_zarr_images import ome_attributes

    try:
        known = ome_attributes(root[well]).get("well")
        return [str(image["path"]) for image in known["images"]]  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return ["0"]
